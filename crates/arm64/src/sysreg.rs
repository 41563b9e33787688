//! System registers, named by the five fields of their encoding.

use core::fmt;

/// A system register, by the encoding that `MRS` and `MSR` carry (DDI 0487, C5.1).
///
/// ```
/// use droste_arm64::sysreg::SysReg;
/// assert_eq!(SysReg::new(3, 0, 0, 4, 0), droste_arm64::sysreg::ID_AA64PFR0_EL1);
/// assert_eq!(SysReg::all().last(), Some(SysReg::new(3, 7, 15, 15, 7)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SysReg(u16);

impl SysReg {
    /// The register `S<op0>_<op1>_C<crn>_C<crm>_<op2>`: 2, 3, 4, 4 and 3 bits; higher bits are dropped.
    pub const fn new(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Self {
        Self(
            (op0 as u16 & 3) << 14
                | (op1 as u16 & 7) << 11
                | (crn as u16 & 15) << 7
                | (crm as u16 & 15) << 3
                | op2 as u16 & 7,
        )
    }

    /// All encodings, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u16::MAX).map(Self)
    }

    /// Whether both name the same register; `==` for constants.
    pub const fn is(self, other: Self) -> bool {
        self.0 == other.0
    }

    /// The register of the same op0, op1 and CRn whose CRm and op2 are 0.
    #[must_use]
    pub const fn group(self) -> Self {
        Self(self.0 & !0x7f)
    }

    /// op0, 2 bits.
    pub const fn op0(self) -> u8 {
        (self.0 >> 14) as u8
    }
    /// op1, 3 bits.
    pub const fn op1(self) -> u8 {
        (self.0 >> 11) as u8 & 7
    }
    /// CRn, 4 bits.
    pub const fn crn(self) -> u8 {
        (self.0 >> 7) as u8 & 15
    }
    /// CRm, 4 bits.
    pub const fn crm(self) -> u8 {
        (self.0 >> 3) as u8 & 15
    }
    /// op2, 3 bits.
    pub const fn op2(self) -> u8 {
        self.0 as u8 & 7
    }
}

impl fmt::Display for SysReg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "S{}_{}_C{}_C{}_{}",
            self.op0(),
            self.op1(),
            self.crn(),
            self.crm(),
            self.op2()
        )
    }
}

