//! How a walk ends without a leaf.

use droste_arm64::Level;

/// A fault of L1's tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalkFault {
    /// What is wrong.
    pub kind: FaultKind,
    /// The level at which it is wrong.
    pub level: Level,
}

impl WalkFault {
    pub(crate) const fn new(kind: FaultKind, level: Level) -> Self {
        Self { kind, level }
    }

    /// A descriptor of `level` is not in memory.
    pub(crate) const fn external(level: Level) -> Self {
        Self::new(FaultKind::ExternalAbort, level)
    }
}

/// What is wrong with a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// The root, a table or the output lies beyond the output size.
    AddressSize,
    /// An invalid or reserved descriptor, an input too wide, or registers with which no walk can start.
    Translation,
    /// The access flag is clear and L1 does not let hardware set it.
    AccessFlag,
    /// The leaf forbids the access.
    Permission,
    /// A descriptor cannot be read from memory, or its flags cannot be written there.
    ExternalAbort,
}

/// Why a walk ended without a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// L1 is to be told of this fault.
    Fault(WalkFault),
    /// The descriptor changed between its reading and the update of its flags: L2 tries again.
    Raced,
}
