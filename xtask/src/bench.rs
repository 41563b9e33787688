//! `cargo xtask bench`: what Droste costs, in instructions. `exits` is told here, `nested`, `profile`, `scale`, `masked`,
//! `kvm` and `stage2` in their own modules.
//!
//! Instructions are counted by a QEMU plugin (`xtask/plugin/elcount.c`), so the figures with one CPU are exact and the
//! same on every host. What is compared:
//!
//! - an operation's cost is all that EL2 executes between two marks in the guest `exits`, over the number of
//!   operations between them;
//! - an interrupt between vCPUs needs two CPUs, whose counts vary: it is the median of several runs, both CPUs' EL2
//!   instructions together. The receiver spins, as in the peer's figure; the figure for one that sleeps stands beside;
//! - the boot's ratio is all instructions of all exception levels, from QEMU's start to the power-off that the guest's
//!   first process asks for after its self-report, over the same on a machine without EL2 that is described to the
//!   kernel by the same device tree. The whole run is taken and not the time to a prompt, since its end is one
//!   instruction and the same on both sides; the hypervisor's own start and end are in it.

mod blocks;
mod figures;
mod functions;
mod kvm;
mod masked;
mod nested;
mod profile;
mod runs;
mod scale;
mod stage2;
mod trace;

use crate::workspace::Failure;
use clap::{Args, Subcommand};
use figures::Figure;
use runs::{Linux, Parts, Run};
use std::path::PathBuf;

/// How often the run with two CPUs is repeated.
const REPEATS: usize = 3;
const INSTRUCTIONS: &str = "instructions";
const KIB: f64 = 1024.0;

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Cost of each exit to EL2, of start-up, of a Linux boot, and the sizes
    Exits(Options),
    /// Cost of a guest that is a hypervisor: its own EL2, and what it runs
    Nested(Options),
    /// The longest stretch at EL2 in which interrupts wait, by what asks for it
    Masked(Options),
    /// Where the instructions of a path go: function by function, registers moved, locks held
    Profile(profile::Choice),
    /// What vCPUs of a hypervisor cost each other: instructions and waits in locks, for 1 to 8 of them
    Scale(Options),
    /// Time and instructions of a hypervisor and its guest, on Droste and on Linux's KVM in turn
    Kvm(kvm::Comparison),
    /// Cost of guests' memory: mapping, unmapping, faults, dirty logs, beside other crates
    Stage2(Options),
}

/// Where the figures go, and what becomes of misses.
#[derive(Args)]
pub(crate) struct Options {
    /// Write the figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail when a target is missed
    #[arg(long)]
    check: bool,
    /// The QEMU to use (version 9.2 to 10.0, for its plugin interface)
    #[arg(long, value_name = "PATH")]
    qemu: Option<PathBuf>,
}

/// Measures, prints, writes, checks.
///
/// # Errors
/// If a run fails, or with `--check` if a target is missed.
pub(crate) fn run(bench: Bench) -> Result<(), Failure> {
    match bench {
        Bench::Exits(options) => exits(&options),
        Bench::Nested(options) => nested::run(&options),
        Bench::Masked(options) => masked::run(&options),
        Bench::Profile(choice) => profile::run(&choice),
        Bench::Scale(options) => scale::run(&options),
        Bench::Kvm(options) => kvm::run(&options),
        Bench::Stage2(options) => stage2::run(&options),
    }
}

fn exits(options: &Options) -> Result<(), Failure> {
    let parts = Parts::gather(options.qemu.as_deref())?;
    let figures = measure(&parts, &Linux::gather()?)?;
    publish(options, &figures)
}

/// Prints and writes figures, and judges them.
fn publish(options: &Options, figures: &[Figure]) -> Result<(), Failure> {
    print!("{}", figures::table(figures));
    if let Some(file) = &options.json {
        let json = format!("{:#}\n", figures::json(figures));
        droste::output::Output::open(file)?.write(json.as_bytes())?;
    }
    let missed = figures.iter().filter(|f| f.is_missed());
    judge(options, missed.map(|f| f.name.as_str()))
}

/// Whether the figures of these names, which miss their targets, are an error.
fn judge<'a>(options: &Options, missed: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let missed: Vec<&str> = missed.map(str::trim_start).collect();
    if options.check && !missed.is_empty() {
        return Err(Failure::new(format!(
            "targets missed: {}",
            missed.join(", ")
        )));
    }
    Ok(())
}

fn measure(parts: &Parts, linux: &Linux) -> Result<Vec<Figure>, Failure> {
    let mut figures = operations(&parts.exits(1)?)?;
    figures.extend(interrupts(parts)?);
    let (droste, bare) = (parts.linux(linux)?, parts.bare_linux(linux)?);
    figures.extend(boot(&droste, &bare)?);
    figures.extend(sizes(&droste)?);
    Ok(figures)
}

/// Each section of the guest `exits` on one CPU.
fn operations(run: &Run) -> Result<Vec<Figure>, Failure> {
    let of = |section: &Section| {
        let cost = section.cost(run)?;
        Ok(match section.name {
            "hypercall" => Figure::new("hypercall from EL1", INSTRUCTIONS, cost)
                .target(200.0)
                .peer(1742.0),
            "vgic-read" => Figure::new("MMIO read answered by the vGIC", INSTRUCTIONS, cost)
                .target(600.0)
                .peer(2692.0),
            name => Figure::new(described(name), INSTRUCTIONS, cost),
        })
    };
    sections(&run.console)?.iter().map(of).collect()
}

