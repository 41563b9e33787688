//! What a program can do, and how it is written down.

use std::fmt;

use droste_arm64::desc::{Device, S2ap, Xn};
use droste_arm64::{Ipa, Level, Pa};
use droste_mmu_model::AccessKind;
use droste_stage2::{Attributes, DirtyLog, Mapping, Memory, Runs, Slot};

use crate::text::{Fields, ParseError, name_of};

/// One operation, by one CPU, on one virtual machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The CPU; counts on from 0 past the world's last.
    pub cpu: u8,
    /// The virtual machine; counts on likewise.
    pub vm: u8,
    /// What it does.
    pub operation: Operation,
}

/// A range of guest addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Area {
    /// First address.
    pub ipa: Ipa,
    /// Size in bytes.
    pub bytes: u64,
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A slot is added.
    AddSlot(Slot),
    /// The slot that holds the address is removed, and unmapped.
    RemoveSlot(Ipa),
    /// The slot that holds the first address moves to the second, and is unmapped where it was.
    Relocate(Ipa, Ipa),
    /// The slot gets other attributes, and is unmapped where they permit less.
    SetAttributes(Ipa, Attributes),
    /// The slot's log is turned on, and its memory write-protected; or off.
    SetLog(Ipa, DirtyLog),
    /// A range is mapped ahead.
    Map(Mapping),
    /// A range is unmapped.
    Unmap(Area),
    /// A range is write-protected.
    WriteProtect(Area),
    /// The dirty log of a range is read and reset.
    Dirty(Area),
    /// Access flags of a range are cleared.
    Age(Area),
    /// A range is cleaned from caches.
    Flush(Area),
    /// The leaves of a range are split down to a level.
    Split(Area, Level),
    /// The tables of a range become blocks up to a level, with the attributes of the slot around it, unless that
    /// keeps a log.
    Collapse(Area, Level),
    /// The guest on this CPU makes an access, and its faults are answered until it succeeds or is refused.
    Access(Ipa, AccessKind),
    /// The guest takes a fault here if it can, and what to do is decided, not done.
    Resolve(Ipa, AccessKind),
    /// What was decided is done.
    Install,
    /// A vCPU enters under a context, from wherever it was.
    Enter {
        /// The context's number; counts on from 0 past the last.
        context: u8,
        /// The vCPU's.
        vcpu: u8,
    },
    /// The CPU leaves its guest for good.
    Leave,
    /// The guest makes one of its own pages lead elsewhere, and invalidates.
    Stage1(Ipa, Ipa, GuestTlbi),
    /// One more context.
    NewContext,
    /// A context ends, unless it is the last.
    Retire(u8),
    /// Contexts of an idle virtual machine come, run here, and go.
    Pressure(u16),
    /// All is unmapped at once.
    Free,
}

/// How a guest invalidates what it changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestTlbi {
    /// By address, local: HCR_EL2.FB makes it reach wherever the vCPU was.
    LocalAddress,
    /// By address, broadcast.
    Address,
    /// All of the ASID.
    Asid,
    /// All.
    All,
}

const GUEST_TLBIS: [(GuestTlbi, &str); 4] = [
    (GuestTlbi::LocalAddress, "local"),
    (GuestTlbi::Address, "address"),
    (GuestTlbi::Asid, "asid"),
    (GuestTlbi::All, "all"),
];
pub(crate) const KINDS: [(AccessKind, &str); 4] = [
    (AccessKind::Read, "read"),
    (AccessKind::Write, "write"),
    (AccessKind::ExecuteEl1, "execute1"),
    (AccessKind::ExecuteEl0, "execute0"),
];
const MEMORIES: [(Memory, &str); 6] = [
    (Memory::WriteBack, "wb"),
    (Memory::NonCacheable, "nc"),
    (Memory::Device(Device::NGnRnE), "ngnrne"),
    (Memory::Device(Device::NGnRE), "ngnre"),
    (Memory::Device(Device::NGRE), "ngre"),
    (Memory::Device(Device::GRE), "gre"),
];
const ACCESSES: [(S2ap, &str); 4] = [
    (S2ap::None, "--"),
    (S2ap::ReadOnly, "r-"),
    (S2ap::WriteOnly, "-w"),
    (S2ap::ReadWrite, "rw"),
];
const EXECUTES: [(Xn, &str); 4] = [
    (Xn::Everywhere, "x"),
    (Xn::Nowhere, "n"),
    (Xn::OnlyEl0, "x0"),
    (Xn::OnlyEl1, "x1"),
];
const LOGS: [(DirtyLog, &str); 2] = [(DirtyLog::Off, "off"), (DirtyLog::On, "on")];
const RUNS: [(Runs, &str); 2] = [(Runs::Single, "single"), (Runs::Contiguous, "contiguous")];
const LEVELS: [(Level, &str); 5] = [
    (Level::Minus1, "-1"),
    (Level::L0, "0"),
    (Level::L1, "1"),
    (Level::L2, "2"),
    (Level::L3, "3"),
];

