//! CPUs as threads, their verbs and atomics in every order that a scheduler finds. Only with `--cfg droste_shuttle`;
//! `interleavings.rs` runs them so.

#![cfg(droste_shuttle)]

mod memory;
mod nested;
mod quiet;

use droste_arm64::Pa;
use droste_mmu_model::{Model, Share};
use droste_stage2::PageSupply;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::{Arc, Mutex, MutexGuard};
use shuttle::{Config as Limits, Runner, thread};

const CPUS: usize = 3;
const PAGE: u64 = 0x1000;
const SCHEDULES: usize = 25;

/// A model that threads share.
pub(crate) struct Shared(pub(crate) Mutex<Model>);

impl Share for Shared {
    fn with<R>(&self, verb: impl FnOnce(&mut Model) -> R) -> R {
        verb(&mut self.0.lock().expect("no test goes on after a panic"))
    }
}

/// Pages for tables, while their lock is held.
pub(crate) struct Supply<'w> {
    pub(crate) model: &'w Shared,
    pub(crate) free: MutexGuard<'w, Vec<Pa>>,
}

impl PageSupply for Supply<'_> {
    fn take(&mut self) -> Option<Pa> {
        let page = self.free.pop()?;
        self.model.with(|model| model.claim(page, PAGE));
        Some(page)
    }

    fn give(&mut self, page: Pa) {
        self.model.with(|model| model.release(page, PAGE));
        self.free.push(page);
    }
}

/// Runs CPUs beside each other in many orders, in a new world each time, at which the end is looked.
fn in_many_orders<W: Send + Sync + 'static>(
    make: impl Fn() -> Arc<W> + Send + Sync + 'static,
    cpus: fn(usize, &W),
    end: fn(&W),
) {
    in_orders(SCHEDULES, make, cpus, end);
}

/// The same in twice as many orders as `schedules` says.
fn in_orders<W: Send + Sync + 'static>(
    schedules: usize,
    make: impl Fn() -> Arc<W> + Send + Sync + 'static,
    cpus: fn(usize, &W),
    end: fn(&W),
) {
    let trial = move || {
        let world = make();
        let threads: Vec<_> = (0..CPUS)
            .map(|cpu| {
                let world = world.clone();
                thread::spawn(move || cpus(cpu, &world))
            })
            .collect();
        for thread in threads {
            thread.join().expect("it does not panic");
        }
        end(&world);
    };
    let trial = Arc::new(trial);
    let mut limits = Limits::new();
    limits.stack_size = 0x10_0000;
    let again = trial.clone();
    Runner::new(RandomScheduler::new(schedules), limits.clone()).run(move || again());
    Runner::new(PctScheduler::new(3, schedules), limits).run(move || trial());
}
