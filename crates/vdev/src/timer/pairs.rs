//! How the four timers of a guest hypervisor share two of the hardware's.
//!
//! A guest with a virtual EL2 has the EL1 physical and virtual timers and the EL2 physical and virtual timers; of the
//! hardware's it has the EL1 ones. With HCR_EL2.E2H set in its own registers, software at virtual EL2 accesses its EL2
//! timers by the names of the EL1 ones (DDI 0487, D12.2), so the pairs take turns: the hardware's timers are the EL2
//! pair while virtual EL2 or its EL0 runs, and the EL1 pair while lower levels run. Without E2H those names mean the
//! EL1 pair everywhere, and the EL2 pair, whose own names trap, is never in hardware. The pair that is not loaded is
//! *parked*: its registers are values in memory.
//!
//! # Who drives the interrupts
//! The hardware drives the loaded pair's interrupts: [`inject_hardware`](crate::gic::Gic::inject_hardware) hands them
//! over, and they are deactivated through list registers, without a further exit. The parked pair's are levels that
//! this module computes, for [`drive_timers`](crate::gic::Gic::drive_timers). Since both pairs share two physical
//! interrupts, an interrupt cannot stay linked to a physical one that its timer no longer drives:
//! [`switch_timers`](crate::gic::Gic::switch_timers) turns links into levels and levels into links as the pairs change
//! places, and says in which state to leave the physical interrupts.
//!
//! No interrupt is lost or doubled, because a timer's interrupt is its level (DDI 0487, D12.2.4), and a pair that is
//! parked or loaded keeps its values, so that the level is the same on both sides:
//! - An interrupt that has fired and that the guest has not taken yet: when its timer is parked, the level takes the
//!   place of the physical interrupt. When it is loaded, a high level counts as fired at once, and the physical
//!   interrupt, which the level would raise again, is made active.
//! - One that the guest has taken and that is active (a guest hypervisor leaves it so while its own guest handles it)
//!   stays active. While its timer is parked, no physical interrupt is behind it: the fold sees a deactivation, and a
//!   high level then makes it pending again, as in hardware. When the timer is loaded, the physical interrupt is made
//!   active behind it, so it does not fire again before the guest, or its own guest, deactivates it in hardware.
//! - One that is neither: while its timer is parked, a deadline says when the level rises; when it is loaded, hardware
//!   raises it.
//!
//! Refused: keeping both pairs linked to the physical interrupts, since then a deactivation through the list register
//! of one timer lets the other's interrupt fire while it is being handled; and using levels for the loaded pair too,
//! which costs an exit for each deactivation.
//!
//! # What software sees of the parked pair
//! A parked EL1 pair is in the register page (FEAT_NV2), where software at virtual EL2 reads and writes it. With
//! FEAT_ECV the hypervisor makes those accesses trap (CNTHCTL_EL2.{EL1NVPCT, EL1NVVCT}, or {EL1PCEN, EL1TVT} without
//! E2H): each read gets ISTATUS from [`control`](super::control), and at each write the lines and the deadline are
//! computed anew.
//!
//! Without FEAT_ECV the hypervisor does not see such accesses. Lines, deadline and ISTATUS are then those that it
//! computed last: when virtual EL2 is entered from below, when a deadline passes, and at interrupts. So an interrupt
//! that software brings forward this way comes at the next of these, and at the latest when the pair is loaded. One
//! that it takes back is gone when it ends the interrupt, since the hypervisor then computes high lines anew.
//! CNTVOFF_EL2 is in the page on every CPU and has no trap: a change takes effect when the lines are next computed,
//! which is at the next interrupt or trapped access to these timers, and before the vCPU leaves its CPU, so that one
//! that waits there wakes in time.

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

    /// The guest's INTIDs for the physical and the virtual timer.
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

/// The registers of a parked timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Registers {
    /// CNT*_CTL.
    pub control: u64,
    /// CNT*_CVAL, in ticks.
    pub compare: u64,
    /// How far its counter is behind the physical one, in ticks modulo 2^64, the offsets of all layers together.
    pub offset: u64,
}

/// The lines of a parked pair, and when they change by themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parked {
    /// What the physical and the virtual timer drive on their lines.
    pub lines: [Line; 2],
    /// The physical count at which the next of the low lines rises. Compute this anew then.
    pub deadline: Option<u64>,
}

impl Parked {
    /// What a parked pair does while both are off or masked.
    const OFF: Self = Self {
        lines: [Line::Low; 2],
        deadline: None,
    };

    /// As [`at`](Self::at), but reads the count only if a timer can fire.
    #[inline]
    pub fn now(pair: &[Registers; 2], now: impl FnOnce() -> u64) -> Self {
        if can_fire(pair[0].control) || can_fire(pair[1].control) {
            Self::at(pair, now())
        } else {
            Self::OFF
        }
    }

    /// The lines and the deadline of a parked pair when the physical counter is at `now`.
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
