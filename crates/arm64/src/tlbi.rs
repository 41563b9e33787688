//! The TLB invalidations that stage 2 needs, with operands ready for the instruction (DDI 0487, C5.5).

use crate::Ipa;
use crate::desc::{Format, OutputFormat};
use crate::granule::{Granule, Level};

/// One TLB invalidation instruction.
///
/// Those that act on one VMID act on the one in VTTBR_EL2 while they execute. None of them is complete before a DSB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tlbi {
    /// `TLBI IPAS2E1IS`: stage-2 entries of this VMID that translate one IPA, all CPUs. Entries that combine both
    /// stages stay.
    Ipas2e1is(IpaOperand),
    /// `TLBI IPAS2E1`: the same, this CPU.
    Ipas2e1(IpaOperand),
    /// `TLBI RIPAS2E1IS`: the same for a range (FEAT_TLBIRANGE).
    Ripas2e1is(RangeOperand),
    /// `TLBI VMALLE1IS`: stage-1 and combined entries of this VMID, all CPUs.
    Vmalle1is,
    /// `TLBI VMALLS12E1IS`: all entries of this VMID, all CPUs.
    Vmalls12e1is,
    /// `TLBI VMALLE1`: stage-1 and combined entries of this VMID, this CPU.
    Vmalle1,
    /// `TLBI VMALLS12E1`: all entries of this VMID, this CPU.
    Vmalls12e1,
    /// `TLBI ALLE1IS`: all entries of the EL1&0 regime of every VMID, all CPUs.
    Alle1is,
}

/// The operand of `TLBI IPAS2E1IS` and its local form: TTL at \[47:44\], IPA\[51:12\] at \[39:0\]; the NS bit is 0.
///
/// ```
/// use droste_arm64::desc::Format;
/// use droste_arm64::tlbi::IpaOperand;
/// use droste_arm64::{Granule, Ipa, Level};
/// let format = Format::narrow(Granule::Kib4);
/// // The address is shifted by 12 whatever the granule.
/// assert_eq!(IpaOperand::new(Ipa(0x4000_1000), format, None).0, 0x4_0001);
/// assert_eq!(
///     IpaOperand::new(Ipa(0x4000_0000), format, Some(Level::L2)).0,
///     0x6000_0004_0000
/// );
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct IpaOperand(pub u64);

impl IpaOperand {
    /// The page of `ipa`. `leaf` is the level of the entry that translated it, for CPUs with FEAT_TTL: with a wrong
    /// one nothing need be invalidated. `None` gives no hint, and so does a level without leaves.
    pub const fn new(ipa: Ipa, format: Format, leaf: Option<Level>) -> Self {
        let ttl = match leaf {
            Some(level) if format.leaf_at(level).is_some() => {
                tg(format.granule()) << 2 | level.number().cast_unsigned() as u64
            }
            _ => 0,
        };
        Self(ttl << 44 | (ipa.0 >> 12) & 0xff_ffff_ffff)
    }
}

/// The granule's number in the TG and TTL fields, 1 to 3.
const fn tg(granule: Granule) -> u64 {
    match granule {
        Granule::Kib4 => 1,
        Granule::Kib16 => 2,
        Granule::Kib64 => 3,
    }
}

/// The operand of `TLBI RIPAS2E1IS`: TG at \[47:46\], SCALE at \[45:44\], NUM at \[43:39\], TTL at \[38:37\],
/// BaseADDR at \[36:0\].
///
/// BaseADDR counts pages of the granule, or 64 KiB whatever the granule where VTCR_EL2.DS is 1. The hardware takes DS
/// from VTCR_EL2 as it stands while the instruction executes, so that register then holds the value of the tables
/// that are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct RangeOperand(pub u64);

/// NUM + 1 at most.
const MAX_UNITS: u64 = 32;
const MAX_SCALE: u64 = 3;

/// Pages that one unit of NUM covers at `scale`, 0 to 3: 2, 64, 2048 or 65536.
const fn pages_per_unit(scale: u64) -> u64 {
    1 << (5 * scale + 1)
}

