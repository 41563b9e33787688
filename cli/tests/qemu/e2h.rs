//! EL2 with E2H = 1, as on CPUs that know nothing else, where a word asks for it.

use droste_image::El2;

use crate::nested::{host, l2, runs};
use crate::stage::{Stage, must_say};

/// The word on Droste's command line.
pub(crate) const E2H: [&str; 2] = ["--droste-append", "droste.e2h=1"];
/// What Droste says of it.
pub(crate) const SAID: &str = "EL2 with VHE";
/// Six times what it takes on an idle host.
const LIMIT: u64 = 300;

#[test]
fn small_hypervisors_find_what_the_architecture_says() {
    for (guest, kind) in [
        ("vel2", "vhe"),
        ("nested", "vhe"),
        ("ids", "vhe"),
        ("hostile-el2", "vhe"),
        ("hostile-el2", "nvhe"),
    ] {
        let mut stage = Stage::new();
        stage.at_el2(guest, kind, 1);
        let run = stage.run_on(1).within(LIMIT).with(&E2H);
        let ended = run.succeeds(&[SAID, &format!("{guest}: ok")]);
        assert!(ended.all_off(&[guest]), "{}", ended.record);
    }
}

#[test]
fn a_small_hypervisor_without_vhe_runs_its_guests() {
    let mut stage = Stage::new();
    stage.at_el2("nested", "nvhe", 1);
    stage.run_on(1).with(&E2H).succeeds(&[SAID, "nested: ok"]);
}

#[test]
fn linux_runs_two_guests_at_once_on_either_kind_of_el2() {
    for (el2, cpu) in [(El2::Vhe, "max"), (El2::Nvhe, "neoverse-n2")] {
        let host = host(el2, 2);
        let mut stage = Stage::new();
        stage.hypervisor(&host);
        let run = stage.run_on(2).with(&["--cpu", cpu]).with(&E2H);
        let ended = runs(run, &host, &l2(2, 2));
        must_say(&ended.output, &[SAID]);
    }
}

#[test]
fn guests_do_not_feel_each_other_on_a_shared_cpu() {
    let mut stage = Stage::new();
    stage.at_el2("nested", "vhe", 1);
    stage.fp("fp", 1);
    let ended = stage.run_on(1).with(&E2H).succeeds(&[SAID]);
    assert!(ended.all_off(&["nested", "fp"]), "{}", ended.record);
}

#[test]
fn a_cpu_without_vhe_keeps_to_e2h_0() {
    let mut stage = Stage::new();
    stage.fp("fp", 1);
    let run = stage.run_on(1).with(&["--cpu", "cortex-a72"]).with(&E2H);
    let ended = run.succeeds(&["droste: Droste"]);
    assert!(!ended.output.contains(SAID), "{}", ended.output);
}
