//! L1's memory, as far as walks of its tables need it.

use crate::L1Ipa;

/// The access found no memory: the address is in no slot, in the slot of a device or, for a write, in a slot that L1
/// may only read. The walk takes it for a synchronous external abort.
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

/// L1's memory by the addresses that L1 takes for physical, for walks of its tables.
///
/// Each access is single-copy atomic, of 64 bits, at a multiple of 8 bytes. A value is what a little-endian load or
/// store of it has in its register, whatever the byte order of L1's tables. L1's vCPUs run at the same time, so two
/// reads of one address may differ. Where L1's stores are logged, a write counts as one.
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

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::HashMap;

    use super::*;

    /// Memory of single descriptors in a range of addresses; those never written read as zero.
    pub(crate) struct Sparse {
        pub(crate) words: RefCell<HashMap<u64, u64>>,
        /// First address outside.
        pub(crate) end: u64,
        pub(crate) reads: Cell<u32>,
        /// What a descriptor is changed to by another CPU after it is read.
        pub(crate) interference: Cell<Option<(u64, u64)>>,
    }

    impl Sparse {
        pub(crate) fn new(end: u64) -> Self {
            Self {
                words: RefCell::default(),
                end,
                reads: Cell::new(0),
                interference: Cell::new(None),
            }
        }

        pub(crate) fn set(&self, at: u64, value: u64) {
            self.words.borrow_mut().insert(at, value);
        }

        pub(crate) fn get(&self, at: u64) -> u64 {
            self.words.borrow().get(&at).copied().unwrap_or(0)
        }

        fn check(&self, at: L1Ipa) -> Result<(), ExternalAbort> {
            assert!(at.is_aligned(8), "{at}");
            if at.0 < self.end {
                Ok(())
            } else {
                Err(ExternalAbort)
            }
        }
    }

    impl GuestMemory for Sparse {
        fn read(&self, descriptor: L1Ipa) -> Result<u64, ExternalAbort> {
            self.reads.set(self.reads.get() + 1);
            self.check(descriptor)?;
            let value = self.get(descriptor.0);
            if let Some((at, new)) = self.interference.get()
                && at == descriptor.0
            {
                self.set(at, new);
            }
            Ok(value)
        }

        fn compare_exchange(
            &self,
            descriptor: L1Ipa,
            expected: u64,
            new: u64,
        ) -> Result<Exchange, ExternalAbort> {
            self.check(descriptor)?;
            if self.get(descriptor.0) != expected {
                return Ok(Exchange::Differs);
            }
            self.set(descriptor.0, new);
            Ok(Exchange::Done)
        }
    }
}
