//! Translation tables as lists of descriptors (DDI 0487, D8.2 and D8.3).

use super::program::{Entry, List, TABLE_BYTES};

/// Most tables of one tree.
const TABLES: usize = 8;

/// A translation granule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Granule {
    /// 4 KiB.
    Kib4,
    /// 16 KiB.
    Kib16,
    /// 64 KiB.
    Kib64,
}

impl Granule {
    /// Bits of an address within a page.
    pub const fn page_shift(self) -> u32 {
        match self {
            Self::Kib4 => 12,
            Self::Kib16 => 14,
            Self::Kib64 => 16,
        }
    }

    /// Bits of an address below those that `level` resolves.
    pub const fn shift(self, level: u32) -> u32 {
        self.page_shift() + (self.page_shift() - 3) * (3 - level)
    }

    /// TG0, as TCR_EL1 and VTCR_EL2 have it.
    pub const fn tg0(self) -> u64 {
        match self {
            Self::Kib4 => 0,
            Self::Kib16 => 2,
            Self::Kib64 => 1,
        }
    }

    /// TG1 of TCR_EL1.
    pub const fn tg1(self) -> u64 {
        match self {
            Self::Kib4 => 2,
            Self::Kib16 => 1,
            Self::Kib64 => 3,
        }
    }

    /// The first level at which a walk of stage 1 looks, for addresses of `bits` bits.
    pub const fn start(self, bits: u32) -> u32 {
        let per_level = self.page_shift() - 3;
        let levels = (bits - self.page_shift()).div_ceil(per_level);
        4 - levels
    }
}

/// A table of the tree.
#[derive(Clone, Copy, Default, Debug)]
struct Table {
    level: u32,
    /// The address bits that led to it.
    prefix: u64,
    at: u64,
}

/// A tree that grows.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    granule: Granule,
    start: u32,
    bits: u32,
    tables: List<Table, TABLES>,
    next: u64,
}

/// A descriptor of a tree, and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Placed {
    /// Physical address.
    pub at: u64,
    /// Value.
    pub value: u64,
    /// Level.
    pub level: u32,
    /// Whether it is a leaf.
    pub is_leaf: bool,
}

impl Tree {
    /// An empty tree with its first table, or tables side by side, at `root`.
    pub fn new(granule: Granule, start: u32, bits: u32, root: u64) -> Self {
        let mut tables = List::new();
        tables.push(Table {
            level: start,
            prefix: 0,
            at: root,
        });
        Self {
            granule,
            start,
            bits,
            tables,
            next: root + TABLE_BYTES,
        }
    }

    /// The descriptors that map `address` by a leaf at `level` with this value: those of tables that were not there,
    /// then the leaf's.
    pub fn map(&mut self, address: u64, level: u32, leaf: u64, mut with: impl FnMut(Placed)) {
        let address = address & ((1 << self.bits) - 1);
        let mut table = self.tables[0];
        for above in self.start..level {
            let prefix = address >> self.granule.shift(above);
            let known = |t: &&Table| t.level == above + 1 && t.prefix == prefix;
            if let Some(found) = self.tables.iter().find(known) {
                table = *found;
                continue;
            }
            let below = Table {
                level: above + 1,
                prefix,
                at: self.next,
            };
            self.next += TABLE_BYTES;
            self.tables.push(below);
            with(Placed {
                at: self.slot(table, address),
                value: below.at | 3,
                level: above,
                is_leaf: false,
            });
            table = below;
        }
        with(Placed {
            at: self.slot(table, address),
            value: leaf,
            level,
            is_leaf: true,
        });
    }

    fn slot(&self, table: Table, address: u64) -> u64 {
        let index = address >> self.granule.shift(table.level);
        // Tables side by side are one long one.
        let index = if table.level == self.start {
            index
        } else {
            index & ((1 << (self.granule.page_shift() - 3)) - 1)
        };
        table.at + 8 * index
    }
}

/// Entry for a descriptor that is no part.
pub fn fixed(placed: Placed) -> Entry {
    Entry {
        at: placed.at,
        value: placed.value,
        plain: placed.value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Walks what a tree wrote, by the manual's own words.
    fn walk(memory: &BTreeMap<u64, u64>, root: u64, shape: (u32, u32, u32), address: u64) -> u64 {
        let (page, start, bits) = shape;
        let mut table = root;
        for level in start..4 {
            let shift = page + (page - 3) * (3 - level);
            let top = if level == start {
                bits
            } else {
                shift + page - 3
            };
            let index = address >> shift & ((1 << (top - shift)) - 1);
            let descriptor = memory[&(table + 8 * index)];
            if level == 3 || descriptor & 3 == 1 {
                return descriptor;
            }
            table = descriptor & 0xffff_ffff_f000;
        }
        unreachable!("a walk ends at level 3")
    }

    #[test]
    fn a_walk_finds_every_leaf_of_every_shape() {
        for (granule, start, bits) in [
            (Granule::Kib4, 1, 39),
            (Granule::Kib4, 1, 40),
            (Granule::Kib4, 2, 33),
            (Granule::Kib4, 0, 44),
            (Granule::Kib16, 2, 38),
            (Granule::Kib16, 1, 40),
            (Granule::Kib64, 2, 40),
        ] {
            let mut tree = Tree::new(granule, start, bits, 0x1_0000);
            let mut memory = BTreeMap::new();
            let mut put = |p: Placed| assert_eq!(memory.insert(p.at, p.value), None);
            tree.map(0x4400_0000, 2, 0xaaa1, &mut put);
            tree.map(0x0123_4000, 3, 0xbbb3, &mut put);
            tree.map(
                0x0123_4000 + (1 << granule.page_shift()),
                3,
                0xccc3,
                &mut put,
            );
            let shape = (granule.page_shift(), start, bits);
            assert_eq!(walk(&memory, 0x1_0000, shape, 0x4400_0000), 0xaaa1);
            assert_eq!(walk(&memory, 0x1_0000, shape, 0x0123_4000), 0xbbb3);
            let next = 0x0123_4000 + (1 << granule.page_shift());
            assert_eq!(walk(&memory, 0x1_0000, shape, next), 0xccc3);
        }
    }

    #[test]
    fn stage_1_starts_where_the_manual_says() {
        // DDI 0487, D8.2: 4 KiB, 48 bits level 0, 39 bits level 1; 16 KiB, 48 bits level 0; 64 KiB, 42 bits level 2.
        assert_eq!(Granule::Kib4.start(48), 0);
        assert_eq!(Granule::Kib4.start(39), 1);
        assert_eq!(Granule::Kib4.start(30), 2);
        assert_eq!(Granule::Kib16.start(48), 0);
        assert_eq!(Granule::Kib16.start(47), 1);
        assert_eq!(Granule::Kib64.start(42), 2);
    }
}
