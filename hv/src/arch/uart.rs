//! The platform's PL011.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use arm_pl011_uart::{PL011Registers, Uart, UniqueMmioPointer};
use droste_arm64::Pa;

/// Base of the UART, for [`emergency_write`]; 0 until there is one.
static BASE: AtomicU64 = AtomicU64::new(0);

/// Takes the UART whose registers stage 1 maps at `base`. Called once; the caller is the UART's only owner.
pub(crate) fn open(base: Pa) -> Option<Uart<'static>> {
    BASE.store(base.0, Ordering::Relaxed);
    let registers = NonNull::new(base.0 as *mut PL011Registers)?;
    // SAFETY: the device tree says that a PL011 is here, `mmu::add` mapped it as a device, and no one else drives it.
    Some(Uart::new(unsafe { UniqueMmioPointer::new(registers) }))
}

/// The emergency console: writes a byte past all locks and owners, when the hypervisor has found a bug of its own.
pub(crate) fn emergency_write(byte: u8) {
    const DR: u64 = 0;
    const FR: u64 = 0x18;
    const TXFF: u32 = 1 << 5;
    let base = BASE.load(Ordering::Relaxed);
    if base == 0 {
        return;
    }
    // SAFETY: `base` is a mapped PL011; reading flags and writing data is sound whoever else does so.
    unsafe {
        while core::ptr::read_volatile((base + FR) as *const u32) & TXFF != 0 {}
        core::ptr::write_volatile((base + DR) as *mut u32, u32::from(byte));
    }
}
