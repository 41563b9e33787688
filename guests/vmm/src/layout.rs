//! Where things are in the guest's physical address space. The addresses are those of QEMU's machine `virt`, where the
//! bare-metal test guests expect them.

use crate::Failure;

/// The distributor of the GICv3.
pub const GICD: u64 = 0x0800_0000;
/// Bytes of the distributor.
pub const GICD_BYTES: u64 = 0x1_0000;
/// The redistributors, one behind the other.
pub const GICR: u64 = 0x080a_0000;
/// Bytes of one vCPU's redistributor: two frames of 64 KiB (IHI 0069, 12.10).
pub const GICR_BYTES: u64 = 0x2_0000;
/// A PL011 that sends and never receives, for guests that know no other.
pub const PL011: u64 = 0x0900_0000;
/// Bytes of the PL011.
pub const PL011_BYTES: u64 = 0x1000;
/// The serial port, a 16550.
pub const SERIAL: u64 = 0x0900_1000;
/// Bytes of the serial port.
pub const SERIAL_BYTES: u64 = 8;
/// The serial port's shared peripheral interrupt, counted from the first one.
pub const SERIAL_SPI: u32 = 0;
/// The first byte of RAM.
pub const RAM: u64 = 0x4000_0000;

/// The interrupt by which the GIC calls a guest's EL2, counted from the first private one: what KVM has unless told.
pub const MAINTENANCE_PPI: u32 = 9;

/// vCPUs that the redistributors' addresses have room for below the PL011.
pub const VCPUS_MAX: u32 = 64;
/// The device tree has this alignment and no more bytes (Linux, Documentation/arch/arm64/booting.rst).
const TREE_BYTES: u64 = 2 << 20;
/// Where a RAM disk may start.
const PAGE: u64 = 4096;

/// Where the pieces of a guest lie in its RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The device tree.
    pub tree: u64,
    /// The RAM disk; the device tree's address if there is none.
    pub initrd: u64,
}

impl Layout {
    /// Puts the device tree at the end of RAM, and the RAM disk below it, clear of a kernel that ends at `kernel_end`.
    ///
    /// # Errors
    /// If RAM of `memory` bytes is too small.
    pub fn new(memory: u64, kernel_end: u64, initrd_bytes: u64) -> Result<Self, Failure> {
        let too_small = || {
            Failure::new(format!(
                "{} MiB of memory are too little for kernel and RAM disk; give more with --memory",
                memory >> 20
            ))
        };
        let last = (RAM + memory)
            .checked_sub(TREE_BYTES)
            .ok_or_else(too_small)?;
        let tree = last & !(TREE_BYTES - 1);
        let initrd = tree.checked_sub(initrd_bytes).ok_or_else(too_small)? & !(PAGE - 1);
        if initrd < kernel_end.max(RAM) {
            return Err(too_small());
        }
        Ok(Self { tree, initrd })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_last_and_the_ram_disk_before_it() {
        let layout = Layout::new(64 << 20, RAM + (32 << 20), 5000).expect("room");
        assert_eq!(layout.tree, RAM + (62 << 20));
        assert_eq!(layout.initrd, layout.tree - 8192);
        let none = Layout::new(64 << 20, RAM, 0).expect("room");
        assert_eq!(none.initrd, none.tree);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let kernel_end = RAM + (32 << 20);
        assert!(Layout::new(40 << 20, kernel_end, 6 << 20).is_ok());
        assert!(Layout::new(40 << 20, kernel_end, (6 << 20) + 1).is_err());
        assert!(Layout::new(40 << 20, kernel_end, u64::MAX).is_err());
        assert!(Layout::new(1 << 20, RAM, 0).is_err());
    }

    #[test]
    fn no_device_overlaps_another() {
        let ends = [
            (GICD, GICD_BYTES),
            (GICR, GICR_BYTES * u64::from(VCPUS_MAX)),
            (PL011, PL011_BYTES),
            (SERIAL, SERIAL_BYTES),
            (RAM, 0),
        ];
        for pair in ends.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:x?}");
        }
    }
}
