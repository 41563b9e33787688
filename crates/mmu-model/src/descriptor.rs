//! The model's own reading of raw stage-2 descriptors (DDI 0487, D8 "Translation table descriptor formats").

use core::fmt;

use crate::config::{Config, Features};
use crate::regime::{Format, Shape};

/// S2AP\[0\]: readable.
pub(crate) const READ: u64 = 1 << 6;
/// S2AP\[1\]: writable, and with hardware dirty management: written.
pub(crate) const WRITE: u64 = 1 << 7;
/// The access flag.
pub(crate) const ACCESSED: u64 = 1 << 10;
/// FnXS: the access has XS clear whatever stage 1 says (FEAT_XS).
pub(crate) const FNXS: u64 = 1 << 11;
/// nT, of blocks (FEAT_BBM).
pub(crate) const NT: u64 = 1 << 16;
/// Dirty bit modifier.
pub(crate) const DBM: u64 = 1 << 51;
/// Contiguous.
pub(crate) const CONTIGUOUS: u64 = 1 << 52;

/// A descriptor's meaning to the walker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meaning {
    /// Faults; reserved encodings too.
    Invalid,
    /// The next table's address.
    Table(u64),
    /// The output address of a block or page.
    Leaf(u64),
}

/// What is wrong with a valid descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// Bits \[1:0\] are reserved at this level.
    Kind,
    /// Address bits below the size of the block are set, or others that are RES0.
    AddressBits,
    /// The output address is wider than VTCR_EL2.PS.
    OutputSize,
    /// The next table is outside the memory for tables.
    TableOutside,
    /// The next table is above this one already.
    TableLoop,
    /// MemAttr is reserved.
    MemoryType,
    /// SH is reserved.
    Shareability,
    /// XN\[0\] is set without FEAT_XNX.
    Execute,
    /// FnXS is set without FEAT_XS.
    Fnxs,
    /// nT is set without FEAT_BBM.
    Nt,
    /// A valid neighbour in the Contiguous run leads elsewhere, has another memory type or lacks the bit.
    ContiguousRun,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "its type is reserved at this level",
            Self::AddressBits => "address bits are set that are RES0 at this level",
            Self::OutputSize => "its output address is wider than VTCR_EL2.PS",
            Self::TableOutside => "its table is outside the memory for tables",
            Self::TableLoop => "its table is already above it",
            Self::MemoryType => "its MemAttr is reserved",
            Self::Shareability => "its SH is reserved",
            Self::Execute => "it has XN[0] set without FEAT_XNX",
            Self::Fnxs => "it has FnXS set without FEAT_XS",
            Self::Nt => "it has nT set without FEAT_BBM",
            Self::ContiguousRun => "a valid neighbour of its Contiguous run disagrees",
        })
    }
}

impl Shape {
    /// Whether `level` has blocks or pages.
    pub(crate) const fn has_leaf(&self, level: i8) -> bool {
        matches!(
            (level, self.page_shift, self.format),
            (2 | 3, _, _)
                | (1, 12, _)
                | (1, 16, Format::Lpa)
                | (0, 12, Format::Lpa2)
                | (1, 14, Format::Lpa2)
        )
    }

    /// What `raw` means at `level`.
    #[inline]
    pub(crate) const fn meaning(&self, raw: u64, level: i8) -> Meaning {
        match (raw & 3, level) {
            (3, 3) => Meaning::Leaf(self.address(raw, self.page_shift)),
            (3, _) => Meaning::Table(self.address(raw, self.page_shift)),
            (1, ..3) if self.has_leaf(level) => {
                Meaning::Leaf(self.address(raw, self.entry_shift(level)))
            }
            _ => Meaning::Invalid,
        }
    }

    /// The address in a descriptor, without bits below `shift`.
    const fn address(&self, raw: u64, shift: u32) -> u64 {
        let above = u64::MAX << shift;
        match self.format {
            Format::Bits48 => raw & 0xffff_ffff_f000 & above,
            Format::Lpa => raw & 0xffff_ffff_0000 & above | (raw >> 12 & 15) << 48,
            Format::Lpa2 => raw & 0x3_ffff_ffff_f000 & above | (raw >> 8 & 3) << 50,
        }
    }

    /// The same descriptor with another output address, a multiple of its size.
    pub(crate) const fn with_output(&self, raw: u64, output: u64) -> u64 {
        match self.format {
            Format::Bits48 => raw & !0xffff_ffff_f000 | output,
            Format::Lpa => {
                raw & !0xffff_ffff_f000 | output & 0xffff_ffff_0000 | (output >> 48 & 15) << 12
            }
            Format::Lpa2 => {
                raw & !0x3_ffff_ffff_f300 | output & 0x3_ffff_ffff_f000 | (output >> 50 & 3) << 8
            }
        }
    }

