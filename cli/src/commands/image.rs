//! `droste image`: a boot image for a machine with Droste.

use std::path::PathBuf;

use clap::Args;

use super::Vms;
use crate::error::{Context, Result};
use crate::files;
use crate::plan::{Plan, Words};
use crate::setup::Setup;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    vms: Vms,
    /// Add words to the guests' command lines
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    append: Option<String>,
    /// Write the boot image to this file; disk and net become the transports of QEMU's machine `virt`
    #[arg(short, long, value_name = "FILE", required_unless_present = "verify")]
    output: Option<PathBuf>,
    /// Verify the checksums of this boot image instead of writing one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "files", "kernel", "initrd", "append"])]
    verify: Option<PathBuf>,
}

pub(super) fn execute(arguments: &Arguments) -> Result<()> {
    if let Some(file) = &arguments.verify {
        let bytes = files::read(file)?;
        droste_image::verify(&bytes).context(|| format!("{} is damaged", file.display()))?;
        println!("{}: every checksum is right", file.display());
    }
    if let Some(file) = &arguments.output {
        let plan = Plan::prepare(
            &Setup::new()?,
            &arguments.vms.files()?,
            &arguments.vms.overrides(),
        )?;
        let image = plan.image(&Words {
            self_report: false,
            append: arguments.append.clone(),
        })?;
        files::write(file, &image)?;
        println!("{}: {} bytes", file.display(), image.len());
    }
    Ok(())
}
