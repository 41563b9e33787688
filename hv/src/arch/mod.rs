//! All that touches the machine, and the project's only `unsafe` outside test guests.
//!
//! Each module wraps one part of the hardware in functions that are safe to call, one instruction or one register
//! block each; decisions are made elsewhere, in code that knows nothing of instructions.

pub(crate) mod boot;
pub(crate) mod bug;
pub(crate) mod cache;
pub(crate) mod debug;
pub(crate) mod el2;
pub(crate) mod exception;
pub(crate) mod firmware;
pub(crate) mod gic;
pub(crate) mod guest_word;
pub(crate) mod heap;
pub(crate) mod id;
pub(crate) mod image;
pub(crate) mod layout;
pub(crate) mod locks;
pub(crate) mod memory;
pub(crate) mod mmu;
pub(crate) mod random;
mod registers;
pub(crate) mod rtc;
mod simd;
pub(crate) mod stage2;
pub(crate) mod timer;
pub(crate) mod traps;
pub(crate) mod uart;
pub(crate) mod vcpu;

/// Most physical CPUs that one image drives: each has its stacks in the image's bss (32 KiB).
pub(crate) const MAX_CPUS: usize = 32;

/// Reads a system register, by name or by `S<op0>_<op1>_C<n>_C<m>_<op2>`: one whose reading has no effect.
macro_rules! mrs {
    ($name:expr) => {{
        let value: u64;
        // SAFETY: reading the registers named in this module's callers changes no state and exists on this CPU:
        // either the base architecture has it or the caller has looked at the ID register first.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags));
        }
        value
    }};
}

/// Writes a system register. The caller's `unsafe` block says why the value is sound.
macro_rules! msr {
    ($name:expr, $value:expr) => {
        core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) $value, options(nostack, preserves_flags))
    };
}

pub(crate) use {mrs, msr};

/// Whether the CPU has FEAT_RAS.
fn has_ras() -> bool {
    mrs!("id_aa64pfr0_el1") >> 28 & 0xf != 0
}

/// Instruction synchronization barrier: what was written to system registers holds from here on.
#[inline]
pub(crate) fn isb() {
    // SAFETY: a barrier has no effect but order.
    unsafe { core::arch::asm!("isb", options(nostack, preserves_flags)) }
}

/// Waits until an interrupt is pending at this CPU. Interrupts stay masked: the caller asks the GIC which it is.
#[inline]
pub(crate) fn wait_for_interrupt() {
    // SAFETY: WFI has no effect but to pause; the DSB makes earlier stores visible before it does.
    unsafe { core::arch::asm!("dsb sy", "wfi", options(nostack, preserves_flags)) }
}

/// Whether an interrupt waits at this CPU for EL2 to leave off what it does (DDI 0487, ISR_EL1: read at EL2, it is the
/// physical ones that count).
#[inline]
pub(crate) fn is_interrupt_pending() -> bool {
    const IRQ: u64 = 1 << 7;
    const FIQ: u64 = 1 << 6;
    let value: u64;
    // SAFETY: reading this register changes nothing. Not `nomem`: what it reads changes by itself.
    unsafe {
        core::arch::asm!("mrs {}, isr_el1", out(reg) value, options(nostack, preserves_flags));
    }
    value & (IRQ | FIQ) != 0
}

/// Stops this CPU for good.
pub(crate) fn halt() -> ! {
    loop {
        wait_for_interrupt();
    }
}
