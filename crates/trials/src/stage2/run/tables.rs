//! Operations on a table, and what the oracle makes of their results.

use std::ops::Range;

use droste_arm64::desc::Xn;
use droste_arm64::{Ipa, Level, Va};
use droste_mmu_model::{Access, AccessKind};
use droste_stage2::{Attributes, DirtyLog, Dsb, Error, Machine, Mapping, Owed, Table};

use crate::failure::Problem;
use crate::stage2::operation::Area;
use crate::stage2::run::machine::{Hands, Run};
use crate::stage2::world::Feature;
use crate::supply::Stock;

/// What an operation must come to, but for a lack of pages.
fn judge(
    what: &'static str,
    expected: Option<Error>,
    result: Result<(), Error>,
) -> Result<(), Problem> {
    let is_right = match (expected, result) {
        (None, Ok(()) | Err(Error::NoTablePage { .. })) => true,
        (Some(expected), Err(error)) => expected == error,
        _ => false,
    };
    if is_right {
        return Ok(());
    }
    Err(Problem::Oracle {
        rule: "an operation fails if and only if its arguments are wrong",
        detail: format!("{what} gave {result:?}, not {expected:?}"),
    })
}

impl Area {
    pub(crate) const fn range(self) -> Range<u64> {
        self.ipa.0..self.ipa.0.wrapping_add(self.bytes)
    }
}

