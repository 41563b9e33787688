//! `droste judge`: holds the stage 2 of a hypervisor in QEMU to the architecture.

mod meter;

use std::ffi::OsString;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum, value_parser};
use droste_judge::{Event, Ignored, Judge, Machine, Report, Symbols};
use meter::Meter;
use object::{Object as _, ObjectSymbol as _, SymbolKind};

use crate::error::{Context, Error, Result};
use crate::judged;
use crate::output::Output;
use crate::setup::build::{build_recorder, workspace};
use crate::setup::guest::KERNEL_PACKAGE;
use crate::stress::{self, Stress};
use crate::{files, say};

#[derive(Debug, Args)]
#[command(
    override_usage = "droste judge [OPTIONS] -- QEMU...\n       droste judge [OPTIONS] --stress kvm\n       droste judge \
                      [OPTIONS] TRACE",
    after_help = "The exit code is 0 if nothing was found, 1 if something was, and 2 if nothing can be said: QEMU failed, the \
                  trace broke off, or no guest was entered.\n\nQEMU's machine must be virt, emulated, with a thread for each \
                  CPU. Its streams are those of droste judge; a report for people goes to stderr."
)]
pub(super) struct Arguments {
    /// Judge a trace that was kept, and start nothing
    #[arg(
        value_name = "TRACE",
        conflicts_with_all = ["qemu", "stress"],
        required_unless_present_any = ["qemu", "stress"]
    )]
    file: Option<PathBuf>,
    /// Keep what QEMU tells, to be judged again
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    trace: Option<PathBuf>,
    /// Name functions by this ELF file, System.map or output of nm
    #[arg(long, value_name = "FILE")]
    symbols: Option<PathBuf>,
    /// The code runs this much further up than FILE of --symbols says, in hexadecimal
    #[arg(long, value_name = "BYTES", value_parser = hexadecimal, requires = "symbols")]
    symbols_offset: Option<u64>,
    /// Write what was found, for programs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write what was found, for programs that know SARIF 2.1.0
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
    /// Write what was found as a page for a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Pass over findings of which this file has the keys
    #[arg(long, value_name = "FILE")]
    ignore: Option<PathBuf>,
    /// Judge a hypervisor whose guests' memory is changed in many ways while they run
    #[arg(long, value_name = "HYPERVISOR", conflicts_with = "qemu")]
    stress: Option<Stressed>,
    /// The kernel for --stress, an arm64 Image or debian:PACKAGE[@SUITE] [default: Debian's stable]
    #[arg(
        long,
        value_name = "KERNEL",
        requires = "stress",
        conflicts_with = "file"
    )]
    kernel: Option<String>,
    /// More words for that kernel's command line, such as kvm-arm.mode=nvhe
    #[arg(
        long,
        value_name = "WORDS",
        requires = "stress",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    append: Option<String>,
    /// CPUs of the machine for --stress [default: 2]
    #[arg(long, value_name = "NUMBER", requires = "stress", conflicts_with = "file", value_parser = value_parser!(u32).range(1..=32))]
    cpus: Option<u32>,
    /// How often --stress changes something [default: 200]
    #[arg(long, value_name = "NUMBER", requires = "stress", conflicts_with = "file", value_parser = value_parser!(u32).range(1..=1_000_000))]
    rounds: Option<u32>,
    /// QEMU and its arguments
    #[arg(last = true, value_name = "QEMU")]
    qemu: Vec<OsString>,
}

/// What can be stressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Stressed {
    /// Linux with KVM
    Kvm,
}

impl Arguments {
    /// What is to be stressed, if anything is.
    fn stress(&self) -> Option<Stress> {
        match self.stress? {
            Stressed::Kvm => Some(Stress {
                kernel: self
                    .kernel
                    .clone()
                    .unwrap_or_else(|| format!("debian:{KERNEL_PACKAGE}")),
                append: self.append.clone().unwrap_or_default(),
                cpus: self.cpus.unwrap_or(2),
                rounds: self.rounds.unwrap_or(200),
                vms: 2,
                vcpus: 2,
            }),
        }
    }
}

fn hexadecimal(text: &str) -> std::result::Result<u64, std::num::ParseIntError> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16)
}

/// Nothing can be said.
const UNJUDGED: u8 = 2;

