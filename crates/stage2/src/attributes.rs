//! What a mapping permits and how it is cached.

use droste_arm64::IdRegisters;
use droste_arm64::desc::{AttributeScheme, LeafAttributes, MemAttr, S2ap, Shareability, Xn};

/// What a guest does to an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Loads, and reads of the stage-1 walker.
    Read,
    /// Stores.
    Write,
    /// Instruction fetches.
    Execute,
}

/// What a guest may do with memory. It can always read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permissions {
    /// Read.
    Read,
    /// Read and execute.
    ReadExecute,
    /// Read and write.
    ReadWrite,
    /// Read, write and execute.
    ReadWriteExecute,
}

/// Memory type and permissions of a mapping.
///
/// ```
/// use droste_stage2::{Access, Attributes, Permissions};
/// assert!(Attributes::Memory(Permissions::ReadExecute).permits(Access::Execute));
/// assert!(!Attributes::Device.permits(Access::Execute));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attributes {
    /// Normal Inner and Outer Write-Back, Inner Shareable memory. With FEAT_S2FWB it is so whatever the guest's
    /// stage 1 says; without, the guest can make it less cacheable.
    Memory(Permissions),
    /// Device-nGnRE, readable, writable, never executable.
    Device,
}

impl Attributes {
    /// Whether a guest may do this.
    pub const fn permits(self, access: Access) -> bool {
        use Permissions::{Read, ReadExecute, ReadWrite};
        match (self, access) {
            (_, Access::Read) | (Self::Device, Access::Write) => true,
            (Self::Device, Access::Execute) => false,
            (Self::Memory(p), Access::Write) => !matches!(p, Read | ReadExecute),
            (Self::Memory(p), Access::Execute) => !matches!(p, Read | ReadWrite),
        }
    }

    /// The leaf's fields. The access flag is set: nothing here ages pages, and a fault on first use would tell
    /// nobody anything.
    pub(crate) const fn leaf(self, scheme: AttributeScheme) -> LeafAttributes {
        let (memory, shareability) = match (self, scheme) {
            (Self::Device, _) => (MemAttr::DEVICE_NGNRE, Shareability::Outer),
            (Self::Memory(_), AttributeScheme::Combine) => {
                (MemAttr::WRITE_BACK, Shareability::Inner)
            }
            (Self::Memory(_), AttributeScheme::Force) => {
                (MemAttr::FORCE_WRITE_BACK, Shareability::Inner)
            }
        };
        LeafAttributes {
            memory,
            access: if self.permits(Access::Write) {
                S2ap::ReadWrite
            } else {
                S2ap::ReadOnly
            },
            shareability,
            execute: if self.permits(Access::Execute) {
                Xn::Everywhere
            } else {
                Xn::Nowhere
            },
            is_accessed: true,
            is_dirty_managed: false,
            is_contiguous: false,
            software: 0,
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

/// Whether a leaf permits an access at EL1.
pub(crate) const fn leaf_permits(leaf: LeafAttributes, access: Access) -> bool {
    match access {
        Access::Read => leaf.access.can_read(),
        Access::Write => leaf.access.can_write(),
        Access::Execute => matches!(leaf.execute, Xn::Everywhere | Xn::OnlyEl1),
    }
}

#[cfg(test)]
mod tests {
    use droste_arm64::desc::{Descriptor, Format, Leaf};
    use droste_arm64::{Granule, Level, Pa};

    use super::*;

    const ALL: [Attributes; 5] = [
        Attributes::Memory(Permissions::Read),
        Attributes::Memory(Permissions::ReadExecute),
        Attributes::Memory(Permissions::ReadWrite),
        Attributes::Memory(Permissions::ReadWriteExecute),
        Attributes::Device,
    ];

    fn raw(attributes: Attributes, scheme: AttributeScheme) -> u64 {
        let leaf = Leaf {
            output: Pa(0),
            attributes: attributes.leaf(scheme),
        };
        Descriptor::Page(leaf)
            .encode(Format::narrow(Granule::Kib4), Level::L3)
            .expect("aligned")
            .0
    }

    #[test]
    fn descriptors_match_those_worked_out_by_hand() {
        // AF<<10 | SH<<8 | S2AP<<6 | MemAttr<<2 | 3, XN=2<<53.
        let xn = 0x40_0000_0000_0000;
        let expected = [
            (0x77f | xn, 0x75b | xn),
            (0x77f, 0x75b),
            (0x7ff | xn, 0x7db | xn),
            (0x7ff, 0x7db),
            (0x6c7 | xn, 0x6c7 | xn),
        ];
        for (attributes, (combine, force)) in ALL.into_iter().zip(expected) {
            assert_eq!(
                raw(attributes, AttributeScheme::Combine),
                combine,
                "{attributes:?}"
            );
            assert_eq!(
                raw(attributes, AttributeScheme::Force),
                force,
                "{attributes:?}"
            );
        }
    }

    #[test]
    fn a_leaf_permits_exactly_what_its_attributes_do() {
        for attributes in ALL {
            for access in [Access::Read, Access::Write, Access::Execute] {
                for scheme in [AttributeScheme::Combine, AttributeScheme::Force] {
                    assert_eq!(
                        leaf_permits(attributes.leaf(scheme), access),
                        attributes.permits(access)
                    );
                }
            }
        }
    }

    #[test]
    fn forcing_write_back_follows_the_hardware() {
        assert_eq!(scheme(&IdRegisters::default()), AttributeScheme::Combine);
        let ids = IdRegisters {
            mmfr2: 1 << 40,
            ..IdRegisters::default()
        };
        assert_eq!(scheme(&ids), AttributeScheme::Force);
    }
}
