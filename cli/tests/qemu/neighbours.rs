//! Guests that share a CPU with one that spoils what is handed from turn to turn. The roles are those of
//! `guests/src/bin/neighbours.rs`, and each virtual machine is named for its own.

use crate::stage::{Ended, Stage, must_say};

/// What a watchful one says, and no other.
const OK: &str = "neighbours: ok";

fn stage(roles: &[&str]) -> Stage {
    let mut stage = Stage::new();
    for role in roles {
        stage.neighbour(role, 1);
    }
    stage
}

/// Runs the roles, the watchful one last, on one processor; all must end well. What one gets of the processor, and when
/// one begins what another waits for, goes by instructions.
fn is_not_felt(roles: [&str; 2], words: &[&str]) -> Ended {
    let ended = stage(&roles)
        .run_on(1)
        .in_own_time()
        .with(words)
        .succeeds(&[OK]);
    assert!(ended.all_off(&roles), "{}", ended.record);
    assert!(!ended.output.contains("guest: failed"), "{}", ended.output);
    ended
}

#[test]
fn a_cpu_switched_off_with_more_pending_than_list_registers_leaves_the_others_running() {
    // Nobody is ready when it goes: the CPU waits for an interrupt with no guest loaded.
    let stage = stage(&["off-with-pending", "sleepy"]);
    let said = stage.run_on(1).in_own_time().fails();
    must_say(&said, &["off with all SGIs pending", OK]);
    // It ended by itself: only the one that nobody can wake did not switch its machine off.
    must_say(
        &said,
        &["the run failed: virtual machine off-with-pending: idle"],
    );
    assert!(!said.contains("virtual machine sleepy"), "{said}");
}

#[test]
fn ends_of_interrupts_that_no_list_register_held_count_for_their_own_guest() {
    is_not_felt(["ends-unlisted", "handler"], &[]);
}

#[test]
fn of_more_active_interrupts_than_list_registers_only_the_named_one_is_deactivated() {
    let ended = stage(&["deactivates"]).run_on(1).succeeds(&[OK]);
    assert!(ended.all_off(&["deactivates"]), "{}", ended.record);
}

#[test]
fn a_guest_that_does_not_listen_to_what_is_pending_keeps_no_interrupt_from_el2() {
    is_not_felt(["listens-to-one-group", "steady"], &[]);
}

#[test]
fn a_guest_that_waits_with_its_timer_long_past_takes_no_more_than_its_turns() {
    is_not_felt(["spins-past-deadline", "steady"], &[]);
}

#[test]
fn an_interrupt_goes_with_its_line_alone_and_beside_another() {
    let ended = stage(&["lines"]).run_on(1).in_own_time().succeeds(&[OK]);
    assert!(ended.all_off(&["lines"]), "{}", ended.record);
    is_not_felt(["steady", "lines"], &[]);
}

#[test]
fn a_deferred_serror_is_not_seen_by_the_next_guest() {
    for cpu in ["max", "neoverse-n2"] {
        is_not_felt(["writes-disr", "reads-disr"], &["--cpu", cpu]);
    }
}

#[test]
fn watchpoints_match_for_their_own_guest_alone() {
    let roles = ["watches-the-first", "watches-the-second"];
    for cpu in ["max", "cortex-a72"] {
        let ended = is_not_felt(roles, &["--cpu", cpu]);
        must_say(&ended.output, &["[watches-the-second] neighbours: ok"]);
    }
}

#[test]
fn an_interrupt_sent_to_a_cpu_that_is_off_does_not_keep_it_from_starting() {
    let role = "kicks-the-sleeping";
    let mut stage = Stage::new();
    stage.neighbour(role, 2);
    let ended = stage.run_on(2).succeeds(&[OK]);
    assert!(ended.all_off(&[role]), "{}", ended.record);
}

#[test]
fn a_guest_that_resets_over_and_over_stays_off() {
    let stage = stage(&["resets", "steady"]);
    let said = stage.run_on(1).in_own_time().on_terminal().fails();
    must_say(&said, &["resets itself over and over; it stays off", OK]);
    must_say(&said, &["the run failed: virtual machine resets: reset"]);
    assert!(!said.contains("virtual machine steady"), "{said}");
}
