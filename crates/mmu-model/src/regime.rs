//! VTCR_EL2 and VTTBR_EL2 as the walker takes them: the shape of a stage-2 table and where it stands.
//!
//! Written from DDI 0487, D24.2 (the registers) and D8 "Translation process" (sizes, start levels, concatenation);
//! no decoder is shared with the code that is judged.

use core::fmt;

use crate::config::{Config, Features};

/// How descriptors hold addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// Bits \[47:12\] in place.
    Bits48,
    /// 64 KiB granule, 52 bits: \[51:48\] at \[15:12\] (FEAT_LPA).
    Lpa,
    /// 4 and 16 KiB granules, 52 bits: \[51:50\] at \[9:8\] (FEAT_LPA2, VTCR_EL2.DS).
    Lpa2,
}

/// The shape of a stage-2 table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    /// VTCR_EL2 that says so.
    pub(crate) vtcr: u64,
    /// 12, 14 or 16.
    pub(crate) page_shift: u32,
    /// First lookup level, −1 to 3.
    pub(crate) start: i8,
    /// Input address bits.
    pub(crate) ia_bits: u32,
    /// Output address bits.
    pub(crate) oa_bits: u32,
    pub(crate) format: Format,
    /// Hardware sets the access flag.
    pub(crate) sets_accessed: bool,
    /// Hardware marks what is written.
    pub(crate) marks_dirty: bool,
}

/// What is wrong with VTCR_EL2 or VTTBR_EL2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegisterFault {
    /// TG0 is reserved.
    Granule,
    /// SL0 and SL2 encode no start level for the granule.
    StartLevel,
    /// T0SZ gives an input size that the CPU does not support.
    InputSize,
    /// The input size does not fit the start level: none of it would be resolved there, or more than 16 tables.
    StartLevelForSize,
    /// PS exceeds what is implemented, or is reserved.
    OutputSize,
    /// BADDR is not a multiple of the root's size.
    RootMisaligned,
    /// The root is outside the memory for tables.
    RootOutside,
}

impl fmt::Display for RegisterFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Granule => "VTCR_EL2.TG0 is reserved",
            Self::StartLevel => "VTCR_EL2.SL0 and SL2 encode no start level for the granule",
            Self::InputSize => "VTCR_EL2.T0SZ gives an input size that is not implemented",
            Self::StartLevelForSize => "VTCR_EL2.T0SZ does not fit the start level",
            Self::OutputSize => "VTCR_EL2.PS is not implemented",
            Self::RootMisaligned => "VTTBR_EL2.BADDR is not a multiple of the root's size",
            Self::RootOutside => "VTTBR_EL2.BADDR is outside the memory for tables",
        })
    }
}

const VS: u64 = 1 << 19;
const HA: u64 = 1 << 21;
const HD: u64 = 1 << 22;
const DS: u64 = 1 << 32;
const SL2: u64 = 1 << 33;
/// Bit 20, and the bits above SL2: of features that no CPU of the model has.
const NEVER: u64 = 1 << 20 | u64::MAX << 34;

/// VTCR_EL2 as the CPU takes it: bits of features that it lacks are RES0, which it ignores, and so is SL2 while DS is
/// clear (DDI 0487, D24.2 "VTCR_EL2").
pub(crate) fn effective(vtcr: u64, features: Features) -> u64 {
    let bits = [
        (VS, Features::VMID16),
        (HA, Features::HARDWARE_AF),
        (HD, Features::HARDWARE_DIRTY),
        (DS, Features::LPA2),
    ];
    let lacking = bits.iter().filter(|(_, feature)| !features.has(*feature));
    let vtcr = lacking.fold(vtcr & !NEVER, |vtcr, (bit, _)| vtcr & !bit);
    if is_ds(vtcr) { vtcr } else { vtcr & !SL2 }
}

/// VTCR_EL2.DS.
pub(crate) const fn is_ds(vtcr: u64) -> bool {
    vtcr & DS != 0
}

impl Shape {
    /// Decodes VTCR_EL2, of which only [`effective`] bits are set.
    pub(crate) fn decode(vtcr: u64, config: &Config) -> Result<Self, RegisterFault> {
        let ds = is_ds(vtcr);
        let sets_accessed = vtcr & HA != 0;
        let marks_dirty = vtcr & HD != 0;
        let page_shift = match vtcr >> 14 & 3 {
            0 => 12,
            1 => 16,
            2 => 14,
            _ => return Err(RegisterFault::Granule),
        };
        let oa_bits = match vtcr >> 16 & 7 {
            0 => 32,
            1 => 36,
            2 => 40,
            3 => 42,
            4 => 44,
            5 => 48,
            6 => 52,
            _ => return Err(RegisterFault::OutputSize),
        };
        if oa_bits > config.pa_bits {
            return Err(RegisterFault::OutputSize);
        }
        let format = match (page_shift, oa_bits, ds) {
            (16, 52, _) => Format::Lpa,
            (16, _, _) | (_, _, false) => Format::Bits48,
            (_, _, true) => Format::Lpa2,
        };
        let shape = Self {
            vtcr,
            page_shift,
            start: start_level(vtcr, page_shift, ds).ok_or(RegisterFault::StartLevel)?,
            ia_bits: 64 - (vtcr & 63) as u32,
            // Without a 52-bit format, 48 bits are all that descriptors hold.
            oa_bits: if format == Format::Bits48 {
                oa_bits.min(48)
            } else {
                oa_bits
            },
            format,
            sets_accessed,
            marks_dirty,
        };
        shape.check_sizes(config)?;
        Ok(shape)
    }

