//! L1's tables for its guests: their shapes, and where in L1's memory each descriptor is.
//!
//! Of a table's address space a few places are used, in its upper half, so that a concatenated root is not entered at
//! its first table. Below the root stands one table a level down to level 2, whose first entries lead anywhere, among
//! others to three tables of level 3. Written from DDI 0487, D8; it shares no code with what reads the tables.

use std::fmt;

use droste_arm64::Pa;

use crate::text::{Fields, ParseError};

/// The shape of a table of L1's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableShape {
    /// log2 of the page's bytes: 12, 14 or 16.
    pub page_shift: u32,
    /// Bits of an address of L2.
    pub bits: u32,
    /// Where the walk starts.
    pub start: u32,
}

const fn shape(page_shift: u32, bits: u32, start: u32) -> TableShape {
    TableShape {
        page_shift,
        bits,
        start,
    }
}

/// All shapes that worlds have: of each granule with a single root, and with concatenated ones.
pub(crate) const SHAPES: [TableShape; 12] = [
    shape(12, 40, 1),
    shape(12, 39, 1),
    shape(12, 32, 2),
    shape(12, 34, 2),
    shape(12, 40, 0),
    shape(14, 36, 2),
    shape(14, 38, 2),
    shape(14, 28, 3),
    shape(14, 40, 1),
    shape(16, 40, 2),
    shape(16, 29, 3),
    shape(16, 31, 3),
];

/// Tables of level 3 below the one of level 2.
pub(crate) const LEAF_TABLES: u64 = 3;
/// Where L1's memory for tables begins.
const BASE: u64 = 0x7000_0000;

impl TableShape {
    pub(crate) const fn page(self) -> u64 {
        1 << self.page_shift
    }

    /// Descriptors of a full table.
    pub(crate) const fn entries(self) -> u64 {
        self.page() / 8
    }

    /// Address bits that an entry of a level leaves to resolve.
    pub(crate) const fn shift(self, level: u32) -> u32 {
        self.page_shift + (self.page_shift - 3) * (3 - level)
    }

    /// Bytes that an entry of a level maps.
    pub(crate) const fn bytes(self, level: u32) -> u64 {
        1 << self.shift(level)
    }

    /// The first address of the upper half.
    pub(crate) const fn base(self) -> u64 {
        1 << (self.bits - 1)
    }

    const fn root_bytes(self) -> u64 {
        8 << (self.bits - self.shift(self.start))
    }

    /// Entries of a Contiguous run of pages, and of larger leaves.
    pub(crate) const fn run(self, level: u32) -> u64 {
        match (self.page_shift, level) {
            (12, _) => 16,
            (14, 3) => 128,
            _ => 32,
        }
    }

    /// VTCR_EL2 without its optional bits; outputs have 40 bits.
    pub(crate) const fn vtcr(self) -> u64 {
        let (tg0, sl0) = match (self.page_shift, self.start) {
            (12, start) => (0, 2 - start),
            (14, start) => (2, 3 - start),
            (_, start) => (1, 3 - start),
        };
        1 << 31
            | 2 << 16
            | tg0 << 14
            | 3 << 12
            | 1 << 10
            | 1 << 8
            | (sl0 as u64) << 6
            | (64 - self.bits) as u64
    }
}

/// Where a table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Room {
    shape: TableShape,
    pub(crate) root: Pa,
    below: u64,
}

/// The room of each table, where the first begins, and how many pages of 4 KiB they take.
pub(crate) fn rooms(tables: &[TableShape]) -> (Vec<Room>, Pa, u64) {
    let mut at = BASE;
    let mut place = |shape: &TableShape| {
        let root = at;
        let below = root + shape.root_bytes().max(0x1_0000);
        at = below + (u64::from(2_u32.saturating_sub(shape.start)) + LEAF_TABLES) * shape.page();
        at = at.next_multiple_of(0x8_0000);
        Room {
            shape: *shape,
            root: Pa(root),
            below,
        }
    };
    let rooms = tables.iter().map(&mut place).collect();
    (rooms, Pa(BASE), (at - BASE) >> 12)
}

impl Room {
    /// The table of a level below the root; of level 3 there are several.
    pub(crate) const fn table(&self, level: u32, number: u64) -> u64 {
        let above = (if level < 3 { level } else { 3 } - self.shape.start).saturating_sub(1) as u64;
        self.below + (above + number % LEAF_TABLES) * self.shape.page()
    }

    /// Where a descriptor is. The first of a level is the one of the first address in the upper half; at level 3 those
    /// of one table follow those of another.
    pub(crate) const fn entry(&self, level: u32, index: u64) -> u64 {
        let shape = self.shape;
        if level <= shape.start {
            let first = shape.base() >> shape.shift(shape.start);
            return self.root.0 + (first + index % first) * 8;
        }
        let number = if level < 3 {
            0
        } else {
            index / shape.entries()
        };
        self.table(level, number) + index % shape.entries() * 8
    }
}

impl fmt::Display for TableShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = self.page() >> 10;
        write!(
            f,
            "table granule={kib} bits={} start={}",
            self.bits, self.start
        )
    }
}

impl TableShape {
    /// The table of a line.
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, ParseError> {
        let page_shift = match fields.number("granule")? {
            4 => 12,
            16 => 14,
            64 => 16,
            _ => return Err(fields.wrong("granule")),
        };
        let shape = Self {
            page_shift,
            bits: fields.small("bits")?.into(),
            start: fields.small("start")?.into(),
        };
        let is_known = SHAPES.contains(&shape);
        is_known
            .then_some(shape)
            .ok_or_else(|| fields.wrong("bits"))
    }
}
