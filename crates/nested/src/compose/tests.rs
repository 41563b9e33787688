use std::vec::Vec;

use droste_arm64::desc::MemAttr;

use super::*;
use droste_arm64::desc::Shareability;

const CACHES: [Cacheability; 3] = [
    Cacheability::NonCacheable,
    Cacheability::WriteThrough,
    Cacheability::WriteBack,
];
const DEVICES: [Device; 4] = [Device::NGnRnE, Device::NGnRE, Device::NGRE, Device::GRE];
const ACCESSES: [S2ap; 4] = [S2ap::None, S2ap::ReadOnly, S2ap::WriteOnly, S2ap::ReadWrite];
const EXECUTES: [Xn; 4] = [Xn::Everywhere, Xn::OnlyEl0, Xn::Nowhere, Xn::OnlyEl1];

/// Every type of a scheme that has a meaning.
fn types(scheme: AttributeScheme) -> Vec<MemoryType> {
    (0..16)
        .map(|bits| MemAttr::new(bits).decode(scheme))
        .filter(|memory| !matches!(memory, MemoryType::Reserved(_)))
        .collect()
}

/// What memory is, to an access: smaller numbers are stricter. Device memory has 0 to 3 in both places, Normal memory
/// 4 to 6 for each level of cache.
type Kind = (u8, u8);

fn kinds() -> Vec<Kind> {
    let normal = (4..7).flat_map(|inner| (4..7).map(move |outer| (inner, outer)));
    (0..4)
        .map(|device| (device, device))
        .chain(normal)
        .collect()
}

const fn is_device(kind: Kind) -> bool {
    kind.0 < 4
}

/// One stage 2 over what came before, as the manual's tables have it.
fn stage2(before: Kind, memory: MemoryType) -> Kind {
    let number =
        |cache: Cacheability| CACHES.iter().position(|&c| c == cache).expect("one") as u8 + 4;
    match memory {
        MemoryType::Device(device) => {
            let device = DEVICES.iter().position(|&d| d == device).expect("one") as u8;
            let both = if is_device(before) {
                before.0.min(device)
            } else {
                device
            };
            (both, both)
        }
        MemoryType::Normal { .. } | MemoryType::NonCacheable if is_device(before) => before,
        MemoryType::Normal { inner, outer } => {
            (before.0.min(number(inner)), before.1.min(number(outer)))
        }
        MemoryType::NonCacheable => (4, 4),
        MemoryType::ForceWriteBack => (6, 6),
        MemoryType::StageOne => before,
        MemoryType::Reserved(_) => unreachable!("filtered"),
    }
}

/// What three stages make of it in turn. Where the canonical one forces Write-Back, L1's memory is that and L2's stage 1 has no
/// say; what L1's stage 2 makes of it has.
fn three_stages(stage1: Kind, guest: MemoryType, canonical: MemoryType) -> Kind {
    match canonical {
        MemoryType::ForceWriteBack => stage2(stage2(stage1, canonical), guest),
        _ => stage2(stage2(stage1, guest), canonical),
    }
}

/// Where no encoding says what the three stages make of it.
fn is_inexpressible(guest: MemoryType, canonical: MemoryType) -> bool {
    let both = |cache| MemoryType::Normal {
        inner: cache,
        outer: cache,
    };
    match (guest, canonical) {
        // Nothing is stricter than this.
        (_, MemoryType::Device(Device::NGnRnE))
        | (MemoryType::Device(Device::NGnRnE), MemoryType::ForceWriteBack) => false,
        // Forced, and then not so: a Device of stage 1 stays one. Or it cannot be forced at all.
        (
            MemoryType::ForceWriteBack,
            MemoryType::NonCacheable | MemoryType::Device(_) | MemoryType::Normal { .. },
        )
        | (MemoryType::NonCacheable | MemoryType::Device(_), MemoryType::ForceWriteBack) => true,
        (MemoryType::Normal { .. }, MemoryType::ForceWriteBack) => {
            guest != both(Cacheability::WriteBack)
        }
        // As stage 1 has it, but no better than so.
        (MemoryType::Normal { .. }, MemoryType::StageOne) => {
            guest != both(Cacheability::WriteBack) && guest != both(Cacheability::NonCacheable)
        }
        _ => false,
    }
}

const SCHEMES: [AttributeScheme; 2] = [AttributeScheme::Combine, AttributeScheme::Force];

