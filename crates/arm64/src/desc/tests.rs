use crate::granule::Granule;

use super::*;

const PLAIN: LeafAttributes = LeafAttributes {
    memory: MemAttr::WRITE_BACK,
    access: S2ap::ReadWrite,
    shareability: Shareability::Inner,
    execute: Xn::Everywhere,
    is_accessed: true,
    is_dirty_managed: false,
    is_contiguous: false,
    software: 0,
};

fn leaf(output: u64) -> Leaf {
    Leaf {
        output: Pa(output),
        attributes: PLAIN,
    }
}

#[test]
fn leaves_have_the_bits_that_the_manual_draws() {
    // MemAttr 0b1111 at [5:2], S2AP 0b11 at [7:6], SH 0b11 at [9:8], AF at 10: 0x7fc.
    let page =
        Descriptor::Page(leaf(0x1234_5678_9000)).encode(Format::narrow(Granule::Kib4), Level::L3);
    assert_eq!(page, Some(RawDescriptor(0x1234_5678_97ff)));
    let block =
        Descriptor::Block(leaf(0x8020_0000)).encode(Format::narrow(Granule::Kib4), Level::L2);
    assert_eq!(block, Some(RawDescriptor(0x8020_07fd)));

    let guarded = Leaf {
        output: Pa(0x4000_0000),
        attributes: LeafAttributes {
            memory: MemAttr::DEVICE_NGNRE,
            access: S2ap::ReadOnly,
            shareability: Shareability::Outer,
            execute: Xn::Nowhere,
            is_accessed: false,
            is_dirty_managed: true,
            is_contiguous: true,
            software: 0b1010,
        },
    };
    // 0b01<<2 | 0b01<<6 | 0b10<<8 | DBM<<51 | Contiguous<<52 | 0b10<<53 | 0b1010<<55 | 0b01
    assert_eq!(
        Descriptor::Block(guarded).encode(Format::narrow(Granule::Kib4), Level::L1),
        Some(RawDescriptor(0x0558_0000_4000_0245))
    );
}

#[test]
fn every_attribute_field_survives_the_round_trip() {
    // Bits 2 to 10 and 51 to 58 are all the attribute bits there are: 2^17 leaves.
    for low in 0..1u64 << 9 {
        for high in 0..1u64 << 8 {
            let raw = RawDescriptor(high << 51 | 0x1234_5678_9000 | low << 2 | 0b11);
            let decoded = raw.decode(Format::narrow(Granule::Kib4), Level::L3);
            assert_eq!(
                decoded.encode(Format::narrow(Granule::Kib4), Level::L3),
                Some(raw)
            );
        }
    }
}

#[test]
fn the_output_address_begins_where_the_leaf_ends() {
    let cases = [
        (Granule::Kib4, Level::L3, 0xffff_ffff_f000),
        (Granule::Kib4, Level::L2, 0xffff_ffe0_0000),
        (Granule::Kib4, Level::L1, 0xffff_c000_0000),
        (Granule::Kib16, Level::L3, 0xffff_ffff_c000),
        (Granule::Kib16, Level::L2, 0xffff_fe00_0000),
        (Granule::Kib64, Level::L3, 0xffff_ffff_0000),
        (Granule::Kib64, Level::L2, 0xffff_e000_0000u64),
    ];
    for (granule, level, top) in cases {
        let descriptor = Descriptor::leaf(Format::narrow(granule), level, leaf(top))
            .expect("the level has leaves");
        let raw = descriptor
            .encode(Format::narrow(granule), level)
            .expect("aligned");
        assert_eq!(
            raw.decode(Format::narrow(granule), level),
            descriptor,
            "{granule:?} {level:?}"
        );

        let step = granule.entry_bytes(level).expect("fits");
        for wrong in [top | step >> 1, top | 1 << 48, top | 1 << 63] {
            let wrong = Descriptor::leaf(Format::narrow(granule), level, leaf(wrong))
                .expect("the level has leaves");
            assert_eq!(wrong.encode(Format::narrow(granule), level), None);
        }
    }
}

#[test]
fn a_descriptor_stands_only_at_levels_that_have_it() {
    for granule in Granule::ALL {
        for level in Level::ALL {
            let kind = Format::narrow(granule).leaf_at(level);
            let encodes = |descriptor: Descriptor| {
                descriptor.encode(Format::narrow(granule), level).is_some()
            };
            assert_eq!(
                encodes(Descriptor::Page(leaf(0))),
                kind == Some(LeafKind::Page)
            );
            assert_eq!(
                encodes(Descriptor::Block(leaf(0))),
                kind == Some(LeafKind::Block)
            );
            assert_eq!(encodes(Descriptor::Table(Pa(0))), level != Level::L3);
            assert_eq!(
                Descriptor::leaf(Format::narrow(granule), level, leaf(0)).is_some(),
                kind.is_some()
            );
        }
    }
}

