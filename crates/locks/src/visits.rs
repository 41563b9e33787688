//! Visits: a lock that is never shared, and that goes to a CPU that is running, mostly.
//!
//! [`Turns`](crate::Turns) gives a lock to the CPU that asked first, even if that one is not running, as often happens
//! where CPUs are virtual themselves, or threads of an emulator, and there are too few to run them on. Then the others
//! spin for the rest of their own time, the queue moves on by one, and the machine does nothing else any more. So here
//! a CPU may pass those that wait, but not too often.
//!
//! A CPU that waits counts the visits that end. After [`PASSES`] of them it takes a turn, and from then on nobody gets in
//! but those with turns, in their order. So it waits for as many visits, and one of each other CPU.
//!
//! - `state` has whether somebody is in, and how many wait with turns. Only while it is 0 may a CPU come in without.
//! - `ended` is written by the one that is in, so a store suffices. `served` is as well, by the one whose turn came.
//!
//! How often a CPU had to wait is counted, since on that a machine with many CPUs founders first. Whoever finds the lock
//! free pays nothing for that. Numbers wrap around.

use crate::sync::{AtomicU32, Ordering, wait};

/// Visits of others after which a CPU that waits is not passed any more. Few in tests of interleavings.
const PASSES: u32 = if cfg!(droste_shuttle) { 2 } else { 16 };

/// In `state`: somebody is in.
const TAKEN: u32 = 1;
/// In `state`: one more waits with a turn.
const WITH_TURN: u32 = 2;

/// The state of the lock: who is inside, and who must not be passed.
///
/// ```
/// use droste_locks::Visits;
/// let visits = Visits::new();
/// visits.lock();
/// assert!(!visits.try_lock());
/// visits.unlock();
/// assert!(visits.try_lock());
/// assert_eq!(visits.waits(), 0);
/// ```
#[derive(Debug)]
pub struct Visits {
    state: AtomicU32,
    ended: AtomicU32,
    next: AtomicU32,
    served: AtomicU32,
    waits: AtomicU32,
}

impl Visits {
    /// A lock that nobody holds.
    pub const fn new() -> Self {
        Self::from(0)
    }

    const fn from(first: u32) -> Self {
        Self {
            state: AtomicU32::new(0),
            ended: AtomicU32::new(first),
            next: AtomicU32::new(first),
            served: AtomicU32::new(first),
            waits: AtomicU32::new(0),
        }
    }

    /// Waits until this CPU holds the lock.
    #[inline]
    pub fn lock(&self) {
        if !self.try_lock() {
            self.wait();
        }
    }

    /// Takes the lock if nobody holds it or has a turn. Returns whether it did.
    #[inline]
    pub fn try_lock(&self) -> bool {
        self.state
            .compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Releases the lock.
    #[inline]
    pub fn unlock(&self) {
        let ended = self.ended.load(Ordering::Relaxed);
        self.ended.store(ended.wrapping_add(1), Ordering::Relaxed);
        self.state.fetch_sub(TAKEN, Ordering::Release);
    }

    /// How often a CPU had to wait, modulo 2^32.
    pub fn waits(&self) -> u32 {
        self.waits.load(Ordering::Relaxed)
    }

    /// Whether CPUs wait that must not be passed.
    pub fn has_turns(&self) -> bool {
        self.state.load(Ordering::Relaxed) >= WITH_TURN
    }

    #[cold]
    #[inline(never)]
    fn wait(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        let first = self.ended.load(Ordering::Relaxed);
        while self.ended.load(Ordering::Relaxed).wrapping_sub(first) < PASSES {
            if self.state.load(Ordering::Relaxed) == 0 && self.try_lock() {
                return;
            }
            wait();
        }
        self.wait_with_turn(self.join());
    }

    /// Takes a turn: from here on nobody comes in without one.
    fn join(&self) -> u32 {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.state.fetch_add(WITH_TURN, Ordering::Relaxed);
        turn
    }

    fn wait_with_turn(&self, turn: u32) {
        while !self.try_with_turn(turn) {
            wait();
        }
    }

    /// In, if the turn has come and nobody is in.
    fn try_with_turn(&self, turn: u32) -> bool {
        if self.served.load(Ordering::Acquire) != turn {
            return false;
        }
        let free = self.state.load(Ordering::Relaxed) & !TAKEN;
        let taken = free - WITH_TURN + TAKEN;
        let is_in = self
            .state
            .compare_exchange(free, taken, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        if is_in {
            self.served.store(turn.wrapping_add(1), Ordering::Release);
        }
        is_in
    }
}

impl Default for Visits {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(droste_shuttle)))]
mod tests {
    use super::*;

    /// Wherever the numbers begin: they wrap around in the middle.
    fn beginnings() -> impl Iterator<Item = Visits> {
        [0, u32::MAX - 1, u32::MAX].into_iter().map(Visits::from)
    }

    #[test]
    fn one_is_in_at_a_time() {
        for visits in beginnings() {
            for _ in 0..3 {
                visits.lock();
                assert!(!visits.try_lock());
                visits.unlock();
                assert!(visits.try_lock());
                visits.unlock();
            }
            assert_eq!(visits.waits(), 0, "it was free each time");
        }
    }

    #[test]
    fn nobody_goes_before_those_with_turns_and_they_go_in_order() {
        for visits in beginnings() {
            visits.lock();
            let (first, second) = (visits.join(), visits.join());
            assert!(visits.has_turns() && !visits.try_with_turn(first));
            visits.unlock();
            assert!(!visits.try_lock() && !visits.try_with_turn(second));
            assert!(visits.try_with_turn(first));
            assert!(!visits.try_with_turn(second), "one is in");
            visits.unlock();
            assert!(!visits.try_lock() && visits.try_with_turn(second));
            assert!(!visits.has_turns());
            visits.unlock();
            assert!(visits.try_lock());
        }
    }

    #[test]
    fn each_visit_counts_for_those_that_wait() {
        let visits = Visits::from(u32::MAX);
        for n in 0..3 {
            assert_eq!(
                visits.ended.load(Ordering::Relaxed),
                u32::MAX.wrapping_add(n)
            );
            visits.lock();
            visits.unlock();
        }
    }
}