    /// Memory type and shareability: what no valid entry may change.
    pub(crate) const fn memory_bits(&self, raw: u64) -> u64 {
        match self.format {
            Format::Lpa2 => raw & 0x3c,
            Format::Bits48 | Format::Lpa => raw & 0x33c,
        }
    }

    /// What is wrong with a valid descriptor, but for where a table leads.
    #[inline]
    pub(crate) fn malformed(&self, raw: u64, level: i8, config: &Config) -> Option<Malformed> {
        match self.meaning(raw, level) {
            Meaning::Invalid => (raw & 1 != 0).then_some(Malformed::Kind),
            Meaning::Table(table) => {
                let is_clean = raw & self.reserved_address_bits(self.page_shift) == 0;
                if !is_clean {
                    Some(Malformed::AddressBits)
                } else if table >> self.oa_bits != 0 {
                    Some(Malformed::OutputSize)
                } else {
                    None
                }
            }
            Meaning::Leaf(output) => self.malformed_leaf(raw, level, output, config),
        }
    }

    fn malformed_leaf(
        &self,
        raw: u64,
        level: i8,
        output: u64,
        config: &Config,
    ) -> Option<Malformed> {
        let features = config.features;
        let mut reserved = self.reserved_address_bits(self.entry_shift(level));
        if level < 3 {
            if raw & NT != 0 && config.bbm == crate::Bbm::Level0 {
                return Some(Malformed::Nt);
            }
            reserved &= !NT;
        }
        let memory = raw >> 2 & 15;
        let is_memory_reserved = if features.has(Features::FWB) {
            memory >> 3 != 0 || memory == 4
        } else {
            matches!(memory, 4 | 8 | 12)
        };
        let faults = [
            (raw & reserved != 0, Malformed::AddressBits),
            (output >> self.oa_bits != 0, Malformed::OutputSize),
            (is_memory_reserved, Malformed::MemoryType),
            (
                self.format != Format::Lpa2 && raw >> 8 & 3 == 1,
                Malformed::Shareability,
            ),
            (
                raw >> 53 & 1 != 0 && !features.has(Features::XNX),
                Malformed::Execute,
            ),
            (
                raw & FNXS != 0 && !features.has(Features::XS),
                Malformed::Fnxs,
            ),
        ];
        faults
            .iter()
            .find(|(is_wrong, _)| *is_wrong)
            .map(|&(_, fault)| fault)
    }

    /// Bits of the address field that are RES0 for addresses that are multiples of `1 << shift`.
    const fn reserved_address_bits(&self, shift: u32) -> u64 {
        let below = !(u64::MAX << shift) & 0xffff_ffff_f000;
        match self.format {
            Format::Bits48 => below | 0x7 << 48,
            Format::Lpa => below & !0xf000 | 0x7 << 48,
            Format::Lpa2 => below | 0x4 << 48,
        }
    }
}

/// Who makes an access, and what it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessKind {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch at EL1.
    ExecuteEl1,
    /// An instruction fetch at EL0.
    ExecuteEl0,
}

