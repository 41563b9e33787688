//! A damaged or forged image gives an error or a sound machine, never a panic.

use std::ops::Range;
use std::sync::LazyLock;

use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{ToPropertyValue, fdt::Fdt};
use proptest::prelude::*;

use droste_image::{
    BootImage, Console, DevicePaths, Dom0, El2, ImageError, OnReboot, VerifyError, VmError,
    VmImage, check_bootargs, check_memory, check_name, check_vcpus, kernel, verify, write,
};

static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let vm = VmImage {
        name: "linux",
        vcpus: 2,
        memory: 512 << 20,
        kernel: b"kernel bytes",
        initrd: Some(b"initrd bytes"),
        bootargs: "console=ttyAMA0",
        console: Console::Uart,
        on_reboot: OnReboot::Stop,
        el2: El2::Vhe,
        passthrough: DevicePaths("/virtio_mmio@a000000\0"),
        dom0: Some(Dom0 {
            kernel: b"dom0's kernel",
            initrd: Some(b"dom0's initrd"),
            bootargs: "console=hvc0",
        }),
    };
    write(&[
        vm,
        VmImage {
            name: "other",
            ..vm
        },
    ])
    .expect("written")
});

/// Where a member's header holds the lengths of its data and of its name.
const FILE_SIZE: Range<usize> = 54..62;
const NAME_SIZE: Range<usize> = 94..102;

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
        assert!(vm.passthrough.iter().all(|path| path.starts_with('/')));
        assert!(!vm.kernel.is_empty());
        if let Some(dom0) = vm.dom0 {
            assert!(!dom0.kernel.is_empty());
            assert_eq!(check_bootargs(dom0.bootargs), Ok(()));
        }
    }
}

/// Where the sound image's device tree lies: its member is the first, and its data begins at the second page.
fn tree_range() -> Range<usize> {
    let digits = str::from_utf8(&SOUND[FILE_SIZE]).expect("ASCII");
    4096..4096 + usize::from_str_radix(digits, 16).expect("a number")
}

/// The sound image with one property of its first virtual machine replaced, or removed.
fn forged(property: &str, value: Option<&dyn Value>) -> Vec<u8> {
    forged_at("/vms/linux", property, value)
}

fn forged_at(path: &str, property: &str, value: Option<&dyn Value>) -> Vec<u8> {
    let mut tree = DeviceTree::from_fdt(&Fdt::new(&SOUND[tree_range()]).expect("sound"));
    let node = tree.find_node_mut(path).expect("there");
    node.remove_property(property);
    if let Some(value) = value {
        value.add_to(node, property);
    }
    with_tree(&tree.to_dtb())
}

/// The sound image with another device tree. The blobs behind it are no longer aligned.
fn with_tree(tree: &[u8]) -> Vec<u8> {
    let Range { start, end } = tree_range();
    let mut file = SOUND[..start].to_vec();
    file[FILE_SIZE].copy_from_slice(format!("{:08x}", tree.len()).as_bytes());
    file.extend_from_slice(tree);
    file.resize(file.len().next_multiple_of(4), 0);
    file.extend_from_slice(&SOUND[end.next_multiple_of(4)..]);
    // The forger can count as well.
    let sum = format!("{:08x}\n", crc32fast::hash(tree));
    let old = format!("{:08x}\n", crc32fast::hash(&SOUND[start..end]));
    let at = file.windows(9).position(|w| w == old.as_bytes());
    let at = at.expect("the checksum");
    file[at..at + 9].copy_from_slice(sum.as_bytes());
    file
}

