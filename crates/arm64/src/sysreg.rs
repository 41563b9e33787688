//! Names of system registers as their five encoding fields.

use core::fmt;

/// A system register, by the encoding that `MRS` and `MSR` carry (DDI 0487, C5.1).
///
/// ```
/// use droste_arm64::sysreg::SysReg;
/// assert_eq!(SysReg::new(3, 0, 0, 4, 0), droste_arm64::sysreg::ID_AA64PFR0_EL1);
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
    OSLAR_EL1 = 2 0 1 0 4;
    OSLSR_EL1 = 2 0 1 1 4;
    OSDLR_EL1 = 2 0 1 3 4;
    DC_ISW = 1 0 7 6 2;
    DC_CSW = 1 0 7 10 2;
    DC_CISW = 1 0 7 14 2;
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
