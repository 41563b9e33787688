//! Changing the size of leaves: splitting blocks and Contiguous runs, and putting blocks together again.
//!
//! Rule: translations stay what they are. At FEAT_BBM level 2 the new shape replaces the old one at once; below that
//! level the entry is locked, and the guest faults there until the [`Owed`] is discharged.

use droste_arm64::desc::{Kind, Pattern, RawDescriptor};
use droste_arm64::{Ipa, Level, Pa};

use crate::attributes::scheme;
use crate::entry::{Position, Span, is_locked, kind, locked, unlocked};
use crate::invalidate::Debt;
use crate::table::{Next, Sight};
use crate::{Attributes, Dsb, Error, Machine, Owed, PageSupply, Table};

/// How hardware saw an entry change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Done,
    /// It was not what it was taken for any more; nothing has changed.
    Raced,
}

impl Table {
    /// Splits the leaves that map part of a range until none is above level `to`, and Contiguous runs among them into
    /// single leaves. Translations stay; blocks are split whole, even where they reach beyond the range.
    ///
    /// Long ranges are best split in pieces, with the table's lock released in between: that makes the work
    /// interruptible.
    ///
    /// # Errors
    /// [`Error::Misaligned`] and [`Error::OutsideIpaSpace`]: nothing has changed. [`Error::NoTablePage`]: all before
    /// that address is split, and the call can be repeated.
    pub fn split<M: Machine>(
        &mut self,
        machine: &M,
        supply: &mut impl PageSupply,
        ipa: Ipa,
        bytes: u64,
        to: Level,
    ) -> Owed<'_> {
        let mut debt = Debt::new();
        let result = self
            .span(ipa, bytes)
            .and_then(|span| self.split_span(machine, supply, span, to, &mut debt));
        self.owe(debt, result)
    }

    fn split_span<M: Machine>(
        &self,
        machine: &M,
        supply: &mut impl PageSupply,
        span: Span,
        to: Level,
        debt: &mut Debt,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        self.traverse(machine, span, &mut |position, raw| {
            let format = self.geometry.format();
            match kind(raw, self.geometry, position.level) {
                Kind::Table => return Next::Into(unlocked(raw).table_address(format)),
                Kind::Leaf if result.is_ok() => {}
                _ => return Next::Past,
            }
            if unlocked(raw).is_contiguous() {
                self.unfold_alone(machine, position, debt);
            }
            if position.level >= to {
                return Next::Past;
            }
            match self.split_leaf(machine, supply, position, debt) {
                // The new leaves are single, and split on if they are to be smaller still.
                Ok(child) if position.level.next() < Some(to) => Next::Into(child),
                Ok(_) => Next::Past,
                Err(error) => {
                    result = Err(error);
                    Next::Past
                }
            }
        });
        result
    }

    /// Splits what the ends of a span cut through, so that each leaf is inside it or outside. If the span is one leaf
    /// then, which walkers see, that is returned.
    pub(crate) fn cut_edges<M: Machine>(
        &self,
        machine: &M,
        supply: &mut impl PageSupply,
        span: Span,
        debt: &mut Debt,
    ) -> Result<Option<Position>, Error> {
        let (position, raw, sight) = self.cut(machine, supply, span.start, debt)?;
        let is_leaf = kind(raw, self.geometry, position.level) == Kind::Leaf;
        let is_one = is_leaf && position.span(self.geometry) == span;
        let is_alone = is_one && !unlocked(raw).is_contiguous();
        if !is_alone && span.end.0 < self.geometry.ipa_bits().bytes() {
            self.cut(machine, supply, span.end, debt)?;
        }
        Ok((is_one && sight == Sight::Live).then_some(position))
    }

    /// Splits what an address cuts through, and says what translates it then.
    fn cut<M: Machine>(
        &self,
        machine: &M,
        supply: &mut impl PageSupply,
        at: Ipa,
        debt: &mut Debt,
    ) -> Result<(Position, RawDescriptor, Sight), Error> {
        loop {
            let found = self.descend_hidden(machine, at);
            let (position, raw, sight) = found;
            if kind(raw, self.geometry, position.level) != Kind::Leaf {
                return Ok(found);
            }
            let is_run = unlocked(raw).is_contiguous();
            if is_run && position.first_of_run(self.geometry).ipa != at {
                self.unfold_alone(machine, position, debt);
            }
            if position.ipa == at {
                return Ok(found);
            }
            match sight {
                Sight::Live => self.split_leaf(machine, supply, position, debt)?,
                Sight::Hidden => self.split_hidden(machine, supply, (position, raw))?,
            };
        }
    }

    /// Splits a leaf that no walker has seen: nothing is owed for it.
    fn split_hidden<M: Machine>(
        &self,
        machine: &M,
        supply: &mut impl PageSupply,
        (position, raw): (Position, RawDescriptor),
    ) -> Result<Pa, Error> {
        let child = self.take_page(supply, position.ipa)?;
        self.fill_from(machine, child, position.level, raw);
        machine.write(position.entry, self.link(position.level, child));
        Ok(child)
    }

    /// Splits a leaf above level 3, which no other CPU's software changes, and says where its table is.
    pub(crate) fn split_leaf<M: Machine>(
        &self,
        machine: &M,
        supply: &mut impl PageSupply,
        position: Position,
        debt: &mut Debt,
    ) -> Result<Pa, Error> {
        let child = self.take_page(supply, position.ipa)?;
        // Hardware may set the access flag in between, and nothing else changes it: the second try finds it set.
        while self.split_into(machine, child, position, machine.read(position.entry), debt)
            == Change::Raced
        {}
        Ok(child)
    }

    /// Puts the table `child` in the place of the leaf `raw`, or its locked form where the leaf must go first.
    pub(crate) fn split_into<M: Machine>(
        &self,
        machine: &M,
        child: Pa,
        position: Position,
        raw: RawDescriptor,
        debt: &mut Debt,
    ) -> Change {
        let link = self.link(position.level, child);
        if raw.is_valid() && self.can_resize_live() {
            self.fill_from(machine, child, position.level, raw);
            machine.dsb(Dsb::Ishst);
            if machine.compare_exchange(position.entry, raw, link).is_err() {
                return Change::Raced;
            }
        } else {
            // The break. From here on hardware leaves the entry alone, and other CPUs take it for busy.
            if !is_locked(raw)
                && machine
                    .compare_exchange(position.entry, raw, locked(raw))
                    .is_err()
            {
                return Change::Raced;
            }
            self.fill_from(machine, child, position.level, unlocked(raw));
            machine.write(position.entry, locked(link));
            debt.lock();
        }
        debt.add_leaves(position.span(self.geometry), position.level);
        Change::Done
    }

    /// Writes the leaves that together map what `leaf` does, one level above.
    fn fill_from<M: Machine>(&self, machine: &M, child: Pa, level: Level, leaf: RawDescriptor) {
        let format = self.geometry.format();
        let below = level.next().expect("a block stands above level 3");
        let bytes = self.geometry.entry_bytes(below);
        let output = leaf.output(format, level);
        let attributes = leaf.attributes(format);
        let first = self.leaf(below, output, attributes).not_contiguous();
        let pattern = Pattern::new(first, format, below);
        for index in 0..self.geometry.granule().entries() {
            machine.write(child + index * 8, pattern.at(output + index * bytes));
        }
    }

    /// Clears the Contiguous bit of the run that `position` belongs to. The run's first entry decides which CPU does it.
    pub(crate) fn unfold<M: Machine>(
        &self,
        machine: &M,
        position: Position,
        debt: &mut Debt,
    ) -> Change {
        let first = position.first_of_run(self.geometry);
        let single = |raw: RawDescriptor| {
            let leaf = unlocked(raw);
            let is_of_run = leaf.kind(self.geometry.format(), position.level) == Kind::Leaf
                && leaf.is_contiguous();
            is_of_run.then(|| locked(leaf.not_contiguous()))
        };
        let raw = machine.read(first.entry);
        let is_ours =
            single(raw).is_some_and(|new| machine.compare_exchange(first.entry, raw, new).is_ok());
        if !is_ours {
            return Change::Raced;
        }
        for index in 1..self.geometry.run_entries(position.level) {
            let entry = first.entry + index * 8;
            Self::update(machine, entry, machine.read(entry), single);
        }
        debt.lock();
        debt.add_leaves(position.run(self.geometry), position.level);
        Change::Done
    }

    /// The same where no other CPU's software changes the run. Hardware may set an access flag in between.
    pub(crate) fn unfold_alone<M: Machine>(
        &self,
        machine: &M,
        position: Position,
        debt: &mut Debt,
    ) {
        while self.unfold(machine, position, debt) == Change::Raced {}
    }

    /// Replaces tables by blocks where the leaves of a table, each with `attributes` or with fewer permissions to load
    /// and store, map together what one block up to level `largest` can. Small blocks come first, and larger ones are
    /// made of those. A table with a hole stays.
    ///
    /// Only tables that translate nothing outside the range are looked at. The blocks get `attributes`: this is for
    /// memory whose slot permits them, when its pages need no longer be told apart.
    ///
    /// # Errors
    /// [`Error::Misaligned`] and [`Error::OutsideIpaSpace`]: nothing has changed.
    pub fn collapse<M: Machine>(
        &mut self,
        machine: &M,
        ipa: Ipa,
        bytes: u64,
        largest: Level,
        attributes: Attributes,
    ) -> Owed<'_> {
        let mut debt = Debt::new();
        let result = self.span(ipa, bytes).map(|span| {
            let collapse = Collapse {
                table: self,
                machine,
                span,
                largest,
                attributes,
            };
            collapse.run((self.root, self.geometry.start(), Ipa(0)), &mut debt);
        });
        self.owe(debt, result)
    }
}

