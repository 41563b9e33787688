//! Mapping ahead of faults where nothing is mapped, verb by verb.

use droste_arm64::desc::Xn;
use droste_arm64::{Granule, Ipa, Level, Pa};
use droste_stage2::{Attributes, Error, Hole, Mapping, Table};

use crate::bench::{
    self, Bench, GIB, ISHST, MIB2, PAGE, RAM_BLOCK, RAM_PAGE, ROOT, TABLE, ram, runs,
};
use crate::hardware::{plain, with_xnx};
use crate::recorder::Event::{Take, Write, Zero};
use crate::recorder::{POOL, Recorder};

#[test]
fn a_new_table_is_cleared_before_walks_can_see_it() {
    let recorder = Recorder::new(Granule::Kib4);
    let geometry = bench::geometry(Granule::Kib4, 40, &plain());
    Table::new(&recorder, Pa(ROOT), geometry, &plain()).expect("aligned");
    assert_eq!(recorder.take_trace(), [Zero(ROOT, 2 * PAGE), ISHST]);
}

#[test]
fn a_leaf_over_an_empty_entry_is_written_as_a_mapping_writes_it() {
    let page = |n: u64| ram(GIB + n * PAGE, 8 * GIB + n * PAGE, PAGE);
    let (one, two) = [(); 2].map(|()| Recorder::new(Granule::Kib4)).into();
    let (mut bench, mut other) = (Bench::new(&one, &plain()), Bench::new(&two, &plain()));
    bench.map(&page(0));
    other.map(&page(0));
    one.take_trace();
    assert_eq!(bench.table.map_hole(&one, &page(1)), Ok(Hole::Filled));
    let trace = one.take_trace();
    assert_eq!(trace.len(), 2, "one store, one barrier");
    assert_eq!(trace, other.map(&page(1)).before);
}

#[test]
fn what_is_no_single_empty_entry_is_left_to_the_general_way() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    let page = ram(GIB, 8 * GIB, PAGE);
    // No table, then a leaf in the way, then more than an entry, part of one, an output that is not as aligned, a run.
    assert_eq!(bench.table.map_hole(&recorder, &page), Ok(Hole::Other));
    bench.map(&page);
    for mapping in [
        page,
        ram(GIB + MIB2, 8 * GIB, 2 * MIB2),
        ram(GIB + MIB2, 8 * GIB, PAGE),
        ram(GIB + MIB2, 8 * GIB + PAGE, MIB2),
        runs(ram(GIB + MIB2, 8 * GIB, MIB2)),
    ] {
        recorder.take_trace();
        assert_eq!(bench.table.map_hole(&recorder, &mapping), Ok(Hole::Other));
        assert_eq!(recorder.take_trace(), []);
    }
    // What cannot be mapped is an error there as well.
    let next = GIB + PAGE;
    let only_el0 = Attributes {
        execute: Xn::OnlyEl0,
        ..Attributes::RAM
    };
    for mapping in [
        ram(1 << 40, 8 * GIB, GIB),
        ram(next, 1 << 48, PAGE),
        ram(next, !0xfff, PAGE),
        ram(next, 8 * GIB, 0),
        Mapping::new(Ipa(next), Pa(8 * GIB), PAGE, only_el0),
    ] {
        assert!(bench.table.map_hole(&recorder, &mapping).is_err());
    }
}

#[test]
fn a_misplaced_root_is_refused() {
    let recorder = Recorder::new(Granule::Kib4);
    let geometry = bench::geometry(Granule::Kib4, 40, &plain());
    for root in [ROOT + PAGE, 1 << 48, (1 << 48) - PAGE, !0] {
        let result = Table::new(&recorder, Pa(root), geometry, &plain());
        assert!(matches!(result, Err(Error::RootMisplaced { .. })));
    }
    assert_eq!(recorder.take_trace(), []);
}

#[test]
fn a_page_gets_tables_that_are_complete_before_they_are_linked() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    let done = bench.map(&ram(GIB + MIB2 + PAGE, 0x8000_1000, PAGE));
    let expected = [
        Take(POOL),
        Zero(POOL, PAGE),
        Take(POOL + PAGE),
        Zero(POOL + PAGE, PAGE),
        Write(POOL + PAGE + 8, 0x8000_1000 | RAM_PAGE),
        Write(POOL + 8, POOL + PAGE + TABLE),
        ISHST,
        Write(ROOT + 8, POOL | TABLE),
        ISHST,
    ];
    assert_eq!(done.before, expected);
    assert!(done.was_nothing && done.discharge.is_empty());
    // Its neighbour needs the leaf alone.
    let done = bench.map(&ram(GIB + MIB2, 0x9000_0000, PAGE));
    let expected = [Write(POOL + PAGE, 0x9000_0000 | RAM_PAGE), ISHST];
    assert_eq!(done.before, expected);
}

#[test]
fn a_table_full_of_pages_is_not_cleared_first() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    // The output is off by a page, so it has to be pages.
    let done = bench.map(&ram(GIB, 4 * GIB + PAGE, MIB2));
    assert_eq!(
        done.before[..3],
        [Take(POOL), Zero(POOL, PAGE), Take(POOL + PAGE)]
    );
    for index in 0..512 {
        let page = (4 * GIB + (index + 1) * PAGE) | RAM_PAGE;
        let at = usize::try_from(index).expect("fits") + 3;
        assert_eq!(done.before[at], Write(POOL + PAGE + index * 8, page));
    }
    let expected = [
        Write(POOL, POOL + PAGE + TABLE),
        ISHST,
        Write(ROOT + 8, POOL | TABLE),
        ISHST,
    ];
    assert_eq!(done.before[515..], expected);
}

