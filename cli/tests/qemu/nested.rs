//! Guests that are hypervisors: Linux with KVM and guests of its own, called L2, on either kind of EL2; what else they
//! must bear; and bare-metal guests at EL2.
//!
//! A boot tests as much as it can at once: how many vCPUs, which processor, which EL2 and which monitor go
//! together is spread over the cases so that each value meets each.

use std::fs::File;

use droste::setup::monitor::{L2, Monitor};
use droste_image::El2;

use crate::stage::{Ended, Host, PROMPT, Run, Stage, Terminal, must_say};

/// An L1 with its L2s takes a tenth of this on an idle host.
const LIMIT: u64 = 400;
/// The L2's prompt.
const L2_PROMPT: &str = "l2:~# ";

/// A host for two L2s with Debian's QEMU, whose files it keeps in memory.
pub(crate) fn host(el2: El2, vcpus: u32) -> Host {
    Host {
        el2,
        vcpus,
        memory_mib: 768,
        disks: vec!["debian:qemu-system-arm".into()],
        words: String::new(),
    }
}

/// Linux on `cpus` processors of this kind starts the L2s, whose each must come to its good end; looks at what the
/// record says.
fn starts(host: &Host, l2: &L2, cpu: &str, cpus: u32) -> Ended {
    let mut stage = Stage::new();
    stage.hypervisor(host);
    runs(stage.run_on(cpus).with(&["--cpu", cpu]), host, l2)
}

/// The same for a run of the host.
pub(crate) fn runs(run: Run<'_>, host: &Host, l2: &L2) -> Ended {
    let ended = run
        .within(LIMIT)
        .with(&["--append", &l2.to_string()])
        .succeeds(&["guest: exception level: EL2", "guest: nested ok"]);
    let mode = match host.el2 {
        El2::Nvhe => "guest: kvm: Hyp nVHE mode initialized successfully",
        _ => "guest: kvm: VHE mode initialized successfully",
    };
    let online = format!("guest: cpus: {} online", host.vcpus);
    must_say(&ended.output, &[&online, mode]);
    for number in 1..=l2.parallel * l2.count {
        let monitors = &l2.monitors;
        let monitor = match monitors[(number as usize - 1) % monitors.len()] {
            Monitor::Vmm => "vmm",
            Monitor::Qemu => "qemu",
        };
        let online = format!("[L2.{number}] guest: cpus: {} online", l2.vcpus);
        let end = format!("guest: L2.{number}: {monitor}, {} vCPUs: ok", l2.vcpus);
        must_say(&ended.output, &[&online, &end]);
    }
    let linux = ended.record["vms"]
        .as_array()
        .and_then(|vms| vms.iter().find(|vm| vm["name"] == "linux"));
    let linux = linux.expect("a record of it");
    assert!(linux["exits"]["eret"].as_u64() > Some(0), "{linux}");
    assert_eq!(linux["shadows"]["in_use"], 0, "{linux}");
    ended
}

/// By both monitors, side by side where there are two.
pub(crate) fn l2(vcpus: u32, parallel: u32) -> L2 {
    let mut l2 = L2::new(&[Monitor::Vmm, Monitor::Qemu]);
    (l2.vcpus, l2.parallel, l2.count) = (vcpus, parallel, 2 / parallel);
    l2
}

#[test]
fn linux_with_vhe_runs_two_guests_at_once_on_a_processor_with_every_feature() {
    let ended = starts(&host(El2::Vhe, 2), &l2(2, 2), "max", 2);
    assert!(ended.all_off(&["linux"]), "{}", ended.record);
}

#[test]
fn linux_without_vhe_runs_two_guests_at_once_on_a_neoverse_n2() {
    let ended = starts(&host(El2::Nvhe, 2), &l2(1, 2), "neoverse-n2", 2);
    assert!(ended.all_off(&["linux"]), "{}", ended.record);
}

#[test]
fn linux_with_vhe_on_one_cpu_runs_guests_of_two_virtual_cpus_on_a_neoverse_n2() {
    let mut l2 = l2(2, 1);
    (l2.monitors, l2.count) = (vec![Monitor::Vmm], 1);
    let ended = starts(&host(El2::Vhe, 1), &l2, "neoverse-n2", 1);
    assert!(ended.all_off(&["linux"]), "{}", ended.record);
}

/// Here few hosts have as many processors, so that mostly who waits in a lock waits for one that does not run.
#[test]
fn linux_with_eight_vcpus_runs_a_guest_with_eight() {
    let host = Host {
        memory_mib: 1024,
        disks: vec!["droste:vmm".into()],
        ..host(El2::Vhe, 8)
    };
    let mut l2 = L2::new(&[Monitor::Vmm]);
    l2.vcpus = 8;
    let ended = starts(&host, &l2, droste::qemu::CPU, 8);
    assert!(ended.all_off(&["linux"]), "{}", ended.record);
    let waits = &ended.record["vms"][0]["waits"];
    assert!(waits["gic"].is_u64(), "they are told: {}", ended.record);
}

