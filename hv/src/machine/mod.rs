//! What the machine has, and what Droste does when it finds itself wrong.

pub(crate) mod bug;
pub(crate) mod cpu;
mod platform;
pub(crate) mod ram;

pub(crate) use platform::{init, machine, try_machine};
