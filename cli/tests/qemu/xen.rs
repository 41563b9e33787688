//! Xen as a guest that is a hypervisor: another one than Linux's, on an EL2 without VHE.

use crate::stage::{Stage, must_say};

/// The example, which users are told of.
const XEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/xen.toml");
/// Six times what it takes on an idle host.
const LIMIT: u64 = 240;

#[test]
fn xen_runs_a_linux() {
    let stage = Stage::new();
    let run = stage.run_on(2).within(LIMIT).with(&[XEN]);
    let ended = run.succeeds(&[
        "(XEN) Xen version",
        "(XEN) Brought up 2 CPUs",
        "(XEN) *** LOADING DOMAIN 0 ***",
        "guest: cpus: 2 online",
        "guest: exception level: EL1",
        "guest: self-report ok",
        "(XEN) Hardware Dom0 halted",
    ]);
    must_say(&ended.output, &["droste: xen: powered off"]);
    assert!(ended.all_off(&["xen"]), "{}", ended.record);
}

#[test]
fn its_domain_0_has_the_terminal() {
    let stage = Stage::new();
    let mut terminal = stage.run_on(2).within(LIMIT).with(&[XEN]).on_terminal();
    terminal.shell_says("cat /sys/hypervisor/type /proc/cmdline", "xen");
    terminal.wait_for("console=hvc0");
    let output = terminal.power_off();
    must_say(
        &output,
        &["(XEN) Hardware Dom0 halted", "droste: xen: powered off"],
    );
}
