//! A stage-2 table: reading it, and adding to it.
//!
//! Rule: adding never changes a valid entry. A new entry goes over an empty one by compare-exchange, so it needs no
//! TLB invalidation (hardware does not cache entries that fault; DDI 0487, D8 "TLB maintenance"), only a DSB after
//! which table walks see it. Removing and splitting live in [`unmap`](Table::unmap) and [`split`](Table::split).

use droste_arm64::desc::{Descriptor, Leaf, LeafAttributes, RawDescriptor};
use droste_arm64::{IdRegisters, Ipa, Level, Pa};

use crate::attributes::scheme;
use crate::cache::Maintenance;
use crate::{Attributes, Dsb, Error, Geometry, Machine};

/// Where pages for tables come from and go back to.
///
/// A page is [`Geometry::page_bytes`] large and as aligned, and belongs to the table from [`take`](Self::take) to
/// [`give`](Self::give). What it holds does not matter.
pub trait PageSupply {
    /// A page, or `None` when the quota is used up.
    fn take(&mut self) -> Option<Pa>;

    /// Takes a page back. Nothing in the machine refers to it any more.
    fn give(&mut self, page: Pa);
}

/// A range of guest addresses, where it leads and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// First guest address, a multiple of the page.
    pub ipa: Ipa,
    /// Where it leads, a multiple of the page.
    pub pa: Pa,
    /// Size in bytes, a multiple of the page, not zero.
    pub bytes: u64,
    /// Memory type and permissions.
    pub attributes: Attributes,
}

/// What a walk found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walk {
    /// A block or page.
    Leaf {
        /// First guest address that it maps.
        ipa: Ipa,
        /// Its level.
        level: Level,
        /// Output and attributes.
        leaf: Leaf,
    },
    /// Nothing: an access faults.
    Hole {
        /// Level of the invalid entry; the start level outside the address space.
        level: Level,
    },
}

/// What a table has cost so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Faults that installed a mapping.
    pub faults: u64,
    /// Pages that hold tables now, the root not among them.
    pub table_pages: u64,
    /// Invalidations of a single address, IPAS2E1IS.
    pub tlbi_address: u64,
    /// Invalidations of a range, RIPAS2E1IS.
    pub tlbi_range: u64,
    /// Invalidations of combined entries, VMALLE1IS.
    pub tlbi_combined: u64,
    /// Invalidations of a whole VMID, VMALLS12E1IS.
    pub tlbi_vmid: u64,
}

/// Whether an invalidation that someone still has to discharge stands in the way of the next operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Settled,
    Owing,
}

/// A stage-2 translation table.
///
/// It does not know who translates through it: each [`Context`](crate::Context) does, and an unmapping is
/// discharged against all of them.
#[derive(Debug)]
pub struct Table {
    pub(crate) root: Pa,
    pub(crate) geometry: Geometry,
    pub(crate) ids: IdRegisters,
    /// Contexts made for this table and not yet retired.
    pub(crate) contexts: u32,
    pub(crate) standing: Standing,
    pub(crate) counters: Counters,
}

/// The entry that ends a walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    /// Where it stands.
    pub(crate) entry: Pa,
    pub(crate) level: Level,
    /// Never a table.
    pub(crate) found: Descriptor,
}

impl Table {
    /// An empty table of this shape. `root` is [`Geometry::root_bytes`] large, as aligned, and the table's own until
    /// it is dropped; it is written with zeroes and made visible to table walks.
    ///
    /// # Errors
    /// [`Error::RootMisplaced`].
    pub fn new<M: Machine>(
        machine: &M,
        root: Pa,
        geometry: Geometry,
        ids: &IdRegisters,
    ) -> Result<Self, Error> {
        let align = geometry.root_bytes();
        let end = root.checked_add(align);
        if !root.is_aligned(align) || end.is_none_or(|end| end.0 > geometry.output_limit()) {
            return Err(Error::RootMisplaced { root, align });
        }
        machine.zero(root, align);
        machine.dsb(Dsb::Ishst);
        Ok(Self {
            root,
            geometry,
            ids: *ids,
            contexts: 0,
            standing: Standing::Settled,
            counters: Counters::default(),
        })
    }