    fn check_sizes(&self, config: &Config) -> Result<(), RegisterFault> {
        let widest = if self.format == Format::Bits48 {
            48
        } else {
            52
        };
        let narrowest = if config.features.has(Features::TTST) {
            16
        } else {
            25
        };
        if self.ia_bits > widest.min(config.pa_bits.max(40)) || self.ia_bits < narrowest {
            return Err(RegisterFault::InputSize);
        }
        if self.start == 3 && !config.features.has(Features::TTST) && self.page_shift == 12 {
            return Err(RegisterFault::StartLevel);
        }
        let shift = self.entry_shift(self.start);
        if self.ia_bits <= shift || self.ia_bits > shift + self.index_bits() + 4 {
            return Err(RegisterFault::StartLevelForSize);
        }
        Ok(())
    }

    /// Address bits that one lookup resolves.
    pub(crate) const fn index_bits(&self) -> u32 {
        self.page_shift - 3
    }

    /// Bytes of a full table.
    pub(crate) const fn table_bytes(&self) -> u64 {
        1 << self.page_shift
    }

    /// Address bits that an entry at `level` leaves to resolve.
    pub(crate) const fn entry_shift(&self, level: i8) -> u32 {
        self.page_shift + self.index_bits() * (3 - level).unsigned_abs() as u32
    }

    /// Bytes that an entry at `level` maps.
    pub(crate) const fn entry_bytes(&self, level: i8) -> u64 {
        1 << self.entry_shift(level)
    }

    /// Bytes of the root, concatenated tables together.
    pub(crate) const fn root_bytes(&self) -> u64 {
        8 << (self.ia_bits - self.entry_shift(self.start))
    }

    /// The number of the entry for `ipa` in the table of `level`.
    pub(crate) const fn index(&self, level: i8, ipa: u64) -> u64 {
        let index = ipa >> self.entry_shift(level);
        if level == self.start {
            index
        } else {
            index & ((1 << self.index_bits()) - 1)
        }
    }

    /// Whether the input address is within the address space.
    pub(crate) const fn has_input(&self, ipa: u64) -> bool {
        ipa >> self.ia_bits == 0
    }

    /// Entries of a Contiguous run at `level` (DDI 0487, D8 "The Contiguous bit").
    pub(crate) const fn run_entries(&self, level: i8) -> u64 {
        match (self.page_shift, level) {
            (12, _) => 16,
            (14, 3) => 128,
            (14, 2) | (16, _) => 32,
            _ => 1,
        }
    }

    /// The root's address from VTTBR_EL2 (its \[51:48\] are at \[5:2\] where addresses have 52 bits).
    pub(crate) fn root(&self, vttbr: u64) -> Result<u64, RegisterFault> {
        let root = if self.oa_bits > 48 {
            vttbr & 0xffff_ffff_ffc0 | (vttbr >> 2 & 15) << 48
        } else {
            vttbr & 0xffff_ffff_fffe
        };
        let align = self
            .root_bytes()
            .max(if self.oa_bits > 48 { 64 } else { 32 });
        if root & (align - 1) != 0 {
            return Err(RegisterFault::RootMisaligned);
        }
        Ok(root)
    }
}

fn start_level(vtcr: u64, page_shift: u32, ds: bool) -> Option<i8> {
    let sl2 = vtcr >> 33 & 1 != 0;
    match (page_shift, sl2, vtcr >> 6 & 3) {
        (12, true, 0) if ds => Some(-1),
        (12, false, 2) => Some(0),
        (14, false, 3) if ds => Some(0),
        (12, false, 1) | (14 | 16, false, 2) => Some(1),
        (12, false, 0) | (14 | 16, false, 1) => Some(2),
        (12, false, 3) | (14 | 16, false, 0) => Some(3),
        _ => None,
    }
}

/// The VMID in VTTBR_EL2: its upper 8 bits count only with VTCR_EL2.VS.
pub(crate) const fn vmid(vttbr: u64, vtcr: u64) -> u16 {
    let vmid = (vttbr >> 48) as u16;
    if vtcr & VS != 0 { vmid } else { vmid & 0xff }
}

