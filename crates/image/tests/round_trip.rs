//! What the writer writes, the reader reads; what it must not write, it refuses.

use droste_image::{
    BLOB_ALIGN, BootImage, Console, DevicePaths, Dom0, El2, ImageError, OnReboot, VMS_MAX,
    VerifyError, VmError, VmImage, WriteError, verify, write,
};

fn linux() -> VmImage<'static> {
    VmImage {
        name: "linux",
        vcpus: 2,
        memory: 512 << 20,
        kernel: b"kernel bytes",
        initrd: Some(b"initrd bytes"),
        bootargs: "console=ttyAMA0 quiet",
        console: Console::Uart,
        on_reboot: OnReboot::Restart,
        el2: El2::None,
        passthrough: DevicePaths("/virtio_mmio@a000000\0/virtio_mmio@a000200\0"),
        dom0: None,
    }
}

#[test]
fn every_value_of_a_virtual_machine_survives() {
    let other = VmImage {
        name: "other",
        vcpus: 64,
        memory: 16 << 20,
        initrd: None,
        console: Console::None,
        on_reboot: OnReboot::Stop,
        passthrough: DevicePaths::default(),
        ..linux()
    };
    let file = write(&[linux(), other]).expect("written");
    let image = BootImage::parse(&file).expect("parsed");
    let vms: Vec<_> = image.vms().map(|vm| vm.expect("sound")).collect();
    assert_eq!(vms.len(), 2);
    assert_eq!(
        (vms[0].name, vms[0].vcpus, vms[0].memory),
        ("linux", 2, 512 << 20)
    );
    assert_eq!(
        (vms[0].kernel, vms[0].initrd),
        (&b"kernel bytes"[..], Some(&b"initrd bytes"[..]))
    );
    assert_eq!(
        (vms[0].bootargs, vms[0].console),
        ("console=ttyAMA0 quiet", Console::Uart)
    );
    assert_eq!(vms[0].on_reboot, OnReboot::Restart);
    assert!(
        vms[0]
            .passthrough
            .iter()
            .eq(["/virtio_mmio@a000000", "/virtio_mmio@a000200"])
    );
    assert_eq!(
        (vms[1].name, vms[1].vcpus, vms[1].memory),
        ("other", 64, 16 << 20)
    );
    assert_eq!(
        (vms[1].initrd, vms[1].console, vms[1].on_reboot),
        (None, Console::None, OnReboot::Stop)
    );
    assert_eq!(vms[1].passthrough.iter().count(), 0);
}

#[test]
fn what_a_guest_hypervisor_starts_survives_and_shares_blobs() {
    let dom0 = Dom0 {
        kernel: b"dom0's kernel",
        initrd: linux().initrd,
        bootargs: "console=hvc0",
    };
    for dom0 in [
        dom0,
        Dom0 {
            initrd: None,
            ..dom0
        },
    ] {
        let xen = VmImage {
            dom0: Some(dom0),
            ..linux()
        };
        let file = write(&[xen]).expect("written");
        let image = BootImage::parse(&file).expect("parsed");
        assert_eq!(
            image.vms().next().expect("one").expect("sound").dom0,
            Some(dom0)
        );
        let is_there = |bytes: &[u8]| file.windows(bytes.len()).filter(|at| *at == bytes).count();
        assert_eq!(
            (is_there(b"dom0's kernel"), is_there(b"initrd bytes")),
            (1, 1)
        );
    }
}

#[test]
fn every_kind_of_el2_survives() {
    for el2 in [El2::None, El2::Vhe, El2::Nvhe] {
        let file = write(&[VmImage { el2, ..linux() }]).expect("written");
        let image = BootImage::parse(&file).expect("parsed");
        let vm = image.vms().next().expect("one").expect("sound");
        assert_eq!(vm.el2, el2);
    }
}

#[test]
fn blobs_are_page_aligned_and_shared() {
    let other = VmImage {
        name: "other",
        ..linux()
    };
    let file = write(&[linux(), other]).expect("written");
    let image = BootImage::parse(&file).expect("parsed");
    let vms: Vec<_> = image.vms().map(|vm| vm.expect("sound")).collect();
    let offset = |bytes: &[u8]| bytes.as_ptr() as usize - file.as_ptr() as usize;
    for vm in &vms {
        assert!(offset(vm.kernel).is_multiple_of(BLOB_ALIGN));
        assert!(offset(vm.initrd.expect("has one")).is_multiple_of(BLOB_ALIGN));
    }
    assert_eq!(offset(vms[0].kernel), offset(vms[1].kernel));
    assert_eq!(
        offset(vms[0].initrd.expect("one")),
        offset(vms[1].initrd.expect("one"))
    );
    assert!(
        file.len() < 5 * BLOB_ALIGN,
        "four members, not six: {}",
        file.len()
    );
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    assert_eq!(write(&[linux()]), write(&[linux()]));
}

#[test]
fn bytes_behind_the_image_do_not_disturb_it() {
    let mut file = write(&[linux()]).expect("written");
    file.extend_from_slice(&[0; 4096]);
    assert!(BootImage::parse(&file).is_ok_and(|image| image.vms().all(|vm| vm.is_ok())));
}

#[test]
fn no_virtual_machine_and_too_many_are_refused() {
    assert_eq!(write(&[]), Err(WriteError::VmCount(0)));
    let names: Vec<String> = (0..=VMS_MAX).map(|n| format!("vm-{n}")).collect();
    let vms: Vec<VmImage<'_>> = names
        .iter()
        .map(|name| VmImage { name, ..linux() })
        .collect();
    assert_eq!(write(&vms), Err(WriteError::VmCount(VMS_MAX + 1)));
    let file = write(&vms[1..]).expect("the limit itself");
    assert_eq!(
        BootImage::parse(&file).expect("parsed").vms().count(),
        VMS_MAX
    );
}

