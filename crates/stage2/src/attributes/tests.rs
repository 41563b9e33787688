use droste_arm64::desc::{Descriptor, Format, Leaf};
use droste_arm64::{Granule, Level, Pa};

use super::*;

const ACCESSES: [Access; 4] = [
    Access::Read,
    Access::Write,
    Access::Execute(Privilege::El0),
    Access::Execute(Privilege::El1),
];
const DATA: [S2ap; 4] = [S2ap::None, S2ap::ReadOnly, S2ap::WriteOnly, S2ap::ReadWrite];
const EXECUTE: [Xn; 4] = [Xn::Everywhere, Xn::OnlyEl0, Xn::Nowhere, Xn::OnlyEl1];

fn raw(attributes: Attributes, scheme: AttributeScheme) -> RawDescriptor {
    let leaf = Leaf {
        output: Pa(0),
        attributes: attributes.leaf(scheme),
    };
    Descriptor::Page(leaf)
        .encode(Format::narrow(Granule::Kib4), Level::L3)
        .expect("aligned")
}

/// All permissions there are.
fn permissions() -> impl Iterator<Item = Attributes> {
    DATA.into_iter().flat_map(|access| {
        EXECUTE.into_iter().map(move |execute| Attributes {
            access,
            execute,
            ..Attributes::RAM
        })
    })
}

/// The accesses that a leaf permits, as bits.
fn permitted(leaf: RawDescriptor) -> u32 {
    (0..).zip(ACCESSES).fold(0, |set, (bit, access)| {
        set | u32::from(leaf_permits(leaf, access)) << bit
    })
}

#[test]
fn descriptors_match_those_worked_out_by_hand() {
    // AF<<10 | SH<<8 | S2AP<<6 | MemAttr<<2 | 3, XN=2<<53.
    let xn = 0x40_0000_0000_0000;
    let uncached = Attributes {
        memory: Memory::NonCacheable,
        ..Attributes::DATA
    };
    let strict = Attributes {
        memory: Memory::Device(Device::NGnRnE),
        ..Attributes::DATA
    };
    let gathering = Attributes {
        memory: Memory::Device(Device::GRE),
        ..Attributes::DATA
    };
    for (attributes, combine, force) in [
        (Attributes::READ_ONLY, 0x77f | xn, 0x75b | xn),
        (Attributes::ROM, 0x77f, 0x75b),
        (Attributes::DATA, 0x7ff | xn, 0x7db | xn),
        (Attributes::RAM, 0x7ff, 0x7db),
        (Attributes::DEVICE, 0x6c7 | xn, 0x6c7 | xn),
        (strict, 0x6c3 | xn, 0x6c3 | xn),
        (gathering, 0x6cf | xn, 0x6cf | xn),
        (uncached, 0x6d7 | xn, 0x6d7 | xn),
    ] {
        let by = |scheme| raw(attributes, scheme).0;
        assert_eq!(by(AttributeScheme::Combine), combine, "{attributes:?}");
        assert_eq!(by(AttributeScheme::Force), force, "{attributes:?}");
    }
}

#[test]
fn the_owners_bits_are_kept_and_no_more_than_four() {
    for software in 0..=u8::MAX {
        let attributes = Attributes {
            software,
            ..Attributes::RAM
        };
        let leaf = raw(attributes, AttributeScheme::Combine);
        assert_eq!(leaf.0, 0x7ff | u64::from(software & 15) << 55);
    }
}

#[test]
fn a_leaf_permits_exactly_what_its_attributes_do() {
    for attributes in permissions() {
        for access in ACCESSES {
            for scheme in [AttributeScheme::Combine, AttributeScheme::Force] {
                let leaf = raw(attributes, scheme);
                assert_eq!(leaf_permits(leaf, access), attributes.permits(access));
            }
        }
    }
}

#[test]
fn each_permission_is_what_the_manual_says() {
    // DDI 0487, D8 "Stage 2 data accesses" and "Stage 2 instruction execution".
    let expected = |data: S2ap, execute: Xn| {
        [
            data as u8 & 1 != 0,
            data as u8 & 2 != 0,
            execute as u8 == 0 || execute as u8 == 1,
            execute as u8 == 0 || execute as u8 == 3,
        ]
    };
    for attributes in permissions() {
        let found = ACCESSES.map(|access| attributes.permits(access));
        assert_eq!(found, expected(attributes.access, attributes.execute));
    }
}

#[test]
fn read_only_takes_the_store_and_nothing_else() {
    for attributes in permissions() {
        let narrowed = attributes.read_only();
        for access in ACCESSES {
            let expected = access != Access::Write && attributes.permits(access);
            assert_eq!(narrowed.permits(access), expected);
        }
        assert_eq!(
            Attributes {
                access: attributes.access,
                ..narrowed
            },
            attributes
        );
    }
}

#[test]
fn widening_adds_the_access_that_is_asked_for_and_no_other_kind() {
    let scheme = AttributeScheme::Combine;
    for allowed in permissions() {
        for access in ACCESSES
            .into_iter()
            .filter(|access| allowed.permits(*access))
        {
            for has in permissions() {
                let before = raw(has, scheme);
                let is_narrower = permitted(before) & !permitted(raw(allowed, scheme)) == 0;
                if !is_narrower || leaf_permits(before, access) {
                    continue;
                }
                let after = permitting(before, access, allowed);
                let expected = match access {
                    Access::Read => permitted(before) | 0b0001,
                    Access::Write => permitted(before) | 0b0010,
                    // Both levels at once: one fault tells of one, and the slot permits them alike.
                    Access::Execute(_) => {
                        permitted(before) & 0b0011 | permitted(raw(allowed, scheme)) & 0b1100
                    }
                };
                assert_eq!(permitted(after), expected, "{has:?} {access:?} {allowed:?}");
                let rest = !(3 << 6 | 3 << 53);
                assert_eq!(after.0 & rest, before.0 & rest);
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

#[test]
fn device_memory_is_told_from_all_other() {
    assert!(Attributes::DEVICE.is_device());
    for memory in [Memory::WriteBack, Memory::NonCacheable] {
        assert!(
            !Attributes {
                memory,
                ..Attributes::DEVICE
            }
            .is_device()
        );
    }
}
