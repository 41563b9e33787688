//! `cargo xtask bench nested`: what a guest that is a hypervisor costs, in EL2's instructions.
//!
//! The guest `nested` does one thing in each of its sections, with either kind of EL2. A figure is all that EL2
//! executes in a section over the times that the thing is done; or, where a thing is more than one exit, what one kind
//! of exit takes until the entry that answers it. The peer's figures are Linux KVM's for the same kind of exit, with a
//! Linux above it. With a Linux above Droste there are the figures of [`linux`].

pub(super) mod disks;
pub(super) mod linux;
mod ticks;

use super::figures::Figure;
use super::runs::{Parts, Run};
use super::trace::{Exit, Stage};
use super::{INSTRUCTIONS, Options, number, publish};
use crate::workspace::Failure;
use droste_image::El2;

/// What makes out the exits that a figure is about, and how their sum is divided.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    /// All that EL2 did, over the section's times.
    Everything,
    /// Exits of this kind, class and way, over their number.
    Exits {
        from: &'static str,
        kind: &'static str,
        class: u64,
        to: &'static str,
    },
    /// How many exits of the section there were, over the section's times.
    Number,
}

impl Of {
    /// Whether it is about exits of this class, and of these words: who was left, the kind, who was entered.
    pub(super) fn has(self, words: [&str; 3], class_of_exit: u64) -> bool {
        match self {
            Self::Everything | Self::Number => true,
            Self::Exits {
                from,
                kind,
                class,
                to,
            } => words == [from, kind, to] && class_of_exit == class,
        }
    }
}

/// A figure: the section it is taken from, its name, target and peer.
pub(super) struct Row {
    pub(super) section: &'static str,
    pub(super) of: Of,
    pub(super) name: &'static str,
    target: Option<f64>,
    peer: Option<f64>,
}

/// ESR_EL2.EC (DDI 0487, D24.2).
const INSTRUCTION_ABORT: u64 = 0x20;
const DATA_ABORT: u64 = 0x24;
const HVC: u64 = 0x16;
const SYSREG: u64 = 0x18;
const ERET: u64 = 0x1a;

const fn sync(from: &'static str, class: u64, to: &'static str) -> Of {
    Of::Exits {
        from,
        kind: "sync",
        class,
        to,
    }
}

const INTERRUPT: Of = Of::Exits {
    from: "el1",
    kind: "irq",
    class: 0,
    to: "vel2",
};

const fn row(section: &'static str, of: Of, name: &'static str) -> Row {
    Row {
        section,
        of,
        name,
        target: None,
        peer: None,
    }
}

impl Row {
    const fn aims(self, target: f64, peer: f64) -> Self {
        Self {
            target: Some(target),
            peer: Some(peer),
            ..self
        }
    }
}

