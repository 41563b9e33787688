//! Who owns which part of physical memory.
//!
//! RAM that neither firmware, boot loader nor image occupies is given out once, in large contiguous pieces: a VM's
//! RAM, and the pages of its stage-2 tables. Nothing is given back, since a VM keeps its memory across its own
//! restarts; so no VM ever reads what another wrote, and no exhaustion can happen after boot.

use alloc::vec::Vec;
use core::ops::Range;

use droste_arm64::Pa;
use droste_platform::Platform;

use crate::arch::{self, memory::Region};

/// The device tree at `address`, or no bytes where there is none. Stage 1 maps 2 MiB there.
pub(crate) fn device_tree(address: Pa) -> &'static [u8] {
    const HEADER: u64 = 40;
    const MAGIC: [u8; 4] = [0xd0, 0x0d, 0xfe, 0xed];
    const MAX: u32 = 2 << 20;
    if address.0 == 0 {
        return &[];
    }
    let header = arch::memory::read_only(address.0..address.0 + HEADER);
    let [magic, total] = [0, 4].map(|i| [header[i], header[i + 1], header[i + 2], header[i + 3]]);
    let total = u32::from_be_bytes(total);
    if magic != MAGIC || total > MAX {
        return &[];
    }
    arch::memory::read_only(address.0..address.0 + u64::from(total))
}

/// Wipes the seeds of randomness of the device tree at `address`: what grows from them is nobody's to know. It is the last
/// look at the tree.
pub(crate) fn wipe_seeds(address: Pa) {
    let places: Vec<_> = droste_devtree::seeds(device_tree(address)).collect();
    for place in places {
        arch::memory::wipe(address.0 + place.start as u64..address.0 + place.end as u64);
    }
}

/// RAM that is free to give out.
pub(crate) struct Ram(droste_resources::Ram);

impl Ram {
    /// All RAM but what `platform` reserves and what `occupied` lists.
    pub(crate) fn new(platform: &Platform, occupied: &[Range<u64>]) -> Self {
        let occupied = platform.boot.reserved.iter().chain(occupied).cloned();
        Self(droste_resources::Ram::new(&platform.boot.memory, occupied))
    }

    /// Takes `bytes` bytes at a multiple of `align`, a power of two, not below `from`. `None` where no region has as
    /// much in one piece.
    pub(crate) fn take(&mut self, bytes: u64, align: u64, from: u64) -> Option<Region> {
        self.0.take(bytes, align, from).map(Region::claim)
    }

    /// Free bytes in all.
    pub(crate) fn free(&self) -> u64 {
        self.0.free()
    }
}
