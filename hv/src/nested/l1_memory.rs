//! A guest hypervisor's memory, as far as walks of its tables read it.

use core::cell::Cell;

use droste_arm64::Pa;
use droste_arm64::desc::RawDescriptor;
use droste_nested::{Exchange, ExternalAbort, GuestMemory as Readable, L1Ipa};
use droste_stage2::{Access, Machine, Memory, Slot};

use crate::arch::stage2::Hardware;
use crate::guest_memory::GuestMemory;

/// L1's memory.
pub(super) struct L1Memory<'a> {
    memory: &'a GuestMemory,
    /// The slot of the last access: tables are in one, mostly.
    last: Cell<Option<&'a Slot>>,
}

impl<'a> L1Memory<'a> {
    /// That of the virtual machine of `memory`.
    pub(super) const fn new(memory: &'a GuestMemory) -> Self {
        Self {
            memory,
            last: Cell::new(None),
        }
    }

    #[inline]
    fn slot(&self, at: L1Ipa) -> Result<&'a Slot, ExternalAbort> {
        if let Some(slot) = self.last.get()
            && at.0.wrapping_sub(slot.ipa.0) < slot.bytes
        {
            return Ok(slot);
        }
        let slot = self.memory.slots.find(at.ipa()).ok_or(ExternalAbort)?;
        self.last.set(Some(slot));
        Ok(slot)
    }

    /// Where the 8 bytes at `at` are, if they are RAM that L1 may access so.
    #[inline]
    fn locate(&self, at: L1Ipa, access: Access) -> Result<Pa, ExternalAbort> {
        let slot = self.slot(at)?;
        let is_ram = matches!(slot.attributes.memory, Memory::WriteBack);
        if !is_ram || !slot.attributes.permits(access) || !at.is_aligned(8) {
            return Err(ExternalAbort);
        }
        Ok(Pa(slot.pa.0 + (at.0 - slot.ipa.0)))
    }
}

impl Readable for L1Memory<'_> {
    fn read(&self, descriptor: L1Ipa) -> Result<u64, ExternalAbort> {
        Ok(Hardware.read(self.locate(descriptor, Access::Read)?).0)
    }

    fn compare_exchange(
        &self,
        descriptor: L1Ipa,
        expected: u64,
        new: u64,
    ) -> Result<Exchange, ExternalAbort> {
        let at = self.locate(descriptor, Access::Write)?;
        let (expected, new) = (RawDescriptor(expected), RawDescriptor(new));
        Ok(match Hardware.compare_exchange(at, expected, new) {
            Ok(()) => Exchange::Done,
            Err(_) => Exchange::Differs,
        })
    }
}
