//! A disk and a network adapter that the guest drives itself.

use std::fs;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::stage::{Stage, must_say};

/// How long a guest may take to answer.
const LIMIT: Duration = Duration::from_mins(2);
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
    terminal.reboot();
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
    must_say(&ended.output, &["\nguest: network: eth0"]);
}

/// A qcow2 image of the disk's size in which nothing is written yet: a header, the counts of its four clusters, and an
/// empty table of the others.
fn empty_qcow2() -> Vec<u8> {
    const CLUSTER: usize = 1 << 16;
    let mut image = vec![0; 4 * CLUSTER];
    let mut header = b"QFI\xfb\0\0\0\x02".to_vec();
    header.extend([0; 12]);
    header.extend(16_u32.to_be_bytes());
    header.extend((DISK_BYTES as u64).to_be_bytes());
    header.extend([0, 1].map(u32::to_be_bytes).concat());
    header.extend(
        [3 * CLUSTER as u64, CLUSTER as u64]
            .map(u64::to_be_bytes)
            .concat(),
    );
    header.extend([1_u32, 0].map(u32::to_be_bytes).concat());
    header.extend([0; 8]);
    image[..header.len()].copy_from_slice(&header);
    image[CLUSTER..CLUSTER + 8].copy_from_slice(&(2 * CLUSTER as u64).to_be_bytes());
    image[2 * CLUSTER..2 * CLUSTER + 8].copy_from_slice(&[0, 1, 0, 1, 0, 1, 0, 1]);
    image
}

#[test]
fn a_qcow2_disk_keeps_what_was_written_and_can_be_read_only() {
    let vm = |access: &str| {
        let mut stage = Stage::new();
        let disk = format!("disk = {{ file = \"disk\", format = \"qcow2\"{access} }}");
        stage.linux("linux", 1, &disk);
        stage
    };
    let writing = vm("");
    writing.put("disk", &empty_qcow2());
    let mut terminal = writing.run_on(1).on_terminal();
    terminal.shell_says("cat /sys/block/vda/size", "8192");
    terminal.shell("echo deed | tr d k | dd of=/dev/vda bs=1M seek=1 conv=sync 2>/dev/null; sync");
    terminal.shell_says(READ, "keek");
    terminal.power_off();
    let disk = fs::read(writing.path("disk")).expect("read");
    assert!(disk.len() > empty_qcow2().len() && disk.starts_with(b"QFI"));

    let reading = vm(", readonly = true");
    reading.put("disk", &disk);
    let mut terminal = reading.run_on(1).on_terminal();
    terminal.shell_says(READ, "keek");
    terminal.shell_says(
        "dd if=/dev/zero of=/dev/vda bs=512 count=1",
        "not permitted",
    );
    terminal.power_off();
    assert_eq!(fs::read(reading.path("disk")).expect("read"), disk);
}

#[test]
fn a_port_of_the_host_leads_to_the_guest() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let address = free.expect("a port");
    let mut stage = Stage::new();
    let net = format!(
        "net = {{ user = true, forward = [\"{}:7777\"] }}",
        address.port()
    );
    stage.linux("linux", 1, &net);
    let mut terminal = stage.run_on(1).on_terminal();
    terminal.shell("echo greetings | nc -l -p 7777; echo served-$((1+1))");
    let deadline = Instant::now() + LIMIT;
    // QEMU takes a connection before the guest does.
    let mut heard = String::new();
    while heard.trim() != "greetings" {
        assert!(Instant::now() < deadline, "heard {heard:?}");
        thread::sleep(Duration::from_millis(100));
        let Ok(mut stream) = TcpStream::connect(address) else {
            continue;
        };
        stream.set_read_timeout(Some(LIMIT)).expect("set");
        heard.clear();
        let _ = stream.read_to_string(&mut heard);
    }
    terminal.wait_for("served-2");
    terminal.power_off();
}
