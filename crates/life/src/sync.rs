//! What CPUs share: atomics, and one lock.
//!
//! With `--cfg droste_shuttle` they are those of shuttle, which tries interleavings of threads in tests.

#[cfg(not(droste_shuttle))]
mod plain {
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
    pub(crate) use spin::mutex::TicketMutex as Mutex;
}

#[cfg(droste_shuttle)]
mod tried {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

    /// A lock that no panic poisons.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
            self.0.lock().expect("a test that panicked has ended")
        }
    }
}

#[cfg(not(droste_shuttle))]
pub(crate) use plain::{AtomicBool, AtomicU8, AtomicU64, Mutex, Ordering};
#[cfg(droste_shuttle)]
pub(crate) use tried::{AtomicBool, AtomicU8, AtomicU64, Mutex, Ordering};
