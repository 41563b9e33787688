//! The time of day: each guest has a clock that shows the machine's.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::refusals::{tree, with_tree};
use crate::stage::{Stage, must_say};

const SECONDS_A_DAY: u64 = 86_400;
/// Days since 1970, by the host.
fn today() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("later than 1970").as_secs() / SECONDS_A_DAY
}

#[test]
fn a_guest_finds_a_clock_that_goes_can_be_set_and_wakes() {
    let mut stage = Stage::new();
    stage.clock("clock", "");
    // Its neighbour shares the processor, and sets a clock of its own.
    stage.clock("other", "");
    let run = stage.run_on(1);
    let ended = run.succeeds_on_terminal(&["clock: restarts"]);
    assert!(ended.all_off(&["clock", "other"]), "{}", ended.record);
    for ok in ["\nclock: ok", "[other] clock: ok"] {
        must_say(&ended.output, &[ok]);
    }
    assert!(!ended.output.contains("clock: failed"), "{}", ended.output);
}

#[test]
fn a_guest_hypervisor_finds_the_same_clock() {
    for kind in ["vhe", "nvhe"] {
        let mut stage = Stage::new();
        stage.at_el2("clock", kind, 1);
        let ended = stage.run_on(1).succeeds_on_terminal(&["clock: ok"]);
        assert!(ended.all_off(&["clock"]), "{}", ended.record);
        assert!(!ended.output.contains("clock: failed"), "{}", ended.output);
    }
}

#[test]
fn a_machine_without_a_clock_gives_its_guests_none() {
    let mut stage = Stage::new();
    stage.clock("clock", "none");
    let qemu = with_tree(&stage, &tree(b"arm,pl031", b"arm,other"));
    let ended = stage.run_on(2).by(qemu).succeeds(&["clock: ok"]);
    assert!(ended.all_off(&["clock"]), "{}", ended.record);
}

#[test]
fn debian_knows_what_day_it_is() {
    let stage = Stage::with_linux(1);
    let before = today();
    let mut terminal = stage.run_on(1).on_terminal();
    terminal.shell("echo day-$(($(date +%s) / 86400))-day");
    let output = terminal.power_off();
    // A day may end meanwhile.
    let is_today = (before..=today()).any(|day| output.contains(&format!("day-{day}-day")));
    assert!(is_today, "not day {before} since 1970 in\n{output}");
}
