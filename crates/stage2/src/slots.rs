//! Memory slots: what a guest's physical address space is made of.
//!
//! A slot says which memory a range of guest addresses leads to; the table is filled from it as the guest faults. A
//! fault is resolved against the slots first and installed in the table later, under the table's lock. What was
//! resolved may be stale by then, so every change of the slots begins a new [`Sequence`], which is read before the
//! resolution and compared under the lock. Whoever removes something from a slot does so *before* removing it from the
//! table: a fault that resolved earlier then either installs its leaf before, and it is removed again, or finds the new
//! sequence.
//!
//! | change of a slot | what must be done to the table after it |
//! |---|---|
//! | [`add`](Slots::add) | nothing |
//! | [`remove`](Slots::remove), [`relocate`](Slots::relocate) | [`unmap`](crate::Table::unmap) of where it was |
//! | [`set_attributes`](Slots::set_attributes) to fewer permissions, or another memory type | `unmap` |
//! | `set_attributes` to more permissions | nothing: faults widen |
//! | [`set_log`](Slots::set_log) on | [`dirty`](crate::Table::dirty), whose first report means nothing |
//! | `set_log` off | nothing, or [`collapse`](crate::Table::collapse) |

use droste_arm64::{Ipa, Level, Pa};

use crate::{Attributes, Error, Geometry};

/// How many slots a virtual machine can have.
pub const MAX_SLOTS: usize = 32;

/// The state of the slots at some time: equal as long as nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sequence(u64);

/// Whether a slot's written pages are recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirtyLog {
    /// They are not.
    Off,
    /// They are: the first store to each page makes it writable, see [`Table::dirty`](crate::Table::dirty).
    On,
}

/// A range of guest addresses, the memory or device behind it, and what the guest may do with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// First guest address, a multiple of the page.
    pub ipa: Ipa,
    /// First physical address, a multiple of the page.
    pub pa: Pa,
    /// Size in bytes, a multiple of the page, not zero.
    pub bytes: u64,
    /// Memory type and permissions.
    pub attributes: Attributes,
    /// Whether stores are logged.
    pub log: DirtyLog,
}

impl Slot {
    /// A slot without a dirty log.
    pub const fn new(ipa: Ipa, pa: Pa, bytes: u64, attributes: Attributes) -> Self {
        Self {
            ipa,
            pa,
            bytes,
            attributes,
            log: DirtyLog::Off,
        }
    }

    /// One past the last guest address. The slot has been checked.
    pub(crate) const fn end(&self) -> Ipa {
        Ipa(self.ipa.0 + self.bytes)
    }

    /// Where a guest address leads by the slot's rule, which for an address outside it means nothing but that.
    pub(crate) const fn output(&self, ipa: Ipa) -> Pa {
        Pa(self.pa.0.wrapping_add(ipa.0.wrapping_sub(self.ipa.0)))
    }

    /// Whether a leaf of `level` around an address can map memory of this slot alone.
    pub(crate) fn has_leaf(&self, geometry: Geometry, level: Level, ipa: Ipa) -> bool {
        let bytes = geometry.entry_bytes(level);
        let start = ipa.align_down(bytes);
        geometry.format().leaf_at(level).is_some()
            && start >= self.ipa
            && start + bytes <= self.end()
            && self.output(start).is_aligned(bytes)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.ipa < other.end() && other.ipa < self.end()
    }
}

