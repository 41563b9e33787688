//! The library behind the command `droste`: descriptions of virtual machines, set-up, boot images, and QEMU.
//!
//! Tests and tools use it to boot the hypervisor as a user would: [`setup::Setup`] brings the parts, [`qemu::Machine`]
//! writes the command line, and [`qemu::Session`] talks to a guest's console under a deadline.

#![forbid(unsafe_code)]
// A print that fails panics; `say` and `output` tell.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod child;
mod commands;
pub mod description;
mod error;
pub mod files;
mod judged;
mod last_words;
pub mod log;
pub mod output;
pub mod plan;
pub mod progress;
pub mod qemu;
pub mod record;
pub mod run;
pub mod say;
pub mod setup;
mod silence;
mod stress;
mod terminal;

pub use commands::{Cli, Tie};
pub use error::{Context, Error, Result};
