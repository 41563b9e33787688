//! A disk and a network adapter that the guest drives itself.

use std::fs;

use crate::stage::{Stage, must_say};

/// Where the tests write on the disk, in bytes.
const OFFSET: usize = 1 << 20;
/// The size of the disk, in bytes.
const DISK_BYTES: usize = 4 << 20;
/// Reads a word of four letters there.
const READ: &str = "dd if=/dev/vda bs=1M skip=1 count=1 iflag=direct 2>/dev/null | head -c 4; echo";

#[test]
fn a_disk_keeps_what_was_written_across_boots_and_runs() {
    let mut stage = Stage::new();
    stage.put("disk", &vec![0; DISK_BYTES]);
    stage.linux("linux", 2, "disk = \"disk\"");
    let mut terminal = stage.run_on(2).on_terminal();
    terminal.shell("echo deed | tr d k | dd of=/dev/vda bs=1M seek=1 conv=sync 2>/dev/null; sync");
    terminal.shell("reboot");
    terminal.wait_for("linux: restarts");
    terminal.shell_says(READ, "keek");
    terminal.power_off();
    let disk = fs::read(stage.path("disk")).expect("read");
    assert_eq!(&disk[OFFSET..OFFSET + 4], b"keek");
    assert!(disk[..OFFSET].iter().all(|&byte| byte == 0), "nothing else");

    let mut terminal = stage.run_on(2).on_terminal();
    terminal.shell_says(READ, "keek");
    terminal.power_off();
}

#[test]
fn disk_and_network_work_side_by_side_and_interrupt() {
    let mut stage = Stage::new();
    stage.put("disk", &vec![0; DISK_BYTES]);
    stage.linux("linux", 2, "disk = \"disk\"\nnet = \"user\"");
    let mut terminal = stage.run_on(2).on_terminal();
    terminal.shell_says("ip addr show eth0", "inet 10.0.2.15/24");
    terminal.shell_says("ping -c 3 10.0.2.2", "3 packets received");
    let count =
        "awk '/virtio/ && $2 + $3 > 0 { n++ } END { print n \"-interrupt\" }' /proc/interrupts";
    terminal.shell_says(count, "2-interrupt");
    terminal.power_off();
}

#[test]
fn two_virtual_machines_have_networks_of_their_own() {
    let mut stage = Stage::new();
    stage.linux("linux", 1, "net = \"user\"");
    stage.linux("other", 1, "net = \"user\"");
    let ended = stage.run_on(2).succeeds(&[]);
    assert!(ended.all_off(&["linux", "other"]), "{}", ended.record);
    must_say(
        &ended.output,
        &["[other] guest: network: eth0, 10.0.2.2 answers"],
    );
    let own = ended
        .output
        .lines()
        .any(|line| line.starts_with("guest: network: eth0"));
    assert!(own, "{}", ended.output);
}
