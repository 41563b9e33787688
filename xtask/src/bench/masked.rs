//! `cargo xtask bench masked`: how long EL2 lets interrupts wait, at the longest, by what a guest asks for.
//!
//! EL2 runs with interrupts masked. It notices them where it enters a guest, where it waits (WFI), where it acknowledges
//! one (ICC_IAR1_EL1), and where it asks whether to give way to one (ISR_EL1). The plugin counts EL2's instructions
//! between two such points and keeps the longest stretch of each cause. The guest `longest` asks for each thing that takes
//! long, as much of it as it can; the others are there for what it does not think of. All of it on one CPU, where the
//! counts are exact.
//!
//! How long one CPU waits for another in a lock is counted on several, where `longest` has its vCPUs ask for the
//! same at once. They run as the host lets them, so a waiting CPU's own instructions say nothing; in their place are
//! those that CPUs execute at EL2 which are there when it begins to wait, or change the lock before it goes on. A lock in
//! which who comes later goes first shows there as one that has no bound. These counts differ from run to run.

use std::collections::BTreeMap;

use droste_image::{El2, OnReboot, VmImage};

use super::figures::Figure;
use super::functions::Functions;
use super::runs::{Parts, Run, vm};
use super::trace::Stretch;
use super::{INSTRUCTIONS, Options, number, publish};
use crate::workspace::Failure;

/// No guest may keep EL2 longer than this with interrupts masked.
const BOUND: f64 = 200_000.0;
/// RAM of the guest that asks for everything, and an end of it that no 2 MiB block maps. With EL2 it has more: shadows
/// have tables by it.
const RAM: u64 = 2 << 30;
const RAM_AT_EL2: u64 = 16 << 30;
const PAGED: u64 = (2 << 20) - (64 << 10);
/// vCPUs without EL2, and with it.
const VCPUS: u32 = 64;
const VCPUS_AT_EL2: u32 = 16;
/// vCPUs that contend, each on a CPU of its own, and their RAM.
const CONTENDING: u32 = 4;
const RAM_OF_CONTENDING: u64 = 2 << 30;
/// What a restart brings anew, beside the kernel.
const INITRD: usize = 32 << 20;
/// Stretches of a run without sections that are told.
const TOLD: usize = 3;

/// Measures, prints, writes, checks.
///
/// # Errors
/// If a run fails, or with `--check` if something takes longer than the bound.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let parts = Parts::gather(options.qemu.as_deref())?;
    let mut figures = Vec::new();
    let mut functions = None;
    let mut add = |title: &str, run: Run| -> Result<(), Failure> {
        if functions.is_none() {
            functions = Some(Functions::read(&parts.linked())?);
        }
        let functions = functions.as_ref().expect("they were read");
        figures.extend(self::figures(title, &run, functions)?);
        Ok(())
    };
    let large = VmImage {
        memory: RAM + PAGED,
        vcpus: VCPUS,
        ..vm("longest", &[])
    };
    let ok = "longest: ok";
    let no_reboot = "droste.no-reboot";
    add("EL1", parts.guest(&large, "longest", no_reboot, ok)?)?;
    let initrd = vec![0; INITRD];
    let restarting = VmImage {
        name: "longest-restart",
        bootargs: "restart",
        on_reboot: OnReboot::Restart,
        initrd: Some(&initrd),
        ..large
    };
    add("restart", parts.guest(&restarting, "longest", "", ok)?)?;
    for (title, el2, words) in [("VHE", El2::Vhe, ""), ("nVHE", El2::Nvhe, "nvhe")] {
        let hypervisor = VmImage {
            el2,
            memory: RAM_AT_EL2 + PAGED,
            vcpus: VCPUS_AT_EL2,
            bootargs: words,
            ..large
        };
        add(title, parts.guest(&hypervisor, "longest", no_reboot, ok)?)?;
    }
    for (title, el2) in [("contended, EL1", El2::None), ("contended, VHE", El2::Vhe)] {
        let contending = VmImage {
            name: "longest-contend",
            el2,
            memory: RAM_OF_CONTENDING,
            vcpus: CONTENDING,
            bootargs: "contend",
            ..large
        };
        add(title, parts.parallel_guest(&contending, "longest", ok)?)?;
    }
    add("exits", parts.exits(1)?)?;
    for (title, el2) in [("nested, VHE", El2::Vhe), ("nested, nVHE", El2::Nvhe)] {
        add(title, parts.nested(el2)?)?;
    }
    let hostile = VmImage {
        memory: 128 << 20,
        ..vm("hostile", &[])
    };
    add(
        "hostile",
        parts.guest(&hostile, "hostile", no_reboot, "hostile: ok")?,
    )?;
    for (title, el2) in [
        ("hostile-el2, VHE", El2::Vhe),
        ("hostile-el2, nVHE", El2::Nvhe),
    ] {
        let hostile = VmImage {
            name: "hostile-el2",
            el2,
            ..hostile
        };
        add(
            title,
            parts.guest(&hostile, "hostile-el2", no_reboot, "hostile-el2: ok")?,
        )?;
    }
    publish(options, &figures)
}

