//! `droste setup`: everything that a run needs, fetched and built. The same run needs no network then.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Vms;
use crate::error::Result;
use crate::plan::Plan;
use crate::say;
use crate::setup::Setup;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    vms: Vms,
    /// Use this QEMU instead of the one on the path
    #[arg(long, value_name = "PATH")]
    qemu: Option<PathBuf>,
}

pub(super) fn execute(arguments: &Arguments) -> Result<()> {
    let setup = Setup::new()?;
    let told = |what: &str, path: &Path| say::result(&format!("{what:<12}{}", path.display()));
    told("cache", setup.cache().root())?;
    told("QEMU", &setup.qemu(arguments.qemu.as_deref())?)?;
    told("hypervisor", &setup.hypervisor()?)?;
    let plan = Plan::prepare(&setup, &arguments.vms.files()?, &arguments.vms.overrides())?;
    for vm in plan.vms() {
        say::result(&format!("{}:", vm.name()))?;
        for (what, file) in vm.files() {
            told(&format!("  {what}"), file)?;
        }
    }
    Ok(())
}
