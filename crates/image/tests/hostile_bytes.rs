//! A damaged or forged image gives an error or a sound machine, never a panic.

use std::sync::LazyLock;

use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{ToPropertyValue, fdt::Fdt};
use proptest::prelude::*;

use droste_image::{
    BootImage, Console, ImageError, OnReboot, VmError, VmSpec, check_memory, check_name,
    check_vcpus, kernel, verify, write,
};

static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let vm = VmSpec {
        name: "linux",
        vcpus: 2,
        memory: 512 << 20,
        kernel: b"kernel bytes",
        initrd: Some(b"initrd bytes"),
        bootargs: "console=ttyAMA0",
        console: Console::Uart,
        on_reboot: OnReboot::Stop,
        passthrough: &["/virtio_mmio@a000000"],
    };
    write(&[
        vm,
        VmSpec {
            name: "other",
            ..vm
        },
    ])
    .expect("written")
});

/// Reads everything that can be read, and holds what is read against the limits.
fn exhaust(bytes: &[u8]) {
    let _ = verify(bytes);
    let Ok(image) = BootImage::parse(bytes) else {
        return;
    };
    for vm in image.vms().flatten() {
        assert_eq!(check_name(vm.name), Ok(()));
        assert_eq!(check_vcpus(vm.vcpus), Ok(()));
        assert_eq!(check_memory(vm.memory), Ok(()));
        assert!(vm.passthrough().all(|path| path.starts_with('/')));
        assert!(!vm.kernel.is_empty());
    }
}

fn tree_len() -> usize {
    u32::from_be_bytes(SOUND[4..8].try_into().expect("four bytes")) as usize
}

/// The sound image with one property of its first virtual machine replaced, or removed.
fn forged(property: &str, value: Option<&dyn Value>) -> Vec<u8> {
    forged_at("/configurations/linux", property, value)
}

fn forged_at(path: &str, property: &str, value: Option<&dyn Value>) -> Vec<u8> {
    let mut tree = DeviceTree::from_fdt(&Fdt::new(&SOUND[..tree_len()]).expect("sound"));
    let node = tree.find_node_mut(path).expect("there");
    node.remove_property(property);
    if let Some(value) = value {
        value.add_to(node, property);
    }
    let mut file = tree.to_dtb();
    assert!(file.len() <= 4096, "the blobs keep their places");
    file.resize(4096, 0);
    file.extend_from_slice(&SOUND[4096..]);
    file
}

trait Value {
    fn add_to(&self, node: &mut DeviceTreeNode, name: &str);
}

impl<T: ToPropertyValue> Value for T {
    fn add_to(&self, node: &mut DeviceTreeNode, name: &str) {
        node.add_property(DeviceTreeProperty::new(name, self).expect("valid"));
    }
}

fn first_vm(file: &[u8]) -> Result<(), ImageError> {
    BootImage::parse(file)?
        .vms()
        .next()
        .expect("one")
        .map(|_| ())
}

#[test]
fn the_image_that_is_forged_is_sound() {
    assert_eq!(first_vm(&forged("description", Some(&"changed"))), Ok(()));
}

#[test]
fn values_out_of_their_limits_are_refused() {
    let refused = |error| Err(ImageError::Vm { vm: 1, error });
    assert_eq!(
        first_vm(&forged("droste,vcpus", Some(&0_u32))),
        refused(VmError::Vcpus(0))
    );
    assert_eq!(
        first_vm(&forged("droste,memory", Some(&u64::MAX))),
        refused(VmError::MemorySize(u64::MAX))
    );
    assert_eq!(
        first_vm(&forged("droste,bootargs", Some(&"a\0b"))),
        refused(VmError::BootargsCharacter('\0'))
    );
    assert_eq!(
        first_vm(&forged("droste,passthrough", Some(&"uart"))),
        refused(VmError::DevicePath)
    );
}

