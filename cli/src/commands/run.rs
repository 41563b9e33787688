//! `droste run`: virtual machines on Droste in QEMU.

use std::io::{IsTerminal as _, stdin};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::Vms;
use crate::error::{Context, Result};
use crate::log::Files;
use crate::output::Output;
use crate::plan::{Plan, Terminal, Words};
use crate::qemu::{CPU, Machine, SELF};
use crate::record::{Nonce, Record};
use crate::run::{End, Ended, Keyboard, LEFT, Terms, run};
use crate::setup::Setup;
use crate::{files, say};

/// The limit of a run without a terminal, in seconds: nobody is there to end it.
const UNATTENDED_LIMIT: u64 = 600;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) vms: Vms,
    /// Add words to the guests' command lines
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    append: Option<String>,
    /// Add words to Droste's own command line; docs/machine.md lists what it knows
    #[arg(long, value_name = "WORDS")]
    droste_append: Vec<String>,
    /// Use this QEMU instead of the one on the path
    #[arg(long, value_name = "PATH")]
    qemu: Option<PathBuf>,
    /// Use this flat image of the hypervisor instead of building it
    #[arg(long, value_name = "FILE")]
    hypervisor: Option<PathBuf>,
    /// The processor that QEMU emulates
    #[arg(long, default_value = CPU)]
    cpu: String,
    /// Processors of the machine [default: 2, or the most vCPUs of a virtual machine, as far as this host has them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    smp: Option<u32>,
    /// Write a record of the run to this file, or to stdout (-), however the run ends
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write what each virtual machine says to a file of its own in this directory
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// Print counts of exits every so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..), num_args = 0..=1, require_equals = true, default_missing_value = "10")]
    stats: Option<u32>,
    /// Stop a virtual machine that resets, whatever its description says; without a terminal this is always so
    #[arg(long)]
    no_reboot: bool,
    /// End the run after so many seconds [default: 600 without a terminal, else none]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// Print QEMU's command line
    #[arg(short, long)]
    verbose: bool,
    /// Print QEMU's command line and do not start it
    #[arg(long)]
    dry_run: bool,
}

impl Arguments {
    /// The files that the command line names.
    fn named(&self) -> impl Iterator<Item = &Path> {
        let own = self.qemu.iter().chain(&self.hypervisor);
        self.vms.named().chain(own.map(PathBuf::as_path))
    }

    /// What the hypervisor is told.
    fn hypervisor_words(&self, nonce: &Nonce, keyboard: Keyboard) -> String {
        let mut words = vec![format!("droste.report={nonce}")];
        words.extend(self.stats.map(|seconds| format!("droste.stats={seconds}")));
        if self.no_reboot || keyboard == Keyboard::None {
            words.push("droste.no-reboot".into());
        }
        words.extend(self.droste_append.iter().cloned());
        words.join(" ")
    }

    fn limit(&self, keyboard: Keyboard) -> Option<Duration> {
        let unattended = (keyboard == Keyboard::None).then_some(UNATTENDED_LIMIT);
        self.timeout.or(unattended).map(Duration::from_secs)
    }
}

pub(super) fn execute(arguments: &Arguments) -> Result<()> {
    let json = arguments.json.as_deref().map(Output::open).transpose()?;
    refuse(json.as_ref(), || arguments.named())?;
    let keyboard = if stdin().is_terminal() {
        Keyboard::Terminal
    } else {
        Keyboard::None
    };
    let setup = Setup::new()?;
    let plan = Plan::prepare(&setup, &arguments.vms.files()?, &arguments.vms.overrides())?;
    refuse(json.as_ref(), || plan.files())?;
    let names = || plan.names().map(String::from).collect();
    let log = arguments.log.as_deref().filter(|_| !arguments.dry_run);
    let log = log.map(|dir| Files::open(dir, names())).transpose()?;
    for output in log.iter().flat_map(Files::outputs) {
        refuse(Some(output), || arguments.named().chain(plan.files()))?;
        json.as_ref()
            .map_or(Ok(()), |json| json.refuse_other(output))?;
    }
    let started = start(
        arguments,
        &setup,
        &plan,
        keyboard,
        json.as_ref(),
        log.as_ref(),
    );
    if arguments.dry_run {
        return started.map(|_| ());
    }
    // What failed on the way is an end as well, of which programs learn.
    let ended = started.unwrap_or_else(|error| Ended {
        record: None,
        end: End::Failed(error),
    });
    let verdict = ended.verdict();
    if ended.end == End::Left {
        say::aside(&format!("droste: {LEFT}"));
    }
    let written = json.map_or(Ok(()), |json| {
        json.write(ended.report(plan.names()).to_json().as_bytes())
    });
    match (verdict, written) {
        (Err(error), Err(unwritten)) => {
            say::aside(&format!("error: {unwritten}"));
            Err(error)
        }
        (verdict, written) => verdict.and(written),
    }
}