/// A collapse under way.
struct Collapse<'a, M> {
    table: &'a Table,
    machine: &'a M,
    span: Span,
    largest: Level,
    attributes: Attributes,
}

impl<M: Machine> Collapse<'_, M> {
    /// Collapses the tables below this one, deepest first.
    fn run(&self, (table, level, first): (Pa, Level, Ipa), debt: &mut Debt) {
        let Some(below) = level.next() else {
            return;
        };
        let geometry = self.table.geometry;
        for index in 0..geometry.entries(level) {
            let position = Position {
                entry: table + index * 8,
                level,
                ipa: first + index * geometry.entry_bytes(level),
            };
            let span = position.span(geometry);
            if span.end <= self.span.start || span.start >= self.span.end {
                continue;
            }
            let raw = self.machine.read(position.entry);
            if kind(raw, geometry, level) != Kind::Table {
                continue;
            }
            let child = unlocked(raw).table_address(geometry.format());
            self.run((child, below, position.ipa), debt);
            let has_leaf = level >= self.largest && geometry.format().leaf_at(level).is_some();
            if has_leaf
                && self.span.covers(span)
                && let Some(block) = self.block(child, level, below)
            {
                self.replace(position, raw, block, child, debt);
            }
        }
    }

    /// The block of `level` that maps all that the table `child` does, if one can.
    fn block(&self, child: Pa, level: Level, below: Level) -> Option<(RawDescriptor, Switch)> {
        let geometry = self.table.geometry;
        let format = geometry.format();
        let wanted = self.attributes.leaf(scheme(&self.table.ids));
        let first = unlocked(self.machine.read(child));
        if first.kind(format, below) != Kind::Leaf {
            return None;
        }
        let output = first.output(format, below);
        if !output.is_aligned(geometry.entry_bytes(level)) {
            return None;
        }
        let pattern = Pattern::new(self.table.leaf(below, output, wanted), format, below);
        let bytes = geometry.entry_bytes(below);
        let mut switch = Switch::Direct;
        let is_uniform = (0..geometry.granule().entries()).all(|index| {
            let raw = unlocked(self.machine.read(child + index * 8));
            let expected = pattern.at(output + index * bytes);
            if raw.access() != expected.access() {
                switch = Switch::ByBreak;
            }
            is_within(raw, expected)
        });
        is_uniform.then(|| (self.table.leaf(level, output, wanted), switch))
    }

    fn replace(
        &self,
        position: Position,
        raw: RawDescriptor,
        (block, switch): (RawDescriptor, Switch),
        child: Pa,
        debt: &mut Debt,
    ) {
        let is_direct = switch == Switch::Direct && self.table.can_resize_live();
        if raw.is_valid() && is_direct {
            self.machine.write(position.entry, block);
        } else {
            self.machine.write(position.entry, locked(block));
            debt.lock();
        }
        debt.add_table(position.span(self.table.geometry));
        let below = position.level.next().expect("a block stands above level 3");
        let format = self.table.geometry.format();
        debt.trees.push(self.machine, format, (child, below));
    }
}

/// How a block may follow a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Switch {
    /// At FEAT_BBM level 2 at once: nothing but the size differs.
    Direct,
    /// Permissions differ too, and level 2 speaks of the size alone.
    ByBreak,
}

/// Whether a leaf is `expected`, perhaps without the permission to write, and whatever is noted of its use.
fn is_within(raw: RawDescriptor, expected: RawDescriptor) -> bool {
    let written = raw.accessed().not_dirty_managed().not_contiguous();
    written == expected
        || written.with_access(expected.access()) == expected
            && expected.access().can_read() >= raw.access().can_read()
            && expected.access().can_write() >= raw.access().can_write()
}