pub(super) const ROWS: [Row; 29] = [
    row("hypercall", Of::Everything, "hypercall from vEL2").aims(600.0, 3444.0),
    row("l2-hypercall", sync("vel2", ERET, "el1"), "ERET vEL2 to L2").aims(600.0, 15600.0),
    row(
        "l2-other-vmid",
        sync("vel2", ERET, "el1"),
        "ERET vEL2 to an L2 of another VMID",
    ),
    row(
        "l2-hypercall",
        sync("el1", HVC, "vel2"),
        "HVC of L2 delivered to vEL2",
    )
    .aims(500.0, 14400.0),
    row(
        "l2-abort",
        sync("el1", DATA_ABORT, "vel2"),
        "abort of L2 delivered to vEL2",
    )
    .aims(1800.0, 15800.0),
    row(
        "l2-id-register",
        sync("el1", SYSREG, "vel2"),
        "trapped register of L2 delivered to vEL2",
    ),
    row(
        "l2-preempted",
        INTERRUPT,
        "interrupt of L1 delivered to vEL2",
    )
    .aims(1800.0, 17500.0),
    row(
        "l2-preempted",
        Of::Everything,
        "L2 preempted by L1's timer, all of it",
    ),
    row("eret-el0", Of::Everything, "ERET vEL2 to its own EL0").aims(150.0, 535.0),
    row("eret-el2", Of::Everything, "ERET vEL2 to vEL2").aims(150.0, 465.0),
    row("hvc-el2", Of::Everything, "HVC of vEL2 to itself, and back"),
    row("tlbi-vae2is", Of::Everything, "TLBI VAE2IS").aims(300.0, 630.0),
    row("tlbi-vmalle1is", Of::Everything, "TLBI VMALLE1IS").aims(300.0, 630.0),
    row("tlbi-vmalls12e1is", Of::Everything, "TLBI VMALLS12E1IS").aims(300.0, 630.0),
    row("tlbi-ipas2e1is", Of::Everything, "TLBI IPAS2E1IS").aims(300.0, 630.0),
    row("tlbi-alle1is", Of::Everything, "TLBI ALLE1IS").aims(300.0, 630.0),
    row(
        "l2-fill-2m",
        sync("el1", DATA_ABORT, "el1"),
        "shadow fill, of a 2 MiB block",
    )
    .aims(1500.0, 8400.0),
    row(
        "l2-fill-4k",
        sync("el1", DATA_ABORT, "el1"),
        "shadow fill, of 4 KiB pages",
    )
    .aims(1500.0, 8400.0),
    row(
        "l2-fill-4k",
        Of::Number,
        "exits for a 4 KiB page that L2 touches",
    ),
    row(
        "l2-touch-2m",
        Of::Everything,
        "first touch of 2 MiB that L1 has not touched",
    ),
    row(
        "l2-device",
        Of::Everything,
        "MMIO read of L2 answered by L1's vGIC",
    ),
    row("cptr-write", Of::Everything, "CPTR_EL2 written"),
    row("hpfar-read", Of::Everything, "HPFAR_EL2 read"),
    row("timer-write", Of::Everything, "CNTHP_TVAL_EL2 written"),
    row("timer-read", Of::Everything, "CNTHP_TVAL_EL2 read"),
    row("counter-read", Of::Everything, "CNTVCT_EL0 read at vEL2"),
    row("id-register", Of::Everything, "ID register read at vEL2"),
    row(
        "l2-hypercall",
        Of::Number,
        "exits for an L2 hypercall, under a bare hypervisor",
    ),
    row(
        "l2-hypercall",
        Of::Everything,
        "L2 hypercall, under a bare hypervisor",
    ),
];

/// Measures, prints, writes, checks.
///
/// # Errors
/// If a run fails, or with `--check` if a target is missed.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let parts = Parts::gather(options.qemu.as_deref())?;
    let mut figures = figures(&parts.nested(El2::Vhe)?)?;
    let nvhe = self::figures(&parts.nested(El2::Nvhe)?)?;
    figures.extend(nvhe.into_iter().map(|figure| Figure {
        name: format!("E2H = 0: {}", figure.name),
        ..figure
    }));
    figures.extend(linux::measure(&parts)?);
    figures.extend(ticks::measure(&parts)?);
    publish(options, &figures)
}

/// The rows whose sections the guest has: with E2H = 0 there is no EL0 of EL2's own.
fn figures(run: &Run) -> Result<Vec<Figure>, Failure> {
    let sections = sections(run, "nested")?;
    let section = |row: &Row| sections.iter().find(|s| s.name == row.section);
    let rows = ROWS.iter().filter_map(|row| Some((row, section(row)?)));
    rows.map(|(row, section)| {
        let measured = section.measure(row.of).ok_or_else(|| {
            Failure::new(format!(
                "section {} has no exit for {:?}",
                row.section, row.name
            ))
        })?;
        let unit = if matches!(row.of, Of::Number) {
            "exits"
        } else {
            INSTRUCTIONS
        };
        Ok(Figure {
            target: row.target,
            peer: row.peer,
            ..Figure::new(row.name, unit, measured)
        })
    })
    .collect()
}

/// One section of the guest, and what the plugin saw of it.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) name: &'a str,
    times: u64,
    pub(super) stage: Stage,
}

