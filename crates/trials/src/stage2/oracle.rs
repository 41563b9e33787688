//! What a virtual machine may see, from what was asked alone: pages, where they lead, what they permit. It knows
//! nothing of tables, blocks or TLBs.

use std::collections::BTreeSet;
use std::ops::Range;

use droste_arm64::desc::Xn;
use droste_arm64::{Ipa, Pa};
use droste_mmu_model::{AccessKind, Allowed};
use droste_stage2::{Attributes, DirtyLog, Error, Mapping, Memory, Slot};

use crate::stage2::operation::Area;
use crate::stage2::ranges::Ranges;

/// A set of kinds of access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rights(u8);

impl Rights {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const READ: Self = Self(1);
    pub(crate) const WRITE: Self = Self(2);
    pub(crate) const EXECUTE_EL1: Self = Self(4);
    pub(crate) const EXECUTE_EL0: Self = Self(8);

    pub(crate) const fn of(attributes: Attributes) -> Self {
        let mut bits = 0;
        if attributes.access.can_read() {
            bits |= Self::READ.0;
        }
        if attributes.access.can_write() {
            bits |= Self::WRITE.0;
        }
        bits |= match attributes.execute {
            Xn::Everywhere => Self::EXECUTE_EL0.0 | Self::EXECUTE_EL1.0,
            Xn::OnlyEl0 => Self::EXECUTE_EL0.0,
            Xn::OnlyEl1 => Self::EXECUTE_EL1.0,
            Xn::Nowhere => 0,
        };
        Self(bits)
    }

    pub(crate) const fn to(kind: AccessKind) -> Self {
        match kind {
            AccessKind::Read => Self::READ,
            AccessKind::Write => Self::WRITE,
            AccessKind::ExecuteEl1 => Self::EXECUTE_EL1,
            AccessKind::ExecuteEl0 => Self::EXECUTE_EL0,
        }
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// What is known of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    /// Output less address, wrapping: the same for all of a range.
    delta: u64,
    /// The most that it may permit.
    pub(crate) limit: Rights,
    /// What the table permits for sure. Nothing, where it need not be mapped.
    pub(crate) granted: Rights,
    /// What every CPU's TLB permits for sure as well.
    sure: Rights,
    /// Its access flag may be clear, or some TLB hold it with fewer rights, so that an access may fault.
    is_doubtful: bool,
    pub(crate) memory: Memory,
    pub(crate) software: u8,
}

impl Known {
    pub(crate) const fn output(&self, ipa: u64) -> Pa {
        Pa(ipa.wrapping_add(self.delta))
    }
}

/// Who marks written pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Marks {
    Software,
    Hardware,
}

/// What a fault must come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    /// No slot.
    Nobody,
    /// The slot does not permit it.
    Refused,
    /// The access succeeds in the end.
    Succeeds,
    /// Other memory than the slot's is mapped there.
    InTheWay,
}

/// What one virtual machine may see.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    page: u64,
    space: u64,
    output_limit: u64,
    /// Leaves and Contiguous runs are no larger than this.
    largest_leaf: u64,
    marks: Marks,
    slots: Vec<Slot>,
    pub(crate) known: Ranges<Known>,
    /// Pages of logged slots written since they were last reported.
    written: BTreeSet<u64>,
}

const fn range(ipa: Ipa, bytes: u64) -> Range<u64> {
    ipa.0..ipa.0.wrapping_add(bytes)
}

const fn area(slot: &Slot) -> Range<u64> {
    range(slot.ipa, slot.bytes)
}

const fn delta(slot: &Slot) -> u64 {
    slot.pa.0.wrapping_sub(slot.ipa.0)
}

impl Oracle {
    pub(crate) fn new(geometry: droste_stage2::Geometry, marks: Marks) -> Self {
        let largest = droste_arm64::Level::ALL
            .into_iter()
            .filter(|&level| level >= geometry.start())
            .filter(|&level| geometry.format().leaf_at(level).is_some())
            .map(|level| geometry.entry_bytes(level) * geometry.format().contiguous_entries(level))
            .max();
        Self {
            page: geometry.page_bytes(),
            space: geometry.ipa_bits().bytes(),
            output_limit: geometry.output_limit(),
            largest_leaf: largest.unwrap_or(1),
            marks,
            slots: Vec::new(),
            known: Ranges::default(),
            written: BTreeSet::new(),
        }
    }

    /// The whole address space.
    pub(crate) const fn space(&self) -> Range<u64> {
        0..self.space
    }

    /// The rights that faults may give to memory of a slot before it is written.
    fn slot_limit(&self, slot: &Slot) -> Rights {
        let all = Rights::of(slot.attributes);
        match (slot.log, self.marks) {
            (DirtyLog::On, Marks::Software) => all.without(Rights::WRITE),
            _ => all,
        }
    }

    pub(crate) fn slot(&self, ipa: Ipa) -> Option<&Slot> {
        self.slots.iter().find(|slot| area(slot).contains(&ipa.0))
    }

