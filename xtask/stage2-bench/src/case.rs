//! What a case is, over which addresses it works, and the function that is counted.

use std::hint::black_box;

/// Guest memory of most cases: 1 GiB from 1 GiB on.
pub(crate) const MEMORY: u64 = 1 << 30;
pub(crate) const MEMORY_BYTES: u64 = 1 << 30;
/// How far output lies above guest addresses, a multiple of 1 GiB.
pub(crate) const OFFSET: u64 = 0x10_0000_0000;
pub(crate) const PAGE: u64 = 4096;
pub(crate) const BLOCK: u64 = 2 << 20;
/// Pages of the sparse cases, one in each GiB.
pub(crate) const SPARSE: u64 = 256;

/// What a case did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Done {
    /// Pages, blocks, tables or faults.
    pub(crate) units: u64,
    /// What else was counted, by name.
    pub(crate) counts: Vec<(&'static str, u64)>,
}

impl Done {
    pub(crate) fn new(units: u64) -> Self {
        Self {
            units,
            counts: Vec::new(),
        }
    }
}

/// A case by its name.
pub(crate) type Case = (&'static str, fn() -> Done);

/// The part of a case that is counted.
#[inline(never)]
pub(crate) fn measured<R>(body: impl FnOnce() -> R) -> R {
    black_box(body())
}
