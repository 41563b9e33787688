//! Counts of what happened, for the report.

use core::sync::atomic::{AtomicU64, Ordering};

/// Why a guest was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Exit {
    /// HVC.
    Hypercall,
    /// SMC.
    Firmware,
    /// WFI or WFE.
    Wait,
    /// A system register or instruction.
    SystemRegister,
    /// A device of ours.
    Mmio,
    /// A stage-2 fault on memory or a passed-through device.
    Stage2,
    /// An access to nothing.
    Outside,
    /// A physical interrupt.
    Interrupt,
    /// ERET at virtual EL2.
    Return,
    /// What virtual EL2 is to handle: its guest's traps and faults.
    Forwarded,
    /// All else.
    Other,
}

/// Names of [`Exit`]s in the report, in order.
pub(crate) const EXIT_NAMES: [&str; 11] = [
    "hypercall",
    "smc",
    "wait",
    "sysreg",
    "mmio",
    "stage2",
    "outside",
    "interrupt",
    "eret",
    "forwarded",
    "other",
];

/// Exits of one virtual CPU by class. Written by its own physical CPU alone, read by any.
#[derive(Default)]
pub(crate) struct Counters([AtomicU64; EXIT_NAMES.len()]);

impl Counters {
    /// Counts an exit.
    #[inline]
    pub(crate) fn count(&self, exit: Exit) {
        let counter = &self.0[exit as usize];
        // One writer, so no read-modify-write is needed.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Exits of class `n` of [`EXIT_NAMES`].
    pub(crate) fn get(&self, n: usize) -> u64 {
        self.0[n].load(Ordering::Relaxed)
    }
}
