//! Puts a VM's kernel, RAM disk and device tree into its memory.

use core::fmt;

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
    let initrd = image.initrd.unwrap_or(&[]);
    let header = Header::parse(image.kernel)?;
    let place = Placement::new(
        &header,
        image.kernel.len() as u64,
        initrd.len() as u64,
        image.memory,
    )?;
    let initrd_start = vm.ram_ipa + place.initrd;
    let range = image
        .initrd
        .map(|bytes| initrd_start..initrd_start + bytes.len() as u64);
    let tree = vm.device_tree(range);
    if tree.len() as u64 > DTB_MAX {
        return Err(LoadError::DeviceTree(tree.len()));
    }
    for (offset, bytes) in [
        (place.kernel, image.kernel),
        (place.dtb, &tree),
        (place.initrd, initrd),
    ] {
        vm.ram.copy_in(offset, bytes, so_far);
    }
    Ok(Entry {
        pc: vm.ram_ipa + place.kernel,
        device_tree: vm.ram_ipa + place.dtb,
    })
}
