//! A vCPU of whose interrupts nothing is going on.
//!
//! Mostly a guest hypervisor and its guest change places with no interrupt of its own in play: none is pending and enabled,
//! none active, none to be deactivated, and the four timers' are low. Then a fold, a change of timers whose lines are low, a
//! fill and a [`signal`](Gic::signal) do nothing and say nothing, and no CPU need wait for the others' turns at the [`Gic`] to
//! hear that.
//!
//! # The protocol
//! [`is_quiet`](Gic::is_quiet) is asked under the lock, by the vCPU's own CPU, each time that it has done something
//! there. The answer holds until it does something again, or somebody kicks it: nobody else makes a quiet vCPU another
//! one without naming it in [`Kicks`](super::Kicks). Whoever is to be kicked is kicked after the lock is given back, so for a
//! moment the answer is old. Then the vCPU goes on as it would have a moment earlier, and the kick, which interrupts
//! it, finds it wherever it is by then.

use super::Gic;

impl Gic {
    /// Whether nothing is going on of the interrupts of `vcpu`, whose list registers are its own or bare.
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
