//! The places of a circular queue (IHI 0070, 3.5): indices with a wrap bit above them.

use droste_arm64::Pa;

/// A queue of 2^`log2` places of `bytes` each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ring {
    base: Pa,
    log2: u32,
    bytes: u64,
}

impl Ring {
    pub(crate) const fn new(base: Pa, log2: u32, bytes: u64) -> Self {
        Self { base, log2, bytes }
    }

    /// The bytes of memory that it takes.
    pub(crate) const fn size(log2: u32, bytes: u64) -> u64 {
        let size = bytes << log2;
        // The base register holds address bits from 5 on.
        if size < 32 { 32 } else { size }
    }

    /// What the base register holds, without its hint.
    pub(crate) const fn register(self) -> u64 {
        self.base.0 | self.log2 as u64
    }

    pub(crate) const fn places(self) -> u32 {
        1 << self.log2
    }

    /// Index and wrap bit of what a register holds.
    pub(crate) const fn index(self, register: u32) -> u32 {
        register & ((2 << self.log2) - 1)
    }

    pub(crate) const fn next(self, index: u32) -> u32 {
        self.index(index.wrapping_add(1))
    }

    /// How many places from `from` on come before `to`.
    pub(crate) const fn between(self, from: u32, to: u32) -> u32 {
        self.index(to.wrapping_sub(from))
    }

    /// Where the place of an index is.
    pub(crate) fn at(self, index: u32) -> Pa {
        self.base + u64::from(index & (self.places() - 1)) * self.bytes
    }
}
