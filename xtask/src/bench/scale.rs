//! `cargo xtask bench scale`: what vCPUs of one hypervisor cost each other.
//!
//! The guest `scale` has 1 to 8 of them, each on a processor of its own, do the same at once: change worlds, take aborts,
//! have pages filled and invalidated, send SGIs. A figure is all that EL2 executes over how often it was done by all
//! together. What a CPU executes while it waits in a lock is in it; so a path without a lock that others want costs the
//! same however many take it. Beside that it is told how often a CPU found each lock of the virtual machine's taken, in the
//! whole run.
//!
//! How the processors meet is the host's affair, so the figures for more than one differ from run to run.

use droste_image::{El2, VmImage};

use super::figures::Figure;
use super::nested::{Of, sections};
use super::runs::{HYPERVISOR_MIB, Parts, Run, vm};
use super::{INSTRUCTIONS, Options, number, publish};
use crate::workspace::Failure;

/// How many vCPUs there are.
const VCPUS: [u32; 4] = [1, 2, 4, 8];
/// The section that takes no lock as long as nothing is going on of L1's own interrupts.
const WITHOUT_LOCK: &str = "change of worlds, and back";
/// What that may cost more with many than with one: what they have to do before the first and after the last.
const ALLOWANCE: f64 = 1.02;

/// Measures, prints, writes, checks.
///
/// # Errors
/// If a run fails, or with `--check` if a change of worlds costs more with more vCPUs.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let parts = Parts::gather(options.qemu.as_deref())?;
    let mut figures = Vec::new();
    for vcpus in VCPUS {
        let hypervisor = VmImage {
            el2: El2::Vhe,
            memory: HYPERVISOR_MIB << 20,
            vcpus,
            ..vm("scale", &[])
        };
        let run = parts.parallel_guest(&hypervisor, "scale", "scale: ok")?;
        let alone = cost_of(&figures, WITHOUT_LOCK);
        figures.extend(self::figures(&run, vcpus, alone)?);
    }
    publish(options, &figures)
}

/// What the section cost that vCPU which was alone.
fn cost_of(figures: &[Figure], section: &str) -> Option<f64> {
    let of_one = |figure: &&Figure| figure.name == named(section, 1);
    figures.iter().find(of_one).map(|figure| figure.measured)
}

fn named(section: &str, vcpus: u32) -> String {
    format!("{vcpus} vCPUs: {section}")
}

fn figures(run: &Run, vcpus: u32, alone: Option<f64>) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for section in sections(run, "scale")? {
        let name = named(section.name, vcpus);
        let measured = section
            .measure(Of::Everything)
            .ok_or_else(|| Failure::new(format!("section {} was done no times", section.name)))?;
        let figure = Figure::new(name, INSTRUCTIONS, measured);
        figures.push(match alone {
            Some(alone) if section.name == WITHOUT_LOCK => figure.target(alone * ALLOWANCE),
            _ => figure,
        });
    }
    let waits = run.record["vms"][0]["waits"].as_object().ok_or_else(|| {
        Failure::new("the hypervisor's record does not say how often CPUs waited in locks")
    })?;
    for (lock, count) in waits {
        let count = count.as_u64().unwrap_or(0);
        if count > 0 {
            let name = format!("{vcpus} vCPUs: waits in the lock {lock}");
            figures.push(Figure::new(name, "waits", number(count)));
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::super::trace::Trace;
    use super::*;
    use serde_json::json;

    fn run(waits: &serde_json::Value) -> Run {
        let text = "{\"event\":\"mark\",\"mark\":15,\"cpus\":[{\"el2\":5},{\"el2\":1}]}\n\
            {\"event\":\"mark\",\"mark\":1,\"cpus\":[{\"el2\":10},{\"el2\":2}]}\n\
            {\"event\":\"mark\",\"mark\":14,\"cpus\":[{\"el2\":410},{\"el2\":402}]}\n\
            {\"event\":\"mark\",\"mark\":15,\"cpus\":[{\"el2\":410},{\"el2\":402}]}\n\
            {\"event\":\"total\",\"cpus\":[{\"el2\":500},{\"el2\":500}]}\n";
        Run {
            console: format!("scale: section {WITHOUT_LOCK} 4\r\nscale: ok\r\n"),
            trace: Trace::parse(text).expect("a whole run"),
            record: json!({ "vms": [{ "waits": waits }] }),
        }
    }

    #[test]
    fn a_figure_is_what_all_executed_over_what_all_did() {
        let waits = json!({ "gic": 3, "uart": 0 });
        let figures = figures(&run(&waits), 2, Some(199.0)).expect("one section");
        let told: Vec<_> = figures
            .iter()
            .map(|f| (f.name.as_str(), f.measured))
            .collect();
        assert_eq!(
            told,
            [
                ("2 vCPUs: change of worlds, and back", 200.0),
                ("2 vCPUs: waits in the lock gic", 3.0)
            ]
        );
        assert!(!figures[0].is_missed());
    }

    #[test]
    fn a_change_of_worlds_that_waits_for_others_misses_its_target() {
        let figures = figures(&run(&json!({})), 2, Some(150.0)).expect("one section");
        assert!(figures[0].is_missed());
        assert_eq!(cost_of(&figures, WITHOUT_LOCK), None, "of two");
    }

    #[test]
    fn a_record_without_waits_is_an_error() {
        assert!(figures(&run(&serde_json::Value::Null), 1, None).is_err());
    }
}
