//! What the machine has, and what Droste does when it finds itself wrong.

pub(crate) mod bug;
pub(crate) mod cpu;
pub(crate) mod end;
pub(crate) mod error;
mod platform;

pub(crate) use platform::{init, machine, try_machine, workarounds};
