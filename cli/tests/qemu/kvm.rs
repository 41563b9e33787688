//! Linux at EL2 of a machine without Droste starts a guest of its own: what a guest of Droste's that is a hypervisor runs
//! is sound by itself.

use crate::stage::{DROSTE, HostCpus, must_say, parts, patient};
use droste::qemu::{Device, DeviceKind, DiskImage, Machine, Session};
use droste::setup::Setup;
use droste::setup::guest::KERNEL_PACKAGE;
use droste::setup::monitor::{L2, Monitor, Provisions};
use std::time::Duration;

/// The prompt of a machine that nobody gave a name.
const PROMPT: &str = "guest:~# ";
/// A host and its guest must have ended within so many seconds; it takes a tenth on an idle machine.
const LIMIT: u64 = 240;
/// Memory of the host, in MiB.
const MEMORY_MIB: u64 = 1024;

/// What the host says before it starts anything.
const BEFORE: [&str; 2] = [
    "guest: exception level: EL2",
    "guest: kvm: VHE mode initialized",
];

pub(crate) fn limit() -> Duration {
    Duration::from_secs(patient(LIMIT))
}

/// The host, on two processors, with a bare-metal guest on its disk as well; `words` are added to its command line.
pub(crate) fn host(monitor: Monitor, words: &str) -> droste::Result<Machine> {
    let setup = Setup::new()?;
    let kernel = setup.kernel(KERNEL_PACKAGE)?;
    let mut provisions = Provisions::new(monitor, kernel.image());
    provisions.more = vec![("fp".into(), parts().fp.clone())];
    let mut machine = Machine::new(&parts().qemu, kernel.image());
    machine.initrd = Some(setup.initrd(Some(&kernel))?);
    machine.memory_mib = MEMORY_MIB;
    machine.append =
        format!("console=ttyAMA0 loglevel=5 cryptomgr.notests panic=5 droste.virtio {words}");
    machine.devices = vec![Device {
        kind: DeviceKind::Disk(DiskImage::read_only(provisions.disk(&setup)?)),
        transport: 0,
    }];
    Ok(machine)
}

/// Runs a host that starts what is asked for, and returns all that was said, which has to begin well.
fn runs(l2: &L2) -> String {
    let machine = host(Monitor::Vmm, &format!("droste.self-report {l2}"));
    let machine = machine.unwrap_or_else(|error| panic!("{error}"));
    let _host = HostCpus::wait(2);
    let session = Session::start(machine.command(DROSTE), limit()).expect("QEMU starts");
    let output = session.finish().unwrap_or_else(|error| panic!("{error}"));
    must_say(&output, &BEFORE);
    output
}

#[test]
fn two_linuxes_run_on_the_small_monitor_beside_each_other() {
    let mut l2 = L2::new(&[Monitor::Vmm]);
    (l2.vcpus, l2.parallel) = (2, 2);
    let output = runs(&l2);
    for number in 1..=2 {
        let line = format!("[L2.{number}] guest: cpus: 2 online");
        let end = format!("guest: L2.{number}: vmm, 2 vCPUs: ok");
        must_say(&output, &[&line, &end, "guest: nested ok", "Power down"]);
    }
}

#[test]
fn a_bare_metal_guest_runs_on_the_small_monitor() {
    let mut l2 = L2::new(&[Monitor::Vmm]);
    (l2.vcpus, l2.kernel) = (2, Some("fp".into()));
    let output = runs(&l2);
    must_say(
        &output,
        &["[L2.1] fp: ok", "guest: nested ok", "Power down"],
    );
}

#[test]
fn a_guest_that_does_not_end_well_fails_its_host() {
    let mut l2 = L2::new(&[Monitor::Vmm]);
    l2.kernel = Some("nothing".into());
    let output = runs(&l2);
    must_say(
        &output,
        &[
            "the disk holds no nothing",
            "guest: nested failed: ",
            "Restarting system",
        ],
    );
    assert!(!output.contains("nested ok"), "{output}");
}

#[test]
fn one_can_type_into_linux_on_debians_qemu_and_into_its_host() {
    let machine = host(Monitor::Qemu, "").unwrap_or_else(|error| panic!("{error}"));
    let _host = HostCpus::wait(2);
    let mut session =
        Session::start_on_terminal(machine.command(DROSTE), limit()).expect("QEMU starts");
    let mut say = |wait: &str, keys: &str| {
        session
            .wait_for(wait)
            .unwrap_or_else(|error| panic!("{error}"));
        session.send(keys).unwrap_or_else(|error| panic!("{error}"));
    };
    say(PROMPT, "l2 -v qemu\n");
    say("l2:~# ", "echo $((6 * 7)) at $(hostname)\n");
    say("42 at l2", "poweroff\n");
    say(PROMPT, "l2\n");
    say("l2:~# ", "echo $((6 * 7)) at $(hostname)\n");
    say("42 at l2", "poweroff\n");
    say(PROMPT, "poweroff\n");
    session.finish().unwrap_or_else(|error| panic!("{error}"));
}
