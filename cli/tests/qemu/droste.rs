//! Droste as a guest of itself.

use std::fs;

use crate::stage::{Stage, must_say};

/// The example, which users are told of.
const DROSTE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/droste.toml");
/// Six times what it takes on an idle host.
const LIMIT: u64 = 300;

#[test]
fn droste_runs_on_droste() {
    let stage = Stage::new();
    let run = stage.run_on(2).within(LIMIT).with(&[DROSTE]);
    let ended = run.succeeds(&[
        "droste: Droste",
        "droste: Droste",
        "guest: cpus: 2 online",
        "guest: exception level: EL1",
        "guest: self-report ok",
        "droste: inner: powered off",
        "droste: outer: powered off",
    ]);
    assert!(ended.all_off(&["outer"]), "{}", ended.record);
}

#[test]
fn the_outer_one_learns_that_a_guest_of_the_inner_one_failed() {
    let stage = Stage::new();
    let example = fs::read_to_string(DROSTE).expect("the example");
    let broken = example.replace("panic=5", "panic=-1 rdinit=/nothing root=/dev/nothing");
    assert_ne!(broken, example);
    stage.put("broken.toml", broken.as_bytes());
    let file = stage.path("broken.toml");
    let run = stage.run_on(2).within(LIMIT);
    let said = run.with(&[&file.display().to_string()]).fails();
    must_say(
        &said,
        &[
            "droste: inner: stopped at a reset",
            "virtual machine outer: reset",
        ],
    );
}
