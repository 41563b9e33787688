//! Log lines about a guest's odd doings, at a bounded rate.

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::arch::timer;

/// Lines that are printed in [`SECONDS`]; the rest is counted.
const MAX: u32 = 16;
const SECONDS: u64 = 10;

/// How much a VM gave reason to complain lately. Two CPUs that race here print a line too many, or one too few.
#[derive(Default)]
pub(crate) struct Complaints {
    since: AtomicU64,
    count: AtomicU32,
}

impl Complaints {
    /// Prints `what` the guest of VM `name` did, unless there were many such lines lately.
    pub(crate) fn add(&self, name: &str, what: fmt::Arguments<'_>) {
        let (now, since) = (timer::now(), self.since.load(Ordering::Relaxed));
        if now.saturating_sub(since) > SECONDS * timer::frequency() {
            self.since.store(now, Ordering::Relaxed);
            let hidden = self.count.swap(0, Ordering::Relaxed).saturating_sub(MAX);
            if hidden > 0 {
                log::warn!("{name}: {hidden} more of the kind were not shown");
            }
        }
        if self.count.fetch_add(1, Ordering::Relaxed) < MAX {
            log::warn!("{name}: {what}");
        }
    }
}
