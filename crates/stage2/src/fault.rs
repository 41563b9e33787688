//! Stage-2 faults: from a syndrome to what follows.
//!
//! In two steps, because the first needs no lock on the table: [`Slots::resolve`] decides what memory the address is,
//! [`Table::install`] brings the table to it, if the slots are still the same. [`handle`] does both.
//!
//! Rule: faults of many CPUs are handled concurrently. Each changes one entry by compare-exchange, and the loser of a
//! race lets the guest retry. No fault unlinks a table, so nobody walks a table that goes away. A block that is to
//! become a table is locked first; other CPUs that fault there retry until it is one.

use droste_arm64::desc::{Kind, RawDescriptor};
use droste_arm64::esr::MmioAccess;
use droste_arm64::{Ipa, Level};

use crate::attributes::{leaf_permits, permitting};
use crate::cache::Maintenance;
use crate::entry::{Position, Span, is_locked};
use crate::invalidate::Debt;
use crate::sizing::{MAX_CLEAN, Window};
use crate::slots::{DirtyLog, Sequence, Slots};
use crate::split::Change;
use crate::{Access, Contexts, Dsb, Error, Machine, PageCache, Table};

mod proposal;
mod syndrome;

pub use proposal::Proposal;
pub use syndrome::{Cause, Fault, Origin};

/// The answer to a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is mapped now: enter the guest again.
    Mapped,
    /// It was mapped and permits the access now: enter the guest again.
    Relaxed,
    /// Nothing to do, or no longer the same fault: enter the guest again.
    Retry,
    /// No slot: a device to emulate, by an access that the syndrome describes or does not, or nothing at all.
    Mmio(Option<MmioAccess>),
    /// The guest gets an abort.
    Inject(Reason),
}

/// Why the guest gets an abort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// It wrote to memory that it may only read.
    ReadOnly,
    /// It read memory that it may not read.
    NotReadable,
    /// It fetched instructions from memory that it may not execute, or from outside all slots.
    NotExecutable,
    /// Its stage-1 walk left memory: it read outside all slots, or from a device.
    WalkOutsideMemory,
}

/// What a fault needs, by the slots at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// The table is to be brought to this.
    Install(Proposal),
    /// This CPU's TLB is to forget: [`Table::resolve_conflict`].
    Forget,
    /// The fault is not for the table: never [`Answer::Mapped`], `Relaxed` or `Retry`.
    Refuse(Answer),
}

impl Slots {
    /// Decides what a fault needs. Reads nothing but the slots.
    ///
    /// A stage-1 walk gets no device: with HCR_EL2.PTW set it would take a permission fault at the finished mapping,
    /// for ever; without, it would read device registers.
    pub fn resolve(&self, fault: &Fault) -> Decision {
        if fault.cause == Cause::Conflict {
            return Decision::Forget;
        }
        let sequence = self.sequence();
        let is_walk = fault.origin == Origin::TableWalk;
        let Some(slot) = self.find(fault.ipa) else {
            return Decision::Refuse(match fault.access {
                _ if is_walk => Answer::Inject(Reason::WalkOutsideMemory),
                Access::Execute(_) => Answer::Inject(Reason::NotExecutable),
                Access::Read | Access::Write => Answer::Mmio(fault.mmio),
            });
        };
        if is_walk && slot.attributes.is_device() {
            return Decision::Refuse(Answer::Inject(Reason::WalkOutsideMemory));
        }
        let access = fault.lacking(slot.attributes.access);
        if fault.is_content_with_any() || slot.attributes.permits(access) {
            return Decision::Install(Proposal {
                fault: *fault,
                slot: *slot,
                sequence,
            });
        }
        Decision::Refuse(Answer::Inject(match access {
            Access::Execute(_) => Reason::NotExecutable,
            Access::Read => Reason::NotReadable,
            Access::Write => Reason::ReadOnly,
        }))
    }
}

/// How an attempt to change the table went.
enum Attempt {
    Done(Answer),
    /// A leaf became smaller; the address is to be looked up again.
    Again,
}

