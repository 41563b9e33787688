//! Writes boot images, and verifies their checksums.
//!
//! The same input gives the same bytes: nothing of the time or the machine goes into an image.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, Property, ToPropertyValue};

use crate::error::ImageError;
use crate::names;
use crate::vm::{
    Console, OnReboot, VMS_MAX, VmError, check_bootargs, check_device_path, check_memory,
    check_name, check_vcpus,
};
use crate::{BLOB_ALIGN, BootImage};

/// One virtual machine for a boot image. Values out of their limits are told by [`write()`].
#[derive(Clone, Copy, Debug)]
pub struct VmSpec<'a> {
    /// `[a-z0-9-]{1,31}`, unique in the image.
    pub name: &'a str,
    /// Virtual CPUs, 1 to [`VCPUS_MAX`](crate::VCPUS_MAX).
    pub vcpus: u32,
    /// Memory in bytes, a multiple of 2 MiB.
    pub memory: u64,
    /// The kernel, an arm64 `Image`.
    pub kernel: &'a [u8],
    /// The initial RAM disk.
    pub initrd: Option<&'a [u8]>,
    /// The guest's command line.
    pub bootargs: &'a str,
    /// Whether it has a console.
    pub console: Console,
    /// What a reset does.
    pub on_reboot: OnReboot,
    /// Device-tree paths of the platform's devices that it gets for its own.
    pub passthrough: &'a [&'a str],
}

/// Why a boot image cannot be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteError {
    /// No virtual machine, or more than [`VMS_MAX`].
    VmCount(usize),
    /// Two virtual machines share this name.
    DuplicateName(String),
    /// A virtual machine asks for what none can have.
    Vm {
        /// Its name.
        name: String,
        /// What is wrong.
        error: VmError,
    },
    /// A kernel or initial RAM disk without a byte.
    EmptyBlob {
        /// The virtual machine's name.
        name: String,
    },
    /// The image would have this many bytes; its positions have 32 bits.
    TooLarge(u64),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VmCount(0) => f.write_str("a boot image needs at least one virtual machine"),
            Self::VmCount(n) => write!(
                f,
                "a boot image holds at most {VMS_MAX} virtual machines, not {n}"
            ),
            Self::DuplicateName(name) => {
                write!(f, "two virtual machines are called {name}; rename one")
            }
            Self::Vm { name, error } => write!(f, "virtual machine {name}: {error}"),
            Self::EmptyBlob { name } => {
                write!(
                    f,
                    "virtual machine {name}: its kernel or initial RAM disk is an empty file; check its path"
                )
            }
            Self::TooLarge(n) => {
                write!(f, "the boot image would have {n} bytes; 4 GiB is the limit")
            }
        }
    }
}

impl core::error::Error for WriteError {}

/// Why a boot image is not what its writer wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VerifyError {
    /// It cannot be read.
    Image(ImageError),
    /// The node of this blob lacks a position, size or checksum that can be read, or points outside the file.
    Blob(String),
    /// The bytes of this blob have changed.
    Checksum(String),
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(e) => e.fmt(f),
            Self::Blob(node) => write!(f, "/images/{node} is damaged; make the boot image again"),
            Self::Checksum(node) => write!(
                f,
                "the bytes of /images/{node} have changed; copy the boot image again"
            ),
        }
    }
}

impl core::error::Error for VerifyError {}

impl From<ImageError> for VerifyError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// The boot image of these virtual machines. Blobs with the same bytes are stored once.
///
/// # Errors
/// A value out of its limits, or an image beyond 4 GiB.
pub fn write(vms: &[VmSpec<'_>]) -> Result<Vec<u8>, WriteError> {
    check(vms)?;
    let mut blobs = Blobs::default();
    for vm in vms {
        blobs.add("kernel", vm.kernel);
        if let Some(initrd) = vm.initrd {
            blobs.add("ramdisk", initrd);
        }
    }
    // Positions are of fixed size, so the tree is as long with zeros as with the final ones.
    let tree_len = tree(vms, &blobs).to_dtb().len();
    let end = blobs.place(tree_len);
    if u32::try_from(end).is_err() {
        return Err(WriteError::TooLarge(end as u64));
    }
    let mut file = tree(vms, &blobs).to_dtb();
    file.reserve_exact(end - file.len());
    for blob in &blobs.0 {
        file.resize(blob.position, 0);
        file.extend_from_slice(blob.bytes);
    }
    Ok(file)
}

/// Verifies that an image can be read and that every blob has the bytes that were written.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(bytes: &[u8]) -> Result<(), VerifyError> {
    let image = BootImage::parse(bytes)?;
    for vm in image.vms() {
        vm?;
    }
    for node in image.images().children() {
        let name = String::from(node.name());
        let number = |property| node.property(property)?.value_as::<u32>().ok();
        let blob = number(names::PROP_DATA_POSITION)
            .zip(number(names::PROP_DATA_SIZE))
            .and_then(|(position, size)| image.blob(position, size));
        let sum = node
            .child("hash-1")
            .and_then(|hash| hash.property("value")?.value_as::<u32>().ok());
        match (blob, sum) {
            (Some(blob), Some(sum)) if crc32fast::hash(blob) == sum => {}
            (Some(_), Some(_)) => return Err(VerifyError::Checksum(name)),
            _ => return Err(VerifyError::Blob(name)),
        }
    }
    Ok(())
}