#[test]
fn a_value_out_of_its_limits_is_refused_with_the_name() {
    let refused = |vm: VmImage<'_>| write(&[vm]).expect_err("refused");
    let of_linux = |error| WriteError::Vm {
        name: "linux".into(),
        error,
    };
    assert_eq!(
        refused(VmImage {
            vcpus: 0,
            ..linux()
        }),
        of_linux(VmError::Vcpus(0))
    );
    assert_eq!(
        refused(VmImage {
            memory: 1,
            ..linux()
        }),
        of_linux(VmError::MemorySize(1))
    );
    assert_eq!(
        refused(VmImage {
            bootargs: "\t",
            ..linux()
        }),
        of_linux(VmError::BootargsCharacter('\t'))
    );
    assert_eq!(
        refused(VmImage {
            passthrough: DevicePaths("uart\0"),
            ..linux()
        }),
        of_linux(VmError::DevicePath)
    );
    assert_eq!(
        refused(VmImage {
            kernel: b"",
            ..linux()
        }),
        WriteError::EmptyBlob {
            name: "linux".into()
        }
    );
    assert_eq!(
        write(&[linux(), linux()]),
        Err(WriteError::DuplicateName("linux".into()))
    );
}

#[test]
fn an_untouched_image_verifies() {
    assert_eq!(verify(&write(&[linux()]).expect("written")), Ok(()));
}

#[test]
fn one_changed_byte_of_a_blob_does_not_verify() {
    for (bytes, path) in [
        (b"kernel bytes", "linux/kernel"),
        (b"initrd bytes", "linux/initrd"),
    ] {
        let mut file = write(&[linux()]).expect("written");
        let at = file.windows(12).position(|w| w == bytes).expect("there");
        file[at] ^= 1;
        assert_eq!(verify(&file), Err(VerifyError::Checksum(path.into())));
    }
}

#[test]
fn one_changed_byte_of_what_a_machine_is_does_not_verify() {
    let sound = write(&[linux()]).expect("written");
    let words = sound.windows(15).position(|w| w == b"console=ttyAMA0");
    // A property of four bytes that are the number 2, behind the place of its name.
    let is_count =
        |w: &[u8]| w.starts_with(&[0, 0, 0, 3, 0, 0, 0, 4]) && w.ends_with(&[0, 0, 0, 2]);
    let count = sound.windows(16).position(is_count);
    for at in [words.expect("there") + 14, count.expect("there") + 15] {
        let mut file = sound.clone();
        file[at] ^= 1;
        let vm = BootImage::parse(&file).map(|image| image.vms().all(|vm| vm.is_ok()));
        assert!(vm.is_ok_and(|is_sound| is_sound));
        assert_eq!(
            verify(&file),
            Err(VerifyError::Checksum("droste.dtb".into()))
        );
    }
}

#[test]
fn sixteen_machines_that_share_nothing_are_an_image() {
    let bytes: Vec<[u8; 1]> = (0..64).map(|n| [n]).collect();
    let names: Vec<String> = (0..16).map(|n| format!("vm{n}")).collect();
    let vms: Vec<VmImage<'_>> = names
        .iter()
        .zip(bytes.chunks(4))
        .map(|(name, own)| VmImage {
            name,
            kernel: &own[0],
            initrd: Some(&own[1]),
            dom0: Some(Dom0 {
                kernel: &own[2],
                initrd: Some(&own[3]),
                bootargs: "",
            }),
            ..linux()
        })
        .collect();
    assert_eq!(verify(&write(&vms).expect("written")), Ok(()));
}

#[test]
fn a_cut_off_image_is_told_by_where_it_ends() {
    let file = write(&[linux()]).expect("written");
    assert!(matches!(
        BootImage::parse(&file[..5]),
        Err(ImageError::NotAnImage)
    ));
    for present in [6, 100, 5000, file.len() - 4] {
        let error = BootImage::parse(&file[..present]).expect_err("cut off");
        assert!(
            matches!(error, ImageError::Truncated { present: p, total } if p == present as u64 && total > p),
            "{present}: {error:?}"
        );
    }
}

#[test]
fn the_members_are_the_tree_and_the_blobs_by_name() {
    let other = VmImage {
        name: "other",
        initrd: Some(b"another"),
        ..linux()
    };
    let file = write(&[linux(), other]).expect("written");
    let names: Vec<&str> = (0..file.len() - 110)
        .filter(|at| file[*at..].starts_with(b"070701"))
        .map(|at| {
            let name = file[at + 110..].split(|byte| *byte == 0).next();
            str::from_utf8(name.expect("a name")).expect("text")
        })
        .collect();
    assert_eq!(
        names,
        [
            "droste.dtb",
            "droste.crc32",
            "linux/kernel",
            "linux/initrd",
            "other/initrd",
            "TRAILER!!!"
        ]
    );
}

#[test]
fn a_kernel_that_is_its_own_initrd_is_stored_once() {
    let file = write(&[VmImage {
        initrd: Some(b"kernel bytes"),
        ..linux()
    }]);
    let file = file.expect("written");
    assert_eq!(file.windows(12).filter(|w| w == b"kernel bytes").count(), 1);
    assert_eq!(verify(&file), Ok(()));
}
