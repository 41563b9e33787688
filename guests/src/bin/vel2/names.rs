//! Registers and instructions that the checks name (DDI 0487, C5 and D24; IHI 0069, 12.2 and 12.4).

use droste_guests::encode::Name;

pub(crate) use droste_guests::encode::ISB;

macro_rules! names {
    ($($name:ident = $op0:literal $op1:literal $crn:literal $crm:literal $op2:literal;)*) => {
        $(pub(crate) const $name: Name = Name::new($op0, $op1, $crn, $crm, $op2);)*
    };
}

names! {
    MIDR_EL1 = 3 0 0 0 0;
    MPIDR_EL1 = 3 0 0 0 5;
    REVIDR_EL1 = 3 0 0 0 6;
    AIDR_EL1 = 3 1 0 0 7;
    CTR_EL0 = 3 3 0 0 1;
    CLIDR_EL1 = 3 1 0 0 1;
    CSSELR_EL1 = 3 2 0 0 0;
    ID_AA64PFR0_EL1 = 3 0 0 4 0;
    ID_AA64MMFR0_EL1 = 3 0 0 7 0;
    ID_AA64MMFR1_EL1 = 3 0 0 7 1;
    ID_AA64MMFR2_EL1 = 3 0 0 7 2;
    SCTLR_EL1 = 3 0 1 0 0;
    ACTLR_EL1 = 3 0 1 0 1;
    CPACR_EL1 = 3 0 1 0 2;
    TTBR0_EL1 = 3 0 2 0 0;
    TTBR1_EL1 = 3 0 2 0 1;
    TCR_EL1 = 3 0 2 0 2;
    SPSR_EL1 = 3 0 4 0 0;
    ELR_EL1 = 3 0 4 0 1;
    SP_EL0 = 3 0 4 1 0;
    DAIF = 3 3 4 2 1;
    ESR_EL1 = 3 0 5 2 0;
    FAR_EL1 = 3 0 6 0 0;
    PAR_EL1 = 3 0 7 4 0;
    MAIR_EL1 = 3 0 10 2 0;
    AMAIR_EL1 = 3 0 10 3 0;
    VBAR_EL1 = 3 0 12 0 0;
    CONTEXTIDR_EL1 = 3 0 13 0 1;
    TPIDR_EL1 = 3 0 13 0 4;
    TPIDR_EL0 = 3 3 13 0 2;
    TPIDRRO_EL0 = 3 3 13 0 3;
    CNTKCTL_EL1 = 3 0 14 1 0;
    CNTFRQ_EL0 = 3 3 14 0 0;
    CNTPCT_EL0 = 3 3 14 0 1;
    CNTVCT_EL0 = 3 3 14 0 2;
    CNTP_CTL_EL0 = 3 3 14 2 1;
    CNTP_CVAL_EL0 = 3 3 14 2 2;
    CNTV_TVAL_EL0 = 3 3 14 3 0;
    CNTV_CTL_EL0 = 3 3 14 3 1;
    CNTV_CVAL_EL0 = 3 3 14 3 2;
    MDSCR_EL1 = 2 0 0 2 2;
    OSLAR_EL1 = 2 0 1 0 4;
    MDRAR_EL1 = 2 0 1 0 0;
    OSLSR_EL1 = 2 0 1 1 4;

    VPIDR_EL2 = 3 4 0 0 0;
    VMPIDR_EL2 = 3 4 0 0 5;
    HCR_EL2 = 3 4 1 1 0;
    VTTBR_EL2 = 3 4 2 1 0;
    VTCR_EL2 = 3 4 2 1 2;
    SPSR_EL2 = 3 4 4 0 0;
    ELR_EL2 = 3 4 4 0 1;
    SP_EL1 = 3 4 4 1 0;
    ESR_EL2 = 3 4 5 2 0;
    FAR_EL2 = 3 4 6 0 0;
    HPFAR_EL2 = 3 4 6 0 4;
    MAIR_EL2 = 3 4 10 2 0;
    VBAR_EL2 = 3 4 12 0 0;
    CONTEXTIDR_EL2 = 3 4 13 0 1;
    CNTVOFF_EL2 = 3 4 14 0 3;
    CNTHP_CTL_EL2 = 3 4 14 2 1;
    CNTHV_CTL_EL2 = 3 4 14 3 1;
    CNTHP_CVAL_EL2 = 3 4 14 2 2;
    CNTHV_CVAL_EL2 = 3 4 14 3 2;
    MDCR_EL2 = 3 4 1 1 1;
    CPTR_EL2 = 3 4 1 1 2;
    TTBR1_EL2 = 3 4 2 0 1;

    ICC_PMR_EL1 = 3 0 4 6 0;
    ICC_IAR0_EL1 = 3 0 12 8 0;
    ICC_EOIR0_EL1 = 3 0 12 8 1;
    ICC_HPPIR0_EL1 = 3 0 12 8 2;
    ICC_BPR0_EL1 = 3 0 12 8 3;
    ICC_AP0R0_EL1 = 3 0 12 8 4;
    ICC_AP1R0_EL1 = 3 0 12 9 0;
    ICC_DIR_EL1 = 3 0 12 11 1;
    ICC_RPR_EL1 = 3 0 12 11 3;
    ICC_BPR1_EL1 = 3 0 12 12 3;
    ICC_IGRPEN0_EL1 = 3 0 12 12 6;
    ICC_SGI1R_EL1 = 3 0 12 11 5;
    ICC_IAR1_EL1 = 3 0 12 12 0;
    ICC_EOIR1_EL1 = 3 0 12 12 1;
    ICC_HPPIR1_EL1 = 3 0 12 12 2;
    ICC_CTLR_EL1 = 3 0 12 12 4;
    ICC_IGRPEN1_EL1 = 3 0 12 12 7;
    ICH_HCR_EL2 = 3 4 12 11 0;
    ICH_MISR_EL2 = 3 4 12 11 2;
    ICH_EISR_EL2 = 3 4 12 11 3;
    ICH_ELRSR_EL2 = 3 4 12 11 5;
    ICH_VMCR_EL2 = 3 4 12 11 7;
    ICH_AP1R0_EL2 = 3 4 12 9 0;
    ICH_LR0_EL2 = 3 4 12 12 0;
    ICH_LR1_EL2 = 3 4 12 12 1;

    TLBI_VMALLE1IS = 1 0 8 3 0;
    TLBI_VAE1 = 1 0 8 7 1;
    DC_ISW = 1 0 7 6 2;
    DC_CIVAC = 1 3 7 14 1;
    DC_CVAC = 1 3 7 10 1;
    DC_CVAU = 1 3 7 11 1;
    IC_IVAU = 1 3 7 5 1;
    IC_IALLU = 1 0 7 5 0;
    DC_ZVA = 1 3 7 4 1;
    IMPLEMENTATION_DEFINED = 3 0 15 0 0;
}