#[test]
fn mapping_takes_the_largest_leaves_that_fit() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    let done = bench.map(&ram(GIB - MIB2, 4 * GIB - MIB2, GIB + 2 * MIB2));
    let mut leaves = done.before;
    leaves.retain(|event| matches!(event, Write(_, value) if value & 3 == 1));
    let expected = [
        Write(POOL + 511 * 8, (4 * GIB - MIB2) | RAM_BLOCK),
        Write(ROOT + 8, (4 * GIB) | RAM_BLOCK),
        Write(POOL + PAGE, (5 * GIB) | RAM_BLOCK),
    ];
    assert_eq!(leaves, expected);
}

#[test]
fn leaves_are_no_larger_than_asked_for() {
    let recorder = Recorder::new(Granule::Kib4);
    for (largest, expected) in [
        (Level::Minus1, Level::L1),
        (Level::L1, Level::L1),
        (Level::L2, Level::L2),
        (Level::L3, Level::L3),
    ] {
        let mut bench = Bench::new(&recorder, &plain());
        bench.pool = crate::recorder::Pool::new(&recorder, 600);
        let mapping = Mapping {
            largest,
            ..ram(GIB, 4 * GIB, GIB)
        };
        assert_eq!(bench.map(&mapping).result, Ok(()));
        assert_eq!(bench.leaf(GIB + 7), Some((expected, 4 * GIB + 7)));
    }
}

#[test]
fn the_top_of_the_address_space_can_be_mapped_and_nothing_beyond() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    let top = 1 << 40;
    assert_eq!(bench.map(&ram(top - PAGE, 0, PAGE)).result, Ok(()));
    assert_eq!(
        bench.map(&runs(ram(top - GIB, 0, GIB - MIB2))).result,
        Ok(())
    );
    assert_eq!(bench.leaf(top - 1), Some((Level::L3, PAGE - 1)));
    assert_eq!(bench.leaf(top), None);
    assert_eq!(bench.leaf(!0), None);
    for mapping in [
        ram(top - PAGE, 0, 2 * PAGE),
        ram(top, 0, PAGE),
        ram(!0xfff, 0, PAGE),
    ] {
        let done = bench.map(&mapping);
        assert!(matches!(done.result, Err(Error::OutsideIpaSpace { .. })));
        assert_eq!((done.before, done.discharge), (vec![], vec![]));
    }
}

#[test]
fn what_cannot_be_mapped_is_refused_untouched() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    let only_el1 = Attributes {
        execute: Xn::OnlyEl1,
        ..Attributes::RAM
    };
    for mapping in [
        ram(GIB + 8, 0, PAGE),
        ram(GIB, 8, PAGE),
        ram(GIB, 0, PAGE + 8),
        ram(GIB, 0, 0),
        ram(GIB, 1 << 48, PAGE),
        ram(GIB, (1 << 48) - PAGE, 2 * PAGE),
        Mapping {
            attributes: only_el1,
            ..ram(GIB, 0, PAGE)
        },
    ] {
        let done = bench.map(&mapping);
        assert!(done.result.is_err(), "{mapping:?}");
        assert_eq!((done.before, done.discharge), (vec![], vec![]));
    }
    let mut bench = Bench::new(&recorder, &with_xnx(plain()));
    let mapping = Mapping {
        attributes: only_el1,
        ..ram(GIB, 0, PAGE)
    };
    assert_eq!(bench.map(&mapping).result, Ok(()));
}

#[test]
fn a_failed_mapping_keeps_what_is_mapped_and_can_be_repeated() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    let mapping = ram(MIB2 - PAGE, 4 * GIB, 2 * PAGE);
    // Two tables for the first page and one for the second.
    for pages in 0..3 {
        let rest = bench.pool.keep(pages);
        let done = bench.map(&mapping);
        let named = matches!(done.result, Err(Error::NoTablePage { ipa }) if ipa.0 < MIB2);
        assert!(named, "nothing from that address on is mapped");
        assert_eq!(bench.leaf(MIB2 - PAGE), None, "the table is not linked yet");
        assert_eq!(bench.pool.left(), pages, "what was taken is back");
        assert_eq!(bench.table.counters().table_pages, 0);
        bench.pool.refill(rest);
    }
    assert_eq!(bench.map(&mapping).result, Ok(()));
    assert_eq!(bench.leaf(MIB2), Some((Level::L3, 4 * GIB + PAGE)));
    assert_eq!(bench.page_count(), 64);
}

#[test]
fn a_mapping_that_fails_under_a_live_table_has_mapped_all_before() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB, PAGE));
    let rest = bench.pool.keep(0);
    let mapping = ram(GIB + MIB2 - PAGE, 8 * GIB, 2 * PAGE);
    let done = bench.map(&mapping);
    let error = Error::NoTablePage {
        ipa: Ipa(GIB + MIB2),
    };
    assert_eq!(done.result, Err(error));
    assert_eq!(done.before.last(), Some(&ISHST), "walks see what is mapped");
    assert_eq!(bench.leaf(GIB + MIB2 - PAGE), Some((Level::L3, 8 * GIB)));
    assert_eq!(bench.leaf(GIB + MIB2), None);
    bench.pool.refill(rest);
    assert_eq!(bench.map(&mapping).result, Ok(()));
    assert_eq!(bench.leaf(GIB + MIB2), Some((Level::L3, 8 * GIB + PAGE)));
}
