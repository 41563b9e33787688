//! Puts a VM's kernel, device tree and other files into its memory.

use core::fmt;

use droste_devtree::GuestDom0;
use droste_image::kernel::{DTB_MAX, Header, KernelError, Placement};

use crate::arch::memory::Use;
use crate::vm::Vm;

/// Where a VM's first CPU starts, guest physical addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// First instruction.
    pub(crate) pc: u64,
    /// Its argument: the device tree.
    pub(crate) device_tree: u64,
}

/// Why a VM cannot be loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The kernel is no kernel, or does not fit.
    Kernel(KernelError),
    /// The device tree is larger than the boot protocol allows, in bytes.
    DeviceTree(usize),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(error) => write!(f, "its kernel: {error}"),
            Self::DeviceTree(bytes) => write!(
                f,
                "its device tree has {bytes} bytes, above the limit of {DTB_MAX}"
            ),
        }
    }
}

impl From<KernelError> for LoadError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

/// Loads `vm` from its image. None of its CPUs runs, and nothing is mapped in its stage 2: what caches hold of the
/// bytes written here is seen to when the guest's first access maps them.
pub(crate) fn load(vm: &Vm, so_far: Use) -> Result<Entry, LoadError> {
    let image = &vm.image;
    let blobs = [
        image.initrd,
        image.dom0.map(|dom0| dom0.kernel),
        image.dom0.and_then(|dom0| dom0.initrd),
    ];
    let header = Header::parse(image.kernel)?;
    let place = Placement::new(
        &header,
        image.kernel.len() as u64,
        blobs.map(|bytes| bytes.map_or(0, |bytes| bytes.len() as u64)),
        image.memory,
    )?;
    let range = |n: usize| {
        let start = vm.ram_ipa + place.blobs[n];
        blobs[n].map(|bytes| start..start + bytes.len() as u64)
    };
    let dom0 = image.dom0.zip(range(1)).map(|(dom0, kernel)| GuestDom0 {
        kernel,
        initrd: range(2),
        bootargs: dom0.bootargs,
    });
    let tree = vm.device_tree(range(0), dom0);
    if tree.len() as u64 > DTB_MAX {
        return Err(LoadError::DeviceTree(tree.len()));
    }
    let first = [(place.kernel, image.kernel), (place.dtb, &tree)];
    let others = place
        .blobs
        .into_iter()
        .zip(blobs.map(Option::unwrap_or_default));
    for (offset, bytes) in first.into_iter().chain(others) {
        vm.ram.copy_in(offset, bytes, so_far);
    }
    Ok(Entry {
        pc: vm.ram_ipa + place.kernel,
        device_tree: vm.ram_ipa + place.dtb,
    })
}
