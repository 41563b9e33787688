//! Makes a failing program small: fewer steps, a plainer world, smaller ranges, as long as the same thing fails.

use crate::Program;
use crate::failure::{Failure, Report};
use crate::operation::{Area, Operation, Step};
use crate::world::World;

/// Rounds of all reductions; each ends earlier when it finds nothing.
const ROUNDS: usize = 4;

/// The smallest program that this finds to fail as `failure` does under `judge`.
pub fn shrink(
    failure: &Failure,
    judge: impl Fn(&Program) -> Result<Report, Box<Failure>>,
) -> Failure {
    let mut best = failure.clone();
    best.program.steps.truncate(failure.step + 1);
    let still = |program: &Program| {
        let found = *judge(program).err()?;
        found.problem.is_like(&failure.problem).then_some(found)
    };
    // A failure after the last step may need the whole program.
    match still(&best.program) {
        Some(found) => best = found,
        None => best = failure.clone(),
    }
    for _ in 0..ROUNDS {
        let before = best.program.clone();
        fewer_steps(&mut best, &still);
        plainer_world(&mut best, &still);
        smaller_steps(&mut best, &still);
        if best.program == before {
            break;
        }
    }
    best
}

type Still<'a> = dyn Fn(&Program) -> Option<Failure> + 'a;

/// Keeps a program if it still fails, without what follows the failing step.
fn take(best: &mut Failure, program: &Program, still: &Still<'_>) -> bool {
    if *program == best.program {
        return false;
    }
    let Some(found) = still(program) else {
        return false;
    };
    *best = found;
    let length = best.step + 1;
    if best.program.steps.len() > length {
        best.program.steps.truncate(length);
    }
    true
}

/// Delta debugging: leaves out ever smaller runs of steps.
fn fewer_steps(best: &mut Failure, still: &Still<'_>) {
    let mut chunk = best.program.steps.len().div_ceil(2).max(1);
    loop {
        let mut start = best.program.steps.len();
        while start > 0 {
            start = start.saturating_sub(chunk).min(best.program.steps.len());
            let end = (start + chunk).min(best.program.steps.len());
            let mut program = best.program.clone();
            program.steps.drain(start..end);
            take(best, &program, still);
        }
        if chunk == 1 {
            return;
        }
        chunk = chunk.div_ceil(2);
    }
}

fn plainer_world(best: &mut Failure, still: &Still<'_>) {
    for feature in best.program.world.features.clone() {
        let mut program = best.program.clone();
        program.world.features.retain(|&other| other != feature);
        take(best, &program, still);
    }
    let changes: [fn(&mut World); 5] = [
        |world| world.bbm = 0,
        |world| world.cpus = (world.cpus - 1).max(1),
        |world| world.vms.truncate(world.vms.len().saturating_sub(1).max(1)),
        |world| world.vms.iter_mut().for_each(|vm| vm.contexts = 1),
        |world| {
            world
                .vms
                .iter_mut()
                .for_each(|vm| vm.vcpus = (vm.vcpus - 1).max(1));
        },
    ];
    for change in changes {
        let mut program = best.program.clone();
        change(&mut program.world);
        take(best, &program, still);
    }
}

fn smaller_steps(best: &mut Failure, still: &Still<'_>) {
    for index in 0.. {
        let Some(&step) = best.program.steps.get(index) else {
            return;
        };
        for smaller in [
            Step { cpu: 0, ..step },
            Step { vm: 0, ..step },
            Step {
                operation: sized(step.operation, |_| 0x1_0000),
                ..step
            },
            Step {
                operation: sized(step.operation, |_| 0x1000),
                ..step
            },
            Step {
                operation: sized(step.operation, |bytes| bytes / 2),
                ..step
            },
        ] {
            let mut program = best.program.clone();
            if let Some(place) = program.steps.get_mut(index) {
                *place = smaller;
            }
            take(best, &program, still);
        }
    }
}

/// The operation on a range of another size.
fn sized(operation: Operation, size: impl Fn(u64) -> u64) -> Operation {
    let area = |area: Area| Area {
        bytes: size(area.bytes),
        ..area
    };
    match operation {
        Operation::Map(mut mapping) => {
            mapping.bytes = size(mapping.bytes);
            Operation::Map(mapping)
        }
        Operation::AddSlot(mut slot) => {
            slot.bytes = size(slot.bytes);
            Operation::AddSlot(slot)
        }
        Operation::Unmap(of) => Operation::Unmap(area(of)),
        Operation::WriteProtect(of) => Operation::WriteProtect(area(of)),
        Operation::Dirty(of) => Operation::Dirty(area(of)),
        Operation::Age(of) => Operation::Age(area(of)),
        Operation::Flush(of) => Operation::Flush(area(of)),
        Operation::Split(of, to) => Operation::Split(area(of), to),
        Operation::Collapse(of, largest) => Operation::Collapse(area(of), largest),
        Operation::Pressure(count) => Operation::Pressure(count.min(size(count.into()) as u16)),
        other => other,
    }
}