/// The longest stretch of each section; of what is in none, the longest ones by cause.
fn figures(title: &str, run: &Run, functions: &Functions) -> Result<Vec<Figure>, Failure> {
    let prefix = "longest: section ";
    let names = run
        .console
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix(prefix));
    let names: Vec<&str> = names.map(|name| name.trim_end_matches(" 1")).collect();
    if names.is_empty() {
        return Ok(by_cause(title, run.trace.between(), functions));
    }
    let stages = run.trace.stages()?;
    if names.len() != stages.len() {
        return Err(Failure::new(format!(
            "{title}: the guest names {} sections and marks {}",
            names.len(),
            stages.len()
        )));
    }
    let sections = names.iter().zip(&stages).flat_map(|(name, stage)| {
        let (stretches, name) = (&stage.stretches, format!("{title}: {name}"));
        let longest = stretches.iter().max_by_key(|s| s.longest);
        let waited = stretches.iter().max_by_key(|s| s.waited_for);
        let waited = waited.filter(|s| s.waited_for > 0).map(|stretch| {
            let name = format!("{name}, waited for others ({})", stretch.cause);
            Figure::new(name, INSTRUCTIONS, number(stretch.waited_for)).target(BOUND)
        });
        let longest = longest.map(|stretch| figure(&name, stretch, functions));
        longest.into_iter().chain(waited)
    });
    let mut figures: Vec<Figure> = sections.collect();
    let between = format!("{title}, between");
    figures.extend(by_cause(&between, run.trace.between(), functions));
    Ok(figures)
}

/// The longest causes, each with its longest stretch.
fn by_cause<'a>(
    title: &str,
    stretches: impl Iterator<Item = &'a Stretch>,
    functions: &Functions,
) -> Vec<Figure> {
    let mut causes: BTreeMap<&str, &Stretch> = BTreeMap::new();
    for stretch in stretches {
        let known = causes.entry(&stretch.cause).or_insert(stretch);
        if stretch.longest > known.longest {
            *known = stretch;
        }
    }
    let mut longest: Vec<&Stretch> = causes.into_values().collect();
    longest.sort_by_key(|stretch| core::cmp::Reverse(stretch.longest));
    let told = longest.into_iter().take(TOLD);
    told.map(|stretch| figure(title, stretch, functions))
        .collect()
}

fn figure(title: &str, stretch: &Stretch, functions: &Functions) -> Figure {
    let place = functions.of_most(&stretch.places);
    let place = place.map_or_else(String::new, |name| format!(", in {name}"));
    let name = format!("{title} ({}{place})", stretch.cause);
    Figure::new(name, INSTRUCTIONS, number(stretch.longest)).target(BOUND)
}

#[cfg(test)]
mod tests {
    use super::super::trace::Trace;
    use super::*;

    const TRACE: &str = "{\"event\":\"mark\",\"mark\":15,\"cpus\":[{\"el2\":5}]}\n\
        {\"event\":\"masked\",\"from\":\"vel2\",\"kind\":\"irq\",\"ec\":0,\"longest\":50,\"waited_for\":0,\"places\":[]}\n\
        {\"event\":\"mark\",\"mark\":1,\"cpus\":[{\"el2\":10}]}\n\
        {\"event\":\"mark\",\"mark\":14,\"cpus\":[{\"el2\":410}]}\n\
        {\"event\":\"mark\",\"mark\":15,\"cpus\":[{\"el2\":410}]}\n\
        {\"event\":\"masked\",\"from\":\"vel2\",\"kind\":\"sync\",\"ec\":26,\"longest\":90,\"waited_for\":0,\"places\":[]}\n\
        {\"event\":\"masked\",\"name\":\"S1_4_C8_C3_6\",\"direction\":\"write\",\"from\":\"vel2\",\"kind\":\"sync\",\
         \"ec\":24,\"longest\":300000,\"waited_for\":0,\"places\":[[1075841024,5],[1075841280,3],[1075841028,7]]}\n\
        {\"event\":\"end\"}\n\
        {\"event\":\"masked\",\"from\":\"el1\",\"kind\":\"sync\",\"ec\":22,\"longest\":7,\"waited_for\":0,\"places\":[]}\n\
        {\"event\":\"total\",\"cpus\":[{\"el2\":500}]}\n";

    fn functions() -> Functions {
        Functions::from([(0x100, "early"), (0x800, "table::free"), (0x900, "late")])
    }

    fn run(console: &str) -> Run {
        Run {
            console: console.to_owned(),
            trace: Trace::parse(TRACE).expect("a whole run"),
            record: serde_json::Value::Null,
        }
    }

    #[test]
    fn a_section_has_its_longest_stretch_with_cause_and_place() {
        let run = run("longest: section TLBI of all 1\r\nlongest: ok\r\n");
        let figures = figures("VHE", &run, &functions()).expect("one section");
        assert_eq!(
            figures[0].name,
            "VHE: TLBI of all (vel2 write S1_4_C8_C3_6, in table::free)"
        );
        assert!(figures[0].is_missed());
        let between: Vec<f64> = figures[1..].iter().map(|f| f.measured).collect();
        assert_eq!(between, [50.0, 7.0]);
    }

    #[test]
    fn what_a_section_waited_for_others_is_told_beside_its_longest_stretch() {
        let mut run = run("longest: section a shadow 1\n");
        let waits = r#""longest":300000,"waited_for":0"#;
        let text = TRACE.replace(waits, r#""longest":300000,"waited_for":250000"#);
        run.trace = Trace::parse(&text).expect("a whole run");
        let figures = figures("contended", &run, &functions()).expect("one section");
        assert_eq!(
            figures[1].name,
            "contended: a shadow, waited for others (vel2 write S1_4_C8_C3_6)"
        );
        assert!(figures[1].is_missed());
    }

    #[test]
    fn sections_that_were_not_marked_are_an_error() {
        let two = "longest: section a 1\nlongest: section b 1\n";
        assert!(figures("EL1", &run(two), &functions()).is_err());
    }

    #[test]
    fn a_run_without_sections_tells_its_longest_causes() {
        let figures = figures("hostile", &run(""), &functions()).expect("no section");
        let found: Vec<f64> = figures.iter().map(|f| f.measured).collect();
        assert_eq!(found, [50.0, 7.0]);
    }
}
