use droste_arm64::{Granule, IdRegisters, IpaBits};

use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn slots(granule: Granule, bits: u32) -> Slots {
    let ids = IdRegisters {
        mmfr0: 5 | 1 << 20,
        ..IdRegisters::default()
    };
    let bits = IpaBits::new(bits).expect("32 to 48");
    Slots::new(Geometry::new(granule, bits, &ids).expect("48 bits suffice"))
}

fn slot(ipa: u64, pa: u64, bytes: u64) -> Slot {
    Slot::new(Ipa(ipa), Pa(pa), bytes, Attributes::RAM)
}

/// The largest leaf around an address that a slot has.
fn largest(slots: &Slots, ipa: u64) -> Option<(u64, u64, i8)> {
    let slot = slots.find(Ipa(ipa))?;
    let geometry = slots.geometry;
    let level = Level::ALL
        .into_iter()
        .find(|level| *level >= geometry.start() && slot.has_leaf(geometry, *level, Ipa(ipa)))?;
    let start = Ipa(ipa).align_down(geometry.entry_bytes(level));
    Some((start.0, slot.output(start).0, level.number()))
}

#[test]
fn slots_that_touch_are_neighbours_and_slots_that_overlap_are_refused() {
    let mut slots = slots(Granule::Kib4, 40);
    let base = GIB;
    assert_eq!(slots.add(slot(base, 0, MIB)), Ok(()));
    assert_eq!(slots.add(slot(base + MIB, 0, MIB)), Ok(()));
    assert_eq!(slots.add(slot(base - MIB, 0, MIB)), Ok(()));
    let page = 0x1000;
    for (ipa, bytes, other) in [
        (base, MIB, base),
        (base + page, page, base),
        (base + 2 * MIB - page, 2 * page, base + MIB),
        (base - MIB - page, 2 * page, base - MIB),
        (0, 1 << 40, base - MIB),
    ] {
        let expected = Err(Error::SlotOverlap { ipa: Ipa(other) });
        assert_eq!(slots.add(slot(ipa, 0, bytes)), expected, "{ipa:#x}");
    }
    assert_eq!(slots.iter().count(), 3);
}

#[test]
fn misplaced_slots_are_refused() {
    let mut slots = slots(Granule::Kib16, 40);
    for (ipa, pa, bytes) in [
        (0x1000, 0, 0x4000),
        (0, 0x1000, 0x4000),
        (0, 0, 0x1000),
        (0, 0, 0),
    ] {
        let result = slots.add(slot(ipa, pa, bytes));
        assert!(matches!(result, Err(Error::Misaligned { .. })));
    }
    let outside = slots.add(slot(1 << 40, 0, 0x4000));
    assert!(matches!(outside, Err(Error::OutsideIpaSpace { .. })));
    let beyond = slots.add(slot(0, 1 << 48, 0x4000));
    assert!(matches!(beyond, Err(Error::OutsidePaSpace { .. })));
    assert_eq!(slots.add(slot((1 << 40) - 0x4000, 0, 0x4000)), Ok(()));
}

#[test]
fn the_last_slot_that_fits_is_the_thirty_second() {
    let mut slots = slots(Granule::Kib4, 40);
    for index in (0..32).rev() {
        assert_eq!(slots.add(slot(index * MIB, 0, 0x1000)), Ok(()));
    }
    assert_eq!(slots.add(slot(GIB, 0, 0x1000)), Err(Error::SlotsFull));
    let sorted = slots
        .iter()
        .map(|slot| slot.ipa.0)
        .collect::<std::vec::Vec<_>>();
    assert!(sorted.is_sorted());
    assert!(slots.remove(Ipa(5 * MIB)).is_some());
    assert_eq!(slots.add(slot(GIB, 0, 0x1000)), Ok(()));
}