#[test]
fn values_of_another_type_are_refused() {
    for (property, value) in [
        ("droste,vcpus", &1_u64 as &dyn Value),
        ("droste,memory", &1_u32),
        ("droste,bootargs", &[0xff_u8, 0]),
        ("droste,console", &"vga"),
        ("droste,on-reboot", &""),
        ("droste,passthrough", b"/a"),
        ("kernel", &[1_u8]),
    ] {
        let error = first_vm(&forged(property, Some(value)));
        assert!(
            matches!(error, Err(ImageError::Malformed { vm: 1, property: p }) if p == property),
            "{property}"
        );
    }
}

#[test]
fn a_missing_value_is_told_by_name() {
    for property in [
        "droste,vcpus",
        "droste,memory",
        "droste,bootargs",
        "droste,console",
        "droste,on-reboot",
        "kernel",
    ] {
        let error = first_vm(&forged(property, None));
        assert!(
            matches!(error, Err(ImageError::Missing { vm: 1, property: p }) if p == property),
            "{property}"
        );
    }
    assert_eq!(first_vm(&forged("ramdisk", None)), Ok(()));
    assert_eq!(first_vm(&forged("droste,passthrough", None)), Ok(()));
}

#[test]
fn a_kernel_that_the_image_lacks_is_refused() {
    let error = ImageError::MissingBlob {
        vm: 1,
        property: "kernel",
    };
    assert_eq!(first_vm(&forged("kernel", Some(&"kernel-9"))), Err(error));
}

#[test]
fn a_blob_outside_the_file_is_refused() {
    for (position, size) in [
        (0, 12),
        (4097, 12),
        (4096, 0),
        (0xffff_f000, 12),
        (4096, u32::MAX),
    ] {
        let mut file = forged_at("/images/kernel-1", "data-position", Some(&position));
        if size != 12 {
            file = forged_at("/images/kernel-1", "data-size", Some(&size));
        }
        assert_eq!(
            first_vm(&file),
            Err(ImageError::BlobBounds {
                vm: 1,
                position,
                size
            }),
            "{position:#x} {size}"
        );
    }
}

#[test]
fn trees_of_others_and_of_other_versions_are_told_apart() {
    let file = forged_at("/", "droste,format", None);
    assert!(matches!(BootImage::parse(&file), Err(ImageError::Foreign)));
    let file = forged_at("/", "droste,format", Some(&2_u32));
    assert!(matches!(
        BootImage::parse(&file),
        Err(ImageError::Version(2))
    ));
}

#[test]
fn one_name_for_two_is_refused() {
    let mut file = SOUND.clone();
    let at = file
        .windows(8)
        .position(|w| w == b"\x00\x00\x00\x01othe")
        .expect("the node")
        + 4;
    file[at..at + 6].copy_from_slice(b"linux\0");
    assert!(matches!(
        BootImage::parse(&file),
        Err(ImageError::DuplicateName { vm: 2 })
    ));
}

#[test]
fn any_single_changed_byte_of_the_tree_is_survived() {
    for at in 0..tree_len() {
        for flip in [0x01, 0x02, 0x80, 0xff] {
            let mut file = SOUND.clone();
            file[at] ^= flip;
            exhaust(&file);
        }
    }
}

#[test]
fn any_prefix_is_survived() {
    for len in 0..SOUND.len() {
        exhaust(&SOUND[..len]);
    }
}

proptest! {
    #[test]
    fn any_changes_are_survived(changes in prop::collection::vec((0..tree_len(), any::<u8>()), 1..12)) {
        let mut file = SOUND.clone();
        for (at, value) in changes {
            file[at] = value;
        }
        exhaust(&file);
    }

    #[test]
    fn any_kernel_header_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..80), len: u64, initrd: u64) {
        let mut bytes = bytes;
        if let Some(magic) = bytes.get_mut(56..60) {
            magic.copy_from_slice(b"ARM\x64");
        }
        if let Ok(header) = kernel::Header::parse(&bytes)
            && let Ok(placement) = kernel::Placement::new(&header, len, initrd, 1 << 30)
        {
            prop_assert!(placement.end <= 1 << 30);
        }
    }
}
