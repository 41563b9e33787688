//! Registers that programs write and read, with the bits that have a meaning on every machine of the runs.
//!
//! A bit that is RES0 for want of a feature may read as it was written on one machine and as 0 on another (DDI 0487,
//! glossary, "RES0"), so it is never written.

use crate::encode::Name;

/// A register and how EL2 reaches it.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// Arm's name.
    pub name: &'static str,
    /// By this name at EL1, and at EL2 with E2H = 0.
    pub plain: Name,
    /// By this name at EL2 with E2H = 1 (C5.1.2).
    pub alias: Name,
    /// Bits that a program may set.
    pub bits: u64,
}

impl Register {
    /// Its name at EL2.
    pub const fn at_el2(&self, is_vhe: bool) -> Name {
        if is_vhe { self.alias } else { self.plain }
    }
}

const ALL: u64 = u64::MAX;
const LOW_32: u64 = 0xffff_ffff;
const ADDRESS: u64 = 0xffff_ffff_f000;

macro_rules! registers {
    ($($name:ident = $op0:literal $op1:literal $crn:literal $crm:literal $op2:literal $(| $alias:literal)?, $bits:expr;)*) => {
        $(
            /// The register of this name.
            pub const $name: Register = Register {
                name: stringify!($name),
                plain: Name::new($op0, $op1, $crn, $crm, $op2),
                alias: Name::new($op0, or!($op1 $(, $alias)?), $crn, $crm, $op2),
                bits: $bits,
            };
        )*
    };
}
macro_rules! or {
    ($default:expr) => {
        $default
    };
    ($default:expr, $given:expr) => {
        $given
    };
}

/// Flags, DIT, UAO, PAN, SS, IL, SSBS, BTYPE, DAIF and mode.
pub const SPSR_BITS: u64 = 0xf << 28 | 0x1f << 20 | 7 << 10 | 0x3c0 | 0x1f;

