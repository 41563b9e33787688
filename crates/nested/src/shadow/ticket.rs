//! Tickets, which say whether what was looked up for a fill still holds, and the part of a shadow that needs no lock.

use core::sync::atomic::{AtomicU64, Ordering};

use droste_stage2::Context;

/// Counts how often memory of one virtual machine was changed under its shadows.
#[derive(Debug, Default)]
pub struct Changes(AtomicU64);

impl Changes {
    /// No change so far.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Notes a change of the canonical table: something was unmapped, or lost permissions. After this every shadow has
    /// to follow, through the [reverse map](crate::reverse_map).
    pub fn note(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The state of a shadow and of L1's memory at some time. It is void once L1 invalidates in the shadow or L0 changes
/// the memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    pub(super) invalidations: u64,
    pub(super) changes: u64,
}

/// The part of a shadow that CPUs reach without its lock, to load its context and to take a ticket.
///
/// A ticket needs no lock. L1 changes its table before it invalidates, and an invalidation is counted before it looks
/// at the shadow. So a fill whose ticket counts the invalidation walks L1's table as it is by then. A fill whose ticket
/// does not count it asks again under the lock, which the invalidation holds alone: after the invalidation its ticket
/// is void, and before it the invalidation still finds what was mapped.
#[derive(Debug)]
pub struct Front<const CPUS: usize> {
    context: Context<CPUS>,
    invalidations: AtomicU64,
}

impl<const CPUS: usize> Front<CPUS> {
    pub(super) const fn new(context: Context<CPUS>) -> Self {
        Self {
            context,
            invalidations: AtomicU64::new(0),
        }
    }

    /// The context that L2 runs under.
    #[inline]
    pub const fn context(&self) -> &Context<CPUS> {
        &self.context
    }

    pub(super) fn into_context(self) -> Context<CPUS> {
        self.context
    }

    /// The state now. A fill takes its ticket before it looks anything up.
    #[inline]
    pub fn ticket(&self, changes: &Changes) -> Ticket {
        Ticket {
            invalidations: self.invalidations.load(Ordering::Acquire),
            changes: changes.now(),
        }
    }

    /// L1 invalidates in the shadow.
    pub(super) fn note(&self) {
        self.invalidations.fetch_add(1, Ordering::AcqRel);
    }
}
