//! A stage-2 table: what it is, and reading it.
//!
//! # Who may do what at once
//! The borrow decides. Operations on `&Table` run at the same time on any number of CPUs: reading, answering faults,
//! widening permissions, ageing. Each changes single entries by compare-exchange, and takes no table out of the tree.
//! Operations on `&mut Table` run alone: they unlink tables, and another CPU's walk in software may be at one of those.
//! A reader-writer lock around the table, per virtual machine, gives exactly that; what an exclusive operation leaves
//! [owed](crate::Owed) keeps the table borrowed, so no such walk begins before the TLBs are clean and the pages given
//! back.

use core::cell::Cell;
use core::ops::Range;
use droste_arm64::desc::{Descriptor, Leaf, LeafAttributes, RawDescriptor, Xn};
use droste_arm64::{IdRegisters, Ipa, Level, Pa, Vtcr};

use crate::counters::{Counters, Counts};
use crate::entry::{Position, Span, is_locked, unlocked};
use crate::geometry::Steps;
use crate::trees::List;
use crate::{Attributes, Dsb, Error, Geometry, Machine, PageSupply};

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
    /// Nothing is mapped, and an access faults. The same while an entry is being replaced.
    Hole {
        /// Level of the invalid entry; the start level outside the address space.
        level: Level,
    },
}

/// Whether an invalidation that someone still has to discharge stands in the way of the next operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Settled,
    Owing,
}

/// A stage-2 translation table.
///
/// It does not know who translates through it: each [`Context`](crate::Context) knows its table, and what an operation
/// owes is discharged against all contexts.
#[derive(Debug)]
pub struct Table {
    pub(crate) root: Pa,
    pub(crate) geometry: Geometry,
    steps: Steps,
    /// What [`Geometry::vtcr`] says of it.
    pub(crate) vtcr: Vtcr,
    pub(crate) ids: IdRegisters,
    /// The sum of the marks of the contexts that were made for this table and are not yet retired.
    pub(crate) contexts: u64,
    pub(crate) standing: Standing,
    pub(crate) counts: Counts,
}

/// Whether walkers can come to an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sight {
    Live,
    /// Not before a locked entry above it is what it is to be.
    Hidden,
}

/// What an exclusive operation does after an entry that is no leaf it wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Goes on behind the entry.
    Past,
    /// Goes on with the entries of this table, which the entry holds.
    Into(Pa),
}

impl Table {
    /// An empty table of this shape. `root` is the address of [`Geometry::root_bytes`] bytes, aligned to that size,
    /// which belong to the table until it is dropped; they are zeroed and made visible to table walks.
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
            steps: geometry.steps(),
            vtcr: geometry.vtcr(ids),
            ids: *ids,
            contexts: 0,
            standing: Standing::Settled,
            counts: Counts::default(),
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
    pub fn counters(&self) -> Counters {
        self.counts.now()
    }

    /// What the table maps at an address.
    pub fn walk<M: Machine>(&self, machine: &M, ipa: Ipa) -> Walk {
        if ipa.0 >= self.geometry.ipa_bits().bytes() {
            let level = self.geometry.start();
            return Walk::Hole { level };
        }
        let (position, raw) = self.descend(machine, ipa);
        match raw.decode(self.geometry.format(), position.level) {
            Descriptor::Block(leaf) | Descriptor::Page(leaf) => Walk::Leaf {
                ipa: position.ipa,
                level: position.level,
                leaf,
            },
            Descriptor::Invalid | Descriptor::Table(_) => Walk::Hole {
                level: position.level,
            },
        }
    }

    /// The leaves that map part of a range, in order.
    ///
    /// While other CPUs operate on the table, each leaf is one that was there at the time; together they are no
    /// snapshot.
    pub fn leaves<'a, M: Machine>(&'a self, machine: &'a M, ipa: Ipa, bytes: u64) -> Leaves<'a, M> {
        let limit = self.geometry.ipa_bits().bytes();
        Leaves {
            table: self,
            machine,
            next: ipa.0,
            end: ipa.0.saturating_add(bytes).min(limit),
        }
    }