/// Whether a leaf permits an access (S2AP and XN; DDI 0487, D8 "Stage 2 permissions").
pub(crate) const fn permits(raw: u64, kind: AccessKind, config: &Config) -> bool {
    let xn = raw >> 53 & 3;
    let (el1, el0) = if config.features.has(Features::XNX) {
        (xn == 0 || xn == 3, xn == 0 || xn == 1)
    } else {
        (xn & 2 == 0, xn & 2 == 0)
    };
    match kind {
        AccessKind::Read => raw & READ != 0,
        AccessKind::Write => raw & WRITE != 0,
        AccessKind::ExecuteEl1 => el1,
        AccessKind::ExecuteEl0 => el0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use droste_arm64::Pa;

    const PAGE: u64 = 0x7ff;

    fn config(features: Features, pa_bits: u32) -> Config {
        Config {
            pa_bits,
            features,
            ..Config::new(Pa(0), 1)
        }
    }

    fn shape_4k(config: &Config) -> Shape {
        Shape::decode(1 << 31 | 1 << 6 | 5 << 16 | 0x19, config).unwrap()
    }

    #[test]
    fn a_descriptor_means_what_its_low_bits_and_level_say() {
        let shape = shape_4k(&config(Features::NONE, 48));
        assert_eq!(
            shape.meaning(0x4000_0000 | PAGE, 3),
            Meaning::Leaf(0x4000_0000)
        );
        assert_eq!(
            shape.meaning(0x4000_0000 | PAGE, 2),
            Meaning::Table(0x4000_0000)
        );
        assert_eq!(
            shape.meaning(0x4000_0000 | PAGE & !2, 2),
            Meaning::Leaf(0x4000_0000)
        );
        assert_eq!(shape.meaning(0x4000_0000 | PAGE & !2, 3), Meaning::Invalid);
        assert_eq!(shape.meaning(0x4000_0000 | PAGE & !2, 0), Meaning::Invalid);
        assert_eq!(shape.meaning(0x4000_0000 | PAGE & !1, 3), Meaning::Invalid);
    }

    #[test]
    fn wide_addresses_are_put_together_from_their_pieces() {
        let lpa = config(Features::NONE, 52);
        let shape = Shape::decode(1 << 31 | 1 << 14 | 1 << 6 | 6 << 16 | 0x18, &lpa).unwrap();
        assert_eq!(
            shape.meaning(0x1_0000 | 0xa000 | 3, 3),
            Meaning::Leaf(0xa_0000_0001_0000)
        );
        assert_eq!(shape.with_output(3, 0xa_0000_0001_0000), 0x1_a003);

        let lpa2 = config(Features::LPA2, 52);
        let shape = Shape::decode(1 << 32 | 1 << 31 | 2 << 6 | 6 << 16 | 16, &lpa2).unwrap();
        assert_eq!(
            shape.meaning(0x3_0000_0000_1000 | 3 << 8 | 3, 3),
            Meaning::Leaf(0xf_0000_0000_1000)
        );
        assert_eq!(
            shape.with_output(3, 0xf_0000_0000_1000),
            0x3_0000_0000_1000 | 3 << 8 | 3
        );
        assert!(shape.has_leaf(0));
    }

    #[test]
    fn each_malformed_descriptor_is_named() {
        let plain = config(Features::NONE, 48);
        let shape = Shape::decode(1 << 31 | 1 << 6 | 2 << 16 | 0x19, &plain).unwrap();
        let cases = [
            (0x4000_0000 | PAGE, 3, None),
            (0x4000_0000 | PAGE & !2, 3, Some(Malformed::Kind)),
            (0x4000_1000 | PAGE & !2, 2, Some(Malformed::AddressBits)),
            (1 << 49 | PAGE, 3, Some(Malformed::AddressBits)),
            (1 << 40 | PAGE, 3, Some(Malformed::OutputSize)),
            (1 << 40 | 3, 2, Some(Malformed::OutputSize)),
            (
                0x4000_0000 | PAGE & !0x3c | 4 << 2,
                3,
                Some(Malformed::MemoryType),
            ),
            (
                0x4000_0000 | PAGE & !0x200,
                3,
                Some(Malformed::Shareability),
            ),
            (0x4000_0000 | PAGE | 1 << 53, 3, Some(Malformed::Execute)),
            (0x4000_0000 | PAGE | FNXS, 3, Some(Malformed::Fnxs)),
            (0x4000_0000 | PAGE & !2 | NT, 2, Some(Malformed::Nt)),
            (0, 3, None),
        ];
        for (raw, level, expected) in cases {
            assert_eq!(shape.malformed(raw, level, &plain), expected, "{raw:#x}");
        }
        let fwb = config(Features::FWB, 48);
        assert_eq!(
            shape.malformed(0x4000_0000 | PAGE, 3, &fwb),
            Some(Malformed::MemoryType)
        );
        assert_eq!(shape.malformed(0x4000_0000 | PAGE & !0x20, 3, &fwb), None);
    }

    #[test]
    fn execution_is_told_apart_only_with_xnx() {
        let kinds = [AccessKind::ExecuteEl1, AccessKind::ExecuteEl0];
        let with = config(Features::XNX, 48);
        let without = config(Features::NONE, 48);
        for (xn, expected_with, expected_without) in [
            (0, [true, true], [true, true]),
            (1, [false, true], [true, true]),
            (2, [false, false], [false, false]),
            (3, [true, false], [false, false]),
        ] {
            assert_eq!(
                kinds.map(|kind| permits(xn << 53, kind, &with)),
                expected_with
            );
            assert_eq!(
                kinds.map(|kind| permits(xn << 53, kind, &without)),
                expected_without
            );
        }
    }
}
