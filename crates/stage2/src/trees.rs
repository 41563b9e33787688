//! Tables that were taken out of a tree, each with all below it.
//!
//! Taking a tree out costs the same whatever is in it: what is below its first table is found when pages are wanted,
//! one table at a time. So no operation takes longer because a guest had mapped more, and getting a page costs reading
//! one table's entries at most.
//!
//! The tables form a list, linked through their first entries: a link is invalid as a descriptor, and hardware that
//! still walks the other entries finds what was there. The table that a first entry led to goes into the list as well,
//! which happens once per level.

use droste_arm64::desc::{Format, RawDescriptor};
use droste_arm64::{Level, Pa};

use crate::entry::unlocked;
use crate::{Geometry, Machine};

/// The last table's link. Bit 0 is clear, and no other link has bit 1 set.
const END: RawDescriptor = RawDescriptor(2);
/// Where a link has the number of levels below its table's: above the bits that make a descriptor valid, and below any
/// address.
const BELOW_SHIFT: u32 = 2;
const BELOW: u64 = 7 << BELOW_SHIFT;

/// A list of unlinked tables.
#[derive(Debug)]
pub(crate) struct List {
    /// The link to the table that came last.
    head: RawDescriptor,
    /// The table that came first, whose link is the end, for a list that becomes part of another.
    last: Option<Pa>,
}

impl List {
    pub(crate) const fn new() -> Self {
        Self {
            head: END,
            last: None,
        }
    }

    /// Adds a table of `level` that nothing links any more, with all below it.
    pub(crate) fn push<M: Machine>(
        &mut self,
        machine: &M,
        format: Format,
        (table, level): (Pa, Level),
    ) {
        let mut next = Some((table, level));
        while let Some((table, level)) = next {
            next = level
                .next()
                .and_then(|below| child(machine.read(table), format, (level, below)));
            machine.write(table, self.head);
            self.head = RawDescriptor(table.0 | u64::from(level.below()) << BELOW_SHIFT);
            self.last.get_or_insert(table);
        }
    }

    /// Takes one page out. What its entries lead to becomes part of the list.
    pub(crate) fn pop<M: Machine>(&mut self, machine: &M, geometry: Geometry) -> Option<Pa> {
        let (table, below) = self.unlink(machine)?;
        for_children(machine, geometry, (table, below), |child| {
            self.push(machine, geometry.format(), child);
        });
        Some(table)
    }

    /// Gives all pages. Tables of the last level lead nowhere, and need not become part of the list before.
    pub(crate) fn give_all<M: Machine>(
        &mut self,
        machine: &M,
        geometry: Geometry,
        mut give: impl FnMut(Pa),
    ) {
        while let Some((table, below)) = self.unlink(machine) {
            if below == 1 {
                for_children(machine, geometry, (table, below), |(child, _)| give(child));
            } else {
                for_children(machine, geometry, (table, below), |child| {
                    self.push(machine, geometry.format(), child);
                });
            }
            give(table);
        }
    }

    /// Takes a table out, with the number of levels below its own.
    fn unlink<M: Machine>(&mut self, machine: &M) -> Option<(Pa, u32)> {
        if self.head == END {
            return None;
        }
        let link = self.head.0;
        let table = Pa(link & !BELOW);
        self.head = machine.read(table);
        Some((table, ((link & BELOW) >> BELOW_SHIFT) as u32))
    }

    /// Takes over all of another list.
    fn append<M: Machine>(&mut self, machine: &M, other: &Self) {
        if let Some(last) = other.last {
            machine.write(last, self.head);
            self.head = other.head;
        }
    }
}

/// Acts on what the entries of a table lead to, but for the first, which is a link.
fn for_children<M: Machine>(
    machine: &M,
    geometry: Geometry,
    (table, below): (Pa, u32),
    mut act: impl FnMut((Pa, Level)),
) {
    // Most are of the last level.
    if below > 0
        && let Some(level) = Level::ALL.into_iter().find(|level| level.below() == below)
        && let Some(next) = level.next()
    {
        let format = geometry.format();
        for entry in (table.0 + 8..table.0 + geometry.page_bytes()).step_by(8) {
            let raw = machine.read(Pa(entry));
            if let Some(child) = child(raw, format, (level, next)) {
                act(child);
            }
        }
    }
}

/// The table that an entry leads to, be it valid or locked, and its level.
fn child(raw: RawDescriptor, format: Format, (at, below): (Level, Level)) -> Option<(Pa, Level)> {
    if raw == RawDescriptor::EMPTY {
        return None;
    }
    let found = unlocked(raw);
    found
        .is_table(at)
        .then(|| (found.table_address(format), below))
}

/// Tables that were taken out of a tree and are no longer reachable, for a [`PageSupply`](crate::PageSupply) that takes
/// them apart as it needs their pages. A discharge puts them here in one step, however many they are.
#[must_use = "dropped, the pages in it are lost"]
#[derive(Debug)]
pub struct Trees {
    geometry: Geometry,
    list: List,
    taken: u64,
}

impl Trees {
    /// No tables yet; all that come have this shape.
    pub const fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            list: List::new(),
            taken: 0,
        }
    }

    /// A page, or `None` when all are taken. Reads the entries of one table at most.
    pub fn take<M: Machine>(&mut self, machine: &M) -> Option<Pa> {
        let page = self.list.pop(machine, self.geometry)?;
        self.taken += 1;
        Some(page)
    }

    /// How many pages were taken so far.
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes over what a table of this shape no longer reaches.
    pub(crate) fn add<M: Machine>(&mut self, machine: &M, geometry: Geometry, list: &List) {
        assert!(
            geometry.granule() == self.geometry.granule()
                && geometry.format() == self.geometry.format(),
            "trees of another shape"
        );
        self.list.append(machine, list);
    }
}