    /// Follows tables to the entry that ends the walk. `ipa` is within the address space. A locked entry ends it.
    #[inline]
    pub(crate) fn descend<M: Machine>(&self, machine: &M, ipa: Ipa) -> (Position, RawDescriptor) {
        self.descend_by(machine, ipa, |raw| raw)
    }

    /// The same, through locked entries as if they were what they will be: for an exclusive operation.
    pub(crate) fn descend_ahead<M: Machine>(
        &self,
        machine: &M,
        ipa: Ipa,
    ) -> (Position, RawDescriptor) {
        self.descend_by(machine, ipa, unlocked)
    }

    /// The same, and whether it went through a locked entry: no walker sees what is below one.
    pub(crate) fn descend_hidden<M: Machine>(
        &self,
        machine: &M,
        ipa: Ipa,
    ) -> (Position, RawDescriptor, Sight) {
        let locks = Cell::new(0_u32);
        let (position, raw) = self.descend_by(machine, ipa, |raw| {
            locks.set(locks.get() + u32::from(is_locked(raw)));
            unlocked(raw)
        });
        let above = locks.get() - u32::from(is_locked(raw));
        let sight = if above > 0 {
            Sight::Hidden
        } else {
            Sight::Live
        };
        (position, raw, sight)
    }

    #[inline]
    fn descend_by<M: Machine>(
        &self,
        machine: &M,
        ipa: Ipa,
        see: impl Fn(RawDescriptor) -> RawDescriptor,
    ) -> (Position, RawDescriptor) {
        let format = self.geometry.format();
        let Steps {
            start: mut level,
            mut shift,
            root_mask,
            bits,
            mask,
        } = self.steps;
        let mut entry = self.root + (ipa.0 >> shift & root_mask) * 8;
        loop {
            let raw = machine.read(entry);
            let seen = see(raw);
            let (true, Some(below)) = (seen.is_table(level), level.next()) else {
                let ipa = ipa.align_down(1 << shift);
                return (Position { entry, level, ipa }, raw);
            };
            level = below;
            shift -= bits;
            entry = seen.table_address(format) + (ipa.0 >> shift & mask) * 8;
        }
    }

    /// Shows `visit` each entry that translates part of the range, in order, from the root down. It is never called
    /// for an empty entry. The range is within the address space.
    #[inline]
    pub(crate) fn traverse<M: Machine>(
        &self,
        machine: &M,
        span: Span,
        visit: &mut impl FnMut(Position, RawDescriptor) -> Next,
    ) {
        let top = (self.root, self.geometry.start(), Ipa(0));
        self.traverse_table(machine, top, span, visit);
    }

    fn traverse_table<M: Machine>(
        &self,
        machine: &M,
        (table, level, first): (Pa, Level, Ipa),
        span: Span,
        visit: &mut impl FnMut(Position, RawDescriptor) -> Next,
    ) {
        let bytes = self.geometry.entry_bytes(level);
        let entries = self.entries_within(level, first, span);
        let mut position = Position {
            entry: table + entries.start * 8,
            level,
            ipa: first + entries.start * bytes,
        };
        for _ in entries {
            let raw = machine.read(position.entry);
            if raw != RawDescriptor::EMPTY
                && let Next::Into(child) = visit(position, raw)
                && let Some(below) = level.next()
            {
                self.traverse_table(machine, (child, below, position.ipa), span, visit);
            }
            position.entry.0 += 8;
            position.ipa.0 += bytes;
        }
    }

