//! Allocation of the machine's RAM.
//!
//! RAM is given out once, in contiguous pieces, and never returned. So each piece keeps its purpose, and RAM cannot run
//! out after boot.

use alloc::vec::Vec;
use core::ops::Range;

/// Ranges of physical memory, each either free or given out for ever.
///
/// ```
/// use droste_resources::Ram;
/// let mut ram = Ram::new(&[0x4000_0000..0x8000_0000], [0x4000_0000..0x4008_0000]);
/// assert_eq!(ram.take(1 << 20, 2 << 20, 0), Some(0x4020_0000..0x4030_0000));
/// assert_eq!(ram.take(1 << 30, 1 << 12, 0), None);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ram(Vec<Range<u64>>);

impl Ram {
    /// All of `memory` except what `occupied` lists. Ranges in either may overlap, touch, or be empty; ranges of memory
    /// that touch are merged.
    pub fn new(memory: &[Range<u64>], occupied: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut free = Self(memory.iter().filter(|r| !r.is_empty()).cloned().collect());
        free.0.sort_by_key(|range| range.start);
        free.0.dedup_by(|next, range| {
            let touches = next.start <= range.end;
            if touches {
                range.end = range.end.max(next.end);
            }
            touches
        });
        for taken in occupied {
            free.remove(&taken);
        }
        free
    }

    /// Takes `bytes` bytes at a multiple of `align`, a power of two, not below `from`. `None` if no free range has that
    /// many in one piece.
    pub fn take(&mut self, bytes: u64, align: u64, from: u64) -> Option<Range<u64>> {
        let found = self.0.iter().find_map(|range| {
            let start = range.start.max(from).checked_next_multiple_of(align)?;
            let end = start.checked_add(bytes)?;
            (end <= range.end).then_some(start..end)
        })?;
        self.remove(&found);
        Some(found)
    }

    /// Free bytes in all.
    pub fn free(&self) -> u64 {
        self.0.iter().map(|r| r.end - r.start).sum()
    }

    fn remove(&mut self, taken: &Range<u64>) {
        if taken.is_empty() {
            return;
        }
        let pieces = self.0.iter().flat_map(|r| {
            [
                r.start..r.end.min(taken.start),
                r.start.max(taken.end)..r.end,
            ]
        });
        self.0 = pieces.filter(|r| r.start < r.end).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_occupied_is_not_given_out() {
        let mut ram = Ram::new(&[10..40, 60..70], [0..12, 20..25, 39..61]);
        assert_eq!(ram.free(), 8 + 14 + 9);
        let pieces = [8, 8, 8].map(|bytes| ram.take(bytes, 1, 0));
        assert_eq!(pieces, [Some(12..20), Some(25..33), Some(61..69)]);
        assert_eq!(ram.take(8, 1, 0), None);
    }

    #[test]
    fn a_piece_is_aligned_and_not_below_its_limit() {
        let mut ram = Ram::new(&[0x1000..0x9000], []);
        assert_eq!(ram.take(0x1000, 0x4000, 0), Some(0x4000..0x5000));
        assert_eq!(ram.take(0x1000, 0x1000, 0x7800), Some(0x8000..0x9000));
        assert_eq!(ram.take(0x2000, 0x2000, 0), Some(0x2000..0x4000));
    }

    #[test]
    fn ranges_that_touch_are_one_and_those_that_overlap_are_not_given_twice() {
        let mut ram = Ram::new(&[30..40, 10..20, 20..30, 15..18], []);
        assert_eq!((ram.free(), ram.take(30, 1, 0)), (30, Some(10..40)));
        assert_eq!(ram.take(1, 1, 0), None);
    }

    #[test]
    fn an_empty_range_splits_nothing_and_one_that_is_turned_round_doubles_nothing() {
        #[expect(clippy::reversed_empty_ranges, reason = "that is the case")]
        let mut ram = Ram::new(&[10..20, 5..5], [12..12, 18..14]);
        assert_eq!(ram.take(10, 1, 0), Some(10..20));
    }

    #[test]
    fn no_end_of_the_address_space_overflows() {
        let mut ram = Ram::new(&[u64::MAX - 20..u64::MAX], []);
        assert_eq!(ram.take(u64::MAX, 1, 0), None);
        assert_eq!(ram.take(4, 1 << 63, 0), None);
        assert_eq!(ram.take(20, 1, u64::MAX), None);
        assert_eq!(ram.take(20, 1, 0), Some(u64::MAX - 20..u64::MAX));
    }

    proptest! {
        #[test]
        fn every_byte_is_given_out_once_at_most_and_only_free_ones(
            memory in prop::collection::vec((0u64..64, 0u64..24), 0..5),
            occupied in prop::collection::vec((0u64..64, 0u64..8), 0..5),
            wanted in prop::collection::vec((1u64..20, 0u32..4, 0u64..64), 0..12),
        ) {
            let range = |(start, bytes): &(u64, u64)| *start..start + bytes;
            let memory: Vec<_> = memory.iter().map(range).collect();
            let occupied: Vec<_> = occupied.iter().map(range).collect();
            let mut free: BTreeSet<u64> = memory.iter().cloned().flatten().collect();
            occupied.iter().cloned().flatten().for_each(|at| { free.remove(&at); });
            let mut ram = Ram::new(&memory, occupied);
            for (bytes, align, from) in wanted {
                prop_assert_eq!(ram.free(), free.len() as u64);
                let align = 1 << align;
                // Where it fits, by looking at each byte.
                let mut places = (from..100).filter(|at| at % align == 0);
                let place = places.find(|at| (*at..at + bytes).all(|byte| free.contains(&byte)));
                let piece = ram.take(bytes, align, from);
                prop_assert_eq!(piece.clone(), place.map(|at| at..at + bytes));
                piece.into_iter().flatten().for_each(|at| { free.remove(&at); });
            }
        }
    }
}