/// The instructions that invalidate a range: as few range forms as it takes, largest first, and one
/// `TLBI IPAS2E1IS` for each page that no range form can name. That is an odd page at the end and, where BaseADDR
/// counts 64 KiB, pages before the first multiple of that.
///
/// ```
/// use droste_arm64::desc::Format;
/// use droste_arm64::tlbi::{Tlbi, RangeCover, IpaOperand};
/// use droste_arm64::{Granule, Ipa};
/// let format = Format::narrow(Granule::Kib4);
/// let mut cover = RangeCover::new(Ipa(0x8000_0000), 3, format, None);
/// assert!(matches!(cover.next(), Some(Tlbi::Ripas2e1is(_))));
/// let last = IpaOperand::new(Ipa(0x8000_2000), format, None);
/// assert_eq!(cover.next(), Some(Tlbi::Ipas2e1is(last)));
/// assert_eq!(cover.next(), None);
/// ```
#[derive(Clone, Debug)]
pub struct RangeCover {
    /// Number of the first page not yet covered.
    page: u64,
    pages: u64,
    format: Format,
    leaf: Option<Level>,
}

impl RangeCover {
    /// The most pages that one instruction covers.
    pub const MAX_PAGES: u64 = MAX_UNITS * pages_per_unit(MAX_SCALE);

    /// Covers `pages` pages of the format's granule from the one that holds `from`.
    ///
    /// `leaf` is the level of *all* leaves in the range, for CPUs with FEAT_TTL; the range then begins and ends on
    /// multiples of such a leaf, or the hardware may take the hint for wrong and keep entries.
    pub const fn new(from: Ipa, pages: u64, format: Format, leaf: Option<Level>) -> Self {
        Self {
            page: from.0 >> format.granule().page_shift(),
            pages,
            format,
            leaf,
        }
    }

    /// The first page not yet covered, as BaseADDR; `None` where BaseADDR is too coarse for it.
    const fn base(&self) -> Option<u64> {
        let pages_log2 = match self.format.output() {
            OutputFormat::Lpa2 => 16 - self.format.granule().page_shift(),
            OutputFormat::Bits48 | OutputFormat::Lpa => 0,
        };
        if self.page & ((1 << pages_log2) - 1) != 0 {
            return None;
        }
        Some(self.page >> pages_log2 & 0x1f_ffff_ffff)
    }

    /// The level as this operand hints it, 1 to 3; 0 for none, which level 0 gets for want of a number.
    const fn hint(&self) -> u64 {
        match self.leaf {
            Some(level) if self.format.leaf_at(level).is_some() => {
                level.number().cast_unsigned() as u64
            }
            _ => 0,
        }
    }

    /// The range form that covers most from here on, with how many pages that is.
    fn range(&self) -> Option<(RangeOperand, u64)> {
        let base = self.base()?;
        let scale = (0..=MAX_SCALE)
            .rev()
            .find(|&scale| self.pages >= pages_per_unit(scale))?;
        let units = (self.pages / pages_per_unit(scale)).min(MAX_UNITS);
        let operand = RangeOperand(
            tg(self.format.granule()) << 46
                | scale << 44
                | (units - 1) << 39
                | self.hint() << 37
                | base,
        );
        Some((operand, units * pages_per_unit(scale)))
    }
}

impl Iterator for RangeCover {
    type Item = Tlbi;