    /// Replaces an entry's value by `change` of it, beside hardware that may set its access and dirty state, and says
    /// what it was. `None` from `change` leaves it.
    #[inline]
    pub(crate) fn update<M: Machine>(
        machine: &M,
        entry: Pa,
        raw: RawDescriptor,
        change: impl Fn(RawDescriptor) -> Option<RawDescriptor>,
    ) -> Option<RawDescriptor> {
        let mut expected = raw;
        loop {
            let new = change(expected)?;
            match machine.compare_exchange(entry, expected, new) {
                Ok(()) => return Some(expected),
                Err(found) => expected = found,
            }
        }
    }

    /// The leaf that `level` calls for.
    #[inline]
    pub(crate) fn leaf(
        &self,
        level: Level,
        output: Pa,
        attributes: LeafAttributes,
    ) -> RawDescriptor {
        let format = self.geometry.format();
        RawDescriptor::of_leaf(format, level, Leaf { output, attributes })
            .expect("a leaf is made where its level has one, for an output that was checked")
    }

    pub(crate) fn link(&self, level: Level, table: Pa) -> RawDescriptor {
        Descriptor::Table(table)
            .encode(self.geometry.format(), level)
            .expect(
                "a supply gives aligned pages below the limit, and no table stands below level 3",
            )
    }

    pub(crate) fn take_page(&self, supply: &mut impl PageSupply, ipa: Ipa) -> Result<Pa, Error> {
        let page = supply.take().ok_or(Error::NoTablePage { ipa })?;
        self.counts.table_pages.add(1);
        Ok(page)
    }

    pub(crate) fn give_page(&self, supply: &mut impl PageSupply, page: Pa) {
        self.counts.table_pages.take(1);
        supply.give(page);
    }

    pub(crate) fn give_pages<M: Machine>(
        &self,
        machine: &M,
        supply: &mut impl PageSupply,
        trees: &mut List,
    ) {
        let mut count = 0;
        trees.give_all(machine, self.geometry, |page| {
            supply.give(page);
            count += 1;
        });
        self.counts.table_pages.take(count);
    }

    /// Which entries of a table, whose first one translates from `first` on, translate part of a span that does not
    /// end before.
    #[inline]
    pub(crate) fn entries_within(&self, level: Level, first: Ipa, span: Span) -> Range<u64> {
        let shift = self.geometry.granule().entry_shift(level);
        let from = span.start.0.saturating_sub(first.0) >> shift;
        let last = (span.end.0 - 1).saturating_sub(first.0) >> shift;
        from..(last + 1).min(self.geometry.entries(level))
    }

    /// The range as a span, checked.
    pub(crate) fn span(&self, ipa: Ipa, bytes: u64) -> Result<Span, Error> {
        self.expect_settled();
        self.geometry.check(ipa, bytes)?;
        Ok(Span {
            start: ipa,
            end: ipa + bytes,
        })
    }

    /// Checks that the hardware knows such permissions.
    pub(crate) const fn check_execute(&self, attributes: Attributes) -> Result<(), Error> {
        let needs_xnx = matches!(attributes.execute, Xn::OnlyEl0 | Xn::OnlyEl1);
        if needs_xnx && !self.ids.has_xnx() {
            return Err(Error::XnxUnsupported(attributes.execute));
        }
        Ok(())
    }

    pub(crate) fn expect_settled(&self) {
        assert!(
            self.standing == Standing::Settled,
            "an Owed of this table was dropped: discharge it"
        );
    }
}

/// The leaves of a range; see [`Table::leaves`].
#[derive(Debug)]
pub struct Leaves<'a, M> {
    table: &'a Table,
    machine: &'a M,
    next: u64,
    end: u64,
}

impl<M: Machine> Iterator for Leaves<'_, M> {
    /// First guest address, level, output and attributes.
    type Item = (Ipa, Level, Leaf);

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.end {
            let (position, raw) = self.table.descend(self.machine, Ipa(self.next));
            self.next = position.span(self.table.geometry).end.0;
            let format = self.table.geometry.format();
            if let Descriptor::Block(leaf) | Descriptor::Page(leaf) =
                raw.decode(format, position.level)
            {
                return Some((position.ipa, position.level, leaf));
            }
        }
        None
    }
}
