//! A guest hypervisor's four timers in two of the hardware's.
//!
//! A guest with a virtual EL2 has the EL1 physical and virtual timers and the EL2 physical and virtual timers; the
//! hardware it runs on has the EL1 ones. With HCR_EL2.E2H set in its own registers, software at virtual EL2 reaches its
//! EL2 timers by the names of the EL1 ones (DDI 0487, D12.2), so that the pairs take turns: the hardware's are the EL2
//! pair while virtual EL2 or its EL0 runs and the EL1 pair below. Without E2H those names mean the EL1 pair everywhere,
//! and the EL2 pair, whose own names trap, is never in hardware. The other pair is *parked*: values in memory.
//!
//! # Who drives the interrupts
//! The loaded pair's interrupts are the hardware's: handed over by
//! [`inject_hardware`](crate::gic::Gic::inject_hardware) and deactivated through list registers, at no exit more. The
//! parked pair's are levels that this module computes, for
//! [`drive_timers`](crate::gic::Gic::drive_timers). Since both pairs share two physical interrupts, one cannot stay
//! linked to a timer that has left it: [`switch_timers`](crate::gic::Gic::switch_timers) turns links into
//! levels and levels into links as the pairs change places, and tells how to leave the physical interrupts.
//!
//! Why none is lost or doubled: a timer's interrupt is its level (DDI 0487, D12.2.4), and a pair that is parked or
//! loaded keeps its values, so that the level on one side is the level on the other.
//! - Fired, and not yet taken by the guest: parked, the level says so in place of the physical interrupt. Loaded, a
//!   high level counts as fired, at once; the physical interrupt, which the level would raise again, is made active.
//! - Taken and active (a guest hypervisor leaves it so while its own guest handles it): it stays active. Parked, no
//!   physical interrupt is behind it, and a deactivation is seen by the fold, where a high level makes it pending again
//!   as hardware would. Loaded, the physical interrupt is made active behind it: neither does it fire a second time, nor
//!   can it fire again before the guest, or its own guest, deactivates it in hardware.
//! - Neither: parked, a deadline stands for the level that comes; loaded, hardware does.
//!
//! Refused: to keep both pairs' physical interrupts linked, since then a deactivation through the list register of one
//! timer lets the other's fire while it is being handled; and to use levels for the loaded pair too, which costs an exit
//! for each deactivation.
//!
//! # What software sees of the parked pair
//! The EL1 pair that is parked is in the register page (FEAT_NV2), where software at virtual EL2 reads and writes it. With
//! FEAT_ECV the hypervisor has those accesses trap (CNTHCTL_EL2.{EL1NVPCT, EL1NVVCT}, or {EL1PCEN, EL1TVT} without E2H):
//! [`control`](super::control) gives ISTATUS at each read, and each write is a look at lines and deadline.
//!
//! Without FEAT_ECV such accesses are not seen. Line, deadline and ISTATUS are those of the last look: when virtual EL2 is
//! entered from below, when a deadline passes, at interrupts. So an interrupt that software brings forward this way comes
//! when the hypervisor looks next, and at the latest when the pair is loaded. One that it takes back is gone when it ends
//! the interrupt, since the hypervisor looks at high lines then. CNTVOFF_EL2 is in the page on every CPU, and has no trap:
//! its change counts from the next look on, which is at the next interrupt or access to these timers that traps, and before
//! the vCPU leaves its CPU, so that one that waits there wakes in time.

use super::{can_fire, deadline, left, line};
use crate::Line;
use crate::gic::Intid;

/// One of the two pairs, each a physical and a virtual timer in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pair {
    /// CNTP and CNTV.
    El1,
    /// CNTHP and CNTHV.
    El2,
}

impl Pair {
    /// The other pair.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::El1 => Self::El2,
            Self::El2 => Self::El1,
        }
    }

    /// The guest's interrupts of the physical and the virtual timer.
    pub const fn intids(self) -> [Intid; 2] {
        match self {
            Self::El1 => [Intid::PHYSICAL_TIMER, Intid::VIRTUAL_TIMER],
            Self::El2 => [
                Intid::HYPERVISOR_PHYSICAL_TIMER,
                Intid::HYPERVISOR_VIRTUAL_TIMER,
            ],
        }
    }
}

/// A timer that is parked, by its registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Registers {
    /// CNT*_CTL.
    pub control: u64,
    /// CNT*_CVAL, in ticks.
    pub compare: u64,
    /// What its counter is behind the physical one, in ticks modulo 2^64, all layers together.
    pub offset: u64,
}

