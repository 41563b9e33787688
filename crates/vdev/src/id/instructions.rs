//! Instructions: ID_AA64ISAR*_EL1 (DDI 0487, D24.2). Those that work on general and SIMD registers alone are shown.

use super::Policy::{Hide, UpTo};
use super::{Field, Register, fields, register};

pub(super) static REGISTERS: &[Register] = &[
    register!(ID_AA64ISAR0_EL1, ISAR0),
    register!(ID_AA64ISAR1_EL1, ISAR1),
    register!(ID_AA64ISAR2_EL1, ISAR2),
    register!(ID_AA64ISAR3_EL1, ISAR3),
];

const ISAR0: &[Field] = fields! {
    AES 4: UpTo(2), "no state of its own; 2 is PMULL";
    SHA1 8: UpTo(1), "no state of its own";
    SHA2 12: UpTo(2), "no state of its own; 2 is SHA-512";
    CRC32 16: UpTo(1), "no state of its own";
    Atomic 20: UpTo(3), "no state of its own; 3 is LSE128";
    TME 24: Hide, "a transaction is state";
    RDM 28: UpTo(1), "no state of its own";
    SHA3 32: UpTo(1), "no state of its own";
    SM3 36: UpTo(1), "no state of its own";
    SM4 40: UpTo(1), "no state of its own";
    DP 44: UpTo(1), "no state of its own";
    FHM 48: UpTo(1), "no state of its own";
    TS 52: UpTo(2), "flags go with SPSR_EL2";
    TLB 56: UpTo(2), "outer shareable and range forms act within the guest's VMID";
    RNDR 60: UpTo(1), "hardware gives each reader fresh numbers";
};

const ISAR1: &[Field] = fields! {
    DPB 0: UpTo(2), "cleaning by address is the guest's right";
    APA 4: UpTo(5), "the keys are switched";
    API 8: UpTo(5), "the keys are switched";
    JSCVT 12: UpTo(1), "no state of its own";
    FCMA 16: UpTo(1), "no state of its own";
    LRCPC 20: UpTo(3), "no state of its own";
    GPA 24: UpTo(1), "the keys are switched";
    GPI 28: UpTo(1), "the keys are switched";
    FRINTTS 32: UpTo(1), "no state of its own";
    SB 36: UpTo(1), "no state of its own";
    SPECRES 40: UpTo(2), "acts within the guest's VMID";
    BF16 44: UpTo(2), "no state but FPCR";
    DGH 48: UpTo(1), "a hint";
    I8MM 52: UpTo(1), "no state of its own";
    XS 56: UpTo(1), "the nXS forms act within the guest's VMID";
    LS64 60: Hide, "ACCDATA_EL1 is not switched";
};

const ISAR2: &[Field] = fields! {
    WFxT 0: Hide, "a trapped wait has no timeout";
    RPRES 4: UpTo(1), "no state but FPCR";
    GPA3 8: UpTo(1), "the keys are switched";
    APA3 12: UpTo(5), "the keys are switched";
    MOPS 16: UpTo(1), "no state but general registers; HCRX_EL2.MSCEn is set";
    BC 20: UpTo(1), "no state of its own";
    PAC_frac 24: UpTo(1), "the keys are switched";
    CLRBHB 28: UpTo(1), "acts on the CPU's own history";
    SYSREG_128 32: Hide, "128-bit registers are not switched";
    SYSINSTR_128 36: Hide, "as SYSREG_128";
    PRFMSLC 40: UpTo(1), "a hint";
    PCDPHINT 44: UpTo(1), "a hint";
    RPRFM 48: UpTo(1), "a hint";
    CSSC 52: UpTo(2), "no state of its own; 2 is compare and branch";
    LUT 56: UpTo(1), "no state of its own";
    ATS1A 60: UpTo(1), "answers in PAR_EL1, which is switched";
};

const ISAR3: &[Field] = fields! {
    CPA 0: UpTo(1), "2 needs SCTLR2_EL1, which is not switched";
    FAMINMAX 4: UpTo(1), "no state of its own";
    TLBIW 8: Hide, "concerns stage 2";
    PACM 12: Hide, "needs SCTLR2_EL1, which is not switched";
    LSFE 16: UpTo(1), "no state of its own";
    OCCMO 20: Hide, "shown when a machine has it";
    LSUI 24: UpTo(1), "no state of its own";
    FPRCVT 28: UpTo(1), "no state of its own";
    PAC_frac2 32: Hide, "as PACM";
    MTETC 36: Hide, "as MTE";
    LSCSHINT 40: Hide, "shown when a machine has it";
    LSCP 44: Hide, "shown when a machine has it";
};
