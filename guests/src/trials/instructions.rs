//! ID_AA64ISAR*_EL1 (DDI 0487, D24.2).

use super::How::{Remains, Unseen};
use super::{Field, Register, fields, raises, register, run, run_at_el1};
use crate::encode::Name;

pub(super) static REGISTERS: &[Register] = &[
    register!(ID_AA64ISAR0_EL1 3 0 0 6 0, ISAR0),
    register!(ID_AA64ISAR1_EL1 3 0 0 6 1, ISAR1),
    register!(ID_AA64ISAR2_EL1 3 0 0 6 2, ISAR2),
    register!(ID_AA64ISAR3_EL1 3 0 0 6 3, ISAR3),
];

const ISAR1_EL1: Name = Name::new(3, 0, 0, 6, 1);
const ISAR2_EL1: Name = Name::new(3, 0, 0, 6, 2);
/// APA, API and APA3: whichever cipher there is.
const ADDRESS: &[(Name, u32)] = &[(ISAR1_EL1, 4), (ISAR1_EL1, 8), (ISAR2_EL1, 12)];
/// GPA, GPI and GPA3.
const GENERIC: &[(Name, u32)] = &[(ISAR1_EL1, 24), (ISAR1_EL1, 28), (ISAR2_EL1, 8)];
const HINT: super::How = Unseen("a hint");

const ISAR0: &[Field] = fields! {
    AES 4: 1 run!("try_aes"), 2 run!("try_pmull");
    SHA1 8: 1 run!("try_sha1");
    SHA2 12: 1 run!("try_sha256"), 2 run!("try_sha512");
    CRC32 16: 1 run!("try_crc32");
    Atomic 20: 2 run!("try_lse"), 3 run!("try_lse128");
    TME 24: 1 run!("try_tme");
    RDM 28: 1 run!("try_rdm");
    SHA3 32: 1 run!("try_sha3");
    SM3 36: 1 run!("try_sm3");
    SM4 40: 1 run!("try_sm4");
    DP 44: 1 run!("try_dotprod");
    FHM 48: 1 run!("try_fhm");
    TS 52: 1 run!("try_flagm"), 2 run!("try_flagm2");
    TLB 56: 1 run!("try_tlb_outer"), 2 run!("try_tlb_range");
    RNDR 60: 1 run!("try_rndr");
};

const ISAR1: &[Field] = fields! {
    DPB 0: 1 run!("try_dpb"), 2 run!("try_dpb2");
    APA 4 (or ADDRESS): 1 run!("try_pac_address"), 2 Unseen("what a code is made of"), 4 raises!("try_pac_faults", 0x1c);
    API 8 (or ADDRESS): 1 run!("try_pac_address"), 2 Unseen("what a code is made of"), 4 raises!("try_pac_faults", 0x1c);
    JSCVT 12: 1 run!("try_jscvt");
    FCMA 16: 1 run!("try_fcma");
    LRCPC 20: 1 run!("try_ldapr"), 2 run!("try_ldapur"), 3 run!("try_ldiapp");
    GPA 24 (or GENERIC): 1 run!("try_pac_generic");
    GPI 28 (or GENERIC): 1 run!("try_pac_generic");
    FRINTTS 32: 1 run!("try_frintts");
    SB 36: 1 run!("try_sb");
    SPECRES 40: 1 run!("try_predres"), 2 run!("try_predres2");
    BF16 44: 1 run!("try_bf16"), 2 run!("try_ebf16");
    DGH 48: 1 HINT;
    I8MM 52: 1 run!("try_i8mm");
    XS 56: 1 run!("try_xs");
    LS64 60: 1 run!("try_ls64");
};

const ISAR2: &[Field] = fields! {
    WFxT 0: 2 Remains("WFET and WFIT trap only where WFE and WFI do");
    RPRES 4: 1 run!("try_rpres");
    GPA3 8 (or GENERIC): 1 run!("try_pac_generic");
    APA3 12 (or ADDRESS): 1 run!("try_pac_address"), 2 Unseen("what a code is made of"), 4 raises!("try_pac_faults", 0x1c);
    MOPS 16: 1 run_at_el1!("try_mops", "HCRX_EL2.MSCEn is one for all guests");
    BC 20: 1 run!("try_hbc");
    PAC_frac 24: 1 Unseen("which bits hold a code is the implementation's");
    CLRBHB 28: 1 HINT;
    SYSREG_128 32: 1 run!("try_mrrs");
    SYSINSTR_128 36: 1 run!("try_tlbip");
    PRFMSLC 40: 1 HINT;
    PCDPHINT 44: 1 HINT;
    RPRFM 48: 1 HINT;
    CSSC 52: 1 run!("try_cssc"), 2 run!("try_cmpbr");
    LUT 56: 1 run!("try_lut");
    ATS1A 60: 1 run!("try_ats1a");
};

const ISAR3: &[Field] = fields! {
    CPA 0: 1 run!("try_cpa");
    FAMINMAX 4: 1 run!("try_faminmax");
    TLBIW 8: 1 run!("try_tlbiw");
    PACM 12: 1 HINT;
    LSFE 16: 1 run!("try_lsfe");
    OCCMO 20: 1 run!("try_occmo");
    LSUI 24: 1 run!("try_lsui");
    FPRCVT 28: 1 run!("try_fprcvt");
    PAC_frac2 32: 1 Unseen("what a code is made of is the implementation's");
    MTETC 36: 1 Unseen("MTE is tried");
    LSCSHINT 40: 1 HINT;
    LSCP 44: 1 run!("try_lscp");
};
