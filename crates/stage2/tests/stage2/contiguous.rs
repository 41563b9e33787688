//! Runs of leaves with the contiguous bit, as mapping makes, keeps and unfolds them.

use droste_arm64::Granule;

use crate::bench::{
    Bench, GIB, ISHST, MIB2, PAGE, RAM_BLOCK, RAM_PAGE, READ_PAGE, RUN, by_address, locked,
    operand, ram, read_only, remade, runs,
};
use crate::hardware::{plain, with_ttl};
use crate::recorder::Event::{Swap, Write};
use crate::recorder::{POOL, Recorder};

#[test]
fn whole_aligned_runs_get_the_contiguous_bit_and_no_others() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    // A page short of a run, two runs, a page.
    let first = GIB + PAGE;
    bench.map(&runs(ram(first, 4 * GIB + PAGE, 48 * PAGE)));
    for page in 1..49 {
        let is_run = (16..48).contains(&page);
        let raw = bench.raw(GIB + page * PAGE);
        assert_eq!(raw & RUN != 0, is_run, "page {page}");
    }
    // Aligned guest addresses with an output that is not.
    bench.map(&runs(ram(2 * GIB, 5 * GIB + PAGE, 32 * PAGE)));
    assert_eq!(bench.raw(2 * GIB) & RUN, 0);
    // Blocks of both levels.
    bench.map(&runs(ram(4 * GIB, 8 * GIB, 16 * MIB2)));
    assert_eq!(bench.raw(4 * GIB), (8 * GIB) | RAM_BLOCK | RUN);
    bench.map(&runs(ram(16 * GIB, 32 * GIB, 16 * GIB)));
    assert_eq!(bench.raw(31 * GIB), (47 * GIB) | RAM_BLOCK | RUN);
    // Not unless asked for.
    bench.map(&ram(3 * GIB, 6 * GIB, 16 * PAGE));
    assert_eq!(bench.raw(3 * GIB) & RUN, 0);
}

#[test]
fn a_run_needs_an_output_as_aligned_in_old_tables_as_in_new() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    for _ in 0..2 {
        // Pages, and blocks, each off by one.
        bench.map(&runs(ram(GIB, 4 * GIB + PAGE, 32 * PAGE)));
        bench.map(&runs(ram(2 * GIB, 4 * GIB + MIB2, 32 * MIB2)));
        assert_eq!(bench.raw(GIB) & RUN, 0);
        assert_eq!(bench.raw(2 * GIB), (4 * GIB + MIB2) | RAM_BLOCK);
        bench.unmap(GIB, 32 * PAGE);
        bench.unmap(2 * GIB, 32 * MIB2);
        // Neighbours keep the tables for the second time.
        bench.map(&ram(GIB + 40 * PAGE, 0, PAGE));
        bench.map(&ram(2 * GIB + 40 * MIB2, 0, PAGE));
    }
}

#[test]
fn a_run_is_made_of_empty_entries_only() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB + 18 * PAGE, 4 * GIB + 18 * PAGE, PAGE));
    bench.map(&runs(ram(GIB, 4 * GIB, 48 * PAGE)));
    for page in 0..48 {
        let is_run = !(16..32).contains(&page);
        let raw = bench.raw(GIB + page * PAGE);
        assert_eq!(raw & RUN != 0, is_run, "page {page}");
    }
}

#[test]
fn a_run_that_is_mapped_again_stays_one() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    let mapping = runs(ram(GIB, 4 * GIB, 16 * PAGE));
    bench.map(&mapping);
    for again in [mapping, ram(GIB, 4 * GIB, 16 * PAGE)] {
        let done = bench.map(&again);
        assert_eq!(done.before, [ISHST]);
    }
    assert_eq!(bench.raw(GIB), (4 * GIB) | RAM_PAGE | RUN);
}

#[test]
fn part_of_a_run_that_is_mapped_again_leaves_it_one() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&runs(ram(GIB, 4 * GIB, 16 * PAGE)));
    for (first, pages) in [(0, 3), (5, 4), (12, 4)] {
        let done = bench.map(&ram(
            GIB + first * PAGE,
            4 * GIB + first * PAGE,
            pages * PAGE,
        ));
        assert_eq!(done.before, [ISHST], "page {first}");
        assert!(done.was_nothing);
    }
    assert_eq!(bench.raw(GIB), (4 * GIB) | RAM_PAGE | RUN);
}

#[test]
fn a_run_that_becomes_other_memory_is_one_no_more() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&runs(ram(GIB, 4 * GIB, 16 * PAGE)));
    let done = bench.map(&runs(ram(GIB, 8 * GIB, 16 * PAGE)));
    assert_eq!(done.result, Ok(()));
    for page in 0..16 {
        let raw = bench.raw(GIB + page * PAGE);
        assert_eq!(raw, (8 * GIB + page * PAGE) | RAM_PAGE);
    }
    // Each was invalid before it led elsewhere.
    let locks = done
        .before
        .iter()
        .filter(|event| matches!(event, Write(_, value) | Swap(_, value) if value & 1 == 0));
    assert!(locks.count() >= 16);
}

#[test]
fn a_page_mapped_over_part_of_a_run_unfolds_it() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&runs(ram(GIB, 4 * GIB, 16 * PAGE)));
    let done = bench.map(&read_only(ram(GIB + 5 * PAGE, 4 * GIB + 5 * PAGE, PAGE)));
    let child = POOL + PAGE;
    let single = |page: u64| (4 * GIB + page * PAGE) | RAM_PAGE;
    let at = |page: u64| child + page * 8;
    let mut expected: Vec<_> = (0..16)
        .map(|page| Swap(at(page), locked(single(page))))
        .collect();
    let new = (4 * GIB + 5 * PAGE) | READ_PAGE;
    expected.extend([Write(at(5), locked(new)), ISHST]);
    assert_eq!(done.before, expected);
    let addresses: Vec<_> = (0..16)
        .map(|page| by_address(operand(3, GIB + page * PAGE), 1))
        .collect();
    let made: Vec<_> = (0..16)
        .map(|page| (at(page), if page == 5 { new } else { single(page) }))
        .collect();
    assert_eq!(done.discharge, remade(&addresses, &made));
}

#[test]
fn any_page_out_of_a_run_leaves_single_pages() {
    for taken in 0..16 {
        let recorder = Recorder::new(Granule::Kib4);
        let mut bench = Bench::new(&recorder, &plain());
        bench.map(&runs(ram(GIB, 4 * GIB, 16 * PAGE)));
        bench.unmap(GIB + taken * PAGE, PAGE);
        for page in 0..16 {
            let single = (4 * GIB + page * PAGE) | RAM_PAGE;
            let expected = if page == taken { 0 } else { single };
            assert_eq!(bench.raw(GIB + page * PAGE), expected, "{taken}: {page}");
        }
    }
}
