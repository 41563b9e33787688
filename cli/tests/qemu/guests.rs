//! The project's own guests: one that means harm, one that watches its floating-point registers, and one that tries what
//! its identification registers say.

use crate::stage::{Ended, Stage, must_say};

/// A hostile guest tries tens of thousands of accesses, each of which traps.
const HOSTILE_LIMIT: u64 = 300;

/// Runs the hostile guest on a processor of this kind.
fn is_withstood_on(cpu: &str) {
    let mut stage = Stage::new();
    stage.hostile("hostile");
    let ended = stage
        .run_on(1)
        .with(&["--cpu", cpu])
        .within(HOSTILE_LIMIT)
        .succeeds(&["hostile: ok", "hostile: powered off"]);
    assert!(ended.all_off(&["hostile"]), "{}", ended.record);
}

#[test]
fn a_hostile_guest_finds_nothing_on_a_processor_with_every_feature() {
    is_withstood_on("max");
}

#[test]
fn a_hostile_guest_finds_nothing_on_a_neoverse_n2() {
    is_withstood_on("neoverse-n2");
}

#[test]
fn a_hostile_guest_finds_nothing_on_a_cortex_a72() {
    is_withstood_on("cortex-a72");
}

#[test]
fn a_neighbour_does_not_feel_a_hostile_guest() {
    let mut stage = Stage::new();
    stage.hostile("hostile");
    stage.linux("linux", 2, "");
    let ended = stage.run_on(2).within(HOSTILE_LIMIT).succeeds(&[]);
    assert!(ended.all_off(&["hostile", "linux"]), "{}", ended.record);
    must_say(&ended.output, &["hostile: ok"]);
    must_say(&ended.output, &["[linux] guest: self-report ok"]);
}

#[test]
fn what_identification_registers_show_works_and_what_they_hide_is_not_there() {
    for cpu in ["max", "neoverse-n2", "neoverse-v1", "cortex-a72"] {
        let mut stage = Stage::new();
        stage.ids("ids");
        let ended = stage.run_on(1).with(&["--cpu", cpu]).succeeds(&["ids: ok"]);
        assert!(ended.all_off(&["ids"]), "{}", ended.record);
    }
}

/// Runs floating-point guests of two vCPUs each.
fn keeps_registers(names: &[&str], cpus: u32) -> Ended {
    let mut stage = Stage::new();
    for name in names {
        stage.fp(name, 2);
    }
    let ended = stage.run_on(cpus).succeeds(&["fp: ok"]);
    assert!(ended.all_off(names), "{}", ended.record);
    assert!(!ended.output.contains("fp: failed"), "{}", ended.output);
    ended
}

#[test]
fn floating_point_registers_survive_interrupts() {
    keeps_registers(&["fp"], 2);
}

#[test]
fn floating_point_registers_survive_turns_on_one_cpu() {
    keeps_registers(&["fp"], 1);
}

#[test]
fn floating_point_registers_survive_turns_between_virtual_machines() {
    let ended = keeps_registers(&["fp", "other"], 2);
    must_say(&ended.output, &["[other] fp: ok"]);
}