/// The sections with two vCPUs, each the median of several runs.
fn interrupts(parts: &Parts) -> Result<Vec<Figure>, Failure> {
    let runs = (0..REPEATS)
        .map(|_| parts.exits(2))
        .collect::<Result<Vec<_>, _>>()?;
    let cost = |name: &str| {
        let costs = runs.iter().map(|run| {
            let sections = sections(&run.console)?;
            let section = sections.iter().find(|s| s.name == name);
            section
                .ok_or_else(|| Failure::new(format!("the guest has no section {name}")))?
                .cost(run)
        });
        costs.collect::<Result<Vec<f64>, _>>().map(median)
    };
    Ok(vec![
        Figure::new(
            "IPI between two vCPUs, both CPUs",
            INSTRUCTIONS,
            cost("ipi-spin")?,
        )
        .target(1500.0)
        .peer(6404.0),
        Figure::new(described("ipi-wfi"), INSTRUCTIONS, cost("ipi-wfi")?),
    ])
}

fn boot(droste: &Run, bare: &Run) -> Result<Vec<Figure>, Failure> {
    let start = droste
        .trace
        .first_guest
        .ok_or_else(|| Failure::new("no guest ran"))?;
    let ratio = number(droste.trace.total.all) / number(bare.trace.total.all);
    Ok(vec![
        Figure::new(
            "EL2 from its start to the guest's first instruction",
            INSTRUCTIONS,
            number(start.el2),
        )
        .target(10e6)
        .peer(532e6),
        Figure::new(
            "EL2 over a Debian boot, to power-off",
            INSTRUCTIONS,
            number(droste.trace.total.el2),
        )
        .target(10e6),
        Figure::new(
            "Debian boot against bare EL1, all instructions",
            "times",
            ratio,
        )
        .target(1.05),
    ])
}

/// What the hypervisor says of itself in its final record.
fn sizes(run: &Run) -> Result<Vec<Figure>, Failure> {
    let bytes = |key: &str| {
        let value = run.record["el2"][key].as_f64();
        value.ok_or_else(|| {
            Failure::new(format!(
                "the hypervisor's record does not say its {key} size"
            ))
        })
    };
    Ok(vec![
        Figure::new("hypervisor's image", "KiB", bytes("image")? / KIB).target(512.0),
        Figure::new("EL2 memory without tables", "KiB", bytes("memory")? / KIB).target(4096.0),
    ])
}

/// A section as the guest names it: `exits: section MARK NAME TIMES`.
#[derive(PartialEq, Eq, Debug)]
struct Section<'a> {
    mark: u32,
    name: &'a str,
    times: u64,
}

impl Section<'_> {
    /// EL2 instructions for one operation.
    fn cost(&self, run: &Run) -> Result<f64, Failure> {
        Ok(number(run.trace.section(self.mark)?.el2) / number(self.times))
    }
}

/// The sections that a console's text names.
fn sections(console: &str) -> Result<Vec<Section<'_>>, Failure> {
    let lines = console
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix("exits: section "));
    let sections = lines.map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let parsed = match words[..] {
            [mark, name, times] => mark
                .parse()
                .ok()
                .zip(times.parse().ok())
                .map(|(mark, times)| (mark, name, times)),
            _ => None,
        };
        match parsed {
            Some((mark, name, times)) if times > 0 => Ok(Section { mark, name, times }),
            _ => Err(Failure::new(format!("the guest names no section: {line}"))),
        }
    });
    sections.collect()
}

/// What a section of the guest is called in the table.
fn described(section: &str) -> &str {
    match section {
        "uart-read" => "UART flag register read",
        "id-register" => "trapped ID register read",
        "timer-wfi" => "sleep until the timer, with its interrupt",
        "uart-write" => "UART byte written",
        "fault-2m" => "first touch of 2 MiB of RAM",
        "fault-4k" => "first touch of a 4 KiB page of RAM, and of its 15 neighbours",
        "ipi-wfi" => "IPI to a vCPU that sleeps, both CPUs",
        other => other,
    }
}

/// A count as a measure.
#[expect(
    clippy::cast_precision_loss,
    reason = "no run executes 2^53 instructions"
)]
fn number(count: u64) -> f64 {
    count as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_sections_are_found_among_its_other_lines() {
        let console = "boot\r\nexits: section 1 hypercall 1000\r\n....\r\nexits: section 8 fault-4k 512\r\nexits: done\r\n";
        let found = sections(console).expect("two sections");
        assert_eq!(
            found,
            [
                Section {
                    mark: 1,
                    name: "hypercall",
                    times: 1000
                },
                Section {
                    mark: 8,
                    name: "fault-4k",
                    times: 512
                }
            ]
        );
    }

    #[test]
    fn a_section_that_does_not_say_how_often_is_an_error() {
        assert!(sections("exits: section 1 hypercall").is_err());
        assert!(sections("exits: section 1 hypercall 0").is_err());
        assert!(sections("exits: section one hypercall 5").is_err());
    }

    #[test]
    fn a_cost_is_el2s_part_over_the_operations() {
        let text = "{\"event\":\"mark\",\"mark\":1,\"cpus\":[{\"el2\":10,\"el1\":5}]}\n\
                    {\"event\":\"mark\",\"mark\":14,\"cpus\":[{\"el2\":310,\"el1\":500}]}\n\
                    {\"event\":\"total\",\"cpus\":[{\"el2\":400,\"el1\":600}]}\n";
        let run = Run {
            console: "exits: section 1 hypercall 2".to_owned(),
            trace: trace::Trace::parse(text).expect("a whole run"),
            record: serde_json::Value::Null,
        };
        let figures = operations(&run).expect("one section");
        assert_eq!(figures.len(), 1);
        assert!((figures[0].measured - 150.0).abs() < 1e-9);
        assert_eq!(figures[0].target, Some(200.0));
    }

    #[test]
    fn the_median_is_no_outlier() {
        assert!((median(vec![9.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
    }
}
