//! What Droste cannot run: it says why, and the run fails.

use std::path::{Path, PathBuf};

use droste_image::{Console, DevicePaths, El2, OnReboot, VmImage, write};

use crate::stage::{Stage, must_say, parts, patient};

/// The machine goes off by itself when there is nothing to run, and the last line says why again.
const NO_REPORT: &str = "error: the hypervisor can run nothing: ";

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

fn spec<'a>(name: &'a str, kernel: &'a [u8]) -> VmImage<'a> {
    VmImage {
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
        passthrough: DevicePaths::default(),
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

/// The tree of QEMU's `virt` with two processors and 1 GiB, its bytes `of` overwritten by as many.
pub(crate) fn tree(of: &[u8], by: &[u8]) -> Vec<u8> {
    assert_eq!(of.len(), by.len());
    let mut tree = include_bytes!("../../../crates/devtree/tests/virt.dtb").to_vec();
    let at = tree.windows(of.len()).position(|bytes| bytes == of);
    let at = at.expect("the board has it");
    tree[at..at + by.len()].copy_from_slice(by);
    tree
}

/// A property of addresses and lengths.
fn reg(cells: &[u64]) -> Vec<u8> {
    cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
}

/// The redistributors of the board, from where and how many bytes.
fn tree_with_redistributors(start: u64, bytes: u64) -> Vec<u8> {
    tree(&reg(&[0x80a_0000, 0xf6_0000]), &reg(&[start, bytes]))
}

/// A QEMU that gives the machine this tree, with memory, command line, boot image and PSCI as they are.
pub(crate) fn with_tree(stage: &Stage, tree: &[u8]) -> PathBuf {
    stage.put("tree.dtb", tree);
    stage.between(&format!(
        "set -- \"$@\" -dtb {}",
        stage.path("tree.dtb").display()
    ))
}

#[test]
fn a_device_whose_interrupt_is_one_of_every_guests_own_is_refused() {
    let mut stage = Stage::new();
    stage.put("disk", &vec![0; 1 << 20]);
    stage.linux("linux", 1, "disk = \"disk\"");
    // The first transport's SPI, on an edge, becomes that of the guests' clock.
    let specifier = |number: u32| [0, number, 1].map(u32::to_be_bytes).concat();
    let qemu = with_tree(&stage, &tree(&specifier(16), &specifier(2)));
    let why = "droste: error: linux: /virtio_mmio@a000000 has interrupt 34";
    must_say(&stage.run_on(2).by(qemu).fails(), &[why]);
}

#[test]
fn a_cpu_without_a_redistributor_stays_off() {
    let mut stage = Stage::new();
    stage.fp("fp", 2);
    let qemu = with_tree(&stage, &tree_with_redistributors(0x80a_0000, 0x2_0000));
    let ended = stage.run_on(2).by(qemu).succeeds(&[
        "droste: warning: CPU 0x1 has no redistributor in the regions of the device tree: it stays off",
        "droste: warning: fp: more vCPUs (2) than CPUs (1): they take turns",
        "fp: ok",
    ]);
    assert!(ended.all_off(&["fp"]), "{}", ended.record);
}

#[test]
fn a_boot_cpu_without_a_redistributor_is_told() {
    let stage = fp_stage();
    let qemu = with_tree(&stage, &tree_with_redistributors(0x80c_0000, 0x2_0000));
    let why = "droste: error: the GICv3 has no redistributor for this CPU, 0x0, in the regions of the device tree";
    must_say(&stage.run_on(2).by(qemu).fails(), &[why, NO_REPORT]);
}

#[test]
fn more_cpus_than_droste_drives_are_told() {
    let stage = fp_stage();
    let qemu = stage.between("set -- \"$@\" -smp 34");
    let ended = stage.run_on(2).by(qemu).succeeds(&[
        "droste: Droste 0.1.0 on 32 CPUs",
        "droste: warning: the machine has 34 CPUs: Droste drives 32, the others stay off",
        "fp: ok",
    ]);
    assert!(ended.all_off(&["fp"]), "{}", ended.record);
}

/// Starts the hypervisor with a tree as it is, by a boot loader of three instructions in place of QEMU's own. Droste cannot
/// know the word of this run, but only that of the tree.
fn fails_by_own_loader(tree: &[u8]) -> String {
    const TREE: u64 = 0x4800_0000;
    const HYPERVISOR: u64 = 0x4020_0000;
    let stage = fp_stage();
    stage.put("tree.dtb", tree);
    // movz x0, #0x4800, lsl #16; movz x9, #0x4020, lsl #16; br x9
    let loader = [0xd2a9_0000_u32, 0xd2a8_0409, 0xd61f_0120].map(u32::to_le_bytes);
    stage.put("loader", loader.as_flattened());
    let load = |file: &Path, at: u64| {
        format!(
            "-device loader,file={},addr={at:#x},force-raw=on",
            file.display()
        )
    };
    let script = format!(
        "for word; do shift; case $word in \
           -kernel | -initrd | -append | */vms.img | droste.report=* | {hypervisor}) ;; \
           *) set -- \"$@\" \"$word\" ;; esac; done; set -- \"$@\" -m 1024M -bios {} {} {}",
        stage.path("loader").display(),
        load(&stage.path("tree.dtb"), TREE),
        load(&parts().hypervisor, HYPERVISOR),
        hypervisor = parts().hypervisor.display(),
    );
    let qemu = stage.between(&script);
    stage.run_on(2).by(qemu).within(20).fails()
}

#[test]
fn a_machine_whose_firmware_is_not_called_by_smc_is_told_and_stays_on() {
    const STAYS: &str = "droste: error: there is no firmware to switch the machine off: it stays on, and does nothing";
    for (of, by, why) in [
        (
            &b"smc\0"[..],
            &b"hvc\0"[..],
            "PSCI is called by `hvc`: Droste must run on the firmware itself, by `smc`",
        ),
        (
            b"\0\0\0\x01psci\0",
            b"\0\0\0\x01pscj\0",
            "the device tree has no /psci node, which Droste needs",
        ),
    ] {
        let said = fails_by_own_loader(&tree(of, by));
        let record =
            format!("0123 {{\"final\":true,\"outcome\":\"failed\",\"message\":\"{why}\"}}");
        let end = format!("no end after {} s", patient(20));
        must_say(
            &said,
            &[&format!("droste: error: {why}"), STAYS, &record, &end],
        );
    }
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
