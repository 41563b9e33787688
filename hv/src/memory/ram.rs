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

/// Wipes the seeds of randomness of the device tree at `address`: what grows from them is nobody's to know. It is the last
/// look at the tree.
pub(crate) fn wipe_seeds(address: Pa) {
    let places: Vec<_> = droste_devtree::seeds(arch::memory::device_tree(address)).collect();
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
