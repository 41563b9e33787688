//! Barriers and cache maintenance as values: the operands, without the instructions.

/// Which accesses a DSB waits for, and where (DDI 0487, C6.2 "DSB").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dsb {
    /// All accesses and maintenance, Inner Shareable. It completes a broadcast TLBI.
    Ish,
    /// Stores, Inner Shareable: makes descriptors visible to table walks.
    Ishst,
    /// All accesses and maintenance, this CPU. It completes a local TLBI.
    Nsh,
}

/// Invalidation of instruction caches to the Point of Unification (DDI 0487, C6.2 "IC").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ic {
    /// `IC IALLU`: all of this CPU's.
    Iallu,
    /// `IC IALLUIS`: all, Inner Shareable.
    Ialluis,
}
