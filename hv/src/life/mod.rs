//! How VMs come to their lives and to their ends, and which vCPU has a CPU's time slice.

pub(crate) mod lifecycle;
mod rest;
pub(crate) mod sched;