#[test]
fn an_address_is_found_in_its_slot_only() {
    let mut slots = slots(Granule::Kib4, 40);
    assert_eq!(slots.find(Ipa(0)), None);
    slots.add(slot(GIB, 0, MIB)).expect("free");
    slots.add(slot(2 * GIB, 0, MIB)).expect("free");
    for (ipa, expected) in [
        (0, None),
        (GIB - 1, None),
        (GIB, Some(GIB)),
        (GIB + MIB - 1, Some(GIB)),
        (GIB + MIB, None),
        (2 * GIB + 5, Some(2 * GIB)),
        (u64::MAX, None),
    ] {
        assert_eq!(slots.find(Ipa(ipa)).map(|slot| slot.ipa.0), expected);
    }
    assert_eq!(
        slots.remove(Ipa(GIB + 7)).map(|slot| slot.ipa),
        Some(Ipa(GIB))
    );
    assert_eq!(slots.find(Ipa(GIB)), None);
    assert_eq!(slots.remove(Ipa(GIB)), None);
}

#[test]
fn every_change_has_a_new_sequence_and_a_refusal_has_not() {
    let mut slots = slots(Granule::Kib4, 40);
    let first = slots.sequence();
    slots.add(slot(0, 0, MIB)).expect("free");
    let second = slots.sequence();
    assert_ne!(first, second);
    assert!(slots.add(slot(0, 0, MIB)).is_err());
    assert_eq!(slots.sequence(), second);
    slots.remove(Ipa(0)).expect("there");
    assert_ne!(slots.sequence(), second);
    assert_ne!(slots.sequence(), first);
}

#[test]
fn the_largest_leaf_lies_within_the_slot() {
    let mut slots = slots(Granule::Kib4, 40);
    // 2 GiB and two pages, from a 1 GiB boundary; the output is as aligned.
    slots
        .add(slot(4 * GIB, 8 * GIB, 2 * GIB + 0x2000))
        .expect("free");
    assert_eq!(largest(&slots, 4 * GIB + 5), Some((4 * GIB, 8 * GIB, 1)));
    assert_eq!(largest(&slots, 6 * GIB - 1), Some((5 * GIB, 9 * GIB, 1)));
    let tail = 6 * GIB + 0x1000;
    assert_eq!(
        largest(&slots, tail + 7),
        Some((tail, 10 * GIB + 0x1000, 3))
    );
    assert_eq!(largest(&slots, 6 * GIB + 0x2000), None);
}

#[test]
fn a_block_that_reaches_beyond_the_slot_is_too_large() {
    let mut slots = slots(Granule::Kib4, 40);
    // One page short of 4 MiB at both ends of the middle block.
    slots
        .add(slot(GIB + 0x1000, GIB + 0x1000, 4 * MIB - 0x2000))
        .expect("free");
    assert_eq!(largest(&slots, GIB + 0x1000).map(|b| b.2), Some(3));
    assert_eq!(largest(&slots, GIB + 2 * MIB).map(|b| b.2), Some(3));
    slots.remove(Ipa(GIB + 0x1000)).expect("there");
    slots
        .add(slot(GIB + 0x1000, GIB + 0x1000, 4 * MIB - 0x1000))
        .expect("free");
    assert_eq!(
        largest(&slots, GIB + 2 * MIB),
        Some((GIB + 2 * MIB, GIB + 2 * MIB, 2))
    );
    assert_eq!(largest(&slots, GIB + 2 * MIB - 1).map(|b| b.2), Some(3));
}

#[test]
fn blocks_need_both_addresses_equal_modulo_the_block() {
    for (offset, level) in [(0, 1), (2 * MIB, 2), (MIB, 3), (0x1000, 3)] {
        let mut slots = slots(Granule::Kib4, 40);
        slots
            .add(slot(4 * GIB, 8 * GIB + offset, 4 * GIB))
            .expect("free");
        let (ipa, pa, found) = largest(&slots, 5 * GIB + 0x123).expect("in the slot");
        assert_eq!(found, level);
        assert_eq!(pa - ipa, 4 * GIB + offset);
    }
}

