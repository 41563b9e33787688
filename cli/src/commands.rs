//! The command line: a verb each.

mod check;
mod clean;
mod image;
mod judge;
mod run;
mod setup;
mod tie;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::description::Overrides;
use crate::error::{Context, Error, Result};
use crate::say;
use crate::setup::build::workspace;

pub use tie::Tie;

/// The exit code of a command line that makes no sense; clap's is the same.
const USAGE: i32 = 2;

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
        disk = \"disk.img\"      # raw; or a list of several\n  \
        # disk = { file = \"a.qcow2\", format = \"qcow2\", readonly = true }\n  \
        net = \"user\"           # or { user = true, forward = [\"2222:22\"] }, { switch = \"lan\" }, or a list\n  console = true\n  \
        on_reboot = \"restart\"  # or \"stop\"\n  \
        el2 = \"vhe\"            # the guest can be a hypervisor; or \"nvhe\"; or \"none\"\n  \
        # modules = \"DIR\"      # of a kernel of your own, with debian:busybox-static\n\n\
        Xen (kernel = \"debian:xen-system-arm64\", el2 = \"nvhe\") starts what a table [dom0] at the end says, which has \
        kernel, initrd and cmdline as well. Droste itself (kernel = \"droste:hypervisor\", el2 = \"nvhe\") runs what tables \
        [[vm]] at the end describe; such a table has name, vcpus, memory, kernel, initrd, cmdline, console and on_reboot, \
        and no el2, disk or net: what runs inside Droste in Droste has neither an EL2 nor devices.\n\n\
        Files are relative to the description. Downloads go to $DROSTE_CACHE, else $XDG_CACHE_HOME/droste, else \
        ~/.cache/droste; `droste clean` removes them.",
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
    /// Judge the stage 2 of any hypervisor in QEMU
    Judge(judge::Arguments),
    /// Fetch and build everything that a run needs
    Setup(setup::Arguments),
    /// Remove everything that was downloaded and built into the cache
    Clean(clean::Arguments),
    /// Become a program that dies with the process that started it
    #[command(hide = true)]
    Tie(Tie),
}

impl Cli {
    /// What the command line asks for; `None` if it was only help, which has been given then. One that makes no sense
    /// ends the process, after it was said why.
    ///
    /// # Errors
    /// If help cannot be written.
    pub fn from_command_line() -> Result<Option<Self>> {
        match Self::try_parse_from(joined(std::env::args_os())) {
            Ok(cli) => match cli.misspelt() {
                None => Ok(Some(cli)),
                Some(error) => {
                    say::aside(&format!("error: {error}"));
                    std::process::exit(USAGE);
                }
            },
            Err(error) if error.use_stderr() => error.exit(),
            Err(help) => {
                let written = help.print().and_then(|()| io::stdout().flush());
                written.context(|| "cannot write to stdout".into())?;
                Ok(None)
            }
        }
    }

    /// What is said of a first word that is no description, and is nearly a verb.
    fn misspelt(&self) -> Option<Error> {
        match &self.verb {
            None => misspelt(self.run.vms.files.first()?),
            Some(_) => None,
        }
    }

    /// Does what is asked. An answer that is neither success nor failure is the exit code's.
    ///
    /// # Errors
    /// What failed and what to try.
    pub fn execute(self) -> Result<ExitCode> {
        let done = match self.verb {
            Some(Verb::Judge(arguments)) => return Ok(judge::execute(&arguments)),
            Some(Verb::Run(arguments)) => run::execute(&arguments),
            Some(Verb::Check(arguments)) => check::execute(&arguments),
            Some(Verb::Image(arguments)) => image::execute(&arguments),
            Some(Verb::Setup(arguments)) => setup::execute(&arguments),
            Some(Verb::Clean(_)) => clean::execute(),
            Some(Verb::Tie(tie)) => tie.execute(),
            None => run::execute(&self.run),
        };
        done.map(|()| ExitCode::SUCCESS)
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

/// What is said of a word that is no description, and is nearly a verb.
fn misspelt(word: &Path) -> Option<Error> {
    let name = word.to_str().filter(|_| !word.exists())?;
    let verbs = Cli::command();
    let verbs = verbs.get_subcommands().filter(|verb| !verb.is_hide_set());
    let distance = |verb: &clap::Command| strsim::damerau_levenshtein(name, verb.get_name());
    let nearest = verbs.min_by_key(|verb| distance(verb))?;
    let verb = nearest.get_name();
    (distance(nearest) <= 2 && !name.contains(['.', '/'])).then(|| {
        Error::new(format!("{name} is neither a command nor a file"))
            .help(format!("did you mean droste {verb}?"))
    })
}

/// The words of a command line, of which those of an option with a value of its own choice are one word each: `--stats 5`
/// is `--stats=5`, which cannot be a description.
fn joined(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let is_number = |word: &OsString| {
        let word = word.to_str().unwrap_or_default();
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut joined: Vec<OsString> = Vec::new();
    for word in words {
        match joined.last_mut() {
            Some(last) if *last == "--stats" && is_number(&word) => {
                last.push("=");
                last.push(word);
            }
            _ => joined.push(word),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_verb_that_is_nearly_right_is_guessed() {
        for (word, verb) in [("rnu", "run"), ("chek", "check"), ("images", "image")] {
            let error = misspelt(Path::new(word)).expect("guessed").to_string();
            assert!(
                error.ends_with(&format!("did you mean droste {verb}?")),
                "{error}"
            );
        }
        for other in ["linux", "run.toml", "./rnu"] {
            assert_eq!(misspelt(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn the_seconds_of_statistics_may_stand_apart() {
        let joined = |words: &[&str]| joined(words.iter().map(OsString::from));
        assert_eq!(
            joined(&["run", "--stats", "5", "7"]),
            ["run", "--stats=5", "7"]
        );
        assert_eq!(joined(&["--stats", "vm.toml"]), ["--stats", "vm.toml"]);
        assert_eq!(joined(&["--stats=3", "5"]), ["--stats=3", "5"]);
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