#[cfg(test)]
mod tests {
    use super::*;
    use droste_arm64::Pa;

    const RES1: u64 = 1 << 31;

    fn config(features: Features, pa_bits: u32) -> Config {
        Config {
            pa_bits,
            features,
            ..Config::new(Pa(0), 1)
        }
    }

    #[test]
    fn a_40_bit_space_of_4_kib_pages_starts_at_level_1_in_two_tables() {
        let shape = Shape::decode(0x8002_3558, &config(Features::NONE, 40)).unwrap();
        assert_eq!((shape.start, shape.ia_bits, shape.oa_bits), (1, 40, 40));
        assert_eq!(shape.root_bytes(), 8192);
        assert_eq!(shape.index(1, 0xff_ffff_ffff), 1023);
        assert_eq!(shape.entry_bytes(3), 4096);
    }

    #[test]
    fn a_52_bit_space_starts_at_level_minus_1_with_lpa2_only() {
        let vtcr = RES1 | DS | 1 << 33 | 6 << 16 | 0xc;
        let shape = Shape::decode(vtcr, &config(Features::LPA2, 52)).unwrap();
        assert_eq!((shape.start, shape.root_bytes()), (-1, 128));
        assert_eq!(shape.format, Format::Lpa2);
        assert_eq!(
            shape.root(0x40 | 3 << 2),
            Err(RegisterFault::RootMisaligned)
        );
        assert_eq!(shape.root(0x1080 | 3 << 2), Ok(3 << 48 | 0x1080));
    }

    #[test]
    fn bits_of_features_that_the_cpu_lacks_are_ignored() {
        let all = RES1 | VS | HA | HD | DS | SL2;
        assert_eq!(effective(all | NEVER, Features::ALL), all);
        assert_eq!(effective(all, Features::NONE), RES1);
        assert_eq!(effective(all, Features::VMID16), RES1 | VS);
        assert_eq!(effective(all, Features::HARDWARE_AF), RES1 | HA);
        assert_eq!(effective(all, Features::HARDWARE_DIRTY), RES1 | HD);
        assert_eq!(effective(all, Features::LPA2), RES1 | DS | SL2);
        assert_eq!(effective(SL2, Features::LPA2), 0);
    }

    #[test]
    fn level_0_of_4_kib_pages_with_52_bits_has_16_tables() {
        let vtcr = RES1 | DS | 2 << 6 | 6 << 16 | 0xc;
        let shape = Shape::decode(vtcr, &config(Features::LPA2, 52)).unwrap();
        assert_eq!((shape.start, shape.root_bytes()), (0, 65536));
    }

    #[test]
    fn every_register_fault_is_found() {
        let config = config(Features::NONE, 44);
        let good = RES1 | 1 << 6 | 4 << 16 | 0x19;
        let cases = [
            (good | 3 << 14, RegisterFault::Granule),
            (good | 1 << 33, RegisterFault::StartLevel),
            (good & !63 | 0x10, RegisterFault::InputSize),
            (good & !63 | 0x28, RegisterFault::InputSize),
            (good & !63 | 0x23, RegisterFault::StartLevelForSize),
            (good & !(3 << 6) | 0x14, RegisterFault::StartLevelForSize),
            (good | 1 << 16, RegisterFault::OutputSize),
            (good | 7 << 16, RegisterFault::OutputSize),
        ];
        assert!(Shape::decode(good, &config).is_ok());
        for (vtcr, fault) in cases {
            assert_eq!(Shape::decode(vtcr, &config), Err(fault), "{vtcr:#x}");
        }
    }

    #[test]
    fn granules_have_their_own_start_levels() {
        let config = config(Features::NONE, 48);
        let at = |tg0: u64, sl0: u64, t0sz: u64| {
            Shape::decode(RES1 | tg0 << 14 | sl0 << 6 | 5 << 16 | t0sz, &config)
                .map(|shape| (shape.start, shape.root_bytes()))
        };
        assert_eq!(at(0, 2, 16), Ok((0, 4096)));
        assert_eq!(at(1, 1, 24), Ok((2, 16 << 10)));
        assert_eq!(at(1, 2, 16), Ok((1, 512)));
        assert_eq!(at(2, 1, 24), Ok((2, 256 << 10)));
        assert_eq!(at(2, 2, 16), Ok((1, 32 << 10)));
        assert_eq!(at(2, 3, 16), Err(RegisterFault::StartLevel));
    }

    #[test]
    fn the_upper_half_of_a_vmid_counts_only_with_vs() {
        assert_eq!(vmid(0x1234 << 48, 0), 0x34);
        assert_eq!(vmid(0x1234 << 48, 1 << 19), 0x1234);
    }
}
