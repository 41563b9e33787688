//! The command line: a verb each.

mod check;
mod image;
mod run;
mod setup;
mod tie;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::description::Overrides;
use crate::error::{Context, Result};
use crate::setup::build::workspace;

/// What `droste` is asked to do.
#[derive(Debug, Parser)]
#[command(
    name = "droste",
    version,
    about = "Run virtual machines, guests that are hypervisors included, on the Droste hypervisor.",
    long_about = "Run virtual machines, guests that are hypervisors included, on the Droste hypervisor.\n\n\
        Without a subcommand this is `droste run`, and without a description it runs examples/hypervisor.toml: Debian's \
        kernel with a small user space, on Droste, on an Arm machine that QEMU emulates. Whatever is missing (the \
        kernel, QEMU on Debian as root) is fetched first; the second time everything is there.\n\n\
        On a terminal the guest's console is yours: `poweroff` in the guest switches it off, Ctrl-A x ends QEMU. \
        Without one the guest examines its machine, reports, and switches off; the exit code says whether all went \
        well.",
    after_help = "A description is a TOML file:\n\n  \
        name = \"linux\"\n  vcpus = 2\n  memory = \"512M\"\n  kernel = \"debian:linux-image-cloud-arm64\"   # or a file\n  \
        initrd = \"debian:busybox-static\"            # or a file\n  cmdline = \"console=ttyAMA0\"\n  \
        disk = \"disk.img\"        # raw; a list for several\n  net = \"user\"\n  console = true\n  \
        on_reboot = \"restart\"    # or \"stop\"\n  \
        el2 = \"vhe\"            # the guest can be a hypervisor; or \"nvhe\"\n\n\
        Xen (kernel = \"debian:xen-system-arm64\", el2 = \"nvhe\") starts what a table [dom0] at the end says, which has \
        kernel, initrd and cmdline as well. Droste itself (kernel = \"droste:hypervisor\", el2 = \"nvhe\") runs what tables \
        [[vm]] describe.\n\n\
        Files are relative to the description. Downloads go to $DROSTE_CACHE, else ~/.cache/droste.",
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    run: run::Arguments,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run virtual machines on Droste in QEMU
    Run(run::Arguments),
    /// Say what is wrong with descriptions, and what they would run
    Check(check::Arguments),
    /// Write a boot image for a machine with Droste, or verify one
    Image(image::Arguments),
    /// Fetch and build everything that a run needs
    Setup(setup::Arguments),
    /// Become a program that dies with the process that started it
    #[command(hide = true)]
    Tie(tie::Arguments),
}

impl Cli {
    /// What the command line asks for; `None` if it was only help, which has been given then. One that makes no sense
    /// ends the process, after it was said why.
    ///
    /// # Errors
    /// If help cannot be written.
    pub fn from_command_line() -> Result<Option<Self>> {
        match Self::try_parse() {
            Ok(cli) => Ok(Some(cli)),
            Err(error) if error.use_stderr() => error.exit(),
            Err(help) => {
                let written = help.print().and_then(|()| io::stdout().flush());
                written.context(|| "cannot write to stdout".into())?;
                Ok(None)
            }
        }
    }

    /// Does what is asked.
    ///
    /// # Errors
    /// What failed and what to try.
    pub fn execute(self) -> Result<()> {
        match self.verb {
            Some(Verb::Run(arguments)) => run::execute(&arguments),
            Some(Verb::Check(arguments)) => check::execute(&arguments),
            Some(Verb::Image(arguments)) => image::execute(&arguments),
            Some(Verb::Setup(arguments)) => setup::execute(&arguments),
            Some(Verb::Tie(arguments)) => tie::execute(&arguments),
            None => run::execute(&self.run),
        }
    }
}

/// The descriptions, and what takes the place of their parts.
#[derive(Debug, Args)]
struct Vms {
    /// Descriptions of virtual machines [default: examples/hypervisor.toml]
    #[arg(value_name = "VM.toml")]
    files: Vec<PathBuf>,
    /// Boot this kernel, an arm64 Image, instead of the described one
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Use this initial RAM disk instead of the described one
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
}

impl Vms {
    /// The given descriptions, or the example.
    fn files(&self) -> Result<Vec<PathBuf>> {
        if !self.files.is_empty() {
            return Ok(self.files.clone());
        }
        let example =
            workspace().map_err(|error| error.help("or name a description: droste run VM.toml"))?;
        Ok(vec![example.join("examples/hypervisor.toml")])
    }

    /// The files that the command line names.
    fn named(&self) -> impl Iterator<Item = &Path> {
        let overrides = self.kernel.iter().chain(&self.initrd);
        self.files.iter().chain(overrides).map(PathBuf::as_path)
    }

    fn overrides(&self) -> Overrides {
        Overrides {
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_the_verb_that_need_not_be_said() {
        let cli = Cli::try_parse_from(["droste", "--smp", "4", "vm.toml"]).expect("parsed");
        assert!(cli.verb.is_none());
        let cli = Cli::try_parse_from(["droste", "run", "vm.toml"]).expect("parsed");
        assert!(matches!(cli.verb, Some(Verb::Run(_))));
        assert!(Cli::try_parse_from(["droste", "--no-such-flag"]).is_err());
    }

    #[test]
    fn help_teaches_the_description_and_the_keys() {
        let help = Cli::command().render_long_help().to_string();
        for word in [
            "memory = \"512M\"",
            "Ctrl-A x",
            "check",
            "setup",
            "DROSTE_CACHE",
            "poweroff",
        ] {
            assert!(help.contains(word), "{word}");
        }
    }

    #[test]
    fn an_image_is_written_or_verified_not_both() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["droste", "image"], words].concat());
        assert!(parse(&["a.toml", "-o", "out"]).is_ok());
        assert!(parse(&["--verify", "out"]).is_ok());
        assert!(parse(&["a.toml"]).is_err());
        assert!(parse(&["a.toml", "-o", "out", "--verify", "x"]).is_err());
    }
}
