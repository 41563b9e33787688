//! Turns: each CPU takes a number, and enters when all before it let it.
//!
//! Three counters, as in the fair lock of Mellor-Crummey and Scott ("Scalable Reader-Writer Synchronization for
//! Shared-Memory Multiprocessors", 1991). `next` is the next number to be taken. `shared` is the number that may enter
//! to share: all before it share as well, or have left. `alone` is the number that may enter alone: all before it have
//! left. So those that share let each other in, in their order, and are inside together; one that is alone lets the
//! next in when it leaves.
//!
//! - `shared` is written only by the holder of that number, so a store suffices.
//! - `alone` counts those that have left, in any order, so it needs an atomic addition.
//!
//! Numbers wrap around; fewer than 2^32 CPUs wait at a time.

use crate::sync::{AtomicU32, Ordering, wait};

/// A place in the order. It must be waited for: nobody behind it enters before its holder has entered and left.
#[must_use = "nobody behind a turn gets in that is not taken"]
#[derive(Debug)]
pub struct Turn(u32);

/// The state of the lock: who is inside, and who is next.
///
/// ```
/// use droste_locks::Turns;
/// let turns = Turns::new();
/// turns.lock_shared();
/// turns.lock_shared(); // beside the first one
/// let alone = turns.join();
/// assert!(!turns.try_lock_shared()); // behind the one that waits
/// turns.unlock_shared();
/// turns.unlock_shared();
/// turns.wait(alone);
/// turns.unlock();
/// assert!(turns.try_lock_shared());
/// ```
#[derive(Debug)]
pub struct Turns {
    next: AtomicU32,
    shared: AtomicU32,
    alone: AtomicU32,
    waits: AtomicU32,
}

impl Turns {
    /// A lock that nobody holds.
    pub const fn new() -> Self {
        Self::from(0)
    }

    const fn from(first: u32) -> Self {
        Self {
            next: AtomicU32::new(first),
            shared: AtomicU32::new(first),
            alone: AtomicU32::new(first),
            waits: AtomicU32::new(0),
        }
    }

    /// Takes the next turn without waiting, to be [waited](Self::wait) for later. So a place in the order can be taken
    /// while another lock is held, and waited for after that lock is released.
    #[inline]
    pub fn join(&self) -> Turn {
        // What others did is seen when the turn comes.
        Turn(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits until the turn comes; from then on this CPU holds the lock alone.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "a turn is waited for once")]
    pub fn wait(&self, turn: Turn) {
        let Turn(turn) = turn;
        if !self.may_be_alone(turn) {
            self.wait_until(|| self.may_be_alone(turn));
        }
    }

    /// Takes a turn and waits for it, to hold the lock alone.
    #[inline]
    pub fn lock(&self) {
        self.wait(self.join());
    }

    /// Takes a turn and waits for it, to share the lock.
    #[inline]
    pub fn lock_shared(&self) {
        let Turn(turn) = self.join();
        if !self.may_share(turn) {
            self.wait_until(|| self.may_share(turn));
        }
        self.let_share(turn);
    }

    #[cold]
    #[inline(never)]
    fn wait_until(&self, is_in: impl Fn() -> bool) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        while !is_in() {
            wait();
        }
    }

    /// How often a CPU had to wait for its turn, modulo 2^32.
    pub fn waits(&self) -> u32 {
        self.waits.load(Ordering::Relaxed)
    }

    /// Takes the lock alone if nobody holds it or waits for it. Returns whether it did.
    pub fn try_lock(&self) -> bool {
        let turn = self.alone.load(Ordering::Acquire);
        self.join_if_next(turn)
    }

    /// Shares the lock if nobody holds it alone or waits for it. Returns whether it does.
    pub fn try_lock_shared(&self) -> bool {
        let turn = self.shared.load(Ordering::Acquire);
        let is_in = self.join_if_next(turn);
        if is_in {
            self.let_share(turn);
        }
        is_in
    }

    /// Releases the lock, held alone.
    #[inline]
    pub fn unlock(&self) {
        // Its own number still. This first: who comes to share may go before the addition, which counts both all the same.
        self.let_share(self.shared.load(Ordering::Relaxed));
        self.alone.fetch_add(1, Ordering::Release);
    }

    /// Releases the lock, shared.
    #[inline]
    pub fn unlock_shared(&self) {
        self.alone.fetch_add(1, Ordering::Release);
    }

    fn may_be_alone(&self, turn: u32) -> bool {
        self.alone.load(Ordering::Acquire) == turn
    }

    fn may_share(&self, turn: u32) -> bool {
        self.shared.load(Ordering::Acquire) == turn
    }

    /// Lets the one behind `turn` share.
    #[inline]
    fn let_share(&self, turn: u32) {
        self.shared.store(turn.wrapping_add(1), Ordering::Release);
    }

    fn join_if_next(&self, turn: u32) -> bool {
        let next = turn.wrapping_add(1);
        self.next
            .compare_exchange(turn, next, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(droste_shuttle)))]
mod tests {
    use super::*;

    /// Wherever the numbers begin: they wrap around in the middle.
    fn beginnings() -> impl Iterator<Item = Turns> {
        [0, u32::MAX - 1, u32::MAX].into_iter().map(Turns::from)
    }

    #[test]
    fn those_who_share_are_in_together_and_go_in_any_order() {
        for turns in beginnings() {
            turns.lock_shared();
            assert!(turns.try_lock_shared());
            assert!(!turns.try_lock());
            turns.unlock_shared();
            assert!(!turns.try_lock());
            turns.unlock_shared();
            assert!(turns.try_lock());
            turns.unlock();
        }
    }

    #[test]
    fn one_that_is_alone_is_alone() {
        for turns in beginnings() {
            turns.lock();
            assert!(!turns.try_lock() && !turns.try_lock_shared());
            turns.unlock();
            assert!(turns.try_lock_shared());
        }
    }

    #[test]
    fn who_comes_to_share_waits_behind_one_that_waits_to_be_alone() {
        for turns in beginnings() {
            turns.lock_shared();
            let Turn(alone) = turns.join();
            let Turn(behind) = turns.join();
            assert!(!turns.may_be_alone(alone) && !turns.may_share(behind));
            turns.unlock_shared();
            assert!(turns.may_be_alone(alone) && !turns.may_share(behind));
            turns.unlock();
            assert!(turns.may_share(behind));
        }
    }

    #[test]
    fn who_waits_to_be_alone_comes_in_its_turn_and_not_before_those_who_share() {
        for turns in beginnings() {
            turns.lock();
            let Turn(shares) = turns.join();
            let Turn(alone) = turns.join();
            turns.unlock();
            assert!(turns.may_share(shares) && !turns.may_be_alone(alone));
            turns.let_share(shares);
            assert!(!turns.may_be_alone(alone));
            turns.unlock_shared();
            assert!(turns.may_be_alone(alone));
        }
    }
}
