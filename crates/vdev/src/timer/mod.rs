//! The generic timer of a virtual CPU that is not loaded: whether it fires, and when (DDI 0487, D12.2.4).
//!
//! A loaded virtual CPU has its timers in hardware. One that is not has them as values: the control and compare
//! registers (CNTV_CTL_EL0 and CNTV_CVAL_EL0, or CNTP_CTL_EL0 and CNTP_CVAL_EL0) and the offset of its counter
//! (CNTVOFF_EL2; 0 for the physical timer, or CNTPOFF_EL2). All counts are ticks of CNTFRQ_EL0's frequency.
//!
//! A guest hypervisor has more timers than the hardware it runs on: [`Pair`] says how they share it.

mod pairs;

use crate::Line;

pub use pairs::{Pair, Parked, Registers};

/// The timer counts at all: CNTV_CTL_EL0.ENABLE.
const ENABLE: u64 = 1 << 0;
/// Its interrupt is masked: CNTV_CTL_EL0.IMASK.
const IMASK: u64 = 1 << 1;

/// The timer's condition is met: CNTV_CTL_EL0.ISTATUS.
const ISTATUS: u64 = 1 << 2;

/// What the timer drives on its interrupt line when the physical counter stands at `now`.
///
/// ```
/// use droste_vdev::{Line, timer};
/// assert_eq!(timer::line(1, 100, 0, 99), Line::Low);
/// assert_eq!(timer::line(1, 100, 0, 100), Line::High);
/// assert_eq!(timer::line(1, 100, 50, 149), Line::Low);
/// ```
pub const fn line(control: u64, compare: u64, offset: u64, now: u64) -> Line {
    // Counters wrap, and the guest's may have begun after its own zero.
    let count = now.wrapping_sub(offset);
    Line::from_asserted(can_fire(control) && count >= compare)
}

/// When the physical counter makes the timer drive its line high: a count that may have passed. `None` if the guest
/// has it off or masked.
///
/// `offset` is signed: a counter that is ahead of the physical one has a negative one. A time past either end of the
/// 64-bit counter is that end.
pub const fn deadline(control: u64, compare: u64, offset: u64) -> Option<u64> {
    if can_fire(control) {
        Some(compare.saturating_add_signed(offset.cast_signed()))
    } else {
        None
    }
}

/// What CNT*_CTL reads while the counter stands at `count`, where `written` is what was written to it: ISTATUS says
/// whether the timer's condition is met, its mask notwithstanding (DDI 0487, D24.10). With ENABLE clear ISTATUS is
/// UNKNOWN, and here 0.
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

const fn can_fire(control: u64) -> bool {
    control & (ENABLE | IMASK) == ENABLE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_timer_that_is_off_or_masked_never_fires() {
        for control in [0, 2, 3, 4, 6, 7] {
            assert_eq!(line(control, 0, 0, u64::MAX), Line::Low, "{control}");
            assert_eq!(deadline(control, 0, 0), None, "{control}");
        }
    }

    #[test]
    fn the_read_only_status_bit_does_not_matter() {
        assert_eq!(line(0b101, 5, 0, 5), Line::High);
        assert_eq!(line(0b101, 5, 0, 4), Line::Low);
        assert_eq!(deadline(0b101, 5, 0), Some(5));
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
            let is_high = control(100) & 6 == 4;
            assert_eq!(line(written, 100, 0, 100).is_high(), is_high, "{written}");
        }
    }

    #[test]
    fn the_offset_moves_the_deadline() {
        assert_eq!(deadline(1, 100, 1000), Some(1100));
        assert_eq!(line(1, 100, 1000, 1099), Line::Low);
        assert_eq!(line(1, 100, 1000, 1100), Line::High);
    }

    #[test]
    fn a_counter_that_is_ahead_brings_the_deadline_forward() {
        let ahead = 50_u64.wrapping_neg();
        assert_eq!(deadline(1, 1000, ahead), Some(950));
        assert_eq!(line(1, 1000, ahead, 949), Line::Low);
        assert_eq!(line(1, 1000, ahead, 950), Line::High);
        assert_eq!(deadline(1, 20, ahead), Some(0));
    }

    #[test]
    fn a_compare_value_that_stands_for_never_does_not_wrap_to_the_past() {
        assert_eq!(deadline(1, u64::MAX, 1000), Some(u64::MAX));
        assert_eq!(line(1, u64::MAX, 1000, 5000), Line::Low);
    }

    proptest! {
        #[test]
        fn the_line_rises_exactly_at_the_deadline(
            compare: u64, offset in 0..u64::MAX / 2, after in 0..u64::MAX / 2,
        ) {
            let now = offset + after;
            let is_due = now >= deadline(1, compare, offset).expect("it is on");
            let is_reachable = compare.checked_add(offset).is_some();
            prop_assert_eq!(line(1, compare, offset, now).is_high(), is_due && is_reachable);
        }
    }
}
