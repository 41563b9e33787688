//! Stage-2 descriptors: the codec between the 64 raw bits and their meaning.
//!
//! The formats are the 64-bit ones (DDI 0487, D8 "VMSAv8-64 descriptor formats", "Memory access control" and "Memory
//! region attributes"), with output addresses of up to 48 bits or, with FEAT_LPA and FEAT_LPA2, 52. Left out: 128-bit
//! descriptors (FEAT_D128), and the stage-2 permission indirection of FEAT_S2PIE. The bits FnXS, PBHA and AssuredOnly
//! decode to nothing and encode as zero, and so does nT, which [`RawDescriptor::is_nt`] reads.
//!
//! ```
//! use droste_arm64::desc::{Descriptor, Format, RawDescriptor};
//! use droste_arm64::{Granule, Level, Pa};
//!
//! let format = Format::narrow(Granule::Kib4);
//! let table = Descriptor::Table(Pa(0x4000_1000)).encode(format, Level::L2);
//! assert_eq!(table, Some(RawDescriptor(0x4000_1003)));
//! assert_eq!(RawDescriptor(0x4000_1002).decode(format, Level::L2), Descriptor::Invalid);
//! ```

use crate::Pa;
use crate::granule::{LeafKind, Level};

mod format;
mod memory;
mod pattern;
mod raw;

pub use format::{Format, OutputFormat};
pub use memory::{AttributeScheme, Cacheability, Device, MemAttr, MemoryType};
pub use pattern::Pattern;

const VALID: u64 = 1 << 0;
/// Set in table and page descriptors, clear in block descriptors.
const TABLE_OR_PAGE: u64 = 1 << 1;
const MEM_ATTR_SHIFT: u32 = 2;
const S2AP_SHIFT: u32 = 6;
/// The upper bit of the field.
const S2AP_WRITE: u64 = 2 << S2AP_SHIFT;
const SH_SHIFT: u32 = 8;
const AF: u64 = 1 << 10;
const NT: u64 = 1 << 16;
const DBM: u64 = 1 << 51;
const CONTIGUOUS: u64 = 1 << 52;
const XN_SHIFT: u32 = 53;
const SOFTWARE_SHIFT: u32 = 55;

/// A descriptor as it stands in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[repr(transparent)]
pub struct RawDescriptor(pub u64);

impl RawDescriptor {
    /// All zero: an invalid descriptor, as in a new table.
    pub const EMPTY: Self = Self(0);

    /// Whether bit 0 is set, as in a table, block or page. With this bit set a descriptor can still be reserved at its
    /// level, which hardware treats as invalid: see [`decode`](Self::decode).
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }

    /// The meaning of the descriptor at this level, as hardware reads it.
    #[inline]
    pub const fn decode(self, format: Format, level: Level) -> Descriptor {
        match (self.kind(format, level), level) {
            (Kind::Invalid, _) => Descriptor::Invalid,
            (Kind::Table, _) => Descriptor::Table(self.table_address(format)),
            (Kind::Leaf, Level::L3) => Descriptor::Page(self.leaf(format, level)),
            (Kind::Leaf, _) => Descriptor::Block(self.leaf(format, level)),
        }
    }

    /// The leaf of this `level`, a block or a page. `None` if the level has no leaves, if the output has more bits than
    /// the format holds, or if it is not a multiple of the leaf's size.
    #[inline]
    pub const fn of_leaf(format: Format, level: Level, leaf: Leaf) -> Option<Self> {
        let kind = match format.leaf_at(level) {
            Some(LeafKind::Page) => VALID | TABLE_OR_PAGE,
            Some(LeafKind::Block) => VALID,
            None => return None,
        };
        match format.pack(leaf.output, format.granule().entry_shift(level)) {
            Some(address) => {
                let attributes = leaf.attributes.bits(format.output());
                Some(Self(address | kind | attributes))
            }
            None => None,
        }
    }

    const fn leaf(self, format: Format, level: Level) -> Leaf {
        Leaf {
            output: self.output(format, level),
            attributes: LeafAttributes::from_bits(self.0, format.output()),
        }
    }
}

/// The kind of a descriptor at its level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A walk that meets it ends in a translation fault.
    Invalid,
    /// It points to a table.
    Table,
    /// A block or a page.
    Leaf,
}

/// A descriptor's meaning at its level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Descriptor {
    /// A walk that meets it ends in a translation fault.
    Invalid,
    /// The next-level table's address.
    Table(Pa),
    /// A leaf above level 3.
    Block(Leaf),
    /// A leaf at level 3.
    Page(Leaf),
}

impl Descriptor {
    /// The leaf of this `level`, a block or a page; `None` if the level has no leaves.
    #[inline]
    pub const fn leaf(format: Format, level: Level, leaf: Leaf) -> Option<Self> {
        match format.leaf_at(level) {
            Some(LeafKind::Page) => Some(Self::Page(leaf)),
            Some(LeafKind::Block) => Some(Self::Block(leaf)),
            None => None,
        }
    }

    /// The raw bits at this level. `None` if the level has no such descriptor, if the address has more bits than the
    /// format holds, or if it is not a multiple of the size of what it points to.
    #[inline]
    pub const fn encode(self, format: Format, level: Level) -> Option<RawDescriptor> {
        match (self, format.leaf_at(level)) {
            (Self::Invalid, _) => Some(RawDescriptor::EMPTY),
            (Self::Table(pa), Some(LeafKind::Block) | None) => {
                match format.pack(pa, format.granule().page_shift()) {
                    Some(address) => Some(RawDescriptor(address | VALID | TABLE_OR_PAGE)),
                    None => None,
                }
            }
            (Self::Block(leaf), Some(LeafKind::Block))
            | (Self::Page(leaf), Some(LeafKind::Page)) => {
                RawDescriptor::of_leaf(format, level, leaf)
            }
            _ => None,
        }
    }
}

