//! The generic timer of a vCPU that is not loaded: whether it fires, and when (DDI 0487, D12.2.4).
//!
//! A loaded vCPU has its timers in hardware. For one that is not loaded they are values: the control and compare
//! registers (CNTV_CTL_EL0 and CNTV_CVAL_EL0, or CNTP_CTL_EL0 and CNTP_CVAL_EL0) and the offset of its counter
//! (CNTVOFF_EL2; 0 for the physical timer, or CNTPOFF_EL2). All counts are ticks of CNTFRQ_EL0's frequency.
//!
//! A guest hypervisor has more timers than the hardware has for it: [`Pair`]'s module says how they share those.

mod pairs;

use crate::Line;

pub use pairs::{Pair, Parked, Registers};

/// The timer counts at all: CNTV_CTL_EL0.ENABLE.
const ENABLE: u64 = 1 << 0;
/// Its interrupt is masked: CNTV_CTL_EL0.IMASK.
const IMASK: u64 = 1 << 1;

/// The timer's condition is met: CNTV_CTL_EL0.ISTATUS.
const ISTATUS: u64 = 1 << 2;

/// Ticks until the timer drives its line high, when the physical counter is at `now`: 0 if the line is high already;
/// `None` if the guest has disabled or masked the timer. The line and the deadline are both computed from this number,
/// so they cannot disagree.
///
/// `offset` is how far the guest's counter is behind the physical one, modulo 2^64: a counter that is ahead has a
/// negative offset, and one that has not reached its zero yet has a high count, before its wrap (D12.1.2).
///
/// ```
/// use droste_vdev::timer::left;
/// assert_eq!(left(1, 100, 0, 99), Some(1));
/// assert_eq!(left(1, 100, 0, 100), Some(0));
/// assert_eq!(left(1, 100, 50, 149), Some(1));
/// assert_eq!(left(3, 100, 0, 100), None);
/// ```
pub const fn left(control: u64, compare: u64, offset: u64, now: u64) -> Option<u64> {
    if can_fire(control) {
        Some(compare.saturating_sub(now.wrapping_sub(offset)))
    } else {
        None
    }
}

/// What a timer drives on its interrupt line, given its [left](left()).
pub const fn line(left: Option<u64>) -> Line {
    Line::from_asserted(matches!(left, Some(0)))
}

/// The physical count at which a timer drives its line high, given its [left](left()) at `now`: `now` if the line is
/// high already. A count that the physical counter does not reach becomes `u64::MAX`.
pub const fn deadline(left: Option<u64>, now: u64) -> Option<u64> {
    match left {
        Some(left) => Some(now.saturating_add(left)),
        None => None,
    }
}

/// What CNT*_CTL reads as while the timer's counter is at `count`, where `written` is what was written to it: ISTATUS
/// says whether the timer's condition is met, even if the interrupt is masked (DDI 0487, D24.10). With ENABLE clear
/// ISTATUS is UNKNOWN, and 0 here.
///
/// ```
/// use droste_vdev::timer::control;
/// assert_eq!(control(1, 100, 99), 1);
/// assert_eq!(control(1, 100, 100), 5);
/// ```
pub const fn control(written: u64, compare: u64, count: u64) -> u64 {
    let is_met = written & ENABLE != 0 && count >= compare;
    written & (ENABLE | IMASK) | if is_met { ISTATUS } else { 0 }
}

/// Whether a timer whose CNT*_CTL reads as `control` drives its interrupt.
pub const fn is_due(control: u64) -> bool {
    control & (ENABLE | IMASK | ISTATUS) == ENABLE | ISTATUS
}

const fn can_fire(control: u64) -> bool {
    control & (ENABLE | IMASK) == ENABLE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line_at(control: u64, compare: u64, offset: u64, now: u64) -> Line {
        line(left(control, compare, offset, now))
    }

    fn deadline_at(compare: u64, offset: u64, now: u64) -> u64 {
        deadline(left(1, compare, offset, now), now).expect("it is on")
    }

    #[test]
    fn a_timer_that_is_off_or_masked_never_fires() {
        for control in [0, 2, 3, 4, 6, 7] {
            let left = left(control, 0, 0, u64::MAX);
            assert_eq!(line(left), Line::Low, "{control}");
            assert_eq!(deadline(left, u64::MAX), None, "{control}");
        }
    }

    #[test]
    fn the_read_only_status_bit_does_not_matter() {
        assert_eq!(left(0b101, 5, 0, 5), Some(0));
        assert_eq!(left(0b101, 5, 0, 4), Some(1));
    }

    #[test]
    fn istatus_follows_the_count_and_nothing_that_was_written() {
        for written in 0..16 {
            let control = |count| control(written, 100, count);
            let kept = written & 3;
            assert_eq!(control(99), kept, "{written}");
            let is_on = written & 1 != 0;
            assert_eq!(control(100), kept | if is_on { 4 } else { 0 }, "{written}");
            // The line is ISTATUS, unless it is masked.
            let is_high = line_at(written, 100, 0, 100).is_high();
            assert_eq!(is_high, control(100) & 6 == 4, "{written}");
            assert_eq!(is_high, is_due(control(100)), "{written}");
        }
    }

    #[test]
    fn the_offset_moves_the_deadline() {
        assert_eq!(deadline_at(100, 1000, 1000), 1100);
        assert_eq!(line_at(1, 100, 1000, 1099), Line::Low);
        assert_eq!(line_at(1, 100, 1000, 1100), Line::High);
    }

    #[test]
    fn a_counter_that_is_ahead_brings_the_deadline_forward() {
        let ahead = 50_u64.wrapping_neg();
        assert_eq!(deadline_at(1000, ahead, 0), 950);
        assert_eq!(line_at(1, 1000, ahead, 949), Line::Low);
        assert_eq!(line_at(1, 1000, ahead, 950), Line::High);
        assert_eq!(deadline_at(20, ahead, 0), 0);
    }

    #[test]
    fn a_counter_before_its_zero_is_past_what_it_would_reach_behind_it() {
        let zero = 1 << 62;
        assert_eq!(line_at(1, 100, zero, 5000), Line::High);
        assert_eq!(deadline_at(100, zero, 5000), 5000);
        let compare = 0u64.wrapping_sub(zero) + 6000;
        assert_eq!(line_at(1, compare, zero, 5999), Line::Low);
        assert_eq!(deadline_at(compare, zero, 5999), 6000);
    }

    #[test]
    fn a_compare_value_that_stands_for_never_does_not_wrap_to_the_past() {
        assert_eq!(deadline_at(u64::MAX, 1000, 5000), u64::MAX);
        assert_eq!(line_at(1, u64::MAX, 1000, 5000), Line::Low);
    }

    proptest! {
        /// Whatever the offset: the line is what ISTATUS says, low up to the deadline and high at it.
        #[test]
        fn line_deadline_and_status_are_one_truth(
            compare: u64, offset: u64, now in 0..u64::MAX, part: u64,
        ) {
            let status = control(1, compare, now.wrapping_sub(offset));
            let is_high = line_at(1, compare, offset, now).is_high();
            prop_assert_eq!(is_high, status == 5);
            let due = deadline_at(compare, offset, now);
            prop_assert_eq!(is_high, due == now);
            if !is_high {
                let between = now + part % (due - now);
                prop_assert_eq!(line_at(1, compare, offset, between), Line::Low);
                prop_assert_eq!(deadline_at(compare, offset, between), due);
            }
            // The end of the counter may stand for never.
            if due < u64::MAX {
                prop_assert_eq!(line_at(1, compare, offset, due), Line::High);
            }
        }
    }
}
