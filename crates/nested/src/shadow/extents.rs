//! Which sizes of L1's leaves a shadow holds.

use droste_arm64::Level;
use droste_arm64::desc::Format;

use crate::{Extent, Mark};

/// A set of what leaves can be: levels 0 to 3, each alone or as a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Extents(u8);

/// Bits of single leaves; those of runs follow.
const SINGLE: u8 = 0b1111;

impl Extents {
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn add(&mut self, mark: Mark) {
        self.0 |= match mark.extent {
            Extent::Leaf => level_bit(mark.level),
            Extent::Run => level_bit(mark.level) << 4,
        };
    }

    /// Those of one level.
    pub(super) const fn at(self, level: Level) -> Self {
        let bit = level_bit(level);
        Self(self.0 & (bit | bit << 4))
    }

    /// The size of the largest in bytes; `None` of none.
    pub(super) fn largest(self, format: Option<Format>) -> Option<u64> {
        let format = format?;
        let sizes = Level::ALL.into_iter().flat_map(|level| {
            let here = self.at(level).0;
            let bytes = format.granule().entry_bytes(level).unwrap_or(0);
            let single = (here & SINGLE != 0).then_some(bytes);
            let run = (here & !SINGLE != 0)
                .then_some(bytes.saturating_mul(format.contiguous_entries(level)));
            [single, run]
        });
        sizes.flatten().max()
    }
}

/// No leaf stands at level −1.
const fn level_bit(level: Level) -> u8 {
    match level {
        Level::Minus1 => 0,
        Level::L0 => 1 << 0,
        Level::L1 => 1 << 1,
        Level::L2 => 1 << 2,
        Level::L3 => 1 << 3,
    }
}
