//! Trials of [`droste_stage2`]: virtual machines and their memory.
//!
//! A [`Program`] is a world (machine features, virtual machines, their tables' shapes) and a list of operations: maps,
//! unmaps, guest accesses with the faults that they take, slots that come and go, vCPUs that migrate,
//! VMIDs that run out. [`run`] executes it: the library's code on the model's CPUs, beside an oracle that knows pages
//! and nothing of tables. Three judges look on: the model (break-before-make, stale entries, pages reused too early,
//! VMIDs that mean two things), the oracle (what each page may lead to and permit), and the page account at the end.
//!
//! ```
//! use droste_trials::stage2::{generate, run, run_with};
//! use droste_trials::{Choices, Sabotage, Verb, shrink};
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

mod generate;
pub(crate) mod operation;
pub(crate) mod oracle;
mod program;
mod ranges;
mod run;
pub(crate) mod world;

pub use generate::generate;
pub use operation::{Area, GuestTlbi, Operation, Step};
pub use program::{Failure, Program};
pub use run::{run, run_with};
pub use world::{Feature, MAX_CPUS, VmShape, World};
