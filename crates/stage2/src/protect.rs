//! Permissions and use: write-protecting, the dirty log, ageing, and cleaning caches.
//!
//! Permissions and the access flag may change from one valid value to another (DDI 0487, D8 "Using break-before-make
//! when updating translation table entries" asks for a break for neither).
//!
//! # The dirty log
//! It is in the descriptors and takes no memory beyond them. [`dirty`](Table::dirty) takes the permission to write from
//! every leaf of a range; each page that is stored to then becomes writable again, by the fault that the store takes,
//! or by hardware where FEAT_HAFDBS manages dirty state (the descriptor's DBM bit). So a writable leaf *is* the record,
//! and the next `dirty` reads and resets it. The first one begins the log, and its report means nothing. Mapping or
//! unmapping pages loses their record: whoever needs it calls `dirty` first. Blocks cannot record single pages: the
//! fault splits them for that ([`Slots`](crate::Slots) know which memory is logged), or [`split`](Table::split) does so
//! in advance. Nor can Contiguous runs, where one TLB entry may serve all pages and becomes dirty with the first store
//! to any of them (DDI 0487, D8 "The Contiguous bit"): they never have DBM, and the fault unfolds them.

use droste_arm64::desc::Kind;
use droste_arm64::{Ipa, Level, Pa};

use crate::cache::Maintenance;
use crate::entry::{Span, kind, unlocked};
use crate::invalidate::{Debt, Touched};
use crate::table::Next;
use crate::{Error, Machine, Owed, Table};

/// Who makes a page writable again when it is stored to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum MarkedBy {
    /// The fault that the store takes.
    Faults,
    /// The CPU: the descriptor's DBM bit.
    Hardware,
}

