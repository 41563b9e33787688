//! What a shadow entry may be: the guest's leaf, then the canonical one, as a single leaf.
//!
//! Rules:
//! - It maps no address that one of the two does not, and permits nothing that one of the two forbids.
//! - Its memory attributes are those that the architecture makes of three stages in turn: L2's own stage 1, the guest's
//!   stage 2 and the canonical one. Where the canonical stage 2 forces Write-Back, L1's memory is of that type whatever
//!   stage 1 says, and what the guest's stage 2 makes of it applies: Device memory is Device memory, with its faults.
//!   Where no encoding says exactly that, the entry is stricter: less cacheable, or more like a device. L1 cannot tell
//!   the difference: it gave L2 another type than it uses itself, and so maintains the caches between them as for
//!   mismatched attributes in any case (DDI 0487, B2 "Mismatched memory attributes").
//! - It carries a [`Mark`] of the guest's leaf, so that an invalidation that names an address but no level finds out
//!   how large the guest's leaf was.

use droste_arm64::desc::{
    AttributeScheme, Cacheability, Device, LeafAttributes, MemoryType, S2ap, Xn,
};
use droste_arm64::{Level, Pa};
use droste_stage2::{Attributes, Geometry, Memory, Walk};

use crate::{Extent, GuestLeaf, L1Ipa, L2Ipa};

/// A leaf of the canonical table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CanonicalLeaf {
    /// First address that it maps, a multiple of `bytes`.
    pub ipa: L1Ipa,
    /// Where that leads, a multiple of `bytes`.
    pub output: Pa,
    /// Size in bytes, a power of two.
    pub bytes: u64,
    /// Permissions and memory type.
    pub attributes: LeafAttributes,
}

impl CanonicalLeaf {
    /// The leaf that a walk of the canonical table, of this shape, found; `None` for a hole.
    pub const fn new(walk: Walk, geometry: Geometry) -> Option<Self> {
        match walk {
            Walk::Leaf { ipa, level, leaf } => Some(Self {
                ipa: L1Ipa(ipa.0),
                output: leaf.output,
                bytes: geometry.entry_bytes(level),
                attributes: leaf.attributes,
            }),
            Walk::Hole { .. } => None,
        }
    }

    const fn holds(&self, ipa: L1Ipa) -> bool {
        ipa.0 >= self.ipa.0 && ipa.0 - self.ipa.0 < self.bytes
    }
}

/// What a shadow may map around an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Composed {
    /// First address, a multiple of `bytes`.
    pub ipa: L2Ipa,
    /// What the guest's table translates it to, a multiple of `bytes`.
    pub via: L1Ipa,
    /// What the canonical table translates that to, a multiple of `bytes`.
    pub output: Pa,
    /// Size in bytes: the smaller of the two leaves', a power of two.
    pub bytes: u64,
    /// The loads and stores that both leaves permit.
    pub access: S2ap,
    /// The instruction fetches that both leaves permit.
    pub execute: Xn,
    /// Memory type, in the scheme of the canonical table.
    pub memory: MemoryType,
    /// Level and extent of the guest's leaf.
    pub mark: Mark,
    /// Size of the guest's leaf, or of its run.
    pub guest_bytes: u64,
    /// Whether it leads to memory, and not to a device.
    pub is_memory: bool,
}

impl Composed {
    /// These attributes as far as a table of L0's can express them. Such a table has no Write-Through, and nothing that
    /// is left to stage 1: such memory becomes Non-cacheable, which is stricter.
    pub(crate) const fn attributes(&self) -> Attributes {
        let memory = match self.memory {
            MemoryType::Device(device) if self.is_memory => Memory::AsDevice(device),
            MemoryType::Device(device) => Memory::Device(device),
            MemoryType::ForceWriteBack
            | MemoryType::Normal {
                inner: Cacheability::WriteBack,
                outer: Cacheability::WriteBack,
            } => Memory::WriteBack,
            _ => Memory::NonCacheable,
        };
        Attributes {
            memory,
            access: self.access,
            execute: self.execute,
            software: self.mark.bits(),
        }
    }
}

