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

/// The attribute bits of a leaf: 2 to 10 and 51 to 58, without those that hold an address in the format.
fn attribute_bits(format: Format) -> u64 {
    let bits = 0x1ff << 2 | 0xff << 51;
    match format.output() {
        OutputFormat::Lpa2 => bits & !(3 << 8),
        _ => bits,
    }
}

/// Every value of the bits of `mask`.
fn each_subset(mask: u64) -> impl Iterator<Item = u64> {
    let mut next = Some(0);
    core::iter::from_fn(move || {
        let value = next?;
        // The carry runs through the bits that the mask lacks.
        let after = (value | !mask).wrapping_add(1) & mask;
        next = (after != 0).then_some(after);
        Some(value)
    })
}

#[test]
fn every_attribute_field_survives_the_round_trip_in_every_format() {
    for format in Format::ALL {
        for level in Level::ALL {
            let Some(kind) = format.leaf_at(level) else {
                continue;
            };
            let low = if kind == LeafKind::Page { 0b11 } else { 0b01 };
            for bits in each_subset(attribute_bits(format)) {
                let raw = RawDescriptor(bits | 1 << 47 | low);
                let decoded = raw.decode(format, level);
                assert_eq!(decoded.encode(format, level), Some(raw), "{format:?}");
            }
        }
    }
}

/// Where each bit of an output address stands in a descriptor, from the drawings of D8.3.
fn place(format: Format, bit: u32) -> u32 {
    match (format.output(), bit) {
        (OutputFormat::Lpa, 48..) => bit - 48 + 12,
        (OutputFormat::Lpa2, 50..) => bit - 50 + 8,
        _ => bit,
    }
}

#[test]
fn every_address_bit_stands_where_the_manual_draws_it() {
    for format in Format::ALL {
        let top = format.address_bits();
        let page = format.granule().page_bytes().trailing_zeros();
        for bit in 0..64 {
            let pa = Pa(1 << bit);
            let table = Descriptor::Table(pa).encode(format, Level::L2);
            let expected = (page..top)
                .contains(&bit)
                .then(|| RawDescriptor(1 << place(format, bit) | 3));
            assert_eq!(table, expected, "{format:?} {bit}");
            for level in Level::ALL {
                let Some(descriptor) = Descriptor::leaf(format, level, leaf(pa.0)) else {
                    continue;
                };
                let size = format.granule().entry_bytes(level).expect("fits");
                let raw = descriptor.encode(format, level);
                let is_address = (size.trailing_zeros()..top).contains(&bit);
                assert_eq!(raw.is_some(), is_address, "{format:?} {level:?} {bit}");
                if let Some(raw) = raw {
                    let empty = Descriptor::leaf(format, level, leaf(0))
                        .and_then(|leaf| leaf.encode(format, level))
                        .expect("aligned");
                    assert_eq!(raw.0 ^ empty.0, 1 << place(format, bit));
                    assert_eq!(raw.output(format, level), pa);
                }
            }
        }
    }
}

#[test]
fn wide_leaves_have_the_bits_worked_out_by_hand() {
    // Address bits [51:50] = 0b10 at [9:8], where SH stood.
    let page = Descriptor::Page(leaf(0x8_1234_5678_9000));
    assert_eq!(
        page.encode(Format::wide(Granule::Kib4), Level::L3),
        Some(RawDescriptor(0x1234_5678_96ff))
    );
    // Address bits [49:48] stay.
    let page = Descriptor::Page(leaf(0x7_0000_0000_4000));
    assert_eq!(
        page.encode(Format::wide(Granule::Kib16), Level::L3),
        Some(RawDescriptor(0x3_0000_0000_45ff))
    );
    // Address bits [51:48] = 0xa at [15:12].
    let page = Descriptor::Page(leaf(0xa_1234_5678_0000));
    assert_eq!(
        page.encode(Format::wide(Granule::Kib64), Level::L3),
        Some(RawDescriptor(0x1234_5678_a7ff))
    );
    // A block of 512 GiB.
    let block = Descriptor::Block(leaf(0x4_0080_0000_0000));
    assert_eq!(
        block.encode(Format::wide(Granule::Kib4), Level::L0),
        Some(RawDescriptor(0x80_0000_05fd))
    );
}

