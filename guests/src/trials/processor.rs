//! ID_AA64PFR*_EL1, ID_AA64DFR*_EL1 and what goes with them (DDI 0487, D24.2).

use super::How::{self, Mode, NoMode, Remains, State, Unseen};
use super::{Field, Register, fields, raises, reads, register, run};

pub(super) static REGISTERS: &[Register] = &[
    register!(ID_AA64PFR0_EL1 3 0 0 4 0, PFR0),
    register!(ID_AA64PFR1_EL1 3 0 0 4 1, PFR1),
    register!(ID_AA64PFR2_EL1 3 0 0 4 2, PFR2),
    register!(ID_AA64ZFR0_EL1 3 0 0 4 4, ALL_OF_SVE),
    register!(ID_AA64SMFR0_EL1 3 0 0 4 5, ALL_OF_SME),
    register!(ID_AA64FPFR0_EL1 3 0 0 4 7, ALL_OF_FP8),
    register!(ID_AA64DFR0_EL1 3 0 0 5 0, DFR0),
    register!(ID_AA64DFR1_EL1 3 0 0 5 1, DFR1),
    register!(ID_AA64DFR2_EL1 3 0 0 5 2, DFR2),
    register!(ID_AA64AFR0_EL1 3 0 0 5 4, AFR),
    register!(ID_AA64AFR1_EL1 3 0 0 5 5, AFR),
];

/// PSTATE.BTYPE, SSBS and DIT in an SPSR.
const BTYPE: u64 = 1 << 10;
const SSBS: u64 = 1 << 12;
const DIT: u64 = 1 << 24;
/// EL0, and AArch32's supervisor mode.
const EL0: u64 = 0;
const AARCH32_SVC: u64 = 0x13;

const OF_PMU: How = Unseen("PMUVer is tried");
const MTE: How = reads!(3 0 1 0 6);
const MPAM: How = reads!(3 0 10 5 0);
const FPMR: How = reads!(3 3 4 4 2);
const TRBLIMITR: How = reads!(3 0 9 11 0);
const PMSCR: How = reads!(3 0 9 9 0);
const SCXTNUM_EL1: How = reads!(3 0 13 0 7);
const SCXTNUM_EL0: How = reads!(3 3 13 0 7);
const MDSELR: How = reads!(2 0 0 4 2);
const GCIE: How = reads!(3 1 12 0 2);

const PFR0: &[Field] = fields! {
    EL0 0 (kernel): 1 Mode(EL0, 0x20), 2 Remains("HCR_EL2 has no bit that keeps EL0 from AArch32");
    EL1 4: 1 Unseen("this is it, or is under it"), 2 NoMode(AARCH32_SVC);
    EL2 8: 1 reads!(3 4 1 1 0), 1 reads!(3 4 2 1 0);
    EL3 12: 1 Unseen("a monitor answers, or none"), 2 Unseen("as 1");
    FP 16 (signed): 0 run!("try_fp"), 1 run!("try_fp_half");
    AdvSIMD 20 (signed): 0 run!("try_simd"), 1 run!("try_simd_half");
    GIC 24: 1 reads!(3 0 4 6 0);
    RAS 28: 1 reads!(3 0 5 3 0);
    SVE 32: 1 run!("try_sve"), 1 reads!(3 0 1 2 0);
    SEL2 36: 1 Unseen("Secure state");
    MPAM 40: 1 MPAM, 1 reads!(3 0 10 5 1);
    AMU 44: 1 reads!(3 3 13 2 0), 1 reads!(3 3 13 4 0);
    DIT 48: 1 State(DIT), 1 reads!(3 3 4 2 5);
    RME 52: 1 reads!(3 6 2 1 6);
    CSV2 56: 1 Unseen("how the hardware speculates"), 2 SCXTNUM_EL1, 2 SCXTNUM_EL0;
    CSV3 60: 1 Unseen("how the hardware speculates");
};

