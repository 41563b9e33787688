//! Memory: ID_AA64MMFR*_EL1 (DDI 0487, D24.2). Features of stage 1, which is the guest's own, are shown; those of stage
//! 2 are not.

use super::Policy::{Fixed, Hide, Pass, PhysicalAddress, SignedUpTo, UpTo};
use super::{Field, Register, fields, register};

pub(super) static REGISTERS: &[Register] = &[
    register!(ID_AA64MMFR0_EL1, MMFR0),
    register!(ID_AA64MMFR1_EL1, MMFR1),
    register!(ID_AA64MMFR2_EL1, MMFR2),
    register!(ID_AA64MMFR3_EL1, MMFR3),
    register!(ID_AA64MMFR4_EL1, MMFR4),
];

const MMFR0: &[Field] = fields! {
    PARange 0: PhysicalAddress, "no wider than stage 2 translates";
    ASIDBits 4: UpTo(2), "ASIDs are the guest's own";
    BigEnd 8: UpTo(1), "SCTLR_EL1.EE is switched";
    SNSMem 12: Hide, "no Secure state";
    BigEndEL0 16: UpTo(1), "SCTLR_EL1.E0E is switched";
    TGran16 20: UpTo(1), "2 is 52-bit addresses, wider than stage 2 translates";
    TGran64 24: SignedUpTo(0), "as the host has it at stage 1";
    TGran4 28: SignedUpTo(0), "1 is 52-bit addresses, wider than stage 2 translates";
    TGran16_2 32: Fixed(1), "no stage 2 for the guest";
    TGran64_2 36: Fixed(1), "no stage 2 for the guest";
    TGran4_2 40: Fixed(1), "no stage 2 for the guest";
    ExS 44: UpTo(1), "SCTLR_EL1.EIS and EOS are switched";
    FGT 56: Hide, "traps of EL2";
    ECV 60: UpTo(1), "self-synchronizing counter reads do not trap; 2 is for EL2";
};

const MMFR1: &[Field] = fields! {
    HAFDBS 0: UpTo(2), "the guest's tables are its own; 3 needs TCR2_EL1";
    VMIDBits 4: Hide, "the guest has no EL2";
    VH 8: Hide, "the guest has no EL2";
    HPDS 12: UpTo(2), "TCR_EL1 is switched";
    LO 16: Hide, "limited ordering regions trap";
    PAN 20: UpTo(3), "PSTATE.PAN goes with SPSR_EL2, SCTLR_EL1.EPAN is switched";
    SpecSEI 24: UpTo(1), "tells how the hardware speculates";
    XNX 28: Hide, "concerns stage 2";
    TWED 32: Hide, "traps of EL2";
    ETS 36: UpTo(3), "tells how the hardware orders walks";
    HCX 40: Hide, "the guest has no EL2";
    AFP 44: UpTo(1), "no state but FPCR";
    nTLBPA 48: UpTo(1), "tells what the TLBs hold";
    TIDCP1 52: UpTo(1), "SCTLR_EL1.TIDCP is switched";
    CMOW 56: UpTo(1), "SCTLR_EL1.CMOW is switched";
    ECBHB 60: UpTo(1), "tells how the hardware speculates";
};

const MMFR2: &[Field] = fields! {
    CnP 0: UpTo(1), "shares only what VTTBR_EL2.CnP shares";
    UAO 4: UpTo(1), "PSTATE.UAO goes with SPSR_EL2";
    LSM 8: UpTo(1), "SCTLR_EL1.LSMAOE and nTLSMD are switched";
    IESB 12: Hide, "as RAS";
    VARange 16: UpTo(1), "virtual addresses are the guest's own; 2 needs TCR2_EL1";
    CCIDX 20: Pass, "the layout of CCSIDR_EL1, which the guest reads from hardware";
    NV 24: Hide, "the guest has no EL2";
    ST 28: UpTo(1), "TCR_EL1 is switched";
    AT 32: UpTo(1), "no state of its own";
    IDS 36: UpTo(1), "tells how the hardware reports a trap to EL1";
    FWB 40: Hide, "concerns stage 2";
    TTL 48: UpTo(1), "a hint in the guest's own TLBI";
    BBM 52: UpTo(2), "the guest's tables are its own";
    EVT 56: Hide, "traps of EL2";
    E0PD 60: UpTo(1), "TCR_EL1 is switched";
};

const MMFR3: &[Field] = fields! {
    TCRX 0: Hide, "TCR2_EL1 is not switched";
    SCTLRX 4: Hide, "SCTLR2_EL1 is not switched";
    S1PIE 8: Hide, "PIR_EL1 and PIRE0_EL1 are not switched";
    S2PIE 12: Hide, "concerns stage 2";
    S1POE 16: Hide, "POR_EL1 and POR_EL0 are not switched";
    S2POE 20: Hide, "concerns stage 2";
    AIE 24: Hide, "MAIR2_EL1 and AMAIR2_EL1 are not switched";
    MEC 28: Hide, "no Realms";
    D128 32: Hide, "128-bit registers are not switched";
    D128_2 36: Hide, "concerns stage 2";
    SNERR 40: Hide, "as RAS";
    ANERR 44: Hide, "as RAS";
    SDERR 52: Hide, "as RAS";
    ADERR 56: Hide, "as RAS";
    Spec_FPACC 60: UpTo(1), "tells how the hardware speculates";
};

const MMFR4: &[Field] = fields! {
    PoPS 0: Hide, "no point of physical storage that the guest could know";
    EIESB 4: Hide, "as RAS";
    ASID2 8: Hide, "needs TCR2_EL1, which is not switched";
    HACDBS 12: Hide, "concerns stage 2";
    FGWTE3 16: Hide, "traps of EL3";
    NV_frac 20: Hide, "the guest has no EL2";
    E2H0 24: Hide, "the guest has no EL2; 0 is what a CPU without the field reads";
    RMEGDI 28: Hide, "no Realms";
    EAESR 32: Hide, "as RAS";
    E3DSE 36: Hide, "the guest has no EL3";
    TLBID 40: Hide, "the guest's TLBI are broadcast as the hardware does";
    SRMASK 44: Hide, "mask registers are not switched";
    TPS 48: Hide, "as TRBE and SPE";
    TEV 52: Hide, "traps of EL2";
    SCRX 56: Hide, "the guest has no EL3";
    MTEFGT 60: Hide, "as MTE";
};
