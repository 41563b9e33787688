//! `cargo xtask bench kvm`: how long a hypervisor and its guest take, on Droste and on Linux's KVM.
//!
//! One emulated machine, from its start to its power-off. Droste, or a Linux with KVM (L0), starts Debian's stable kernel
//! at a virtual EL2 (L1). That one examines itself, starts the same kernel as a guest of its own (L2), which examines
//! itself as well, and all switch off. L1 and L2 are the same bytes on both sides. L0's Linux is the newest of Debian's
//! archive, with `kvm-arm.mode=nested` and nothing but busybox's init, which starts the project's small monitor at once.
//! Of L1's command line the console differs: on KVM it is the monitor's serial port.
//!
//! Seconds depend on the host and on what else it does, so both take turns and only ratios are figures. The emulated
//! clock counts instructions and skips what all sleep through: the seconds are those of the work. The same two runs
//! again with the plugin give the instructions, which repeat exactly.

mod host;

use super::figures::Figure;
use super::runs::{CONSOLE, HYPERVISOR_WORDS, Linux, Parts, Run, Seconds, time};
use super::trace::Trace;
use super::{INSTRUCTIONS, median, nested, number, publish};
use crate::workspace::Failure;
use clap::Args;
use droste::qemu::Machine;
use droste::setup::monitor::{L2, Monitor};
use host::Host;
use serde_json::Value;
use std::path::PathBuf;

/// What L1 says at its good end.
const MARKER: &str = "guest: nested ok";

/// How it is measured, and where the figures go.
#[derive(Args)]
pub(crate) struct Comparison {
    /// How often each side is timed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// L0's Linux, an uncompressed arm64 Image with KVM built in, in place of Debian's newest
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    #[command(flatten)]
    common: super::Options,
}

/// The two machines, for what L1 is to do.
struct Sides {
    droste: Machine,
    kvm: Machine,
}

/// One round.
#[derive(Clone, Copy, Debug)]
struct Round {
    droste: Seconds,
    kvm: Seconds,
}

/// Measures, prints, writes.
///
/// # Errors
/// If a part cannot be had or a run fails.
pub(crate) fn run(options: &Comparison) -> Result<(), Failure> {
    let parts = Parts::gather(options.common.qemu.as_deref())?;
    let (linux, host) = (Linux::gather()?, Host::gather(options.kernel.as_deref())?);
    println!("KVM: {}", host.release);
    let words = format!(
        "{HYPERVISOR_WORDS} droste.self-report {}",
        L2::new(&[Monitor::Vmm])
    );
    let sides = Sides::new(
        &parts,
        &linux,
        &host,
        &nested::disks::examining(&linux)?,
        &words,
    )?;
    let rounds = (1..=options.rounds)
        .map(|number| {
            let round = sides.time()?;
            println!("round {number}: {round}");
            Ok(round)
        })
        .collect::<Result<Vec<Round>, Failure>>()?;
    let mut figures = Vec::from(seconds(&rounds));
    figures.extend(sides.count(&parts)?);
    figures.extend(operations(&parts, &linux, &host)?);
    publish(&options.common, &figures)
}

impl Sides {
    /// For an L1 with this RAM disk and these words on its command line, besides those for its console.
    fn new(
        parts: &Parts,
        linux: &Linux,
        host: &Host,
        initrd: &[u8],
        words: &str,
    ) -> Result<Self, Failure> {
        let host_initrd = host.initrd(linux, initrd, words)?;
        let host_words = format!("{CONSOLE} {HYPERVISOR_WORDS} kvm-arm.mode=nested");
        Ok(Self {
            droste: parts.droste_with_hypervisor(linux, initrd, &format!("{CONSOLE} {words}"))?,
            kvm: parts.linux_with_hypervisor(&host.kernel, &host_initrd, &host_words)?,
        })
    }

    fn time(&self) -> Result<Round, Failure> {
        Ok(Round {
            droste: time("Droste", self.droste.clone(), MARKER)?,
            kvm: time("KVM", self.kvm.clone(), MARKER)?,
        })
    }

