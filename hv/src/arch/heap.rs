//! The EL2 heap: for what is made at boot, when a VM is built or starts anew, and when a vCPU is powered on.
//!
//! What guests can have of it is bounded: `boot` admits no more vCPUs than fit, and each holds its registers once.

use talc::{TalcLock, source::Claim};

const HEAP_BYTES: usize = 1 << 20;

/// The allocator, over a part of the image's bss.
#[global_allocator]
static HEAP: TalcLock<spin::mutex::TicketMutex<()>, Claim> = TalcLock::new({
    // Not zeroed at start: the allocator promises nobody zeroes.
    #[unsafe(link_section = ".noinit")]
    static mut MEMORY: [u8; HEAP_BYTES] = [0; HEAP_BYTES];
    // SAFETY: `MEMORY` is named here alone, so the allocator owns it.
    unsafe { Claim::array(&raw mut MEMORY) }
});
