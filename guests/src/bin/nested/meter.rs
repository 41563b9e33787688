//! Sections between marks, and the account of what came out wrong.

use core::fmt::Display;
use droste_guests::checks::Checks;
use droste_guests::{cpu, println};

/// How often a section repeats what it measures.
pub(crate) const TIMES: u32 = 1000;
/// How often it does so before, uncounted.
const WARM_UP: u32 = 100;

/// Counts sections, and has the account of checks.
pub(crate) struct Meter {
    sections: u32,
    pub(crate) checks: Checks,
}

impl Meter {
    /// None so far.
    pub(crate) fn new() -> Self {
        Self {
            sections: 0,
            checks: Checks::new("nested"),
        }
    }

    /// As [`Checks::expect`].
    pub(crate) fn expect(&mut self, what: impl Display, found: u64, wanted: u64) {
        self.checks.expect(what, found, wanted);
    }

    /// Does `what` uncounted, and then [`TIMES`] times between marks.
    pub(crate) fn section(&mut self, name: &str, mut what: impl FnMut()) {
        for _ in 0..WARM_UP {
            what();
        }
        self.counted(name, TIMES, what);
    }

    /// Does `what`, `times` times between marks.
    pub(crate) fn counted(&mut self, name: &str, times: u32, mut what: impl FnMut()) {
        self.at_once(name, times, || {
            for _ in 0..times {
                what();
            }
        });
    }

    /// Does `what`, which does `times` of something by itself, between marks.
    pub(crate) fn at_once(&mut self, name: &str, times: u32, what: impl FnOnce()) {
        cpu::between_marks::<1>(what);
        println!("nested: section {name} {times}");
        self.sections += 1;
    }

    /// Says how it went.
    pub(crate) fn report(&self) {
        println!("nested: {} sections", self.sections);
        self.checks.report();
    }
}
