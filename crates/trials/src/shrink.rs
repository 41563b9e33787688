//! Makes a failing program small: fewer steps, a plainer world, smaller ranges, as long as the same thing fails.

use crate::failure::{End, Failure};
use crate::program::{Program, Setting};

/// Rounds of all reductions; each ends earlier when it finds nothing.
const ROUNDS: usize = 4;

/// The smallest program that this finds to fail as `failure` does under `judge`.
pub fn shrink<W: Setting>(
    failure: &Failure<W>,
    judge: impl Fn(&Program<W>) -> End<W>,
) -> Failure<W> {
    let mut best = failure.clone();
    best.program.steps.truncate(failure.step + 1);
    let still = |program: &Program<W>| {
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

type Still<'a, W> = dyn Fn(&Program<W>) -> Option<Failure<W>> + 'a;

/// Keeps a program if it still fails, without what follows the failing step.
fn take<W: Setting>(best: &mut Failure<W>, program: &Program<W>, still: &Still<'_, W>) -> bool {
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
fn fewer_steps<W: Setting>(best: &mut Failure<W>, still: &Still<'_, W>) {
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

fn plainer_world<W: Setting>(best: &mut Failure<W>, still: &Still<'_, W>) {
    let mut index = 0;
    while let Some(world) = best.program.world.plainer().get(index) {
        let program = Program {
            world: world.clone(),
            steps: best.program.steps.clone(),
        };
        if !take(best, &program, still) {
            index += 1;
        }
    }
}

fn smaller_steps<W: Setting>(best: &mut Failure<W>, still: &Still<'_, W>) {
    for index in 0.. {
        let Some(&step) = best.program.steps.get(index) else {
            return;
        };
        for smaller in W::smaller(step) {
            let mut program = best.program.clone();
            if let Some(place) = program.steps.get_mut(index) {
                *place = smaller;
            }
            take(best, &program, still);
        }
    }
}
