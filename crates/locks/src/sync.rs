//! What CPUs share: atomics; and what one does while it waits.
//!
//! With `--cfg droste_shuttle` they are those of shuttle, which tries interleavings of threads in tests.

#[cfg(not(droste_shuttle))]
pub(crate) use core::{
    hint::spin_loop as wait,
    sync::atomic::{AtomicU32, Ordering},
};
#[cfg(droste_shuttle)]
pub(crate) use shuttle::{
    hint::spin_loop as wait,
    sync::atomic::{AtomicU32, Ordering},
};
