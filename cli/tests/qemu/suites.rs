//! Kernels of the suites of Debian's archive that are not the stable one: the next release's come in other packages.

use droste_image::El2;

use crate::stage::{Stage, must_say};

/// The package, which each suite has.
const PACKAGE: &str = "linux-image-cloud-arm64";
/// Twelve times what the longest takes on an idle host.
const LIMIT: u64 = 400;

/// Boots a kernel of this suite as a plain guest, whose network needs its modules.
fn boots(suite: &str) {
    let mut stage = Stage::new();
    stage.linux_of(&format!("{PACKAGE}@{suite}"), 2, "net = \"user\"", "");
    let ended = stage.run_on(2).within(LIMIT).succeeds(&[
        "guest: network: eth0, 10.0.2.2 answers",
        "guest: self-report ok",
    ]);
    assert!(ended.all_off(&["linux"]), "{}", ended.record);
}

/// Boots the newest as a hypervisor, with these words, and a guest on it.
fn nests(el2: El2, words: &str, mode: &str) {
    let mut stage = Stage::new();
    let keys = format!(
        "el2 = \"{}\"\ndisk = \"droste:vmm\"\nmemory = \"768M\"",
        el2.as_str()
    );
    stage.linux_of(&format!("{PACKAGE}@sid"), 2, &keys, words);
    let kvm = format!("guest: kvm: {mode} mode initialized successfully");
    let ended = stage.run_on(2).within(LIMIT).succeeds(&[
        "guest: exception level: EL2",
        &kvm,
        "guest: L2.1: vmm, 1 vCPUs: ok",
        "guest: nested ok",
    ]);
    must_say(&ended.output, &["[L2.1] guest: exception level: EL1"]);
    assert!(ended.all_off(&["linux"]), "{}", ended.record);
}

#[test]
fn a_backported_kernel_boots() {
    boots("stable-backports");
}

#[test]
fn the_newest_kernel_boots() {
    boots("sid");
}

#[test]
fn the_newest_kernel_runs_a_guest_with_vhe() {
    nests(El2::Vhe, "", "VHE");
}

#[test]
fn the_newest_kernel_runs_a_guest_without_vhe() {
    nests(El2::Nvhe, "kvm-arm.mode=nvhe", "Hyp nVHE");
}

#[test]
fn the_newest_kernel_protects_a_guest_from_itself() {
    nests(El2::Nvhe, "kvm-arm.mode=protected", "Protected hVHE");
}