registers! {
    SCTLR_EL1 = 3 0 1 0 0 | 5, 0x6be_f75f;
    CPACR_EL1 = 3 0 1 0 2 | 5, 3 << 20;
    TTBR0_EL1 = 3 0 2 0 0 | 5, 0xffff << 48 | ADDRESS;
    TTBR1_EL1 = 3 0 2 0 1 | 5, 0xffff << 48 | ADDRESS;
    TCR_EL1 = 3 0 2 0 2 | 5, 0x7ff << 32 | 0xffff_ffbf & !(1 << 38 | 1 << 35);
    SPSR_EL1 = 3 0 4 0 0 | 5, SPSR_BITS;
    ELR_EL1 = 3 0 4 0 1 | 5, ALL;
    SP_EL0 = 3 0 4 1 0, ALL;
    ESR_EL1 = 3 0 5 2 0 | 5, LOW_32;
    FAR_EL1 = 3 0 6 0 0 | 5, ALL;
    PAR_EL1 = 3 0 7 4 0, 0xff << 56 | ADDRESS | 3 << 7;
    MAIR_EL1 = 3 0 10 2 0 | 5, ALL;
    VBAR_EL1 = 3 0 12 0 0 | 5, ALL & !0x7ff;
    CONTEXTIDR_EL1 = 3 0 13 0 1 | 5, LOW_32;
    TPIDR_EL1 = 3 0 13 0 4, ALL;
    TPIDR_EL0 = 3 3 13 0 2, ALL;
    TPIDRRO_EL0 = 3 3 13 0 3, ALL;
    CNTKCTL_EL1 = 3 0 14 1 0 | 5, 0x3ff;
    CNTP_CTL_EL0 = 3 3 14 2 1 | 5, 3;
    CNTP_CVAL_EL0 = 3 3 14 2 2 | 5, ALL;
    CNTV_CTL_EL0 = 3 3 14 3 1 | 5, 3;
    CNTV_CVAL_EL0 = 3 3 14 3 2 | 5, ALL;
    CNTVCT_EL0 = 3 3 14 0 2, 0;
    CNTPCT_EL0 = 3 3 14 0 1, 0;
    MDSCR_EL1 = 2 0 0 2 2, 1 << 15 | 7 << 12 | 1;
    OSLAR_EL1 = 2 0 1 0 4, 1;
    OSLSR_EL1 = 2 0 1 1 4, 0;
    OSDLR_EL1 = 2 0 1 3 4, 0;
    DBGBVR0_EL1 = 2 0 0 0 4, 0xf_ffff_ffff_fffc;
    DBGBCR0_EL1 = 2 0 0 0 5, 0x1e7;
    DBGWVR0_EL1 = 2 0 0 0 6, 0xf_ffff_ffff_fffc;
    DBGWCR0_EL1 = 2 0 0 0 7, 0x1fff;
    DBGBVR1_EL1 = 2 0 0 1 4, 0xf_ffff_ffff_fffc;
    DBGBCR1_EL1 = 2 0 0 1 5, 0x1e7;
    DBGWVR1_EL1 = 2 0 0 1 6, 0xf_ffff_ffff_fffc;
    DBGWCR1_EL1 = 2 0 0 1 7, 0x1fff;
    MIDR_EL1 = 3 0 0 0 0, 0;
    MPIDR_EL1 = 3 0 0 0 5, 0;
    ID_AA64ISAR0_EL1 = 3 0 0 6 0, 0;
    CTR_EL0 = 3 3 0 0 1, 0;
    DCZID_EL0 = 3 3 0 0 7, 0;
    CLIDR_EL1 = 3 1 0 0 1, 0;
    CSSELR_EL1 = 3 2 0 0 0, 1;
    ACTLR_EL1 = 3 0 1 0 1, 0;
    ISR_EL1 = 3 0 12 1 0, 0;
    DAIF = 3 3 4 2 1, 0x3c0;
    NZCV = 3 3 4 2 0, 0xf << 28;
    CURRENT_EL = 3 0 4 2 2, 0;
    SPSEL = 3 0 4 2 0, 0;
    PAN = 3 0 4 2 3, 1 << 22;
    FPCR = 3 3 4 4 0, 0x0180_0000;
    ICC_PMR_EL1 = 3 0 4 6 0, 0xf8;
    ICC_IAR0_EL1 = 3 0 12 8 0, 0;
    ICC_EOIR0_EL1 = 3 0 12 8 1, 0x3ff;
    ICC_HPPIR0_EL1 = 3 0 12 8 2, 0;
    ICC_BPR0_EL1 = 3 0 12 8 3, 7;
    ICC_SGI0R_EL1 = 3 0 12 11 7, 0xf << 24 | 1;
    ICC_SGI1R_EL1 = 3 0 12 11 5, 0xf << 24 | 1;
    ICC_DIR_EL1 = 3 0 12 11 1, 0x3ff;
    ICC_RPR_EL1 = 3 0 12 11 3, 0;
    ICC_IAR1_EL1 = 3 0 12 12 0, 0;
    ICC_EOIR1_EL1 = 3 0 12 12 1, 0x3ff;
    ICC_HPPIR1_EL1 = 3 0 12 12 2, 0;
    ICC_BPR1_EL1 = 3 0 12 12 3, 7;
    ICC_CTLR_EL1 = 3 0 12 12 4, 3;
    ICC_SRE_EL1 = 3 0 12 12 5, 0;
    ICC_IGRPEN0_EL1 = 3 0 12 12 6, 1;
    ICC_IGRPEN1_EL1 = 3 0 12 12 7, 1;

    VPIDR_EL2 = 3 4 0 0 0, LOW_32;
    VMPIDR_EL2 = 3 4 0 0 5, 0xff_40ff_ffff;
    CPTR_EL2 = 3 4 1 1 2, 1 << 31 | 3 << 20;
    MDCR_EL2 = 3 4 1 1 1, 0xf << 8;
    HSTR_EL2 = 3 4 1 1 3, 0xbfef;
    VTTBR_EL2 = 3 4 2 1 0, 0xffff << 48 | ADDRESS;
    VTCR_EL2 = 3 4 2 1 2, 0xf_ffff | 3 << 21;
    SPSR_EL2 = 3 4 4 0 0, SPSR_BITS;
    ELR_EL2 = 3 4 4 0 1, ALL;
    SP_EL1 = 3 4 4 1 0, ALL;
    ESR_EL2 = 3 4 5 2 0, LOW_32;
    FAR_EL2 = 3 4 6 0 0, ALL;
    HPFAR_EL2 = 3 4 6 0 4, 0xf_ffff_fff0;
    CNTHCTL_EL2 = 3 4 14 1 0, 0x3;
    CNTVOFF_EL2 = 3 4 14 0 3, ALL;
    ICH_AP0R0_EL2 = 3 4 12 8 0, LOW_32;
    ICH_AP1R0_EL2 = 3 4 12 9 0, LOW_32;
    ICH_HCR_EL2 = 3 4 12 11 0, 0x4df | 0x1f << 27 | 0xf << 10;
    ICH_VTR_EL2 = 3 4 12 11 1, 0;
    ICH_MISR_EL2 = 3 4 12 11 2, 0;
    ICH_EISR_EL2 = 3 4 12 11 3, 0;
    ICH_ELRSR_EL2 = 3 4 12 11 5, 0;
    ICH_VMCR_EL2 = 3 4 12 11 7, 3 | 1 << 4 | 1 << 9 | 0x3f << 18 | 0xf8 << 24;
    ICH_LR0_EL2 = 3 4 12 12 0, 0xf << 60 | 0xff << 48 | 1 << 41 | LOW_32;
    ICH_LR1_EL2 = 3 4 12 12 1, 0xf << 60 | 0xff << 48 | 1 << 41 | LOW_32;
    ICH_LR2_EL2 = 3 4 12 12 2, 0xf << 60 | 0xff << 48 | 1 << 41 | LOW_32;
    ICH_LR3_EL2 = 3 4 12 12 3, 0xf << 60 | 0xff << 48 | 1 << 41 | LOW_32;

    TTBR1_EL2 = 3 4 2 0 1, 0xffff << 48 | ADDRESS;
    CONTEXTIDR_EL2 = 3 4 13 0 1, LOW_32;
}