/// What the timers of a parked pair do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parked {
    /// What the physical and the virtual timer drive on their lines.
    pub lines: [Line; 2],
    /// The physical count at which the next of the low lines rises. Then it is time to look again.
    pub deadline: Option<u64>,
}

impl Parked {
    /// What a parked pair does while both are off or masked.
    const OFF: Self = Self {
        lines: [Line::Low; 2],
        deadline: None,
    };

    /// As [`at`](Self::at), with the count at hand only if it matters.
    #[inline]
    pub fn now(pair: &[Registers; 2], now: impl FnOnce() -> u64) -> Self {
        if can_fire(pair[0].control) || can_fire(pair[1].control) {
            Self::at(pair, now())
        } else {
            Self::OFF
        }
    }

    /// What a parked pair does when the physical counter stands at `now`.
    ///
    /// ```
    /// use droste_vdev::Line;
    /// use droste_vdev::timer::{Parked, Registers};
    /// let physical = Registers { control: 1, compare: 100, offset: 0 };
    /// let with_offset = Registers { control: 1, compare: 100, offset: 50 };
    /// let parked = Parked::at(&[physical, with_offset], 120);
    /// assert_eq!(parked, Parked { lines: [Line::High, Line::Low], deadline: Some(150) });
    /// ```
    pub fn at(pair: &[Registers; 2], now: u64) -> Self {
        let [physical, virt] = pair.map(|t| left(t.control, t.compare, t.offset, now));
        let rises = |left: &u64| *left != 0;
        let [next, other] = [physical, virt].map(|left| deadline(left.filter(rises), now));
        Self {
            lines: [line(physical), line(virt)],
            deadline: next.into_iter().chain(other).min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn timer() -> impl Strategy<Value = Registers> {
        // Counters ahead, behind, and before their zero.
        let offset = prop_oneof![8 => -500..1000i64, 1 => Just(1 << 62), 1 => Just(i64::MIN)];
        let offset = offset.prop_map(i64::cast_unsigned);
        let (control, compare) = (0..8u64, 0..2000u64);
        (control, compare, offset).prop_map(|(control, compare, offset)| Registers {
            control,
            compare,
            offset,
        })
    }

    #[test]
    fn a_pair_has_the_interrupts_of_the_base_system_architecture() {
        assert_eq!(Pair::El1.intids().map(Intid::number), [30, 27]);
        assert_eq!(Pair::El2.intids().map(Intid::number), [26, 28]);
        assert_eq!(Pair::El1.other().other(), Pair::El1);
    }

    #[test]
    fn a_line_that_is_high_needs_no_deadline() {
        let due = Registers {
            control: 1,
            ..Registers::default()
        };
        let parked = Parked::at(&[due; 2], 5);
        assert_eq!(parked.lines, [Line::High; 2]);
        assert_eq!(parked.deadline, None);
    }

    #[test]
    fn the_deadline_is_that_of_the_line_that_rises_first() {
        let at = |compare, offset| Registers {
            control: 1,
            compare,
            offset,
        };
        for (pair, deadline) in [
            ([at(100, 0), at(60, 30)], 90),
            ([at(80, 0), at(60, 30)], 80),
            ([at(100, 0), at(160, 70_u64.wrapping_neg())], 90),
        ] {
            let parked = Parked::at(&pair, 70);
            assert_eq!(parked.lines, [Line::Low; 2]);
            assert_eq!(parked.deadline, Some(deadline));
        }
    }

    proptest! {
        #[test]
        fn the_time_is_not_asked_where_it_does_not_matter(
            pair in [timer(), timer()], now in 1000..2000u64,
        ) {
            let mut is_asked = false;
            let found = Parked::now(&pair, || { is_asked = true; now });
            prop_assert_eq!(found, Parked::at(&pair, now));
            prop_assert_eq!(is_asked, pair.iter().any(|timer| timer.control & 3 == 1));
        }

        #[test]
        fn no_line_rises_before_the_deadline_and_one_does_at_it(
            pair in [timer(), timer()], now in 1000..2000u64,
        ) {
            let parked = Parked::at(&pair, now);
            let until = parked.deadline.unwrap_or(5000);
            prop_assert!(until > now && until <= 5000);
            for tick in now..until {
                prop_assert_eq!(Parked::at(&pair, tick).lines, parked.lines);
            }
            let then = Parked::at(&pair, until).lines;
            prop_assert_eq!(then != parked.lines, parked.deadline.is_some());
        }
    }
}