/// Gives the exit code. What goes wrong is said here: it is none of the two answers.
pub(super) fn execute(arguments: &Arguments) -> ExitCode {
    match judge(arguments) {
        Ok(code) => code,
        Err(error) => {
            say::aside(&format!("error: {error}"));
            ExitCode::from(UNJUDGED)
        }
    }
}

fn judge(arguments: &Arguments) -> Result<ExitCode> {
    let outputs = Outputs::open(arguments)?;
    let symbols = symbols(arguments)?;
    let ignored = match &arguments.ignore {
        Some(file) => Ignored::parse(&text(file)?),
        None => Ignored::default(),
    };
    let (judge, failure) = match &arguments.file {
        Some(file) => (read(file)?, None),
        None => match arguments.stress() {
            Some(stress) => watch_stressed(&stress, outputs.trace.as_ref())?,
            None => watch(&arguments.qemu, outputs.trace.as_ref())?,
        },
    };
    let report = Report::new(&judge, &symbols, &ignored);
    let written = outputs.write(&report);
    let said = report.text();
    // Stdout is QEMU's, or a program reads it.
    if arguments.file.is_none() || outputs.reports().any(Output::is_stdout) {
        say::aside(said.trim_end());
    } else {
        say::result(said.trim_end())?;
    }
    // People are told what was found, even if programs are not.
    written?;
    if !report.is_clean() {
        return Ok(ExitCode::FAILURE);
    }
    let doubt = failure.or_else(|| report.doubt().map(Error::new));
    doubt.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Where a trace and reports for programs go.
struct Outputs {
    trace: Option<Output>,
    json: Option<Output>,
    sarif: Option<Output>,
    html: Option<Output>,
}

impl Outputs {
    /// Those that are asked for, if none of them destroys anything.
    fn open(arguments: &Arguments) -> Result<Self> {
        let open = |path: &Option<PathBuf>| path.as_deref().map(Output::open).transpose();
        let outputs = Self {
            json: open(&arguments.json)?,
            sarif: open(&arguments.sarif)?,
            html: open(&arguments.html)?,
            trace: open(&arguments.trace)?,
        };
        let named = [&arguments.file, &arguments.symbols, &arguments.ignore];
        let of_qemu = judged::named(&arguments.qemu);
        let all: Vec<_> = outputs.reports().chain(&outputs.trace).collect();
        for output in &all {
            let inputs = named.into_iter().flatten().chain(&of_qemu);
            output.refuse(inputs.map(PathBuf::as_path))?;
        }
        if outputs.trace.as_ref().is_some_and(Output::is_stdout) {
            return Err(Error::new("cannot write stdout")
                .because("it is QEMU's")
                .help("name a file with --trace"));
        }
        for (index, output) in all.iter().enumerate() {
            for other in &all[index + 1..] {
                output.refuse_other(other)?;
            }
        }
        Ok(outputs)
    }

    /// Those of reports.
    fn reports(&self) -> impl Iterator<Item = &Output> {
        self.json.iter().chain(&self.sarif).chain(&self.html)
    }

    /// Writes all reports that can be written.
    fn write(&self, report: &Report<'_>) -> Result<()> {
        let put = |output: &Option<Output>, text: &dyn Fn() -> String| {
            let output = output.as_ref();
            output.map_or(Ok(()), |output| output.write(text().as_bytes()))
        };
        let json = put(&self.json, &|| format!("{:#}\n", report.json()));
        let sarif = put(&self.sarif, &|| format!("{:#}\n", report.sarif()));
        let html = put(&self.html, &|| report.html());
        json.and(sarif).and(html)
    }
}

/// Judges a trace that was kept.
fn read(file: &Path) -> Result<Judge> {
    let opened = files::open(file).context(|| format!("cannot read {}", file.display()));
    let (opened, _) = opened?;
    let mut from = BufReader::with_capacity(1 << 20, opened);
    let cannot = || format!("cannot judge {}", file.display());
    let machine = Machine::get(&mut from).context(cannot)?;
    let mut judge = Judge::new(&machine);
    let mut meter = Meter::new();
    for event in events(&machine, &mut from) {
        judge.take(event.context(cannot)?);
        meter.look(&judge);
    }
    Ok(judge)
}

/// Judges while QEMU runs, and then says how it failed, if so. Where nothing can be judged any more, QEMU is ended.
fn watch(words: &[OsString], trace: Option<&Output>) -> Result<(Judge, Option<Error>)> {
    let mut judged = judged::start(words, || build_recorder(&workspace()?))?;
    let mut from = BufReader::with_capacity(1 << 20, judged.events);
    let cannot_read = || "cannot read what QEMU tells".into();
    let cannot_keep = || "cannot keep the trace".into();
    let machine = match Machine::get(&mut from) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            let status = judged.child.ended()?;
            return Err(Error::new(format!("QEMU told nothing ({status})"))
                .help("look at what it said; it must have a CPU with EL2 and the plugin interface of 9.2 or later"));
        }
        machine => machine.context(cannot_read)?,
    };
    // An old trace goes when there is a new one, and not before.
    let kept = trace.map(Output::start).transpose()?;
    let mut kept = kept.map(BufWriter::new);
    if let Some(kept) = &mut kept {
        machine.put(kept).context(cannot_keep)?;
    }
    let mut judge = Judge::new(&machine);
    let mut meter = Meter::new();
    for event in events(&machine, &mut from) {
        let event = event.context(cannot_read)?;
        if let Some(kept) = &mut kept {
            event.put(kept).context(cannot_keep)?;
        }
        judge.take(event);
        meter.look(&judge);
    }
    if let Some(kept) = &mut kept {
        kept.flush().context(cannot_keep)?;
    }
    let status = judged.child.ended()?;
    let failure = (!status.success()).then(|| Error::new(format!("QEMU failed ({status})")));
    Ok((judge, failure))
}

