//! Seeds of randomness: each life of each virtual machine finds its own, where the machine has any.

use std::collections::BTreeSet;

use crate::stage::{Stage, must_say};

/// How often the guest begins.
const LIVES: usize = 3;
/// A machine whose tree has no seeds, and whose CPU has no random numbers.
const WITHOUT: &str = "set -- \"$@\" -machine dtb-randomness=off";
const CPU_WITHOUT: &str = "cortex-a72";

/// What the guests said of seeds, a line each.
fn said(output: &str) -> Vec<&str> {
    let lines = output.lines().filter_map(|line| {
        let (_, seeds) = line.trim_end().split_once("seeds: ")?;
        (seeds != "ok").then_some(seeds)
    });
    lines.collect()
}

/// Two guests side by side, each through all of its lives. The terminal is another's, so that no line of theirs is split.
fn two() -> Stage {
    let mut stage = Stage::new();
    stage.fp("quiet", 1);
    stage.seeds("first");
    stage.seeds("second");
    stage
}

#[test]
fn no_two_lives_of_any_virtual_machine_have_the_same_seeds() {
    let mut seen = BTreeSet::new();
    // The machine's own seed alone, the CPU's random numbers alone, and another start.
    for (cpu, script) in [
        (CPU_WITHOUT, ""),
        (droste::qemu::CPU, WITHOUT),
        (CPU_WITHOUT, ""),
    ] {
        let stage = two();
        let run = stage.run_on(2).with(&["--cpu", cpu]);
        let qemu = stage.between(script);
        let ended = run.by(qemu).succeeds_on_terminal(&["seeds: ok"]);
        assert!(
            ended.all_off(&["quiet", "first", "second"]),
            "{}",
            ended.record
        );
        let seeds = said(&ended.output);
        assert_eq!(seeds.len(), 2 * LIVES, "{}", ended.output);
        for word in seeds.iter().flat_map(|seeds| seeds.split(' ')) {
            assert!(word.trim_start_matches('0').len() > 8, "{word}");
            assert!(seen.insert(word.to_owned()), "{word} comes again");
        }
    }
}

#[test]
fn a_machine_without_randomness_gives_its_guests_none() {
    let stage = two();
    let run = stage.run_on(2).with(&["--cpu", CPU_WITHOUT]);
    let ended = run
        .by(stage.between(WITHOUT))
        .succeeds_on_terminal(&["seeds: ok"]);
    assert_eq!(said(&ended.output), ["none"; 2 * LIVES]);
}

#[test]
fn debian_lies_elsewhere_at_each_start_and_has_random_numbers_at_once() {
    let mut stage = Stage::new();
    stage.linux_of(
        droste::setup::guest::KERNEL_PACKAGE,
        1,
        "memory = \"256M\"",
        "loglevel=7",
    );
    let run = stage.run_on(1).with(&["--cpu", CPU_WITHOUT]);
    let ended = run.succeeds(&["KASLR enabled"]);
    must_say(&ended.output, &["random: crng init done"]);
}