impl Table {
    /// Takes the permission to write from every leaf that maps part of a range: from the whole leaf, and from the whole
    /// of its Contiguous run. A store there faults until the fault is answered: hardware does not make such a leaf
    /// writable again. What a dirty log recorded for it is lost.
    ///
    /// Until the result is discharged, stores may still go through.
    ///
    /// # Errors
    /// [`Error::Misaligned`] and [`Error::OutsideIpaSpace`]: nothing has changed.
    pub fn write_protect<M: Machine>(&mut self, machine: &M, ipa: Ipa, bytes: u64) -> Owed<'_> {
        self.protect_range(machine, ipa, bytes, MarkedBy::Faults, &mut |_, _| ())
    }

    /// Reports each leaf of a range that can be written, by its first guest address and its size in bytes, and
    /// write-protects it: in memory that was write-protected before, these are the pages written since.
    ///
    /// A leaf or Contiguous run that reaches beyond the range is reported and protected whole. What is stored until
    /// the result is discharged belongs to what was reported.
    ///
    /// # Errors
    /// [`Error::Misaligned`] and [`Error::OutsideIpaSpace`]: nothing has changed.
    pub fn dirty<M: Machine>(
        &mut self,
        machine: &M,
        ipa: Ipa,
        bytes: u64,
        mut report: impl FnMut(Ipa, u64),
    ) -> Owed<'_> {
        let by = if self.ids.has_hardware_dirty() {
            MarkedBy::Hardware
        } else {
            MarkedBy::Faults
        };
        self.protect_range(machine, ipa, bytes, by, &mut report)
    }

    fn protect_range<M: Machine>(
        &mut self,
        machine: &M,
        ipa: Ipa,
        bytes: u64,
        by: MarkedBy,
        report: &mut impl FnMut(Ipa, u64),
    ) -> Owed<'_> {
        let mut debt = Debt::new();
        let result = self.span(ipa, bytes).map(|span| {
            let span = self.with_whole_runs(machine, span);
            let top = (self.root, self.geometry.start(), Ipa(0));
            self.protect(machine, top, (span, by), &mut debt, report);
        });
        self.owe(debt, result)
    }

    /// Takes the permission to write from each leaf of a table, and of those below, that maps part of a span.
    fn protect<M: Machine>(
        &self,
        machine: &M,
        (table, level, first): (Pa, Level, Ipa),
        (span, by): (Span, MarkedBy),
        debt: &mut Debt,
        report: &mut impl FnMut(Ipa, u64),
    ) {
        let Some(below) = level.next() else {
            return self.protect_pages(machine, (table, first), (span, by), debt, report);
        };
        let bytes = self.geometry.entry_bytes(level);
        let mut changed = Touched::NONE;
        for index in self.entries_within(level, first, span) {
            let entry = table + index * 8;
            let raw = machine.read(entry);
            // Links to tables have the bit clear.
            if raw.can_write() {
                Self::update(machine, entry, raw, |raw| Some(raw.without_write()));
                report(first + index * bytes, bytes);
                changed.add(index);
            } else if raw.is_table(level) {
                let child = raw.table_address(self.geometry.format());
                let node = (child, below, first + index * bytes);
                self.protect(machine, node, (span, by), debt, report);
            }
        }
        changed.owe(debt, first, bytes, level);
    }

    /// The same for a table of pages, which alone have DBM.
    fn protect_pages<M: Machine>(
        &self,
        machine: &M,
        (table, first): (Pa, Ipa),
        (span, by): (Span, MarkedBy),
        debt: &mut Debt,
        report: &mut impl FnMut(Ipa, u64),
    ) {
        let is_by_hardware = by == MarkedBy::Hardware;
        let bytes = self.geometry.page_bytes();
        let mut changed = Touched::NONE;
        for index in self.entries_within(Level::L3, first, span) {
            let entry = table + index * 8;
            let raw = machine.read(entry);
            if raw.can_write() || !is_by_hardware && raw.is_dirty_managed() {
                Self::update(machine, entry, raw, |raw| {
                    let protected = raw.without_write();
                    Some(if is_by_hardware && !protected.is_contiguous() {
                        protected.dirty_managed()
                    } else {
                        protected.not_dirty_managed()
                    })
                });
                report(first + index * bytes, bytes);
                changed.add(index);
            }
        }
        changed.owe(debt, first, bytes, Level::L3);
    }

    /// Clears the access flag of every leaf that maps part of a range, and gives how many had it set. Those were used
    /// since the last time, as far as TLBs let one know.
    ///
    /// Nothing is invalidated: a CPU that has the leaf in its TLB goes on without setting the flag again. So the result
    /// is a hint, and cheap. This may run while other CPUs take faults.
    ///
    /// # Errors
    /// [`Error::Misaligned`] and [`Error::OutsideIpaSpace`].
    pub fn age<M: Machine>(&self, machine: &M, ipa: Ipa, bytes: u64) -> Result<u64, Error> {
        let span = self.span(ipa, bytes)?;
        let mut young = 0;
        self.traverse(machine, span, &mut |position, raw| {
            if raw.is_table(position.level) {
                return Next::Into(raw.table_address(self.geometry.format()));
            }
            let old = Self::update(machine, position.entry, raw, |raw| {
                let is_young_leaf = raw.is_valid() && raw.is_accessed();
                is_young_leaf.then(|| raw.unaccessed())
            });
            young += u64::from(old.is_some());
            Next::Past
        });
        Ok(young)
    }

    /// Cleans and invalidates the data caches of all cacheable memory that is mapped in a range, to the Point of
    /// Coherency: for a device or a guest with its caches off that is to see what was written, or for the pages'
    /// next owner. Does nothing where [no caches](crate#caches) stand before that point.
    ///
    /// # Errors
    /// [`Error::Misaligned`] and [`Error::OutsideIpaSpace`].
    pub fn flush<M: Machine>(&self, machine: &M, ipa: Ipa, bytes: u64) -> Result<(), Error> {
        let span = self.span(ipa, bytes)?;
        if !self.ids.has_cache_before_coherency() {
            return Ok(());
        }
        for (first, level, leaf) in self.leaves(machine, ipa, bytes) {
            if Maintenance::is_cached(&self.ids, leaf.attributes) {
                let from = first.max(span.start);
                let end = (first + self.geometry.entry_bytes(level)).min(span.end);
                machine.clean_invalidate_data(leaf.output + (from - first), end - from);
            }
        }
        machine.dsb(crate::Dsb::Ish);
        Ok(())
    }

    /// The span, extended by the rest of the Contiguous runs that its ends cut: a run's leaves have like permissions.
    fn with_whole_runs<M: Machine>(&self, machine: &M, span: Span) -> Span {
        let last = Ipa(span.end.0 - 1);
        let run = |at| {
            let (position, raw) = self.descend(machine, at);
            let is_leaf = kind(raw, self.geometry, position.level) == Kind::Leaf;
            (is_leaf && unlocked(raw).is_contiguous()).then(|| position.run(self.geometry))
        };
        [run(span.start), run(last)]
            .into_iter()
            .flatten()
            .fold(span, Span::with)
    }
}
