//! The interrupts of timers that move into and out of hardware. [`Pair`]'s module describes the scheme.

use super::bank::Bank;
use super::state::{At, Vcpu};
use super::{Gic, Intid, Kicks};
use crate::line::Line;
use crate::timer::Pair;

/// The interrupts of both pairs.
const TIMERS: u32 = {
    let [[a, b], [c, d]] = [Pair::El1.intids(), Pair::El2.intids()];
    a.mask() | b.mask() | c.mask() | d.mask()
};

/// In which state to leave the physical PPIs of the CPU where the vCPU is loaded, before the timers run: a bit for each
/// INTID.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimerSwitch {
    /// To be made active (GICR_ISACTIVER0).
    pub set_active: u32,
    /// To be made inactive (GICR_ICACTIVER0); shares no bit with `set_active`.
    pub clear_active: u32,
}

impl Gic {
    /// Makes `loaded` the pair of `vcpu` in the hardware's timers, whose interrupts are `physical` (of the physical and
    /// the virtual timer); the other pair is parked and drives `parked`. Call it between a fold and a fill, and after
    /// [`leave_nested`](Self::leave_nested) or before [`enter_nested`](Self::enter_nested). The timers' registers may
    /// move before or after, as long as no interrupt is taken in between. It kicks nobody: `vcpu` fills next.
    ///
    /// A deactivation that [`take_deactivation`](Self::take_deactivation) still owes to one of `physical` becomes part
    /// of the result.
    ///
    /// # Panics
    /// If a list register holds one of the four interrupts and there is something to do.
    #[inline]
    pub fn switch_timers(
        &mut self,
        vcpu: usize,
        loaded: Pair,
        physical: [Intid; 2],
        parked: [Line; 2],
    ) -> TimerSwitch {
        let is_low = !(parked[0].is_high() || parked[1].is_high());
        if is_low && self.vcpus[vcpu].are_timers_quiet() {
            return TimerSwitch::default();
        }
        self.switch_busy_timers(vcpu, loaded, physical, parked)
    }

    #[inline(never)]
    fn switch_busy_timers(
        &mut self,
        vcpu: usize,
        loaded: Pair,
        physical: [Intid; 2],
        parked: [Line; 2],
    ) -> TimerSwitch {
        let state = &mut self.vcpus[vcpu];
        let mut switch = TimerSwitch::default();
        let ([out_p, out_v], [in_p, in_v]) = (loaded.other().intids(), loaded.intids());
        let touched = state.switch_timer((out_p, in_p), physical[0], parked[0], &mut switch)
            | state.switch_timer((out_v, in_v), physical[1], parked[1], &mut switch);
        let _ = self.follow_up(At::Private(vcpu), vcpu, touched);
        switch
    }

    /// The timers of `parked`, a pair of `vcpu` that is not loaded, drive `lines`.
    pub fn drive_timers(&mut self, vcpu: usize, parked: Pair, lines: [Line; 2]) -> Kicks {
        let [physical, virt] = parked.intids().map(Intid::mask);
        let bank = &mut self.vcpus[vcpu].private;
        let touched =
            bank.set_line(physical, lines[0].is_high()) | bank.set_line(virt, lines[1].is_high());
        self.follow_up(At::Private(vcpu), vcpu, touched)
    }
}

impl Vcpu {
    /// Whether none of the four has an interrupt that is active or a line that is high, and no physical interrupt
    /// stands active for one of them or is owed a deactivation, which may be that of any private one. Mostly so.
    #[inline]
    pub(super) fn are_timers_quiet(&self) -> bool {
        let Bank {
            active, line, hw, ..
        } = self.private;
        (active | line | hw) & TIMERS == 0 && self.owed_summary & 1 == 0
    }

    /// Switches one timer of each pair: that of interrupt `out` is parked and drives `line`, that of `into` is loaded
    /// into the hardware, where its interrupt is `physical`. Gives the interrupts that this touches.
    ///
    /// Mostly that is none: neither has an interrupt that is active, a line that is high, or `physical` active behind
    /// it.
    #[inline]
    fn switch_timer(
        &mut self,
        (out, into): (Intid, Intid),
        physical: Intid,
        line: Line,
        switch: &mut TimerSwitch,
    ) -> u32 {
        let (both, physical_mask) = (out.mask() | into.mask(), physical.mask());
        let bank = &mut self.private;
        let is_idle = (bank.active | bank.line | bank.hw) & both == 0
            && self.owed[0] & physical_mask == 0
            && !line.is_high();
        if is_idle {
            return 0;
        }
        let was_active = bank.park(out.number(), line.is_high());
        let is_active = bank.load(into.number(), physical.number() as u16);
        if is_active {
            switch.set_active |= physical_mask;
        } else if was_active || self.owed[0] & physical_mask != 0 {
            switch.clear_active |= physical_mask;
        }
        self.disown(physical_mask);
        both
    }
}

impl Bank {
    /// The level-sensitive physical interrupt behind interrupt `bit` goes to another one; from now on `is_high` gives
    /// its level. Gives whether the physical one is active.
    ///
    /// What is pending by the physical interrupt is so by the level now. What is pending besides is an event of the guest's
    /// own and stays; so does what an edge-triggered interrupt has latched.
    fn park(&mut self, bit: usize, is_high: bool) -> bool {
        let mask = 1 << bit;
        assert!(self.listed & mask == 0, "it was folded");
        let held = self.hw & mask;
        let high = if is_high { mask } else { 0 };
        self.hw &= !mask;
        self.fired &= !mask;
        self.latch |= high & !self.line & self.edge & !held;
        self.line = self.line & !mask | high;
        held != 0
    }

    /// Physical interrupt `physical` comes behind interrupt `bit` in place of its level. Gives whether it must
    /// stand active.
    fn load(&mut self, bit: usize, physical: u16) -> bool {
        let mask = 1 << bit;
        assert!(self.listed & mask == 0, "it was folded");
        let high = self.line & !self.edge & mask;
        self.line &= !mask;
        self.fired |= high & !self.active;
        let held = (high | self.active | self.hw) & mask;
        if held != 0 {
            self.physical[bit & 31] = physical;
        }
        self.hw |= held;
        held != 0
    }
}
