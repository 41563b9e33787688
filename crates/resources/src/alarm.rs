//! The timer of a physical CPU: the time slice of the running vCPU, and the other deadlines that it is set for.

use core::sync::atomic::{AtomicU64, Ordering};

/// A deadline that is none.
const NEVER: u64 = u64::MAX;
/// The length of a time slice, in milliseconds: how long a vCPU runs while others want its CPU. Where WFE does not
/// trap, as in QEMU, a vCPU may spin that long for a lock whose holder waits for its own slice.
pub const SLICE_MS: u64 = 2;

/// The deadlines of a physical CPU's only timer, in ticks. Only its own CPU uses it.
///
/// ```
/// use droste_resources::Alarm;
/// let alarm = Alarm::new();
/// alarm.begin_slice(10_000, 1_000_000);
/// assert_eq!(alarm.set_for_slice([11_500]), Some(11_500), "a sleeper comes before the end");
/// assert!(!alarm.is_slice_over(11_999) && alarm.is_slice_over(12_000));
/// ```
#[derive(Debug)]
pub struct Alarm {
    /// When the slice of the loaded vCPU ends.
    slice_end: AtomicU64,
    /// When the scheduler wants the interrupt.
    due: AtomicU64,
    /// When timers of the loaded vCPU want it, those that are not in the hardware.
    loaded_due: AtomicU64,
    /// When the clock of one of its virtual machines wants it, loaded or not.
    clock_due: AtomicU64,
}

impl Default for Alarm {
    fn default() -> Self {
        Self::new()
    }
}

impl Alarm {
    /// An alarm without a deadline. The time slice is over.
    pub const fn new() -> Self {
        Self {
            slice_end: AtomicU64::new(0),
            due: AtomicU64::new(NEVER),
            loaded_due: AtomicU64::new(NEVER),
            clock_due: AtomicU64::new(NEVER),
        }
    }

    /// Begins a time slice at `now`, on a clock of `frequency` ticks a second.
    #[inline]
    pub fn begin_slice(&self, now: u64, frequency: u64) {
        let end = now.saturating_add(frequency / 1000 * SLICE_MS);
        self.slice_end.store(end, Ordering::Relaxed);
    }

    /// Ends the time slice early: the loaded vCPU yields.
    #[inline]
    pub fn end_slice(&self) {
        self.slice_end.store(0, Ordering::Relaxed);
    }

    /// Whether the time slice is over at `now`.
    #[inline]
    pub fn is_slice_over(&self, now: u64) -> bool {
        now >= self.slice_end.load(Ordering::Relaxed)
    }

    /// The time to set the timer to, if only the deadlines `wakes` matter: `None` turns it off.
    #[inline]
    pub fn set(&self, wakes: impl IntoIterator<Item = u64>) -> Option<u64> {
        let due = wakes.into_iter().min().unwrap_or(NEVER);
        self.due.store(due, Ordering::Relaxed);
        self.next()
    }

    /// The time to set the timer to, if the end of the time slice matters as well.
    #[inline]
    pub fn set_for_slice(&self, wakes: impl IntoIterator<Item = u64>) -> Option<u64> {
        let end = self.slice_end.load(Ordering::Relaxed);
        self.set(wakes.into_iter().chain([end]))
    }

    /// Whether the time that the scheduler asked for has come.
    #[inline]
    pub fn is_due(&self, now: u64) -> bool {
        self.due.load(Ordering::Relaxed) <= now
    }

    /// Sets the deadline of those timers of the loaded vCPU that are not in the hardware. Returns the time to set the
    /// timer to, if it changes.
    #[inline]
    pub fn load(&self, deadline: Option<u64>) -> Option<Option<u64>> {
        let deadline = deadline.unwrap_or(NEVER);
        let before = self.loaded_due.load(Ordering::Relaxed);
        (before != deadline).then(|| {
            self.loaded_due.store(deadline, Ordering::Relaxed);
            self.next()
        })
    }

    /// Notes that no vCPU is loaded any more. The timer is set again before another one is loaded.
    #[inline]
    pub fn unload(&self) {
        self.loaded_due.store(NEVER, Ordering::Relaxed);
    }

    /// Adds the `deadline` of a virtual machine's clock alarm. Returns the time to set the timer to, if it changes.
    pub fn watch(&self, deadline: u64) -> Option<u64> {
        if deadline >= self.clock_due.load(Ordering::Relaxed) {
            return None;
        }
        let before = self.next();
        self.clock_due.store(deadline, Ordering::Relaxed);
        self.next().filter(|due| Some(*due) != before)
    }

