//! How much one fault maps: the one place that decides it.
//!
//! - The largest leaf around the address that lies in the slot, has an output as aligned, and replaces an empty entry.
//! - No larger than [`MAX_CLEAN`] where memory has to be cleaned from data caches first: the guest waits meanwhile.
//! - A page, where the slot keeps a dirty log.
//! - Where that is a page, and memory need not be cleaned first, also the other pages of an aligned window of
//!   [`FAULT_AROUND`] around the address, as far as their entries are empty: the next fault is likely there, and costs
//!   many times what mapping a page does.
//! - Never a Contiguous run: two CPUs that fault on parts of one would have to agree on it.
//!
//! A page of a dirty log is writable only if it was a store that faulted there: whatever else is mapped along with it
//! has not been written.

use droste_arm64::desc::{Pattern, RawDescriptor};
use droste_arm64::{IdRegisters, Ipa, Level, Pa};

use crate::attributes::scheme;
use crate::cache::Maintenance;
use crate::entry::Position;
use crate::fault::Proposal;
use crate::slots::{DirtyLog, Slot};
use crate::{Access, Geometry, Machine, Table};

/// The most that one fault cleans from data caches, in bytes.
pub(crate) const MAX_CLEAN: u64 = 2 << 20;

/// The most pages that one fault maps.
pub const FAULT_AROUND: u64 = 16;

/// What a fault maps: leaves of one level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) level: Level,
    /// First guest address, and what it leads to.
    ipa: Ipa,
    pub(crate) pa: Pa,
    pub(crate) bytes: u64,
    pub(crate) maintenance: Maintenance,
    /// The leaf that faulted, and the others, with the output of the first.
    faulting: RawDescriptor,
    others: RawDescriptor,
}

impl Window {
    /// The window for a fault that found an empty entry at `empty`.
    pub(crate) fn new(table: &Table, empty: Level, proposal: &Proposal) -> Self {
        let Proposal { fault, slot, .. } = proposal;
        let geometry = table.geometry;
        let maintenance = Maintenance::of(&table.ids, slot.attributes);
        let level = level(geometry, empty, slot, fault.ipa, maintenance);
        let leaf_bytes = geometry.entry_bytes(level);
        let mut ipa = fault.ipa.align_down(leaf_bytes);
        let mut bytes = leaf_bytes;
        if level == Level::L3 && !maintenance.is_by_size() {
            let around = leaf_bytes * FAULT_AROUND;
            let first = fault.ipa.align_down(around).max(slot.ipa);
            let end = (fault.ipa.align_down(around) + around).min(slot.end());
            (ipa, bytes) = (first, end - first);
        }
        let pa = slot.output(ipa);
        let written = table.leaf(level, pa, slot.attributes.leaf(scheme(&table.ids)));
        let (written, unwritten) = match slot.log {
            DirtyLog::Off => (written, written),
            DirtyLog::On => logged(written, &table.ids),
        };
        Self {
            level,
            ipa,
            pa,
            bytes,
            maintenance,
            faulting: match fault.access {
                Access::Write => written,
                Access::Read | Access::Execute(_) => unwritten,
            },
            others: unwritten,
        }
    }

    /// The leaf at `ipa`, a multiple of its size, where the access faulted.
    pub(crate) fn faulting_leaf(&self, table: &Table, ipa: Ipa) -> RawDescriptor {
        let output = self.pa + (ipa - self.ipa);
        self.faulting
            .with_output(table.geometry.format(), self.level, output)
    }

    /// Installs the window's other leaves where nothing is yet, given the position of the faulting one. What is there
    /// stays: another CPU was faster, and nothing is lost.
    pub(crate) fn fill_others<M: Machine>(&self, machine: &M, table: &Table, faulting: Position) {
        let pattern = Pattern::new(self.others, table.geometry.format(), self.level);
        let shift = table.geometry.granule().entry_shift(self.level);
        // A window lies within one table, so the entries are side by side.
        let before = (faulting.ipa - self.ipa) >> shift;
        let first = Pa(faulting.entry.0 - before * 8);
        for others in [0..before, before + 1..self.bytes >> shift] {
            for index in others {
                let leaf = pattern.at(self.pa + (index << shift));
                let _ = machine.compare_exchange(first + index * 8, RawDescriptor::EMPTY, leaf);
            }
        }
    }
}

/// A leaf of a dirty log after a store, and before. Where hardware manages dirty state it makes the one of the other,
/// and so only where the slot permits stores.
fn logged(leaf: RawDescriptor, ids: &IdRegisters) -> (RawDescriptor, RawDescriptor) {
    let leaf = if leaf.can_write() && ids.has_hardware_dirty() {
        leaf.dirty_managed()
    } else {
        leaf
    };
    (leaf, leaf.without_write())
}

/// The level of the largest leaf around an address that fits.
fn level(
    geometry: Geometry,
    empty: Level,
    slot: &Slot,
    ipa: Ipa,
    maintenance: Maintenance,
) -> Level {
    if slot.log == DirtyLog::On {
        return Level::L3;
    }
    let mut level = empty;
    while let Some(below) = level.next() {
        let bytes = geometry.entry_bytes(level);
        let is_small_enough = !maintenance.is_by_size() || bytes <= MAX_CLEAN;
        if is_small_enough && slot.has_leaf(geometry, level, ipa) {
            break;
        }
        level = below;
    }
    level
}

#[cfg(test)]
mod tests {
    use droste_arm64::desc::S2ap;

    use super::*;

    #[test]
    fn hardware_makes_no_leaf_writable_that_its_slot_keeps_read_only() {
        let ids = IdRegisters {
            mmfr1: 2,
            ..IdRegisters::default()
        };
        let leaf = |access| RawDescriptor::EMPTY.accessed().with_access(access);
        let (written, unwritten) = logged(leaf(S2ap::ReadWrite), &ids);
        assert!(written.is_dirty_managed() && written.can_write());
        assert!(unwritten.is_dirty_managed() && !unwritten.can_write());
        let (written, unwritten) = logged(leaf(S2ap::ReadOnly), &ids);
        assert_eq!(
            (written, unwritten),
            (leaf(S2ap::ReadOnly), leaf(S2ap::ReadOnly))
        );
    }
}
