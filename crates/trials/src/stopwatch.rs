//! The CPU time that a thread uses: a rate by it is the same on an idle machine and on a busy one.

use std::fs;
use std::time::{Duration, Instant};

/// Measures the thread that started it.
///
/// ```
/// use droste_trials::Stopwatch;
/// let watch = Stopwatch::start();
/// assert!(watch.elapsed().as_secs() < 10);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    start: Instant,
    /// CPU time of this thread at the start.
    used: Option<Duration>,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            used: used(),
        }
    }

    /// CPU time since the start, exact to a tick of the scheduler; time by the clock where the system does not tell.
    pub fn elapsed(&self) -> Duration {
        match (self.used, used()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.start.elapsed(),
        }
    }
}

/// Nanoseconds on a CPU, the first number of the file (Linux, Documentation/scheduler/sched-stats.rst).
fn used() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::thread;

    #[test]
    fn time_passes_while_the_thread_works() {
        let (watch, clock) = (Stopwatch::start(), Instant::now());
        let mut number = 0_u64;
        while watch.elapsed() < Duration::from_millis(20) {
            number = black_box(number.wrapping_add(1));
        }
        assert!(clock.elapsed() >= Duration::from_millis(10));
    }

    #[test]
    fn sleep_does_not_count_where_the_system_tells() {
        let watch = Stopwatch::start();
        thread::sleep(Duration::from_millis(100));
        let is_told = watch.used.is_some();
        assert_eq!(watch.elapsed() < Duration::from_millis(50), is_told);
    }
}
