//! What an invalidation by L1 unmaps.

use super::*;

#[test]
fn an_invalidation_without_a_level_takes_l1s_whole_leaf_and_no_more() {
    // Whole: a block of 2 MiB, found by itself.
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    bench.fill(0, &composed(0, BLOCK, (Level::L2, BLOCK)));
    bench.fill(BLOCK, &composed(BLOCK, BLOCK, (Level::L2, BLOCK)));
    bench.invalidate(0x7000, PAGE, None);
    assert!(!bench.is_mapped(0) && bench.is_mapped(BLOCK));
    // In pieces: any address of it takes them all.
    for page in [3, 9, 300] {
        bench.fill(
            page * PAGE,
            &composed(page * PAGE, PAGE, (Level::L2, BLOCK)),
        );
    }
    bench.invalidate(0x7000, PAGE, None);
    for page in [3, 9, 300] {
        assert!(!bench.is_mapped(page * PAGE));
    }
    assert!(bench.is_mapped(BLOCK));
}

#[test]
fn pages_of_l1_go_one_by_one() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    for page in 0..4 {
        bench.fill(page * PAGE, &composed(page * PAGE, PAGE, (Level::L3, PAGE)));
    }
    bench.invalidate(PAGE, PAGE, None);
    bench.invalidate(2 * PAGE, PAGE, Some(Level::L3));
    let mapped: Vec<bool> = (0..4).map(|page| bench.is_mapped(page * PAGE)).collect();
    assert_eq!(mapped, [true, false, false, true]);
}

#[test]
fn a_level_takes_leaves_of_its_size_and_costs_nothing_where_there_are_none() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    for page in [3, 300] {
        bench.fill(
            page * PAGE,
            &composed(page * PAGE, PAGE, (Level::L2, BLOCK)),
        );
    }
    let before = bench.tlbis();
    bench.invalidate(3 * PAGE, PAGE, Some(Level::L3));
    bench.invalidate(3 * PAGE, PAGE, Some(Level::L1));
    assert!(bench.is_mapped(3 * PAGE) && bench.tlbis() == before);
    bench.invalidate(9 * PAGE, PAGE, Some(Level::L2));
    assert!(!bench.is_mapped(3 * PAGE) && !bench.is_mapped(300 * PAGE));
}

#[test]
fn a_page_of_64_kib_goes_by_any_of_its_parts() {
    for level in [None, Some(Level::L3)] {
        let mut bench = Bench::new(&hardware(), Granule::Kib64);
        bench.fill(0x1_3000, &composed(0x1_3000, PAGE, (Level::L3, 0x1_0000)));
        bench.fill(
            0x2_0000,
            &composed(0x2_0000, 0x1_0000, (Level::L3, 0x1_0000)),
        );
        bench.invalidate(0x1_0000, PAGE, level);
        assert!(!bench.is_mapped(0x1_3000) && bench.is_mapped(0x2_5000));
    }
}

#[test]
fn a_run_goes_by_any_of_its_leaves() {
    let run = Composed {
        mark: Mark {
            level: Level::L3,
            extent: Extent::Run,
        },
        guest_bytes: 16 * PAGE,
        ..composed(0x2000, PAGE, (Level::L3, PAGE))
    };
    for level in [None, Some(Level::L3)] {
        let mut bench = Bench::new(&hardware(), Granule::Kib4);
        bench.fill(0x2000, &run);
        bench.invalidate(0xf000, PAGE, level);
        assert!(!bench.is_mapped(0x2000));
    }
}

#[test]
fn a_leaf_that_a_smaller_one_cuts_goes_whole_afterwards() {
    // L1 made pages of a block and has not invalidated yet.
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    bench.fill(0, &composed(0, BLOCK, (Level::L2, BLOCK)));
    let other = Composed {
        output: Pa(1 << 37),
        ..composed(0x5000, PAGE, (Level::L3, PAGE))
    };
    bench.fill(0x5000, &other);
    assert!(bench.is_mapped(0x5000) && bench.is_mapped(0x9000));
    bench.invalidate(0x5000, PAGE, None);
    assert!(!bench.is_mapped(0x9000));
}

