//! `droste check`: what is wrong with descriptions, and what they would run.

use std::path::PathBuf;

use clap::Args;

use crate::description::{Overrides, report};
use crate::error::Result;
use crate::plan::{Plan, summary};
use crate::say;
use crate::setup::cache::Cache;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Descriptions of virtual machines that are to run together
    #[arg(value_name = "VM.toml", required = true)]
    files: Vec<PathBuf>,
}

pub(super) fn execute(arguments: &Arguments) -> Result<()> {
    let examined = Plan::examine(
        Cache::found().as_ref(),
        &arguments.files,
        &Overrides::default(),
    );
    report(&examined.diagnostics)?;
    for vm in &examined.vms {
        say::result(&summary(vm))?;
    }
    for warning in &examined.warnings {
        say::aside(&format!("warning: {warning}"));
    }
    Ok(())
}
