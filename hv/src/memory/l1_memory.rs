//! A guest hypervisor's memory, as far as walks of its tables read it, and what it is shown of translation.

use core::cell::Cell;

use droste_arm64::Pa;
use droste_arm64::sysreg::{
    ID_AA64ISAR0_EL1, ID_AA64ISAR1_EL1, ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1, ID_AA64MMFR2_EL1,
};
use droste_nested::{Advertised, Exchange, ExternalAbort, GuestMemory as Readable, L1Ipa};
use droste_stage2::{Access, Memory, Slot};

use super::GuestMemory;
use crate::arch::guest_word::{self, Exchanged};
use crate::arch::id::IdRegisters;

/// L1's memory.
pub(crate) struct L1Memory<'a> {
    memory: &'a GuestMemory,
    /// The slot of the last access, before the first one that of lowest address: tables are in one, mostly. It is RAM
    /// that L1 may read.
    last: Cell<Option<&'a Slot>>,
}

impl<'a> L1Memory<'a> {
    /// That of the virtual machine of `memory`.
    #[inline]
    pub(crate) fn new(memory: &'a GuestMemory) -> Self {
        let first = memory.slots.iter().next().filter(|slot| is_readable(slot));
        Self {
            memory,
            last: Cell::new(first),
        }
    }

    #[inline]
    fn slot(&self, at: L1Ipa) -> Result<&'a Slot, ExternalAbort> {
        if let Some(slot) = self.last.get()
            && at.0.wrapping_sub(slot.ipa.0) < slot.bytes
        {
            return Ok(slot);
        }
        let slot = self.memory.slots.find(at.ipa());
        let slot = slot.filter(|slot| is_readable(slot)).ok_or(ExternalAbort)?;
        self.last.set(Some(slot));
        Ok(slot)
    }

    /// Where the 8 bytes at `at` are, if they are RAM that L1 may read.
    #[inline]
    fn locate(&self, at: L1Ipa) -> Result<(&'a Slot, Pa), ExternalAbort> {
        let slot = self.slot(at)?;
        if !at.is_aligned(8) {
            return Err(ExternalAbort);
        }
        Ok((slot, Pa(slot.pa.0 + (at.0 - slot.ipa.0))))
    }
}

/// Whether it is RAM that L1 may read.
#[inline]
fn is_readable(slot: &Slot) -> bool {
    matches!(slot.attributes.memory, Memory::WriteBack) && slot.attributes.permits(Access::Read)
}

impl Readable for L1Memory<'_> {
    fn read(&self, descriptor: L1Ipa) -> Result<u64, ExternalAbort> {
        let (_, at) = self.locate(descriptor)?;
        Ok(guest_word::read(at))
    }

    fn compare_exchange(
        &self,
        descriptor: L1Ipa,
        expected: u64,
        new: u64,
    ) -> Result<Exchange, ExternalAbort> {
        let (slot, at) = self.locate(descriptor)?;
        if !slot.attributes.permits(Access::Write) {
            return Err(ExternalAbort);
        }
        // Not the loop of the tables that are EL2's: L1 may store to this one without end.
        Ok(match guest_word::exchange(at, expected, new) {
            Exchanged::Done => Exchange::Done,
            Exchanged::Differs => Exchange::Differs,
        })
    }
}

/// What a guest that reads `ids` is shown of translation, with `memory`.
pub(crate) fn advertised(ids: &IdRegisters, memory: &GuestMemory) -> Advertised {
    Advertised {
        ids: droste_arm64::IdRegisters {
            isar0: ids.get(ID_AA64ISAR0_EL1),
            mmfr0: ids.get(ID_AA64MMFR0_EL1),
            mmfr1: ids.get(ID_AA64MMFR1_EL1),
            mmfr2: ids.get(ID_AA64MMFR2_EL1),
            ..memory.ids
        },
        isar1: ids.get(ID_AA64ISAR1_EL1),
        ipa_bits: memory.geometry.ipa_bits(),
    }
}
