//! What makes a vCPU look at its interrupts.

use crate::sync::{AtomicBool, Ordering};

/// Whether a vCPU is to look at its interrupts. Whoever changes them kicks it; its own physical CPU takes the kick
/// when it loads it or is told, and then looks. One that is kicked does not wait.
///
/// ```
/// use droste_life::Kick;
/// let kick = Kick::new();
/// assert!(kick.give(), "its physical CPU must be told");
/// assert!(!kick.give(), "it is told already");
/// assert!(kick.take() && !kick.take());
/// ```
#[derive(Debug)]
pub struct Kick(AtomicBool);

impl Kick {
    /// None.
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Kicks it, whatever it does now. Returns whether its physical CPU must be told: once for several kicks.
    #[inline]
    pub fn give(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Whether it was kicked since the last call. Then it looks, before it waits or runs on.
    #[inline]
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }

    /// Whether a kick waits to be taken.
    #[inline]
    pub fn is_given(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Default for Kick {
    fn default() -> Self {
        Self::new()
    }
}
