//! Writes boot images.
//!
//! The same input gives the same bytes: nothing of the time or the machine goes into an image.

mod error;

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use dtoolkit::ToPropertyValue;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use crate::names;
use crate::newc::Writer;
use crate::vm::{
    VMS_MAX, VmImage, check_bootargs, check_device_path, check_memory, check_name, check_vcpus,
};

pub use error::WriteError;

/// What a virtual machine is made of, beside the properties that name it, as [`names::BLOBS`] has them.
fn blobs_of<'a>(vm: &VmImage<'a>) -> [(&'static str, Option<&'a [u8]>); 4] {
    [
        ("kernel", Some(vm.kernel)),
        ("initrd", vm.initrd),
        ("dom0-kernel", vm.dom0.map(|dom0| dom0.kernel)),
        ("dom0-initrd", vm.dom0.and_then(|dom0| dom0.initrd)),
    ]
}

/// The boot image of these virtual machines. Blobs with the same bytes are stored once.
///
/// # Errors
/// A value outside its limits, or a blob of 4 GiB or more.
pub fn write(vms: &[VmImage<'_>]) -> Result<Vec<u8>, WriteError> {
    check(vms)?;
    let mut blobs = Blobs::default();
    for vm in vms {
        for (kind, bytes) in blobs_of(vm) {
            if let Some(bytes) = bytes {
                blobs.add(vm.name, kind, bytes);
            }
        }
    }
    let mut archive = Writer::default();
    let tree = tree(vms, &blobs).to_dtb();
    archive.append(names::MEMBER_TREE, &tree)?;
    let sum = format!("{:08x}\n", crc32fast::hash(&tree));
    archive.append(names::MEMBER_SUM, sum.as_bytes())?;
    for blob in &blobs.0 {
        archive.append(&blob.path, blob.bytes)?;
    }
    Ok(archive.finish())
}

fn check(vms: &[VmImage<'_>]) -> Result<(), WriteError> {
    if !(1..=VMS_MAX).contains(&vms.len()) {
        return Err(WriteError::VmCount(vms.len()));
    }
    for (index, vm) in vms.iter().enumerate() {
        let checked = check_name(vm.name)
            .and_then(|()| check_vcpus(vm.vcpus))
            .and_then(|()| check_memory(vm.memory))
            .and_then(|()| check_bootargs(vm.bootargs))
            .and_then(|()| vm.passthrough.iter().try_for_each(check_device_path));
        checked.map_err(|error| WriteError::Vm {
            name: vm.name.into(),
            error,
        })?;
        let checked = check_bootargs(vm.dom0.map_or("", |dom0| dom0.bootargs));
        checked.map_err(|error| WriteError::Vm {
            name: format!("{}, its dom0", vm.name),
            error,
        })?;
        if vms
            .iter()
            .take(index)
            .any(|earlier| earlier.name == vm.name)
        {
            return Err(WriteError::DuplicateName(vm.name.into()));
        }
        if blobs_of(vm).iter().any(|(_, bytes)| *bytes == Some(&[])) {
            return Err(WriteError::EmptyBlob {
                name: vm.name.into(),
            });
        }
    }
    Ok(())
}

/// One stored blob.
struct Blob<'a> {
    /// The member's name: the first virtual machine that has it, and what it is there.
    path: String,
    crc32: u32,
    bytes: &'a [u8],
}

#[derive(Default)]
struct Blobs<'a>(Vec<Blob<'a>>);

impl<'a> Blobs<'a> {
    fn add(&mut self, vm: &str, kind: &str, bytes: &'a [u8]) {
        if self.find(bytes).is_none() {
            self.0.push(Blob {
                path: format!("{vm}/{kind}"),
                crc32: crc32fast::hash(bytes),
                bytes,
            });
        }
    }

    fn find(&self, bytes: &[u8]) -> Option<&Blob<'a>> {
        self.0.iter().find(|blob| blob.bytes == bytes)
    }

    /// The two properties that name a blob.
    fn properties(&self, path: &str, crc32: &str, bytes: &[u8]) -> [DeviceTreeProperty; 2] {
        let blob = self
            .find(bytes)
            .expect("each blob of each virtual machine was added");
        [
            property(path, blob.path.as_str()),
            property(crc32, blob.crc32),
        ]
    }
}

fn tree(vms: &[VmImage<'_>], blobs: &Blobs<'_>) -> DeviceTree {
    let mut nodes = node(names::NODE_VMS, vec![]);
    for vm in vms {
        nodes.add_child(vm_node(vm, blobs));
    }
    let mut tree = DeviceTree::new();
    tree.root
        .add_property(property(names::PROP_FORMAT, names::FORMAT));
    tree.root.add_child(nodes);
    tree
}

fn vm_node(vm: &VmImage<'_>, blobs: &Blobs<'_>) -> DeviceTreeNode {
    let mut entry = node(
        vm.name,
        vec![
            property(names::PROP_VCPUS, vm.vcpus),
            property(names::PROP_MEMORY, vm.memory),
            property(names::PROP_BOOTARGS, vm.bootargs),
            property(names::PROP_CONSOLE, vm.console.as_str()),
            property(names::PROP_ON_REBOOT, vm.on_reboot.as_str()),
            property(names::PROP_EL2, vm.el2.as_str()),
        ],
    );
    if let Some(dom0) = vm.dom0 {
        entry.add_property(property(names::PROP_DOM0_BOOTARGS, dom0.bootargs));
    }
    for ((path, crc32), (_, bytes)) in names::BLOBS.into_iter().zip(blobs_of(vm)) {
        for property in bytes
            .into_iter()
            .flat_map(|b| blobs.properties(path, crc32, b))
        {
            entry.add_property(property);
        }
    }
    let paths = vm.passthrough.iter();
    let list: Vec<u8> = paths.flat_map(|path| path.bytes().chain([0])).collect();
    if !list.is_empty() {
        entry.add_property(property(names::PROP_PASSTHROUGH, list));
    }
    entry
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
