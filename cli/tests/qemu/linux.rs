//! Debian examines its virtual machine, on several processors and beside others.

use crate::stage::{Stage, must_say};

const REPORT: [&str; 3] = [
    "guest: floating point: ok",
    "guest: self-report ok",
    "linux: powered off",
];

/// Boots a Debian of `vcpus` on a machine with as many processors of this kind.
fn boots_on(cpu: &str, vcpus: u32) {
    let stage = Stage::with_linux(vcpus);
    let ended = stage.run_on(vcpus).with(&["--cpu", cpu]).succeeds(&REPORT);
    must_say(&ended.output, &[&format!("guest: cpus: {vcpus} online")]);
    must_say(&ended.output, &["guest: exception level: EL1"]);
    let has_reports = ended.output.contains("linux: running");
    assert!(!has_reports, "nobody asked for them:\n{}", ended.output);
    assert!(ended.all_off(&["linux"]), "{}", ended.record);
}

#[test]
fn debian_boots_reports_and_powers_off_on_one_cpu() {
    boots_on(droste::qemu::CPU, 1);
}

#[test]
fn debian_boots_reports_and_powers_off_on_two_cpus() {
    boots_on(droste::qemu::CPU, 2);
}

/// SVE, SME, pointer authentication by the architecture's cipher, 52-bit addresses.
#[test]
fn debian_boots_on_a_processor_with_every_feature() {
    boots_on("max", 2);
}

#[test]
fn debian_boots_on_a_neoverse_n2() {
    boots_on("neoverse-n2", 2);
}

/// No VHE, no forced write-back, 8-bit VMIDs.
#[test]
fn debian_boots_on_a_cortex_a72() {
    boots_on("cortex-a72", 2);
}

#[test]
fn two_virtual_cpus_share_a_physical_one() {
    let ended = Stage::with_linux(2).run_on(1).succeeds(&REPORT);
    must_say(
        &ended.output,
        &[
            "linux: more vCPUs (2) than CPUs (1): they take turns",
            "guest: cpus: 2 online",
        ],
    );
}

#[test]
fn two_virtual_machines_report_side_by_side() {
    let mut stage = Stage::with_linux(2);
    stage.linux("other", 1, "");
    let ended = stage.run_on(2).succeeds(&[]);
    assert!(ended.all_off(&["linux", "other"]), "{}", ended.record);
    for line in [
        "guest: self-report ok",
        "guest: cpus: 2 online (0-1)",
        "[other] guest: self-report ok",
        "[other] guest: cpus: 1 online (0)",
    ] {
        must_say(&ended.output, &[&format!("\n{line}\r")]);
    }
}

#[test]
fn a_self_report_with_a_complaint_fails_the_run() {
    let error = Stage::with_linux(1)
        .run_on(1)
        .with(&["--append", "droste.virtio"])
        .fails();
    must_say(
        &error,
        &[
            "guest: self-report failed: devices were promised, none was found",
            "virtual machine linux: reset (stopped at a reset)",
        ],
    );
}

#[test]
fn reports_come_on_the_way_and_the_record_at_the_end() {
    let stage = Stage::with_linux(1);
    let mut terminal = stage.run_on(1).with(&["--stats=1"]).on_terminal();
    // Whatever the guest is at.
    terminal.wait_for("linux: running");
    terminal.wait_for("linux: running");
    let (output, record) = (terminal.power_off(), stage.record());
    must_say(&output, &["linux: powered off"]);
    assert!(
        !output.contains("\"final\""),
        "records are not shown:\n{output}"
    );
    assert_eq!(record["final"], true, "{record}");
    let count = |path: &str| record.pointer(path).and_then(serde_json::Value::as_u64);
    for path in [
        "/el2/image",
        "/el2/memory",
        "/vms/0/exits/hypercall",
        "/vms/0/exits/sysreg",
        "/vms/0/exits/mmio",
        "/vms/0/exits/interrupt",
        "/vms/0/stage2/faults",
        "/vms/0/stage2/table_bytes",
    ] {
        assert!(count(path) > Some(0), "{path} in {record}");
    }
}
