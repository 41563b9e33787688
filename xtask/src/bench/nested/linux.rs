//! The figures of a Linux that is a hypervisor: its boot, its own guests', and what their exits cost.
//!
//! One run on one CPU. L1 is Debian's kernel with KVM, and its boot is over where it would show a shell. It starts L2,
//! the same kernel, whose boot is over likewise and which then switches off; then the guest `exits` in L2's place; and
//! switches off. All figures are what EL2 executes: L0's part alone. An exit is told by who was left and who entered:
//! `vel2` and `vel0` are L1's, `el1` and `el0` are L2's. The peer's figures are those that [`kvm`](super::super::kvm)
//! measured with Linux 7.3-rc7 as L0.

use super::super::figures::Figure;
use super::super::runs::{Linux, Parts, Run};
use super::super::trace::{Exit, Stage};
use super::super::{self as bench, INSTRUCTIONS, described, number};
use super::{DATA_ABORT, ERET, HVC, INSTRUCTION_ABORT, disks};
use crate::workspace::Failure;

const L2: [&str; 2] = ["el1", "el0"];
const L1: [&str; 1] = ["vel2"];
/// Aborts of L2's instruction fetches and of its data accesses.
const ABORTS: [u64; 2] = [INSTRUCTION_ABORT, DATA_ABORT];

/// Exits of one kind: who was left, by which vector and ESR_EL2.EC (0 if it has none), and who was entered.
struct Kind {
    from: &'static [&'static str],
    vector: &'static str,
    classes: &'static [u64],
    to: &'static [&'static str],
}

const FILL: Kind = synchronous(&L2, &ABORTS, &L2);
const ENTRY: Kind = synchronous(&L1, &[ERET], &L2);
const HYPERCALL: Kind = synchronous(&L2, &[HVC], &L1);
const ABORT: Kind = synchronous(&L2, &ABORTS, &L1);
const INTERRUPT: Kind = Kind {
    from: &L2,
    vector: "irq",
    classes: &[0],
    to: &L1,
};

const fn synchronous(
    from: &'static [&'static str],
    classes: &'static [u64],
    to: &'static [&'static str],
) -> Kind {
    Kind {
        from,
        vector: "sync",
        classes,
        to,
    }
}

/// Runs all levels and counts.
///
/// # Errors
/// If the run fails, or misses a stage.
pub(super) fn measure(parts: &Parts) -> Result<Vec<Figure>, Failure> {
    let linux = Linux::gather()?;
    let initrd = disks::l1(&linux)?;
    figures(&parts.hypervisor(&linux, &initrd)?)
}

/// The figures of a run of L1's marked RAM disk, [`disks::l1`].
///
/// # Errors
/// If it misses a stage.
pub(in super::super) fn figures(run: &Run) -> Result<Vec<Figure>, Failure> {
    let stages = run.trace.stages()?;
    let [boot, end, operations @ ..] = &stages[..] else {
        return Err(Failure::new("L2 did not mark the end of its boot"));
    };
    let mut figures = levels(run, boot, end)?;
    figures.extend(exits(boot)?);
    figures.extend(hypercalls(run, operations)?);
    Ok(figures)
}

/// From the first instruction of L1 to its last, without what the other figures are about.
fn levels(run: &Run, boot: &Stage, end: &Stage) -> Result<Vec<Figure>, Failure> {
    let figure = |name: &str, count| Figure::new(name, INSTRUCTIONS, number(count));
    Ok(vec![
        figure("L1 boots to its shell", run.trace.first_stage()?.counts.el2)
            .target(10e6)
            .peer(76.2e6),
        figure("L2 boots to its shell", boot.counts.el2)
            .target(6e6)
            .peer(108.0e6),
        figure(
            "L2 from there to the end of its monitor's process",
            end.counts.el2,
        )
        .peer(14.1e6),
        figure("tear-down of L1", run.trace.afterwards)
            .target(1e6)
            .peer(139.2e6),
    ])
}

/// What a Linux's exits cost on the average over its boot as L2.
fn exits(boot: &Stage) -> Result<Vec<Figure>, Failure> {
    let (fills, _) = sum(boot, &FILL);
    let count = |name: &str, count| Figure::new(name, "exits", number(count));
    let average = |name: &str, kind| match sum(boot, kind) {
        (0, _) => Err(Failure::new(format!("L2's boot has no {name}"))),
        (count, el2) => Ok(Figure::new(
            format!("L2's boot: {name}"),
            INSTRUCTIONS,
            number(el2) / number(count),
        )),
    };
    Ok(vec![
        count("L2's boot: shadow fills", fills)
            .target(33.0)
            .peer(20.0),
        average("shadow fill", &FILL)?.target(1500.0).peer(7261.0),
        average("ERET vEL2 to L2", &ENTRY)?
            .target(1800.0)
            .peer(13867.0),
        average("HVC of L2 delivered to vEL2", &HYPERCALL)?
            .target(1800.0)
            .peer(12273.0),
        average("abort of L2 delivered to vEL2", &ABORT)?
            .target(1800.0)
            .peer(14546.0),
        average("interrupt of L1 delivered to vEL2", &INTERRUPT)?
            .target(1800.0)
            .peer(16573.0),
    ])
}

