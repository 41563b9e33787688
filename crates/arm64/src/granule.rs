//! Translation granules, lookup levels and the sizes that follow from them.

/// The lookup levels of a translation table walk, first to last (DDI 0487, D8 "Translation process").
///
/// Levels compare in walk order: [`Level::L1`] is looked up before [`Level::L2`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i8)]
pub enum Level {
    /// Level −1: the fifth lookup that 52-bit addresses with the 4 KiB granule need.
    Minus1 = -1,
    /// Level 0.
    L0 = 0,
    /// Level 1.
    L1 = 1,
    /// Level 2.
    L2 = 2,
    /// Level 3: the last; its leaves are pages.
    L3 = 3,
}

impl Level {
    /// All levels in walk order.
    pub const ALL: [Self; 5] = [Self::Minus1, Self::L0, Self::L1, Self::L2, Self::L3];

    /// The level of this number; `None` outside −1 to 3.
    #[inline]
    pub const fn new(number: i8) -> Option<Self> {
        match number {
            -1 => Some(Self::Minus1),
            0 => Some(Self::L0),
            1 => Some(Self::L1),
            2 => Some(Self::L2),
            3 => Some(Self::L3),
            _ => None,
        }
    }

    /// −1 to 3.
    #[inline]
    pub const fn number(self) -> i8 {
        self as i8
    }

    /// The number of lookups that follow this one on the longest walk: 4 at level −1, 0 at level 3.
    #[inline]
    pub const fn below(self) -> u32 {
        (Self::L3.number() - self.number()).unsigned_abs() as u32
    }

    /// The level looked up after this one; `None` after level 3.
    #[inline]
    pub const fn next(self) -> Option<Self> {
        Self::new(self.number() + 1)
    }
}

/// The kind of a leaf descriptor: see [`Format::leaf_at`](crate::desc::Format::leaf_at).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeafKind {
    /// Above level 3.
    Block,
    /// At level 3.
    Page,
}

/// The size of a page and, with it, of a translation table (DDI 0487, D8 "Translation granules").
///
/// ```
/// use droste_arm64::{Granule, Level};
/// assert_eq!(Granule::Kib4.page_bytes(), 4096);
/// assert_eq!(Granule::Kib16.entries(), 2048);
/// assert_eq!(Granule::Kib64.entry_bytes(Level::L2), Some(512 << 20));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Granule {
    /// 4 KiB.
    Kib4 = 12,
    /// 16 KiB.
    Kib16 = 14,
    /// 64 KiB.
    Kib64 = 16,
}

impl Granule {
    /// All granules, small to large.
    pub const ALL: [Self; 3] = [Self::Kib4, Self::Kib16, Self::Kib64];

    /// Address bits that a page resolves: 12, 14 or 16.
    #[inline]
    pub const fn page_shift(self) -> u32 {
        self as u32
    }

    /// Bytes of a page and of a full table.
    #[inline]
    pub const fn page_bytes(self) -> u64 {
        1 << self.page_shift()
    }

    /// Address bits that one lookup resolves: 9, 11 or 13.
    #[inline]
    pub const fn index_bits(self) -> u32 {
        self.page_shift() - 3
    }

    /// Descriptors of a full table: 512, 2048 or 8192.
    #[inline]
    pub const fn entries(self) -> u64 {
        1 << self.index_bits()
    }

    /// Address bits that one descriptor at `level` leaves to resolve. Above 63 where the level does not exist for
    /// the granule (level −1 at 64 KiB).
    #[inline]
    pub const fn entry_shift(self, level: Level) -> u32 {
        self.page_shift() + self.index_bits() * level.below()
    }

    /// Bytes that one descriptor at `level` maps; `None` where that exceeds the 64-bit address space.
    #[inline]
    pub const fn entry_bytes(self, level: Level) -> Option<u64> {
        1u64.checked_shl(self.entry_shift(level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_maps_what_the_manual_says() {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        const TIB: u64 = 1 << 40;
        let sizes = [
            (Granule::Kib4, Level::L3, 4 * KIB),
            (Granule::Kib4, Level::L2, 2 * MIB),
            (Granule::Kib4, Level::L1, GIB),
            (Granule::Kib4, Level::L0, 512 * GIB),
            (Granule::Kib4, Level::Minus1, 256 * TIB),
            (Granule::Kib16, Level::L3, 16 * KIB),
            (Granule::Kib16, Level::L2, 32 * MIB),
            (Granule::Kib16, Level::L1, 64 * GIB),
            (Granule::Kib16, Level::L0, 128 * TIB),
            (Granule::Kib64, Level::L3, 64 * KIB),
            (Granule::Kib64, Level::L2, 512 * MIB),
            (Granule::Kib64, Level::L1, 4 * TIB),
        ];
        for (granule, level, bytes) in sizes {
            assert_eq!(
                granule.entry_bytes(level),
                Some(bytes),
                "{granule:?} {level:?}"
            );
        }
    }

    #[test]
    fn a_level_that_does_not_fit_the_address_space_has_no_size() {
        assert_eq!(Granule::Kib64.entry_bytes(Level::Minus1), None);
    }

    #[test]
    fn levels_are_walked_in_order_and_end_at_three() {
        for pair in Level::ALL.windows(2) {
            assert_eq!(pair[0].next(), Some(pair[1]));
            assert!(pair[0] < pair[1]);
            assert_eq!(pair[0].below(), pair[1].below() + 1);
        }
        assert_eq!(Level::L3.next(), None);
        assert_eq!(Level::new(4), None);
        assert_eq!(Level::new(-2), None);
        for level in Level::ALL {
            assert_eq!(Level::new(level.number()), Some(level));
        }
    }
}
