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
    /// The page of `ipa`. `leaf` is the level of the entry that translated it, as a hint for CPUs with FEAT_TTL: with a
    /// wrong hint nothing need be invalidated. `None`, or a level without leaves, gives no hint.
    pub const fn new(ipa: Ipa, format: Format, leaf: Option<Level>) -> Self {
        let ttl = match leaf {
            Some(level) if format.leaf_at(level).is_some() => {
                tg(format.granule()) << 2 | level_number(leaf)
            }
            _ => 0,
        };
        Self(ttl << 44 | (ipa.0 >> 12) & 0xff_ffff_ffff)
    }
}

/// A leaf's level as hints number it, 0 to 3; 0 for none.
const fn level_number(leaf: Option<Level>) -> u64 {
    match leaf {
        None | Some(Level::Minus1 | Level::L0) => 0,
        Some(Level::L1) => 1,
        Some(Level::L2) => 2,
        Some(Level::L3) => 3,
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
/// from VTCR_EL2 as it stands while the instruction executes, so that register must then hold the value of the tables
/// to invalidate for.
///
/// TTL 0 means leaves of any level, as the description of the instruction says. D8.17.5.2 can be read as level 0 with
/// DS = 1 and the 4 KiB granule; then no operand could leave the level open, as widely used software does.
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

/// The instructions that invalidate a range: as few range forms as possible, largest first, and one `TLBI IPAS2E1IS`
/// for each page that no range form can cover. That is an odd page at the end and, where BaseADDR counts 64 KiB, pages
/// before the first multiple of that. Leaves too large for a range form, those of at least 64 GiB that the 52-bit
/// formats have, take one `TLBI IPAS2E1IS` each.
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
    /// multiples of such a leaf, or what the hardware invalidates is UNPREDICTABLE (DDI 0487, C5.5, TLBI RIPAS2E1IS).
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

    /// The leaves' level where it exists.
    const fn leaf(&self) -> Option<Level> {
        match self.leaf {
            Some(level) if self.format.leaf_at(level).is_some() => Some(level),
            _ => None,
        }
    }

    /// Pages of a leaf; 1 without a hint.
    const fn leaf_pages(&self) -> u64 {
        let granule = self.format.granule();
        match self.leaf() {
            Some(level) => 1 << (granule.entry_shift(level) - granule.page_shift()),
            None => 1,
        }
    }

    /// The range form that covers most from here on, with how many pages that is.
    fn range(&self) -> Option<(RangeOperand, u64)> {
        if self.leaf_pages() > Self::MAX_PAGES {
            return None;
        }
        let base = self.base()?;
        let scale = (0..=MAX_SCALE)
            .rev()
            .find(|&scale| self.pages >= pages_per_unit(scale))?;
        let units = (self.pages / pages_per_unit(scale)).min(MAX_UNITS);
        let operand = RangeOperand(
            tg(self.format.granule()) << 46
                | scale << 44
                | (units - 1) << 39
                | level_number(self.leaf()) << 37
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
            let leaf = self.leaf_pages();
            let covered = if leaf > Self::MAX_PAGES { leaf } else { 1 };
            (Tlbi::Ipas2e1is(operand), covered.min(self.pages))
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
    fn decode(operation: Tlbi, format: Format) -> (u64, u64) {
        let page_shift = format.granule().page_shift();
        match operation {
            Tlbi::Ipas2e1is(IpaOperand(raw)) => ((raw & 0xff_ffff_ffff) >> (page_shift - 12), 1),
            Tlbi::Ripas2e1is(RangeOperand(raw)) => {
                let scale = raw >> 44 & 3;
                let num = raw >> 39 & 31;
                // With DS = 1, BaseADDR is address bits [52:16] whatever the granule.
                let is_coarse = format.output() == OutputFormat::Lpa2;
                let base_shift = if is_coarse { 16 } else { page_shift };
                let base = (raw & 0x1f_ffff_ffff) << base_shift;
                (base >> page_shift, (num + 1) << (5 * scale + 1))
            }
            other => panic!("{other:?} is no invalidation by address"),
        }
    }

    #[test]
    fn a_range_is_covered_without_gap_or_excess() {
        for format in Format::ALL {
            let page_shift = format.granule().page_shift();
            // Off a multiple of 64 KiB by every number of pages.
            for first in (0x4_0000..0x4_0011).chain([(1 << 35) - 7]) {
                for pages in (0..300).chain([2047, 65535, 65536, 1 << 21, (1 << 21) + 1]) {
                    let mut next = first;
                    for operation in RangeCover::new(Ipa(next << page_shift), pages, format, None) {
                        let (page, count) = decode(operation, format);
                        assert_eq!(page, next, "{format:?}");
                        next += count;
                    }
                    assert_eq!(next, first + pages, "{format:?} {pages}");
                }
            }
        }
    }

    #[test]
    fn a_cover_is_short() {
        for format in Format::ALL {
            for first in 0x4_0000..0x4_0010 {
                for pages in (1..300).chain([65535, 1 << 20, RangeCover::MAX_PAGES - 1]) {
                    let from = Ipa(first << format.granule().page_shift());
                    // One instruction for each scale, and an odd page.
                    let mut most = 5;
                    if format.output() == OutputFormat::Lpa2 {
                        // Pages of the first 64 KiB.
                        most += (0x1_0000 >> format.granule().page_shift()) - 1;
                    }
                    let count = RangeCover::new(from, pages, format, None).count();
                    assert!(count <= most, "{format:?} {first:#x} {pages}");
                }
            }
        }
        assert_eq!(RangeCover::MAX_PAGES, 1 << 21);
    }

    #[test]
    fn a_hinted_range_stays_on_multiples_of_its_leaf() {
        // C5.5: with TTL set and BaseADDR off a multiple of the leaf, the range invalidated is UNPREDICTABLE.
        for format in Format::ALL {
            for level in Level::ALL {
                if format.leaf_at(level).is_none() {
                    continue;
                }
                let bytes = format.granule().entry_bytes(level).expect("fits");
                let leaf = bytes >> format.granule().page_shift();
                for count in 1..300 {
                    let mut next = 0;
                    for operation in RangeCover::new(Ipa(0), count * leaf, format, Some(level)) {
                        let (page, pages) = decode(operation, format);
                        assert_eq!(page, next, "{format:?} {level:?}");
                        assert_eq!(page % leaf, 0, "{format:?} {level:?}");
                        next += pages.max(leaf);
                    }
                    assert_eq!(next, count * leaf);
                }
            }
        }
    }

    #[test]
    fn operands_match_those_worked_out_by_hand() {
        let range = |from, pages, format, leaf| {
            let mut cover = RangeCover::new(Ipa(from), pages, format, leaf);
            let first = cover.next();
            assert_eq!(cover.next(), None);
            match first {
                Some(Tlbi::Ripas2e1is(operand)) => operand.0,
                other => panic!("{other:?} is no range"),
            }
        };
        // 512 pages of 4 KiB: SCALE 1 (64 pages a unit), NUM 7, TTL 2.
        assert_eq!(
            range(
                0x8020_0000,
                512,
                Format::narrow(Granule::Kib4),
                Some(Level::L2)
            ),
            1 << 46 | 1 << 44 | 7 << 39 | 2 << 37 | 0x8_0200
        );
        // Two pages of 64 KiB: SCALE 0, NUM 0, TG 3.
        for format in [Format::narrow(Granule::Kib64), Format::wide(Granule::Kib64)] {
            assert_eq!(range(0x8001_0000, 2, format, None), 3 << 46 | 0x8001);
        }
        // The same 512 pages of 4 KiB with DS = 1, near the top of 52 bits.
        assert_eq!(
            range(
                0xf_ffff_8020_0000,
                512,
                Format::wide(Granule::Kib4),
                Some(Level::L2)
            ),
            1 << 46 | 1 << 44 | 7 << 39 | 2 << 37 | 0xf_ffff_8020
        );
        // Four pages of 16 KiB with DS = 1: SCALE 0, NUM 1, TG 2.
        assert_eq!(
            range(
                0x8001_0000,
                4,
                Format::wide(Granule::Kib16),
                Some(Level::L3)
            ),
            2 << 46 | 1 << 39 | 3 << 37 | 0x8001
        );
    }

    #[test]
    fn hints_name_granule_and_level_or_nothing() {
        for format in Format::ALL {
            let is_wide = format.output() != OutputFormat::Bits48;
            for level in Level::ALL {
                let ttl = IpaOperand::new(Ipa(0), format, Some(level)).0 >> 44;
                let expected = match (format.granule(), level) {
                    (Granule::Kib4, Level::L0) if is_wide => 0b0100,
                    (Granule::Kib4, Level::L1) => 0b0101,
                    (Granule::Kib4, Level::L2) => 0b0110,
                    (Granule::Kib4, Level::L3) => 0b0111,
                    (Granule::Kib16, Level::L1) if is_wide => 0b1001,
                    (Granule::Kib16, Level::L2) => 0b1010,
                    (Granule::Kib16, Level::L3) => 0b1011,
                    (Granule::Kib64, Level::L1) if is_wide => 0b1101,
                    (Granule::Kib64, Level::L2) => 0b1110,
                    (Granule::Kib64, Level::L3) => 0b1111,
                    _ => 0,
                };
                assert_eq!(ttl, expected, "{format:?} {level:?}");

                let cover = RangeCover::new(Ipa(0), 1 << 21, format, Some(level)).next();
                if let Some(Tlbi::Ripas2e1is(range)) = cover {
                    assert_eq!(range.0 >> 37 & 3, expected & 3, "{format:?} {level:?}");
                } else {
                    assert!(is_wide && level < Level::L2, "{format:?} {level:?}");
                }
            }
        }
    }

    #[test]
    fn an_operand_is_shifted_by_twelve_whatever_the_format() {
        for format in Format::ALL {
            let operand = IpaOperand::new(Ipa(0xf_ffff_ffff_0000), format, None);
            assert_eq!(operand.0, 0xff_ffff_fff0);
        }
    }
}