    /// What is wrong with a range.
    pub(crate) fn fault(&self, of: Area) -> Option<Error> {
        let Area { ipa, bytes } = of;
        if bytes == 0 || (ipa.0 | bytes) & (self.page - 1) != 0 {
            return Some(Error::Misaligned {
                ipa,
                pa: Pa(0),
                bytes,
            });
        }
        let end = ipa.0.checked_add(bytes).filter(|&end| end <= self.space);
        end.is_none()
            .then_some(Error::OutsideIpaSpace { ipa, bytes })
    }

    /// What is wrong with a range and its output.
    pub(crate) fn output_fault(&self, of: Area, pa: Pa) -> Option<Error> {
        let Area { ipa, bytes } = of;
        if let Some(fault) = self.fault(of) {
            return Some(fault);
        }
        if pa.0 & (self.page - 1) != 0 {
            return Some(Error::Misaligned { ipa, pa, bytes });
        }
        let end =
            pa.0.checked_add(bytes)
                .filter(|&end| end <= self.output_limit);
        end.is_none().then_some(Error::OutsidePaSpace { pa, bytes })
    }

    /// What adding a slot must come to.
    pub(crate) fn add_slot(&mut self, slot: Slot) -> Result<(), Error> {
        let of = Area {
            ipa: slot.ipa,
            bytes: slot.bytes,
        };
        if let Some(fault) = self.output_fault(of, slot.pa) {
            return Err(fault);
        }
        let new = area(&slot);
        let overlapping = self
            .slots
            .iter()
            .filter(|other| area(other).start < new.end && new.start < area(other).end);
        if let Some(other) = overlapping.min_by_key(|other| other.ipa) {
            return Err(Error::SlotOverlap { ipa: other.ipa });
        }
        if self.slots.len() == droste_stage2::MAX_SLOTS {
            return Err(Error::SlotsFull);
        }
        self.slots.push(slot);
        self.offer(&slot);
        Ok(())
    }

    /// Memory of a slot may be mapped from now on: where nothing is, and with its rights where it is already.
    fn offer(&mut self, slot: &Slot) {
        let limit = self.slot_limit(slot);
        let delta = delta(slot);
        let before: Vec<_> = self.known.parts(area(slot)).collect();
        self.known.set(
            area(slot),
            Some(Known {
                delta,
                limit,
                granted: Rights::NONE,
                sure: Rights::NONE,
                is_doubtful: false,
                memory: slot.attributes.memory,
                software: slot.attributes.software,
            }),
        );
        for (part, mut known) in before {
            if known.delta == delta {
                known.limit = known.limit.and(limit);
            }
            self.known.set(part, Some(known));
        }
    }

    /// The slot is gone; what it was stays known until it is unmapped.
    pub(crate) fn remove_slot(&mut self, ipa: Ipa) -> Option<Slot> {
        let place = self
            .slots
            .iter()
            .position(|slot| area(slot).contains(&ipa.0))?;
        Some(self.slots.swap_remove(place))
    }

    /// A slot that was taken out comes back.
    pub(crate) fn put_back(&mut self, slot: Slot) {
        self.slots.push(slot);
    }

    /// Gives a slot another form. The table is not changed by it.
    pub(crate) fn change_slot(
        &mut self,
        ipa: Ipa,
        change: impl FnOnce(&mut Slot),
    ) -> Option<(Slot, Slot)> {
        let place = self
            .slots
            .iter()
            .position(|slot| area(slot).contains(&ipa.0))?;
        let before = self.slots[place];
        change(&mut self.slots[place]);
        let after = self.slots[place];
        self.offer(&after);
        if after.log == DirtyLog::Off {
            self.forget_written(area(&after));
        }
        Some((before, after))
    }

    /// Nothing of a range is mapped any more.
    pub(crate) fn unmap(&mut self, of: Range<u64>) {
        self.forget_written(of.clone());
        self.known.set(of.clone(), None);
        let touched: Vec<Slot> = self.slots.clone();
        for slot in touched {
            let (start, end) = (area(&slot).start.max(of.start), area(&slot).end.min(of.end));
            if start < end {
                self.offer(&Slot {
                    ipa: Ipa(start),
                    pa: Pa(start.wrapping_add(delta(&slot))),
                    bytes: end - start,
                    ..slot
                });
            }
        }
    }

    /// A range was mapped.
    pub(crate) fn map(&mut self, mapping: &Mapping, of: Range<u64>) {
        let rights = Rights::of(mapping.attributes);
        let doubtful: Vec<_> = self
            .known
            .parts(of.clone())
            .filter(|(_, known)| known.is_doubtful)
            .collect();
        self.unmap(of.clone());
        let wanted = mapping.pa.0.wrapping_sub(mapping.ipa.0);
        let offered: Vec<_> = self.known.parts(of.clone()).collect();
        let known = Known {
            delta: wanted,
            limit: rights,
            granted: rights,
            sure: rights,
            is_doubtful: false,
            memory: mapping.attributes.memory,
            software: mapping.attributes.software,
        };
        self.known.set(of, Some(known));
        for (part, offered) in offered {
            if offered.delta == wanted {
                let limit = rights.and(offered.limit);
                self.known.set(part, Some(Known { limit, ..known }));
            }
        }
        // A leaf that says what it is to say already stays as it is.
        for (part, _) in doubtful {
            self.doubt(part);
        }
    }

