//! The order in which CPUs get a lock that some share and others have alone: that in which they came.
//!
//! Where a CPU waits with interrupts masked, and guests decide how often others take the lock, a lock that goes to
//! whoever is lucky can be kept from one CPU for ever. By [`Turns`] a CPU waits for those who came before it and for
//! nobody else: at most one visit of each other CPU, however often these come again.
//!
//! [`Visits`] is for locks that nobody shares and that are held for short: there a CPU waits for at most sixteen visits more, and
//! for none that stands still. Both count how often a CPU waited.
//!
//! This is the order alone, without the data: whoever wants a guard over some puts both together, which takes unsafe code.
//!
//! With `--cfg droste_shuttle` atomics are those of shuttle: `tests/shuttle` tries CPUs as threads, in many orders.

#![no_std]
#![forbid(unsafe_code)]

mod sync;
mod turns;
mod visits;

pub use turns::{Turn, Turns};
pub use visits::Visits;
