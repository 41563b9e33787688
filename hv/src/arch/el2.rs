//! Virtual EL2 in the hardware: the registers of EL1 that stand for its own, and invalidations of its stage 1.

use core::sync::atomic::AtomicU64;

use droste_arm64::Pa;
use droste_arm64::sysreg::{
    AFSR0_EL1, AFSR1_EL1, AMAIR_EL1, CNTKCTL_EL1, CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTV_CTL_EL0,
    CNTV_CVAL_EL0, CONTEXTIDR_EL1, CPACR_EL1, ELR_EL1, ESR_EL1, FAR_EL1, MAIR_EL1, SCTLR_EL1,
    SP_EL1, SPSR_EL1, SysReg, TCR_EL1, TTBR0_EL1, TTBR1_EL1, VBAR_EL1,
};
use droste_arm64::vncr::{PAGE_BYTES, RegisterPage, SLOTS};
use droste_nested::registers::{HostStage1, Twins};
use droste_nested::tlbi::{Asids, Entries, StageOne};

use super::memory::Region;
use super::{isb, mrs, msr};

/// Bytes of a register page.
pub(crate) const REGISTER_PAGE: u64 = PAGE_BYTES as u64;

/// Whether this CPU has FEAT_NV2: ID_AA64MMFR2_EL1.NV, or ID_AA64MMFR4_EL1.NV_frac without the rest of FEAT_NV.
pub(crate) fn has_register_page() -> bool {
    mrs!("id_aa64mmfr2_el1") >> 24 & 0xf >= 2 || mrs!("S3_0_C0_C7_4") >> 20 & 0xf >= 1
}

/// Whether this CPU, which has FEAT_NV2, can run an EL2 whose HCR_EL2.E2H is 0: it has HCR_EL2.NV1, which
/// ID_AA64MMFR4_EL1.E2H0 denies with 0b1110.
pub(crate) fn has_nv1() -> bool {
    mrs!("S3_0_C0_C7_4") >> 24 & 0xf != 0b1110
}

/// Page `n` of `region`, whose pages are register pages.
pub(crate) fn register_page(region: &Region, n: usize) -> (Pa, RegisterPage<'static>) {
    let range = region.range();
    let at = range.start + n as u64 * REGISTER_PAGE;
    assert!(at + REGISTER_PAGE <= range.end, "a page for each vCPU");
    // SAFETY: within a region of mapped RAM that is never given back, aligned to its size; it is accessed as atomics
    // alone, and by the hardware on behalf of the guest that it belongs to.
    let memory = unsafe { &*(at as *const [AtomicU64; SLOTS]) };
    (Pa(at), RegisterPage::new(memory))
}

/// The loaded guest's registers of EL1 and EL0.
pub(crate) struct Hardware;

macro_rules! twins {
    ($($register:ident = $name:literal;)*) => {
        impl Twins for Hardware {
            #[inline(always)]
            fn get(&self, register: SysReg) -> u64 {
                match register {
                    $($register => mrs!($name),)*
                    _ => 0,
                }
            }

            #[inline(always)]
            fn set(&mut self, register: SysReg, value: u64) {
                // SAFETY: these act on EL1 and EL0 alone, where the guest may hold any value it likes.
                unsafe {
                    match register {
                        $($register => msr!($name, value),)*
                        _ => {}
                    }
                }
            }
        }
    };
}

twins! {
    SCTLR_EL1 = "sctlr_el1";
    CPACR_EL1 = "cpacr_el1";
    TTBR0_EL1 = "ttbr0_el1";
    TTBR1_EL1 = "ttbr1_el1";
    TCR_EL1 = "tcr_el1";
    MAIR_EL1 = "mair_el1";
    AMAIR_EL1 = "amair_el1";
    AFSR0_EL1 = "afsr0_el1";
    AFSR1_EL1 = "afsr1_el1";
    VBAR_EL1 = "vbar_el1";
    CONTEXTIDR_EL1 = "contextidr_el1";
    SPSR_EL1 = "spsr_el1";
    ELR_EL1 = "elr_el1";
    ESR_EL1 = "esr_el1";
    FAR_EL1 = "far_el1";
    SP_EL1 = "sp_el1";
    CNTKCTL_EL1 = "cntkctl_el1";
    CNTP_CTL_EL0 = "cntp_ctl_el0";
    CNTP_CVAL_EL0 = "cntp_cval_el0";
    CNTV_CTL_EL0 = "cntv_ctl_el0";
    CNTV_CVAL_EL0 = "cntv_cval_el0";
}

impl Hardware {
    /// SPSR_EL1 and ELR_EL1: where virtual EL2 is to return to, while it is loaded.
    #[inline]
    pub(crate) fn return_state() -> (u64, u64) {
        (mrs!("spsr_el1"), mrs!("elr_el1"))
    }

    /// Writes PAR_EL1.
    pub(crate) fn set_par(value: u64) {
        // SAFETY: as in `Twins::set`.
        unsafe { msr!("par_el1", value) }
    }

    /// Loads what stands for the stage 1 of an EL2 without FEAT_VHE.
    pub(crate) fn load_stage1(stage1: &HostStage1) {
        // SAFETY: as in `Twins::set`.
        unsafe {
            msr!("tcr_el1", stage1.tcr);
            msr!("ttbr0_el1", stage1.ttbr0);
            msr!("cpacr_el1", stage1.cpacr);
            msr!("sctlr_el1", stage1.sctlr);
        }
    }
}

macro_rules! tlbi {
    ($text:literal $(, $operand:expr)?) => {
        // SAFETY: an invalidation loses no state: what it drops from TLBs is fetched anew.
        unsafe { core::arch::asm!($text $(, in(reg) $operand)?, options(nostack, preserves_flags)) }
    };
}

/// Invalidates stage-1 entries of the VMID in VTTBR_EL2, on all CPUs. The guest's own DSB completes it.
#[inline]
pub(crate) fn invalidate_stage1(of: StageOne) {
    match of {
        StageOne::All => tlbi!("tlbi vmalle1is"),
        StageOne::Asid { operand } => tlbi!("tlbi aside1is, {}", operand),
        StageOne::Address {
            entries,
            asids,
            operand,
        } => match (entries, asids) {
            (Entries::Any, Asids::One) => tlbi!("tlbi vae1is, {}", operand),
            (Entries::Last, Asids::One) => tlbi!("tlbi vale1is, {}", operand),
            (Entries::Any, Asids::All) => tlbi!("tlbi vaae1is, {}", operand),
            (Entries::Last, Asids::All) => tlbi!("tlbi vaale1is, {}", operand),
        },
        // RVAE1IS, RVALE1IS, RVAAE1IS and RVAALE1IS: the base architecture's assembler does not know the names.
        StageOne::Range {
            entries,
            asids,
            operand,
        } => match (entries, asids) {
            (Entries::Any, Asids::One) => tlbi!("sys #0, c8, c2, #1, {}", operand),
            (Entries::Last, Asids::One) => tlbi!("sys #0, c8, c2, #5, {}", operand),
            (Entries::Any, Asids::All) => tlbi!("sys #0, c8, c2, #3, {}", operand),
            (Entries::Last, Asids::All) => tlbi!("sys #0, c8, c2, #7, {}", operand),
        },
    }
}

/// Takes the same entries away before anything else happens: for entries of a context that is about to be another's.
pub(crate) fn complete_invalidation() {
    tlbi!("dsb ish");
    isb();
}
