//! How VMs come to their lives and to their ends, and whose turn it is on a CPU.

pub(crate) mod lifecycle;
mod rest;
pub(crate) mod sched;
