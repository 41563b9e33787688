//! Violations: what can be wrong, and its description.

use core::fmt;

use droste_arm64::{Ipa, Pa};

use crate::descriptor::Malformed;
use crate::regime::RegisterFault;
use crate::tlbi::OperandFault;

/// Which part of break-before-make (DDI 0487, D8 "Using break-before-make") is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// The old entry was never made invalid.
    Break,
    /// The old entry was made invalid, but no DSB made that visible before the TLBI.
    BarrierBeforeTlbi,
    /// No TLBI invalidates the old stage-2 entry.
    Tlbi,
    /// No DSB completed that TLBI.
    BarrierAfterTlbi,
    /// No TLBI invalidates entries that combine both stages after those of stage 2 were gone.
    CombinedTlbi,
    /// No DSB completed the TLBI of combined entries.
    BarrierAfterCombinedTlbi,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Break => "the old entry was not made invalid first",
            Self::BarrierBeforeTlbi => "no DSB made the old entry's end visible before its TLBI",
            Self::Tlbi => "no TLBI took the old stage-2 entry",
            Self::BarrierAfterTlbi => "no DSB completed the TLBI",
            Self::CombinedTlbi => {
                "no TLBI took the combined entries after the stage-2 invalidation was complete"
            }
            Self::BarrierAfterCombinedTlbi => "no DSB completed the TLBI of combined entries",
        })
    }
}

/// A step of the driver that no CPU can make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Misuse {
    /// A verb of EL2 on a CPU that is in a guest: [`exit`](crate::Model::exit) first.
    InGuest,
    /// A verb of a guest on a CPU that is at EL2: [`enter`](crate::Model::enter) first.
    AtEl2,
    /// No such CPU.
    NoSuchCpu,
    /// A descriptor's address outside the memory for tables, or not a multiple of 8.
    Address,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InGuest => "EL2's verb while the CPU is in a guest",
            Self::AtEl2 => "a guest's verb while the CPU is at EL2",
            Self::NoSuchCpu => "there is no such CPU",
            Self::Address => "no descriptor is at this address",
        })
    }
}

/// A rule that was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// An access could use a translation that memory no longer holds and that the driver no longer allows.
    StaleTranslation(Missing),
    /// A valid entry replaced another without the break-before-make that this needs.
    BreakBeforeMake(Missing),
    /// A table's page was released, or linked elsewhere, while a walk can reach it.
    PageReachable,
    /// A page that was released is linked into a table.
    PageReleased,
    /// A table was linked before a DSB made its contents visible: walks may see what the page held before.
    ContentsNotVisible,
    /// One VMID has two roots, or one root of two shapes, in one TLB or on two CPUs at once.
    VmidReused,
    /// One VMID is used with two values of VTCR_EL2.
    VtcrDiffers,
    /// Entries of another vCPU are left where this one runs.
    OtherVcpu,
    /// An invalidation that a guest has completed did not reach entries of its vCPU.
    GuestInvalidationLost,
    /// The table permits, or leads to, something other than the driver says.
    WrongTranslation,
    /// An access is permitted that must not be.
    WiderPermission,
    /// A write was possible that leaves no mark in the descriptor.
    DirtyMarkLost,
    /// A mapping may not be seen by a walk that must see it: a DSB is missing.
    NotVisible,
    /// A valid descriptor without a meaning in the architecture.
    Descriptor(Malformed),
    /// An invalidation with a wrong operand.
    Operand(OperandFault),
    /// A value of VTCR_EL2 or VTTBR_EL2 without a meaning in the architecture.
    Register(RegisterFault),
    /// The driver of the model made an impossible step.
    Misuse(Misuse),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StaleTranslation(missing) => {
                write!(f, "an access can use a stale translation: {missing}")
            }
            Self::BreakBeforeMake(missing) => write!(f, "break-before-make is not kept: {missing}"),
            Self::Descriptor(malformed) => write!(f, "a descriptor is malformed: {malformed}"),
            Self::Operand(fault) => write!(f, "a TLBI is malformed: {fault}"),
            Self::Register(fault) => write!(f, "a register is malformed: {fault}"),
            Self::Misuse(misuse) => write!(f, "the model is misused: {misuse}"),
            Self::PageReachable => {
                f.write_str("a table's page is given away while a walk can reach it")
            }
            Self::PageReleased => f.write_str("a page that was released is linked into a table"),
            Self::ContentsNotVisible => f.write_str(
                "a table is linked before a DSB: a walk may see what its page held before",
            ),
            Self::VmidReused => f.write_str("a VMID means two tables at once"),
            Self::VtcrDiffers => f.write_str("a VMID is used with two values of VTCR_EL2"),
            Self::OtherVcpu => f.write_str("entries of another vCPU can be used"),
            Self::GuestInvalidationLost => {
                f.write_str("a guest's own invalidation did not reach its entries on this CPU")
            }
            Self::WrongTranslation => f.write_str("the table does not say what the driver expects"),
            Self::WiderPermission => f.write_str("an access is permitted that must not be"),
            Self::DirtyMarkLost => f.write_str("a write can leave no mark in the descriptor"),
            Self::NotVisible => f.write_str("a DSB is missing: a walk may not see the mapping yet"),
        }
    }
}

/// The translation that a violation is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where its descriptor stands.
    pub descriptor: Pa,
    /// First address that it translates.
    pub ipa: Ipa,
    /// The bytes that it translates.
    pub bytes: u64,
    /// Its level, −1 to 3.
    pub level: i8,
    /// What a TLB may hold, or the descriptor held.
    pub old: u64,
    /// What the descriptor holds now.
    pub new: u64,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "level {} entry at {} for IPA {}+{:#x}, old {:#x}, new {:#x}",
            self.level, self.descriptor, self.ipa, self.bytes, self.old, self.new
        )
    }
}

/// A broken rule, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The step that broke it; steps count from 1.
    pub step: u64,
    /// The step that set it up: the one that changed the entry, or ran the other vCPU.
    pub earlier: Option<u64>,
    /// The CPU that made the step.
    pub cpu: usize,
    /// The VMID, where one matters.
    pub vmid: Option<u16>,
    /// The translation, where one matters.
    pub entry: Option<Entry>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}, CPU {}: {}", self.step, self.cpu, self.rule)?;
        if let Some(vmid) = self.vmid {
            write!(f, "; VMID {vmid}")?;
        }
        if let Some(entry) = self.entry {
            write!(f, "; {entry}")?;
        }
        if let Some(earlier) = self.earlier {
            write!(f, "; set up by step {earlier}")?;
        }
        Ok(())
    }
}

impl core::error::Error for Violation {}
