//! VTCR_EL2: the shape of stage-2 tables.

use crate::desc::{Format, OutputFormat, Shareability};
use crate::granule::{Granule, Level};
use crate::size::{IpaBits, PaRange};
use crate::start::{start_decoding, start_encoding};
use crate::vttbr::VmidBits;

/// VTCR_EL2 as the CPU holds it (DDI 0487, D24.2).
///
/// The getters also read a guest hypervisor's value: each accepts any bits, and says so where an encoding is reserved.
/// SL2 and DS count for the 4 and 16 KiB granules only, as in FEAT_LPA2; for a machine without that feature, clear them
/// first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Vtcr(pub u64);

/// The updates of leaves that hardware makes: VTCR_EL2.HA and HD (FEAT_HAFDBS).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum HardwareUpdates {
    /// Nothing: an access with the access flag clear faults.
    Nothing,
    /// HA: an access sets the access flag.
    AccessFlag,
    /// HA and HD: besides, a write to a leaf with DBM set makes it writable.
    AccessFlagAndDirty,
}

/// The fields of VTCR_EL2 that vary. The others are fixed: table walks are Inner Shareable and Write-Back
/// Read-Allocate Write-Allocate, and every optional feature without a field here is off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VtcrFields {
    /// TG0 and DS.
    pub format: Format,
    /// T0SZ, as the width itself.
    pub ipa_bits: IpaBits,
    /// SL0 and SL2.
    pub start: Level,
    /// PS: the output address width. [`OutputFormat::Lpa`] holds only with [`PaRange::Bits52`].
    pub output: PaRange,
    /// VS.
    pub vmid_bits: VmidBits,
    /// HA and HD.
    pub updates: HardwareUpdates,
}

const SL0_SHIFT: u32 = 6;
/// Normal memory, Inner Write-Back Read-Allocate Write-Allocate.
const IRGN0_WBWA: u64 = 1 << 8;
/// Normal memory, Outer Write-Back Read-Allocate Write-Allocate.
const ORGN0_WBWA: u64 = 1 << 10;
const SH0_SHIFT: u32 = 12;
const TG0_SHIFT: u32 = 14;
const PS_SHIFT: u32 = 16;
const VS: u64 = 1 << 19;
const HA: u64 = 1 << 21;
const HD: u64 = 1 << 22;
const RES1: u64 = 1 << 31;
const DS: u64 = 1 << 32;
const SL2_SHIFT: u32 = 33;