impl fmt::Debug for SysReg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! registers {
    ($($name:ident = $op0:literal $op1:literal $crn:literal $crm:literal $op2:literal;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`.")]
            pub const $name: SysReg = SysReg::new($op0, $op1, $crn, $crm, $op2);
        )*
    };
}

// DDI 0487, D24: the identification group that HCR_EL2.TID3 traps, and the registers this project handles by name.
registers! {
    ID_PFR0_EL1 = 3 0 0 1 0;
    ID_AA64PFR0_EL1 = 3 0 0 4 0;
    ID_AA64PFR1_EL1 = 3 0 0 4 1;
    ID_AA64PFR2_EL1 = 3 0 0 4 2;
    ID_AA64ZFR0_EL1 = 3 0 0 4 4;
    ID_AA64SMFR0_EL1 = 3 0 0 4 5;
    ID_AA64FPFR0_EL1 = 3 0 0 4 7;
    ID_AA64DFR0_EL1 = 3 0 0 5 0;
    ID_AA64DFR1_EL1 = 3 0 0 5 1;
    ID_AA64DFR2_EL1 = 3 0 0 5 2;
    ID_AA64AFR0_EL1 = 3 0 0 5 4;
    ID_AA64AFR1_EL1 = 3 0 0 5 5;
    ID_AA64ISAR0_EL1 = 3 0 0 6 0;
    ID_AA64ISAR1_EL1 = 3 0 0 6 1;
    ID_AA64ISAR2_EL1 = 3 0 0 6 2;
    ID_AA64ISAR3_EL1 = 3 0 0 6 3;
    ID_AA64MMFR0_EL1 = 3 0 0 7 0;
    ID_AA64MMFR1_EL1 = 3 0 0 7 1;
    ID_AA64MMFR2_EL1 = 3 0 0 7 2;
    ID_AA64MMFR3_EL1 = 3 0 0 7 3;
    ID_AA64MMFR4_EL1 = 3 0 0 7 4;
    ACTLR_EL1 = 3 0 1 0 1;
    ICC_SGI1R_EL1 = 3 0 12 11 5;
    ICC_ASGI1R_EL1 = 3 0 12 11 6;
    ICC_SGI0R_EL1 = 3 0 12 11 7;
    ICC_SRE_EL1 = 3 0 12 12 5;
    MDSCR_EL1 = 2 0 0 2 2;
    OSLAR_EL1 = 2 0 1 0 4;
    OSLSR_EL1 = 2 0 1 1 4;
    OSDLR_EL1 = 2 0 1 3 4;
    DC_ISW = 1 0 7 6 2;
    DC_CSW = 1 0 7 10 2;
    DC_CISW = 1 0 7 14 2;
}

// DDI 0487, D24.2, D24.3 and D24.10: what a hypervisor at EL2 names, and the EL1 and EL0 registers that stand for EL2's.
registers! {
    VPIDR_EL2 = 3 4 0 0 0;
    VMPIDR_EL2 = 3 4 0 0 5;
    SCTLR_EL2 = 3 4 1 0 0;
    ACTLR_EL2 = 3 4 1 0 1;
    HCR_EL2 = 3 4 1 1 0;
    MDCR_EL2 = 3 4 1 1 1;
    CPTR_EL2 = 3 4 1 1 2;
    HSTR_EL2 = 3 4 1 1 3;
    HACR_EL2 = 3 4 1 1 7;
    TTBR0_EL2 = 3 4 2 0 0;
    TTBR1_EL2 = 3 4 2 0 1;
    TCR_EL2 = 3 4 2 0 2;
    VTTBR_EL2 = 3 4 2 1 0;
    VTCR_EL2 = 3 4 2 1 2;
    SPSR_EL2 = 3 4 4 0 0;
    ELR_EL2 = 3 4 4 0 1;
    SP_EL1 = 3 4 4 1 0;
    AFSR0_EL2 = 3 4 5 1 0;
    AFSR1_EL2 = 3 4 5 1 1;
    ESR_EL2 = 3 4 5 2 0;
    FAR_EL2 = 3 4 6 0 0;
    HPFAR_EL2 = 3 4 6 0 4;
    MAIR_EL2 = 3 4 10 2 0;
    AMAIR_EL2 = 3 4 10 3 0;
    VBAR_EL2 = 3 4 12 0 0;
    ICC_SRE_EL2 = 3 4 12 9 5;
    ICH_HCR_EL2 = 3 4 12 11 0;
    ICH_VTR_EL2 = 3 4 12 11 1;
    ICH_MISR_EL2 = 3 4 12 11 2;
    ICH_EISR_EL2 = 3 4 12 11 3;
    ICH_ELRSR_EL2 = 3 4 12 11 5;
    ICH_VMCR_EL2 = 3 4 12 11 7;
    CONTEXTIDR_EL2 = 3 4 13 0 1;
    TPIDR_EL2 = 3 4 13 0 2;
    CNTVOFF_EL2 = 3 4 14 0 3;
    CNTHCTL_EL2 = 3 4 14 1 0;
    CNTHP_TVAL_EL2 = 3 4 14 2 0;
    CNTHP_CTL_EL2 = 3 4 14 2 1;
    CNTHP_CVAL_EL2 = 3 4 14 2 2;
    CNTHV_TVAL_EL2 = 3 4 14 3 0;
    CNTHV_CTL_EL2 = 3 4 14 3 1;
    CNTHV_CVAL_EL2 = 3 4 14 3 2;
    SCTLR_EL1 = 3 0 1 0 0;
    CPACR_EL1 = 3 0 1 0 2;
    TTBR0_EL1 = 3 0 2 0 0;
    TTBR1_EL1 = 3 0 2 0 1;
    TCR_EL1 = 3 0 2 0 2;
    SPSR_EL1 = 3 0 4 0 0;
    ELR_EL1 = 3 0 4 0 1;
    AFSR0_EL1 = 3 0 5 1 0;
    AFSR1_EL1 = 3 0 5 1 1;
    ESR_EL1 = 3 0 5 2 0;
    FAR_EL1 = 3 0 6 0 0;
    MAIR_EL1 = 3 0 10 2 0;
    AMAIR_EL1 = 3 0 10 3 0;
    VBAR_EL1 = 3 0 12 0 0;
    CONTEXTIDR_EL1 = 3 0 13 0 1;
    CNTKCTL_EL1 = 3 0 14 1 0;
    CNTP_TVAL_EL0 = 3 3 14 2 0;
    CNTP_CTL_EL0 = 3 3 14 2 1;
    CNTP_CVAL_EL0 = 3 3 14 2 2;
    CNTV_TVAL_EL0 = 3 3 14 3 0;
    CNTV_CTL_EL0 = 3 3 14 3 1;
    CNTV_CVAL_EL0 = 3 3 14 3 2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_they_went_in() {
        for bits in 0..=u16::MAX {
            let r = SysReg(bits);
            assert_eq!(SysReg::new(r.op0(), r.op1(), r.crn(), r.crm(), r.op2()), r);
        }
    }
}