impl Table {
    /// Brings the table to what [`Slots::resolve`] proposed. `sequence` is that of the slots now, read under the lock
    /// that protects this table. Runs beside other faults; see [`Table`](crate::Table#who-may-do-what-at-once).
    ///
    /// The calling CPU is the one that faulted, with the context that faulted in VTTBR_EL2. Where another CPU was
    /// faster, the answer is [`Answer::Retry`].
    ///
    /// # Errors
    /// [`Error::NoTablePage`] where `pages` are too few: never if they were [full](PageCache::is_full).
    /// [`Error::XnxUnsupported`] of the slot's attributes.
    /// [`Error::AlreadyMapped`] where the table maps something else than the slot: whoever changed the slot did not
    /// unmap it.
    pub fn install<M: Machine, const CPUS: usize>(
        &self,
        machine: &M,
        pages: &mut PageCache,
        contexts: &Contexts<'_, CPUS>,
        proposal: &Proposal,
        sequence: Sequence,
    ) -> Result<Answer, Error> {
        self.expect_settled();
        if proposal.sequence != sequence {
            return Ok(Answer::Retry);
        }
        self.check_execute(proposal.slot.attributes)?;
        // A leaf shrinks once a level at most.
        for _ in Level::ALL {
            let (position, raw) = self.descend(machine, proposal.fault.ipa);
            let attempt = match raw {
                RawDescriptor::EMPTY => {
                    Attempt::Done(self.fill_hole(machine, pages, position, proposal)?)
                }
                _ if is_locked(raw) => Attempt::Done(Answer::Retry),
                _ => self.answer_by_leaf(machine, pages, contexts, (position, raw), proposal)?,
            };
            if let Attempt::Done(answer) = attempt {
                if matches!(answer, Answer::Mapped | Answer::Relaxed) {
                    self.counts.faults.add(1);
                }
                return Ok(answer);
            }
        }
        Ok(Answer::Retry)
    }

    /// Maps what the window around the fault has of empty entries.
    fn fill_hole<M: Machine>(
        &self,
        machine: &M,
        pages: &mut PageCache,
        hole: Position,
        proposal: &Proposal,
    ) -> Result<Answer, Error> {
        let window = Window::new(self, hole.level, proposal);
        window.maintenance.run(machine, window.pa, window.bytes);
        let at = match self.install_tables(machine, pages, hole, window.level, proposal.fault.ipa) {
            Ok(Some(at)) => at,
            Ok(None) => return Ok(Answer::Retry),
            Err(error) => {
                machine.dsb(Dsb::Ishst);
                return Err(error);
            }
        };
        let leaf = window.faulting_leaf(self, at.ipa);
        let answer = match machine.compare_exchange(at.entry, RawDescriptor::EMPTY, leaf) {
            Ok(()) => Answer::Mapped,
            Err(_) => Answer::Retry,
        };
        window.fill_others(machine, self, at);
        machine.dsb(Dsb::Ishst);
        Ok(answer)
    }

    /// Links empty tables from an empty entry down to `level`. `None` where another CPU was faster. The DSB puts a
    /// table's zeroes before its link for table walks.
    fn install_tables<M: Machine>(
        &self,
        machine: &M,
        pages: &mut PageCache,
        hole: Position,
        level: Level,
        ipa: Ipa,
    ) -> Result<Option<Position>, Error> {
        let mut at = hole;
        while let Some(below) = at.level.next()
            && at.level < level
        {
            let table = self.take_page(pages, ipa)?;
            machine.zero(table, self.geometry.page_bytes());
            machine.dsb(Dsb::Ishst);
            let link = self.link(at.level, table);
            if machine
                .compare_exchange(at.entry, RawDescriptor::EMPTY, link)
                .is_err()
            {
                self.give_page(pages, table);
                return Ok(None);
            }
            at = Position {
                entry: self.geometry.entry(table, below, ipa),
                level: below,
                ipa: ipa.align_down(self.geometry.entry_bytes(below)),
            };
        }
        Ok(Some(at))
    }

