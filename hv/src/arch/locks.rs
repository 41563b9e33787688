//! Locks whose waits are bounded and counted: the order is `droste-locks`'s, the guards are `lock_api`'s.
//!
//! Where guests contend for a lock none may wait for others without end, since EL2 waits with interrupts masked. `spin`'s
//! `TicketMutex` has its waiters come in turn as well, and is what the machine's own locks are; its `RwLock` has not: who
//! reads keeps out who wants to write.

use droste_locks::{Turn, Visits};
use lock_api::{GuardNoSend, RawMutex, RawRwLock, RwLockWriteGuard};

/// A lock of a virtual machine's that one CPU has at a time.
pub(crate) type Mutex<T> = lock_api::Mutex<OneByOne, T>;

/// What is locked by it.
pub(crate) type MutexGuard<'a, T> = lock_api::MutexGuard<'a, OneByOne, T>;

/// The order of a lock that nobody shares as its mechanism.
pub(crate) struct OneByOne(Visits);

// SAFETY: `Visits` lets one in at a time, as its tests show.
unsafe impl RawMutex for OneByOne {
    const INIT: Self = Self(Visits::new());

    type GuardMarker = GuardNoSend;

    #[inline]
    fn lock(&self) {
        self.0.lock();
    }

    fn try_lock(&self) -> bool {
        self.0.try_lock()
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.0.unlock();
    }
}

/// How often a CPU waited for `lock`.
pub(crate) fn waits<T>(lock: &Mutex<T>) -> u64 {
    // SAFETY: a number is read; nothing is unlocked.
    unsafe { lock.raw() }.0.waits().into()
}

/// How often a CPU waited for `lock`, to share it or to have it alone.
pub(crate) fn waits_of_shared<T>(lock: &RwLock<T>) -> u64 {
    // SAFETY: as in `waits`.
    unsafe { lock.raw() }.0.waits().into()
}

/// A lock that readers share.
pub(crate) type RwLock<T> = lock_api::RwLock<Shared, T>;

/// How often one that waits for a lock that readers share is passed: what is done in it may take long.
const PASSES: u32 = 4;

/// The order of a lock that some share as its mechanism.
pub(crate) struct Shared(Visits);

// SAFETY: `Visits` lets one in alone, or some that share, as its tests show.
unsafe impl RawRwLock for Shared {
    const INIT: Self = Self(Visits::passing(PASSES));

    type GuardMarker = GuardNoSend;

    #[inline]
    fn lock_shared(&self) {
        self.0.lock_shared();
    }

    fn try_lock_shared(&self) -> bool {
        self.0.try_lock_shared()
    }

    #[inline]
    unsafe fn unlock_shared(&self) {
        self.0.unlock_shared();
    }

    #[inline]
    fn lock_exclusive(&self) {
        self.0.lock();
    }

    fn try_lock_exclusive(&self) -> bool {
        self.0.try_lock()
    }

    #[inline]
    unsafe fn unlock_exclusive(&self) {
        self.0.unlock();
    }
}

/// A turn to write, which nobody who comes later goes before.
#[must_use = "nobody behind it gets in before it"]
pub(crate) struct Queued<'a, T> {
    lock: &'a RwLock<T>,
    turn: Turn,
}

/// Takes a turn to write without waiting for it: under a lock that others must not wait for as long.
pub(crate) fn queue_to_write<T>(lock: &RwLock<T>) -> Queued<'_, T> {
    // SAFETY: a turn is taken; nothing is unlocked.
    let turn = unsafe { lock.raw() }.0.join();
    Queued { lock, turn }
}

impl<'a, T> Queued<'a, T> {
    /// Waits until it has come.
    pub(crate) fn wait(self) -> RwLockWriteGuard<'a, Shared, T> {
        // SAFETY: nothing is unlocked.
        unsafe { self.lock.raw() }.0.wait(self.turn);
        // SAFETY: this CPU is in alone by its turn, and no guard was made of that yet.
        unsafe { self.lock.make_write_guard_unchecked() }
    }
}
