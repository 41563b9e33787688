//! Log lines that a guest causes, at a bounded rate.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Lines that are printed in [`SECONDS`]; the rest is counted.
const MAX: u32 = 16;
const SECONDS: u64 = 10;

/// How many log lines a virtual machine caused lately. Where two CPUs race, one line too many or too few is printed.
///
/// ```
/// use droste_resources::Complaints;
/// let complaints = Complaints::new();
/// let shown = (0..100).filter(|_| complaints.add(0, 1000).is_shown).count();
/// assert_eq!(shown, 16);
/// assert_eq!(complaints.add(10_001, 1000).hidden, 84);
/// ```
#[derive(Default, Debug)]
pub struct Complaints {
    since: AtomicU64,
    count: AtomicU32,
    hidden: AtomicU32,
}

/// What to do about a complaint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// The number of complaints that were not shown, to be printed first unless it is 0.
    pub hidden: u32,
    /// Whether to print this one.
    pub is_shown: bool,
}

impl Complaints {
    /// No complaint so far.
    pub const fn new() -> Self {
        Self {
            since: AtomicU64::new(0),
            count: AtomicU32::new(0),
            hidden: AtomicU32::new(0),
        }
    }

    /// Adds a complaint at `now`, on a clock of `frequency` ticks a second.
    pub fn add(&self, now: u64, frequency: u64) -> Complaint {
        let since = self.since.load(Ordering::Relaxed);
        let is_new_time = now.saturating_sub(since) > SECONDS.saturating_mul(frequency);
        if is_new_time {
            self.since.store(now, Ordering::Relaxed);
            self.count.store(0, Ordering::Relaxed);
        }
        let is_shown = self.count.fetch_add(1, Ordering::Relaxed) < MAX;
        if !is_shown {
            self.hide(1);
        }
        let hidden = if is_new_time {
            self.hidden.swap(0, Ordering::Relaxed)
        } else {
            0
        };
        Complaint { hidden, is_shown }
    }

    /// Counts complaints as not shown again, since the console had no room for their line.
    pub fn hide(&self, complaints: u32) {
        self.hidden.fetch_add(complaints, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;
    use std::vec::Vec;

    const SECOND: u64 = 1000;

    #[test]
    fn what_comes_slowly_is_shown_for_ever() {
        let complaints = Complaints::new();
        for n in 0..1000 {
            let complaint = complaints.add(n * SECOND, SECOND);
            assert_eq!(
                complaint,
                Complaint {
                    hidden: 0,
                    is_shown: true
                }
            );
        }
    }

    #[test]
    fn what_was_hidden_is_told_once_when_its_time_is_over() {
        let complaints = Complaints::new();
        let all: Vec<_> = (0..20).map(|_| complaints.add(5, SECOND)).collect();
        let hidden = |n: usize| Complaint {
            hidden: 0,
            is_shown: n < 16,
        };
        assert_eq!(all, (0..20).map(hidden).collect::<Vec<_>>());
        assert!(!complaints.add(10 * SECOND, SECOND).is_shown, "not yet");
        let told = [10_006, 10_007].map(|now| complaints.add(now, SECOND));
        assert_eq!(
            told,
            [5, 0].map(|hidden| Complaint {
                hidden,
                is_shown: true
            })
        );
    }

    #[test]
    fn what_found_no_room_is_told_with_what_was_hidden() {
        let complaints = Complaints::new();
        for _ in 0..20 {
            complaints.add(5, SECOND);
        }
        complaints.hide(1);
        let told = complaints.add(20 * SECOND, SECOND);
        assert_eq!(told.hidden, 4 + 1);
        complaints.hide(told.hidden);
        assert_eq!(complaints.add(40 * SECOND, SECOND).hidden, 5, "again");
    }

    #[test]
    fn a_clock_of_any_speed_does_not_overflow() {
        let complaints = Complaints::new();
        assert!(complaints.add(u64::MAX, u64::MAX).is_shown);
        assert!(
            complaints.add(0, u64::MAX).is_shown,
            "a clock that went back"
        );
    }

    proptest! {
        #[test]
        fn any_ten_seconds_show_at_most_twice_the_limit_and_none_is_forgotten(
            gaps in prop::collection::vec(0u64..2 * SECOND, 1..400),
        ) {
            let complaints = Complaints::new();
            let (mut now, mut told, mut shown) = (0, 0, Vec::new());
            for gap in &gaps {
                now += gap / 8;
                let complaint = complaints.add(now, SECOND);
                told += complaint.hidden as usize;
                if complaint.is_shown {
                    shown.push(now);
                }
            }
            for (n, from) in shown.iter().enumerate() {
                let until = shown[n..].iter().filter(|at| *at - from <= 10 * SECOND);
                prop_assert!(until.count() <= 32);
            }
            // After a quiet time the rest is told.
            told += complaints.add(now + 11 * SECOND, SECOND).hidden as usize;
            prop_assert_eq!(shown.len() + told, gaps.len());
        }
    }
}
