//! Exception levels, extensions with state of their own, and debug: ID_AA64PFR*_EL1, ID_AA64DFR*_EL1 and the registers
//! of SVE, SME and FP8 (DDI 0487, D24.2).

use super::Policy::{Fixed, Hide, SignedUpTo, UpTo};
use super::{Field, Register, fields, register};

pub(super) static REGISTERS: &[Register] = &[
    register!(ID_AA64PFR0_EL1, PFR0),
    register!(ID_AA64PFR1_EL1, PFR1),
    register!(ID_AA64PFR2_EL1, PFR2),
    register!(ID_AA64ZFR0_EL1, ZFR0),
    register!(ID_AA64SMFR0_EL1, SMFR0),
    register!(ID_AA64FPFR0_EL1, FPFR0),
    register!(ID_AA64DFR0_EL1, DFR0),
    register!(ID_AA64DFR1_EL1, DFR1),
    register!(ID_AA64DFR2_EL1, DFR2),
    register!(ID_AA64AFR0_EL1, AFR),
    register!(ID_AA64AFR1_EL1, AFR),
];

const PFR0: &[Field] = fields! {
    EL0 0: Fixed(1), "AArch64 only: no AArch32 state is switched";
    EL1 4: Fixed(1), "AArch64 only";
    EL2 8: Hide, "the guest has no EL2";
    EL3 12: Hide, "the guest has no EL3";
    FP 16: SignedUpTo(1), "V0 to V31, FPCR and FPSR are switched; 1 is half precision";
    AdvSIMD 20: SignedUpTo(1), "as FP";
    GIC 24: Fixed(1), "the virtual GIC is a GICv3, whatever the host's";
    RAS 28: Hide, "VDISR_EL2 and VSESR_EL2 are not switched, error records trap";
    SVE 32: Hide, "Z, P and FFR registers are not switched";
    SEL2 36: Hide, "no Secure state";
    MPAM 40: Hide, "MPAM registers are not switched";
    AMU 44: Hide, "counters of the whole machine's doings; trapped";
    DIT 48: UpTo(1), "PSTATE.DIT goes with SPSR_EL2";
    RME 52: Hide, "no Realms";
    CSV2 56: UpTo(1), "2 brings SCXTNUM_ELx, which are not switched";
    CSV3 60: UpTo(1), "tells how the hardware speculates";
};

const PFR1: &[Field] = fields! {
    BT 0: UpTo(1), "PSTATE.BTYPE goes with SPSR_EL2";
    SSBS 4: UpTo(2), "PSTATE.SSBS goes with SPSR_EL2";
    MTE 8: Hide, "tags and their registers are not switched";
    RAS_frac 12: Hide, "as RAS";
    MPAM_frac 16: Hide, "as MPAM";
    SME 24: Hide, "ZA, streaming mode and TPIDR2_EL0 are not switched";
    RNDR_trap 28: Hide, "a trap to EL3";
    CSV2_frac 32: UpTo(1), "2 brings SCXTNUM_ELx, which are not switched";
    NMI 36: Hide, "the virtual GIC has no non-maskable interrupts";
    MTE_frac 40: Hide, "as MTE";
    GCS 44: Hide, "guarded control stack registers are not switched";
    THE 48: Hide, "RCWMASK_EL1 and RCWSMASK_EL1 are not switched";
    MTEX 52: Hide, "as MTE";
    DF2 56: Hide, "needs SCTLR2_EL1, which is not switched";
    PFAR 60: Hide, "PFAR_EL1 is not switched";
};

const PFR2: &[Field] = fields! {
    MTEPERM 0: Hide, "as MTE";
    MTESTOREONLY 4: Hide, "as MTE";
    MTEFAR 8: Hide, "as MTE";
    GCIE 12: Hide, "the virtual GIC is not a GICv5";
    UINJ 16: Hide, "a way of injection for EL2";
    MTEEIRG 20: Hide, "as MTE";
    FGDT 24: Hide, "fine-grained traps of EL2";
    MPAM2 28: Hide, "as MPAM";
    FPMR 32: Hide, "FPMR is not switched";
    VMTE 36: Hide, "as MTE";
    VMTETC 40: Hide, "as MTE";
    VMTETCL 44: Hide, "as MTE";
};

const DFR0: &[Field] = fields! {
    DebugVer 0: Fixed(6), "the least: Armv8 debug; its registers trap";
    TraceVer 4: Hide, "trace registers trap";
    PMUVer 8: Hide, "counters are not switched; they trap";
    BRPs 12: Fixed(1), "two, the least; switched in guests without EL2";
    PMSS 16: Hide, "as PMUVer";
    WRPs 20: Fixed(1), "two, the least; switched in guests without EL2";
    SEBEP 24: Hide, "as PMUVer";
    CTX_CMPs 28: Fixed(0), "one, the least";
    PMSVer 32: Hide, "the profiling buffer is not switched; it traps";
    DoubleLock 36: Fixed(0xf), "not there; OSDLR_EL1 reads as zero and ignores writes";
    TraceFilt 40: Hide, "TRFCR_EL1 is not switched; it traps";
    TraceBuffer 44: Hide, "the trace buffer is not switched";
    MTPMU 48: Hide, "as PMUVer";
    BRBE 52: Hide, "branch records are not switched";
    ExtTrcBuff 56: Hide, "as TraceBuffer";
    HPMN0 60: Hide, "as PMUVer, and for EL2";
};

const DFR1: &[Field] = fields! {
    SYSPMUID 0 / 8: Hide, "as PMUVer";
    BRPs 8 / 8: Hide, "ID_AA64DFR0_EL1 counts them";
    WRPs 16 / 8: Hide, "ID_AA64DFR0_EL1 counts them";
    CTX_CMPs 24 / 8: Hide, "ID_AA64DFR0_EL1 counts them";
    SPMU 32: Hide, "system counters are not switched";
    PMICNTR 36: Hide, "as PMUVer";
    ABLE 40: Hide, "linked breakpoints beyond the least";
    ITE 44: Hide, "as TraceVer";
    EBEP 48: Hide, "as PMUVer";
    DPFZS 52: Hide, "as PMUVer";
    ABL_CMPs 56 / 8: Hide, "as ABLE";
};

const DFR2: &[Field] = fields! {
    STEP 0: Hide, "MDSTEPOP_EL1 is not switched";
    BWE 4: Hide, "breakpoints beyond the least";
    SPE_EXC 8: Hide, "as PMSVer";
    SPE_nVM 12: Hide, "as PMSVer";
    TRBE_EXC 16: Hide, "as TraceBuffer";
};

const ZFR0: &[Field] = fields! {
    all 0 / 64: Hide, "as SVE";
};

const SMFR0: &[Field] = fields! {
    all 0 / 64: Hide, "as SME";
};

const FPFR0: &[Field] = fields! {
    all 0 / 64: Hide, "as FPMR";
};

const AFR: &[Field] = fields! {
    all 0 / 64: Hide, "no feature of the CPU model's own";
};
