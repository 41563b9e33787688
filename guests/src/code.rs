//! Code that a guest puts together on the spot.

use crate::{cpu, map};
use core::cell::UnsafeCell;

/// A buffer of `WORDS` instructions for one vCPU, in a page of its own if it is no larger.
#[repr(C, align(4096))]
pub struct Code<const WORDS: usize>(UnsafeCell<[u32; WORDS]>);

// SAFETY: no reference points to the words, and the vCPU that writes them runs them.
unsafe impl<const WORDS: usize> Sync for Code<WORDS> {}

impl<const WORDS: usize> Code<WORDS> {
    /// Nothing that could be executed.
    pub const fn empty() -> Self {
        Self(UnsafeCell::new([0; WORDS]))
    }

    /// Guest physical address.
    pub fn address(&self) -> u64 {
        map::address_of(self.0.get())
    }

    /// Whether an address is one of its instructions'.
    pub fn contains(&self, address: u64) -> bool {
        (self.address()..self.address() + 4 * WORDS as u64).contains(&address)
    }

    /// Writes `code` and `end` behind it, for instruction fetch to see, and gives the address.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write(&self, code: &[u32], end: u32) -> u64 {
        let at = self.0.get().cast::<u32>();
        assert!(code.len() < WORDS, "the code fits its buffer");
        for (n, word) in code.iter().chain(&[end]).enumerate() {
            // SAFETY: inside the buffer, which no reference points to.
            unsafe { at.add(n).write_volatile(*word) };
        }
        cpu::sync_instructions(at, size_of_val(code) + 4);
        self.address()
    }
}
