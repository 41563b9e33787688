//! L1's memory, as far as a walk of its tables needs it.

use crate::L1Ipa;

/// The access found no memory: no slot, one that is a device, or, for a write, one that L1 may only read. To the
/// walk it is a synchronous external abort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExternalAbort;

/// What a compare-exchange found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exchange {
    /// What was expected; the new value is in its place.
    Done,
    /// Something else, and nothing was written.
    Differs,
}

/// Memory of L1 by the address that L1 gives it, for the walk of its stage-2 tables.
///
/// Each access is single-copy atomic, of 64 bits, at a multiple of 8 bytes. Values are what a little-endian load or
/// store has in its register, whatever the byte order of L1's tables. L1's virtual CPUs run meanwhile: two reads of one
/// address may differ.
pub trait GuestMemory {
    /// Reads a descriptor.
    ///
    /// # Errors
    /// [`ExternalAbort`] where no memory can be read.
    fn read(&self, descriptor: L1Ipa) -> Result<u64, ExternalAbort>;

    /// Writes `new` over a descriptor that holds `expected`.
    ///
    /// # Errors
    /// [`ExternalAbort`] where no memory can be written.
    fn compare_exchange(
        &self,
        descriptor: L1Ipa,
        expected: u64,
        new: u64,
    ) -> Result<Exchange, ExternalAbort>;
}