#[test]
fn shareability_is_the_registers_in_the_format_without_a_field_for_it() {
    for shareability in [
        Shareability::Non,
        Shareability::Reserved,
        Shareability::Outer,
        Shareability::Inner,
    ] {
        let mut asked = leaf(0);
        asked.attributes.shareability = shareability;
        for format in Format::ALL {
            let raw = Descriptor::Page(asked).encode(format, Level::L3);
            let Some(Descriptor::Page(found)) = raw.map(|raw| raw.decode(format, Level::L3)) else {
                panic!("a page is encoded and comes back as one");
            };
            let expected = match format.output() {
                OutputFormat::Lpa2 => Shareability::Inner,
                _ => shareability,
            };
            assert_eq!(found.attributes.shareability, expected);
            assert_eq!(found.output, Pa(0));
        }
    }
}

/// Bits that stand for all that the codec looks at: type, AF, nT, an address bit of each place, and noise.
const CORNERS: u64 = 0b11 | 3 << 6 | 3 << 8 | 1 << 10 | 9 << 12 | 1 << 16 | 1 << 47 | 3 << 48;

#[test]
fn fields_of_raw_descriptors_agree_with_the_codec() {
    for format in Format::ALL {
        for level in Level::ALL {
            for bits in each_subset(CORNERS) {
                let raw = RawDescriptor(bits | 0xfa50_0000_0000_0014);
                let kind = raw.kind(format, level);
                assert_eq!(raw.is_table(level), kind == Kind::Table);
                match (raw.decode(format, level), kind) {
                    (Descriptor::Invalid, Kind::Invalid) => {}
                    (Descriptor::Table(pa), Kind::Table) => {
                        assert_eq!(raw.table_address(format), pa);
                    }
                    (Descriptor::Block(leaf) | Descriptor::Page(leaf), Kind::Leaf) => {
                        assert_eq!(raw.output(format, level), leaf.output);
                        assert_eq!(raw.attributes(format), leaf.attributes);
                        agree(raw, leaf.attributes);
                    }
                    other => panic!("{format:?} {level:?} {raw:?}: {other:?}"),
                }
            }
        }
    }
}

fn agree(raw: RawDescriptor, attributes: LeafAttributes) {
    assert_eq!(raw.access(), attributes.access);
    assert_eq!(raw.can_write(), attributes.access.can_write());
    assert_eq!(raw.execute(), attributes.execute);
    assert_eq!(raw.software(), attributes.software);
    assert_eq!(raw.is_accessed(), attributes.is_accessed);
    assert_eq!(raw.is_dirty_managed(), attributes.is_dirty_managed);
    assert_eq!(raw.is_contiguous(), attributes.is_contiguous);
}

#[test]
fn a_changed_field_changes_nothing_else() {
    let access = [S2ap::None, S2ap::ReadOnly, S2ap::WriteOnly, S2ap::ReadWrite];
    let execute = [Xn::Everywhere, Xn::OnlyEl0, Xn::Nowhere, Xn::OnlyEl1];
    for raw in [0, u64::MAX, 0x5555_5555_5555_5555, 0xaaaa_aaaa_aaaa_aaaa].map(RawDescriptor) {
        let is_only = |changed: RawDescriptor, mask: u64| (raw.0 ^ changed.0) & !mask == 0;
        for (field, access) in (0..).zip(access) {
            let changed = raw.with_access(access);
            assert!(changed.access() == access && is_only(changed, 3 << 6));
            assert_eq!(changed.0 >> 6 & 3, field);
            assert_eq!(changed.without_write().0 >> 6 & 3, field & 1);
            assert!(is_only(changed.without_write(), 3 << 6));
        }
        for (field, execute) in (0..).zip(execute) {
            let changed = raw.with_execute(execute);
            assert!(changed.execute() == execute && is_only(changed, 3 << 53));
            assert_eq!(changed.0 >> 53 & 3, field);
        }
        for software in 0..=u8::MAX {
            let changed = raw.with_software(software);
            assert!(changed.software() == software & 15 && is_only(changed, 15 << 55));
        }
        for (bit, set, clear, is_set) in [
            (10, raw.accessed(), raw.unaccessed(), raw.is_accessed()),
            (
                51,
                raw.dirty_managed(),
                raw.not_dirty_managed(),
                raw.is_dirty_managed(),
            ),
            (
                52,
                raw.contiguous(),
                raw.not_contiguous(),
                raw.is_contiguous(),
            ),
            (16, raw.with_nt(), raw.without_nt(), raw.is_nt()),
        ] {
            assert_eq!(set.0, raw.0 | 1 << bit);
            assert_eq!(clear.0, raw.0 & !(1 << bit));
            assert_eq!(is_set, raw == set);
        }
    }
}

