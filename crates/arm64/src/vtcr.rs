//! VTCR_EL2: the shape of stage-2 tables.

use crate::granule::{Granule, Level};
use crate::size::{IpaBits, PaRange};
use crate::vttbr::VmidBits;

/// VTCR_EL2 as the CPU holds it (DDI 0487, D24.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Vtcr(pub u64);

/// Whether the hardware sets the access flag: VTCR_EL2.HA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessFlag {
    /// An access with the flag clear faults.
    Software,
    /// An access sets the flag.
    Hardware,
}

/// The fields of VTCR_EL2 that vary. The others are fixed: table walks are Inner Shareable and Write-Back
/// Read-Allocate Write-Allocate, and every optional format is off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VtcrFields {
    /// TG0.
    pub granule: Granule,
    /// T0SZ, as the width itself.
    pub ipa_bits: IpaBits,
    /// SL0.
    pub start: Level,
    /// PS: the output address width.
    pub output: PaRange,
    /// VS.
    pub vmid_bits: VmidBits,
    /// HA.
    pub access_flag: AccessFlag,
}

const SL0_SHIFT: u32 = 6;
/// Normal memory, Inner Write-Back Read-Allocate Write-Allocate.
const IRGN0_WBWA: u64 = 1 << 8;
/// Normal memory, Outer Write-Back Read-Allocate Write-Allocate.
const ORGN0_WBWA: u64 = 1 << 10;
const SH0_INNER: u64 = 3 << 12;
const TG0_SHIFT: u32 = 14;
const PS_SHIFT: u32 = 16;
const VS: u64 = 1 << 19;
const HA: u64 = 1 << 21;
const RES1: u64 = 1 << 31;

impl Vtcr {
    /// The register's value; `None` where SL0 has no encoding for the start level at this granule (DDI 0487, D24.2,
    /// VTCR_EL2.SL0), FEAT_LPA2's aside.
    pub const fn new(fields: VtcrFields) -> Option<Self> {
        let Some(sl0) = sl0(fields.granule, fields.start) else {
            return None;
        };
        let tg0 = match fields.granule {
            Granule::Kib4 => 0,
            Granule::Kib64 => 1,
            Granule::Kib16 => 2,
        };
        let vs = match fields.vmid_bits {
            VmidBits::Eight => 0,
            VmidBits::Sixteen => VS,
        };
        let ha = match fields.access_flag {
            AccessFlag::Software => 0,
            AccessFlag::Hardware => HA,
        };
        let t0sz = 64 - fields.ipa_bits.bits() as u64;
        Some(Self(
            RES1 | ha
                | vs
                | fields.output.field() << PS_SHIFT
                | tg0 << TG0_SHIFT
                | SH0_INNER
                | ORGN0_WBWA
                | IRGN0_WBWA
                | sl0 << SL0_SHIFT
                | t0sz,
        ))
    }

    /// The input address width, 64 − T0SZ: 1 to 64, not only the widths of [`IpaBits`].
    pub const fn input_bits(self) -> u32 {
        64 - (self.0 & 0x3f) as u32
    }

    /// TG0; `None` for the reserved encoding.
    pub const fn granule(self) -> Option<Granule> {
        match self.0 >> TG0_SHIFT & 3 {
            0 => Some(Granule::Kib4),
            1 => Some(Granule::Kib64),
            2 => Some(Granule::Kib16),
            _ => None,
        }
    }

    /// The start level that SL0 selects, FEAT_LPA2 aside; `None` for reserved encodings.
    pub const fn start(self) -> Option<Level> {
        let sl0 = self.0 >> SL0_SHIFT & 3;
        match (self.granule(), sl0) {
            (Some(Granule::Kib4), 0) | (Some(Granule::Kib16 | Granule::Kib64), 1) => {
                Some(Level::L2)
            }
            (Some(Granule::Kib4), 1) | (Some(Granule::Kib16 | Granule::Kib64), 2) => {
                Some(Level::L1)
            }
            (Some(Granule::Kib4), 2) => Some(Level::L0),
            (Some(Granule::Kib4), 3) | (Some(Granule::Kib16 | Granule::Kib64), 0) => {
                Some(Level::L3)
            }
            _ => None,
        }
    }

