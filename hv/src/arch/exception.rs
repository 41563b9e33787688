//! Why a guest was left, and what its own EL1 is to see of it.

use super::{has_ras, isb, mrs, msr};

/// What the hardware says of an exit; the registers keep their values until the next exception.
pub(crate) struct Fault;

impl Fault {
    /// ESR_EL2.
    #[inline]
    pub(crate) fn syndrome() -> droste_arm64::esr::Esr {
        droste_arm64::esr::Esr(mrs!("esr_el2"))
    }

    /// FAR_EL2: the faulting virtual address.
    #[inline]
    pub(crate) fn address() -> u64 {
        mrs!("far_el2")
    }

    /// HPFAR_EL2: the faulting page.
    #[inline]
    pub(crate) fn page() -> u64 {
        mrs!("hpfar_el2")
    }

    /// The IPA of `far` by the guest's own stage 1, for faults that leave HPFAR_EL2 unknown (DDI 0487, D24.2.60);
    /// `None` where the guest has unmapped it meanwhile.
    pub(crate) fn translate(far: u64) -> Option<u64> {
        const FAILED: u64 = 1;
        const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
        let guest_par = mrs!("par_el1");
        // SAFETY: AT reads the guest's tables as the guest would.
        unsafe {
            core::arch::asm!("at s1e1r, {}", in(reg) far, options(nostack, preserves_flags));
        }
        isb();
        let result = mrs!("par_el1");
        // SAFETY: puts the guest's own value back.
        unsafe { msr!("par_el1", guest_par) }
        (result & FAILED == 0).then_some(result & ADDRESS | far & 0xfff)
    }
}

/// Registers of EL1 that an exception taken there sets; the guest's are in the hardware.
pub(crate) struct ExceptionRegisters;

impl ExceptionRegisters {
    /// SCTLR_EL1 and VBAR_EL1.
    pub(crate) fn control() -> (u64, u64) {
        (mrs!("sctlr_el1"), mrs!("vbar_el1"))
    }

    /// Sets what EL1's handler reads: ELR_EL1, SPSR_EL1, ESR_EL1 of a synchronous exception and an SError, and FAR_EL1
    /// where the exception has an address.
    pub(crate) fn set(esr: Option<u64>, elr: u64, spsr: u64, far: Option<u64>) {
        // SAFETY: EL1's registers, written as the architecture does when EL1 takes an exception.
        unsafe {
            msr!("elr_el1", elr);
            msr!("spsr_el1", spsr);
            if let Some(esr) = esr {
                msr!("esr_el1", esr);
            }
            if let Some(far) = far {
                msr!("far_el1", far);
            }
        }
    }
}

/// Whether a physical SError is pending.
pub(crate) fn is_serror_pending() -> bool {
    const A: u64 = 1 << 8;
    mrs!("isr_el1") & A != 0
}

/// Waits until every SError that the loaded guest has caused is pending, clears one that is, and says whether there was
/// one: no other guest is to find it. For when another one takes the CPU; an exit does without.
///
/// With FEAT_RAS an error synchronization barrier notes it in DISR_EL1. Without, DSB completes the guest's accesses, and a
/// pending SError (ISR_EL1.A) is let through for one instruction, which `vectors.s` knows (DDI 0487, D1.4.6 and the RAS
/// chapter, "Error synchronization barrier").
pub(crate) fn drain_serror() -> bool {
    const DEFERRED: u64 = 1 << 31;
    // SAFETY: a barrier has no effect but order.
    unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) }
    if has_ras() {
        // SAFETY: ESB, which has no effect but order and what it notes in DISR_EL1: at EL2 that is EL2's own.
        unsafe { core::arch::asm!("hint #16", options(nostack, preserves_flags)) }
        isb();
        let is_deferred = mrs!("S3_0_C12_C1_1") & DEFERRED != 0; // DISR_EL1
        if is_deferred {
            // SAFETY: as above.
            unsafe { msr!("S3_0_C12_C1_1", 0u64) }
        }
        return is_deferred;
    }
    isb();
    if !is_serror_pending() {
        return false;
    }
    let is_taken: u64;
    // SAFETY: `vectors.s` comes back from an SError between these labels, with x2 set and all else as it was. What else it
    // writes, ELR_EL2, SPSR_EL2, ESR_EL2 and FAR_EL2, belongs to an exit whose handler is past them.
    unsafe {
        core::arch::asm!(
            "bl serror_window",
            out("x2") is_taken,
            out("x30") _,
            options(preserves_flags)
        );
    }
    is_taken != 0
}