/// All that L1's stage 2 and the canonical one may say, with the scheme of the latter.
fn pairs() -> Vec<(MemoryType, MemoryType, AttributeScheme)> {
    let guests = SCHEMES.into_iter().flat_map(types);
    let canonical = |scheme| {
        types(scheme)
            .into_iter()
            .map(move |memory| (memory, scheme))
    };
    let with_all = |guest| {
        let canonical = SCHEMES.into_iter().flat_map(canonical);
        canonical.map(move |(memory, scheme)| (guest, memory, scheme))
    };
    guests.flat_map(with_all).collect()
}

#[test]
fn memory_types_are_what_three_stages_make_of_them_or_stricter() {
    for (guest, canonical, scheme) in pairs() {
        let composed = memory(guest, canonical);
        assert!(
            MemAttr::encode(composed, scheme).is_some(),
            "{guest:?} {canonical:?}"
        );
        for stage1 in kinds() {
            let exact = three_stages(stage1, guest, canonical);
            let found = stage2(stage1, composed);
            assert!(
                found.0 <= exact.0 && found.1 <= exact.1,
                "{guest:?} {canonical:?}"
            );
            if !is_inexpressible(guest, canonical) {
                assert_eq!(found, exact, "{stage1:?} {guest:?} {canonical:?}");
            }
        }
    }
}

#[test]
fn what_l1_makes_device_memory_is_that() {
    for (guest, canonical, scheme) in pairs() {
        let (MemoryType::Device(device), AttributeScheme::Force) = (guest, scheme) else {
            continue;
        };
        let MemoryType::Device(composed) = memory(guest, canonical) else {
            panic!("{guest:?} {canonical:?}");
        };
        let MemoryType::Device(other) = canonical else {
            assert_eq!(composed, device);
            continue;
        };
        assert_eq!(composed as u8, (device as u8).min(other as u8));
    }
}

#[test]
fn what_l1_leaves_to_stage_1_is_as_its_own_memory_is() {
    let write_back = MemoryType::Normal {
        inner: Cacheability::WriteBack,
        outer: Cacheability::WriteBack,
    };
    for guest in [write_back, MemoryType::StageOne, MemoryType::ForceWriteBack] {
        let composed = memory(guest, MemoryType::ForceWriteBack);
        assert_eq!(composed, MemoryType::ForceWriteBack);
    }
}

#[test]
fn what_is_called_inexpressible_is_so() {
    for (guest, canonical, scheme) in pairs() {
        if !is_inexpressible(guest, canonical) {
            continue;
        }
        let is_exact = |composed: &MemoryType| {
            kinds()
                .into_iter()
                .all(|stage1| stage2(stage1, *composed) == three_stages(stage1, guest, canonical))
        };
        assert_eq!(
            types(scheme).iter().find(|c| is_exact(c)),
            None,
            "{guest:?} {canonical:?}"
        );
    }
}

#[test]
fn both_permit_what_the_composition_permits() {
    for guest in ACCESSES {
        for canonical in ACCESSES {
            assert_eq!(
                access(guest, canonical) as u8,
                guest as u8 & canonical as u8
            );
        }
    }
    // Whether EL0 and EL1 may execute, by XN.
    let may = |xn: Xn| [(true, true), (true, false), (false, false), (false, true)][xn as usize];
    for guest in EXECUTES {
        for canonical in EXECUTES {
            let (el0, el1) = (may(guest), may(canonical));
            let both = (el0.0 && el1.0, el0.1 && el1.1);
            assert_eq!(may(execute(guest, canonical)), both);
        }
    }
}

fn guest(bytes: u64) -> GuestLeaf {
    GuestLeaf {
        ipa: L2Ipa(3 << 34),
        output: L1Ipa(5 << 34),
        bytes,
        level: Level::L2,
        extent: Extent::Leaf,
        access: S2ap::ReadWrite,
        execute: Xn::Everywhere,
        memory: MemoryType::StageOne,
        shareability: Shareability::Inner,
        is_dirty_managed: false,
    }
}

fn canonical(ipa: u64, bytes: u64) -> CanonicalLeaf {
    let ipa = L1Ipa(ipa).align_down(bytes);
    CanonicalLeaf {
        ipa,
        output: Pa(ipa.0 ^ 1 << 36),
        bytes,
        attributes: LeafAttributes {
            memory: MemAttr::FORCE_WRITE_BACK,
            access: S2ap::ReadOnly,
            shareability: Shareability::Inner,
            execute: Xn::Nowhere,
            is_accessed: true,
            is_dirty_managed: true,
            is_contiguous: true,
            software: 15,
        },
    }
}

