//! Visits: the order of a lock that goes to a CPU that is running, mostly.
//!
//! A queue gives a lock to the CPU that asked first, even if that one is not running, as often happens where CPUs are
//! virtual themselves, or threads of an emulator, and there are too few to run them on. Then the others spin for the
//! rest of their own time, the queue moves on by one, and the machine does nothing else any more. So here a CPU may
//! pass those that wait, but not too often.
//!
//! A CPU that waits counts how often it finds that visits have ended. After as many as the lock permits it takes a turn,
//! and from then on nobody gets in but those with turns, in their order. So it waits for as many finds, and one visit of
//! each other CPU. Those that share the lock are in together; one that is alone is alone.
//!
//! What ends between two looks counts once: a CPU that was not running meanwhile lost nothing, and did it take a turn for
//! that, it would soon stand still with it. Between two looks a CPU that runs executes a few instructions.
//!
//! - `state` has who is in, and how many wait with turns. Only while none does may a CPU come in without.
//! - `ended` is written by those that are in as they go: by one that was alone with a store, by those that shared with
//!   additions.
//! - `served` is written by the one whose turn came, as it comes in, so a store suffices. The next one may then come in
//!   beside it, where both share.
//!
//! How often a CPU had to wait is counted, since on that a machine with many CPUs founders first. Whoever finds the lock
//! free pays nothing for that. Numbers wrap around.

use crate::sync::{AtomicU32, Ordering, wait};

/// How often a CPU that waits is passed, if nothing else is said.
const PASSES: u32 = 16;

/// In `state`: one is in alone.
const ALONE: u32 = 1;
/// In `state`: one more shares. There are fewer CPUs than fit below [`WITH_TURN`].
const SHARING: u32 = 2;
/// In `state`: one more waits with a turn.
const WITH_TURN: u32 = 1 << 16;

/// How a CPU is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Alone,
    Shared,
}

impl Way {
    /// What `state` gains by it.
    const fn mark(self) -> u32 {
        match self {
            Self::Alone => ALONE,
            Self::Shared => SHARING,
        }
    }

    /// What of `state` keeps one with a turn out: whoever is in, or one that is alone.
    const fn excluded(self) -> u32 {
        match self {
            Self::Alone => WITH_TURN - 1,
            Self::Shared => ALONE,
        }
    }
}

/// A place in the order. It must be waited for: nobody behind it enters before its holder has entered and left.
#[must_use = "nobody gets in behind a turn that is not taken"]
#[derive(Debug)]
pub struct Turn(u32);

/// The state of the lock: who is inside, and who must not be passed.
///
/// ```
/// use droste_locks::Visits;
/// let visits = Visits::new();
/// visits.lock_shared();
/// visits.lock_shared(); // beside the first one
/// let alone = visits.join();
/// assert!(!visits.try_lock_shared()); // behind the one that has a turn
/// visits.unlock_shared();
/// visits.unlock_shared();
/// visits.wait(alone);
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
    passes: u32,
}

impl Visits {
    /// A lock that nobody holds, where one that waits is passed at most sixteen times.
    pub const fn new() -> Self {
        Self::passing(PASSES)
    }

    /// The same where it is passed at most `passes` times: fewer where visits are long.
    pub const fn passing(passes: u32) -> Self {
        Self::from(0, passes)
    }

    const fn from(first: u32, passes: u32) -> Self {
        Self {
            state: AtomicU32::new(0),
            ended: AtomicU32::new(first),
            next: AtomicU32::new(first),
            served: AtomicU32::new(first),
            waits: AtomicU32::new(0),
            passes,
        }
    }

    /// Waits until this CPU holds the lock alone.
    #[inline]
    pub fn lock(&self) {
        if !self.try_lock() {
            self.wait_for(Way::Alone);
        }
    }

    /// Waits until this CPU shares the lock.
    #[inline]
    pub fn lock_shared(&self) {
        if !self.try_lock_shared() {
            self.wait_for(Way::Shared);
        }
    }