/// Registers of EL1 and EL0 that no translation, vector or trap of EL1 depends on.
pub const PLAIN: [Register; 13] = [
    SPSR_EL1,
    ELR_EL1,
    SP_EL0,
    ESR_EL1,
    FAR_EL1,
    PAR_EL1,
    CONTEXTIDR_EL1,
    TPIDR_EL1,
    TPIDR_EL0,
    TPIDRRO_EL0,
    CSSELR_EL1,
    CNTP_CVAL_EL0,
    CNTV_CVAL_EL0,
];

/// Those that something depends on.
pub const OF_REGIME: [Register; 7] = [
    SCTLR_EL1, CPACR_EL1, TTBR0_EL1, TTBR1_EL1, TCR_EL1, MAIR_EL1, VBAR_EL1,
];

/// Registers of EL2 that EL2 itself does not depend on.
pub const OF_EL2: [Register; 13] = [
    VPIDR_EL2,
    VMPIDR_EL2,
    HSTR_EL2,
    VTTBR_EL2,
    VTCR_EL2,
    SPSR_EL2,
    ELR_EL2,
    SP_EL1,
    ESR_EL2,
    FAR_EL2,
    HPFAR_EL2,
    CNTVOFF_EL2,
    MDCR_EL2,
];

/// Those of EL2 that there are with FEAT_VHE alone.
pub const OF_VHE: [Register; 2] = [TTBR1_EL2, CONTEXTIDR_EL2];

/// What EL1 or EL0 may read or write whatever traps: no write of them changes how the code goes on, as long as the value
/// is of those that [`traps`](super::generate) gives.
pub const TOUCHED: [Register; 37] = [
    SCTLR_EL1,
    CPACR_EL1,
    TCR_EL1,
    TTBR1_EL1,
    MAIR_EL1,
    ESR_EL1,
    FAR_EL1,
    CONTEXTIDR_EL1,
    TPIDR_EL1,
    TPIDR_EL0,
    CNTKCTL_EL1,
    CNTP_CTL_EL0,
    CNTP_CVAL_EL0,
    CNTV_CTL_EL0,
    CNTV_CVAL_EL0,
    MDSCR_EL1,
    OSLSR_EL1,
    OSDLR_EL1,
    MIDR_EL1,
    MPIDR_EL1,
    ID_AA64ISAR0_EL1,
    CTR_EL0,
    DCZID_EL0,
    CLIDR_EL1,
    CSSELR_EL1,
    ACTLR_EL1,
    ISR_EL1,
    FPCR,
    ICC_PMR_EL1,
    ICC_IAR0_EL1,
    ICC_IAR1_EL1,
    ICC_RPR_EL1,
    ICC_HPPIR1_EL1,
    ICC_BPR1_EL1,
    ICC_SRE_EL1,
    ICC_IGRPEN1_EL1,
    ICC_CTLR_EL1,
];
