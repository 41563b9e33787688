//! Whether what was looked up for a fill still holds, and where CPUs ask that without the shadow's lock.

use core::sync::atomic::{AtomicU64, Ordering};

use droste_stage2::Context;

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

/// What of a shadow CPUs reach without its lock: to load its context, and to take a ticket.
///
/// A ticket needs no lock. Whatever L1 invalidates it has changed before, and the invalidation is counted before it looks at
/// the shadow. So who finds it counted walks L1's table as it is by then; and who does not has a void ticket, since a fill
/// asks again under the lock, which the invalidation has alone.
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

    /// The state now: taken before anything is looked up for a fill.
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
