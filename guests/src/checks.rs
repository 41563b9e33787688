//! The account of what a guest found as it must be, and what not.

use crate::println;
use core::fmt::Display;

/// More failures than this are only counted.
const SHOWN_FAILURES: u32 = 40;

/// Counts checks and failures, under the guest's name.
pub struct Checks {
    guest: &'static str,
    made: u32,
    failures: u32,
}

impl Checks {
    /// None so far.
    pub const fn new(guest: &'static str) -> Self {
        Self {
            guest,
            made: 0,
            failures: 0,
        }
    }

    /// Whether `found` is as it must be; a difference is a failure, and printed.
    pub fn expect(&mut self, what: impl Display, found: u64, wanted: u64) {
        self.made += 1;
        if found != wanted {
            self.fail(format_args!("{what}: {found:#x} instead of {wanted:#x}"));
        }
    }

    /// Records a failure.
    pub fn fail(&mut self, what: impl Display) {
        self.failures += 1;
        if self.failures <= SHOWN_FAILURES {
            println!("{}: failed: {what}", self.guest);
        }
    }

    /// Takes over what another found.
    pub fn add(&mut self, other: &Self) {
        self.made += other.made;
        self.failures += other.failures;
    }

    /// Before the machine starts anew, and this account is lost.
    ///
    /// # Panics
    /// If anything failed.
    pub fn must_be_well(&self) {
        assert!(self.failures == 0, "{} failures", self.failures);
    }

    /// Says how it went; the guest is well when nothing failed.
    pub fn report(&self) {
        println!("{}: {} checks", self.guest, self.made);
        if self.failures == 0 {
            println!("{}: ok", self.guest);
        } else {
            println!("{}: {} failures", self.guest, self.failures);
        }
    }
}