/// Where the header of the member of this name begins.
fn header_of(file: &[u8], name: &str) -> usize {
    let name = [name.as_bytes(), b"\0"].concat();
    let is_header =
        |at: &usize| file[at + 110..].starts_with(&name) && file[*at..].starts_with(b"070701");
    (0..file.len() - 110).find(is_header).expect("a member")
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
    assert_eq!(first_vm(&forged("description", Some(&"added"))), Ok(()));
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
        first_vm(&forged("droste,dom0-bootargs", Some(&"a\0b"))),
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
        ("droste,el2", &"e2h"),
        ("droste,el2", &""),
        ("droste,el2", &1_u32),
        ("droste,el2", b"vhe"),
        ("droste,passthrough", b"/a"),
        ("droste,kernel", &[1_u8]),
        ("droste,dom0-kernel", &[1_u8]),
        ("droste,dom0-initrd", &[1_u8]),
        ("droste,dom0-bootargs", &[0xff_u8, 0]),
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
        "droste,kernel",
        "droste,dom0-bootargs",
    ] {
        let error = first_vm(&forged(property, None));
        assert!(
            matches!(error, Err(ImageError::Missing { vm: 1, property: p }) if p == property),
            "{property}"
        );
    }
    assert_eq!(first_vm(&forged("droste,initrd", None)), Ok(()));
    assert_eq!(first_vm(&forged("droste,dom0-kernel", None)), Ok(()));
    assert_eq!(first_vm(&forged("droste,dom0-initrd", None)), Ok(()));
    assert_eq!(first_vm(&forged("droste,passthrough", None)), Ok(()));
}

#[test]
fn a_guest_whose_el2_is_not_mentioned_has_none() {
    let el2 = |file: &[u8]| {
        let vm = BootImage::parse(file).expect("sound").vms().next();
        vm.expect("one").expect("sound").el2
    };
    assert_eq!(el2(&SOUND), El2::Vhe);
    assert_eq!(el2(&forged("droste,el2", None)), El2::None);
}

#[test]
fn a_kernel_that_the_image_lacks_is_refused() {
    let error = ImageError::MissingBlob {
        vm: 1,
        property: "droste,kernel",
    };
    for path in ["linux/kerne", "linux", "", "TRAILER!!!"] {
        let file = forged("droste,kernel", Some(&path));
        assert_eq!(first_vm(&file), Err(error.clone()), "{path:?}");
    }
}

#[test]
fn an_empty_blob_is_refused() {
    let mut file = SOUND.clone();
    let at = header_of(&file, "linux/initrd");
    let data = file.windows(12).position(|w| w == b"initrd bytes");
    let data = data.expect("there");
    file.drain(data..data + 12);
    file[at + FILE_SIZE.start..][..8].copy_from_slice(b"00000000");
    let error = ImageError::EmptyBlob {
        vm: 1,
        property: "droste,initrd",
    };
    assert_eq!(first_vm(&file), Err(error));
}

#[test]
fn a_blob_longer_than_the_file_is_refused() {
    for digits in [b"ffffffff", b"00100000"] {
        let mut file = SOUND.clone();
        let at = header_of(&file, "linux/kernel");
        file[at + FILE_SIZE.start..][..8].copy_from_slice(digits);
        assert!(matches!(
            BootImage::parse(&file),
            Err(ImageError::Truncated { .. })
        ));
    }
}

#[test]
fn a_header_that_is_none_is_told_by_its_place() {
    let mut file = SOUND.clone();
    let at = header_of(&file, "linux/kernel");
    file[at] = b'x';
    let error = BootImage::parse(&file).expect_err("damaged");
    assert_eq!(error, ImageError::Archive { at: at as u64 });
}

#[test]
fn archives_of_others_and_of_other_versions_are_told_apart() {
    let mut file = SOUND.clone();
    file[110] = b'x';
    assert!(matches!(BootImage::parse(&file), Err(ImageError::Foreign)));
    let file = forged_at("/", "droste,format", None);
    assert!(matches!(BootImage::parse(&file), Err(ImageError::Foreign)));
    let file = forged_at("/", "droste,format", Some(&2_u32));
    assert!(matches!(
        BootImage::parse(&file),
        Err(ImageError::Version(2))
    ));
}

