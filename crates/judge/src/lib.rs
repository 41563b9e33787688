//! Judges the stage 2 of any hypervisor by what is seen of it: from instructions to events, and from events to findings.
//!
//! A [`Recorder`] is told by whoever sees the machine (a plugin in QEMU) what EL2 executes, and writes [`Event`]s. A
//! [`Judge`] reads them, in another process or later, and holds a [`Watch`](droste_mmu_model::Watch) to them. Only facts are
//! recorded; every rule is the model's.
//!
//! What is left out: EL2's own regime, stage 1 of guests, the SMMU, AArch32, stores by DMA until a table is linked again.

#![forbid(unsafe_code)]

pub mod decode;
mod event;
mod judge;
mod machine;
mod record;
mod report;
mod stack;
mod symbols;

pub use droste_mmu_model::MAX_CPUS;
pub use event::{Event, Kind};
pub use judge::{Judge, Numbered, Told};
pub use machine::{MOST_BYTES, Machine};
pub use record::{Loaded, Ram, Recorder, Sight, Store, Watched, Who};
pub use report::{Ignored, Report};
pub use stack::{Memory, Record};
pub use symbols::Symbols;
