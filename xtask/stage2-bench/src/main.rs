//! Operations on stage-2 tables, for an instruction counter to watch.
//!
//! `droste-stage2-bench CASE` makes ready, does one operation inside [`case::measured`], and prints on how many units it
//! worked (pages, blocks, faults …) and what the machine was asked to do meanwhile. A counter that collects while that
//! one function is on the stack counts the operation and nothing else. `droste-stage2-bench` without a case lists them.
//!
//! Each case is one of a published crate's too, where that crate has such an operation: on the same host, over the
//! same addresses, built alike.
//!
//! What the counts are: instructions of this host, of the same source that runs at EL2. Loads, stores and
//! compare-exchanges of descriptors are one instruction and the masking of an address; barriers and TLB invalidations
//! are counted by adding one to a number, so each is about one instruction, as at EL2.

#![forbid(unsafe_code)]

mod case;
mod linear;
mod machine;
mod multiarch;
mod ours;

use std::fmt::Write;
use std::process::ExitCode;

use case::{Case, Done};

fn cases() -> impl Iterator<Item = &'static Case> {
    [ours::CASES, linear::CASES, multiarch::CASES]
        .into_iter()
        .flatten()
}

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        for (name, _) in cases() {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    };
    let Some((_, run)) = cases().find(|(known, _)| *known == name) else {
        eprintln!("error: no case is called {name}; without a name, all are listed");
        return ExitCode::FAILURE;
    };
    print!("{}", report(&run()));
    ExitCode::SUCCESS
}

/// A line for each number: its name, a space, the number.
fn report(done: &Done) -> String {
    let mut out = format!("units {}\n", done.units);
    for (name, count) in &done.counts {
        writeln!(out, "{name} {count}").expect("a string takes every line");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_does_something_and_has_a_name_of_its_own() {
        let mut names: Vec<&str> = cases().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        for (name, run) in cases() {
            assert!(run().units > 0, "{name}");
        }
    }

    #[test]
    fn a_report_is_a_line_for_each_number() {
        let done = Done {
            units: 3,
            counts: vec![("dsb", 2)],
        };
        assert_eq!(report(&done), "units 3\ndsb 2\n");
    }
}