/// Attributes as `memory,access,execute,software`.
struct Shown(Attributes);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{},{},{},{}",
            name_of(&self.0.memory, &MEMORIES),
            name_of(&self.0.access, &ACCESSES),
            name_of(&self.0.execute, &EXECUTES),
            self.0.software
        )
    }
}

fn attributes(fields: &Fields<'_>) -> Result<Attributes, ParseError> {
    fn named<T: Copy>(word: Option<&str>, of: &[(T, &str)]) -> Option<T> {
        let found = of.iter().find(|(_, name)| Some(*name) == word);
        found.map(|&(value, _)| value)
    }
    let mut words = fields.word("as")?.split(',');
    let read = || {
        Some(Attributes {
            memory: named(words.next(), &MEMORIES)?,
            access: named(words.next(), &ACCESSES)?,
            execute: named(words.next(), &EXECUTES)?,
            software: words.next()?.parse().ok()?,
        })
    };
    let mut read = read;
    read().ok_or_else(|| fields.wrong("as"))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu={} vm={} {}", self.cpu, self.vm, self.operation)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let area = |f: &mut fmt::Formatter<'_>, verb, area: &Area| {
            write!(f, "{verb} ipa={} bytes={:#x}", area.ipa, area.bytes)
        };
        match self {
            Self::AddSlot(Slot {
                ipa,
                pa,
                bytes,
                attributes,
                log,
            }) => write!(
                f,
                "add-slot ipa={ipa} pa={pa} bytes={bytes:#x} as={} log={}",
                Shown(*attributes),
                name_of(log, &LOGS)
            ),
            Self::RemoveSlot(ipa) => write!(f, "remove-slot ipa={ipa}"),
            Self::Relocate(ipa, to) => write!(f, "relocate ipa={ipa} to={to}"),
            Self::SetAttributes(ipa, attributes) => {
                write!(f, "set-attributes ipa={ipa} as={}", Shown(*attributes))
            }
            Self::SetLog(ipa, log) => write!(f, "set-log ipa={ipa} log={}", name_of(log, &LOGS)),
            Self::Map(mapping) => write!(
                f,
                "map ipa={} pa={} bytes={:#x} as={} largest={} runs={}",
                mapping.ipa,
                mapping.pa,
                mapping.bytes,
                Shown(mapping.attributes),
                name_of(&mapping.largest, &LEVELS),
                name_of(&mapping.runs, &RUNS)
            ),
            Self::Unmap(of) => area(f, "unmap", of),
            Self::WriteProtect(of) => area(f, "write-protect", of),
            Self::Dirty(of) => area(f, "dirty", of),
            Self::Age(of) => area(f, "age", of),
            Self::Flush(of) => area(f, "flush", of),
            Self::Split(of, to) => {
                area(f, "split", of)?;
                write!(f, " level={}", name_of(to, &LEVELS))
            }
            Self::Collapse(of, largest) => {
                area(f, "collapse", of)?;
                write!(f, " level={}", name_of(largest, &LEVELS))
            }
            Self::Access(ipa, kind) => write!(f, "access ipa={ipa} kind={}", name_of(kind, &KINDS)),
            Self::Resolve(ipa, kind) => {
                write!(f, "resolve ipa={ipa} kind={}", name_of(kind, &KINDS))
            }
            Self::Install => write!(f, "install"),
            Self::Enter { context, vcpu } => write!(f, "enter context={context} vcpu={vcpu}"),
            Self::Leave => write!(f, "leave"),
            Self::Stage1(va, to, tlbi) => {
                write!(
                    f,
                    "stage1 ipa={va} to={to} tlbi={}",
                    name_of(tlbi, &GUEST_TLBIS)
                )
            }
            Self::NewContext => write!(f, "new-context"),
            Self::Retire(context) => write!(f, "retire context={context}"),
            Self::Pressure(count) => write!(f, "pressure count={count}"),
            Self::Free => write!(f, "free"),
        }
    }
}

impl Step {
    /// The step of a line.
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            cpu: fields.small("cpu")?,
            vm: fields.small("vm")?,
            operation: Operation::parse(fields)?,
        })
    }
}

