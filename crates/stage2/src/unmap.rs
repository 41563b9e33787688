//! Unmapping ranges and whole tables.

use droste_arm64::desc::{Kind, RawDescriptor};
use droste_arm64::{Ipa, Level, Pa};

use crate::entry::{Position, Span, is_locked, kind, unlocked};
use crate::invalidate::{Debt, Touched};
use crate::{Machine, Owed, PageSupply, Table};

impl Table {
    /// Unmaps a range; parts of it that are not mapped stay so. Blocks and Contiguous runs that reach beyond the range
    /// are split, and tables that become empty are taken out.
    ///
    /// The entries are invalid on return, but CPUs may go on using them, and the parts of split blocks outside the
    /// range may fault, until the result is [discharged](Owed::discharge).
    ///
    /// # Errors
    /// [`Error::Misaligned`], [`Error::OutsideIpaSpace`], and [`Error::NoTablePage`] where a split lacks a page:
    /// nothing is unmapped then.
    ///
    /// [`Error::Misaligned`]: crate::Error::Misaligned
    /// [`Error::OutsideIpaSpace`]: crate::Error::OutsideIpaSpace
    /// [`Error::NoTablePage`]: crate::Error::NoTablePage
    pub fn unmap<M: Machine>(
        &mut self,
        machine: &M,
        supply: &mut impl PageSupply,
        ipa: Ipa,
        bytes: u64,
    ) -> Owed<'_> {
        let mut debt = Debt::new();
        let result = self.span(ipa, bytes).and_then(|hole| {
            match self.cut_edges(machine, supply, hole, &mut debt)? {
                Some(leaf) if self.has_neighbour(machine, leaf) => {
                    machine.write(leaf.entry, RawDescriptor::EMPTY);
                    debt.add_leaves(hole, leaf.level);
                }
                _ => {
                    let top = (self.root, self.geometry.start(), Ipa(0));
                    self.clear(machine, top, hole, &mut debt);
                }
            }
            Ok(())
        });
        self.owe(debt, result)
    }

    /// Unmaps everything, at the cost of reading the root's entries, whatever is below them. The root stays; after the
    /// discharge the table is as new, and it and its contexts can be dropped and the root's memory reused.
    pub fn free<M: Machine>(&mut self, machine: &M) -> Owed<'_> {
        self.expect_settled();
        let mut debt = Debt::new();
        let level = self.geometry.start();
        let end = self.root + self.geometry.root_entries() * 8;
        for entry in (self.root.0..end.0).step_by(8).map(Pa) {
            let raw = machine.read(entry);
            if raw == RawDescriptor::EMPTY {
                continue;
            }
            machine.write(entry, RawDescriptor::EMPTY);
            debt.add_everything();
            if let (Kind::Table, Some(below)) = (kind(raw, self.geometry, level), level.next()) {
                let format = self.geometry.format();
                let child = unlocked(raw).table_address(format);
                debt.trees.push(machine, format, (child, below));
            }
        }
        self.owe(debt, Ok(()))
    }

    /// Invalidates what a table maps in `hole`. No leaf reaches beyond `hole`: those are split by now.
    fn clear<M: Machine>(
        &self,
        machine: &M,
        (table, level, first): (Pa, Level, Ipa),
        hole: Span,
        debt: &mut Debt,
    ) {
        let geometry = self.geometry;
        let shift = geometry.granule().entry_shift(level);
        let mut cleared = Touched::NONE;
        for index in self.entries_within(level, first, hole) {
            let position = Position {
                entry: table + index * 8,
                level,
                ipa: Ipa(first.0 + (index << shift)),
            };
            let raw = machine.read(position.entry);
            if raw == RawDescriptor::EMPTY {
                continue;
            }
            if unlocked(raw).is_table(level) {
                self.clear_table(machine, (position, raw), hole, debt);
            } else {
                machine.write(position.entry, RawDescriptor::EMPTY);
                cleared.add(index);
            }
        }
        cleared.owe(debt, first, 1 << shift, level);
    }

    /// Invalidates the part of what the table at `position` maps that is in `hole`: all of it with the table itself, or
    /// else the table with it when nothing is left.
    fn clear_table<M: Machine>(
        &self,
        machine: &M,
        (position, raw): (Position, RawDescriptor),
        hole: Span,
        debt: &mut Debt,
    ) {
        let span = position.span(self.geometry);
        let child = unlocked(raw).table_address(self.geometry.format());
        let below = position.level.next().expect("a table stands above level 3");
        if !hole.covers(span) {
            let owed = debt.invalidation();
            self.clear(machine, (child, below, position.ipa), hole, debt);
            if is_locked(raw) {
                // No walker has seen what was cleared. The block that was here is owed already.
                debt.set_invalidation(owed);
            }
            if !self.is_empty(machine, (child, below, position.ipa), hole) {
                return;
            }
        }
        machine.write(position.entry, RawDescriptor::EMPTY);
        // One address below the table would do for the table's own entry; the leaves below need each its own.
        debt.add_table(Span {
            start: span.start.max(hole.start),
            end: span.end.min(hole.end),
        });
        debt.trees
            .push(machine, self.geometry.format(), (child, below));
    }

    /// Whether an entry next to this one is in use, so that its table stays without this one: whoever unmaps page after
    /// page finds one.
    fn has_neighbour<M: Machine>(&self, machine: &M, position: Position) -> bool {
        let table = position.entry.align_down(self.geometry.page_bytes());
        [position.entry.0.wrapping_sub(8), position.entry.0 + 8]
            .into_iter()
            .map(Pa)
            .filter(|entry| entry.align_down(self.geometry.page_bytes()) == table)
            .any(|entry| machine.read(entry) != RawDescriptor::EMPTY)
    }

    /// Whether a table below the root has no entry left. Those that lie in `hole` are known to be empty.
    fn is_empty<M: Machine>(
        &self,
        machine: &M,
        (table, level, first): (Pa, Level, Ipa),
        hole: Span,
    ) -> bool {
        let (entries, bytes) = (
            self.geometry.granule().entries(),
            self.geometry.entry_bytes(level),
        );
        let from = hole.start.0.saturating_sub(first.0).div_ceil(bytes);
        let until = ((hole.end.0 - first.0) / bytes).min(entries);
        let is_empty = |index| machine.read(table + index * 8) == RawDescriptor::EMPTY;
        // Mostly one next to the hole is not.
        (from == 0 || is_empty(from - 1)) && (until..entries).chain(0..from).all(is_empty)
    }
}