    /// Address of the root.
    pub const fn root(&self) -> Pa {
        self.root
    }

    /// Shape of the table.
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What the table has cost so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the table says about an address.
    pub fn walk<M: Machine>(&self, machine: &M, ipa: Ipa) -> Walk {
        if ipa.0 >= self.geometry.ipa_bits().bytes() {
            let level = self.geometry.start();
            return Walk::Hole { level };
        }
        let Position { level, found, .. } = self.descend(machine, ipa);
        match found {
            Descriptor::Block(leaf) | Descriptor::Page(leaf) => Walk::Leaf {
                ipa: ipa.align_down(self.geometry.entry_bytes(level)),
                level,
                leaf,
            },
            Descriptor::Invalid | Descriptor::Table(_) => Walk::Hole { level },
        }
    }

    /// Maps a range, with the largest blocks that the alignment of both addresses and the size allow, and does the
    /// [cache maintenance](crate#caches) that the memory needs first.
    ///
    /// Where the same output is mapped with the same attributes already, nothing changes; anything else in the way
    /// is an error, because to replace it is to unmap it first and that owes an invalidation. After a return, Ok or
    /// not, table walks see what was mapped: on this CPU from its next exception return (or ISB) on, on another that
    /// faulted before from that CPU's.
    ///
    /// # Errors
    /// [`Error::Misaligned`], [`Error::OutsideIpaSpace`] and [`Error::OutsidePaSpace`], before anything changes.
    /// [`Error::AlreadyMapped`], [`Error::NoTablePage`] and [`Error::Raced`] at some address: all before it is
    /// mapped, nothing from it on, and the call can be repeated.
    pub fn map<M: Machine>(
        &mut self,
        machine: &M,
        supply: &mut impl PageSupply,
        mapping: &Mapping,
    ) -> Result<(), Error> {
        self.expect_settled();
        let Mapping {
            ipa,
            pa,
            bytes,
            attributes,
        } = *mapping;
        self.geometry.check(ipa, bytes)?;
        self.geometry.check_output(ipa, pa, bytes)?;
        Maintenance::of(&self.ids, attributes).run(machine, pa, bytes);

        let mut done = 0;
        let mut result = Ok(());
        while done < bytes && result.is_ok() {
            let rest = Mapping {
                ipa: ipa + done,
                pa: pa + done,
                bytes: bytes - done,
                attributes,
            };
            match self.map_first(machine, supply, &rest) {
                Ok(covered) => done += covered,
                Err(error) => result = Err(error),
            }
        }
        machine.dsb(Dsb::Ishst);
        result
    }

    /// Maps the first bytes of a range with one leaf, and says how many that were.
    fn map_first<M: Machine>(
        &mut self,
        machine: &M,
        supply: &mut impl PageSupply,
        rest: &Mapping,
    ) -> Result<u64, Error> {
        let at = self.descend(machine, rest.ipa);
        if let Descriptor::Block(leaf) | Descriptor::Page(leaf) = at.found {
            let size = self.geometry.entry_bytes(at.level);
            let offset = rest.ipa.0 & (size - 1);
            let wanted = rest.attributes.leaf(scheme(&self.ids));
            if leaf.output + offset != rest.pa || as_written(leaf.attributes) != wanted {
                return Err(Error::AlreadyMapped { ipa: rest.ipa });
            }
            return Ok(rest.bytes.min(size - offset));
        }
        let level = self.leaf_level(at.level, rest);
        self.install_leaf(machine, supply, at, level, rest)?;
        Ok(self.geometry.entry_bytes(level))
    }

    /// The first level from `from` on at which a leaf can begin the mapping.
    fn leaf_level(&self, from: Level, mapping: &Mapping) -> Level {
        let mut level = from;
        while let Some(below) = level.next() {
            let size = self.geometry.entry_bytes(level);
            let is_aligned = (mapping.ipa.0 | mapping.pa.0) & (size - 1) == 0;
            let has_leaf = self.geometry.format().leaf_at(level).is_some();
            if has_leaf && is_aligned && mapping.bytes >= size {
                break;
            }
            level = below;
        }
        level
    }