impl Operation {
    /// The operation of a line.
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, ParseError> {
        let ipa = || fields.number("ipa").map(Ipa);
        let to = || fields.number("to").map(Ipa);
        let bytes = || fields.number("bytes");
        let area = || {
            Ok(Area {
                ipa: ipa()?,
                bytes: bytes()?,
            })
        };
        let level = |name| fields.named(name, &LEVELS);
        let log = || fields.named("log", &LOGS);
        Ok(match fields.verb {
            "add-slot" => Self::AddSlot(Slot {
                ipa: ipa()?,
                pa: Pa(fields.number("pa")?),
                bytes: bytes()?,
                attributes: attributes(fields)?,
                log: log()?,
            }),
            "remove-slot" => Self::RemoveSlot(ipa()?),
            "relocate" => Self::Relocate(ipa()?, to()?),
            "set-attributes" => Self::SetAttributes(ipa()?, attributes(fields)?),
            "set-log" => Self::SetLog(ipa()?, log()?),
            "map" => Self::Map(Mapping {
                ipa: ipa()?,
                pa: Pa(fields.number("pa")?),
                bytes: bytes()?,
                attributes: attributes(fields)?,
                largest: level("largest")?,
                runs: fields.named("runs", &RUNS)?,
            }),
            "unmap" => Self::Unmap(area()?),
            "write-protect" => Self::WriteProtect(area()?),
            "dirty" => Self::Dirty(area()?),
            "age" => Self::Age(area()?),
            "flush" => Self::Flush(area()?),
            "split" => Self::Split(area()?, level("level")?),
            "collapse" => Self::Collapse(area()?, level("level")?),
            "access" => Self::Access(ipa()?, fields.named("kind", &KINDS)?),
            "resolve" => Self::Resolve(ipa()?, fields.named("kind", &KINDS)?),
            "install" => Self::Install,
            "enter" => Self::Enter {
                context: fields.small("context")?,
                vcpu: fields.small("vcpu")?,
            },
            "leave" => Self::Leave,
            "stage1" => Self::Stage1(ipa()?, to()?, fields.named("tlbi", &GUEST_TLBIS)?),
            "new-context" => Self::NewContext,
            "retire" => Self::Retire(fields.small("context")?),
            "pressure" => {
                let count = u16::try_from(fields.number("count")?);
                Self::Pressure(count.map_err(|_| fields.wrong("count"))?)
            }
            "free" => Self::Free,
            verb => return Err(fields.error(format!("{verb:?} is no operation"))),
        })
    }
}

impl Operation {
    /// A number of its own for each kind.
    pub(crate) fn number(&self) -> u64 {
        match self {
            Self::AddSlot(_) => 1,
            Self::RemoveSlot(_) => 2,
            Self::Relocate(..) => 3,
            Self::SetAttributes(..) => 4,
            Self::SetLog(..) => 5,
            Self::Map(_) => 6,
            Self::Unmap(_) => 7,
            Self::WriteProtect(_) => 8,
            Self::Dirty(_) => 9,
            Self::Age(_) => 10,
            Self::Flush(_) => 11,
            Self::Split(..) => 12,
            Self::Collapse(..) => 13,
            Self::Access(..) => 14,
            Self::Resolve(..) => 15,
            Self::Install => 16,
            Self::Enter { .. } => 17,
            Self::Leave => 18,
            Self::Stage1(..) => 19,
            Self::NewContext => 20,
            Self::Retire(_) => 21,
            Self::Pressure(_) => 22,
            Self::Free => 23,
        }
    }

    /// The range of guest addresses that it is about: a byte, where it is one address.
    pub(crate) fn area(&self) -> Option<Area> {
        match *self {
            Self::AddSlot(slot) => Some(Area {
                ipa: slot.ipa,
                bytes: slot.bytes,
            }),
            Self::Map(mapping) => Some(Area {
                ipa: mapping.ipa,
                bytes: mapping.bytes,
            }),
            Self::Unmap(area)
            | Self::WriteProtect(area)
            | Self::Dirty(area)
            | Self::Age(area)
            | Self::Flush(area)
            | Self::Split(area, _)
            | Self::Collapse(area, _) => Some(area),
            Self::RemoveSlot(ipa)
            | Self::Relocate(ipa, _)
            | Self::SetAttributes(ipa, _)
            | Self::SetLog(ipa, _)
            | Self::Access(ipa, _)
            | Self::Resolve(ipa, _)
            | Self::Stage1(ipa, ..) => Some(Area { ipa, bytes: 1 }),
            Self::Install
            | Self::Enter { .. }
            | Self::Leave
            | Self::NewContext
            | Self::Retire(_)
            | Self::Pressure(_)
            | Self::Free => None,
        }
    }

    /// The first address that it is about, or 0.
    pub(crate) fn address(&self) -> u64 {
        self.area().map_or(0, |area| area.ipa.0)
    }
}
