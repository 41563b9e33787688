//! Exits: why guests were left, and how often.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// Why a guest was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Exit {
    /// HVC.
    Hypercall,
    /// SMC.
    Firmware,
    /// WFI or WFE.
    Wait,
    /// A system register or instruction.
    SystemRegister,
    /// An emulated device.
    Mmio,
    /// A stage-2 fault on memory or a passed-through device.
    Stage2,
    /// An access to an address with neither memory nor a device.
    Outside,
    /// A physical interrupt.
    Interrupt,
    /// ERET at virtual EL2.
    Return,
    /// A trap or fault of a guest's guest, which virtual EL2 handles.
    Forwarded,
    /// Anything else.
    Other,
}

/// All of them with their names, in the report's order.
const EXITS: [(Exit, &str); 11] = [
    (Exit::Hypercall, "hypercall"),
    (Exit::Firmware, "smc"),
    (Exit::Wait, "wait"),
    (Exit::SystemRegister, "sysreg"),
    (Exit::Mmio, "mmio"),
    (Exit::Stage2, "stage2"),
    (Exit::Outside, "outside"),
    (Exit::Interrupt, "interrupt"),
    (Exit::Return, "eret"),
    (Exit::Forwarded, "forwarded"),
    (Exit::Other, "other"),
];

/// Exits of one vCPU by class. Only its own physical CPU writes them; any CPU may read them.
#[derive(Default, Debug)]
pub struct Counters([AtomicU64; EXITS.len()]);

impl Counters {
    /// Counts an exit.
    #[inline]
    pub fn count(&self, exit: Exit) {
        let counter = &self.0[exit as usize];
        // One writer, so no read-modify-write is needed.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// Counts of exits, by class.
///
/// ```
/// use droste_resources::{Counters, Exit, Exits};
/// let cpus = [Counters::default(), Counters::default()];
/// cpus[0].count(Exit::Hypercall);
/// cpus[1].count(Exit::Hypercall);
/// let exits = Exits::of(cpus.iter());
/// assert_eq!(exits.total(), 2);
/// assert!(exits.to_string().starts_with("hypercall 2, smc 0, "));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Exits([u64; EXITS.len()]);

impl Exits {
    /// The sum of what these vCPUs counted.
    pub fn of<'a>(vcpus: impl Iterator<Item = &'a Counters>) -> Self {
        vcpus.fold(Self::default(), |mut sum, Counters(counters)| {
            for (count, counter) in sum.0.iter_mut().zip(counters) {
                *count += counter.load(Ordering::Relaxed);
            }
            sum
        })
    }

    /// The exits of all classes.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each class by its name, with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        EXITS
            .iter()
            .map(|(exit, name)| (*name, self.0[*exit as usize]))
    }
}

/// `name count, name count`.
impl fmt::Display for Exits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().enumerate().try_for_each(|(n, (name, count))| {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {count}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::collections::BTreeSet;

    #[test]
    fn every_class_is_counted_under_a_name_of_its_own() {
        let names: BTreeSet<_> = EXITS.iter().map(|(_, name)| name).collect();
        assert_eq!(names.len(), EXITS.len());
        for (exit, name) in EXITS {
            let counters = Counters::default();
            counters.count(exit);
            counters.count(exit);
            for (class, count) in Exits::of([counters].iter()).iter() {
                assert_eq!(count, if class == name { 2 } else { 0 }, "{exit:?}");
            }
        }
    }

    #[test]
    fn a_sum_is_of_all_virtual_cpus_and_its_total_of_all_classes() {
        let cpus: [Counters; 3] = Default::default();
        for (exit, _) in EXITS {
            for counters in &cpus {
                counters.count(exit);
            }
        }
        cpus[2].count(Exit::Other);
        let exits = Exits::of(cpus.iter());
        assert_eq!(exits.total(), 3 * 11 + 1);
        let expected = |name| if name == "other" { 4 } else { 3 };
        assert!(exits.iter().all(|(name, count)| count == expected(name)));
    }
}