/// The other virtual machine has no EL2, and there are three vCPUs for one processor.
#[test]
fn linux_without_vhe_shares_a_processor_with_a_neighbour_who_gets_his_part() {
    let host = host(El2::Nvhe, 2);
    let mut l2 = l2(1, 1);
    (l2.monitors, l2.count) = (vec![Monitor::Vmm], 1);
    let mut stage = Stage::new();
    stage.hypervisor(&host);
    stage.neighbour("steady", 1);
    let run = stage.run_on(1).in_own_time().with(&["--cpu", "max"]);
    let ended = runs(run, &host, &l2);
    assert!(ended.all_off(&["linux", "steady"]), "{}", ended.record);
    must_say(&ended.output, &["[steady] neighbours: ok"]);
}

#[test]
fn guests_keep_their_memory_while_linux_swaps_it_out() {
    let mut host = host(El2::Vhe, 2);
    host.memory_mib = 384;
    host.disks = vec!["droste:vmm".into(), "swap".into()];
    let mut l2 = L2::new(&[Monitor::Vmm]);
    (l2.vcpus, l2.memory_mib, l2.reclaim_mib) = (2, 96, 1);
    let mut stage = Stage::new();
    let swap = File::create(stage.path("swap")).expect("created");
    swap.set_len(256 << 20).expect("sized");
    stage.hypervisor(&host);
    let ended = runs(stage.run_on(2), &host, &l2);
    assert!(ended.all_off(&["linux"]), "{}", ended.record);
    must_say(
        &ended.output,
        &["[L2.1] guest: memory: 16 MiB are as they were"],
    );
}

/// Starts two L2s, kills the monitors of both as soon as each has said something, which is as early as a Linux can, and
/// does so `times` times.
fn kill_twice(terminal: &mut Terminal<'_>, times: u32) {
    terminal.shell_says(
        &format!(
            "for n in $(seq {times}); do for i in 1 2; do rm -f /tmp/$i; \
             l2 -v vmm -c $i earlycon ignore_loglevel </dev/null >/tmp/$i 2>&1 & done; \
             until [ -s /tmp/1 -a -s /tmp/2 ]; do usleep 20000; done; kill -9 $(pidof droste-vmm); wait; done; \
             grep -c Booting /tmp/1 /tmp/2; echo all $((2 * n)) are dead"
        ),
        &format!("all {} are dead", 2 * times),
    );
}

/// Types into an L2 and ends it.
fn type_into(terminal: &mut Terminal<'_>, monitor: &str, end: &str) {
    terminal.shell(&format!("l2 -v {monitor}"));
    terminal.wait_for(L2_PROMPT);
    terminal.keys("echo $((6 * 7)) at $(hostname)\n");
    terminal.wait_for("42 at l2");
    terminal.wait_for(L2_PROMPT);
    terminal.keys(end);
}

#[test]
fn a_guests_guest_can_be_typed_into_killed_and_started_again_across_a_reboot() {
    const PAGES: &str = " table pages of ";
    let mut stage = Stage::new();
    stage.hypervisor(&host(El2::Vhe, 2));
    let mut terminal = stage.run_on(2).within(2 * LIMIT).on_terminal();
    type_into(&mut terminal, "qemu", "poweroff\n");
    // A shadow keeps what a guest left until the next guest gets it: these fill every one of 16. Were the pages of one lost
    // with each, the next 8 would take half as many again.
    kill_twice(&mut terminal, 8);
    let before = terminal.report(PAGES);
    kill_twice(&mut terminal, 4);
    let after = terminal.report(PAGES);
    assert!(
        before > 0 && after <= before + before / 4,
        "{before}, then {after} pages"
    );
    terminal.reboot();
    terminal.wait_for("'l2' starts a virtual machine");
    // Nothing is left of what was before but pages that vCPUs have taken ahead.
    let anew = terminal.report(PAGES);
    assert!(anew < before, "{before}, then {anew} pages");
    type_into(&mut terminal, "vmm", "\x01\x01x");
    terminal.wait_for("ended from the keyboard");
    let output = terminal.power_off();
    must_say(&output, &[PROMPT, "linux: powered off"]);
}

#[test]
fn el2_on_a_processor_that_cannot_virtualize_it_is_refused() {
    let mut stage = Stage::new();
    stage.at_el2("nested", "vhe", 1);
    let said = stage.run_on(1).with(&["--cpu", "cortex-a72"]).fails();
    must_say(
        &said,
        &[
            "droste: error: nested: it is to have EL2 (vhe), which takes FEAT_NV2, and these CPUs have none",
        ],
    );
}
