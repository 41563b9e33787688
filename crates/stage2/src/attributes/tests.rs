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
