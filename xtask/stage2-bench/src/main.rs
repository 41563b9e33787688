//! Operations on stage-2 tables, for an instruction counter to watch.
//!
//! `droste-stage2-bench CASE` makes ready, does one operation inside [`measured`], and prints on how many units it
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

mod linear;
mod machine;
mod multiarch;
mod ours;

use std::fmt::Write;
use std::hint::black_box;
use std::process::ExitCode;

/// Guest memory of most cases: 1 GiB from 1 GiB on.
pub(crate) const MEMORY: u64 = 1 << 30;
pub(crate) const MEMORY_BYTES: u64 = 1 << 30;
/// How far output lies above guest addresses, a multiple of 1 GiB.
pub(crate) const OFFSET: u64 = 0x10_0000_0000;
pub(crate) const PAGE: u64 = 4096;
pub(crate) const BLOCK: u64 = 2 << 20;
/// Pages of the sparse cases, one in each GiB.
pub(crate) const SPARSE: u64 = 256;

/// What a case did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Done {
    /// Pages, blocks, tables or faults.
    units: u64,
    /// What else was counted, by name.
    counts: Vec<(&'static str, u64)>,
}

impl Done {
    pub(crate) fn new(units: u64) -> Self {
        Self {
            units,
            counts: Vec::new(),
        }
    }
}

/// A case by its name.
pub(crate) type Case = (&'static str, fn() -> Done);

/// The part of a case that is counted.
#[inline(never)]
pub(crate) fn measured<R>(body: impl FnOnce() -> R) -> R {
    black_box(body())
}

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
