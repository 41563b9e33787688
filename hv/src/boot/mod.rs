//! From the first line of Rust under stage 1 to the first guest.

mod cpus;
mod primary;
mod refusal;
mod vms;