    /// The address is mapped: the leaf permits the access, or is made to.
    fn answer_by_leaf<M: Machine, const CPUS: usize>(
        &self,
        machine: &M,
        pages: &mut PageCache,
        contexts: &Contexts<'_, CPUS>,
        (position, raw): (Position, RawDescriptor),
        proposal: &Proposal,
    ) -> Result<Attempt, Error> {
        let Proposal { fault, slot, .. } = proposal;
        let ipa = fault.ipa;
        if raw.output(self.geometry.format(), position.level) != slot.output(position.ipa) {
            return Err(Error::AlreadyMapped { ipa });
        }
        let access = fault.lacking(raw.access());
        if leaf_permits(raw, access) {
            return Ok(Attempt::Done(self.use_leaf(machine, position, raw, fault)));
        }
        let is_logged = slot.log == DirtyLog::On && access == Access::Write;
        let is_several = position.level < Level::L3 || raw.is_contiguous();
        let unit = self.unit(position, raw);
        // What was mapped ahead may reach beyond the slot, which has no say there.
        let is_within = slot.ipa <= unit.start && unit.end <= slot.end();
        let maintenance = Maintenance::of(&self.ids, slot.attributes);
        let is_execute = matches!(access, Access::Execute(_));
        let is_long = is_execute && maintenance.is_by_size() && unit.bytes() > MAX_CLEAN;
        if is_several && (is_logged || is_long || !is_within) {
            return self.shrink(machine, pages, contexts, (position, raw));
        }
        if is_execute {
            maintenance.run(machine, slot.output(unit.start), unit.bytes());
        }
        let wider = |raw| permitting(raw, access, slot.attributes).accessed();
        if raw.is_contiguous() {
            self.relax_run(machine, position, wider);
        } else if machine
            .compare_exchange(position.entry, raw, wider(raw))
            .is_err()
        {
            return Ok(Attempt::Done(Answer::Retry));
        }
        machine.dsb(Dsb::Ishst);
        self.forget_here(machine, ipa, position.level);
        Ok(Attempt::Done(Answer::Relaxed))
    }

    /// What is widened at once: a leaf, or all of its Contiguous run.
    fn unit(&self, position: Position, raw: RawDescriptor) -> Span {
        if raw.is_contiguous() {
            position.run(self.geometry)
        } else {
            position.span(self.geometry)
        }
    }

    /// The leaf permits the access already: its access flag was clear, or another CPU was faster.
    fn use_leaf<M: Machine>(
        &self,
        machine: &M,
        position: Position,
        raw: RawDescriptor,
        fault: &Fault,
    ) -> Answer {
        match fault.cause {
            Cause::AccessFlag if !raw.is_accessed() => {
                let written = machine.compare_exchange(position.entry, raw, raw.accessed());
                machine.dsb(Dsb::Ishst);
                written.map_or(Answer::Retry, |()| Answer::Relaxed)
            }
            // This CPU's TLB holds what the leaf was before.
            Cause::Permission => {
                self.forget_here(machine, fault.ipa, position.level);
                Answer::Retry
            }
            _ => Answer::Retry,
        }
    }

    /// Widens every leaf of a Contiguous run: they have like permissions.
    fn relax_run<M: Machine>(
        &self,
        machine: &M,
        position: Position,
        wider: impl Fn(RawDescriptor) -> RawDescriptor,
    ) {
        let first = position.first_of_run(self.geometry);
        for index in 0..self.geometry.run_entries(position.level) {
            let entry = first.entry + index * 8;
            Self::update(machine, entry, machine.read(entry), |raw| {
                let is_leaf = raw.kind(self.geometry.format(), position.level) == Kind::Leaf;
                (is_leaf && raw.is_contiguous()).then(|| wider(raw))
            });
        }
    }

    /// Makes a run single leaves, or a block a table, for the sake of one of its pages.
    fn shrink<M: Machine, const CPUS: usize>(
        &self,
        machine: &M,
        pages: &mut PageCache,
        contexts: &Contexts<'_, CPUS>,
        (position, raw): (Position, RawDescriptor),
    ) -> Result<Attempt, Error> {
        let mut debt = Debt::new();
        let change = if raw.is_contiguous() {
            self.unfold(machine, position, &mut debt)
        } else {
            let child = self.take_page(pages, position.ipa)?;
            let change = self.split_into(machine, child, position, raw, &mut debt);
            if change == Change::Raced {
                self.give_page(pages, child);
            }
            change
        };
        debt.settle(self, machine, contexts);
        Ok(match change {
            Change::Done => Attempt::Again,
            Change::Raced => Attempt::Done(Answer::Retry),
        })
    }
}

/// Answers a fault, for a caller that holds slots and table at once.
///
/// # Errors
/// As [`Table::install`].
pub fn handle<M: Machine, const CPUS: usize>(
    machine: &M,
    table: &Table,
    pages: &mut PageCache,
    contexts: &Contexts<'_, CPUS>,
    slots: &Slots,
    fault: &Fault,
) -> Result<Answer, Error> {
    match slots.resolve(fault) {
        Decision::Install(proposal) => {
            table.install(machine, pages, contexts, &proposal, slots.sequence())
        }
        Decision::Forget => {
            table.resolve_conflict(machine);
            Ok(Answer::Retry)
        }
        Decision::Refuse(answer) => Ok(answer),
    }
}