fn check(vms: &[VmSpec<'_>]) -> Result<(), WriteError> {
    if !(1..=VMS_MAX).contains(&vms.len()) {
        return Err(WriteError::VmCount(vms.len()));
    }
    for (index, vm) in vms.iter().enumerate() {
        let verdict = check_name(vm.name)
            .and_then(|()| check_vcpus(vm.vcpus))
            .and_then(|()| check_memory(vm.memory))
            .and_then(|()| check_bootargs(vm.bootargs))
            .and_then(|()| {
                vm.passthrough
                    .iter()
                    .try_for_each(|path| check_device_path(path))
            });
        verdict.map_err(|error| WriteError::Vm {
            name: vm.name.into(),
            error,
        })?;
        if vms
            .iter()
            .take(index)
            .any(|earlier| earlier.name == vm.name)
        {
            return Err(WriteError::DuplicateName(vm.name.into()));
        }
        if vm.kernel.is_empty() || vm.initrd.is_some_and(<[u8]>::is_empty) {
            return Err(WriteError::EmptyBlob {
                name: vm.name.into(),
            });
        }
    }
    Ok(())
}

/// One stored blob.
struct Blob<'a> {
    /// The image type of the flattened image tree: `kernel` or `ramdisk`.
    kind: &'static str,
    node: String,
    bytes: &'a [u8],
    /// Bytes from the start of the image.
    position: usize,
}

#[derive(Default)]
struct Blobs<'a>(Vec<Blob<'a>>);

impl<'a> Blobs<'a> {
    fn add(&mut self, kind: &'static str, bytes: &'a [u8]) {
        if self.find(kind, bytes).is_none() {
            let node = format!(
                "{kind}-{}",
                self.0.iter().filter(|blob| blob.kind == kind).count() + 1
            );
            self.0.push(Blob {
                kind,
                node,
                bytes,
                position: 0,
            });
        }
    }

    fn find(&self, kind: &str, bytes: &[u8]) -> Option<&Blob<'a>> {
        self.0
            .iter()
            .find(|blob| blob.kind == kind && blob.bytes == bytes)
    }

    fn node(&self, kind: &str, bytes: &[u8]) -> &str {
        &self
            .find(kind, bytes)
            .expect("each blob of each virtual machine was added")
            .node
    }

    /// Gives each blob its position behind `tree_len` bytes; returns where the image ends.
    fn place(&mut self, tree_len: usize) -> usize {
        self.0.iter_mut().fold(tree_len, |end, blob| {
            blob.position = end.next_multiple_of(BLOB_ALIGN);
            blob.position + blob.bytes.len()
        })
    }
}

fn tree(vms: &[VmSpec<'_>], blobs: &Blobs<'_>) -> DeviceTree {
    let mut images = node(names::NODE_IMAGES, vec![]);
    for blob in &blobs.0 {
        images.add_child(blob_node(blob));
    }
    let first = vms.first().map_or("", |vm| vm.name);
    let mut configurations = node(names::NODE_CONFIGURATIONS, vec![property("default", first)]);
    for vm in vms {
        configurations.add_child(vm_node(vm, blobs));
    }
    let mut tree = DeviceTree::new();
    for entry in [
        property("description", "Virtual machines for Droste"),
        // The format demands a time; a fixed one keeps images reproducible.
        property("timestamp", 0_u32),
        property("#address-cells", 1_u32),
        property(names::PROP_FORMAT, names::FORMAT),
    ] {
        tree.root.add_property(entry);
    }
    tree.root.add_child(images);
    tree.root.add_child(configurations);
    tree
}

fn blob_node(blob: &Blob<'_>) -> DeviceTreeNode {
    let mut entry = node(
        &blob.node,
        vec![
            property("description", blob.kind),
            property("type", blob.kind),
            property("arch", "arm64"),
            property("os", "linux"),
            property("compression", "none"),
            property(names::PROP_DATA_POSITION, field(blob.position)),
            property(names::PROP_DATA_SIZE, field(blob.bytes.len())),
        ],
    );
    entry.add_child(node(
        "hash-1",
        vec![
            property("algo", "crc32"),
            property("value", crc32fast::hash(blob.bytes)),
        ],
    ));
    entry
}

fn vm_node(vm: &VmSpec<'_>, blobs: &Blobs<'_>) -> DeviceTreeNode {
    let mut entry = node(
        vm.name,
        vec![
            property("description", vm.name),
            property(names::PROP_KERNEL, blobs.node("kernel", vm.kernel)),
            property(names::PROP_VCPUS, vm.vcpus),
            property(names::PROP_MEMORY, vm.memory),
            property(names::PROP_BOOTARGS, vm.bootargs),
            property(names::PROP_CONSOLE, vm.console.as_str()),
            property(names::PROP_ON_REBOOT, vm.on_reboot.as_str()),
        ],
    );
    if let Some(initrd) = vm.initrd {
        entry.add_property(property(names::PROP_RAMDISK, blobs.node("ramdisk", initrd)));
    }
    if !vm.passthrough.is_empty() {
        let list: Vec<u8> = vm
            .passthrough
            .iter()
            .flat_map(|path| path.bytes().chain([0]))
            .collect();
        entry.add_property(property(names::PROP_PASSTHROUGH, list));
    }
    entry
}

/// The 32 bits that the tree has for a position or size. An image that they cannot hold is refused before it is
/// written, so the value never shows.
fn field(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn node(name: &str, properties: Vec<DeviceTreeProperty>) -> DeviceTreeNode {
    let mut entry =
        DeviceTreeNode::new(name).expect("our names and checked ones are valid node names");
    for property in properties {
        entry.add_property(property);
    }
    entry
}

fn property(name: &str, value: impl ToPropertyValue) -> DeviceTreeProperty {
    DeviceTreeProperty::new(name, value).expect("our names are valid property names")
}
