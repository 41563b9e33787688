//! The console, which all VMs share: output, input, and what Droste says of itself.

pub(crate) mod complaints;
pub(crate) mod keyboard;
pub(crate) mod logger;
pub(crate) mod report;
pub(crate) mod terminal;
