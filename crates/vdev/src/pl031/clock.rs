//! The machine's time of day in seconds, computed from a counter.

/// A machine's time of day: what its clock read once, and the time since then by a counter that never stops.
///
/// ```
/// use droste_vdev::pl031::Clock;
/// let clock = Clock::new(1_800_000_000, 500, 1000);
/// assert_eq!(clock.seconds(1499), 1_800_000_000);
/// assert_eq!(clock.seconds(1500), 1_800_000_001);
/// assert_eq!(clock.ticks(1_800_000_001), 1500);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    seconds: u64,
    ticks: u64,
    frequency: u64,
}

impl Clock {
    /// A clock that read `seconds` when the counter was at `ticks`. The counter has `frequency` ticks per second; 0
    /// counts as 1.
    pub const fn new(seconds: u32, ticks: u64, frequency: u64) -> Self {
        let frequency = if frequency == 0 { 1 } else { frequency };
        Self {
            seconds: seconds as u64,
            ticks,
            frequency,
        }
    }

    /// The time in seconds when the counter is at `ticks`.
    pub const fn seconds(&self, ticks: u64) -> u64 {
        let passed = ticks.saturating_sub(self.ticks) / self.frequency;
        self.seconds.saturating_add(passed)
    }

    /// The counter value at which the clock first reads `seconds`; `u64::MAX` if the counter does not get there.
    pub const fn ticks(&self, seconds: u64) -> u64 {
        let ahead = seconds.saturating_sub(self.seconds);
        self.ticks
            .saturating_add(ahead.saturating_mul(self.frequency))
    }
}
