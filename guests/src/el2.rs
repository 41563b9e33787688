//! EL2 for guests that are hypervisors: their own registers, those of the EL1 under them, and worlds to run there.
//!
//! A guest that starts at EL2 has E2H = 1 where there is FEAT_VHE; the word `nvhe` on its command line takes it to
//! E2H = 0. Everything here works with either: EL2's registers go by their names for EL2, and EL1's by those that reach
//! them.

use crate::cpu;
use core::arch::asm;

mod start;
mod world;

pub use start::{begin, prepare, prepare_on};
pub use world::{World, vectors_of_el1};

/// HCR_EL2 (DDI 0487, D24.2).
pub mod hcr {
    /// Stage 2 on.
    pub const VM: u64 = 1;
    /// Walks of stage 1 may not go to Device memory.
    pub const PTW: u64 = 1 << 2;
    /// FIQs are EL2's.
    pub const FMO: u64 = 1 << 3;
    /// IRQs are EL2's.
    pub const IMO: u64 = 1 << 4;
    /// SErrors are EL2's.
    pub const AMO: u64 = 1 << 5;
    /// A virtual FIQ is pending.
    pub const VF: u64 = 1 << 6;
    /// A virtual IRQ is pending.
    pub const VI: u64 = 1 << 7;
    /// A virtual SError is pending.
    pub const VSE: u64 = 1 << 8;
    /// WFI traps.
    pub const TWI: u64 = 1 << 13;
    /// WFE traps.
    pub const TWE: u64 = 1 << 14;
    /// Reads of identification registers trap.
    pub const TID3: u64 = 1 << 18;
    /// SMC traps.
    pub const TSC: u64 = 1 << 19;
    /// IMPLEMENTATION DEFINED registers trap.
    pub const TIDCP: u64 = 1 << 20;
    /// ACTLR_EL1 traps.
    pub const TACR: u64 = 1 << 21;
    /// TLB maintenance traps.
    pub const TTLB: u64 = 1 << 25;
    /// Writes of EL1's translation registers trap.
    pub const TVM: u64 = 1 << 26;
    /// EL0 is under EL2.
    pub const TGE: u64 = 1 << 27;
    /// DC ZVA traps.
    pub const TDZ: u64 = 1 << 28;
    /// HVC is UNDEFINED.
    pub const HCD: u64 = 1 << 29;
    /// Reads of EL1's translation registers trap.
    pub const TRVM: u64 = 1 << 30;
    /// EL1 is AArch64.
    pub const RW: u64 = 1 << 31;
    /// EL2 has EL0 under it, and EL1's register names.
    pub const E2H: u64 = 1 << 34;
    /// A guest: it has a stage 2, and interrupts are EL2's.
    pub const GUEST: u64 = VM | IMO | FMO | AMO;
}

/// Modes of an SPSR, with everything masked (DDI 0487, C5.2, "SPSR_EL2").
pub mod mode {
    /// D, A, I and F.
    pub const MASKED: u64 = 0x3c0;
    /// EL0.
    pub const EL0: u64 = MASKED;
    /// EL1 with SP_EL0.
    pub const EL1T: u64 = MASKED | 4;
    /// EL1 with its own stack pointer.
    pub const EL1H: u64 = MASKED | 5;
    /// EL2 with SP_EL0.
    pub const EL2T: u64 = MASKED | 8;
    /// EL2 with its own stack pointer.
    pub const EL2H: u64 = MASKED | 9;
}

/// Classes of ESR_EL2 (DDI 0487, D24.2, "ESR_EL2").
pub mod class {
    /// Nothing more is known.
    pub const UNKNOWN: u64 = 0x00;
    /// WFI or WFE.
    pub const WFX: u64 = 0x01;
    /// Floating point.
    pub const FP: u64 = 0x07;
    /// PSTATE.IL.
    pub const ILLEGAL: u64 = 0x0e;
    /// SVC.
    pub const SVC: u64 = 0x15;
    /// HVC.
    pub const HVC: u64 = 0x16;
    /// SMC.
    pub const SMC: u64 = 0x17;
    /// MSR, MRS or a system instruction.
    pub const SYSREG: u64 = 0x18;
    /// Instruction abort from below.
    pub const FETCH_LOWER: u64 = 0x20;
    /// Data abort from below.
    pub const DATA_LOWER: u64 = 0x24;
    /// Data abort from EL2.
    pub const DATA_SAME: u64 = 0x25;
    /// A software step from below.
    pub const STEP: u64 = 0x32;
    /// A software step of EL2.
    pub const STEP_SAME: u64 = 0x33;
    /// BRK.
    pub const BRK: u64 = 0x3c;
}

