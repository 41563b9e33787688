//! A guest's guest that means harm: neither the hypervisor under it nor a neighbour of that one feels it.

use std::fs;

use droste::setup::Setup;
use droste::setup::guest::KERNEL_PACKAGE;
use droste::setup::monitor::{Monitor, Provisions};
use droste_image::El2;

use crate::stage::{Host, Stage, must_say, parts};

/// It tries four hundred thousand things, most of which its host answers; that takes a third of this on an idle host.
const LIMIT: u64 = 600;
/// A disk of the directory.
const DISK: &str = "provisions";

/// A Linux that is a hypervisor, with the hostile guest on its disk, and one that is none, which fills its memory.
fn stage(el2: El2) -> Stage {
    let mut stage = Stage::new();
    let setup = Setup::new().expect("a cache");
    let kernel = setup.kernel(KERNEL_PACKAGE).expect("a kernel");
    let mut provisions = Provisions::new(Monitor::Vmm, kernel.image());
    provisions.more = vec![("hostile".into(), parts().hostile.clone())];
    let disk = provisions.disk(&setup).expect("a disk");
    // Nobody may write to the cache's own.
    fs::copy(disk, stage.path(DISK)).expect("copied");
    stage.hypervisor(&Host {
        el2,
        vcpus: 1,
        memory_mib: 512,
        disks: vec![DISK.into()],
        // Its watchdogs would complain of a busy machine as well.
        words: " rcupdate.rcu_cpu_stall_suppress=1 nosoftlockup".into(),
    });
    stage.linux("other", 1, "");
    stage
}

/// Runs the hostile guest; then the host must run another one, and the neighbour must have what it had.
fn is_withstood(el2: El2, cpu: &str) {
    let stage = stage(el2);
    let run = stage.run_on(2).within(LIMIT).with(&["--cpu", cpu]);
    let mut terminal = run.on_terminal();
    terminal.wait_for("'l2' starts a virtual machine");
    terminal.switch_to("other");
    terminal.shell_says("pattern fill 64 && echo $((8 * 8)) MiB", "64 MiB");
    terminal.switch_to("linux");
    terminal.shell("l2 -v vmm -k hostile; echo it ended with $?");
    terminal.wait_for("it ended with 0");
    terminal.shell_says(
        "dmesg | grep -c -e 'Internal error' -e BUG: -e WARNING: | sed 's/$/ complaints/'",
        "\n0 complaints",
    );
    terminal.shell("l2 -v vmm droste.self-report");
    terminal.wait_for("guest: self-report ok");
    terminal.switch_to("other");
    terminal.shell_says("pattern check 64 && echo a$((1 + 1)) well", "a2 well");
    terminal.shell("poweroff");
    terminal.wait_for("reboot: Power down");
    terminal.goes_on_to("linux");
    let output = terminal.power_off();
    must_say(
        &output,
        &["\nhostile: ok", "it ended with 0", "linux: powered off"],
    );
}

#[test]
fn a_host_with_vhe_and_its_neighbour_do_not_feel_a_hostile_guest() {
    is_withstood(El2::Vhe, droste::qemu::CPU);
}

#[test]
fn a_host_without_vhe_and_its_neighbour_do_not_feel_a_hostile_guest() {
    is_withstood(El2::Nvhe, "neoverse-n2");
}