/// Refuses an output that is one of the inputs.
fn refuse<'a, I: Iterator<Item = &'a Path>>(
    output: Option<&Output>,
    inputs: impl FnOnce() -> I,
) -> Result<()> {
    output.map_or(Ok(()), |output| output.refuse(inputs()))
}

/// Brings the parts, and runs the machine until it ends.
fn start(
    arguments: &Arguments,
    setup: &Setup,
    plan: &Plan,
    keyboard: Keyboard,
    json: Option<&Output>,
    log: Option<&Files>,
) -> Result<Ended> {
    let words = Words {
        self_report: keyboard == Keyboard::None,
        terminal: (keyboard == Keyboard::Terminal).then(own_terminal),
        append: arguments.append.clone(),
    };
    let image = plan.image(&words)?;
    let nonce = Nonce::random()?;
    let mut machine = Machine::new(
        setup.qemu(arguments.qemu.as_deref())?,
        hypervisor(setup, arguments)?,
    );
    machine.cpu.clone_from(&arguments.cpu);
    machine.cpus = arguments.smp.unwrap_or(plan.machine_cpus(processors()));
    machine.memory_mib = plan.machine_memory_mib(image.len());
    machine.append = arguments.hypervisor_words(&nonce, keyboard);
    machine.devices = plan.devices();
    machine.has_seeds = true;
    let dir = ImageDir::new(setup, arguments.dry_run)?;
    machine.initrd = Some(dir.file());
    files::write(&dir.file(), &image)?;
    if arguments.dry_run {
        say::result(&machine.shell_line())?;
        return Ok(Ended {
            record: None,
            end: End::Reported,
        });
    }
    if arguments.verbose {
        say::aside(&machine.shell_line());
    }
    // The record of an earlier run must not pass for this one's, however this one ends.
    if let Some(json) = json {
        let unknown = Record::of_nothing(plan.names()).ended("unknown", "the run has not ended");
        json.announce(unknown.to_json().as_bytes())?;
    }
    // By its name in /proc this very program is found even if it has been built anew meanwhile.
    let command = machine.command(SELF);
    let mut known = plan.warnings().to_vec();
    known.extend(plan.turns(arguments.smp));
    for warning in &known {
        say::aside(&format!("droste: warning: {warning}"));
    }
    known.extend(slow(machine.cpus, processors()));
    if keyboard == Keyboard::Terminal {
        say::aside("droste: Ctrl-A x ends QEMU; Ctrl-] ? tells Droste's keys");
    }
    let terms = Terms {
        nonce: &nonce,
        keyboard,
        limit: arguments.limit(keyboard),
        known,
        log: log.map(Files::start).transpose()?,
    };
    run(command, terms)
}

/// The terminal at which somebody sits.
fn own_terminal() -> Terminal {
    let size = rustix::termios::tcgetwinsize(stdin());
    let (rows, columns) = size.map_or((0, 0), |size| (size.ws_row, size.ws_col));
    Terminal::new(std::env::var("TERM").ok(), rows, columns)
}

/// Processors of this host.
fn processors() -> u32 {
    let found = std::thread::available_parallelism();
    found.map_or(1, |found| u32::try_from(found.get()).unwrap_or(u32::MAX))
}

