//! Mapping ranges ahead of any fault.
//!
//! Rule: a new entry replaces an empty one. It needs no TLB invalidation, because hardware does not cache entries that
//! fault (DDI 0487, D8 "TLB maintenance"), only a DSB, after which table walks see it. A table is complete, and a DSB
//! has followed, before it is linked. An entry that maps other memory is locked until the discharge; one that differs
//! only in permissions changes in place.

use droste_arm64::desc::{Kind, LeafAttributes, Pattern, RawDescriptor, S2ap, Xn};
use droste_arm64::{Ipa, Level, Pa};

use crate::attributes::scheme;
use crate::cache::Maintenance;
use crate::entry::{Position, Span, kind, locked, unlocked};
use crate::invalidate::Debt;
use crate::trees::List;
use crate::{Attributes, Dsb, Error, Machine, Owed, PageSupply, Table};

/// Whether leaves that map a whole aligned run get the Contiguous bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Runs {
    /// They do: one TLB entry can serve the run.
    Contiguous,
    /// They do not: their permissions are to change one by one.
    Single,
}

/// A range of guest addresses, and how it is mapped to physical ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// First guest address, a multiple of the page.
    pub ipa: Ipa,
    /// First physical address, a multiple of the page.
    pub pa: Pa,
    /// Size in bytes, a multiple of the page, not zero.
    pub bytes: u64,
    /// Memory type and permissions.
    pub attributes: Attributes,
    /// The level of the largest leaves; [`Level::Minus1`] sets no limit.
    pub largest: Level,
    /// Whether whole runs get the Contiguous bit.
    pub runs: Runs,
}

impl Mapping {
    /// With the largest leaves that fit, and no Contiguous runs.
    pub const fn new(ipa: Ipa, pa: Pa, bytes: u64, attributes: Attributes) -> Self {
        Self {
            ipa,
            pa,
            bytes,
            attributes,
            largest: Level::Minus1,
            runs: Runs::Single,
        }
    }

    const fn span(&self) -> Span {
        Span {
            start: self.ipa,
            end: Ipa(self.ipa.0 + self.bytes),
        }
    }
}

/// A table of the tree, or one that will be.
type Node = (Pa, Level, Ipa);

impl Table {
    /// Maps a range, with the largest leaves that the alignment of both addresses and the size allow, and does the
    /// [cache maintenance](crate#caches) that the memory needs first.
    ///
    /// Whatever was mapped in the range is replaced: in place where only permissions differ; not at all where nothing
    /// differs, whatever the size of the leaves. On return, table walks see what was mapped over empty entries; those
    /// of this CPU do from its next exception return (or ISB) on. What was replaced may still be used, or fault, until
    /// the result is discharged; for an empty range nothing is owed.
    ///
    /// # Errors
    /// [`Error::Misaligned`], [`Error::OutsideIpaSpace`], [`Error::OutsidePaSpace`] and [`Error::XnxUnsupported`]:
    /// nothing has changed. [`Error::NoTablePage`]: all before that address is mapped, nothing from it on, and the
    /// call can be repeated. [`Error::DevicesAttached`]: the same for an address that maps something else, or more; where
    /// the range cuts a Contiguous run, nothing is mapped.
    pub fn map<M: Machine>(
        &mut self,
        machine: &M,
        supply: &mut impl PageSupply,
        mapping: &Mapping,
    ) -> Owed<'_> {
        let mut debt = Debt::new();
        let result = self.check_mapping(mapping).and_then(|()| {
            Maintenance::of(&self.ids, mapping.attributes).run(machine, mapping.pa, mapping.bytes);
            let mut map = Map {
                table: self,
                machine,
                supply,
                mapping,
                leaf: mapping.attributes.leaf(scheme(&self.ids)),
                debt: &mut debt,
            };
            let result = map.run();
            machine.dsb(Dsb::Ishst);
            result
        });
        self.owe(debt, result)
    }

    pub(crate) fn check_mapping(&self, mapping: &Mapping) -> Result<(), Error> {
        self.span(mapping.ipa, mapping.bytes)?;
        self.geometry
            .check_output(mapping.ipa, mapping.pa, mapping.bytes)?;
        self.check_execute(mapping.attributes)
    }

    /// Gives back tables that were never linked.
    fn discard<M: Machine>(
        &self,
        machine: &M,
        supply: &mut impl PageSupply,
        table: Pa,
        level: Level,
    ) {
        let mut trees = List::new();
        trees.push(machine, self.geometry.format(), (table, level));
        self.give_pages(machine, supply, &mut trees);
    }
}

