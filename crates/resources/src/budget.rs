//! How often a virtual machine may start anew.

/// The number of starts that a virtual machine has at once, and the time after which it gets one more.
///
/// A token bucket: each start takes a token, and one comes back per interval, up to the size of the bucket. So within
/// any period there are at most as many starts as the bucket holds plus those that the period gives back.
///
/// ```
/// use droste_resources::Budget;
/// let mut budget = Budget::new(2, 100);
/// assert!(budget.take(1000) && budget.take(1001), "both at once");
/// assert!(!budget.take(1050));
/// assert!(budget.take(1100), "one has come back");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    most: u32,
    /// Time in which one comes back.
    interval: u64,
    left: u32,
    /// Since when one is on its way back, where not all are there.
    since: u64,
}

/// Starts that a virtual machine has at once, and seconds until it has another one: one that boots and falls, over and
/// over, stays off in the end.
const STARTS_AT_ONCE: u32 = 5;
const SECONDS_A_START: u64 = 10;

impl Budget {
    /// The budget of one virtual machine, on a clock of `frequency` ticks a second.
    pub const fn of_starts(frequency: u64) -> Self {
        Self::new(STARTS_AT_ONCE, frequency.saturating_mul(SECONDS_A_START))
    }

    /// A budget of `most` starts, of which one comes back each `interval`, in the caller's unit of time.
    pub const fn new(most: u32, interval: u64) -> Self {
        Self {
            most,
            interval,
            left: most,
            since: 0,
        }
    }

    /// Takes a start at the time `now`, which never goes backwards. Returns whether one was left.
    pub const fn take(&mut self, now: u64) -> bool {
        if self.left == self.most {
            self.since = now;
        } else {
            let back = match now.saturating_sub(self.since).checked_div(self.interval) {
                Some(back) => back,
                None => self.most as u64,
            };
            let missing = (self.most - self.left) as u64;
            if back >= missing {
                self.left = self.most;
                self.since = now;
            } else {
                // What has passed of the next one's time is kept.
                self.left += back as u32;
                self.since += back * self.interval;
            }
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    const SECOND: u64 = 1000;

    /// How many of the starts at these times are granted.
    fn granted(budget: &mut Budget, times: impl IntoIterator<Item = u64>) -> usize {
        times.into_iter().filter(|time| budget.take(*time)).count()
    }

    #[test]
    fn one_that_falls_over_and_over_stays_off_and_one_that_lives_does_not() {
        let mut starts = Budget::of_starts(SECOND);
        assert_eq!(granted(&mut starts, (0..100).map(|n| n * SECOND / 2)), 9);
        let mut starts = Budget::of_starts(SECOND);
        assert_eq!(granted(&mut starts, (0..100).map(|n| n * 10 * SECOND)), 100);
    }

    #[test]
    fn as_many_as_there_are_may_come_at_once() {
        let mut budget = Budget::new(5, 10 * SECOND);
        assert_eq!(granted(&mut budget, [7; 9]), 5);
    }

    #[test]
    fn slow_ones_are_granted_for_ever() {
        let mut budget = Budget::new(5, 10 * SECOND);
        let times = (0..1000).map(|n| n * 10 * SECOND);
        assert_eq!(granted(&mut budget, times), 1000);
    }

    #[test]
    fn a_slow_one_between_quick_ones_gives_no_more_than_its_time() {
        // One that lasts 1.1 s, and three that last none, over and over.
        let mut budget = Budget::new(5, 10 * SECOND);
        let times = (0..100).flat_map(|round| {
            let begin = round * 1100;
            [begin, begin, begin, begin + 1]
        });
        let refused = times.clone().position(|time| !budget.take(time));
        assert_eq!(refused, Some(5), "the sixth");
        let mut budget = Budget::new(5, 10 * SECOND);
        assert_eq!(granted(&mut budget, times), 5 + 10, "in 109 s");
    }

    #[test]
    fn any_stretch_of_time_holds_no_more_than_the_bucket_and_what_came_back() {
        // Gaps of every length from a small set, all sequences of six.
        const GAPS: [u64; 4] = [0, 3, 10, 25];
        for code in 0..4usize.pow(6) {
            let mut budget = Budget::new(2, 10);
            let mut now = 100;
            let mut starts = Vec::new();
            for step in 0..6 {
                now += GAPS[code / 4usize.pow(step) % 4];
                if budget.take(now) {
                    starts.push(now);
                }
            }
            for (n, from) in starts.iter().enumerate() {
                for (count, to) in starts[n..].iter().enumerate() {
                    let most = 2 + (to - from) / 10;
                    assert!((count as u64) < most, "{starts:?}");
                }
            }
        }
    }

    #[test]
    fn what_has_passed_of_an_interval_is_not_lost() {
        let mut budget = Budget::new(1, 10);
        assert!(budget.take(0));
        assert!(!budget.take(9));
        assert!(budget.take(10));
        assert!(!budget.take(19));
        assert!(budget.take(20));
        let mut budget = Budget::new(2, 10);
        assert_eq!(
            granted(&mut budget, [0, 0, 15, 20]),
            4,
            "half of the second"
        );
    }

    #[test]
    fn no_time_overflows_and_no_interval_divides_by_zero() {
        let mut budget = Budget::new(1, 0);
        assert_eq!(granted(&mut budget, [0, 0, u64::MAX, u64::MAX]), 4);
        let mut budget = Budget::new(2, u64::MAX);
        assert_eq!(granted(&mut budget, [1, 2, 3, u64::MAX]), 2);
        let mut budget = Budget::new(1, 10);
        assert!(budget.take(50));
        assert!(!budget.take(40), "a clock that went back grants nothing");
    }
}
