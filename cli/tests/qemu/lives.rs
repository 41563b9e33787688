//! Virtual machines that start anew beside others. The roles are those of `guests/src/bin/lives.rs`, and each virtual
//! machine is named for its own.

use crate::stage::{Ended, Stage, must_say};

/// Some lives of at most two seconds of their own time, and what is beside them.
const LIMIT: u64 = 90;

/// Runs the virtual machines on two processors; all must end well.
fn is_well(stage: &Stage, names: &[&str]) -> Ended {
    let run = stage.run_on(2).within(LIMIT);
    let ended = run.succeeds_on_terminal(&[]);
    assert!(ended.all_off(names), "{}\n{}", ended.record, ended.output);
    assert!(!ended.output.contains("guest: failed"), "{}", ended.output);
    ended
}

/// One whose image takes long to copy, beside one that ends a life meanwhile.
fn beside_a_long_copy(role: &str, keys: &str) -> Ended {
    const BIG: usize = 64 << 20;
    const LONG: &str = "resets-on-time";
    let mut stage = Stage::new();
    stage.put("big", &vec![0; BIG]);
    stage.life(LONG, LONG, 2, "initrd = \"big\"");
    stage.life(role, role, 2, keys);
    is_well(&stage, &[LONG, role])
}

#[test]
fn a_guest_whose_vector_registers_trap_is_not_felt_when_neighbours_start_anew() {
    let mut stage = Stage::new();
    stage.life("traps", "traps-vectors", 1, "el2 = \"vhe\"");
    // The second vCPU of each is off, shares the processor of that one, and may be the last to leave.
    for name in ["first", "second", "third"] {
        stage.life(name, "resets", 2, "");
    }
    is_well(&stage, &["traps", "first", "second", "third"]);
}

#[test]
fn no_virtual_cpu_outlives_its_life() {
    beside_a_long_copy("leaves-one-behind", "");
}

#[test]
fn a_life_that_ends_gives_back_the_contexts_of_its_guests() {
    let ended = beside_a_long_copy("leaves-a-guest-behind", "el2 = \"vhe\"");
    let shadows = &ended.record["vms"][1]["shadows"];
    assert_eq!(shadows["in_use"], 0, "{shadows}");
}

#[test]
fn a_slow_life_between_quick_ones_does_not_let_a_guest_reset_for_ever() {
    const ROLE: &str = "resets-now-and-then";
    let mut stage = Stage::new();
    stage.life(ROLE, ROLE, 1, "");
    // Whether a life is quick goes by instructions.
    let run = stage.run_on(1).in_own_time().within(LIMIT);
    let said = run.on_terminal().fails();
    must_say(&said, &["resets itself over and over; it stays off"]);
    must_say(
        &said,
        &["the run failed: virtual machine resets-now-and-then: reset"],
    );
}
