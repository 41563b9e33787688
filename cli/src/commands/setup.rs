//! `droste setup`: everything that a run needs, fetched and built.

use std::path::PathBuf;

use clap::Args;

use crate::error::Result;
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
    println!("cache       {}", setup.cache().root().display());
    println!(
        "QEMU        {}",
        setup.qemu(arguments.qemu.as_deref())?.display()
    );
    let kernel = setup.kernel(KERNEL_PACKAGE)?;
    println!("kernel      {}", kernel.image().display());
    println!("RAM disk    {}", setup.initrd(Some(&kernel))?.display());
    println!("hypervisor  {}", setup.hypervisor()?.display());
    Ok(())
}