#[test]
fn reserved_descriptors_are_invalid() {
    for granule in Granule::ALL {
        for level in Level::ALL {
            for kind in 0..4 {
                let decoded = RawDescriptor(kind).decode(Format::narrow(granule), level);
                let is_invalid = match kind {
                    0 | 2 => true,
                    1 => !matches!(
                        Format::narrow(granule).leaf_at(level),
                        Some(LeafKind::Block)
                    ),
                    _ => false,
                };
                assert_eq!(decoded == Descriptor::Invalid, is_invalid);
            }
        }
    }
}

#[test]
fn a_table_address_is_a_multiple_of_the_granule() {
    for (granule, bytes) in [
        (Granule::Kib4, 0x1000),
        (Granule::Kib16, 0x4000),
        (Granule::Kib64, 0x1_0000u64),
    ] {
        let table = |pa| Descriptor::Table(Pa(pa)).encode(Format::narrow(granule), Level::L1);
        assert_eq!(table(bytes), Some(RawDescriptor(bytes | 3)));
        assert_eq!(table(bytes / 2), None);
        assert_eq!(table(1 << 48), None);
        // A walker takes only the address bits.
        assert_eq!(
            RawDescriptor(0xfff0_0000_0000_0fff | bytes).decode(Format::narrow(granule), Level::L1),
            Descriptor::Table(Pa(bytes))
        );
    }
}

#[test]
fn memory_attributes_read_by_their_scheme() {
    use AttributeScheme::{Combine, Force};
    use Cacheability::{NonCacheable, WriteBack, WriteThrough};
    let normal = |outer, inner| MemoryType::Normal { inner, outer };
    // MemAttr, with FWB = 0, with FWB = 1.
    let expected = [
        (
            MemoryType::Device(Device::NGnRnE),
            MemoryType::Device(Device::NGnRnE),
        ),
        (
            MemoryType::Device(Device::NGnRE),
            MemoryType::Device(Device::NGnRE),
        ),
        (
            MemoryType::Device(Device::NGRE),
            MemoryType::Device(Device::NGRE),
        ),
        (
            MemoryType::Device(Device::GRE),
            MemoryType::Device(Device::GRE),
        ),
        (MemoryType::Reserved(4), MemoryType::Reserved(4)),
        (normal(NonCacheable, NonCacheable), MemoryType::NonCacheable),
        (
            normal(NonCacheable, WriteThrough),
            MemoryType::ForceWriteBack,
        ),
        (normal(NonCacheable, WriteBack), MemoryType::StageOne),
        (MemoryType::Reserved(8), MemoryType::Reserved(8)),
        (normal(WriteThrough, NonCacheable), MemoryType::Reserved(9)),
        (normal(WriteThrough, WriteThrough), MemoryType::Reserved(10)),
        (normal(WriteThrough, WriteBack), MemoryType::Reserved(11)),
        (MemoryType::Reserved(12), MemoryType::Reserved(12)),
        (normal(WriteBack, NonCacheable), MemoryType::Reserved(13)),
        (normal(WriteBack, WriteThrough), MemoryType::Reserved(14)),
        (normal(WriteBack, WriteBack), MemoryType::Reserved(15)),
    ];
    for (bits, (combine, force)) in expected.into_iter().enumerate() {
        let attr = MemAttr::new(u8::try_from(bits).expect("16 values"));
        for (scheme, meaning) in [(Combine, combine), (Force, force)] {
            assert_eq!(attr.decode(scheme), meaning, "{attr:?} {scheme:?}");
            let is_reserved = matches!(meaning, MemoryType::Reserved(_));
            assert_eq!(
                MemAttr::encode(meaning, scheme),
                (!is_reserved).then_some(attr)
            );
        }
    }
    assert_eq!(MemAttr::encode(MemoryType::ForceWriteBack, Combine), None);
    assert_eq!(MemAttr::encode(normal(WriteBack, WriteBack), Force), None);
}

#[test]
fn named_attributes_mean_what_they_say() {
    use AttributeScheme::{Combine, Force};
    for scheme in [Combine, Force] {
        assert_eq!(
            MemAttr::DEVICE_NGNRE.decode(scheme),
            MemoryType::Device(Device::NGnRE)
        );
    }
    assert_eq!(
        MemAttr::FORCE_WRITE_BACK.decode(Force),
        MemoryType::ForceWriteBack
    );
    assert_eq!(
        MemAttr::WRITE_BACK.decode(Combine),
        MemoryType::Normal {
            inner: Cacheability::WriteBack,
            outer: Cacheability::WriteBack
        }
    );
}

#[test]
fn s2ap_permits_what_its_bits_say() {
    assert!(S2ap::ReadWrite.can_read() && S2ap::ReadWrite.can_write());
    assert!(S2ap::ReadOnly.can_read() && !S2ap::ReadOnly.can_write());
    assert!(!S2ap::WriteOnly.can_read() && S2ap::WriteOnly.can_write());
    assert!(!S2ap::None.can_read() && !S2ap::None.can_write());
}
