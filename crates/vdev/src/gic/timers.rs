//! Timers' interrupts as their timers move into and out of hardware. [`Pair`]'s module has the scheme.

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

/// How to leave physical PPIs of the CPU where the vCPU is loaded: a bit for each INTID, before the timers run.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimerSwitch {
    /// To be made active (GICR_ISACTIVER0).
    pub set_active: u32,
    /// To be made inactive (GICR_ICACTIVER0); none of `set_active`.
    pub clear_active: u32,
}

impl Gic {
    /// The hardware's timers, whose interrupts are `physical` (of the physical and the virtual timer), become the pair
    /// `loaded` of `vcpu`; the other pair is parked and drives `parked`. To be called between a fold and a fill, and
    /// after [`leave_nested`](Self::leave_nested) or before [`enter_nested`](Self::enter_nested); in any order with the
    /// timers' registers, as long as nothing is taken in between. Kicks nobody: `vcpu` fills next.
    ///
    /// Deactivations that [`take_deactivation`](Self::take_deactivation) still owes to one of `physical` are part of
    /// the answer.
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
        let mut touched = 0;
        for n in [0, 1] {
            if state.is_idle(n, physical[n]) && !parked[n].is_high() {
                continue;
            }
            let physical_mask = 1 << (physical[n].number() & 31);
            let (out, into) = (loaded.other().intids()[n], loaded.intids()[n]);
            let bank = &mut state.private;
            let was_active = bank.park(out.number(), parked[n].is_high());
            let is_active = bank.load(into.number(), physical[n].number() as u16);
            if is_active {
                switch.set_active |= physical_mask;
            } else if was_active || state.owed[0] & physical_mask != 0 {
                switch.clear_active |= physical_mask;
            }
            state.disown(physical_mask);
            touched |= 1 << out.number() | 1 << into.number();
        }
        if touched != 0 {
            let _ = self.settle(At::Private(vcpu), vcpu, touched);
        }
        switch
    }

    /// The timers of `parked`, a pair of `vcpu` that is not loaded, drive `lines`.
    pub fn drive_timers(&mut self, vcpu: usize, parked: Pair, lines: [Line; 2]) -> Kicks {
        let [physical, virt] = parked.intids();
        self.set_line(vcpu, physical, lines[0]) | self.set_line(vcpu, virt, lines[1])
    }
}

impl Vcpu {
    /// Whether none of the four has an interrupt that is active, high, or stands active as a physical one, which may be any
    /// private one: mostly so.
    #[inline]
    pub(super) fn are_timers_quiet(&self) -> bool {
        let Bank {
            active, line, hw, ..
        } = self.private;
        (active | line | hw) & TIMERS == 0 && self.owed_summary & 1 == 0
    }

    /// Whether neither pair's timer `n` has an interrupt that is active, high, or stands active as `physical`: mostly so.
    fn is_idle(&self, n: usize, physical: Intid) -> bool {
        let guest = Pair::El1.intids()[n].mask() | Pair::El2.intids()[n].mask();
        let Bank {
            active, line, hw, ..
        } = self.private;
        (active | line | hw) & guest == 0 && self.owed[0] & physical.mask() == 0
    }
}

impl Bank {
    /// The level-sensitive physical interrupt behind interrupt `bit` goes to another: `is_high` says its level from now
    /// on. Gives whether the physical one stands active.
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