    fn next(&mut self) -> Option<Tlbi> {
        if self.pages == 0 {
            return None;
        }
        let (operation, covered) = if let Some((operand, covered)) = self.range() {
            (Tlbi::Ripas2e1is(operand), covered)
        } else {
            let ipa = Ipa(self.page << self.format.granule().page_shift());
            let operand = IpaOperand::new(ipa, self.format, self.leaf);
            (Tlbi::Ipas2e1is(operand), 1)
        };
        self.page += covered;
        self.pages -= covered;
        Some(operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First page and page count of an operation, decoded from the raw bits as C5.5 draws them.
    fn decode(operation: Tlbi, granule: Granule) -> (u64, u64) {
        match operation {
            Tlbi::Ipas2e1is(IpaOperand(raw)) => {
                ((raw & 0xff_ffff_ffff) >> (granule.page_shift() - 12), 1)
            }
            Tlbi::Ripas2e1is(RangeOperand(raw)) => {
                let scale = raw >> 44 & 3;
                let num = raw >> 39 & 31;
                (raw & 0x1f_ffff_ffff, (num + 1) << (5 * scale + 1))
            }
            other => panic!("{other:?} is no invalidation by address"),
        }
    }

    #[test]
    fn a_range_is_covered_without_gap_or_excess() {
        for granule in Granule::ALL {
            for pages in (0..5000).chain([65535, 65536, 1 << 21, (1 << 21) + 1, (1 << 24) + 77]) {
                let mut next = 0x4_0000;
                for operation in RangeCover::new(
                    Ipa(next << granule.page_shift()),
                    pages,
                    Format::narrow(granule),
                    None,
                ) {
                    let (first, count) = decode(operation, granule);
                    assert_eq!(first, next);
                    next += count;
                }
                assert_eq!(next, 0x4_0000 + pages, "{granule:?} {pages}");
            }
        }
    }

    #[test]
    fn five_instructions_cover_what_one_widest_instruction_can() {
        for pages in [1, 2, 63, 2047, 65535, 1 << 20, RangeCover::MAX_PAGES - 1] {
            assert!(
                RangeCover::new(Ipa(0), pages, Format::narrow(Granule::Kib4), None).count() <= 5
            );
        }
        assert_eq!(RangeCover::MAX_PAGES, 1 << 21);
    }

    #[test]
    fn a_hinted_range_stays_on_multiples_of_its_leaf() {
        // C5.5: with TTL set, BaseADDR off a multiple of the leaf is a wrong hint.
        for (granule, level) in [
            (Granule::Kib4, Level::L1),
            (Granule::Kib4, Level::L2),
            (Granule::Kib16, Level::L2),
            (Granule::Kib64, Level::L2),
        ] {
            let leaf = granule.entry_bytes(level).expect("fits") >> granule.page_shift();
            for count in 1..300 {
                for operation in
                    RangeCover::new(Ipa(0), count * leaf, Format::narrow(granule), Some(level))
                {
                    assert_eq!(decode(operation, granule).0 % leaf, 0);
                }
            }
        }
    }

    #[test]
    fn operands_match_those_worked_out_by_hand() {
        // 512 pages of 4 KiB: SCALE 1 (64 pages a unit), NUM 7, TTL 2.
        let mut cover = RangeCover::new(
            Ipa(0x8020_0000),
            512,
            Format::narrow(Granule::Kib4),
            Some(Level::L2),
        );
        assert_eq!(
            cover.next(),
            Some(Tlbi::Ripas2e1is(RangeOperand(
                1 << 46 | 1 << 44 | 7 << 39 | 2 << 37 | 0x8_0200
            )))
        );
        assert_eq!(cover.next(), None);
        // Two pages of 64 KiB: SCALE 0, NUM 0, TG 3.
        let mut cover = RangeCover::new(Ipa(0x8001_0000), 2, Format::narrow(Granule::Kib64), None);
        assert_eq!(
            cover.next(),
            Some(Tlbi::Ripas2e1is(RangeOperand(3 << 46 | 0x8001)))
        );
    }

    #[test]
    fn hints_name_granule_and_level_or_nothing() {
        for granule in Granule::ALL {
            for level in Level::ALL {
                let ttl = IpaOperand::new(Ipa(0), Format::narrow(granule), Some(level)).0 >> 44;
                let expected = match (granule, level) {
                    (Granule::Kib4, Level::L1) => 0b0101,
                    (Granule::Kib4, Level::L2) => 0b0110,
                    (Granule::Kib4, Level::L3) => 0b0111,
                    (Granule::Kib16, Level::L2) => 0b1010,
                    (Granule::Kib16, Level::L3) => 0b1011,
                    (Granule::Kib64, Level::L2) => 0b1110,
                    (Granule::Kib64, Level::L3) => 0b1111,
                    _ => 0,
                };
                assert_eq!(ttl, expected, "{granule:?} {level:?}");
            }
        }
    }

    #[test]
    fn an_operand_is_shifted_by_twelve_whatever_the_granule() {
        for granule in Granule::ALL {
            let operand = IpaOperand::new(Ipa(0xffff_ffff_0000), Format::narrow(granule), None);
            assert_eq!(operand.0, 0xf_ffff_fff0);
        }
    }
}
