//! Makes a failing program small: fewer steps, a plainer world, smaller ranges, as long as the same thing fails.

use crate::Program;
use crate::failure::{Failure, Report, Trial};
use crate::operation::{Area, Operation, Step};
use crate::world::World;

/// Rounds of all reductions; each ends earlier when it finds nothing.
const ROUNDS: usize = 4;

/// The smallest program that this finds to fail as `failure` does under `judge`.
pub fn shrink<P: Trial>(
    failure: &Failure<P>,
    judge: impl Fn(&P) -> Result<Report, Box<Failure<P>>>,
) -> Failure<P> {
    let mut best = failure.clone();
    best.program.steps_mut().truncate(failure.step + 1);
    let still = |program: &P| {
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

type Still<'a, P> = dyn Fn(&P) -> Option<Failure<P>> + 'a;

/// Keeps a program if it still fails, without what follows the failing step.
fn take<P: Trial>(best: &mut Failure<P>, program: &P, still: &Still<'_, P>) -> bool {
    if *program == best.program {
        return false;
    }
    let Some(found) = still(program) else {
        return false;
    };
    *best = found;
    let length = best.step + 1;
    if best.program.steps().len() > length {
        best.program.steps_mut().truncate(length);
    }
    true
}

/// Delta debugging: leaves out ever smaller runs of steps.
fn fewer_steps<P: Trial>(best: &mut Failure<P>, still: &Still<'_, P>) {
    let mut chunk = best.program.steps().len().div_ceil(2).max(1);
    loop {
        let mut start = best.program.steps().len();
        while start > 0 {
            start = start.saturating_sub(chunk).min(best.program.steps().len());
            let end = (start + chunk).min(best.program.steps().len());
            let mut program = best.program.clone();
            program.steps_mut().drain(start..end);
            take(best, &program, still);
        }
        if chunk == 1 {
            return;
        }
        chunk = chunk.div_ceil(2);
    }
}

fn plainer_world<P: Trial>(best: &mut Failure<P>, still: &Still<'_, P>) {
    let mut index = 0;
    while let Some(program) = best.program.plainer().get(index) {
        if !take(best, program, still) {
            index += 1;
        }
    }
}

fn smaller_steps<P: Trial>(best: &mut Failure<P>, still: &Still<'_, P>) {
    for index in 0.. {
        let Some(&step) = best.program.steps().get(index) else {
            return;
        };
        for smaller in P::smaller(step) {
            let mut program = best.program.clone();
            if let Some(place) = program.steps_mut().get_mut(index) {
                *place = smaller;
            }
            take(best, &program, still);
        }
    }
}

impl Trial for Program {
    type Step = Step;

    fn steps(&self) -> &Vec<Step> {
        &self.steps
    }

    fn steps_mut(&mut self) -> &mut Vec<Step> {
        &mut self.steps
    }

    fn plainer(&self) -> Vec<Self> {
        let worlds = self.world.plainer().into_iter();
        let with = |world| Self {
            world,
            steps: self.steps.clone(),
        };
        worlds.map(with).collect()
    }

    fn smaller(step: Step) -> Vec<Step> {
        let operations = step.operation.smaller().into_iter();
        let operations = operations.map(|operation| Step { operation, ..step });
        [Step { cpu: 0, ..step }, Step { vm: 0, ..step }]
            .into_iter()
            .chain(operations)
            .collect()
    }
}

impl World {
    /// This with less, each time of one thing.
    pub(crate) fn plainer(&self) -> Vec<Self> {
        let without = self.features.iter().map(|&feature| {
            let mut world = self.clone();
            world.features.retain(|&other| other != feature);
            world
        });
        let changes: [fn(&mut Self); 5] = [
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
        let others = changes.iter().map(|change| {
            let mut world = self.clone();
            change(&mut world);
            world
        });
        without.chain(others).collect()
    }
}

impl Operation {
    /// This on smaller ranges.
    pub(crate) fn smaller(self) -> Vec<Self> {
        vec![
            sized(self, |_| 0x1_0000),
            sized(self, |_| 0x1000),
            sized(self, |bytes| bytes / 2),
        ]
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
