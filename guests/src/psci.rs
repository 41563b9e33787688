//! PSCI by HVC, or by SMC from EL2 (DEN0022), and the SMCCC call under it (DEN0028).

use core::arch::asm;

/// PSCI_VERSION.
pub const VERSION: u64 = 0x8400_0000;
/// CPU_SUSPEND, 64-bit form.
pub const CPU_SUSPEND: u64 = 0xc400_0001;
/// CPU_OFF.
pub const CPU_OFF: u64 = 0x8400_0002;
/// CPU_ON, 64-bit form.
pub const CPU_ON: u64 = 0xc400_0003;
/// AFFINITY_INFO, 64-bit form.
pub const AFFINITY_INFO: u64 = 0xc400_0004;
/// SYSTEM_OFF.
pub const SYSTEM_OFF: u64 = 0x8400_0008;
/// SYSTEM_RESET.
pub const SYSTEM_RESET: u64 = 0x8400_0009;

/// Success.
pub const SUCCESS: u64 = 0;
/// ALREADY_ON.
pub const ALREADY_ON: u64 = (-4i64).cast_unsigned();

macro_rules! call_by {
    ($instruction:literal, $function:ident, $arguments:ident) => {{
        let result;
        // SAFETY: the calls the guests make change no memory of theirs, but CPU_ON's, whose entry is `smp`'s own.
        unsafe {
            asm!(
                $instruction,
                inout("x0") $function => result,
                inout("x1") $arguments[0] => _,
                inout("x2") $arguments[1] => _,
                inout("x3") $arguments[2] => _,
                out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _,
                out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _,
                options(nostack, preserves_flags),
            );
        }
        result
    }};
}

/// HVC #0, or SMC #0 at EL2, with function and arguments in x0 to x3; the result comes in x0.
///
/// The convention before SMCCC 1.1 lets x4 to x17 change, so nothing is assumed of them.
#[inline]
pub fn call(function: u64, arguments: [u64; 3]) -> u64 {
    if crate::cpu::is_el2() {
        call_by!("smc #0", function, arguments)
    } else {
        call_by!("hvc #0", function, arguments)
    }
}

/// Switches the virtual machine off.
pub fn system_off() -> ! {
    call(SYSTEM_OFF, [0; 3]);
    loop {
        crate::cpu::wfi();
    }
}
