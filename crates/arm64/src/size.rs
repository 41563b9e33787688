//! Widths of addresses: what hardware implements and what a guest is given.

use core::fmt;

/// The physical address width of a CPU, as ID_AA64MMFR0_EL1.PARange and VTCR_EL2.PS encode it (DDI 0487, D24.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum PaRange {
    /// 32 bits, 4 GiB.
    Bits32 = 0,
    /// 36 bits, 64 GiB.
    Bits36 = 1,
    /// 40 bits, 1 TiB.
    Bits40 = 2,
    /// 42 bits, 4 TiB.
    Bits42 = 3,
    /// 44 bits, 16 TiB.
    Bits44 = 4,
    /// 48 bits, 256 TiB.
    Bits48 = 5,
    /// 52 bits, 4 PiB.
    Bits52 = 6,
    /// 56 bits, 64 PiB.
    Bits56 = 7,
}

impl PaRange {
    /// All widths, narrow to wide.
    pub const ALL: [Self; 8] = [
        Self::Bits32,
        Self::Bits36,
        Self::Bits40,
        Self::Bits42,
        Self::Bits44,
        Self::Bits48,
        Self::Bits52,
        Self::Bits56,
    ];

    /// Decodes the four bits of PARange; reserved values read as the narrowest width, which every CPU has.
    pub const fn decode(field: u64) -> Self {
        match field & 15 {
            1 => Self::Bits36,
            2 => Self::Bits40,
            3 => Self::Bits42,
            4 => Self::Bits44,
            5 => Self::Bits48,
            6 => Self::Bits52,
            7 => Self::Bits56,
            _ => Self::Bits32,
        }
    }

    /// The field's value.
    pub const fn field(self) -> u64 {
        self as u64
    }

    /// Address bits.
    #[inline]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Bits32 => 32,
            Self::Bits36 => 36,
            Self::Bits40 => 40,
            Self::Bits42 => 42,
            Self::Bits44 => 44,
            Self::Bits48 => 48,
            Self::Bits52 => 52,
            Self::Bits56 => 56,
        }
    }
}

/// The width of a guest's physical address space: 32 to 52 bits.
///
/// ```
/// use droste_arm64::IpaBits;
/// assert_eq!(IpaBits::new(40).map(IpaBits::bytes), Some(1 << 40));
/// assert_eq!(IpaBits::new(53), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct IpaBits(u8);

impl IpaBits {
    /// The narrowest, 32 bits.
    pub const MIN: Self = Self(32);
    /// The widest, 52 bits.
    pub const MAX: Self = Self(52);

    /// `bits` wide; `None` outside 32 to 52. More bits need the 128-bit descriptors of FEAT_D128, which are left out;
    /// fewer leave no room for memory above a GICv3 and devices.
    pub const fn new(bits: u32) -> Option<Self> {
        if bits >= 32 && bits <= 52 {
            Some(Self(bits as u8))
        } else {
            None
        }
    }

    /// Address bits, 32 to 52.
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// Bytes of the address space: the first address outside it.
    pub const fn bytes(self) -> u64 {
        1 << self.0
    }
}

impl fmt::Display for IpaBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_comes_back_from_its_field() {
        for range in PaRange::ALL {
            assert_eq!(PaRange::decode(range.field()), range);
        }
    }

    #[test]
    fn a_reserved_width_reads_as_the_narrowest() {
        for field in 8..16 {
            assert_eq!(PaRange::decode(field), PaRange::Bits32);
        }
    }

    #[test]
    fn ipa_widths_end_at_32_and_52() {
        for bits in 0..=64 {
            assert_eq!(IpaBits::new(bits).is_some(), (32..=52).contains(&bits));
        }
        assert_eq!(IpaBits::new(32), Some(IpaBits::MIN));
        assert_eq!(IpaBits::new(52), Some(IpaBits::MAX));
    }
}