/// Composes the two leaves around the address `at`, which the guest's leaf maps. `None` if the canonical leaf does not
/// map the address to which the guest's leaf translates `at`. `scheme` is the canonical table's,
/// [`droste_stage2::scheme`].
///
/// ```
/// # use droste_arm64::desc::*;
/// # use droste_arm64::{Level, Pa};
/// use droste_nested::{compose, CanonicalLeaf, Extent, GuestLeaf, L1Ipa, L2Ipa};
/// # let scheme = AttributeScheme::Combine;
/// # let write_back = Cacheability::WriteBack;
/// # let normal = MemoryType::Normal { inner: write_back, outer: write_back };
/// // L1 maps 2 MiB, read-only; its own memory there is in pages.
/// let guest = GuestLeaf {
///     ipa: L2Ipa(0x20_0000), output: L1Ipa(0x4000_0000), bytes: 2 << 20, level: Level::L2, extent: Extent::Leaf,
///     access: S2ap::ReadOnly, execute: Xn::Nowhere, memory: normal, shareability: Shareability::Inner,
///     is_dirty_managed: false,
/// };
/// let canonical = CanonicalLeaf {
///     ipa: L1Ipa(0x4000_3000), output: Pa(0x9000_5000), bytes: 4096,
///     attributes: LeafAttributes {
///         memory: MemAttr::WRITE_BACK, access: S2ap::ReadWrite, shareability: Shareability::Inner,
///         execute: Xn::Everywhere, is_accessed: true, is_dirty_managed: false, is_contiguous: false, software: 0,
///     },
/// };
/// let leaf = compose(&guest, &canonical, L2Ipa(0x20_3abc), scheme).unwrap();
/// assert_eq!((leaf.ipa, leaf.output, leaf.bytes), (L2Ipa(0x20_3000), Pa(0x9000_5000), 4096));
/// assert_eq!((leaf.access, leaf.mark.level), (S2ap::ReadOnly, Level::L2));
/// ```
#[expect(
    clippy::inline_always,
    reason = "left to the compiler it is a call, and so is the copy of what it gives"
)]
#[inline(always)]
pub fn compose(
    guest: &GuestLeaf,
    canonical: &CanonicalLeaf,
    at: L2Ipa,
    scheme: AttributeScheme,
) -> Option<Composed> {
    let via = guest.output_of(at);
    if !canonical.holds(via) {
        return None;
    }
    let bytes = guest.bytes.min(canonical.bytes);
    let via = via.align_down(bytes);
    let attributes = canonical.attributes;
    let canonical_memory = attributes.memory.decode(scheme);
    let memory = memory(guest.memory, canonical_memory);
    Some(Composed {
        ipa: at.align_down(bytes),
        via,
        output: Pa(canonical.output.0 | via.0 & (canonical.bytes - 1)),
        bytes,
        access: access(guest.access, attributes.access),
        execute: execute(guest.execute, attributes.execute),
        memory,
        mark: Mark {
            level: guest.level,
            extent: guest.extent,
        },
        guest_bytes: guest.bytes,
        is_memory: !matches!(canonical_memory, MemoryType::Device(_)),
    })
}

/// Level and extent of the guest's leaf, in the four software bits of a shadow entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Its level, 0 to 3.
    pub level: Level,
    /// Whether it stands for its run.
    pub extent: Extent,
}

const MARK_RUN: u8 = 1 << 3;

impl Mark {
    /// The bits: the level plus one, and 8 for a run. Never zero.
    pub const fn bits(self) -> u8 {
        let level = match self.level {
            Level::Minus1 | Level::L0 => 1,
            Level::L1 => 2,
            Level::L2 => 3,
            Level::L3 => 4,
        };
        match self.extent {
            Extent::Leaf => level,
            Extent::Run => level | MARK_RUN,
        }
    }

