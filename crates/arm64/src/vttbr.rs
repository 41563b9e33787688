//! VTTBR_EL2 and the VMID that it carries.

use core::fmt;

use crate::Pa;
use crate::desc::OutputFormat;

/// A virtual machine identifier: the tag of TLB entries of the EL1&0 translation regime.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Vmid(pub u16);

impl fmt::Display for Vmid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The width of VMIDs: ID_AA64MMFR1_EL1.VMIDBits and VTCR_EL2.VS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum VmidBits {
    /// 8 bits; VTTBR_EL2\[63:56\] are RES0.
    Eight,
    /// 16 bits (FEAT_VMID16).
    Sixteen,
}

impl VmidBits {
    /// The number of VMIDs: 256 or 65536.
    pub const fn count(self) -> u32 {
        match self {
            Self::Eight => 1 << 8,
            Self::Sixteen => 1 << 16,
        }
    }
}

/// The address of a stage-2 root as VTTBR_EL2 holds it (DDI 0487, D24.2, VTTBR_EL2.BADDR).
///
/// ```
/// use droste_arm64::desc::OutputFormat;
/// use droste_arm64::{Baddr, Pa};
/// let root = Pa(0x8_0000_4000_0000);
/// let baddr = Baddr::new(root, OutputFormat::Lpa2).unwrap();
/// assert_eq!(baddr.bits(), 0x4000_0020); // address bits [51:48] at [5:2]
/// assert_eq!(baddr.root(OutputFormat::Lpa2), root);
/// assert_eq!(Baddr::new(root, OutputFormat::Bits48), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct Baddr(u64);

/// VTTBR_EL2\[47:1\].
const BADDR: u64 = 0xffff_ffff_fffe;
/// VTTBR_EL2\[47:6\], address bits \[47:6\] in both wide formats.
const BADDR_LOW: u64 = 0xffff_ffff_ffc0;

impl Baddr {
    /// The field for `root`. `None` where the address is wider than the format's, 48 or 52 bits, or not a multiple of
    /// 2 bytes, or of 64 bytes in the wide formats, whose address bits \[51:48\] stand at \[5:2\]. A root is a multiple
    /// of its own size besides, which is not looked at here.
    pub const fn new(root: Pa, output: OutputFormat) -> Option<Self> {
        match output {
            OutputFormat::Bits48 if root.0 & !BADDR == 0 => Some(Self(root.0)),
            OutputFormat::Lpa | OutputFormat::Lpa2 if root.0 & !(15 << 48 | BADDR_LOW) == 0 => {
                Some(Self(root.0 & BADDR_LOW | root.0 >> 48 << 2))
            }
            _ => None,
        }
    }

    /// VTTBR_EL2\[47:1\], in place.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The root's address, if the field is of this format.
    pub const fn root(self, output: OutputFormat) -> Pa {
        Pa(match output {
            OutputFormat::Bits48 => self.0,
            OutputFormat::Lpa | OutputFormat::Lpa2 => self.0 & BADDR_LOW | (self.0 >> 2 & 15) << 48,
        })
    }
}

/// VTTBR_EL2 (DDI 0487, D24.2): the stage-2 root and the VMID.
///
/// Bit 0, CnP, is 0 in every value made here: entries are private to the CPU that made them. With it set (FEAT_TTCNP) a
/// CPU may use the stage-2 entries that another CPU with CnP set holds under the same VMID. Sharing of stage-1 entries
/// depends on TTBRn_EL1.CnP.
///
/// ```
/// use droste_arm64::desc::OutputFormat;
/// use droste_arm64::{Baddr, Pa, Vmid, Vttbr};
/// let baddr = Baddr::new(Pa(0x4000_0000), OutputFormat::Bits48).unwrap();
/// let vttbr = Vttbr::new(Vmid(7), baddr);
/// assert_eq!(vttbr, Vttbr(0x0007_0000_4000_0000));
/// assert_eq!((vttbr.vmid(), vttbr.baddr()), (Vmid(7), baddr));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct Vttbr(pub u64);

impl Vttbr {
    /// The root at `baddr` under `vmid`.
    #[inline]
    pub const fn new(vmid: Vmid, baddr: Baddr) -> Self {
        Self((vmid.0 as u64) << 48 | baddr.0)
    }

    /// The VMID field, 16 bits.
    pub const fn vmid(self) -> Vmid {
        Vmid((self.0 >> 48) as u16)
    }

    /// BADDR.
    pub const fn baddr(self) -> Baddr {
        Baddr(self.0 & BADDR)
    }

    /// CnP: whether CPUs may share entries under this VMID (FEAT_TTCNP).
    pub const fn is_common(self) -> bool {
        self.0 & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: [OutputFormat; 2] = [OutputFormat::Lpa, OutputFormat::Lpa2];

    #[test]
    fn the_fields_stand_where_the_manual_draws_them() {
        let narrow = Baddr::new(Pa(0x1234_5678_0000), OutputFormat::Bits48).expect("48 bits");
        let vttbr = Vttbr::new(Vmid(0xabcd), narrow);
        assert_eq!(vttbr.0, 0xabcd_1234_5678_0000);
        assert!(!vttbr.is_common());
        assert!(Vttbr(1).is_common());
        assert_eq!(Vttbr(1).baddr().root(OutputFormat::Bits48), Pa(0));
        for output in WIDE {
            let wide = Baddr::new(Pa(0xf_1234_5678_0040), output).expect("52 bits");
            assert_eq!(Vttbr::new(Vmid(1), wide).0, 0x0001_1234_5678_007c);
        }
    }

    #[test]
    fn every_bit_of_a_root_comes_back_or_is_refused() {
        for bit in 0..64 {
            let root = Pa(1 << bit);
            let narrow = Baddr::new(root, OutputFormat::Bits48);
            assert_eq!(narrow.is_some(), (1..48).contains(&bit));
            assert!(narrow.is_none_or(|baddr| baddr.root(OutputFormat::Bits48) == root));
            for output in WIDE {
                let wide = Baddr::new(root, output);
                assert_eq!(wide.is_some(), (6..52).contains(&bit), "{bit}");
                assert!(wide.is_none_or(|baddr| baddr.root(output) == root));
            }
        }
    }

    #[test]
    fn a_root_reaches_neither_the_vmid_nor_cnp() {
        for (output, top) in [
            (OutputFormat::Bits48, 0xffff_ffff_fffe),
            (OutputFormat::Lpa, 0xf_ffff_ffff_ffc0),
            (OutputFormat::Lpa2, 0xf_ffff_ffff_ffc0),
        ] {
            let baddr = Baddr::new(Pa(top), output).expect("in range");
            assert_eq!(Vttbr::new(Vmid(0), baddr).0 & !BADDR, 0);
        }
    }
}