    fn doubt(&mut self, of: Range<u64>) {
        self.known.change(of, |known| {
            known.sure = Rights::NONE;
            known.is_doubtful = true;
        });
    }

    /// A range as far as the leaves that may map part of it can reach.
    pub(crate) fn with_leaves(&self, of: Range<u64>) -> Range<u64> {
        let mask = self.largest_leaf - 1;
        let end = ((of.end - 1) | mask).saturating_add(1).min(self.space);
        of.start & !mask..end
    }

    /// A range was write-protected.
    pub(crate) fn write_protect(&mut self, of: Range<u64>) {
        if self.marks == Marks::Software {
            // What is not mapped yet will be as its slot says.
            let offered: Vec<_> = self
                .known
                .parts(of.clone())
                .filter(|(part, known)| {
                    known.granted == Rights::NONE && !self.is_logged(Ipa(part.start))
                })
                .collect();
            self.known.change(of.clone(), |known| {
                known.limit = known.limit.without(Rights::WRITE);
            });
            for (part, known) in offered {
                self.known.set(part, Some(known));
            }
        }
        self.known.change(self.with_leaves(of), |known| {
            known.granted = known.granted.without(Rights::WRITE);
            known.sure = known.sure.without(Rights::WRITE);
        });
    }

    /// Marks that a leaf of a range may have borne are gone.
    pub(crate) fn forget_written_around(&mut self, of: Range<u64>) {
        self.forget_written(self.with_leaves(of));
    }

    pub(crate) fn forget_written(&mut self, of: Range<u64>) {
        let pages: Vec<u64> = self.written.range(of).copied().collect();
        for page in pages {
            self.written.remove(&page);
        }
    }

    /// The first page of a range that was written and has not been reported.
    pub(crate) fn unreported(&self, of: Range<u64>) -> Option<u64> {
        self.written.range(of).next().copied()
    }

    /// Access flags of a range were cleared: where hardware does not set them, accesses fault.
    pub(crate) fn age(&mut self, of: Range<u64>) {
        self.doubt(self.with_leaves(of));
    }

    /// A range may have become blocks of these attributes.
    pub(crate) fn collapse(&mut self, of: Range<u64>, attributes: Attributes) {
        let rights = Rights::of(attributes);
        self.known
            .change(of, |known| known.limit = known.limit.and(rights));
    }

    /// What a fault at an address must come to.
    pub(crate) fn expected(&self, ipa: Ipa, kind: AccessKind) -> Expected {
        let Some(slot) = self.slot(ipa) else {
            return Expected::Nobody;
        };
        if !Rights::of(slot.attributes).has(Rights::to(kind)) {
            return Expected::Refused;
        }
        match self.known.get(ipa.0) {
            Some(known) if known.delta != delta(slot) => Expected::InTheWay,
            _ => Expected::Succeeds,
        }
    }

    /// A fault gave a right: for sure to its page, and perhaps to others of the leaf.
    pub(crate) fn relaxed(&mut self, ipa: Ipa, kind: AccessKind) {
        let right = Rights::to(kind);
        let page = ipa.0 & !(self.page - 1);
        self.known.change(page..page + self.page, |known| {
            known.limit = known.limit.and(right);
            known.granted = known.granted.and(right);
        });
        // The leaf's other pages got the right too, and other CPUs need not know.
        self.doubt(self.with_leaves(page..page + self.page));
        let Some(slot) = self.slot(ipa).copied() else {
            return;
        };
        if kind == AccessKind::Write && slot.log == DirtyLog::Off {
            let delta = delta(&slot);
            self.known.change(area(&slot), |known| {
                if known.delta == delta {
                    known.limit = known.limit.and(Rights::WRITE);
                }
            });
        }
    }

    /// A write reached memory.
    pub(crate) fn wrote(&mut self, ipa: Ipa) {
        if self.slot(ipa).is_some_and(|slot| slot.log == DirtyLog::On) {
            self.written.insert(ipa.0 & !(self.page - 1));
        }
    }

    /// Whether a write there has to leave a mark.
    pub(crate) fn is_logged(&self, ipa: Ipa) -> bool {
        self.slot(ipa).is_some_and(|slot| slot.log == DirtyLog::On)
    }

    /// What hardware may make of an access now.
    pub(crate) fn allowed(&self, ipa: Ipa, kind: AccessKind) -> Allowed {
        let right = Rights::to(kind);
        match self.known.get(ipa.0) {
            Some(known) if known.sure.has(right) => Allowed::Access(known.output(ipa.0)),
            Some(known) if known.limit.has(right) => Allowed::Either(known.output(ipa.0)),
            _ => Allowed::Fault,
        }
    }
}