#[test]
fn invalidations_at_the_ends_of_the_address_space_take_what_is_there() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    let top = (1 << 40) - PAGE;
    bench.fill(top, &composed(top, PAGE, (Level::L2, BLOCK)));
    bench.invalidate(1 << 40, u64::MAX, None);
    bench.invalidate(u64::MAX - PAGE, PAGE, None);
    assert!(bench.is_mapped(top));
    bench.invalidate(top - PAGE, u64::MAX, None);
    assert!(!bench.is_mapped(top));
}

/// The pages of a range that begins at [`PAGE`].
const RANGE: Range = Range {
    from: L2Ipa(PAGE),
    bytes: 8 * PAGE,
    level: None,
};

fn filled() -> Bench {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    for page in [2, 100] {
        bench.fill(page * PAGE, &composed(page * PAGE, PAGE, (Level::L3, PAGE)));
    }
    bench
}

#[test]
fn an_invalidation_that_is_interrupted_after_each_shadow_ends() {
    let mut shadows = [(); 4].map(|()| filled());
    let mut attempts = 0;
    'again: loop {
        attempts += 1;
        assert!(attempts <= shadows.len() + 1, "it begins again for ever");
        for bench in &mut shadows {
            let is_done = bench.shadow.has_taken(&RANGE);
            bench.invalidate(RANGE.from.0, RANGE.bytes, RANGE.level);
            if !is_done {
                continue 'again;
            }
        }
        break;
    }
    for bench in &shadows {
        assert!(!bench.is_mapped(2 * PAGE) && bench.is_mapped(100 * PAGE));
    }
}

#[test]
fn what_was_taken_is_taken_again_after_any_fill_and_for_another_range() {
    let mut bench = filled();
    assert!(!bench.shadow.has_taken(&RANGE));
    bench.invalidate(RANGE.from.0, RANGE.bytes, RANGE.level);
    assert!(bench.shadow.has_taken(&RANGE));
    for other in [
        Range {
            bytes: 128 * PAGE,
            ..RANGE
        },
        Range {
            level: Some(Level::L2),
            ..RANGE
        },
    ] {
        assert!(!bench.shadow.has_taken(&other));
    }
    // By either way, of the range or not.
    bench.fill(3 * PAGE, &composed(3 * PAGE, PAGE, (Level::L3, PAGE)));
    assert!(!bench.shadow.has_taken(&RANGE));
    bench.invalidate(RANGE.from.0, RANGE.bytes, RANGE.level);
    assert!(!bench.is_mapped(3 * PAGE) && bench.shadow.has_taken(&RANGE));
    let ticket = bench.shadow.ticket(&bench.changes);
    let tickets = (ticket, &bench.changes);
    let page = composed(4 * PAGE, PAGE, (Level::L3, PAGE));
    let fault = fault(4 * PAGE, Cause::Translation);
    let result = bench
        .shadow
        .fill_hole(&Cpu::new(&bench.board, 0), tickets, &fault, &page);
    assert_eq!(result, Ok(Some(Filled::Mapped)));
    assert!(!bench.shadow.has_taken(&RANGE));
    bench.invalidate(RANGE.from.0, RANGE.bytes, RANGE.level);
    assert!(!bench.is_mapped(4 * PAGE) && bench.is_mapped(100 * PAGE));
}

#[test]
fn what_was_taken_already_voids_tickets_all_the_same() {
    let mut bench = filled();
    bench.invalidate(RANGE.from.0, RANGE.bytes, RANGE.level);
    let ticket = bench.shadow.ticket(&bench.changes);
    let tlbis = bench.tlbis();
    bench.invalidate(RANGE.from.0, RANGE.bytes, RANGE.level);
    assert_eq!(bench.tlbis(), tlbis, "nothing was there");
    assert_ne!(bench.shadow.ticket(&bench.changes), ticket);
}
