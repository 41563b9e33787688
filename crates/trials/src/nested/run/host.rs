//! What L0 does to L1's memory, and what must hold after each step.

use droste_arm64::{Ipa, Level, Va};
use droste_mmu_model::AccessKind;
use droste_nested::{Concerned, L1Ipa};
use droste_stage2::{Attributes, DirtyLog, Dsb, Error, Machine, Owed, Slot, Table};

use crate::failure::Problem;
use crate::nested::operation::{Operation, Step};
use crate::nested::run::Lapse;
use crate::nested::run::hypervisor::{Hands, Run, Supply};
use crate::stage2::operation::{Area, Operation as OfMemory};

const KINDS: [AccessKind; 4] = [
    AccessKind::Read,
    AccessKind::Write,
    AccessKind::ExecuteEl1,
    AccessKind::ExecuteEl0,
];
/// Probes of each CPU after a step, and once in how many steps all places are looked at.
const PROBES: usize = 3;
const WHOLE: u64 = 24;

/// What shadows are due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Due {
    Unmap,
    WriteProtect,
}

const EVERYTHING: Area = Area {
    ipa: Ipa(0),
    bytes: 1 << 40,
};

impl<'m> Run<'m> {
    /// An operation on L1's memory. Those that programs of `droste-stage2` alone have do nothing here.
    pub(super) fn memory(&mut self, cpu: usize, operation: OfMemory) -> Result<(), Problem> {
        self.report.operations += u64::from(!matches!(operation, OfMemory::Pressure(_)));
        match operation {
            OfMemory::AddSlot(slot) => {
                // Errors are the affair of droste-stage2's own programs.
                let _ = self.canonical.slots.add(slot);
                Ok(())
            }
            OfMemory::RemoveSlot(ipa) => match self.canonical.slots.remove(ipa) {
                Some(slot) => self.unmap_surely(cpu, area(&slot)),
                None => Ok(()),
            },
            OfMemory::SetAttributes(ipa, attributes) => self.set_attributes(cpu, ipa, attributes),
            OfMemory::SetLog(ipa, log) => self.set_log(cpu, ipa, log),
            OfMemory::Unmap(of) => match self.unmap(cpu, of) {
                Err(Error::NoTablePage { .. }) | Ok(()) => Ok(()),
                Err(error) => Err(broken(error)),
            },
            OfMemory::Dirty(of) => self.harvest(cpu, of),
            OfMemory::Age(of) => self.age(cpu, of),
            OfMemory::Split(of, to) => self.reshape(cpu, |table, hands, supply| {
                table.split(hands, supply, of.ipa, of.bytes, to)
            }),
            OfMemory::Collapse(of, largest) => self.collapse(cpu, of, largest),
            OfMemory::Pressure(count) => {
                self.pressure(count);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn set_attributes(
        &mut self,
        cpu: usize,
        ipa: Ipa,
        attributes: Attributes,
    ) -> Result<(), Problem> {
        if self
            .canonical
            .slots
            .set_attributes(ipa, attributes)
            .is_err()
        {
            return Ok(());
        }
        let slot = *self.canonical.slots.find(ipa).expect("it was changed");
        self.unmap_surely(cpu, area(&slot))
    }

    fn set_log(&mut self, cpu: usize, ipa: Ipa, log: DirtyLog) -> Result<(), Problem> {
        if self.canonical.slots.set_log(ipa, log).is_err() || log == DirtyLog::Off {
            return Ok(());
        }
        let slot = *self.canonical.slots.find(ipa).expect("it was changed");
        self.harvest(cpu, area(&slot))
    }

    /// Changes the canonical table and discharges what that owes.
    fn change(
        &mut self,
        hands: &Hands<'m>,
        change: impl for<'t> FnOnce(&'t mut Table, &Hands<'m>, &mut Supply<'m>) -> Owed<'t>,
    ) -> Result<(), Error> {
        let Self {
            canonical,
            places,
            vmids,
            ..
        } = self;
        canonical.with_contexts(places, vmids, |table, supply, _, contexts| {
            change(table, hands, supply).discharge(hands, supply, contexts)
        })
    }

    /// Brings the shadows to what the canonical table has become: less, in these ranges.
    fn follow(&mut self, hands: &Hands<'m>, ranges: &[Area], due: Due) {
        self.taken += 1;
        if !self.lapses(Lapse::Note) {
            self.changes.note();
        }
        if self.lapses(Lapse::Visit) {
            return;
        }
        let mut concerned = Vec::new();
        for range in ranges {
            let from = L1Ipa(range.ipa.0);
            match due {
                Due::Unmap => self
                    .reverse_map
                    .take(from, range.bytes, |one| concerned.push(one)),
                Due::WriteProtect => self
                    .reverse_map
                    .visit(from, range.bytes, |one| concerned.push(one)),
            }
        }
        for one in concerned {
            match (one, due) {
                (Concerned::Whole(place), _) => self.empty(hands, place),
                (Concerned::Region { place, ipa, bytes }, Due::Unmap) => {
                    self.with_shadow(hands, place, |shadow, host| shadow.unmap(host, ipa, bytes));
                }
                (Concerned::Region { place, ipa, bytes }, Due::WriteProtect) => {
                    self.with_shadow(hands, place, |shadow, host| {
                        shadow.write_protect(host, ipa, bytes)
                    });
                }
            }
        }
    }

    fn unmap(&mut self, cpu: usize, of: Area) -> Result<(), Error> {
        self.at_el2(cpu, |run, hands| {
            run.change(hands, |table, hands, supply| {
                table.unmap(hands, supply, of.ipa, of.bytes)
            })?;
            run.forget_written(of);
            run.follow(hands, &[of], Due::Unmap);
            Ok(())
        })
    }

    /// Unmaps a range for whose sake a slot was changed; all of memory, where pages lack for less.
    fn unmap_surely(&mut self, cpu: usize, of: Area) -> Result<(), Problem> {
        match self.unmap(cpu, of) {
            Ok(()) => Ok(()),
            Err(Error::NoTablePage { .. }) => self.drop_memory(cpu),
            Err(error) => Err(broken(error)),
        }
    }

    /// Unmaps all of L1's memory.
    pub(super) fn drop_memory(&mut self, cpu: usize) -> Result<(), Problem> {
        self.at_el2(cpu, Self::drop_memory_at)
    }

    /// The same, at EL2.
    pub(super) fn drop_memory_at(&mut self, hands: &Hands<'m>) -> Result<(), Problem> {
        self.change(hands, |table, hands, _| table.free(hands))
            .map_err(broken)?;
        self.forget_written(EVERYTHING);
        self.follow(hands, &[EVERYTHING], Due::Unmap);
        Ok(())
    }

    fn forget_written(&mut self, of: Area) {
        let range = of.range();
        self.written.retain(|page| !range.contains(page));
    }

    /// Reads and resets the dirty log, in which every page must be that L2 stored to.
    fn harvest(&mut self, cpu: usize, of: Area) -> Result<(), Problem> {
        let mut reported = Vec::new();
        let result = self.at_el2(cpu, |run, hands| {
            run.change(hands, |table, hands, _| {
                table.dirty(hands, of.ipa, of.bytes, |ipa, bytes| {
                    reported.push(Area { ipa, bytes });
                })
            })?;
            run.follow(hands, &reported, Due::WriteProtect);
            Ok(())
        });
        if result.is_err() {
            return result.map_err(broken);
        }
        for area in &reported {
            self.forget_written(*area);
        }
        match self.written.range(of.range()).next() {
            None => Ok(()),
            Some(page) => Err(Problem::Oracle {
                rule: "a page that L2 wrote is in the dirty log",
                detail: format!("the page at {page:#x} was written and not reported"),
            }),
        }
    }

    /// Clears access flags of L1's memory, and of what shadows have of it.
    fn age(&mut self, cpu: usize, of: Area) -> Result<(), Problem> {
        self.at_el2(cpu, |run, hands| {
            run.canonical
                .table
                .age(hands, of.ipa, of.bytes)
                .map_err(broken)?;
            let mut concerned = Vec::new();
            let from = L1Ipa(of.ipa.0);
            run.reverse_map
                .visit(from, of.bytes, |one| concerned.push(one));
            for one in concerned {
                let (place, ipa, bytes) = match one {
                    Concerned::Region { place, ipa, bytes } => (place, ipa, bytes),
                    Concerned::Whole(place) => (place, droste_nested::L2Ipa(0), EVERYTHING.bytes),
                };
                run.with_shadow(hands, place, |shadow, host| {
                    shadow.age(host.machine, ipa, bytes)
                });
            }
            // As the lock that is given up after it would let the next DSB cover it.
            hands.dsb(Dsb::Ishst);
            Ok(())
        })
    }

    /// Changes the sizes of canonical leaves, and nothing that shadows have to follow.
    fn reshape(
        &mut self,
        cpu: usize,
        change: impl for<'t> FnOnce(&'t mut Table, &Hands<'m>, &mut Supply<'m>) -> Owed<'t>,
    ) -> Result<(), Problem> {
        let result = self.at_el2(cpu, |run, hands| run.change(hands, change));
        match result {
            Ok(()) | Err(Error::NoTablePage { .. }) => Ok(()),
            Err(error) => Err(broken(error)),
        }
    }

    fn collapse(&mut self, cpu: usize, of: Area, largest: Level) -> Result<(), Problem> {
        let slots = &self.canonical.slots;
        let last = Ipa(of.ipa.0.wrapping_add(of.bytes).wrapping_sub(1));
        let slot = slots
            .find(of.ipa)
            .filter(|slot| slots.find(last) == Some(*slot));
        let Some(slot) = slot.copied().filter(|slot| slot.log == DirtyLog::Off) else {
            return Ok(());
        };
        self.reshape(cpu, |table, hands, _| {
            table.collapse(hands, of.ipa, of.bytes, largest, slot.attributes)
        })
    }

    /// The machine has broken no rule, and whoever is inside can reach nothing that it must not.
    pub(super) fn check(&mut self, step: &Step) -> Result<(), Problem> {
        self.violation_found()?;
        let about = match step.operation {
            Operation::Access(va, _) | Operation::Resolve(va, _) | Operation::Stage1(va, ..) => {
                Some(va)
            }
            _ => None,
        };
        for cpu in 0..self.cpus.len() {
            for _ in 0..PROBES {
                let Some(spots) = self.spots(cpu) else {
                    break;
                };
                let va = match about {
                    Some(va) if self.luck.once_in(2) => va,
                    _ => Va(self.luck.pick(&spots)),
                };
                let kind = self.luck.pick(&KINDS);
                self.probe(cpu, va, kind)?;
            }
        }
        if self.luck.once_in(WHOLE) {
            self.probe_all()?;
        }
        let is_within = self.supply.at_hand() <= self.world.pages;
        assert!(is_within, "no more pages come back than were taken");
        self.violation_found()
    }

    /// Looks at all places on all CPUs.
    pub(super) fn probe_all(&mut self) -> Result<(), Problem> {
        for cpu in 0..self.cpus.len() {
            for va in self.spots(cpu).unwrap_or_default() {
                for kind in [AccessKind::Read, AccessKind::Write] {
                    self.probe(cpu, Va(va), kind)?;
                }
            }
        }
        Ok(())
    }

    /// Addresses of whoever is inside that programs come back to.
    fn spots(&self, cpu: usize) -> Option<Vec<u64>> {
        let inside = self.cpus[cpu].inside?;
        Some(self.world.spots(inside.space))
    }
}

const fn area(slot: &Slot) -> Area {
    Area {
        ipa: slot.ipa,
        bytes: slot.bytes,
    }
}

fn broken(error: Error) -> Problem {
    Problem::Oracle {
        rule: "an operation of the canonical table fails for lack of pages alone",
        detail: error.to_string(),
    }
}
