//! The project's own guests that are hypervisors: what they find at EL2 of a machine without Droste they must find at a
//! virtual EL2, and none of them harms who is beside it.

use crate::stage::{DROSTE, Ended, HostCpus, Run, Stage, must_say, parts, patient};
use droste::qemu::{Machine, run_with_deadline};
use std::time::Duration;

/// The kinds of EL2, as descriptions name them, and the word by which a guest on the bare machine makes its own so.
const KINDS: [(&str, &str); 2] = [("vhe", ""), ("nvhe", "nvhe")];
/// A hostile guest tries more than a hundred thousand things, most of which trap.
const HOSTILE_LIMIT: u64 = 300;
/// The processor of the other tests on the bare machine, and two that are on the market, which have no FEAT_ECV; the second
/// has no FEAT_FGT either. Beside each, what a guest that is a hypervisor is told of it.
const CPUS: [(&str, &str); 3] = [
    (droste::qemu::CPU, ""),
    ("neoverse-n2", "no-ecv"),
    ("neoverse-v1", "no-ecv"),
];

/// Runs a guest of this name on Droste, alone, with each kind of EL2 on each processor.
fn is_well_at_virtual_el2(name: &str) {
    for (cpu, words) in CPUS {
        for (kind, _) in KINDS {
            let mut stage = Stage::new();
            stage.at_el2_with(name, kind, 1, words);
            let ended = stage.run_on(1).with(&["--cpu", cpu]).succeeds(&[&ok(name)]);
            assert!(ended.all_off(&[name]), "{}", ended.record);
        }
    }
}

/// Runs it at EL2 of a machine without Droste.
fn is_well_at_el2(name: &str) {
    for (_, word) in KINDS {
        let machine = Machine {
            cpus: 1,
            append: format!("bare {word}"),
            ..Machine::new(&parts().qemu, parts().at_el2(name))
        };
        let _host = HostCpus::wait(1);
        let limit = Duration::from_secs(patient(HOSTILE_LIMIT));
        run_with_deadline(machine.command(DROSTE), &[&ok(name)], limit)
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

/// What a guest says when nothing was wrong.
fn ok(name: &str) -> String {
    format!("{name}: ok")
}

/// Runs the hostile hypervisor beside others; all must end well.
fn is_withstood(run: Run<'_>, names: &[&str]) -> Ended {
    let ended = run.within(HOSTILE_LIMIT).succeeds(&[&ok("hostile-el2")]);
    assert!(ended.all_off(names), "{}", ended.record);
    ended
}

#[test]
fn el2_is_what_the_architecture_says_on_the_bare_machine() {
    is_well_at_el2("vel2");
    is_well_at_el2("nested");
    is_well_at_el2("hostile-el2");
    is_well_at_el2("ids");
}

#[test]
fn a_virtual_el2_is_what_the_architecture_says() {
    is_well_at_virtual_el2("vel2");
}

#[test]
fn a_small_hypervisor_runs_its_guests_at_a_virtual_el2() {
    is_well_at_virtual_el2("nested");
}

#[test]
fn what_identification_registers_show_a_virtual_el2_works_and_what_they_hide_is_not_there() {
    is_well_at_virtual_el2("ids");
}

#[test]
fn small_hypervisors_that_share_a_cpu_do_not_feel_each_other() {
    let mut stage = Stage::new();
    stage.at_el2("nested", "vhe", 1);
    stage.at_el2("vel2", "nvhe", 1);
    let ended = stage.run_on(1).succeeds(&[]);
    assert!(ended.all_off(&["nested", "vel2"]), "{}", ended.record);
    must_say(&ended.output, &["nested: ok"]);
    must_say(&ended.output, &["vel2: ok"]);
}

#[test]
fn a_hostile_hypervisor_finds_nothing_whatever_its_el2() {
    for (kind, _) in KINDS {
        let mut stage = Stage::new();
        stage.at_el2("hostile-el2", kind, 2);
        is_withstood(stage.run_on(2), &["hostile-el2"]);
    }
}

#[test]
fn a_neighbour_on_the_same_cpu_does_not_feel_a_hostile_hypervisor() {
    let mut stage = Stage::new();
    stage.at_el2("hostile-el2", "vhe", 1);
    stage.neighbour("steady", 1);
    let ended = is_withstood(stage.run_on(1).in_own_time(), &["hostile-el2", "steady"]);
    must_say(&ended.output, &["[steady] neighbours: ok"]);
}
