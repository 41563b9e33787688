//! What a nested program can do, and how it is written down.

use std::fmt;

use droste_arm64::{Ipa, Va};
use droste_mmu_model::{AccessKind, Tagging};

use crate::nested::tlbi::L1Tlbi;
use crate::stage2::operation::{KINDS, Operation as OfMemory};
use crate::text::{Fields, ParseError, name_of};

/// One operation, by one CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The CPU; counts on from 0 past the world's last.
    pub cpu: u8,
    /// What it does.
    pub operation: Operation,
}

/// Descriptors of L1's, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write {
    /// The table's number; counts on from 0 past the last.
    pub table: u8,
    /// The level.
    pub level: u8,
    /// The first descriptor, from that of the first address in the upper half of the address space.
    pub index: u16,
    /// How many.
    pub count: u16,
    /// What the first holds. If it is valid, each leads to where the one before ends.
    pub value: u64,
}

/// The order of bytes in L1's tables: SCTLR_EL2.EE.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Order {
    /// The least significant byte comes first.
    #[default]
    Little,
    /// The most significant byte comes first.
    Big,
}

impl Order {
    /// From what a table means to what a little-endian load finds in memory, or back.
    pub(crate) const fn in_memory(self, value: u64) -> u64 {
        match self {
            Self::Little => value,
            Self::Big => value.swap_bytes(),
        }
    }

    /// Its bit in SCTLR_EL2.
    pub(crate) const fn sctlr(self) -> u64 {
        match self {
            Self::Little => 0,
            Self::Big => 1 << 25,
        }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Little => Self::Big,
            Self::Big => Self::Little,
        }
    }
}

const TAGGINGS: [(Tagging, &str); 2] =
    [(Tagging::Global, "global"), (Tagging::PerAsid, "per-asid")];

const ORDERS: [(Order, &str); 2] = [(Order::Little, "little"), (Order::Big, "big")];

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// L1 enters a guest here.
    Enter {
        /// The guest's number; counts on from 0 past the last.
        space: u8,
        /// The vCPU's.
        vcpu: u8,
    },
    /// The CPU leaves L2 for good.
    Leave,
    /// L1 writes into a table, with the barrier that it owes, in the order that its tables have then.
    Write(Write),
    /// L1's tables are read in this order from now on, on all of its CPUs. Their bytes stay what they are.
    Order(Order),
    /// L1 invalidates, with the registers of the guest of this number, and waits.
    Tlbi(u8, L1Tlbi),
    /// L2 here has a page of its stage 1 lead elsewhere, by an entry that matches its ASID or every one, and waits until
    /// walks see it. Where its stage 1 is off that does nothing.
    Stage1(Va, Ipa, Tagging),
    /// L2 invalidates its own stage 1 here, and waits: hardware does it, under the VMID of a shadow. What EL1 cannot
    /// execute does nothing.
    GuestTlbi(L1Tlbi),
    /// L2 makes an access, and its faults are answered until it succeeds or is refused.
    Access(Va, AccessKind),
    /// L2 takes a fault here if it can, and what to do is decided, not done.
    Resolve(Va, AccessKind),
    /// What was decided is done.
    Install,
    /// Something that droste-stage2's programs do happens to L1's memory: to its slots or the canonical table. Or
    /// VMIDs go to another virtual machine.
    Memory(OfMemory),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu={} {}", self.cpu, self.operation)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enter { space, vcpu } => write!(f, "enter space={space} vcpu={vcpu}"),
            Self::Leave => write!(f, "leave"),
            Self::Write(write) => write!(
                f,
                "write table={} level={} index={} count={} value={:#x}",
                write.table, write.level, write.index, write.count, write.value
            ),
            Self::Order(order) => write!(f, "order to={}", name_of(order, &ORDERS)),
            Self::Tlbi(space, tlbi) => write!(f, "tlbi space={space} {tlbi}"),
            Self::GuestTlbi(tlbi) => write!(f, "guest-tlbi {tlbi}"),
            Self::Stage1(va, to, tagging) => {
                let tagging = name_of(tagging, &TAGGINGS);
                write!(f, "stage1 va={va} to={to} tagging={tagging}")
            }
            Self::Access(va, kind) => write!(f, "access va={va} kind={}", name_of(kind, &KINDS)),
            Self::Resolve(va, kind) => write!(f, "resolve va={va} kind={}", name_of(kind, &KINDS)),
            Self::Install => write!(f, "install"),
            Self::Memory(operation) => operation.fmt(f),
        }
    }
}

impl Step {
    /// The step of a line.
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            cpu: fields.small("cpu")?,
            operation: Operation::parse(fields)?,
        })
    }
}

impl Operation {
    fn parse(fields: &Fields<'_>) -> Result<Self, ParseError> {
        let number = |name| u16::try_from(fields.number(name)?).map_err(|_| fields.wrong(name));
        let va = || fields.number("va").map(Va);
        Ok(match fields.verb {
            "enter" => Self::Enter {
                space: fields.small("space")?,
                vcpu: fields.small("vcpu")?,
            },
            "leave" => Self::Leave,
            "write" => Self::Write(Write {
                table: fields.small("table")?,
                level: fields.small("level")?,
                index: number("index")?,
                count: number("count")?,
                value: fields.number("value")?,
            }),
            "order" => Self::Order(fields.named("to", &ORDERS)?),
            "tlbi" => Self::Tlbi(fields.small("space")?, L1Tlbi::parse(fields)?),
            "guest-tlbi" => Self::GuestTlbi(L1Tlbi::parse(fields)?),
            "stage1" => {
                let to = Ipa(fields.number("to")?);
                Self::Stage1(va()?, to, fields.named("tagging", &TAGGINGS)?)
            }
            "access" => Self::Access(va()?, fields.named("kind", &KINDS)?),
            "resolve" => Self::Resolve(va()?, fields.named("kind", &KINDS)?),
            "install" => Self::Install,
            _ => Self::Memory(OfMemory::parse(fields)?),
        })
    }

    /// This with less, each time of one thing.
    pub(crate) fn smaller(self) -> Vec<Self> {
        match self {
            Self::Write(write) => vec![
                Self::Write(Write { count: 1, ..write }),
                Self::Write(Write { value: 0, ..write }),
            ],
            Self::Memory(operation) => {
                let smaller = operation.smaller().into_iter();
                smaller.map(Self::Memory).collect()
            }
            _ => Vec::new(),
        }
    }
}