#[test]
fn the_smaller_size_counts_and_offsets_are_kept() {
    let sizes = [12, 14, 16, 21, 25, 29, 30, 34].map(|shift| 1u64 << shift);
    for guest_bytes in sizes {
        for canonical_bytes in sizes {
            let guest = guest(guest_bytes);
            for offset in [0, 0x1234, guest_bytes / 2, guest_bytes - 1] {
                let offset = offset % guest_bytes;
                let at = L2Ipa(guest.ipa.0 + offset);
                let via = guest.output.0 + offset;
                let canonical = canonical(via, canonical_bytes);
                let found =
                    compose(&guest, &canonical, at, AttributeScheme::Force).expect("it holds");
                let bytes = guest_bytes.min(canonical_bytes);
                assert_eq!((found.bytes, found.guest_bytes), (bytes, guest_bytes));
                assert!(found.ipa.is_aligned(bytes) && found.via.is_aligned(bytes));
                assert!(found.output.is_aligned(bytes));
                // Every byte leads where the two tables in turn lead it.
                let rest = at.0 - found.ipa.0;
                assert!(rest < bytes);
                assert_eq!(found.via.0 + rest, via);
                assert_eq!(
                    found.output.0 + rest,
                    canonical.output.0 + (via - canonical.ipa.0)
                );
            }
        }
    }
}

#[test]
fn a_canonical_leaf_of_other_memory_composes_with_nothing() {
    let guest = guest(1 << 21);
    let at = guest.ipa;
    for elsewhere in [guest.output.0 - 1, guest.output.0 + (1 << 12)] {
        let canonical = canonical(elsewhere, 1 << 12);
        assert_eq!(
            compose(&guest, &canonical, at, AttributeScheme::Force),
            None
        );
    }
}

#[test]
fn what_the_canonical_entry_notes_for_itself_is_not_handed_on() {
    let guest = guest(1 << 21);
    let canonical = canonical(guest.output.0, 1 << 30);
    let found = compose(&guest, &canonical, guest.ipa, AttributeScheme::Force).expect("it holds");
    assert_eq!((found.access, found.execute), (S2ap::ReadOnly, Xn::Nowhere));
    assert_eq!(found.memory, MemoryType::ForceWriteBack);
    assert_eq!(
        found.mark,
        Mark {
            level: Level::L2,
            extent: Extent::Leaf
        }
    );
}

#[test]
fn marks_come_back_and_no_other_bits_are_one() {
    let mut seen = 0u16;
    for level in [Level::L0, Level::L1, Level::L2, Level::L3] {
        for extent in [Extent::Leaf, Extent::Run] {
            let mark = Mark { level, extent };
            assert_eq!(Mark::decode(mark.bits()), Some(mark));
            assert!(mark.bits() < 16);
            seen |= 1 << mark.bits();
        }
    }
    for bits in 0..16 {
        assert_eq!(Mark::decode(bits).is_some(), seen >> bits & 1 != 0);
    }
}

#[test]
fn memory_types_that_the_table_cannot_say_become_stricter() {
    let guest = guest(1 << 21);
    let canonical = canonical(guest.output.0, 1 << 21);
    let found = compose(&guest, &canonical, guest.ipa, AttributeScheme::Force).expect("it holds");
    let normal = |inner, outer| MemoryType::Normal { inner, outer };
    for (memory, expected) in [
        (MemoryType::ForceWriteBack, Memory::WriteBack),
        (
            normal(Cacheability::WriteBack, Cacheability::WriteBack),
            Memory::WriteBack,
        ),
        (
            normal(Cacheability::WriteThrough, Cacheability::WriteBack),
            Memory::NonCacheable,
        ),
        (MemoryType::NonCacheable, Memory::NonCacheable),
        (MemoryType::StageOne, Memory::NonCacheable),
        (
            MemoryType::Device(Device::GRE),
            Memory::AsDevice(Device::GRE),
        ),
    ] {
        let leaf = Composed { memory, ..found };
        assert_eq!(leaf.attributes().memory, expected);
    }
    // What is a device for L1 is one, and nothing to clean.
    let mut canonical = canonical;
    canonical.attributes.memory = MemAttr::DEVICE_NGNRE;
    let found = compose(&guest, &canonical, guest.ipa, AttributeScheme::Force).expect("it holds");
    assert_eq!(found.attributes().memory, Memory::Device(Device::NGnRE));
}
