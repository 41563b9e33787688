//! What makes a vCPU look at its interrupts.

use crate::sync::{AtomicBool, Ordering};

/// A request that a vCPU look at its interrupts. Whoever changes them gives the kick; the vCPU's own physical CPU takes
/// it when it loads the vCPU or is told, and then looks. A kicked vCPU does not wait.
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
    /// No kick is given.
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Kicks the vCPU, whatever its state. Returns whether its physical CPU must be told: once for several kicks.
    #[inline]
    pub fn give(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Takes the kick. Returns whether there was one; then the vCPU looks at its interrupts before it waits or runs on.
    #[inline]
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }

    /// Whether a kick is given and not yet taken.
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