impl Section<'_> {
    /// What a figure is divided by; `None` if there was no such exit.
    pub(super) fn times_of(&self, of: Of) -> Option<u64> {
        let times = match of {
            Of::Everything | Of::Number => self.times,
            Of::Exits { .. } => self.exits_of(of).map(|exit| exit.count).sum(),
        };
        (times > 0).then_some(times)
    }

    /// `None` if there was no such exit: then there is nothing to divide.
    pub(super) fn measure(&self, of: Of) -> Option<f64> {
        let sum: u64 = match of {
            Of::Everything => self.stage.counts.el2,
            Of::Number => self.exits_of(of).map(|exit| exit.count).sum(),
            Of::Exits { .. } => self.exits_of(of).map(|exit| exit.el2).sum(),
        };
        Some(number(sum) / number(self.times_of(of)?))
    }

    fn exits_of(&self, of: Of) -> impl Iterator<Item = &Exit> {
        let is_of = move |exit: &&Exit| of.has([&exit.from, &exit.kind, &exit.to], exit.class);
        self.stage.exits.iter().filter(is_of)
    }
}

/// The `GUEST: section NAME TIMES` of this guest, each with its stage.
pub(super) fn sections<'a>(run: &'a Run, guest: &str) -> Result<Vec<Section<'a>>, Failure> {
    let prefix = format!("{guest}: section ");
    let named = run
        .console
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix(&prefix));
    let stages = run.trace.stages()?;
    let named: Vec<&str> = named.collect();
    if named.len() != stages.len() {
        return Err(Failure::new(format!(
            "the guest names {} sections and marks {}",
            named.len(),
            stages.len()
        )));
    }
    named
        .into_iter()
        .zip(stages)
        .map(|(line, stage)| {
            let words = line.rsplit_once(' ');
            let parsed = words.and_then(|(name, times)| Some((name, times.parse().ok()?)));
            match parsed {
                Some((name, times)) if times > 0 => Ok(Section { name, times, stage }),
                _ => Err(Failure::new(format!("the guest names no section: {line}"))),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::trace::Trace;
    use super::*;

    /// A section with two exits of one ERET's kind and one of another.
    fn run(console: &str) -> Run {
        let text = "{\"event\":\"mark\",\"mark\":15,\"cpus\":[{\"el2\":5}]}\n\
            {\"event\":\"mark\",\"mark\":1,\"cpus\":[{\"el2\":10}]}\n\
            {\"event\":\"mark\",\"mark\":14,\"cpus\":[{\"el2\":410}]}\n\
            {\"event\":\"mark\",\"mark\":15,\"cpus\":[{\"el2\":410}]}\n\
            {\"event\":\"exit\",\"from\":\"vel2\",\"kind\":\"sync\",\"ec\":26,\"to\":\"el1\",\"count\":2,\"el2\":300}\n\
            {\"event\":\"exit\",\"from\":\"el1\",\"kind\":\"sync\",\"ec\":22,\"to\":\"vel2\",\"count\":2,\"el2\":90}\n\
            {\"event\":\"total\",\"cpus\":[{\"el2\":500}]}\n";
        Run {
            console: console.to_owned(),
            trace: Trace::parse(text).expect("a whole run"),
            record: serde_json::Value::Null,
        }
    }

    #[test]
    fn each_way_of_an_l2_hypercall_has_its_own_cost() {
        let figures =
            figures(&run("nested: section l2-hypercall 2\r\nnested: ok\r\n")).expect("one section");
        let of = |name: &str| {
            figures
                .iter()
                .find(|f| f.name == name)
                .expect(name)
                .measured
        };
        assert!((of("ERET vEL2 to L2") - 150.0).abs() < 1e-9);
        assert!((of("HVC of L2 delivered to vEL2") - 45.0).abs() < 1e-9);
        assert!((of("L2 hypercall, under a bare hypervisor") - 200.0).abs() < 1e-9);
        assert!((of("exits for an L2 hypercall, under a bare hypervisor") - 2.0).abs() < 1e-9);
        assert_eq!(figures.len(), 4, "the others have no section");
    }

    #[test]
    fn a_figure_without_a_single_exit_of_its_kind_is_an_error() {
        assert!(figures(&run("nested: section l2-abort 2\n")).is_err());
    }

    #[test]
    fn sections_that_were_not_marked_or_not_named_are_errors() {
        assert!(sections(&run(""), "nested").is_err());
        assert!(sections(&run("nested: section l2-hypercall"), "nested").is_err());
        assert!(sections(&run("nested: section l2-hypercall 0"), "nested").is_err());
        let two = "nested: section l2-hypercall 2\nnested: section hypercall 2\n";
        assert!(sections(&run(two), "nested").is_err());
    }
}
