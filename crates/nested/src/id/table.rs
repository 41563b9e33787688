//! The table (DDI 0487, D24.2, the entry of each register).

use droste_arm64::Granule;

use super::Policy::{AsWithout, Either, Fixed, Hide, Host, StageTwo};
use super::{Field, Register};

/// Registers with a field that changes.
pub fn registers() -> &'static [Register] {
    REGISTERS
}

/// Fields of one register: name, lowest bit, policy and reason.
macro_rules! fields {
    ($($name:ident $shift:literal : $policy:expr, $why:literal;)*) => {
        &[$(Field {
            name: stringify!($name),
            shift: $shift,
            policy: $policy,
            why: $why,
        }),*]
    };
}
/// A register by its name.
macro_rules! register {
    ($name:ident, $fields:expr) => {
        Register {
            register: droste_arm64::sysreg::$name,
            name: stringify!($name),
            fields: $fields,
        }
    };
}

static REGISTERS: &[Register] = &[
    register!(ID_AA64PFR0_EL1, PFR0),
    register!(ID_AA64PFR2_EL1, PFR2),
    register!(ID_AA64DFR0_EL1, DFR0),
    register!(ID_AA64ISAR0_EL1, ISAR0),
    register!(ID_AA64ISAR1_EL1, ISAR1),
    register!(ID_AA64ISAR2_EL1, ISAR2),
    register!(ID_AA64MMFR0_EL1, MMFR0),
    register!(ID_AA64MMFR1_EL1, MMFR1),
    register!(ID_AA64MMFR2_EL1, MMFR2),
    register!(ID_AA64MMFR3_EL1, MMFR3),
    register!(ID_AA64MMFR4_EL1, MMFR4),
];

const PFR0: &[Field] = fields! {
    EL2 8: Fixed(1), "virtual EL2, in AArch64 only";
    RAS 28: Hide, "virtual SErrors have no syndrome: VSESR_EL2 and VDISR_EL2 are not composed";
    SVE 32: Hide, "ZCR_EL2 and the traps of CPTR_EL2.ZEN are not emulated";
    SEL2 36: Hide, "no Secure state";
    MPAM 40: Hide, "MPAM2_EL2 and its traps are not emulated";
    AMU 44: Hide, "CPTR_EL2.TAM and counter offsets are not emulated";
    RME 52: Hide, "no Realms";
};

const PFR2: &[Field] = fields! {
    UINJ 16: Hide, "SPSR_EL2.UINJ is not handed on";
    FGDT 24: Hide, "as FGT";
};

const DFR0: &[Field] = fields! {
    PMUVer 8: Hide, "MDCR_EL2.HPMN and its traps are not emulated";
    PMSVer 32: Hide, "MDCR_EL2.E2PB and its traps are not emulated";
    TraceFilt 40: Hide, "TRFCR_EL2 is not emulated";
    TraceBuffer 44: Hide, "MDCR_EL2.E2TB is not emulated";
    MTPMU 48: Hide, "as PMUVer";
    BRBE 52: Hide, "BRBCR_EL2 is not emulated";
    HPMN0 60: Hide, "as PMUVer";
};

const ISAR0: &[Field] = fields! {
    TLB 56: AsWithout(2), "outer shareable and range forms for EL2 and stage 2 are emulated";
};

const ISAR1: &[Field] = fields! {
    SPECRES 40: Hide, "hardware ignores an operand that names EL2 when virtual EL2 gives it";
    XS 56: AsWithout(1), "the nXS forms for EL2 and stage 2 are emulated";
};

const ISAR2: &[Field] = fields! {
    MOPS 16: Hide, "HCRX_EL2.MSCEn, by which L1 would give it to L2, is hidden";
    SYSREG_128 32: Hide, "128-bit accesses to VTTBR_EL2 and the like are not emulated";
    SYSINSTR_128 36: Hide, "TLBIP is not emulated";
    ATS1A 60: Hide, "AT S1E1A and AT S1E2A are not emulated";
};

const MMFR0: &[Field] = fields! {
    PARange 0: AsWithout(5), "L1's stage 2 has 48-bit addresses at most: no FEAT_LPA";
    TGran16_2 32: StageTwo(Granule::Kib16), "L1's tables are walked in software, on any host";
    TGran64_2 36: StageTwo(Granule::Kib64), "L1's tables are walked in software, on any host";
    TGran4_2 40: StageTwo(Granule::Kib4), "L1's tables are walked in software, on any host";
    FGT 56: Hide, "fine-grained traps are not evaluated";
    ECV 60: AsWithout(1), "EL1TVT and EL1TVCT are forwarded; 2 brings CNTPOFF_EL2, which is not composed";
};

const MMFR1: &[Field] = fields! {
    HAFDBS 0: AsWithout(2), "at stage 2 access flags and dirty state are set in software; 3 is table descriptors";
    VMIDBits 4: Fixed(2), "L1's VMIDs are keys of shadow contexts, not the hardware's";
    VH 8: Either { vhe: 1, nvhe: 0 }, "as the virtual machine's description asks";
    LO 16: Hide, "HCR_EL2.TLOR is not emulated";
    XNX 28: Host(1), "a shadow's leaf has what the hardware has";
    TWED 32: Hide, "HCR_EL2.TWEDEL is not emulated";
    HCX 40: Hide, "HCRX_EL2 is not emulated";
};

const MMFR2: &[Field] = fields! {
    NV 24: Hide, "L1's guests are no hypervisors";
    ST 28: AsWithout(1), "the walk of stage 2 has small tables as well";
    FWB 40: Host(1), "a shadow's leaf says what the hardware understands";
    TTL 48: AsWithout(1), "level hints are used";
    BBM 52: AsWithout(2), "the walk ignores nT, and reads either size";
    EVT 56: Host(2), "the traps are forwarded, where hardware has them";
};

const MMFR3: &[Field] = fields! {
    S2PIE 12: Hide, "indirect permissions at stage 2 are not walked";
    S2POE 20: Hide, "overlays at stage 2 are not walked";
    MEC 28: Hide, "no Realms";
    D128_2 36: Hide, "128-bit descriptors at stage 2 are not walked";
};

const MMFR4: &[Field] = fields! {
    HACDBS 12: Hide, "HACDBSBR_EL2 and HDBSSBR_EL2 are not emulated";
    NV_frac 20: Hide, "as NV";
    E2H0 24: Either { vhe: 0xf, nvhe: 0 }, "with FEAT_VHE E2H is RES1: writes of HCR_EL2 are not seen";
    RMEGDI 28: Hide, "no Realms";
    TLBID 40: Hide, "TLBI domains are not emulated";
    TEV 52: Hide, "traps of EL2 that are not forwarded";
};
