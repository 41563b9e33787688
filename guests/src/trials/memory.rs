//! ID_AA64MMFR*_EL1 (DDI 0487, D24.2).

use super::How::{self, Remains, Unseen};
use super::{Field, Register, fields, grants, reads, reads_of_el2, register, run};

pub(super) static REGISTERS: &[Register] = &[
    register!(ID_AA64MMFR0_EL1 3 0 0 7 0, MMFR0),
    register!(ID_AA64MMFR1_EL1 3 0 0 7 1, MMFR1),
    register!(ID_AA64MMFR2_EL1 3 0 0 7 2, MMFR2),
    register!(ID_AA64MMFR3_EL1 3 0 0 7 3, MMFR3),
    register!(ID_AA64MMFR4_EL1 3 0 0 7 4, MMFR4),
];

const SPECULATION: How = Unseen("how the hardware speculates");
const AN_ERROR: How = Unseen("how the hardware reports errors that no guest can make");
const EL2_TRAP: How = Unseen("bits of HCR_EL2, which FEAT_NV2 keeps in memory");
const TCR2: How = reads!(3 0 2 0 3);

const MMFR0: &[Field] = fields! {
    PARange 0: 1 Unseen("stage 2 has no more");
    ASIDBits 4: 2 grants!("try_asid_16");
    BigEnd 8: 1 grants!("try_big_endian");
    SNSMem 12: 1 Unseen("Secure state");
    BigEndEL0 16 (kernel): 1 grants!("try_e0e");
    TGran16 20 (kernel): 1 grants!("try_granule_16");
    TGran64 24 (signed kernel): 0 run!("try_granule_64");
    TGran4 28 (signed kernel): 0 run!("try_granule_4");
    TGran16_2 32: 2 grants!("try_stage2_16");
    TGran64_2 36: 2 grants!("try_stage2_64");
    TGran4_2 40: 2 grants!("try_stage2_4");
    ExS 44 (kernel): 1 grants!("try_eis"), 1 grants!("try_eos");
    FGT 56: 1 reads_of_el2!(1 1 4);
    ECV 60: 1 run!("try_counter_ss"), 2 reads_of_el2!(14 0 6);
};

const MMFR1: &[Field] = fields! {
    HAFDBS 0 (kernel): 1 grants!("try_access_flag"), 2 grants!("try_dirty_state");
    VMIDBits 4: 2 grants!("try_vmid_16");
    VH 8: 1 reads!(3 4 2 0 1), 1 reads!(3 4 14 3 2);
    HPDS 12 (kernel): 1 grants!("try_hierarchy_off"), 2 Unseen("bits for the implementation's use");
    LO 16: 1 reads!(3 0 10 4 7);
    PAN 20 (kernel): 1 run!("try_pan"), 2 run!("try_pan2"), 3 grants!("try_epan");
    SpecSEI 24: 1 SPECULATION;
    XNX 28: 1 Unseen("tried by `vel2`");
    TWED 32: 1 Unseen("a delay");
    ETS 36: 1 Unseen("how the hardware orders walks");
    HCX 40: 1 reads_of_el2!(1 2 2);
    AFP 44: 1 grants!("try_ah");
    nTLBPA 48: 1 Unseen("what the TLBs hold");
    TIDCP1 52 (kernel): 1 grants!("try_tidcp");
    CMOW 56 (kernel): 1 grants!("try_cmow");
    ECBHB 60: 1 SPECULATION;
};

const MMFR2: &[Field] = fields! {
    CnP 0: 1 grants!("try_cnp");
    UAO 4: 1 reads!(3 0 4 2 4);
    LSM 8 (kernel): 1 grants!("try_lsmaoe"), 1 grants!("try_ntlsmd");
    IESB 12: 1 Remains("a bit of SCTLR_EL1, which is the guest's");
    VARange 16 (kernel): 1 grants!("try_address_52");
    CCIDX 20: 1 Unseen("how to read CCSIDR_EL1");
    NV 24: 2 reads_of_el2!(2 2 0);
    ST 28 (kernel): 1 grants!("try_small_tables");
    AT 32: 1 run!("try_unaligned");
    IDS 36: 1 Unseen("the class of an exception from EL0");
    FWB 40: 1 EL2_TRAP;
    TTL 48: 1 Unseen("a hint in an operand");
    BBM 52: 1 Unseen("what a TLB must bear");
    EVT 56: 1 EL2_TRAP;
    E0PD 60 (kernel): 1 grants!("try_e0pd");
};

const MMFR3: &[Field] = fields! {
    TCRX 0: 1 TCR2;
    SCTLRX 4: 1 reads!(3 0 1 0 3);
    S1PIE 8: 1 reads!(3 0 10 2 3);
    S2PIE 12: 1 reads!(3 4 10 2 5);
    S1POE 16: 1 reads!(3 0 10 2 4), 1 reads!(3 3 10 2 4);
    S2POE 20: 1 reads!(3 0 10 2 5);
    AIE 24: 1 reads!(3 0 10 2 1), 1 reads!(3 0 10 3 1);
    MEC 28: 1 reads!(3 4 10 8 0);
    D128 32: 1 run!("try_mrrs");
    D128_2 36: 1 run!("try_mrrs");
    SNERR 40: 1 AN_ERROR;
    ANERR 44: 1 AN_ERROR;
    SDERR 52: 1 AN_ERROR;
    ADERR 56: 1 AN_ERROR;
    Spec_FPACC 60: 1 SPECULATION;
};

const MMFR4: &[Field] = fields! {
    PoPS 0: 1 run!("try_pops");
    EIESB 4: 1 AN_ERROR;
    ASID2 8: 1 TCR2;
    HACDBS 12: 1 reads!(3 4 2 3 4);
    FGWTE3 16: 1 reads!(3 6 1 1 5);
    NV_frac 20: 1 Unseen("NV is tried");
    E2H0 24: 1 Unseen("tried by those guests at EL2 that clear E2H");
    RMEGDI 28: 1 Unseen("Realms");
    EAESR 32: 1 AN_ERROR;
    E3DSE 36: 1 reads!(3 6 12 1 1);
    TLBID 40: 1 reads!(3 0 10 4 6);
    SRMASK 44: 1 reads!(3 0 1 4 0);
    TPS 48: 1 Unseen("TRBE and SPE are tried");
    TEV 52: 1 EL2_TRAP;
    SCRX 56: 1 reads!(3 6 1 2 2);
    MTEFGT 60: 1 Unseen("MTE is tried");
};