    /// Whether the alarm of a clock may be due at `now`. If so, the caller looks at all clocks, and watches them again.
    #[inline]
    pub fn take_watched(&self, now: impl FnOnce() -> u64) -> bool {
        let due = self.clock_due.load(Ordering::Relaxed);
        let is_due = due != NEVER && due <= now();
        if is_due {
            self.clock_due.store(NEVER, Ordering::Relaxed);
        }
        is_due
    }

    fn next(&self) -> Option<u64> {
        let dues =
            [&self.due, &self.loaded_due, &self.clock_due].map(|due| due.load(Ordering::Relaxed));
        dues.into_iter().min().filter(|due| *due != NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREQUENCY: u64 = 1_000_000;
    const SLICE: u64 = FREQUENCY / 1000 * SLICE_MS;

    #[test]
    fn a_slice_lasts_its_time_unless_its_owner_gives_it_up() {
        let alarm = Alarm::new();
        assert!(alarm.is_slice_over(0), "none has begun");
        alarm.begin_slice(500, FREQUENCY);
        assert!(!alarm.is_slice_over(500) && !alarm.is_slice_over(499 + SLICE));
        assert!(alarm.is_slice_over(500 + SLICE));
        alarm.end_slice();
        assert!(alarm.is_slice_over(500));
    }

    #[test]
    fn a_slice_at_the_end_of_time_does_not_come_round() {
        let alarm = Alarm::new();
        alarm.begin_slice(u64::MAX - 1, FREQUENCY);
        assert!(!alarm.is_slice_over(u64::MAX - 1));
    }

    #[test]
    fn the_timer_is_set_for_whatever_comes_first() {
        const TIMES: [u64; 4] = [3, 7, 2_000_000, NEVER];
        for (wake, other, loaded) in TIMES
            .into_iter()
            .flat_map(|a| TIMES.map(|b| (a, b)))
            .flat_map(|(a, b)| TIMES.map(|c| (a, b, c)))
        {
            let alarm = Alarm::new();
            alarm.begin_slice(5, FREQUENCY);
            let first = |times: &[u64]| times.iter().copied().min().filter(|t| *t != NEVER);
            let loads = (loaded != NEVER).then_some(loaded);
            assert_eq!(alarm.load(loads), loads.map(Some));
            assert_eq!(alarm.set([wake, other]), first(&[wake, other, loaded]));
            let end = 5 + SLICE;
            let all = first(&[wake, other, loaded, end]);
            assert_eq!(alarm.set_for_slice([wake, other]), all);
            assert_eq!(alarm.set([]), loads, "the slice does not matter");
        }
    }

    #[test]
    fn only_what_the_scheduler_set_is_due_for_it() {
        let alarm = Alarm::new();
        assert!(!alarm.is_due(NEVER - 1));
        assert_eq!(alarm.set([9]), Some(9));
        assert_eq!(alarm.load(Some(4)), Some(Some(4)));
        assert!(!alarm.is_due(8) && alarm.is_due(9));
    }

    #[test]
    fn a_clock_is_watched_whoever_runs_until_its_alarm_was_taken() {
        for (wake, loaded, first, second) in [(3, NEVER, 5, 7), (9, 8, 7, 5), (NEVER, 6, 6, 6)] {
            let alarm = Alarm::new();
            let _ = alarm.load(Some(loaded));
            let _ = alarm.set([wake]);
            let before = wake.min(loaded);
            let news = |due: u64, before: u64| (due < before).then_some(due);
            assert_eq!(alarm.watch(first), news(first, before));
            assert_eq!(alarm.watch(second), news(second, before.min(first)));
            let due = first.min(second);
            alarm.unload();
            assert_eq!(alarm.set([]), Some(due), "nobody is loaded");
            assert!(!alarm.take_watched(|| due - 1));
            assert!(alarm.take_watched(|| due));
            assert!(!alarm.take_watched(|| due), "once");
            assert_eq!(alarm.set([]), None);
        }
        let never = || unreachable!("the time does not matter");
        assert!(!Alarm::new().take_watched(never));
    }

    #[test]
    fn the_timer_is_touched_only_when_a_loaded_deadline_is_another_one() {
        let alarm = Alarm::new();
        assert_eq!(alarm.load(None), None);
        assert_eq!(alarm.load(Some(7)), Some(Some(7)));
        assert_eq!(alarm.load(Some(7)), None);
        assert_eq!(alarm.load(None), Some(None));
        assert_eq!(alarm.load(Some(8)), Some(Some(8)));
        alarm.unload();
        assert_eq!(alarm.set([]), None);
        assert_eq!(alarm.load(Some(8)), Some(Some(8)), "it is loaded anew");
    }
}
