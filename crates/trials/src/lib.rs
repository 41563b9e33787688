//! Trials: random and exhaustive programs that drive [`droste_stage2`] and [`droste_nested`] against
//! [`droste_mmu_model`].
//!
//! A [`Program`] is a world (machine features, virtual machines, their tables' shapes) and a list of operations: maps,
//! unmaps, guest accesses with the faults that they take, slots that come and go, virtual CPUs that migrate,
//! VMIDs that run out. [`run`] executes it: the library's code on the model's CPUs, beside an oracle that knows pages
//! and nothing of tables. Three judges look on: the model (break-before-make, stale entries, pages reused too early,
//! VMIDs that mean two things), the oracle (what each page may lead to and permit), and the page account at the end.
//!
//! For guests that are hypervisors there are programs of another kind, in [`nested`].
//!
//! A [`Failure`] names the rule, the step, and the program as text. [`shrink`] makes it small, and the text runs again.
//!
//! ```
//! use droste_trials::{Choices, Sabotage, Verb, generate, run, run_with, shrink};
//!
//! let program = generate(&mut Choices::seeded(1), 200);
//! run(&program).unwrap();
//!
//! // The judges are not blind: without the invalidation of combined entries they object.
//! let blind = Sabotage::Without(Verb::Vmalle1is);
//! let failure = run_with(&program, blind).unwrap_err();
//! let small = shrink(&failure, |program| run_with(program, blind));
//! assert!(small.program.steps.len() < 10, "{small}");
//! ```

#![forbid(unsafe_code)]

mod choices;
mod failure;
mod generate;
pub mod nested;
mod operation;
mod oracle;
mod program;
mod ranges;
mod run;
mod sabotage;
mod shrink;
mod stopwatch;
mod supply;
mod syndrome;
mod text;
mod world;

pub use choices::Choices;
pub use failure::{Failure, Problem, Report, Trial};
pub use generate::generate;
pub use operation::{Area, GuestTlbi, Operation, Step};
pub use program::Program;
pub use run::{run, run_with};
pub use sabotage::{Sabotage, Verb};
pub use shrink::shrink;
pub use stopwatch::Stopwatch;
pub use supply::Pool;
pub use text::ParseError;
pub use world::{Feature, MAX_CPUS, VmShape, World};
