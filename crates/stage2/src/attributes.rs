//! What a mapping permits and how it is cached.

use droste_arm64::IdRegisters;
use droste_arm64::desc::{
    AttributeScheme, Cacheability, Device, LeafAttributes, MemAttr, MemoryType, RawDescriptor,
    S2ap, Shareability, Xn,
};

/// The exception level of an instruction fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Privilege {
    /// EL0.
    El0,
    /// EL1.
    El1,
}

/// What a guest does to an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Loads, and reads of the stage-1 walker.
    Read,
    /// Stores.
    Write,
    /// Instruction fetches. Their exception level matters only with FEAT_XNX.
    Execute(Privilege),
}

/// The memory type that stage 2 gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// Normal Inner and Outer Write-Back, Inner Shareable. With FEAT_S2FWB that holds whatever the guest's stage 1
    /// says; without it, the guest can make the memory less cacheable.
    WriteBack,
    /// Normal Non-cacheable; where the guest's stage 1 says Device, it is that.
    NonCacheable,
    /// Device memory.
    Device(Device),
    /// Memory that is accessed like a device. Caches may hold what was written to it through other mappings.
    AsDevice(Device),
}

/// Memory type and permissions of a mapping, and four bits for its owner.
///
/// ```
/// use droste_stage2::{Access, Attributes, Privilege};
/// assert!(Attributes::RAM.permits(Access::Write));
/// assert!(!Attributes::DEVICE.permits(Access::Execute(Privilege::El1)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// Memory type.
    pub memory: Memory,
    /// Loads and stores.
    pub access: S2ap,
    /// Instruction fetches. Separate permissions for EL0 and EL1 need FEAT_XNX.
    pub execute: Xn,
    /// Descriptor bits \[58:55\], 0 to 15, kept as they are for whoever mapped it; higher bits are dropped.
    pub software: u8,
}

impl Attributes {
    /// Write-Back memory to read, write and execute.
    pub const RAM: Self = Self {
        memory: Memory::WriteBack,
        access: S2ap::ReadWrite,
        execute: Xn::Everywhere,
        software: 0,
    };
    /// Write-Back memory to read and execute.
    pub const ROM: Self = Self {
        access: S2ap::ReadOnly,
        ..Self::RAM
    };
    /// Write-Back memory to read and write.
    pub const DATA: Self = Self {
        execute: Xn::Nowhere,
        ..Self::RAM
    };
    /// Write-Back memory to read only.
    pub const READ_ONLY: Self = Self {
        access: S2ap::ReadOnly,
        ..Self::DATA
    };
    /// Device-nGnRE, to read and write.
    pub const DEVICE: Self = Self {
        memory: Memory::Device(Device::NGnRE),
        ..Self::DATA
    };

    /// Whether these permit a guest's `access`.
    pub const fn permits(self, access: Access) -> bool {
        permits(self.access, self.execute, access)
    }

    /// The same without the permission to write.
    #[must_use]
    pub const fn read_only(self) -> Self {
        Self {
            access: without_write(self.access),
            ..self
        }
    }

    pub(crate) const fn is_device(self) -> bool {
        matches!(self.memory, Memory::Device(_) | Memory::AsDevice(_))
    }

    /// The leaf's fields, with the access flag set: a fault on the first use would tell nobody anything.
    pub(crate) const fn leaf(self, scheme: AttributeScheme) -> LeafAttributes {
        let memory = match (self.memory, scheme) {
            (Memory::Device(device) | Memory::AsDevice(device), _) => MemoryType::Device(device),
            (Memory::WriteBack, AttributeScheme::Combine) => MemoryType::Normal {
                inner: Cacheability::WriteBack,
                outer: Cacheability::WriteBack,
            },
            (Memory::WriteBack, AttributeScheme::Force) => MemoryType::ForceWriteBack,
            (Memory::NonCacheable, AttributeScheme::Combine) => MemoryType::Normal {
                inner: Cacheability::NonCacheable,
                outer: Cacheability::NonCacheable,
            },
            (Memory::NonCacheable, AttributeScheme::Force) => MemoryType::NonCacheable,
        };
        LeafAttributes {
            memory: match MemAttr::encode(memory, scheme) {
                Some(bits) => bits,
                None => MemAttr::DEVICE_NGNRE,
            },
            access: self.access,
            // Non-cacheable and Device memory are Outer Shareable whatever is written.
            shareability: match self.memory {
                Memory::WriteBack => Shareability::Inner,
                Memory::NonCacheable | Memory::Device(_) | Memory::AsDevice(_) => {
                    Shareability::Outer
                }
            },
            execute: self.execute,
            is_accessed: true,
            is_dirty_managed: false,
            is_contiguous: false,
            software: self.software,
        }
    }
}

/// The scheme that the table's leaves are written for: [`AttributeScheme::Force`] where FEAT_S2FWB exists. The guest
/// then runs with HCR_EL2.FWB set, and without it otherwise.
pub const fn scheme(ids: &IdRegisters) -> AttributeScheme {
    if ids.has_fwb() {
        AttributeScheme::Force
    } else {
        AttributeScheme::Combine
    }
}

/// Whether a leaf permits an access.
#[inline]
pub(crate) const fn leaf_permits(leaf: RawDescriptor, access: Access) -> bool {
    permits(leaf.access(), leaf.execute(), access)
}

/// A leaf that permits an access more, as far as `allowed` does, and nothing else.
#[inline]
pub(crate) const fn permitting(
    leaf: RawDescriptor,
    access: Access,
    allowed: Attributes,
) -> RawDescriptor {
    let has = leaf.access();
    match access {
        // What one exception level may do already stays with it.
        Access::Execute(_) => leaf.with_execute(match leaf.execute() {
            Xn::Nowhere => allowed.execute,
            Xn::Everywhere | Xn::OnlyEl0 | Xn::OnlyEl1 => Xn::Everywhere,
        }),
        Access::Read if has.can_write() => leaf.with_access(S2ap::ReadWrite),
        Access::Read => leaf.with_access(S2ap::ReadOnly),
        Access::Write if has.can_read() => leaf.with_access(S2ap::ReadWrite),
        Access::Write => leaf.with_access(S2ap::WriteOnly),
    }
}

/// A permission to load and store without the storing.
const fn without_write(access: S2ap) -> S2ap {
    if access.can_read() {
        S2ap::ReadOnly
    } else {
        S2ap::None
    }
}

#[inline]
const fn permits(access: S2ap, execute: Xn, wanted: Access) -> bool {
    match wanted {
        Access::Read => access.can_read(),
        Access::Write => access.can_write(),
        Access::Execute(Privilege::El0) => matches!(execute, Xn::Everywhere | Xn::OnlyEl0),
        Access::Execute(Privilege::El1) => matches!(execute, Xn::Everywhere | Xn::OnlyEl1),
    }
}

#[cfg(test)]
mod tests;