macro_rules! registers {
    ($($(#[$doc:meta])* $get:ident, $set:ident = $register:literal;)*) => {
        $(
            $(#[$doc])*
            #[inline]
            pub fn $get() -> u64 {
                let value;
                // SAFETY: reading a register of EL2 changes nothing.
                unsafe { asm!(concat!("mrs {}, ", $register), out(reg) value, options(nostack, preserves_flags)) };
                value
            }

            /// Writes that register; the change is complete.
            #[inline]
            pub fn $set(value: u64) {
                // SAFETY: steers what runs under EL2, traps, interrupts and timers, not the memory Rust code uses: HCR_EL2
                // keeps E2H, which is what its callers owe.
                unsafe {
                    asm!(concat!("msr ", $register, ", {}"), "isb", in(reg) value, options(nostack, preserves_flags));
                }
            }
        )*
    };
}

registers! {
    /// HCR_EL2.
    current_hcr, set_hcr = "hcr_el2";
    /// VTTBR_EL2: table and VMID of stage 2.
    vttbr, set_vttbr = "vttbr_el2";
    /// VTCR_EL2: shape of stage 2.
    vtcr, set_vtcr = "vtcr_el2";
    /// ESR_EL2.
    esr, set_esr = "esr_el2";
    /// FAR_EL2.
    far, set_far = "far_el2";
    /// HPFAR_EL2: page of the IPA that faulted, from bit 4 on.
    hpfar, set_hpfar = "hpfar_el2";
    /// CPTR_EL2.
    cptr, set_cptr = "cptr_el2";
    /// MDCR_EL2.
    mdcr, set_mdcr = "mdcr_el2";
    /// CNTHCTL_EL2.
    cnthctl, set_cnthctl = "cnthctl_el2";
    /// CNTVOFF_EL2.
    cntvoff, set_cntvoff = "cntvoff_el2";
    /// CNTHP_CTL_EL2: EL2's physical timer.
    cnthp_ctl, set_cnthp_ctl = "cnthp_ctl_el2";
    /// CNTHP_CVAL_EL2.
    cnthp_cval, set_cnthp_cval = "cnthp_cval_el2";
    /// CNTHP_TVAL_EL2.
    cnthp_tval, set_cnthp_tval = "cnthp_tval_el2";
    /// CNTHV_CTL_EL2: EL2's virtual timer, of FEAT_VHE.
    cnthv_ctl, set_cnthv_ctl = "S3_4_C14_C3_1";
    /// CNTHV_TVAL_EL2.
    cnthv_tval, set_cnthv_tval = "S3_4_C14_C3_0";
    /// ICH_HCR_EL2: control of the virtual CPU interface.
    ich_hcr, set_ich_hcr = "S3_4_C12_C11_0";
    /// ICC_SRE_EL2.
    icc_sre, set_icc_sre = "S3_4_C12_C9_5";
    /// PAR_EL1: what AT found.
    par, set_par = "par_el1";
}

macro_rules! registers_of_el1 {
    ($($(#[$doc:meta])* $get:ident, $set:ident = $register:literal, $alias:literal;)*) => {
        $(
            $(#[$doc])*
            pub fn $get() -> u64 {
                let value;
                // SAFETY: reading a register of EL1 changes nothing.
                unsafe {
                    if is_vhe() {
                        asm!(concat!("mrs {}, ", $alias), out(reg) value, options(nostack, preserves_flags));
                    } else {
                        asm!(concat!("mrs {}, ", $register), out(reg) value, options(nostack, preserves_flags));
                    }
                }
                value
            }

            /// Writes that register; the change is complete.
            pub fn $set(value: u64) {
                // SAFETY: steers what runs under EL2, not EL2.
                unsafe {
                    if is_vhe() {
                        asm!(concat!("msr ", $alias, ", {}"), "isb", in(reg) value, options(nostack, preserves_flags));
                    } else {
                        asm!(concat!("msr ", $register, ", {}"), "isb", in(reg) value, options(nostack, preserves_flags));
                    }
                }
            }
        )*
    };
}

registers_of_el1! {
    /// SCTLR_EL1, of the EL1 under this EL2.
    sctlr_el1, set_sctlr_el1 = "sctlr_el1", "S3_5_C1_C0_0";
    /// CPACR_EL1.
    cpacr_el1, set_cpacr_el1 = "cpacr_el1", "S3_5_C1_C0_2";
    /// TTBR0_EL1.
    ttbr0_el1, set_ttbr0_el1 = "ttbr0_el1", "S3_5_C2_C0_0";
    /// TCR_EL1.
    tcr_el1, set_tcr_el1 = "tcr_el1", "S3_5_C2_C0_2";
    /// MAIR_EL1.
    mair_el1, set_mair_el1 = "mair_el1", "S3_5_C10_C2_0";
    /// VBAR_EL1.
    vbar_el1, set_vbar_el1 = "vbar_el1", "S3_5_C12_C0_0";
    /// ESR_EL1.
    esr_el1, set_esr_el1 = "esr_el1", "S3_5_C5_C2_0";
    /// FAR_EL1.
    far_el1, set_far_el1 = "far_el1", "S3_5_C6_C0_0";
    /// ELR_EL1.
    elr_el1, set_elr_el1 = "elr_el1", "S3_5_C4_C0_1";
    /// SPSR_EL1.
    spsr_el1, set_spsr_el1 = "spsr_el1", "S3_5_C4_C0_0";
    /// CNTP_CTL_EL0, of the EL1 under this EL2.
    cntp_ctl, set_cntp_ctl = "cntp_ctl_el0", "S3_5_C14_C2_1";
    /// CNTP_CVAL_EL0.
    cntp_cval, set_cntp_cval = "cntp_cval_el0", "S3_5_C14_C2_2";
    /// CNTV_CTL_EL0, of the EL1 under this EL2.
    cntv_ctl, set_cntv_ctl = "cntv_ctl_el0", "S3_5_C14_C3_1";
    /// CNTV_CVAL_EL0.
    cntv_cval, set_cntv_cval = "cntv_cval_el0", "S3_5_C14_C3_2";
}

macro_rules! maintenance {
    ($($(#[$doc:meta])* $name:ident($operand:ident) = $instruction:literal;)*) => {
        $(
            $(#[$doc])*
            #[inline]
            pub fn $name($operand: u64) {
                // SAFETY: forgets translations, which the tables give anew, or looks one up into PAR_EL1.
                unsafe { asm!(concat!($instruction, ", {}"), in(reg) $operand, options(nostack, preserves_flags)) };
            }
        )*
    };
    ($($(#[$doc:meta])* $name:ident = $instruction:literal;)*) => {
        $(
            $(#[$doc])*
            #[inline]
            pub fn $name() {
                // SAFETY: forgets translations, which the tables give anew.
                unsafe { asm!($instruction, options(nostack, preserves_flags)) };
            }
        )*
    };
}

maintenance! {
    /// TLBI VAE2IS: one page of EL2's stage 1.
    tlbi_vae2is(page) = "tlbi vae2is";
    /// TLBI IPAS2E1IS: one page of stage 2.
    tlbi_ipas2e1is(page) = "tlbi ipas2e1is";
    /// TLBI RIPAS2E1IS: a range of stage 2, of FEAT_TLBIRANGE. By number, since the assembler knows the name from Armv8.4
    /// on alone.
    tlbi_ripas2e1is(range) = "sys #4, c8, c0, #2";
    /// AT S1E1R.
    at_s1e1r(address) = "at s1e1r";
    /// AT S1E2R.
    at_s1e2r(address) = "at s1e2r";
    /// AT S12E1R.
    at_s12e1r(address) = "at s12e1r";
    /// AT S12E1W.
    at_s12e1w(address) = "at s12e1w";
    /// AT S12E0R.
    at_s12e0r(address) = "at s12e0r";
    /// AT S12E0W.
    at_s12e0w(address) = "at s12e0w";
}

maintenance! {
    /// TLBI VMALLE1IS: stage 1 of the VMID in VTTBR_EL2, or of EL2 where TGE is 1.
    tlbi_vmalle1is = "tlbi vmalle1is";
    /// TLBI VMALLS12E1IS: both stages of the VMID in VTTBR_EL2.
    tlbi_vmalls12e1is = "tlbi vmalls12e1is";
    /// TLBI ALLE1IS: both stages of all VMIDs.
    tlbi_alle1is = "tlbi alle1is";
    /// TLBI ALLE2IS: EL2's own stage 1.
    tlbi_alle2is = "tlbi alle2is";
}

/// Whether E2H is 1.
#[inline]
pub fn is_vhe() -> bool {
    current_hcr() & hcr::E2H != 0
}

/// Nothing traps but what HCR_EL2 says.
pub fn open() {
    set_cptr(if is_vhe() { 3 << 20 } else { 0x33ff });
    set_mdcr(0);
    set_cnthctl(if is_vhe() { 0xc03 } else { 3 });
}

/// EL1 as after a reset: stage 1 off, nothing trapped, no timers.
pub fn reset_el1() {
    set_sctlr_el1(0x30d0_0800);
    set_cpacr_el1(3 << 20);
    set_tcr_el1(0);
    set_ttbr0_el1(0);
    set_mair_el1(0xff04);
    set_vbar_el1(0);
    set_cntp_ctl(0);
    set_cntv_ctl(0);
    set_cntvoff(0);
    cpu::isb();
}