const PFR1: &[Field] = fields! {
    BT 0: 1 State(BTYPE);
    SSBS 4: 1 State(SSBS), 2 reads!(3 3 4 2 6);
    MTE 8: 1 Remains("IRG and its like work on numbers where there are no tags, and trap nowhere"), 2 MTE;
    RAS_frac 12: 1 reads!(3 0 5 4 4);
    MPAM_frac 16: 1 MPAM;
    SME 24: 1 run!("try_sme"), 1 reads!(3 3 13 0 5), 1 reads!(3 0 1 2 6);
    RNDR_trap 28: 1 Unseen("a trap to EL3");
    CSV2_frac 32: 1 Unseen("how the hardware speculates"), 2 Unseen("CSV2 is tried");
    NMI 36: 1 run!("try_allint");
    MTE_frac 40: 1 MTE;
    GCS 44: 1 run!("try_gcs"), 1 reads!(3 0 2 5 1);
    THE 48: 1 run!("try_the"), 1 reads!(3 0 13 0 6);
    MTEX 52: 1 MTE;
    DF2 56: 1 reads!(3 0 1 0 3);
    PFAR 60: 1 reads!(3 0 6 0 5);
};

const PFR2: &[Field] = fields! {
    MTEPERM 0: 1 MTE;
    MTESTOREONLY 4: 1 MTE;
    MTEFAR 8: 1 MTE;
    GCIE 12: 1 GCIE;
    UINJ 16: 1 Unseen("a bit of SPSR_EL2 that hardware looks at");
    MTEEIRG 20: 1 MTE;
    FGDT 24: 1 Unseen("a trap of EL2");
    MPAM2 28: 1 MPAM;
    FPMR 32: 1 FPMR;
    VMTE 36: 1 MTE;
    VMTETC 40: 1 MTE;
    VMTETCL 44: 1 MTE;
};

const ALL_OF_SVE: &[Field] = fields! {
    all 0 / 64: 1 run!("try_sve");
};

const ALL_OF_SME: &[Field] = fields! {
    all 0 / 64: 1 run!("try_sme");
};

const ALL_OF_FP8: &[Field] = fields! {
    all 0 / 64: 1 FPMR;
};

// At a virtual EL2 breakpoints and watchpoints never match, as docs/limits.md tells: two of each are the least that can be
// said.
const DFR0: &[Field] = fields! {
    DebugVer 0: 6 reads!(2 0 0 2 2);
    TraceVer 4: 1 reads!(2 1 0 3 0);
    PMUVer 8 (signed): 1 reads!(3 3 9 12 0);
    BRPs 12 (el1): 1 raises!("try_breakpoint_0", 0x31), 1 raises!("try_breakpoint_1", 0x31);
    PMSS 16: 1 reads!(3 0 9 13 3);
    WRPs 20 (el1): 1 raises!("try_watchpoint_0", 0x35), 1 raises!("try_watchpoint_1", 0x35);
    SEBEP 24: 1 OF_PMU;
    CTX_CMPs 28: 0 Unseen("one of the breakpoints");
    PMSVer 32: 1 PMSCR;
    DoubleLock 36 (signed): 0 run!("try_double_lock");
    TraceFilt 40: 1 reads!(3 0 1 2 1);
    TraceBuffer 44: 1 TRBLIMITR;
    MTPMU 48 (signed): 1 OF_PMU;
    BRBE 52: 1 reads!(2 1 9 0 0);
    ExtTrcBuff 56: 1 TRBLIMITR;
    HPMN0 60: 1 OF_PMU;
};

const DFR1: &[Field] = fields! {
    SYSPMUID 0 / 8: 1 reads!(2 3 9 12 5);
    BRPs 8 / 8: 1 MDSELR;
    WRPs 16 / 8: 1 MDSELR;
    CTX_CMPs 24 / 8: 1 MDSELR;
    SPMU 32: 1 reads!(2 3 9 12 5);
    PMICNTR 36: 1 reads!(3 3 9 4 0);
    ABLE 40: 1 MDSELR;
    ITE 44: 1 reads!(3 0 1 2 3);
    EBEP 48: 1 reads!(3 0 4 3 1);
    DPFZS 52: 1 OF_PMU;
    ABL_CMPs 56 / 8: 1 MDSELR;
};

const DFR2: &[Field] = fields! {
    STEP 0: 1 reads!(2 0 0 5 2);
    BWE 4: 1 MDSELR;
    SPE_EXC 8: 1 PMSCR;
    SPE_nVM 12: 1 PMSCR;
    TRBE_EXC 16: 1 TRBLIMITR;
};

const AFR: &[Field] = fields! {
    all 0 / 64: 1 Unseen("the CPU model's own");
};
