//! What Droste cannot run: it says why, and the run fails.

use droste_image::{Console, El2, OnReboot, VmSpec, write};

use crate::stage::{Stage, must_say, parts};

/// The machine goes off by itself when there is nothing to run.
const NO_REPORT: &str = "QEMU ended (exit status: 0) before the hypervisor's final report";

/// Runs a boot image in place of the one that `droste run` wrote.
fn fails_with_image(stage: &Stage, image: &[u8]) -> String {
    stage.put("other.img", image);
    let file = stage.path("other.img");
    let script = format!("set -- \"$@\" -initrd {}", file.display());
    let qemu = stage.between(&script);
    stage.run_on(1).by(qemu).fails()
}

fn fp_stage() -> Stage {
    let mut stage = Stage::new();
    stage.fp("fp", 1);
    stage
}

fn spec<'a>(name: &'a str, kernel: &'a [u8]) -> VmSpec<'a> {
    VmSpec {
        name,
        vcpus: 1,
        memory: 64 << 20,
        kernel,
        initrd: None,
        bootargs: "",
        console: Console::Uart,
        on_reboot: OnReboot::Stop,
        el2: El2::None,
        dom0: None,
        passthrough: &[],
    }
}

#[test]
fn more_memory_than_the_machine_has_is_refused() {
    let stage = Stage::with_linux(1);
    let qemu = stage.between("set -- \"$@\" -m 256M");
    let error = stage.run_on(1).by(qemu).fails();
    must_say(
        &error,
        &[
            "droste: error: linux: no 256 MiB of RAM in one piece",
            NO_REPORT,
        ],
    );
}

#[test]
fn a_machine_that_lacks_something_says_what_on_its_console() {
    let stage = fp_stage();
    let qemu = stage.between("set -- \"$@\" -machine gic-version=2");
    let error = stage.run_on(1).by(qemu).fails();
    let why = "droste: error: the device tree has no GICv3, which Droste needs";
    must_say(&error, &[why, NO_REPORT]);
}

#[test]
fn a_hypervisor_at_a_virtual_el2_with_vhe_says_that_it_cannot_be_there() {
    let mut stage = Stage::new();
    stage.droste("inner", "vhe");
    stage.run_on(1).succeeds(&[
        "droste: error: this CPU has no EL2 without the Virtualization Host Extensions (FEAT_E2H0)",
        "droste: inner: powered off",
    ]);
}

#[test]
fn a_machine_without_a_boot_image_is_told_how_to_get_one() {
    let stage = fp_stage();
    let script = "for word; do shift; case $word in -initrd | */vms.img) ;; *) set -- \"$@\" \"$word\" ;; esac; done";
    let qemu = stage.between(script);
    let error = stage.run_on(1).by(qemu).fails();
    must_say(
        &error,
        &["no boot image: pass one made by `droste image`", NO_REPORT],
    );
}

#[test]
fn a_damaged_boot_image_is_refused() {
    let stage = fp_stage();
    let image = write(&[spec("vm", &[7; 8192])]).expect("written");
    for (damaged, why) in [
        (&image[..image.len() - 4096], "the boot image is unusable: "),
        (&image[..100], "the boot image is unusable: "),
        (&[0x5a; 4096][..], "the boot image is unusable: "),
    ] {
        must_say(&fails_with_image(&stage, damaged), &[why, NO_REPORT]);
    }
}

#[test]
fn a_kernel_that_is_none_fails_its_virtual_machine_alone() {
    let stage = fp_stage();
    let fp = std::fs::read(&parts().fp).expect("read");
    let image = write(&[spec("wrong", &[7; 8192]), spec("fp", &fp)]).expect("written");
    must_say(
        &fails_with_image(&stage, &image),
        &[
            "droste: error: wrong: its kernel: ",
            "[fp] fp: ok",
            "error: the run failed: virtual machine wrong: failed (stopped by Droste)",
        ],
    );
}
