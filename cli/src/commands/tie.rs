//! `droste tie`, and that of `xtask`: becomes a program that the kernel kills when the parent's thread that started it has ended.
//!
//! A process can ask for this for itself alone, and what it asked for stays when it becomes another program. Between
//! `fork` and `exec` there is no room for it without unsafe code, so that a program of its own is put between.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::Args;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::error::{Context, Error, Result};

/// What a program that starts others by [`tied`](crate::qemu::tied) has as its subcommand `tie`.
#[derive(Debug, Args)]
pub struct Tie {
    /// The number of the process that starts this one
    parent: i32,
    /// What is to be started
    #[arg(value_name = "PROGRAM")]
    program: OsString,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

impl Tie {
    /// Becomes the program.
    ///
    /// # Errors
    /// If that cannot be started, or the parent has ended.
    pub fn execute(&self) -> Result<()> {
        let name = self.program.to_string_lossy();
        set_parent_process_death_signal(Some(Signal::KILL))
            .context(|| format!("cannot tie {name} to its parent"))?;
        // A parent that had ended before that is not told.
        if getppid().is_none_or(|parent| parent.as_raw_nonzero().get() != self.parent) {
            return Err(Error::new(format!(
                "{name} is not started: its parent has ended"
            )));
        }
        let error = Command::new(&self.program).args(&self.words).exec();
        Err(error).context(|| format!("cannot start {name}"))
    }
}