/// The slots of a virtual machine, in order of their guest addresses.
///
/// ```
/// use droste_arm64::{Granule, IdRegisters, Ipa, IpaBits, Pa};
/// use droste_stage2::{Attributes, Geometry, Slot, Slots};
///
/// let ids = IdRegisters { mmfr0: 5, ..IdRegisters::default() };
/// let mut slots = Slots::new(Geometry::new(Granule::Kib4, IpaBits::new(36).unwrap(), &ids)?);
/// let ram = Slot::new(Ipa(0x4000_0000), Pa(0x9020_0000), 0x1000_0000, Attributes::RAM);
/// slots.add(ram)?;
/// assert_eq!(slots.find(Ipa(0x4012_3456)), Some(&ram));
/// assert!(slots.add(Slot { pa: Pa(0), ..ram }).is_err());
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
        let nothing = Slot::new(Ipa(0), Pa(0), 0, Attributes::DEVICE);
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
    /// [`Error::SlotsFull`]. Nothing has changed then.
    pub fn add(&mut self, slot: Slot) -> Result<(), Error> {
        self.geometry.check(slot.ipa, slot.bytes)?;
        self.geometry.check_output(slot.ipa, slot.pa, slot.bytes)?;
        if let Some(other) = self.iter().find(|other| other.overlaps(&slot)) {
            return Err(Error::SlotOverlap { ipa: other.ipa });
        }
        if self.count == MAX_SLOTS {
            return Err(Error::SlotsFull);
        }
        let place = self.used().partition_point(|other| other.ipa < slot.ipa);
        self.sorted.copy_within(place..self.count, place + 1);
        self.sorted[place] = slot;
        self.count += 1;
        self.changed();
        Ok(())
    }

    /// Removes the slot that holds an address. What the table maps of it must then be unmapped.
    pub fn remove(&mut self, ipa: Ipa) -> Option<Slot> {
        let place = self.place(ipa)?;
        let slot = self.sorted[place];
        self.sorted.copy_within(place + 1..self.count, place);
        self.count -= 1;
        self.changed();
        Some(slot)
    }

    /// Moves the slot that holds an address to other guest addresses, and returns it as it was. Where it was must then
    /// be unmapped.
    ///
    /// # Errors
    /// [`Error::NoSlot`], and those of [`add`](Self::add). Nothing has changed then.
    pub fn relocate(&mut self, ipa: Ipa, to: Ipa) -> Result<Slot, Error> {
        let before = *self.find(ipa).ok_or(Error::NoSlot { ipa })?;
        let mut moved = self.clone();
        moved.remove(ipa);
        moved.add(Slot { ipa: to, ..before })?;
        *self = moved;
        Ok(before)
    }

    /// Changes the attributes of the slot that holds an address, for example to read-only ones. What the table maps
    /// with more permissions, or as another memory type, must then be unmapped.
    ///
    /// # Errors
    /// [`Error::NoSlot`].
    pub fn set_attributes(&mut self, ipa: Ipa, attributes: Attributes) -> Result<(), Error> {
        self.change(ipa, |slot| slot.attributes = attributes)
    }

    /// Turns the dirty log of the slot that holds an address on or off. After turning it on, what the table maps must
    /// be write-protected.
    ///
    /// # Errors
    /// [`Error::NoSlot`].
    pub fn set_log(&mut self, ipa: Ipa, log: DirtyLog) -> Result<(), Error> {
        self.change(ipa, |slot| slot.log = log)
    }

    /// The slot that holds an address.
    pub fn find(&self, ipa: Ipa) -> Option<&Slot> {
        let used = self.used();
        let behind = used.partition_point(|slot| slot.ipa <= ipa);
        used.get(behind.wrapping_sub(1))
            .filter(|slot| ipa < slot.end())
    }

    /// All slots, in order of their guest addresses.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.used().iter()
    }

    /// The current state, to be compared with one taken earlier.
    pub const fn sequence(&self) -> Sequence {
        self.sequence
    }

    fn change(&mut self, ipa: Ipa, change: impl FnOnce(&mut Slot)) -> Result<(), Error> {
        let place = self.place(ipa).ok_or(Error::NoSlot { ipa })?;
        let slot = self.sorted.get_mut(place).ok_or(Error::NoSlot { ipa })?;
        change(slot);
        self.changed();
        Ok(())
    }

    fn used(&self) -> &[Slot] {
        self.sorted.get(..self.count).unwrap_or(&[])
    }

    fn place(&self, ipa: Ipa) -> Option<usize> {
        let is_it = |slot: &Slot| slot.ipa <= ipa && ipa < slot.end();
        self.used().iter().position(is_it)
    }

    fn changed(&mut self) {
        self.sequence.0 = self.sequence.0.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests;
