pub(crate) mod timer {
    pub(crate) fn deadline(ctl: u64, cval: u64, off: u64) -> Option<u64> {
        (ctl & 3 == 1).then(|| cval.wrapping_add(off))
    }
}
pub(crate) mod id {
    use droste_arm64::sysreg as r;
    pub(crate) fn value(reg: r::SysReg, v: u64, _p: droste_arm64::PaRange) -> u64 {
        if reg == r::ID_AA64PFR0_EL1 {
            (v & !(0xf << 32) & !(0xf << 40) & !(0xf << 44)) & !0xffff | 0x11
        } else if reg == r::ID_AA64PFR1_EL1 {
            v & 0xff
        } else if reg == r::ID_AA64DFR0_EL1 {
            6
        } else if reg == r::ID_AA64ISAR0_EL1 || reg == r::ID_AA64ISAR1_EL1 {
            v
        } else if reg == r::ID_AA64MMFR0_EL1 {
            v & 0xfff0_fff0 | 2
        } else if reg == r::ID_AA64MMFR1_EL1 {
            v & 0xf0_f0f0
        } else if reg == r::ID_AA64MMFR2_EL1 {
            v & 0xf
        } else {
            0
        }
    }
}