impl Vtcr {
    /// The register's value; `None` where SL0 and SL2 have no encoding for the start level in this format (DDI 0487,
    /// D24.2, VTCR_EL2.SL0 and SL2).
    pub const fn new(fields: VtcrFields) -> Option<Self> {
        let Some((sl2, sl0)) = start_encoding(fields.format, fields.start) else {
            return None;
        };
        let tg0 = match fields.format.granule() {
            Granule::Kib4 => 0,
            Granule::Kib64 => 1,
            Granule::Kib16 => 2,
        };
        let ds = match fields.format.output() {
            OutputFormat::Bits48 | OutputFormat::Lpa => 0,
            OutputFormat::Lpa2 => DS,
        };
        let vs = match fields.vmid_bits {
            VmidBits::Eight => 0,
            VmidBits::Sixteen => VS,
        };
        let updates = match fields.updates {
            HardwareUpdates::Nothing => 0,
            HardwareUpdates::AccessFlag => HA,
            HardwareUpdates::AccessFlagAndDirty => HA | HD,
        };
        let t0sz = 64 - fields.ipa_bits.bits() as u64;
        Some(Self(
            RES1 | sl2 << SL2_SHIFT
                | ds
                | updates
                | vs
                | fields.output.field() << PS_SHIFT
                | tg0 << TG0_SHIFT
                | (Shareability::Inner as u64) << SH0_SHIFT
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

    /// The descriptor format that TG0, DS and PS select; `None` for the reserved encoding of TG0. PS values of 52 bits
    /// and more mean the 52-bit format of the 64 KiB granule.
    pub const fn format(self) -> Option<Format> {
        let Some(granule) = self.granule() else {
            return None;
        };
        let is_wide = match granule {
            Granule::Kib4 | Granule::Kib16 => self.0 & DS != 0,
            Granule::Kib64 => self.output().bits() >= 52,
        };
        Some(if is_wide {
            Format::wide(granule)
        } else {
            Format::narrow(granule)
        })
    }

    /// The start level that SL0 and, with DS = 1, SL2 select; `None` for reserved encodings.
    pub const fn start(self) -> Option<Level> {
        match self.format() {
            Some(format) => {
                start_decoding(format, self.0 >> SL2_SHIFT & 1, self.0 >> SL0_SHIFT & 3)
            }
            None => None,
        }
    }

    /// The output address width, PS; reserved encodings read as the narrowest.
    pub const fn output(self) -> PaRange {
        PaRange::decode(self.0 >> PS_SHIFT & 7)
    }

    /// SH0: the shareability of table walks and, in [`OutputFormat::Lpa2`], of every leaf's memory.
    pub const fn shareability(self) -> Shareability {
        Shareability::decode(self.0 >> SH0_SHIFT)
    }

    /// VS.
    pub const fn vmid_bits(self) -> VmidBits {
        if self.0 & VS != 0 {
            VmidBits::Sixteen
        } else {
            VmidBits::Eight
        }
    }

    /// HA and HD; HD without HA has no effect.
    pub const fn updates(self) -> HardwareUpdates {
        if self.0 & HA == 0 {
            HardwareUpdates::Nothing
        } else if self.0 & HD == 0 {
            HardwareUpdates::AccessFlag
        } else {
            HardwareUpdates::AccessFlagAndDirty
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(format: Format, bits: u32, start: Level) -> VtcrFields {
        VtcrFields {
            format,
            ipa_bits: IpaBits::new(bits).expect("32 to 52"),
            start,
            output: PaRange::Bits40,
            vmid_bits: VmidBits::Eight,
            updates: HardwareUpdates::Nothing,
        }
    }

    #[test]
    fn values_match_those_worked_out_by_hand() {
        let narrow = Format::narrow;
        // RES1 | PS=2<<16 | SH0=3<<12 | ORGN0=1<<10 | IRGN0=1<<8 | SL0=1<<6 | T0SZ=24
        let small = fields(narrow(Granule::Kib4), 40, Level::L1);
        assert_eq!(Vtcr::new(small), Some(Vtcr(0x8002_3558)));
        // VS<<19 | HA<<21 | PS=5<<16 | SL0=2<<6 | T0SZ=16
        let large = VtcrFields {
            output: PaRange::Bits48,
            vmid_bits: VmidBits::Sixteen,
            updates: HardwareUpdates::AccessFlag,
            ..fields(narrow(Granule::Kib4), 48, Level::L0)
        };
        assert_eq!(Vtcr::new(large), Some(Vtcr(0x802d_3590)));
        // TG0=2<<14, SL0=1<<6
        assert_eq!(
            Vtcr::new(fields(narrow(Granule::Kib16), 40, Level::L2)),
            Some(Vtcr(0x8002_b558))
        );
        // TG0=1<<14, SL0=0
        assert_eq!(
            Vtcr::new(fields(narrow(Granule::Kib64), 32, Level::L3)),
            Some(Vtcr(0x8002_7520))
        );
    }

    #[test]
    fn wide_values_match_those_worked_out_by_hand() {
        let wide = |granule, bits, start| {
            let fields = VtcrFields {
                output: PaRange::Bits52,
                ..fields(Format::wide(granule), bits, start)
            };
            Vtcr::new(fields).map(|vtcr| vtcr.0)
        };
        // DS<<32 | RES1 | PS=6<<16 | SH0 | ORGN0 | IRGN0 | SL0=2<<6 | T0SZ=12
        let value = wide(Granule::Kib4, 52, Level::L0);
        assert_eq!(value, Some(0x1_8006_358c));
        // SL2<<33, SL0=0
        let value = wide(Granule::Kib4, 52, Level::Minus1);
        assert_eq!(value, Some(0x3_8006_350c));
        // TG0=2<<14, SL0=3<<6
        let value = wide(Granule::Kib16, 52, Level::L0);
        assert_eq!(value, Some(0x1_8006_b5cc));
        // TG0=1<<14, SL0=2<<6, no DS.
        let value = wide(Granule::Kib64, 52, Level::L1);
        assert_eq!(value, Some(0x8006_758c));
        // HD<<22 | HA<<21
        let dirty = VtcrFields {
            updates: HardwareUpdates::AccessFlagAndDirty,
            ..fields(Format::wide(Granule::Kib4), 40, Level::L1)
        };
        assert_eq!(Vtcr::new(dirty), Some(Vtcr(0x1_8062_3558)));
    }

    #[test]
    fn every_field_comes_back() {
        for format in Format::ALL {
            let output = match format.output() {
                OutputFormat::Lpa => PaRange::Bits52,
                _ => PaRange::Bits40,
            };
            for start in Level::ALL {
                for bits in 32..=52 {
                    let fields = VtcrFields {
                        output,
                        ..fields(format, bits, start)
                    };
                    let Some(vtcr) = Vtcr::new(fields) else {
                        continue;
                    };
                    assert_eq!(vtcr.granule(), Some(format.granule()));
                    assert_eq!(vtcr.format(), Some(format));
                    assert_eq!(vtcr.start(), Some(start));
                    assert_eq!(vtcr.input_bits(), bits);
                    assert_eq!(vtcr.output(), output);
                    assert_eq!(vtcr.shareability(), Shareability::Inner);
                    assert_eq!(vtcr.vmid_bits(), VmidBits::Eight);
                }
            }
        }
        for updates in [
            HardwareUpdates::Nothing,
            HardwareUpdates::AccessFlag,
            HardwareUpdates::AccessFlagAndDirty,
        ] {
            for vmid_bits in [VmidBits::Eight, VmidBits::Sixteen] {
                let fields = VtcrFields {
                    vmid_bits,
                    updates,
                    ..fields(Format::narrow(Granule::Kib4), 40, Level::L1)
                };
                let vtcr = Vtcr::new(fields).expect("SL0 = 1");
                assert_eq!((vtcr.updates(), vtcr.vmid_bits()), (updates, vmid_bits));
            }
        }
    }

    #[test]
    fn reserved_encodings_have_no_meaning() {
        assert_eq!(Vtcr(3 << 14).granule(), None);
        assert_eq!(Vtcr(3 << 14).format(), None);
        assert_eq!(Vtcr(3 << 14).start(), None);
        assert_eq!(Vtcr(2 << 14 | 3 << 6).start(), None);
        assert_eq!(Vtcr(1 << 14 | 3 << 6).start(), None);
        for sl0 in 1..4 {
            assert_eq!(Vtcr(SL2 | DS | sl0 << 6).start(), None);
        }
        let narrow = Format::narrow;
        assert_eq!(
            Vtcr::new(fields(narrow(Granule::Kib16), 48, Level::L0)),
            None
        );
        assert_eq!(
            Vtcr::new(fields(narrow(Granule::Kib4), 48, Level::Minus1)),
            None
        );
    }

    const SL2: u64 = 1 << SL2_SHIFT;

    #[test]
    fn bits_that_another_one_switches_off_have_no_effect() {
        // SL2 without DS, and with the 16 KiB granule.
        assert_eq!(Vtcr(SL2).start(), Some(Level::L2));
        assert_eq!(Vtcr(SL2 | DS | 2 << 14).start(), Some(Level::L3));
        // DS and SL2 with the 64 KiB granule.
        let vtcr = Vtcr(SL2 | DS | 1 << 14 | 5 << 16);
        assert_eq!(vtcr.format(), Some(Format::narrow(Granule::Kib64)));
        assert_eq!(vtcr.start(), Some(Level::L3));
        // HD without HA.
        assert_eq!(Vtcr(HD).updates(), HardwareUpdates::Nothing);
        // PS of 52 bits without DS.
        let vtcr = Vtcr(6 << 16);
        assert_eq!(vtcr.format(), Some(Format::narrow(Granule::Kib4)));
    }

    #[test]
    fn a_guests_value_always_reads_as_something() {
        // All combinations of the fields that decide, over noise in the others.
        for high in 0..4 {
            for low in 0..1 << 19 {
                let vtcr = Vtcr(high << 32 | low);
                assert!((1..=64).contains(&vtcr.input_bits()));
                assert_eq!(vtcr.format().is_some(), vtcr.granule().is_some());
                if let (Some(format), Some(start)) = (vtcr.format(), vtcr.start()) {
                    assert!(start_encoding(format, start).is_some());
                }
            }
        }
    }
}
