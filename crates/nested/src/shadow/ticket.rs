//! Whether what was looked up for a fill still holds.

use core::sync::atomic::{AtomicU64, Ordering};

/// How often memory of one virtual machine has been changed under its shadows.
#[derive(Debug, Default)]
pub struct Changes(AtomicU64);

impl Changes {
    /// Never so far.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Notes that the canonical table was changed: something unmapped, or permitted less. Afterwards every shadow is to
    /// be brought to that, through the [reverse map](crate::reverse_map).
    pub fn note(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The state of a shadow and of L1's memory at some time: void once L1 invalidates in the shadow or L0 changes the
/// memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    pub(super) invalidations: u64,
    pub(super) changes: u64,
}