/// What there is to know of a machine with many more processors than its host.
fn slow(cpus: u32, host: u32) -> Option<String> {
    (cpus > host.saturating_mul(2)).then(|| {
        format!("the machine has {cpus} processors where this host has {host}: they wait for each other; take fewer (--smp)")
    })
}

fn hypervisor(setup: &Setup, arguments: &Arguments) -> Result<PathBuf> {
    let Some(file) = &arguments.hypervisor else {
        return setup.hypervisor();
    };
    let bytes = files::read(file)?;
    droste_image::kernel::Header::parse(&bytes)
        .context(|| format!("{} is not the hypervisor's flat image", file.display()))?;
    Ok(file.clone())
}

/// Where the boot image of a run lies.
enum ImageDir {
    /// A directory that vanishes with the run.
    Run(tempfile::TempDir),
    /// A directory that stays, so that the printed command works.
    DryRun(PathBuf),
}

impl ImageDir {
    fn new(setup: &Setup, is_dry: bool) -> Result<Self> {
        if is_dry {
            let dir = setup.cache().root().join("dry-run");
            files::make_dir(&dir)?;
            return Ok(Self::DryRun(dir));
        }
        setup.cache().remove_abandoned();
        setup.cache().run_dir().map(Self::Run)
    }

    fn file(&self) -> PathBuf {
        match self {
            Self::Run(dir) => dir.path(),
            Self::DryRun(dir) => dir,
        }
        .join("vms.img")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(words: &[&str]) -> Arguments {
        Only::try_parse_from([&["droste"], words].concat())
            .expect("parsed")
            .arguments
    }

    fn told(words: &[&str], keyboard: Keyboard) -> String {
        parse(words).hypervisor_words(&Nonce::new(1), keyboard)
    }

    #[test]
    fn the_hypervisor_is_told_what_was_asked() {
        let attended = Keyboard::Terminal;
        assert_eq!(told(&[], attended), "droste.report=0000000000000001");
        assert_eq!(
            told(&["--stats"], attended),
            "droste.report=0000000000000001 droste.stats=10"
        );
        assert_eq!(
            told(&["--stats=3"], attended),
            "droste.report=0000000000000001 droste.stats=3"
        );
        assert_eq!(
            told(&["--no-reboot"], attended),
            "droste.report=0000000000000001 droste.no-reboot"
        );
        assert_eq!(
            told(
                &["--droste-append", "a b", "--droste-append", "c"],
                attended
            ),
            "droste.report=0000000000000001 a b c"
        );
    }

    #[test]
    fn a_machine_that_its_host_cannot_carry_is_told_of() {
        assert_eq!(slow(4, 2), None);
        assert!(slow(5, 2).is_some_and(|told| told.contains("5 processors where this host has 2")));
    }

    #[test]
    fn without_a_terminal_a_reset_ends_the_run() {
        assert_eq!(
            told(&[], Keyboard::None),
            "droste.report=0000000000000001 droste.no-reboot"
        );
    }

    #[test]
    fn a_run_that_nobody_watches_has_a_limit() {
        assert_eq!(parse(&[]).limit(Keyboard::Terminal), None);
        assert_eq!(
            parse(&[]).limit(Keyboard::None),
            Some(Duration::from_mins(10))
        );
        assert_eq!(
            parse(&["--timeout", "5"]).limit(Keyboard::None),
            Some(Duration::from_secs(5))
        );
        assert_eq!(
            parse(&["--timeout", "5"]).limit(Keyboard::Terminal),
            Some(Duration::from_secs(5))
        );
    }

    #[test]
    fn appended_words_may_start_with_a_dash() {
        assert_eq!(
            parse(&["--append", "-- init=/bin/sh"]).append.as_deref(),
            Some("-- init=/bin/sh")
        );
    }

    #[test]
    fn statistics_do_not_swallow_a_description() {
        let arguments = parse(&["--stats", "vm.toml"]);
        assert_eq!((arguments.stats, arguments.vms.files.len()), (Some(10), 1));
    }
}
