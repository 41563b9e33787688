//! VTTBR_EL2 and the VMID that it carries.

use core::fmt;

use crate::Pa;

/// A virtual machine identifier: the tag of TLB entries of the EL1&0 translation regime.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Vmid(pub u16);

impl fmt::Display for Vmid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How wide VMIDs are: ID_AA64MMFR1_EL1.VMIDBits and VTCR_EL2.VS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum VmidBits {
    /// 8 bits; VTTBR_EL2\[63:56\] are RES0.
    Eight,
    /// 16 bits (FEAT_VMID16).
    Sixteen,
}

impl VmidBits {
    /// How many VMIDs there are: 256 or 65536.
    pub const fn count(self) -> u32 {
        match self {
            Self::Eight => 1 << 8,
            Self::Sixteen => 1 << 16,
        }
    }
}

/// VTTBR_EL2 (DDI 0487, D24.2): the stage-2 root and the VMID.
///
/// Bit 0, CnP, is always 0 here: entries are private to the CPU that made them, which is what a hypervisor needs
/// that gives each virtual CPU a TLB of its own.
///
/// ```
/// use droste_arm64::{Pa, Vmid, Vttbr};
/// let vttbr = Vttbr::new(Vmid(7), Pa(0x4000_0000));
/// assert_eq!(vttbr, Vttbr(0x0007_0000_4000_0000));
/// assert_eq!((vttbr.vmid(), vttbr.root()), (Vmid(7), Pa(0x4000_0000)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct Vttbr(pub u64);

const BADDR: u64 = 0xffff_ffff_fffe;

impl Vttbr {
    /// `root` under `vmid`. Bits of `root` outside \[47:1\] are dropped; a root is aligned to its size, and wider
    /// addresses need FEAT_LPA's format.
    pub const fn new(vmid: Vmid, root: Pa) -> Self {
        Self((vmid.0 as u64) << 48 | root.0 & BADDR)
    }

    /// The VMID field, 16 bits.
    pub const fn vmid(self) -> Vmid {
        Vmid((self.0 >> 48) as u16)
    }

    /// BADDR as an address.
    pub const fn root(self) -> Pa {
        Pa(self.0 & BADDR)
    }

    /// CnP: whether CPUs may share entries under this VMID (FEAT_TTCNP).
    pub const fn is_common(self) -> bool {
        self.0 & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_stand_where_the_manual_draws_them() {
        let vttbr = Vttbr::new(Vmid(0xabcd), Pa(0x1234_5678_0000));
        assert_eq!(vttbr.0, 0xabcd_1234_5678_0000);
        assert!(!vttbr.is_common());
        assert!(Vttbr(1).is_common());
        assert_eq!(Vttbr(1).root(), Pa(0));
    }

    #[test]
    fn a_root_cannot_spill_into_the_vmid_or_cnp() {
        assert_eq!(Vttbr::new(Vmid(0), Pa(u64::MAX)).0, 0x0000_ffff_ffff_fffe);
    }
}
