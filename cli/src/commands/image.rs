//! `droste image`: a boot image for a machine with Droste.

use std::io::{IsTerminal as _, stdout};
use std::path::PathBuf;

use clap::Args;

use super::Vms;
use crate::error::{Context, Error, Result};
use crate::output::Output;
use crate::plan::{Plan, Words};
use crate::setup::Setup;
use crate::{files, say};

#[derive(Debug, Args)]
#[command(
    after_help = "A boot loader starts the hypervisor's flat image, whose place `droste setup` prints, as it would a Linux \
        kernel, and passes the boot image where it would an initial RAM disk: -kernel and -initrd of QEMU, the second \
        argument of U-Boot's booti. `droste run --dry-run` prints the whole command for QEMU."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    vms: Vms,
    /// Add words to the guests' command lines
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    append: Option<String>,
    /// Write the boot image to this file, or to stdout (-); disk and net become the transports of QEMU's machine `virt`
    #[arg(short, long, value_name = "FILE", required_unless_present = "verify")]
    output: Option<PathBuf>,
    /// Verify the checksums of this boot image instead of writing one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "files", "kernel", "initrd", "append"])]
    verify: Option<PathBuf>,
}

pub(super) fn execute(arguments: &Arguments) -> Result<()> {
    if let Some(file) = &arguments.verify {
        let bytes = files::read(file)?;
        droste_image::verify(&bytes)
            .context(|| format!("{} is not a good boot image", file.display()))?;
        say::result(&format!("{}: every checksum is right", file.display()))?;
    }
    if let Some(file) = &arguments.output {
        write(arguments, &Output::open(file)?)?;
    }
    Ok(())
}

fn write(arguments: &Arguments, output: &Output) -> Result<()> {
    if output.is_stdout() && stdout().is_terminal() {
        return Err(Error::new("a boot image is nothing for a terminal")
            .help("name a file, or pass it on: droste image VM.toml -o - | PROGRAM"));
    }
    output.refuse(arguments.vms.named())?;
    let plan = Plan::prepare(
        &Setup::new()?,
        &arguments.vms.files()?,
        &arguments.vms.overrides(),
    )?;
    output.refuse(plan.files())?;
    let image = plan.image(&Words {
        append: arguments.append.clone(),
        ..Words::default()
    })?;
    output.write(&image)?;
    let told = format!("{}: {} bytes", output.name(), image.len());
    if output.is_stdout() {
        say::aside(&told);
        return Ok(());
    }
    say::result(&told)
}