/// The sections of the guest `exits` as L2.
fn hypercalls(run: &Run, stages: &[Stage]) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for section in bench::sections(&run.console)? {
        let stage = stages.iter().find(|stage| stage.mark == section.mark);
        let stage = stage
            .ok_or_else(|| Failure::new(format!("L2 did not mark its section {}", section.name)))?;
        let per = |count| number(count) / number(section.times);
        let cost = per(stage.counts.el2);
        let named = |name: &str| Figure::new(format!("L2: {name}"), INSTRUCTIONS, cost);
        match section.name {
            "hypercall" => {
                let count = stage.exits.iter().map(|exit| exit.count).sum();
                let name = "L2: exits to L0 for a hypercall";
                figures.extend([
                    named("hypercall answered by L1's KVM")
                        .target(1150.0)
                        .peer(40860.0),
                    Figure::new(name, "exits", per(count)).peer(7.0),
                ]);
            }
            "vgic-read" => {
                figures.push(named("MMIO read answered by L1's vGIC").peer(45697.0));
            }
            name => figures.push(named(described(name))),
        }
    }
    if figures.is_empty() {
        return Err(Failure::new("L2 measured no exits"));
    }
    Ok(figures)
}

/// How many exits of this kind there were, and what EL2 spent on all of them.
fn sum(stage: &Stage, kind: &Kind) -> (u64, u64) {
    let is_meant = |e: &&Exit| {
        kind.from.contains(&&*e.from)
            && e.kind == kind.vector
            && kind.classes.contains(&e.class)
            && kind.to.contains(&&*e.to)
    };
    let meant = stage.exits.iter().filter(is_meant);
    meant.fold((0, 0), |(count, el2), e| (count + e.count, el2 + e.el2))
}

#[cfg(test)]
mod tests {
    use super::super::super::trace::Trace;
    use super::*;

    fn exit(from: &str, kind: &str, class: u64, to: &str, count: u64, el2: u64) -> String {
        format!(
            "{{\"event\":\"exit\",\"from\":\"{from}\",\"kind\":\"{kind}\",\"ec\":{class},\"to\":\"{to}\",\
             \"count\":{count},\"el2\":{el2}}}\n"
        )
    }

    fn event(event: &str, el2: u64) -> String {
        format!("{{\"event\":{event},\"cpus\":[{{\"el2\":{el2}}}]}}\n")
    }

    fn mark(mark: u64, el2: u64) -> String {
        event(&format!("\"mark\",\"mark\":{mark}"), el2)
    }

    /// All levels, once each; the lines of L2's boot are given.
    fn run(boot: &[String]) -> Run {
        let text = [
            event("\"first_guest\"", 100),
            mark(15, 1100),
            exit("vel0", "sync", 0x24, "vel0", 3, 900),
            mark(1, 1100),
            mark(14, 3100),
            mark(15, 3100),
            boot.concat(),
            mark(1, 3100),
            mark(14, 3400),
            mark(15, 3400),
            mark(1, 4000),
            mark(14, 4600),
            mark(15, 4600),
            exit("el1", "sync", 0x16, "vel2", 2, 300),
            exit("vel2", "sync", 0x1a, "el1", 2, 300),
            "{\"event\":\"unanswered\",\"cpu\":0,\"el2\":77}\n".to_owned(),
            event("\"total\"", 5000),
        ];
        Run {
            console: "exits: section 1 hypercall 2\r\n".to_owned(),
            trace: Trace::parse(&text.concat()).expect("a whole run"),
            record: serde_json::Value::Null,
        }
    }

    fn boot() -> Vec<String> {
        vec![
            exit("el1", "sync", 0x24, "el1", 2, 20),
            exit("el0", "sync", 0x20, "el0", 1, 10),
            exit("vel0", "sync", 0x24, "vel0", 9, 9999),
            exit("vel2", "sync", 0x1a, "el1", 3, 30),
            exit("vel2", "sync", 0x1a, "vel0", 9, 9999),
            exit("el1", "sync", 0x16, "vel2", 1, 11),
            exit("el0", "sync", 0x24, "vel2", 1, 12),
            exit("el1", "irq", 0, "vel2", 1, 13),
            exit("vel0", "irq", 0, "vel2", 9, 9999),
        ]
    }

    #[test]
    fn each_level_has_its_part_and_l1s_own_exits_are_no_l2s() {
        let figures = figures(&run(&boot())).expect("a whole run");
        let of = |name: &str| {
            let figure = figures.iter().find(|f| f.name == name);
            figure.expect(name).measured
        };
        for (name, value) in [
            ("L1 boots to its shell", 1000.0),
            ("L2 boots to its shell", 2000.0),
            ("L2 from there to the end of its monitor's process", 300.0),
            ("tear-down of L1", 77.0),
            ("L2's boot: shadow fills", 3.0),
            ("L2's boot: shadow fill", 10.0),
            ("L2's boot: ERET vEL2 to L2", 10.0),
            ("L2's boot: HVC of L2 delivered to vEL2", 11.0),
            ("L2's boot: abort of L2 delivered to vEL2", 12.0),
            ("L2's boot: interrupt of L1 delivered to vEL2", 13.0),
            ("L2: hypercall answered by L1's KVM", 300.0),
            ("L2: exits to L0 for a hypercall", 2.0),
        ] {
            assert!((of(name) - value).abs() < 1e-9, "{name}: {}", of(name));
        }
    }

    #[test]
    fn a_boot_without_a_kind_of_exit_is_an_error() {
        assert!(figures(&run(&boot()[..7])).is_err());
    }

    #[test]
    fn an_l2_that_measured_nothing_is_an_error() {
        let mut run = run(&boot());
        run.console.clear();
        assert!(figures(&run).is_err());
        run.console = "exits: section 2 vgic-read 2\n".to_owned();
        assert!(figures(&run).is_err(), "mark 2 did not come");
    }
}