impl<'m> Run<'m> {
    /// Does an exclusive operation and discharges what it owes. Guests that are inside on other CPUs go on in between.
    fn exclusive(
        &mut self,
        cpu: usize,
        vm: usize,
        about: Area,
        operation: impl for<'t> FnOnce(&'t mut Table, &Hands<'m>, &mut Stock<'m>) -> Owed<'t>,
    ) -> Result<(), Error> {
        self.report.operations += 1;
        let storm = self.storm(cpu, vm, about);
        self.at_el2(cpu, |run, hands| {
            let Run {
                vms, vmids, model, ..
            } = run;
            vms[vm].with_contexts(vmids, |table, supply, contexts| {
                let owed = operation(table, hands, supply);
                if let Some((cpu, access)) = storm {
                    model.borrow_mut().access(cpu, access);
                }
                owed.discharge(hands, supply, contexts)
            })
        })
    }

    /// An access of a guest while an operation is under way: its outcome is open, and only what hardware writes
    /// into descriptors matters.
    fn storm(&mut self, cpu: usize, vm: usize, about: Area) -> Option<(usize, Access)> {
        let other = self.luck.below(self.places.len() as u64) as usize;
        let inside = self.places[other]?;
        if other == cpu || inside.vm != vm || self.luck.once_in(2) {
            return None;
        }
        let at = about.ipa.0.wrapping_add(self.luck.below(about.bytes));
        let kind = self
            .luck
            .pick(&[AccessKind::Read, AccessKind::Write, AccessKind::ExecuteEl1]);
        Some((other, Access::new(Va(at), kind)))
    }

    pub(super) fn map(&mut self, cpu: usize, vm: usize, mapping: &Mapping) -> Result<(), Problem> {
        let area = Area {
            ipa: mapping.ipa,
            bytes: mapping.bytes,
        };
        let result = self.exclusive(cpu, vm, area, |table, hands, supply| {
            table.map(hands, supply, mapping)
        });
        let oracle = &mut self.vms[vm].oracle;
        let needs_xnx = matches!(mapping.attributes.execute, Xn::OnlyEl0 | Xn::OnlyEl1);
        let xnx = (needs_xnx && !self.world.has(Feature::Xnx))
            .then_some(Error::XnxUnsupported(mapping.attributes.execute));
        judge("map", oracle.output_fault(area, mapping.pa).or(xnx), result)?;
        let done = match result {
            Ok(()) => area.range(),
            Err(Error::NoTablePage { ipa }) => {
                area.ipa.0..ipa.0.clamp(area.ipa.0, area.range().end)
            }
            Err(_) => return Ok(()),
        };
        if !done.is_empty() {
            oracle.map(mapping, done);
        }
        Ok(())
    }

    pub(super) fn unmap(&mut self, cpu: usize, vm: usize, area: Area) -> Result<(), Problem> {
        let result = self.exclusive(cpu, vm, area, |table, hands, supply| {
            table.unmap(hands, supply, area.ipa, area.bytes)
        });
        let oracle = &mut self.vms[vm].oracle;
        judge("unmap", oracle.fault(area), result)?;
        if result.is_ok() {
            oracle.unmap(area.range());
        }
        Ok(())
    }

    /// Unmaps a range for whose sake a slot was changed: with the rest of the largest leaves around it, where there
    /// are no pages to split them.
    pub(super) fn unmap_surely(
        &mut self,
        cpu: usize,
        vm: usize,
        area: Area,
    ) -> Result<(), Problem> {
        let unmap = |run: &mut Self, area: Area| {
            run.exclusive(cpu, vm, area, |table, hands, supply| {
                table.unmap(hands, supply, area.ipa, area.bytes)
            })
        };
        let mut range = area.range();
        let mut result = unmap(self, area);
        if let Err(Error::NoTablePage { .. }) = result {
            range = self.vms[vm].oracle.with_leaves(range);
            let wide = Area {
                ipa: Ipa(range.start),
                bytes: range.end - range.start,
            };
            result = unmap(self, wide);
        }
        self.vms[vm].oracle.unmap(range);
        result.map_err(|error| Problem::Oracle {
            rule: "unmapping whole leaves needs no pages",
            detail: error.to_string(),
        })
    }

    pub(super) fn write_protect(
        &mut self,
        cpu: usize,
        vm: usize,
        area: Area,
    ) -> Result<(), Problem> {
        let result = self.exclusive(cpu, vm, area, |table, hands, _| {
            table.write_protect(hands, area.ipa, area.bytes)
        });
        let oracle = &mut self.vms[vm].oracle;
        judge("write_protect", oracle.fault(area), result)?;
        if result.is_ok() {
            oracle.write_protect(area.range());
            oracle.forget_written_around(area.range());
        }
        Ok(())
    }

    pub(super) fn dirty(&mut self, cpu: usize, vm: usize, area: Area) -> Result<(), Problem> {
        let mut reported = Vec::new();
        let result = self.exclusive(cpu, vm, area, |table, hands, _| {
            table.dirty(hands, area.ipa, area.bytes, |ipa, bytes| {
                reported.push(ipa.0..ipa.0 + bytes);
            })
        });
        let oracle = &mut self.vms[vm].oracle;
        judge("dirty", oracle.fault(area), result)?;
        if result.is_err() {
            return Ok(());
        }
        oracle.write_protect(area.range());
        for range in reported {
            oracle.forget_written(range);
        }
        match oracle.unreported(area.range()) {
            None => Ok(()),
            Some(page) => Err(Problem::Oracle {
                rule: "a written page is in the dirty log",
                detail: format!("the page at {page:#x} was written and not reported"),
            }),
        }
    }

    pub(super) fn age(&mut self, cpu: usize, vm: usize, area: Area) -> Result<(), Problem> {
        self.report.operations += 1;
        let result = self.at_el2(cpu, |run, hands| {
            let aged = run.vms[vm].table.age(hands, area.ipa, area.bytes);
            // It ends without a DSB. The lock that is given up after it lets the next DSB of whoever takes it cover
            // these writes (DDI 0487, B2.3 "Data Synchronization Barrier": what was observed before); the model
            // knows no locks.
            hands.dsb(Dsb::Ishst);
            aged
        });
        let oracle = &mut self.vms[vm].oracle;
        judge("age", oracle.fault(area), result.map(|_| ()))?;
        if result.is_ok()
            && !self.world.has(Feature::AccessFlag)
            && !self.world.has(Feature::DirtyState)
        {
            oracle.age(area.range());
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, cpu: usize, vm: usize, area: Area) -> Result<(), Problem> {
        self.report.operations += 1;
        let result = self.at_el2(cpu, |run, hands| {
            run.vms[vm].table.flush(hands, area.ipa, area.bytes)
        });
        judge("flush", self.vms[vm].oracle.fault(area), result)
    }

    pub(super) fn split(
        &mut self,
        cpu: usize,
        vm: usize,
        area: Area,
        to: Level,
    ) -> Result<(), Problem> {
        let result = self.exclusive(cpu, vm, area, |table, hands, supply| {
            table.split(hands, supply, area.ipa, area.bytes, to)
        });
        judge("split", self.vms[vm].oracle.fault(area), result)
    }

    /// Collapses with the attributes of the slot that the range is in; where there is none or it keeps a log, its
    /// leaves are to stay as they are.
    pub(super) fn collapse(
        &mut self,
        cpu: usize,
        vm: usize,
        area: Area,
        largest: Level,
    ) -> Result<(), Problem> {
        let slot = self.vms[vm].oracle.slot(area.ipa).copied();
        let last = Ipa(area.ipa.0.wrapping_add(area.bytes).wrapping_sub(1));
        let is_inside = slot == self.vms[vm].oracle.slot(last).copied();
        let Some(slot) = slot.filter(|slot| is_inside && slot.log == DirtyLog::Off) else {
            return Ok(());
        };
        if self.is_beyond_hardware(slot.attributes) {
            return Ok(());
        }
        let result = self.exclusive(cpu, vm, area, |table, hands, _| {
            table.collapse(hands, area.ipa, area.bytes, largest, slot.attributes)
        });
        let oracle = &mut self.vms[vm].oracle;
        judge("collapse", oracle.fault(area), result)?;
        if result.is_ok() {
            oracle.collapse(area.range(), slot.attributes);
        }
        Ok(())
    }

    pub(super) fn is_beyond_hardware(&self, attributes: Attributes) -> bool {
        let needs_xnx = matches!(attributes.execute, Xn::OnlyEl0 | Xn::OnlyEl1);
        needs_xnx && !self.world.has(Feature::Xnx)
    }

    pub(super) fn free(&mut self, cpu: usize, vm: usize) -> Result<(), Problem> {
        let space = self.vms[vm].oracle.space();
        let about = Area {
            ipa: Ipa(0),
            bytes: space.end,
        };
        let result = self.exclusive(cpu, vm, about, |table, hands, _| table.free(hands));
        judge("free", None, result)?;
        self.vms[vm].oracle.unmap(space);
        Ok(())
    }
}
