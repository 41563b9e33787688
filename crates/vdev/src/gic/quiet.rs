//! A vCPU for which the virtual GIC has nothing to do.
//!
//! Mostly a guest hypervisor and its guest change places while none of the guest hypervisor's own interrupts needs
//! anything: none is pending and enabled, none is active, none must be deactivated, and the lines of the four timers
//! are low. Then a fold, a switch of timers whose lines are low, a fill and a [`signal`](Gic::signal) change nothing
//! and report nothing, and no CPU need wait for the lock of the [`Gic`] to learn that.
//!
//! # The protocol
//! The vCPU's own CPU asks [`is_quiet`](Gic::is_quiet) under the lock, each time that it has done something there. The
//! answer holds until that CPU does something there again, or somebody kicks the vCPU: nobody else changes a quiet
//! vCPU's state without naming it in [`Kicks`](super::Kicks). A kick is sent after the lock is released, so for a
//! moment the answer is out of date. Then the vCPU goes on as it would have a moment earlier, and the kick interrupts
//! it wherever it is by then.

use super::Gic;

impl Gic {
    /// Whether the virtual GIC has nothing to do for `vcpu`: its list registers are its own or bare,
    /// [`set_traps`](Self::set_traps) has none of its accesses trap, and none of its interrupts needs anything.
    ///
    /// ```
    /// use droste_vdev::gic::{Gic, GicConfig, Intid};
    /// use droste_vdev::Line;
    /// let mut gic = Gic::new(GicConfig { vcpus: 1, spis: 0, list_registers: 4 })?;
    /// assert!(gic.is_quiet(0));
    /// let _ = gic.set_line(0, Intid::VIRTUAL_TIMER, Line::High);
    /// assert!(!gic.is_quiet(0));
    /// # Ok::<(), droste_vdev::gic::ConfigError>(())
    /// ```
    #[inline]
    pub fn is_quiet(&self, vcpu: usize) -> bool {
        let state = &self.vcpus[vcpu];
        state.summary | state.owed_summary == 0
            && state.are_timers_quiet()
            && state.traps == 0
            && !state.shadow.is_entered
    }
}
