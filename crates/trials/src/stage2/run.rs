//! Runs programs: the library on the model, beside the oracle.
//!
//! Each step is done by one CPU at EL2 while the others stay where they are, in guests if they were. After each the
//! model must have found nothing, the table must say what the oracle does, and accesses of whoever is inside must
//! come to nothing but what the oracle allows. In the end everything is freed: all pages come back, and no walk reaches
//! them.

mod checks;
mod guest;
mod machine;
mod slots;
mod tables;

use std::cell::{Cell, RefCell};

use droste_mmu_model::Model;

use crate::failure::{Problem, Report, guarded};
use crate::sabotage::Sabotage;
use crate::stage2::operation::{Operation, Step};
use crate::stage2::program::{Failure, Program};
use machine::Run;

/// Runs a program.
///
/// # Errors
/// What was broken first.
pub fn run(program: &Program) -> Result<Report, Box<Failure>> {
    run_with(program, Sabotage::None)
}

/// Runs a program on a machine that does not do what it is told.
///
/// # Errors
/// What was broken first.
pub fn run_with(program: &Program, sabotage: Sabotage) -> Result<Report, Box<Failure>> {
    guarded(program, |at| execute(program, sabotage, at))
}

fn execute(program: &Program, sabotage: Sabotage, at: &Cell<usize>) -> Result<Report, Problem> {
    let model = RefCell::new(Model::new(program.world.config()));
    let count = Cell::new(0);
    let mut run = Run::new(&program.world, &model, sabotage, &count);
    for (index, step) in program.steps.iter().enumerate() {
        at.set(index);
        run.begin(step);
        run.step(step)?;
        run.check(step)?;
    }
    at.set(program.steps.len());
    run.finish()
}

impl Run<'_> {
    fn step(&mut self, step: &Step) -> Result<(), Problem> {
        let cpu = usize::from(step.cpu) % self.places.len();
        let vm = usize::from(step.vm) % self.vms.len();
        if !matches!(step.operation, Operation::Install) {
            self.pending[cpu] = None;
        }
        match step.operation {
            Operation::AddSlot(slot) => self.add_slot(vm, slot),
            Operation::RemoveSlot(ipa) => self.remove_slot(cpu, vm, ipa),
            Operation::Relocate(ipa, to) => self.relocate(cpu, vm, ipa, to),
            Operation::SetAttributes(ipa, attributes) => {
                self.set_attributes(cpu, vm, ipa, attributes)
            }
            Operation::SetLog(ipa, log) => self.set_log(cpu, vm, ipa, log),
            Operation::Map(mapping) => self.map(cpu, vm, &mapping),
            Operation::Unmap(area) => self.unmap(cpu, vm, area),
            Operation::WriteProtect(area) => self.write_protect(cpu, vm, area),
            Operation::Dirty(area) => self.dirty(cpu, vm, area),
            Operation::Age(area) => self.age(cpu, vm, area),
            Operation::Flush(area) => self.flush(cpu, vm, area),
            Operation::Split(area, to) => self.split(cpu, vm, area, to),
            Operation::Collapse(area, largest) => self.collapse(cpu, vm, area, largest),
            Operation::Access(ipa, kind) => self.access(cpu, vm, ipa, kind),
            Operation::Resolve(ipa, kind) => self.resolve(cpu, vm, ipa, kind),
            Operation::Install => self.install(cpu),
            Operation::Enter { context, vcpu } => {
                self.enter(cpu, vm, usize::from(context), u32::from(vcpu));
                Ok(())
            }
            Operation::Leave => {
                self.leave(cpu);
                Ok(())
            }
            Operation::Stage1(va, to, tlbi) => {
                self.stage1(cpu, vm, va, to, tlbi);
                Ok(())
            }
            Operation::NewContext => {
                self.new_context(vm);
                Ok(())
            }
            Operation::Retire(context) => {
                self.retire(vm, usize::from(context));
                Ok(())
            }
            Operation::Pressure(count) => {
                self.pressure(cpu, count);
                Ok(())
            }
            Operation::Free => self.free(cpu, vm),
        }
    }
}
