//! An executable, hostile model of the 64-bit Arm MMU and its TLBs, which judges stage-2 code.
#![forbid(unsafe_code)]

mod access;
mod change;
mod config;
mod cpu;
mod descriptor;
mod ghost;
mod guest;
mod maintenance;
mod memory;
mod model;
mod regime;
mod stage1;
mod tag;
mod text;
mod tlbi;
mod trace;
mod tree;
mod violation;

pub use access::{Access, Allowed, Effect, FaultKind, Outcome, Outcomes, Source};
pub use config::{Bbm, Config, Features, MAX_CPUS, Recording, Speculation, Stage1};
pub use cpu::Vcpu;
pub use descriptor::{AccessKind, Malformed};
pub use model::Model;
pub use regime::RegisterFault;
pub use stage1::{Space, Stage1Entry, Tagging};
pub use tlbi::{Completion, Form, OperandFault, Scope, Tlbi};
pub use trace::{ParseError, Trace, replay, shrink};
pub use violation::{Entry, Missing, Misuse, Rule, Violation};