    /// Writes the leaf of `level` that maps `mapping.ipa` to `mapping.pa`, below the empty entry `at`, with the
    /// tables that takes. Both addresses are multiples of the leaf. A DSB is left to the caller.
    pub(crate) fn install_leaf<M: Machine>(
        &mut self,
        machine: &M,
        supply: &mut impl PageSupply,
        at: Position,
        level: Level,
        mapping: &Mapping,
    ) -> Result<(), Error> {
        let mut at = at;
        while let Some(below) = at.level.next() {
            if at.level >= level {
                break;
            }
            let table = self.install_table(machine, supply, &at, mapping.ipa)?;
            at = Position {
                entry: self.geometry.entry(table, below, mapping.ipa),
                level: below,
                found: Descriptor::Invalid,
            };
        }
        let leaf = self.leaf(
            at.level,
            mapping.pa,
            mapping.attributes.leaf(scheme(&self.ids)),
        );
        machine
            .compare_exchange(at.entry, RawDescriptor::EMPTY, leaf)
            .map_err(|_| Error::Raced { ipa: mapping.ipa })
    }

    /// Links an empty table over the empty entry `at`. The DSB puts its zeroes before the link for table walks.
    fn install_table<M: Machine>(
        &mut self,
        machine: &M,
        supply: &mut impl PageSupply,
        at: &Position,
        ipa: Ipa,
    ) -> Result<Pa, Error> {
        let table = self.take_page(supply, ipa)?;
        machine.zero(table, self.geometry.page_bytes());
        machine.dsb(Dsb::Ishst);
        let link = self.table_descriptor(at.level, table);
        if machine
            .compare_exchange(at.entry, RawDescriptor::EMPTY, link)
            .is_err()
        {
            self.give_page(supply, table);
            return Err(Error::Raced { ipa });
        }
        Ok(table)
    }

    /// Follows tables to the entry that ends the walk. `ipa` is within the address space.
    #[inline]
    pub(crate) fn descend<M: Machine>(&self, machine: &M, ipa: Ipa) -> Position {
        let mut level = self.geometry.start();
        let mut table = self.root;
        loop {
            let entry = self.geometry.entry(table, level, ipa);
            let found = machine.read(entry).decode(self.geometry.format(), level);
            match (found, level.next()) {
                (Descriptor::Table(child), Some(below)) => {
                    table = child;
                    level = below;
                }
                _ => {
                    return Position {
                        entry,
                        level,
                        found,
                    };
                }
            }
        }
    }

    /// The leaf that `level` calls for.
    pub(crate) fn leaf(
        &self,
        level: Level,
        output: Pa,
        attributes: LeafAttributes,
    ) -> RawDescriptor {
        let format = self.geometry.format();
        Descriptor::leaf(format, level, Leaf { output, attributes })
            .and_then(|leaf| leaf.encode(format, level))
            .expect("a leaf is made where its level has one, for an output that was checked")
    }

    pub(crate) fn table_descriptor(&self, level: Level, table: Pa) -> RawDescriptor {
        Descriptor::Table(table)
            .encode(self.geometry.format(), level)
            .expect(
                "a supply gives aligned pages within the format, and no table stands below level 3",
            )
    }

    pub(crate) fn take_page(
        &mut self,
        supply: &mut impl PageSupply,
        ipa: Ipa,
    ) -> Result<Pa, Error> {
        let page = supply.take().ok_or(Error::NoTablePage { ipa })?;
        self.counters.table_pages += 1;
        Ok(page)
    }

    pub(crate) fn give_page(&mut self, supply: &mut impl PageSupply, page: Pa) {
        self.counters.table_pages -= 1;
        supply.give(page);
    }

    pub(crate) fn expect_settled(&self) {
        assert!(
            self.standing == Standing::Settled,
            "an Owed of this table was dropped: discharge it"
        );
    }
}

/// The attributes without what hardware and software note in them later.
fn as_written(found: LeafAttributes) -> LeafAttributes {
    LeafAttributes {
        is_accessed: true,
        is_dirty_managed: false,
        software: 0,
        ..found
    }
}