    /// Takes the lock alone if nobody holds it or has a turn. Returns whether it did.
    #[inline]
    pub fn try_lock(&self) -> bool {
        self.state
            .compare_exchange(0, ALONE, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Shares the lock if nobody holds it alone or has a turn, and nobody else comes or goes at the same moment. Returns
    /// whether it does.
    #[inline]
    pub fn try_lock_shared(&self) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        state < WITH_TURN && state & ALONE == 0 && self.come_in(state, state + SHARING)
    }

    /// Releases the lock, held alone.
    #[inline]
    pub fn unlock(&self) {
        let ended = self.ended.load(Ordering::Relaxed);
        self.ended.store(ended.wrapping_add(1), Ordering::Relaxed);
        self.state.fetch_sub(ALONE, Ordering::Release);
    }

    /// Releases the lock, shared.
    #[inline]
    pub fn unlock_shared(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.state.fetch_sub(SHARING, Ordering::Release);
    }

    /// Takes a turn without waiting, to be [waited](Self::wait) for later: from here on nobody comes in without one, or
    /// with a later one before it. So a place in the order can be taken while another lock is held, and waited for
    /// after that lock is released.
    pub fn join(&self) -> Turn {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.state.fetch_add(WITH_TURN, Ordering::Relaxed);
        Turn(turn)
    }

    /// Waits until the turn comes; from then on this CPU holds the lock alone.
    #[expect(clippy::needless_pass_by_value, reason = "a turn is waited for once")]
    pub fn wait(&self, turn: Turn) {
        if !self.try_with_turn(&turn, Way::Alone) {
            self.count_wait();
            self.wait_with_turn(&turn, Way::Alone);
        }
    }

    /// How often a CPU had to wait, modulo 2^32. Who finds others coming or going as it comes to share has waited as well.
    pub fn waits(&self) -> u32 {
        self.waits.load(Ordering::Relaxed)
    }

    /// Whether CPUs wait that must not be passed.
    pub fn has_turns(&self) -> bool {
        self.state.load(Ordering::Relaxed) >= WITH_TURN
    }

    #[cold]
    #[inline(never)]
    fn wait_for(&self, way: Way) {
        self.count_wait();
        let mut seen = self.ended.load(Ordering::Relaxed);
        let mut passes = 0;
        while passes < self.passes {
            if self.is_free(way) && self.try_without_turn(way) {
                return;
            }
            wait();
            let ended = self.ended.load(Ordering::Relaxed);
            passes += u32::from(ended != seen);
            seen = ended;
        }
        self.wait_with_turn(&self.join(), way);
    }

    fn count_wait(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    fn is_free(&self, way: Way) -> bool {
        self.state.load(Ordering::Relaxed) & (way.excluded() | !(WITH_TURN - 1)) == 0
    }

    fn try_without_turn(&self, way: Way) -> bool {
        match way {
            Way::Alone => self.try_lock(),
            Way::Shared => self.try_lock_shared(),
        }
    }

    fn wait_with_turn(&self, turn: &Turn, way: Way) {
        while !self.try_with_turn(turn, way) {
            wait();
        }
    }

    /// In, if the turn has come and nobody is in that keeps it out.
    fn try_with_turn(&self, &Turn(turn): &Turn, way: Way) -> bool {
        if self.served.load(Ordering::Acquire) != turn {
            return false;
        }
        let state = self.state.load(Ordering::Relaxed);
        let is_in =
            state & way.excluded() == 0 && self.come_in(state, state - WITH_TURN + way.mark());
        if is_in {
            self.served.store(turn.wrapping_add(1), Ordering::Release);
        }
        is_in
    }

    #[inline]
    fn come_in(&self, from: u32, to: u32) -> bool {
        self.state
            .compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
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
        [0, u32::MAX - 1, u32::MAX]
            .into_iter()
            .map(|first| Visits::from(first, PASSES))
    }

    #[test]
    fn one_is_in_at_a_time() {
        for visits in beginnings() {
            for _ in 0..3 {
                visits.lock();
                assert!(!visits.try_lock() && !visits.try_lock_shared());
                visits.unlock();
                assert!(visits.try_lock());
                visits.unlock();
            }
            assert_eq!(visits.waits(), 0, "it was free each time");
        }
    }

    #[test]
    fn those_who_share_are_in_together_and_go_in_any_order() {
        for visits in beginnings() {
            visits.lock_shared();
            assert!(visits.try_lock_shared());
            assert!(!visits.try_lock());
            visits.unlock_shared();
            assert!(!visits.try_lock());
            visits.unlock_shared();
            assert!(visits.try_lock());
            visits.unlock();
            assert_eq!(visits.waits(), 0, "it was free each time");
        }
    }

    #[test]
    fn nobody_goes_before_those_with_turns_and_they_go_in_order() {
        for visits in beginnings() {
            visits.lock();
            let (first, second) = (visits.join(), visits.join());
            assert!(visits.has_turns() && !visits.try_with_turn(&first, Way::Alone));
            visits.unlock();
            assert!(!visits.try_lock() && !visits.try_lock_shared());
            assert!(!visits.is_free(Way::Alone) && !visits.is_free(Way::Shared));
            assert!(!visits.try_with_turn(&second, Way::Alone));
            assert!(visits.try_with_turn(&first, Way::Alone));
            assert!(!visits.try_with_turn(&second, Way::Alone), "one is in");
            assert!(!visits.try_with_turn(&second, Way::Shared), "one is in");
            visits.unlock();
            assert!(!visits.try_lock() && visits.try_with_turn(&second, Way::Alone));
            assert!(!visits.has_turns());
            visits.unlock();
            assert!(visits.try_lock());
        }
    }

    #[test]
    fn those_who_share_by_turns_let_each_other_in_and_keep_one_out_that_is_alone() {
        for visits in beginnings() {
            visits.lock_shared();
            let [first, alone, last] = [(); 3].map(|()| visits.join());
            assert!(visits.try_with_turn(&first, Way::Shared), "beside another");
            assert!(!visits.try_with_turn(&last, Way::Shared), "not before one");
            visits.unlock_shared();
            assert!(!visits.try_with_turn(&alone, Way::Alone), "one shares");
            visits.unlock_shared();
            assert!(visits.try_with_turn(&alone, Way::Alone));
            assert!(!visits.try_with_turn(&last, Way::Shared));
            visits.unlock();
            assert!(visits.try_with_turn(&last, Way::Shared));
            assert!(visits.try_lock_shared(), "nobody has a turn");
        }
    }

    #[test]
    fn each_visit_counts_for_those_that_wait() {
        let visits = Visits::from(u32::MAX, PASSES);
        for n in 0..4 {
            assert_eq!(
                visits.ended.load(Ordering::Relaxed),
                u32::MAX.wrapping_add(n)
            );
            if n % 2 == 0 {
                visits.lock();
                visits.unlock();
            } else {
                visits.lock_shared();
                visits.unlock_shared();
            }
        }
    }
}
