//! Memory slots: what a guest's physical address space is made of.
//!
//! A slot is a promise that guest addresses lead to some memory; the table fills with it as the guest faults. A
//! fault is resolved against the slots first and installed in the table later, under its lock. What was resolved may
//! be stale by then, so every change of the slots has a new [`Sequence`], taken before the resolution and compared
//! under the lock. Whoever removes a slot does so *before* unmapping it: a fault that resolved earlier then either
//! installs before the unmapping, which takes it away again, or finds the new sequence.

use droste_arm64::{Ipa, Level, Pa};

use crate::{Attributes, Error, Geometry};

/// How many slots a virtual machine can have.
pub const MAX_SLOTS: usize = 32;

/// The state of the slots at some time: equal as long as nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sequence(u64);

/// A range of guest addresses, the memory or device behind it, and what the guest may do with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// First guest address, a multiple of the page.
    pub ipa: Ipa,
    /// Where it leads, a multiple of the page.
    pub pa: Pa,
    /// Size in bytes, a multiple of the page, not zero.
    pub bytes: u64,
    /// Memory type and permissions.
    pub attributes: Attributes,
}

/// A leaf to be installed for a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// First guest address, a multiple of the leaf.
    pub ipa: Ipa,
    /// Where it leads, a multiple of the leaf.
    pub pa: Pa,
    /// The leaf's level.
    pub level: Level,
    /// Memory type and permissions.
    pub attributes: Attributes,
}

impl Slot {
    /// One past the last guest address. The slot has been checked.
    const fn end(&self) -> u64 {
        self.ipa.0 + self.bytes
    }

    /// The leaf of `level` around an address of the slot, if the slot holds all of it.
    fn block(&self, geometry: Geometry, level: Level, ipa: Ipa) -> Option<Block> {
        geometry.format().leaf_at(level)?;
        let size = geometry.entry_bytes(level);
        let start = ipa.align_down(size);
        if start < self.ipa || start.0 + size > self.end() {
            return None;
        }
        let pa = self.pa + (start - self.ipa);
        pa.is_aligned(size).then_some(Block {
            ipa: start,
            pa,
            level,
            attributes: self.attributes,
        })
    }
}

/// The slots of a virtual machine, in order of their guest addresses.
///
/// ```
/// use droste_arm64::{Granule, IdRegisters, Ipa, IpaBits, Level, Pa};
/// use droste_stage2::{Attributes, Geometry, Permissions, Slot, Slots};
///
/// let ids = IdRegisters { mmfr0: 5, ..IdRegisters::default() };
/// let mut slots = Slots::new(Geometry::new(Granule::Kib4, IpaBits::new(36).unwrap(), &ids)?);
/// slots.add(Slot {
///     ipa: Ipa(0x4000_0000),
///     pa: Pa(0x9020_0000),
///     bytes: 0x1000_0000,
///     attributes: Attributes::Memory(Permissions::ReadWriteExecute),
/// })?;
/// let block = slots.fault(Ipa(0x4012_3456)).unwrap();
/// assert_eq!((block.pa, block.level), (Pa(0x9020_0000), Level::L2));
/// # Ok::<(), droste_stage2::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Slots {
    geometry: Geometry,
    /// By guest address; the first `count` are in use.
    sorted: [Slot; MAX_SLOTS],
    count: usize,
    sequence: Sequence,
}

impl Slots {
    /// No slots, for tables of this shape.
    pub const fn new(geometry: Geometry) -> Self {
        let nothing = Slot {
            ipa: Ipa(0),
            pa: Pa(0),
            bytes: 0,
            attributes: Attributes::Device,
        };
        Self {
            geometry,
            sorted: [nothing; MAX_SLOTS],
            count: 0,
            sequence: Sequence(0),
        }
    }

    /// Adds a slot. Two slots may lead to the same memory; they may not share guest addresses.
    ///
    /// # Errors
    /// [`Error::Misaligned`], [`Error::OutsideIpaSpace`], [`Error::OutsidePaSpace`], [`Error::SlotOverlap`] and
    /// [`Error::SlotsFull`].
    pub fn add(&mut self, slot: Slot) -> Result<(), Error> {
        self.geometry.check(slot.ipa, slot.bytes)?;
        self.geometry.check_output(slot.ipa, slot.pa, slot.bytes)?;
        let place = self.used().partition_point(|other| other.ipa < slot.ipa);
        let before = place.checked_sub(1).and_then(|at| self.used().get(at));
        if let Some(other) = before.filter(|other| other.end() > slot.ipa.0) {
            return Err(Error::SlotOverlap { ipa: other.ipa });
        }
        let after = self.used().get(place);
        if let Some(other) = after.filter(|other| other.ipa.0 < slot.end()) {
            return Err(Error::SlotOverlap { ipa: other.ipa });
        }
        if self.count == MAX_SLOTS {
            return Err(Error::SlotsFull);
        }
        self.sorted.copy_within(place..self.count, place + 1);
        self.sorted[place] = slot;
        self.count += 1;
        self.changed();
        Ok(())
    }

    /// Removes the slot that holds an address. What the table maps of it is still to be unmapped.
    pub fn remove(&mut self, ipa: Ipa) -> Option<Slot> {
        let place = self.place(ipa)?;
        let slot = self.sorted[place];
        self.sorted.copy_within(place + 1..self.count, place);
        self.count -= 1;
        self.changed();
        Some(slot)
    }

    /// The slot that holds an address.
    pub fn find(&self, ipa: Ipa) -> Option<&Slot> {
        self.place(ipa).and_then(|place| self.sorted.get(place))
    }

    /// All slots, in order of their guest addresses.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.used().iter()
    }

    /// The current state, to be compared with one taken earlier.
    pub const fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// What to map for a fault at an address: the largest leaf around it that lies within one slot, with an output as
    /// aligned as the leaf. `None` where there is no slot.
    pub fn fault(&self, ipa: Ipa) -> Option<Block> {
        let slot = self.find(ipa)?;
        let mut level = self.geometry.start();
        loop {
            let block = slot.block(self.geometry, level, ipa);
            if block.is_some() {
                return block;
            }
            level = level.next()?;
        }
    }

    fn used(&self) -> &[Slot] {
        self.sorted.get(..self.count).unwrap_or(&[])
    }

    fn place(&self, ipa: Ipa) -> Option<usize> {
        let place = self
            .used()
            .partition_point(|slot| slot.ipa <= ipa)
            .checked_sub(1)?;
        let slot = self.used().get(place)?;
        (ipa.0 < slot.end()).then_some(place)
    }

    fn changed(&mut self) {
        self.sequence.0 = self.sequence.0.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests;