    /// The output address width, PS; reserved encodings read as the narrowest.
    pub const fn output(self) -> PaRange {
        PaRange::decode(self.0 >> PS_SHIFT & 7)
    }

    /// VS.
    pub const fn vmid_bits(self) -> VmidBits {
        if self.0 & VS != 0 {
            VmidBits::Sixteen
        } else {
            VmidBits::Eight
        }
    }

    /// HA.
    pub const fn access_flag(self) -> AccessFlag {
        if self.0 & HA != 0 {
            AccessFlag::Hardware
        } else {
            AccessFlag::Software
        }
    }
}

const fn sl0(granule: Granule, start: Level) -> Option<u64> {
    match (granule, start) {
        (Granule::Kib4, Level::L2) | (Granule::Kib16 | Granule::Kib64, Level::L3) => Some(0),
        (Granule::Kib4, Level::L1) | (Granule::Kib16 | Granule::Kib64, Level::L2) => Some(1),
        (Granule::Kib4, Level::L0) | (Granule::Kib16 | Granule::Kib64, Level::L1) => Some(2),
        // FEAT_TTST, for input addresses below 25 bits; no IpaBits needs it.
        (Granule::Kib4, Level::L3) => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(granule: Granule, bits: u32, start: Level) -> VtcrFields {
        VtcrFields {
            granule,
            ipa_bits: IpaBits::new(bits).expect("32 to 48"),
            start,
            output: PaRange::Bits40,
            vmid_bits: VmidBits::Eight,
            access_flag: AccessFlag::Software,
        }
    }

    #[test]
    fn values_match_those_worked_out_by_hand() {
        // RES1 | PS=2<<16 | SH0=3<<12 | ORGN0=1<<10 | IRGN0=1<<8 | SL0=1<<6 | T0SZ=24
        let small = fields(Granule::Kib4, 40, Level::L1);
        assert_eq!(Vtcr::new(small), Some(Vtcr(0x8002_3558)));
        // VS<<19 | HA<<21 | PS=5<<16 | SL0=2<<6 | T0SZ=16
        let large = VtcrFields {
            output: PaRange::Bits48,
            vmid_bits: VmidBits::Sixteen,
            access_flag: AccessFlag::Hardware,
            ..fields(Granule::Kib4, 48, Level::L0)
        };
        assert_eq!(Vtcr::new(large), Some(Vtcr(0x802d_3590)));
        // TG0=2<<14, SL0=1<<6
        assert_eq!(
            Vtcr::new(fields(Granule::Kib16, 40, Level::L2)),
            Some(Vtcr(0x8002_b558))
        );
        // TG0=1<<14, SL0=0
        assert_eq!(
            Vtcr::new(fields(Granule::Kib64, 32, Level::L3)),
            Some(Vtcr(0x8002_7520))
        );
    }

    #[test]
    fn every_field_comes_back() {
        for granule in Granule::ALL {
            for start in Level::ALL {
                for bits in 32..=48 {
                    let fields = fields(granule, bits, start);
                    let Some(vtcr) = Vtcr::new(fields) else {
                        assert!(start < Level::L1, "{granule:?} {start:?}");
                        continue;
                    };
                    assert_eq!(vtcr.granule(), Some(granule));
                    assert_eq!(vtcr.start(), Some(start));
                    assert_eq!(vtcr.input_bits(), bits);
                    assert_eq!(vtcr.output(), PaRange::Bits40);
                    assert_eq!(vtcr.vmid_bits(), VmidBits::Eight);
                    assert_eq!(vtcr.access_flag(), AccessFlag::Software);
                }
            }
        }
    }

    #[test]
    fn reserved_encodings_have_no_meaning() {
        assert_eq!(Vtcr(3 << 14).granule(), None);
        assert_eq!(Vtcr(3 << 14).start(), None);
        assert_eq!(Vtcr(2 << 14 | 3 << 6).start(), None);
        assert_eq!(Vtcr(1 << 14 | 3 << 6).start(), None);
        assert_eq!(Vtcr::new(fields(Granule::Kib16, 48, Level::L0)), None);
        assert_eq!(Vtcr::new(fields(Granule::Kib4, 48, Level::Minus1)), None);
    }
}
