//! Trials: random and exhaustive programs that drive [`droste_stage2`] and [`droste_nested`] against
//! [`droste_mmu_model`].
//!
//! They come in two wings: [`stage2`] for the memory of virtual machines, [`nested`] for guests that are hypervisors;
//! [`devices`] has a virtual machine that devices reach. A
//! [`Program`] is a world and a list of operations in it, a value that is made up or written down. To run one is to have
//! the library's code work on the model's CPUs while judges look on. A [`Failure`] names the rule, the step, and the program
//! as text; [`shrink`] makes it small, and the text runs again.

#![forbid(unsafe_code)]

mod choices;
pub mod devices;
mod failure;
pub mod nested;
mod program;
mod sabotage;
mod shrink;
pub mod stage2;
mod stopwatch;
mod supply;
mod syndrome;
mod text;

pub use choices::Choices;
pub use failure::{End, Failure, Problem, Report};
pub use program::{Program, Setting};
pub use sabotage::{Sabotage, Verb};
pub use shrink::shrink;
pub use stopwatch::Stopwatch;
pub use supply::Pool;
pub use text::ParseError;