#[test]
fn a_description_that_is_no_tree_or_has_no_virtual_machines_is_refused() {
    for damaged in [&b""[..], b"\xd0\x0d\xfe\xed", &[0; 100]] {
        assert!(matches!(
            BootImage::parse(&with_tree(damaged)),
            Err(ImageError::Tree(_))
        ));
    }
    let mut tree = DeviceTree::new();
    (&1_u32 as &dyn Value).add_to(&mut tree.root, "droste,format");
    let empty = with_tree(&tree.to_dtb());
    assert!(matches!(BootImage::parse(&empty), Err(ImageError::NoVms)));
    tree.root
        .add_child(DeviceTreeNode::new("vms").expect("valid"));
    let empty = with_tree(&tree.to_dtb());
    assert!(matches!(
        BootImage::parse(&empty),
        Err(ImageError::VmCount(0))
    ));
}

#[test]
fn a_blob_without_its_checksum_runs_but_does_not_verify() {
    let file = forged("droste,kernel-crc32", None);
    assert_eq!(first_vm(&file), Ok(()));
    assert_eq!(
        verify(&file),
        Err(VerifyError::NoChecksum("linux/kernel".into()))
    );
}

#[test]
fn an_image_at_any_address_is_read() {
    let mut moved = Vec::with_capacity(16 + SOUND.len());
    for start in 0..16 {
        moved.resize(start, 0);
        moved.extend_from_slice(&SOUND);
        assert_eq!(verify(&moved[start..]), Ok(()));
    }
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
fn any_single_changed_byte_is_survived() {
    for at in meaningful() {
        for flip in [0x01, 0x02, 0x80, 0xff] {
            let mut file = SOUND.clone();
            file[at] ^= flip;
            exhaust(&file);
        }
    }
}

#[test]
fn any_prefix_is_refused() {
    for len in 0..SOUND.len() {
        assert!(BootImage::parse(&SOUND[..len]).is_err());
    }
    assert_eq!(verify(&SOUND), Ok(()));
}

/// The bytes of the image but for the NULs that fill its pages.
fn meaningful() -> impl Iterator<Item = usize> {
    let is_filler = |at: usize| at >= 8 && SOUND[at - 8..=at].iter().all(|b| *b == 0);
    let tree = tree_range();
    (0..SOUND.len()).filter(move |at| tree.contains(at) || !is_filler(*at))
}

proptest! {
    #[test]
    fn any_changes_are_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let places: Vec<usize> = meaningful().collect();
        let mut file = SOUND.clone();
        for (index, value) in changes {
            file[*index.get(&places)] = value;
        }
        exhaust(&file);
    }

    #[test]
    fn any_lengths_of_members_are_survived(member in 0..4_usize, name: u32, data: u32, shift in 0..32_u32) {
        let mut file = SOUND.clone();
        let at = header_of(&file, ["droste.dtb", "linux/kernel", "linux/initrd", "TRAILER!!!"][member]);
        for (place, length) in [(FILE_SIZE, data >> shift), (NAME_SIZE, name >> shift)] {
            file[at + place.start..at + place.end].copy_from_slice(format!("{length:08x}").as_bytes());
        }
        exhaust(&file);
    }

    #[test]
    fn any_bytes_behind_a_magic_number_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        exhaust(&bytes);
        exhaust(&[b"070701", &bytes[..]].concat());
    }

    #[test]
    fn any_kernel_header_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..80), len: u64, initrd: u64) {
        let mut bytes = bytes;
        if let Some(magic) = bytes.get_mut(56..60) {
            magic.copy_from_slice(b"ARM\x64");
        }
        if let Ok(header) = kernel::Header::parse(&bytes)
            && let Ok(placement) = kernel::Placement::new(&header, len, [initrd, 1], 1 << 30)
        {
            prop_assert!(placement.end <= 1 << 30);
        }
    }
}