    fn count(&self, parts: &Parts) -> Result<[Figure; 3], Failure> {
        let (_, droste) = parts.count("beside-kvm", self.droste.clone(), MARKER)?;
        let (_, kvm) = parts.count("kvm", self.kvm.clone(), MARKER)?;
        let kvm = kvm.begin_at_first_print()?;
        let start = |trace: &Trace| {
            let begin = trace.first_guest;
            begin
                .map(|begin| begin.el2)
                .ok_or_else(|| Failure::new("no guest ran"))
        };
        let figure = |name: &str, droste, kvm| {
            Figure::new(name, INSTRUCTIONS, number(droste)).peer(number(kvm))
        };
        Ok([
            figure(
                "L0's instructions until it starts L1",
                start(&droste)?,
                start(&kvm)?,
            ),
            figure(
                "L0's instructions, from start to power-off",
                droste.total.el2,
                kvm.total.el2,
            ),
            figure(
                "instructions of all levels",
                droste.total.all,
                kvm.total.all,
            ),
        ])
    }
}

/// The figures of `bench nested` with a Linux as L1, beside KVM's with the same L1. L1's boot counts from the start of
/// its monitor there, and its tear-down to the end of the host.
fn operations(parts: &Parts, linux: &Linux, host: &Host) -> Result<Vec<Figure>, Failure> {
    let initrd = nested::disks::l1(linux)?;
    let droste = parts.hypervisor(linux, &initrd)?;
    let sides = Sides::new(parts, linux, host, &initrd, HYPERVISOR_WORDS)?;
    let (console, trace) = parts.count("kvm-stages", sides.kvm, "nested: off")?;
    let kvm = Run {
        console,
        trace: trace.begin_at_first_print()?,
        record: Value::Null,
    };
    let peers = nested::linux::figures(&kvm)?;
    let figures = nested::linux::figures(&droste)?.into_iter();
    let beside = |figure: Figure| {
        let peer = peers.iter().find(|peer| peer.name == figure.name);
        Figure {
            peer: peer.map(|peer| peer.measured),
            ..figure
        }
    };
    Ok(figures.map(beside).collect())
}

impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { droste, kvm } = self;
        write!(
            f,
            "Droste {:.1} s ({:.1} s of processors), KVM {:.1} s ({:.1} s): {:.2} times as long ({:.2} times)",
            droste.wall,
            droste.processor,
            kvm.wall,
            kvm.processor,
            kvm.wall / droste.wall,
            kvm.processor / droste.processor,
        )
    }
}

/// The medians, and those of the ratios.
fn seconds(rounds: &[Round]) -> [Figure; 4] {
    let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
    let wall = "from start to power-off";
    let processor = "processor's time for it";
    let figure = |name: &str, unit, measured| Figure::new(name, unit, measured);
    [
        figure(wall, "s", of(|r| r.droste.wall)).peer(of(|r| r.kvm.wall)),
        figure(
            "KVM's over that",
            "times",
            of(|r| r.kvm.wall / r.droste.wall),
        ),
        figure(processor, "s", of(|r| r.droste.processor)).peer(of(|r| r.kvm.processor)),
        figure(
            "KVM's over that",
            "times",
            of(|r| r.kvm.processor / r.droste.processor),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round of which QEMU had all processors half of the time.
    fn round(droste: f64, kvm: f64) -> Round {
        let [droste, kvm] = [droste, kvm].map(|wall| Seconds {
            wall,
            processor: wall / 2.0,
        });
        Round { droste, kvm }
    }

    #[test]
    fn a_round_that_something_disturbed_is_no_figure() {
        let figures = seconds(&[round(10.0, 20.0), round(50.0, 25.0), round(12.0, 30.0)]);
        let measured = figures.each_ref().map(|f| f.measured);
        for (measured, expected) in measured.into_iter().zip([12.0, 2.0, 6.0, 2.0]) {
            assert!((measured - expected).abs() < 1e-9, "{measured}");
        }
        assert_eq!(figures[0].peer, Some(25.0));
    }

    #[test]
    fn a_round_says_how_much_longer_kvm_took() {
        assert_eq!(
            round(8.0, 20.0).to_string(),
            "Droste 8.0 s (4.0 s of processors), KVM 20.0 s (10.0 s): 2.50 times as long (2.50 times)"
        );
    }
}