#[test]
fn only_levels_of_the_walk_have_blocks() {
    // 33 bits start at level 2: no 1 GiB blocks, however aligned.
    let mut narrow = slots(Granule::Kib4, 33);
    narrow.add(slot(0, 0, 8 * GIB)).expect("free");
    assert_eq!(largest(&narrow, GIB), Some((GIB, GIB, 2)));
    // 64 KiB granule and 33 bits: pages alone.
    let mut flat = slots(Granule::Kib64, 33);
    flat.add(slot(0, 0, 8 * GIB)).expect("free");
    assert_eq!(largest(&flat, GIB + 1), Some((GIB, GIB, 3)));
    let mut large = slots(Granule::Kib16, 48);
    large.add(slot(0, 0, 1 << 48)).expect("free");
    assert_eq!(largest(&large, 33 * MIB), Some((32 * MIB, 32 * MIB, 2)));
}

#[test]
fn level_0_has_blocks_in_the_widest_format_alone() {
    let wide = IdRegisters {
        mmfr0: 6 | 1 << 28,
        ..IdRegisters::default()
    };
    let bits = IpaBits::new(52).expect("at most 52");
    let geometry = Geometry::new(Granule::Kib4, bits, &wide).expect("FEAT_LPA2");
    let mut slots = Slots::new(geometry);
    slots.add(slot(0, 0, 1 << 52)).expect("free");
    assert_eq!(largest(&slots, 1 << 51 | 5), Some((1 << 51, 1 << 51, 0)));
}

#[test]
fn a_slot_that_moves_takes_all_but_its_address_along() {
    let mut slots = slots(Granule::Kib4, 40);
    let before = Slot {
        log: DirtyLog::On,
        ..slot(GIB, 5 * GIB, MIB)
    };
    slots.add(before).expect("free");
    slots.add(slot(3 * GIB, 0, MIB)).expect("free");
    let sequence = slots.sequence();
    assert_eq!(slots.relocate(Ipa(GIB + 9), Ipa(2 * GIB)), Ok(before));
    assert_ne!(slots.sequence(), sequence);
    assert_eq!(slots.find(Ipa(GIB)), None);
    let moved = Slot {
        ipa: Ipa(2 * GIB),
        ..before
    };
    assert_eq!(slots.find(Ipa(2 * GIB)), Some(&moved));
    // Onto itself in part: where it was counts as free.
    assert!(slots.relocate(Ipa(2 * GIB), Ipa(2 * GIB + 0x1000)).is_ok());
}

#[test]
fn a_slot_that_cannot_move_stays_as_it_was() {
    let mut slots = slots(Granule::Kib4, 40);
    slots.add(slot(GIB, 0, MIB)).expect("free");
    slots.add(slot(2 * GIB, 0, MIB)).expect("free");
    let sequence = slots.sequence();
    for (to, error) in [
        (2 * GIB, Error::SlotOverlap { ipa: Ipa(2 * GIB) }),
        (
            1 << 40,
            Error::OutsideIpaSpace {
                ipa: Ipa(1 << 40),
                bytes: MIB,
            },
        ),
    ] {
        assert_eq!(slots.relocate(Ipa(GIB), Ipa(to)), Err(error));
    }
    let nothing = Error::NoSlot { ipa: Ipa(0) };
    assert_eq!(slots.relocate(Ipa(0), Ipa(5 * GIB)), Err(nothing));
    assert_eq!(slots.sequence(), sequence);
    assert!(slots.find(Ipa(GIB)).is_some());
}

#[test]
fn attributes_and_log_change_in_place() {
    let mut slots = slots(Granule::Kib4, 40);
    slots.add(slot(GIB, 0, MIB)).expect("free");
    let first = slots.sequence();
    assert_eq!(slots.set_log(Ipa(GIB + 1), DirtyLog::On), Ok(()));
    let second = slots.sequence();
    assert_eq!(slots.set_attributes(Ipa(GIB + 2), Attributes::ROM), Ok(()));
    assert!(first != second && second != slots.sequence());
    let expected = Slot {
        attributes: Attributes::ROM,
        log: DirtyLog::On,
        ..slot(GIB, 0, MIB)
    };
    assert_eq!(slots.find(Ipa(GIB)), Some(&expected));
    let last = slots.sequence();
    let error = Err(Error::NoSlot { ipa: Ipa(0) });
    assert_eq!(slots.set_log(Ipa(0), DirtyLog::Off), error);
    assert_eq!(slots.set_attributes(Ipa(0), Attributes::RAM), error);
    assert_eq!(slots.sequence(), last, "nothing has changed");
}
