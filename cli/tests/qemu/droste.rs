//! Droste as a guest of itself.

use std::fs;

use crate::e2h::SAID;
use crate::stage::{Stage, must_say};

/// The example, which users are told of.
const DROSTE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/droste.toml");
/// Six times what it takes on an idle host.
const LIMIT: u64 = 300;

/// The example with `to` in the place of `from`, as a file.
fn changed(stage: &Stage, from: &str, to: &str) -> String {
    let example = fs::read_to_string(DROSTE).expect("the example");
    let text = example.replace(from, to);
    assert_ne!(text, example);
    stage.put("changed.toml", text.as_bytes());
    stage.path("changed.toml").display().to_string()
}

/// The inner one, of which the first line has `inner` at its end, runs its Linux, and both end well.
fn runs(stage: &Stage, file: &str, inner: &str) {
    let run = stage.run_on(2).within(LIMIT).with(&[file]);
    let ended = run.succeeds(&[
        "droste: Droste",
        "droste: Droste",
        inner,
        "guest: cpus: 2 online",
        "guest: exception level: EL1",
        "guest: self-report ok",
        "droste: inner: powered off",
        "droste: outer: powered off",
    ]);
    assert!(ended.all_off(&["outer"]), "{}", ended.record);
}

#[test]
fn droste_runs_on_droste() {
    runs(&Stage::new(), DROSTE, " on 2 CPUs");
}

#[test]
fn droste_runs_on_droste_at_an_el2_with_vhe() {
    let stage = Stage::new();
    let file = changed(&stage, "el2 = \"nvhe\"", "el2 = \"vhe\"");
    runs(&stage, &file, SAID);
}

#[test]
fn the_outer_one_learns_that_a_guest_of_the_inner_one_failed() {
    let stage = Stage::new();
    let file = changed(
        &stage,
        "panic=5",
        "panic=-1 rdinit=/nothing root=/dev/nothing",
    );
    let said = stage.run_on(2).within(LIMIT).with(&[&file]).fails();
    must_say(
        &said,
        &[
            "droste: inner: stopped at a reset",
            "virtual machine outer: reset",
        ],
    );
}
