//! How much one fault maps: the one place that decides it.
//!
//! - The largest leaf around the address that lies in the slot, has an output as aligned, and goes over an empty entry.
//! - No larger than [`MAX_CLEAN`] where memory has to be cleaned from data caches first: the guest waits meanwhile.
//! - A page, where the slot keeps a dirty log.
//! - Where it comes to pages, those of an aligned window of [`FAULT_AROUND`] around the address with it, as far as they
//!   are empty: the next fault is likely there, and costs many times what a page does.
//! - Never a Contiguous run: two CPUs that fault on parts of one would have to agree on it.
//!
//! A page of a dirty log is writable only if it was a store that faulted there: whatever else is mapped along with it
//! has not been written.

use droste_arm64::desc::RawDescriptor;
use droste_arm64::{Ipa, Level, Pa};

use crate::attributes::scheme;
use crate::cache::Maintenance;
use crate::entry::Place;
use crate::fault::Proposal;
use crate::slots::{DirtyLog, Slot};
use crate::{Access, Attributes, Geometry, Table};

/// The most that one fault cleans from data caches, in bytes.
const MAX_CLEAN: u64 = 2 << 20;

/// Pages that one fault maps at most.
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
    /// Of the leaf that faulted, and of the others.
    faulting: Attributes,
    others: Attributes,
    log: DirtyLog,
}

impl Window {
    /// The window for a fault that found an empty entry at `empty`.
    pub(crate) fn new(table: &Table, empty: Level, proposal: &Proposal) -> Self {
        let Proposal { fault, slot, .. } = proposal;
        let geometry = table.geometry;
        let maintenance = Maintenance::of(&table.ids, slot.attributes);
        let (faulting, others) = match (slot.log, fault.access) {
            (DirtyLog::Off, _) => (slot.attributes, slot.attributes),
            (DirtyLog::On, Access::Write) => (slot.attributes, slot.attributes.read_only()),
            (DirtyLog::On, _) => (slot.attributes.read_only(), slot.attributes.read_only()),
        };
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
        Self {
            level,
            ipa,
            pa: slot.output(ipa),
            bytes,
            maintenance,
            faulting,
            others,
            log: slot.log,
        }
    }

    /// The leaf at `ipa`, a multiple of its size, where the access faulted.
    pub(crate) fn faulting_leaf(&self, table: &Table, ipa: Ipa) -> RawDescriptor {
        self.leaf(table, ipa, self.faulting)
    }

    /// The window's other leaves and where they go, given that of the faulting one.
    pub(crate) fn others<'a>(
        &'a self,
        table: &'a Table,
        faulting: Place,
    ) -> impl Iterator<Item = (Pa, RawDescriptor)> + 'a {
        let step = table.geometry.entry_bytes(self.level);
        // A window lies within one table, so the entries are side by side.
        let before = (faulting.ipa - self.ipa) / step;
        let first = Pa(faulting.entry.0 - before * 8);
        (0..self.bytes / step)
            .filter(move |index| *index != before)
            .map(move |index| {
                let leaf = self.leaf(table, self.ipa + index * step, self.others);
                (first + index * 8, leaf)
            })
    }

    fn leaf(&self, table: &Table, ipa: Ipa, attributes: Attributes) -> RawDescriptor {
        let leaf = table.leaf(
            self.level,
            self.pa + (ipa - self.ipa),
            attributes.leaf(scheme(&table.ids)),
        );
        let is_logged_by_hardware = self.log == DirtyLog::On && table.ids.has_hardware_dirty();
        if is_logged_by_hardware {
            leaf.dirty_managed()
        } else {
            leaf
        }
    }
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