    /// The mark in these bits; `None` if they hold none.
    pub const fn decode(bits: u8) -> Option<Self> {
        let level = match bits & !MARK_RUN {
            1 => Level::L0,
            2 => Level::L1,
            3 => Level::L2,
            4 => Level::L3,
            _ => return None,
        };
        let extent = if bits & MARK_RUN == 0 {
            Extent::Leaf
        } else {
            Extent::Run
        };
        Some(Self { level, extent })
    }
}

/// What both permit.
const fn access(guest: S2ap, canonical: S2ap) -> S2ap {
    match (
        guest.can_read() && canonical.can_read(),
        guest.can_write() && canonical.can_write(),
    ) {
        (false, false) => S2ap::None,
        (true, false) => S2ap::ReadOnly,
        (false, true) => S2ap::WriteOnly,
        (true, true) => S2ap::ReadWrite,
    }
}

/// Where both permit it (DDI 0487, D8 "Stage 2 instruction execution").
const fn execute(guest: Xn, canonical: Xn) -> Xn {
    match (guest, canonical) {
        (Xn::Everywhere, other) | (other, Xn::Everywhere) => other,
        (Xn::OnlyEl0, Xn::OnlyEl0) => Xn::OnlyEl0,
        (Xn::OnlyEl1, Xn::OnlyEl1) => Xn::OnlyEl1,
        _ => Xn::Nowhere,
    }
}

/// The memory type that stands for both in turn (DDI 0487, D8 "Memory region attributes", and J1.1,
/// S2CombineS1MemAttrs and AArch64.S2ApplyFWBMemAttrs). The canonical one says which scheme the result is in.
const fn memory(guest: MemoryType, canonical: MemoryType) -> MemoryType {
    match (guest, canonical) {
        (
            MemoryType::ForceWriteBack
            | MemoryType::StageOne
            | MemoryType::Normal {
                inner: Cacheability::WriteBack,
                outer: Cacheability::WriteBack,
            },
            MemoryType::ForceWriteBack,
        ) => MemoryType::ForceWriteBack,
        (MemoryType::Device(guest), MemoryType::Device(canonical)) => {
            MemoryType::Device(stricter(guest, canonical))
        }
        (MemoryType::Device(device), _) | (_, MemoryType::Device(device)) => {
            MemoryType::Device(device)
        }
        (
            MemoryType::Normal { inner, outer },
            MemoryType::Normal {
                inner: canonical_inner,
                outer: canonical_outer,
            },
        ) => MemoryType::Normal {
            inner: less(inner, canonical_inner),
            outer: less(outer, canonical_outer),
        },
        (MemoryType::NonCacheable, MemoryType::Normal { .. }) => MemoryType::Normal {
            inner: Cacheability::NonCacheable,
            outer: Cacheability::NonCacheable,
        },
        // FEAT_S2FWB is not advertised where the hardware lacks it, so nothing has to be forced here.
        (_, MemoryType::Normal { inner, outer }) => MemoryType::Normal { inner, outer },
        (
            MemoryType::ForceWriteBack | MemoryType::StageOne | MemoryType::NonCacheable,
            MemoryType::StageOne,
        ) => guest,
        (
            MemoryType::Normal {
                inner: Cacheability::WriteBack,
                outer: Cacheability::WriteBack,
            },
            MemoryType::StageOne,
        ) => MemoryType::StageOne,
        (_, MemoryType::ForceWriteBack | MemoryType::StageOne | MemoryType::NonCacheable) => {
            MemoryType::NonCacheable
        }
        (_, MemoryType::Reserved(_)) => MemoryType::Device(Device::NGnRnE),
    }
}

const fn stricter(one: Device, other: Device) -> Device {
    if (one as u8) < other as u8 {
        one
    } else {
        other
    }
}

const fn less(one: Cacheability, other: Cacheability) -> Cacheability {
    if (one as u8) < other as u8 {
        one
    } else {
        other
    }
}

#[cfg(test)]
mod tests;
