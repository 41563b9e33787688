//! The guest's RAM: mapped, filled, handed to KVM.

use crate::arguments::Arguments;
use crate::layout::{Layout, RAM};
use crate::{During as _, Failure};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use linux_loader::loader::{KernelLoader as _, pe::PE};
use std::fs::File;
use std::path::Path;
use vm_memory::{Address as _, Bytes as _, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap};

/// Where `image_size` stands in the header of an arm64 `Image` (Linux, Documentation/arch/arm64/booting.rst).
const IMAGE_SIZE_AT: u64 = 16;

/// A guest's RAM with its kernel and RAM disk in it.
pub(crate) struct Memory {
    ram: GuestMemoryMmap<()>,
    /// Where the kernel starts.
    pub(crate) entry: u64,
    /// Where the rest lies.
    pub(crate) layout: Layout,
    /// Bytes of the RAM disk.
    pub(crate) initrd_bytes: u64,
}

impl Memory {
    /// Maps RAM and loads the files.
    ///
    /// # Errors
    /// If there is not enough memory, or a file cannot be read or does not fit.
    pub(crate) fn load(arguments: &Arguments) -> Result<Self, Failure> {
        let bytes = arguments.memory as usize;
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(RAM), bytes)])
            .during("cannot map the guest's memory")?;
        let mut kernel = open(&arguments.kernel)?;
        let loaded = PE::load(&ram, Some(GuestAddress(RAM)), &mut kernel, None)
            .during(&format!("cannot load {}", arguments.kernel.display()))?;
        let entry = loaded.kernel_load;
        let image_size: u64 = ram
            .read_obj(entry.unchecked_add(IMAGE_SIZE_AT))
            .during("cannot read the kernel's header")?;
        let end = loaded
            .kernel_end
            .max(entry.raw_value().saturating_add(u64::from_le(image_size)));
        let (initrd, initrd_bytes) = match &arguments.initrd {
            Some(path) => {
                let file = open(path)?;
                let bytes = file
                    .metadata()
                    .during(&format!("cannot read {}", path.display()))?;
                (Some((path, file)), bytes.len())
            }
            None => (None, 0),
        };
        let layout = Layout::new(arguments.memory, end, initrd_bytes)?;
        if let Some((path, mut file)) = initrd {
            ram.read_exact_volatile_from(
                GuestAddress(layout.initrd),
                &mut file,
                initrd_bytes as usize,
            )
            .during(&format!("cannot load {}", path.display()))?;
        }
        Ok(Self {
            ram,
            entry: entry.raw_value(),
            layout,
            initrd_bytes,
        })
    }

    /// Puts the device tree into its place.
    ///
    /// # Errors
    /// If it is larger than its place.
    pub(crate) fn put_tree(&self, tree: &[u8]) -> Result<(), Failure> {
        self.ram
            .write_slice(tree, GuestAddress(self.layout.tree))
            .during("cannot place the device tree")
    }

    /// Gives the RAM to a virtual machine, which must not be run after this value is dropped.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(crate) fn give_to(&self, vm: &VmFd) -> Result<(), Failure> {
        let host = self
            .ram
            .get_host_address(GuestAddress(RAM))
            .during("the guest's memory has no address")?;
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: RAM,
            memory_size: self.ram.last_addr().raw_value() - RAM + 1,
            userspace_addr: host as u64,
        };
        // SAFETY: the region is a mapping of this process of just that length, which nothing else is in, and the caller
        // keeps it for as long as the virtual machine runs. Our own accesses to it are volatile.
        unsafe { vm.set_user_memory_region(region) }.during("KVM refuses the guest's memory")
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).during(&format!("cannot open {}", path.display()))
}
