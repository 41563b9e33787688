//! `droste setup`: everything that a run needs, fetched and built.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::Result;
use crate::say;
use crate::setup::Setup;
use crate::setup::guest::KERNEL_PACKAGE;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Use this QEMU instead of the one on the path
    #[arg(long, value_name = "PATH")]
    qemu: Option<PathBuf>,
}

pub(super) fn execute(arguments: &Arguments) -> Result<()> {
    let setup = Setup::new()?;
    let told = |what: &str, path: &Path| say::result(&format!("{what:<12}{}", path.display()));
    told("cache", setup.cache().root())?;
    told("QEMU", &setup.qemu(arguments.qemu.as_deref())?)?;
    let kernel = setup.kernel(KERNEL_PACKAGE)?;
    told("kernel", &kernel.image())?;
    told("RAM disk", &setup.initrd(Some(&kernel))?)?;
    told("hypervisor", &setup.hypervisor()?)?;
    Ok(())
}
