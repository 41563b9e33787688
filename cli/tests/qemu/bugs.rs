//! What Droste says of a bug of its own: where it was, and that all stops.

use crate::stage::{Stage, must_say};

/// Provokes a bug, and gives what the run said when it failed.
fn fails_with_bug(kind: &str) -> String {
    let mut stage = Stage::new();
    stage.fp("fp", 1);
    let script = format!(
        "for word; do shift; case $word in droste.report=*) word=\"$word droste.bug={kind}\" ;; esac; set -- \"$@\" \"$word\"; done"
    );
    let qemu = stage.between(&script);
    stage.run_on(2).by(qemu).fails()
}

#[test]
fn a_panic_stops_all_cpus_and_fails_the_run() {
    must_say(
        &fails_with_bug("panic"),
        &[
            "droste: BUG on CPU 0x0: panicked at ",
            "asked for by droste.bug=panic",
            "all CPUs are stopped",
            "stack, image + 0x",
            "error: the run failed: panicked at ",
        ],
    );
}

#[test]
fn a_stack_that_overflows_is_reported_from_another_one() {
    must_say(
        &fails_with_bug("stack"),
        &[
            "droste: BUG on CPU 0x0: unexpected synchronous exception in EL2",
            "far is in a stack's guard page: the stack overflowed",
            "x30 ",
            "stack, image + 0x",
            "error: ",
        ],
    );
}
