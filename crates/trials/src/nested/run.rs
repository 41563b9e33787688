//! Runs nested programs: a hypervisor around `droste-nested`, as small as it can be, and the judges.

mod contexts;
mod faults;
mod host;
mod hypervisor;
mod judge;
mod l1;
mod l2;
mod stage1;

use std::cell::{Cell, RefCell};

use droste_mmu_model::Model;

use crate::failure::{Problem, Report, guarded};
use crate::nested::operation::{Operation, Step};
use crate::nested::program::{Failure, Program};
use hypervisor::Run;

/// A duty that the hypervisor around the crate fails to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lapse {
    /// Invalidations by L1 are not emulated.
    Tlbi,
    /// Those of L2's stage 1 are not carried out.
    Stage1,
    /// Those by VMID act on one context alone.
    OneContext,
    /// Fills leave no record.
    Insert,
    /// Changes of the canonical table are not noted.
    Note,
    /// What changes in the canonical table does not change in shadows.
    Visit,
    /// Tickets are taken when fills are done.
    Ticket,
    /// A context is entered under the VMID that it had before.
    Number,
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// The machine does not do what it is told.
    Machine(crate::Sabotage),
    /// The hypervisor does not do what it should.
    Hypervisor(Lapse),
}

/// Runs a program.
///
/// # Errors
/// What was broken first.
pub fn run(program: &Program) -> Result<Report, Box<Failure>> {
    run_with(program, Sabotage::None)
}

/// Runs a program with something that goes wrong.
///
/// # Errors
/// What was broken first.
pub fn run_with(program: &Program, sabotage: Sabotage) -> Result<Report, Box<Failure>> {
    guarded(program, |at| execute(program, sabotage, at))
}

fn execute(program: &Program, sabotage: Sabotage, at: &Cell<usize>) -> Result<Report, Problem> {
    let host = RefCell::new(Model::new(program.world.config()));
    let virtual_hardware = RefCell::new(Model::new(program.world.virtual_config()));
    let skipped = Cell::new(0);
    let mut run = Run::new(
        &program.world,
        (&host, &virtual_hardware),
        sabotage,
        &skipped,
    );
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
        let cpu = usize::from(step.cpu) % self.cpus.len();
        match step.operation {
            Operation::Enter { space, vcpu } => {
                self.enter(cpu, space.into(), vcpu.into());
                Ok(())
            }
            Operation::Leave => {
                self.leave(cpu);
                Ok(())
            }
            Operation::Write(write) => {
                self.write(&write);
                Ok(())
            }
            Operation::Order(order) => {
                self.set_order(order);
                Ok(())
            }
            Operation::Tlbi(space, tlbi) => self.tlbi(cpu, space.into(), tlbi),
            Operation::Stage1(va, to, tagging) => {
                self.stage1(cpu, va, to, tagging);
                Ok(())
            }
            Operation::GuestTlbi(tlbi) => {
                self.guest_tlbi(cpu, tlbi);
                Ok(())
            }
            Operation::Access(va, kind) => self.access(cpu, va, kind),
            Operation::Resolve(va, kind) => self.resolve(cpu, va, kind),
            Operation::Install => self.install(cpu),
            Operation::Memory(operation) => self.memory(cpu, operation),
        }
    }
}
