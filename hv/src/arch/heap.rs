//! The EL2 heap: for what is made at boot or when a VM is built, never on a guest's run path.

use talc::{TalcLock, source::Claim};

const HEAP_BYTES: usize = 1 << 20;

/// The allocator, over a part of the image's bss.
#[global_allocator]
static HEAP: TalcLock<spin::mutex::SpinMutex<()>, Claim> = TalcLock::new({
    // Not zeroed at start: the allocator promises nobody zeroes.
    #[unsafe(link_section = ".noinit")]
    static mut MEMORY: [u8; HEAP_BYTES] = [0; HEAP_BYTES];
    // SAFETY: `MEMORY` is named here alone, so the allocator owns it.
    unsafe { Claim::array(&raw mut MEMORY) }
});
