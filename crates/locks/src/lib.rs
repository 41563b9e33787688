//! Fair orders for locks: CPUs get a lock in the order in which they ask, or nearly so.
//!
//! Where a CPU waits with interrupts masked, and guests decide how often other CPUs take the lock, an unfair lock can
//! starve one CPU for ever. With [`Turns`] a CPU waits only for those that asked before it: for at most one critical
//! section of each other CPU, however often these come back.
//!
//! [`Visits`] is for locks that nobody shares and that are held briefly: there a CPU waits for at most sixteen visits
//! more, and seldom for one that stands still. Both count how often a CPU waited.
//!
//! This crate has the order alone, not the data that the lock protects. A guard over data is built from both, which
//! takes unsafe code.
//!
//! With `--cfg droste_shuttle` the atomics are those of shuttle: `tests/shuttle` runs CPUs as threads, in many
//! interleavings.

#![no_std]
#![forbid(unsafe_code)]

mod sync;
mod turns;
mod visits;

pub use turns::{Turn, Turns};
pub use visits::Visits;
