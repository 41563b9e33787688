//! A fair order for locks: CPUs get a lock nearly in the order in which they ask, those that share it together.
//!
//! Where a CPU waits with interrupts masked, and guests decide how often other CPUs take the lock, an unfair lock can
//! starve one CPU for ever. With [`Visits`] a CPU finds at most a number of times, which the lock has, that others were in
//! before it, and then waits for one critical section of each other CPU, however often these come back; and seldom for a
//! CPU that stands still. It counts how often a CPU waited.
//!
//! This crate has the order alone, not the data that the lock protects. A guard over data is built from it, which
//! takes unsafe code.
//!
//! With `--cfg droste_shuttle` the atomics are those of shuttle: `tests/shuttle` runs CPUs as threads, in many
//! interleavings.

#![no_std]
#![forbid(unsafe_code)]

mod sync;
mod visits;

pub use visits::{Turn, Visits};
