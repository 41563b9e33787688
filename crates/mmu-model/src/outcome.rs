//! Accesses, their possible outcomes, and the outcomes that a driver allows.

use droste_arm64::{Pa, Va};

#[cfg(doc)]
use crate::config::Stage1;
use crate::descriptor::AccessKind;
use crate::violation::{Entry, Missing};

/// An access by the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Where. With stage 1 off it is the IPA.
    pub va: Va,
    /// What.
    pub kind: AccessKind,
}

impl Access {
    /// An access of this kind.
    pub const fn new(va: Va, kind: AccessKind) -> Self {
        Self { va, kind }
    }
}

/// Why an access faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// Stage 1 has no translation, which concerns the guest alone.
    Stage1,
    /// An invalid descriptor, or an address outside the space.
    Translation,
    /// The access flag is clear, and hardware does not set it.
    AccessFlag,
    /// The entry does not permit it.
    Permission,
    /// The output, or the address of a table, has more bits than VTCR_EL2.PS.
    AddressSize,
    /// A table is outside the memory for tables.
    External,
}

/// The effect of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It reaches memory.
    Access {
        /// Where.
        pa: Pa,
        /// By an entry of this level.
        level: i8,
    },
    /// It faults.
    Fault {
        /// Why.
        kind: FaultKind,
        /// At this level.
        level: i8,
    },
    /// A TLB conflict abort: entries of two sizes (FEAT_BBM level 2).
    Conflict,
}

/// The source of an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A walk of memory as it is now.
    Memory,
    /// Another entry of the same Contiguous run in memory.
    Neighbour(Entry),
    /// A walk that does not yet see the write of this step.
    Unseen {
        /// The write.
        step: u64,
    },
    /// An entry that a TLB may still hold.
    Ghost {
        /// The entry.
        entry: Entry,
        /// What would have ended it.
        missing: Missing,
        /// The step that changed it.
        changed: u64,
    },
    /// An entry that another vCPU left.
    OtherVcpu {
        /// The other's number.
        vcpu: u32,
    },
    /// A stage-1 entry that the guest has invalidated.
    GuestInvalidated {
        /// The step that changed it.
        changed: u64,
    },
    /// A stage-1 entry that the guest has changed, and of whose invalidation nothing is known ([`Stage1::Held`]).
    GuestChanged {
        /// The step that changed it.
        changed: u64,
    },
}

impl Source {
    /// Whether it comes from a stage 1 other than the guest's current one.
    pub const fn is_of_another_stage1(self) -> bool {
        matches!(
            self,
            Self::OtherVcpu { .. } | Self::GuestInvalidated { .. } | Self::GuestChanged { .. }
        )
    }
}

/// One possible outcome of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What.
    pub effect: Effect,
    /// Through what.
    pub source: Source,
}

/// All possible outcomes of an access.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcomes(pub(crate) Vec<Outcome>);

impl Outcomes {
    /// The outcomes; that of a walk of memory comes first.
    pub fn iter(&self) -> impl Iterator<Item = &Outcome> {
        self.0.iter()
    }

    /// Whether one of them has this effect.
    pub fn has(&self, effect: Effect) -> bool {
        self.0.iter().any(|outcome| outcome.effect == effect)
    }
}

/// The outcomes of an access that the driver allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowed {
    /// It reaches exactly this.
    Access(Pa),
    /// It reaches exactly this, and a write leaves S2AP\[1\] set in memory.
    Tracked(Pa),
    /// It faults.
    Fault,
    /// It faults, or reaches exactly this.
    Either(Pa),
    /// It faults, or reaches either of these: a change is under way.
    OneOf(Pa, Pa),
}