/// Judges while a machine is stressed. If that came to no good end, what was judged is less than was asked for.
fn watch_stressed(stress: &Stress, trace: Option<&Output>) -> Result<(Judge, Option<Error>)> {
    let folder = tempfile::tempdir().context(|| "cannot make a folder for the console".into())?;
    let log = folder.path().join("console");
    let (judge, failure) = watch(&stress.command(&log)?, trace)?;
    Ok((judge, failure.or_else(|| stress::ended_well(&log).err())))
}

/// The events to the end. A trace that breaks off within one ends before it.
fn events(machine: &Machine, from: &mut impl Read) -> impl Iterator<Item = io::Result<Event>> {
    std::iter::from_fn(|| match machine.event(from) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => None,
        event => event.transpose(),
    })
}

fn text(file: &Path) -> Result<String> {
    let text = files::read(file).map(String::from_utf8)?;
    text.context(|| format!("{} is no text", file.display()))
}

fn symbols(arguments: &Arguments) -> Result<Symbols> {
    let Some(file) = &arguments.symbols else {
        return Ok(Symbols::default());
    };
    let bytes = files::read(file)?;
    let found = if bytes.starts_with(b"\x7fELF") {
        let elf = object::File::parse(&*bytes);
        let elf = elf.context(|| format!("cannot read {}", file.display()))?;
        let code = elf
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text);
        let named =
            code.filter_map(|symbol| Some((symbol.address(), symbol.name().ok()?.to_owned())));
        Some(Symbols::new(named))
    } else {
        Symbols::parse(&String::from_utf8_lossy(&bytes))
    };
    let found = found.ok_or_else(|| {
        Error::new(format!("{} names no code", file.display()))
            .help("take an ELF file with symbols, a System.map, or what nm prints")
    })?;
    Ok(found.moved(arguments.symbols_offset.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(words: &[&str]) -> std::result::Result<Only, clap::Error> {
        Only::try_parse_from([&["droste"], words].concat())
    }

    #[test]
    fn a_trace_is_judged_or_a_qemu_and_not_both() {
        assert!(parse(&["a.trace"]).is_ok());
        assert!(parse(&["--trace", "t", "--", "qemu", "-M", "virt"]).is_ok());
        assert!(parse(&[]).is_err());
        assert!(parse(&["a.trace", "--", "qemu"]).is_err());
        assert!(parse(&["a.trace", "--trace", "t"]).is_err());
        assert!(parse(&["--stress", "kvm", "--cpus", "4", "--append", "-x"]).is_ok());
        assert!(parse(&["--stress", "kvm", "--", "qemu"]).is_err());
        assert!(parse(&["--stress", "kvm", "a.trace"]).is_err());
        assert!(parse(&["--rounds", "5", "a.trace"]).is_err());
    }
}