#[test]
fn another_output_takes_the_place_of_the_old_and_of_nothing_else() {
    for format in Format::ALL {
        for level in Level::ALL {
            let make = |output| {
                Descriptor::leaf(format, level, leaf(output))
                    .and_then(|leaf| leaf.encode(format, level))
                    .expect("a level with leaves, an aligned output")
            };
            if format.leaf_at(level).is_none() {
                continue;
            }
            let size = format.granule().entry_bytes(level).expect("fits");
            let highest = (1 << format.address_bits()) - size;
            for from in [0, highest] {
                // With bits that no leaf of the level holds.
                for noise in [0, size - 1, !0 << format.address_bits()] {
                    for to in [0, size, highest] {
                        let moved = make(from).with_output(format, level, Pa(to | noise));
                        assert_eq!(moved, make(to), "{format:?} {level:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_block_keeps_its_output_whatever_nt_says() {
    for format in Format::ALL {
        for level in Level::ALL {
            if format.leaf_at(level) == Some(LeafKind::Block) {
                let block = Descriptor::Block(leaf(1 << 46));
                let raw = block.encode(format, level).expect("aligned");
                assert_eq!(raw.with_nt().decode(format, level), block);
            }
        }
    }
}

#[test]
fn leaves_stand_at_the_levels_of_the_manual() {
    // Levels −1 to 3, D8.3 "Block descriptor and Page descriptor formats".
    let (none, block, page) = (None, Some(LeafKind::Block), Some(LeafKind::Page));
    let narrow = [none, none, none, block, page];
    let wider = [none, none, block, block, page];
    let widest = [none, block, block, block, page];
    for (format, row) in [
        (Format::narrow(Granule::Kib4), wider),
        (Format::narrow(Granule::Kib16), narrow),
        (Format::narrow(Granule::Kib64), narrow),
        (Format::wide(Granule::Kib4), widest),
        (Format::wide(Granule::Kib16), wider),
        (Format::wide(Granule::Kib64), wider),
    ] {
        for (level, expected) in Level::ALL.into_iter().zip(row) {
            assert_eq!(format.leaf_at(level), expected, "{format:?} {level:?}");
        }
    }
}

#[test]
fn runs_of_contiguous_leaves_are_as_large_as_the_manual_says() {
    // Bytes of a run at levels 1, 2 and 3: Table D8-104 "Alignment of contiguous OA range". 0 for no run.
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    for (granule, runs) in [
        (Granule::Kib4, [16 * GIB, 32 * MIB, 64 << 10]),
        (Granule::Kib16, [0, GIB, 2 * MIB]),
        (Granule::Kib64, [0, 16 * GIB, 2 * MIB]),
    ] {
        for format in [Format::narrow(granule), Format::wide(granule)] {
            for (level, run) in [Level::L1, Level::L2, Level::L3].into_iter().zip(runs) {
                let entries = format.contiguous_entries(level);
                let bytes = entries * granule.entry_bytes(level).expect("fits");
                assert!(bytes == run || run == 0 && entries == 1, "{format:?}");
            }
            assert_eq!(format.contiguous_entries(Level::L0), 1);
            assert_eq!(format.contiguous_entries(Level::Minus1), 1);
        }
    }
}

#[test]
fn a_format_has_a_granule_that_has_it() {
    use OutputFormat::{Bits48, Lpa, Lpa2};
    for granule in Granule::ALL {
        let of = |output| Format::new(granule, output);
        assert_eq!(of(Bits48), Some(Format::narrow(granule)));
        let (has, lacks) = match granule {
            Granule::Kib64 => (Lpa, Lpa2),
            _ => (Lpa2, Lpa),
        };
        assert_eq!(of(has), Some(Format::wide(granule)));
        assert_eq!(of(lacks), None);
    }
}

#[test]
fn a_descriptor_stands_only_at_levels_that_have_it() {
    for format in Format::ALL {
        for level in Level::ALL {
            let kind = format.leaf_at(level);
            let encodes = |descriptor: Descriptor| descriptor.encode(format, level).is_some();
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
                Descriptor::leaf(format, level, leaf(0)).is_some(),
                kind.is_some()
            );
        }
    }
}

#[test]
fn reserved_descriptors_are_invalid() {
    for format in Format::ALL {
        for level in Level::ALL {
            for kind in 0..4 {
                let decoded = RawDescriptor(kind).decode(format, level);
                let is_invalid = match kind {
                    0 | 2 => true,
                    1 => !matches!(format.leaf_at(level), Some(LeafKind::Block)),
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