/// A block's or page's output address and attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// First byte of the output, a multiple of the leaf's size.
    pub output: Pa,
    /// Permissions, memory type and flags.
    pub attributes: LeafAttributes,
}

/// The attribute fields of a stage-2 leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeafAttributes {
    /// MemAttr\[3:0\], bits \[5:2\].
    pub memory: MemAttr,
    /// S2AP, bits \[7:6\].
    pub access: S2ap,
    /// SH, bits \[9:8\]. In [`OutputFormat::Lpa2`] those bits hold an address and VTCR_EL2.SH0 takes the field's place:
    /// it is not encoded, and decodes as Inner Shareable, which is what [`Vtcr::new`](crate::Vtcr::new) puts there. For
    /// tables that other software made, see [`Vtcr::shareability`](crate::Vtcr::shareability).
    pub shareability: Shareability,
    /// XN\[1:0\], bits \[54:53\].
    pub execute: Xn,
    /// AF, bit 10: the page has been accessed. Without hardware management an access with it clear faults.
    pub is_accessed: bool,
    /// DBM, bit 51: hardware may turn a write permission fault into a dirty page (FEAT_HAFDBS).
    pub is_dirty_managed: bool,
    /// The Contiguous hint, bit 52: one TLB entry may serve the aligned run of leaves.
    pub is_contiguous: bool,
    /// Bits \[58:55\], which hardware ignores in Non-secure state; only the low four bits of the number count.
    pub software: u8,
}

impl LeafAttributes {
    const fn from_bits(raw: u64, output: OutputFormat) -> Self {
        Self {
            memory: MemAttr::new((raw >> MEM_ATTR_SHIFT) as u8),
            access: S2ap::decode(raw >> S2AP_SHIFT),
            shareability: match output {
                OutputFormat::Lpa2 => Shareability::Inner,
                _ => Shareability::decode(raw >> SH_SHIFT),
            },
            execute: Xn::decode(raw >> XN_SHIFT),
            is_accessed: raw & AF != 0,
            is_dirty_managed: raw & DBM != 0,
            is_contiguous: raw & CONTIGUOUS != 0,
            software: (raw >> SOFTWARE_SHIFT) as u8 & 15,
        }
    }

    const fn bits(self, output: OutputFormat) -> u64 {
        let sh = match output {
            OutputFormat::Lpa2 => 0,
            _ => (self.shareability as u64) << SH_SHIFT,
        };
        let mut bits = (self.memory.bits() as u64) << MEM_ATTR_SHIFT
            | (self.access as u64) << S2AP_SHIFT
            | sh
            | (self.execute as u64) << XN_SHIFT
            | (self.software as u64 & 15) << SOFTWARE_SHIFT;
        if self.is_accessed {
            bits |= AF;
        }
        if self.is_dirty_managed {
            bits |= DBM;
        }
        if self.is_contiguous {
            bits |= CONTIGUOUS;
        }
        bits
    }
}

/// Stage-2 data access permissions, S2AP (DDI 0487, D8 "Stage 2 data accesses").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum S2ap {
    /// No data access.
    None = 0,
    /// Reads only.
    ReadOnly = 1,
    /// Writes only.
    WriteOnly = 2,
    /// Reads and writes.
    ReadWrite = 3,
}

impl S2ap {
    const fn decode(field: u64) -> Self {
        match field & 3 {
            0 => Self::None,
            1 => Self::ReadOnly,
            2 => Self::WriteOnly,
            _ => Self::ReadWrite,
        }
    }

    /// Whether reads are permitted.
    pub const fn can_read(self) -> bool {
        self as u8 & 1 != 0
    }

    /// Whether writes are permitted.
    pub const fn can_write(self) -> bool {
        self as u8 & 2 != 0
    }
}

/// Stage-2 execute permissions, XN\[1:0\] (DDI 0487, D8 "Stage 2 instruction execution").
///
/// Without FEAT_XNX only [`Everywhere`](Self::Everywhere) and [`Nowhere`](Self::Nowhere) exist: bit 54 decides and
/// bit 53 is RES0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Xn {
    /// Execution permitted at EL1 and EL0.
    Everywhere = 0,
    /// Execution permitted at EL0, not at EL1.
    OnlyEl0 = 1,
    /// Execution not permitted.
    Nowhere = 2,
    /// Execution permitted at EL1, not at EL0.
    OnlyEl1 = 3,
}

impl Xn {
    const fn decode(field: u64) -> Self {
        match field & 3 {
            0 => Self::Everywhere,
            1 => Self::OnlyEl0,
            2 => Self::Nowhere,
            _ => Self::OnlyEl1,
        }
    }
}

/// SH\[1:0\] (DDI 0487, D8 "Stage 2 shareability"). Ignored for Device memory, which is Outer Shareable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Shareability {
    /// Non-shareable.
    Non = 0,
    /// The reserved encoding.
    Reserved = 1,
    /// Outer Shareable.
    Outer = 2,
    /// Inner Shareable.
    Inner = 3,
}

impl Shareability {
    pub(crate) const fn decode(field: u64) -> Self {
        match field & 3 {
            0 => Self::Non,
            1 => Self::Reserved,
            2 => Self::Outer,
            _ => Self::Inner,
        }
    }
}

#[cfg(test)]
mod tests;