/// The leaves of one level that a mapping has.
struct Leaves {
    /// What they map together, from multiple to multiple of one of them.
    span: Span,
    single: Pattern,
    /// Those with the Contiguous bit.
    of_run: Pattern,
}

impl Leaves {
    fn pattern(&self, runs: Runs) -> Pattern {
        match runs {
            Runs::Single => self.single,
            Runs::Contiguous => self.of_run,
        }
    }

    fn at(&self, output: Pa, runs: Runs) -> RawDescriptor {
        self.pattern(runs).at(output)
    }
}

/// A mapping under way.
struct Map<'a, M, S> {
    table: &'a Table,
    machine: &'a M,
    supply: &'a mut S,
    mapping: &'a Mapping,
    leaf: LeafAttributes,
    debt: &'a mut Debt,
}

impl<M: Machine, S: PageSupply> Map<'_, M, S> {
    fn run(&mut self) -> Result<(), Error> {
        self.unfold_edges()?;
        let top = (self.table.root, self.table.geometry.start(), Ipa(0));
        self.in_live(top)
    }

    /// Contiguous runs that the range's ends cut become single leaves, unless they map as they are to.
    fn unfold_edges(&mut self) -> Result<(), Error> {
        let limit = self.table.geometry.ipa_bits().bytes();
        let Span { start, end } = self.mapping.span();
        for at in [start, end] {
            if at.0 == limit {
                continue;
            }
            let (position, raw) = self.table.descend_ahead(self.machine, at);
            let is_leaf = kind(raw, self.table.geometry, position.level) == Kind::Leaf;
            let is_run = is_leaf && unlocked(raw).is_contiguous();
            let is_cut = is_run && position.first_of_run(self.table.geometry).ipa != at;
            if is_cut && !self.leaf_maps(position, unlocked(raw)) {
                self.table.unfold_alone(self.machine, position, self.debt)?;
            }
        }
        Ok(())
    }

    /// Maps the part of the range that a table of the tree translates.
    fn in_live(&mut self, (table, level, first): Node) -> Result<(), Error> {
        let geometry = self.table.geometry;
        let shift = geometry.granule().entry_shift(level);
        let entries = self.table.entries_within(level, first, self.mapping.span());
        let from = entries.start;
        let leaves = self.leaves(level);
        let mut run = Runs::Single;
        for index in entries {
            let position = Position {
                entry: table + index * 8,
                level,
                ipa: Ipa(first.0 + (index << shift)),
            };
            let raw = self.machine.read(position.entry);
            if let Some(leaves) = &leaves
                && leaves.span.holds(position.ipa)
            {
                if index == from || index % geometry.run_entries(level) == 0 {
                    run = self.run_at(position);
                }
                let leaf = leaves.at(self.output(position.ipa), run);
                if raw == RawDescriptor::EMPTY {
                    self.machine.write(position.entry, leaf);
                } else {
                    self.put_leaf(position, raw, leaf)?;
                }
            } else {
                self.put_below(position, raw)?;
            }
        }
        Ok(())
    }

    /// The leaves of this level, which map as much of the range as whole ones can; `None` where there are to be none.
    fn leaves(&self, level: Level) -> Option<Leaves> {
        let geometry = self.table.geometry;
        let bytes = geometry.entry_bytes(level);
        let fits = level >= self.mapping.largest
            && geometry.format().leaf_at(level).is_some()
            && self.output(Ipa(0)).is_aligned(bytes);
        let Span { start, end } = self.mapping.span();
        let span = Span {
            start: Ipa(start.0 + (bytes - 1)).align_down(bytes),
            end: end.align_down(bytes),
        };
        if !fits || span.start >= span.end {
            return None;
        }
        let leaf = self.table.leaf(level, self.output(span.start), self.leaf);
        let of = |leaf| Pattern::new(leaf, geometry.format(), level);
        Some(Leaves {
            span,
            single: of(leaf),
            of_run: of(leaf.contiguous()),
        })
    }

    /// Whether the leaves from this one on, the first of an aligned run, get the Contiguous bit: all of the run is to
    /// be mapped, to an output as aligned, and is empty.
    fn run_at(&self, position: Position) -> Runs {
        let geometry = self.table.geometry;
        let fits = self.run_in_new(position) == Runs::Contiguous
            && position.ipa == position.run(geometry).start;
        let entries = geometry.run_entries(position.level);
        let is_empty =
            |index| self.machine.read(position.entry + index * 8) == RawDescriptor::EMPTY;
        if fits && (0..entries).all(is_empty) {
            Runs::Contiguous
        } else {
            Runs::Single
        }
    }

    fn output(&self, ipa: Ipa) -> Pa {
        // Below the range's start the difference wraps, and so does the sum: it is only looked at for alignment.
        Pa(self
            .mapping
            .pa
            .0
            .wrapping_add(ipa.0.wrapping_sub(self.mapping.ipa.0)))
    }

    /// Over an entry that is in use.
    fn put_leaf(
        &mut self,
        position: Position,
        raw: RawDescriptor,
        leaf: RawDescriptor,
    ) -> Result<(), Error> {
        let geometry = self.table.geometry;
        let found = unlocked(raw);
        if found.kind(geometry.format(), position.level) == Kind::Table {
            if !self.maps_already(position) {
                self.table.check_break(position.ipa)?;
                self.machine.write(position.entry, locked(leaf));
                self.debt.add_table(position.span(geometry));
                self.debt.lock();
                let format = geometry.format();
                let child = found.table_address(format);
                if let Some(below) = position.level.next() {
                    let trees = &mut self.debt.trees;
                    trees.push(self.machine, format, (child, below));
                }
            }
            return Ok(());
        }
        let new = if found.is_contiguous() {
            leaf.contiguous()
        } else {
            leaf
        };
        if as_written(found, new) == new {
            return Ok(());
        }
        let is_in_place = raw.is_valid() && differs_in_permissions(found, new);
        if !(is_in_place && permits_as_much(found, new)) {
            self.table.check_break(position.ipa)?;
        }
        self.debt
            .add_leaves(position.span(geometry), position.level);
        if is_in_place {
            Table::update(self.machine, position.entry, raw, |_| Some(new));
        } else {
            // First: the entry is of no run any more once it holds something else.
            if found.is_contiguous() {
                self.table.unfold_alone(self.machine, position, self.debt)?;
            }
            self.machine
                .write(position.entry, locked(new.not_contiguous()));
            self.debt.lock();
        }
        Ok(())
    }

    /// Maps part of what an entry translates, in a table below.
    fn put_below(&mut self, position: Position, raw: RawDescriptor) -> Result<(), Error> {
        let geometry = self.table.geometry;
        let below = position
            .level
            .next()
            .expect("a page is covered whole or not at all");
        if raw == RawDescriptor::EMPTY {
            // What was built of it is gone again, so nothing from its first address on is mapped.
            let child = self
                .build((below, position.ipa))
                .map_err(|error| match error {
                    Error::NoTablePage { .. } => Error::NoTablePage { ipa: position.ipa },
                    other => other,
                })?;
            self.machine.dsb(Dsb::Ishst);
            self.machine
                .write(position.entry, self.table.link(position.level, child));
            return Ok(());
        }
        let found = unlocked(raw);
        if found.kind(geometry.format(), position.level) == Kind::Table {
            return self.in_live((found.table_address(geometry.format()), below, position.ipa));
        }
        if self.leaf_maps(position, found) {
            return Ok(());
        }
        if found.is_contiguous() {
            self.table.unfold_alone(self.machine, position, self.debt)?;
        }
        let child = self
            .table
            .split_leaf(self.machine, self.supply, position, self.debt)?;
        self.in_live((child, below, position.ipa))
    }

    /// Builds a table, and those below it, with the part of the range that it will translate. Not linked yet.
    fn build(&mut self, (level, first): (Level, Ipa)) -> Result<Pa, Error> {
        let geometry = self.table.geometry;
        let table = self.table.take_page(self.supply, first)?;
        let bytes = geometry.entry_bytes(level);
        let whole = Span {
            start: first,
            end: first + geometry.granule().entries() * bytes,
        };
        let leaves = self.leaves(level);
        let is_filled = (leaves.as_ref()).is_some_and(|leaves| leaves.span.covers(whole));
        if !is_filled {
            self.machine.zero(table, geometry.page_bytes());
        }
        let mut next = self.mapping.ipa.max(whole.start);
        let end = self.mapping.span().end.min(whole.end);
        while next < end {
            let position = Position {
                entry: geometry.entry(table, level, next),
                level,
                ipa: next.align_down(bytes),
            };
            if let Some(leaves) = &leaves
                && leaves.span.holds(next)
            {
                next = leaves.span.end.min(end);
                self.fill(leaves, position, next);
                continue;
            }
            let below = level.next().expect("a page is covered whole or not at all");
            match self.build((below, position.ipa)) {
                Ok(child) => self
                    .machine
                    .write(position.entry, self.table.link(level, child)),
                Err(error) => {
                    self.table.discard(self.machine, self.supply, table, level);
                    return Err(error);
                }
            }
            next = position.ipa + bytes;
        }
        Ok(table)
    }

    /// As [`run_at`](Self::run_at) for the run that a leaf belongs to, in a table that held nothing before.
    fn run_in_new(&self, position: Position) -> Runs {
        let run = position.run(self.table.geometry);
        let fits = self.mapping.runs == Runs::Contiguous
            && self.table.geometry.run_entries(position.level) > 1
            && self.mapping.span().covers(run)
            && self.output(run.start).is_aligned(run.bytes());
        if fits { Runs::Contiguous } else { Runs::Single }
    }

    /// Writes leaves into a table that held nothing before, from `position` up to `end`: the loop that counts.
    fn fill(&self, leaves: &Leaves, mut position: Position, end: Ipa) {
        let geometry = self.table.geometry;
        let bytes = geometry.entry_bytes(position.level);
        let run_bytes = geometry.run_bytes(position.level);
        let mut output = self.output(position.ipa);
        let mut pattern = leaves.single;
        let start = position.ipa;
        while position.ipa < end {
            let is_first_of_run = position.ipa == start || position.ipa.is_aligned(run_bytes);
            if self.mapping.runs == Runs::Contiguous && is_first_of_run {
                pattern = leaves.pattern(self.run_in_new(position));
            }
            self.machine.write(position.entry, pattern.at(output));
            position.entry.0 += 8;
            position.ipa.0 += bytes;
            output.0 += bytes;
        }
    }

    /// Whether all that an entry translates is mapped as it is to be, by smaller leaves.
    fn maps_already(&self, position: Position) -> bool {
        let Span { start, end } = position.span(self.table.geometry);
        let mut next = start;
        while next < end {
            let (at, raw) = self.table.descend_ahead(self.machine, next);
            let is_leaf = kind(raw, self.table.geometry, at.level) == Kind::Leaf;
            if !is_leaf || !self.leaf_maps(at, unlocked(raw)) {
                return false;
            }
            next = at.span(self.table.geometry).end;
        }
        true
    }

    /// Whether a leaf that is there maps as it is to be.
    fn leaf_maps(&self, position: Position, found: RawDescriptor) -> bool {
        let format = self.table.geometry.format();
        let output = self.output(position.ipa);
        let attributes = LeafAttributes {
            is_contiguous: found.is_contiguous(),
            ..self.leaf
        };
        found.output(format, position.level) == output
            && output.is_aligned(self.table.geometry.entry_bytes(position.level))
            && {
                let wanted = self.table.leaf(position.level, output, attributes);
                as_written(found, wanted) == wanted
            }
    }
}

/// A leaf without what hardware and the dirty log noted of its use. Where stores are not wanted, hardware that may permit
/// them (DBM) is a difference.
fn as_written(found: RawDescriptor, wanted: RawDescriptor) -> RawDescriptor {
    let written = if found.is_dirty_managed() && wanted.access().can_write() {
        let access = if found.access().can_read() {
            S2ap::ReadWrite
        } else {
            S2ap::WriteOnly
        };
        found.not_dirty_managed().with_access(access)
    } else {
        found
    };
    written.accessed()
}

/// Whether two leaves of one position have the same output and memory type, so that one can follow the other at once.
fn differs_in_permissions(found: RawDescriptor, new: RawDescriptor) -> bool {
    let same = |leaf: RawDescriptor| {
        leaf.accessed()
            .not_dirty_managed()
            .with_access(new.access())
            .with_execute(new.execute())
            .with_software(new.software())
    };
    same(found) == same(new)
}

/// Whether a device may go on with what it does.
fn permits_as_much(found: RawDescriptor, new: RawDescriptor) -> bool {
    new.access().can_read() >= found.access().can_read()
        && new.access().can_write() >= found.access().can_write()
        && (new.execute() == found.execute() || new.execute() == Xn::Everywhere)
}
