//! The stream table of two levels (IHI 0070, 3.3 and 5.1).
//!
//! The first level covers all StreamIDs of the table, and a part of the second has 64 entries: one page of 4 KiB, which
//! comes when the first of its streams is wanted. What has no part is terminated as an invalid StreamID, and told.

use droste_arm64::Pa;

use crate::board::Board;
use crate::ste;

/// The number by which an SMMU knows the device that a transaction comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub u32);

impl core::fmt::Display for StreamId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// log2 of the entries in a part of the second level: STRTAB_BASE_CFG.SPLIT.
pub const SPLIT: u32 = 6;

const L2PTR: u64 = 0x00ff_ffff_ffff_ffc0;
const FMT_TWO_LEVELS: u32 = 1 << 16;
const SPLIT_SHIFT: u32 = 6;

/// A descriptor of the first level for a whole part at `part`: its span is SPLIT + 1, for 2^SPLIT entries.
pub const fn link(part: Pa) -> u64 {
    part.0 & L2PTR | (SPLIT as u64 + 1)
}

/// Where an SMMU's stream table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamTable {
    first_level: Pa,
    bits: u32,
}

/// Where a stream's entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Entry(Pa),
    /// Its part is missing; the descriptor for it is here.
    NoPart(Pa),
    /// The table does not reach so far.
    Outside,
}

impl StreamTable {
    /// A table for StreamIDs of `bits`, in which every stream is terminated. `None` if there is no memory for its first
    /// level.
    pub(crate) fn new(board: &impl Board, bits: u32) -> Option<Self> {
        let bits = bits.max(SPLIT);
        let bytes = Self::first_level_bytes(bits);
        let first_level = board.take(bytes)?;
        for at in (0..bytes).step_by(8) {
            board.store(first_level + at, 0);
        }
        Some(Self { first_level, bits })
    }

    const fn first_level_bytes(bits: u32) -> u64 {
        let bytes = 8 << (bits - SPLIT);
        // STRTAB_BASE holds address bits from 6 on.
        if bytes < 64 { 64 } else { bytes }
    }

    /// STRTAB_BASE, without its hint.
    pub const fn base(&self) -> u64 {
        self.first_level.0
    }

    /// STRTAB_BASE_CFG.
    pub const fn config(&self) -> u32 {
        FMT_TWO_LEVELS | SPLIT << SPLIT_SHIFT | self.bits
    }

    pub(crate) fn find(&self, board: &impl Board, stream: StreamId) -> Found {
        if u64::from(stream.0) >> self.bits != 0 {
            return Found::Outside;
        }
        let at = self.first_level + u64::from(stream.0 >> SPLIT) * 8;
        let descriptor = board.load(at);
        if descriptor == 0 {
            return Found::NoPart(at);
        }
        let index = u64::from(stream.0 & ((1 << SPLIT) - 1));
        Found::Entry(Pa(descriptor & L2PTR) + index * ste::BYTES)
    }
}
