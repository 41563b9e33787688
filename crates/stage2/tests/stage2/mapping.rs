//! Mapping ahead of faults, verb by verb.

use droste_arm64::desc::S2ap;
use droste_arm64::{Granule, Ipa, Level, Pa};
use droste_stage2::{Attributes, Error, Hole, Mapping, Memory, Runs, Table};

use crate::bench::{
    self, AF, Bench, DBM, GIB, ISHST, MIB2, PAGE, RAM_BLOCK, RAM_PAGE, READ_BLOCK, READ_PAGE, ROOT,
    RUN, TABLE, by_address, invalidated, locked, operand, ram, remade,
};
use crate::hardware::{plain, with_hardware_dirty, with_ttl, with_xnx};
use crate::recorder::Event::{Give, Swap, Take, Write, Zero};
use crate::recorder::{POOL, Recorder};

fn runs(mapping: Mapping) -> Mapping {
    Mapping {
        runs: Runs::Contiguous,
        ..mapping
    }
}

fn read_only(mapping: Mapping) -> Mapping {
    Mapping {
        attributes: Attributes::ROM,
        ..mapping
    }
}

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
    assert!(
        bench
            .table
            .map_hole(&recorder, &ram(1 << 40, 0, PAGE))
            .is_err()
    );
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
        execute: droste_arm64::desc::Xn::OnlyEl1,
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
fn mapping_the_same_again_changes_nothing_at_all() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(0, GIB, MIB2 + PAGE));
    // All of it; part of a block; across the border of block and page; a block over pages.
    bench.map(&Mapping {
        largest: Level::L3,
        ..ram(2 * MIB2, 2 * GIB, MIB2)
    });
    for mapping in [
        ram(0, GIB, MIB2 + PAGE),
        ram(PAGE, GIB + PAGE, 3 * PAGE),
        ram(MIB2 - PAGE, GIB + MIB2 - PAGE, 2 * PAGE),
        ram(2 * MIB2, 2 * GIB, MIB2),
    ] {
        let done = bench.map(&mapping);
        assert_eq!(done.before, [ISHST], "{mapping:?}");
        assert!(done.was_nothing && done.discharge.is_empty());
    }
}

#[test]
fn mapping_the_same_again_leaves_what_is_noted_of_its_use() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB, PAGE));
    bench
        .table
        .age(&recorder, Ipa(GIB), PAGE)
        .expect("in range");
    let done = bench.map(&ram(GIB, 4 * GIB, PAGE));
    assert_eq!(done.before, [ISHST]);
    assert_eq!(bench.raw(GIB), (4 * GIB) | RAM_PAGE & !AF);
}

#[test]
fn other_permissions_replace_in_place() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&ram(GIB, 4 * GIB, 2 * PAGE));
    for (mapping, leaf) in [
        (read_only(ram(GIB, 4 * GIB, PAGE)), READ_PAGE),
        (ram(GIB, 4 * GIB, PAGE), RAM_PAGE),
    ] {
        let done = bench.map(&mapping);
        assert_eq!(done.before, [Swap(POOL + PAGE, (4 * GIB) | leaf), ISHST]);
        let address = by_address(operand(3, GIB), 1);
        assert_eq!(done.discharge, invalidated(&[address]));
    }
}

/// A page that is logged by hardware: protected, with DBM set.
fn logged_by_hardware(recorder: &Recorder, has: Attributes) -> Bench<'_> {
    let mut bench = Bench::new(recorder, &with_hardware_dirty(plain()));
    bench.map(&Mapping {
        attributes: has,
        ..ram(GIB, 4 * GIB, PAGE)
    });
    bench.dirty(GIB, PAGE);
    assert_eq!(bench.raw(GIB) & DBM, DBM);
    bench
}

#[test]
fn read_only_memory_is_not_for_hardware_to_make_writable() {
    let recorder = Recorder::new(Granule::Kib4);
    for written in [0, 2 << 6] {
        let mut bench = logged_by_hardware(&recorder, Attributes::RAM);
        recorder.poke(POOL + PAGE, bench.raw(GIB) | written);
        bench.map(&read_only(ram(GIB, 4 * GIB, PAGE)));
        assert_eq!(bench.raw(GIB), (4 * GIB) | READ_PAGE);
    }
}

#[test]
fn mapping_a_logged_page_the_same_again_leaves_the_log() {
    let recorder = Recorder::new(Granule::Kib4);
    for written in [0, 2 << 6] {
        let mut bench = logged_by_hardware(&recorder, Attributes::RAM);
        let raw = bench.raw(GIB) | written;
        recorder.poke(POOL + PAGE, raw);
        assert_eq!(bench.map(&ram(GIB, 4 * GIB, PAGE)).before, [ISHST]);
        assert_eq!(bench.raw(GIB), raw);
    }
}

#[test]
fn a_logged_page_lacks_what_it_was_not_mapped_with() {
    let recorder = Recorder::new(Granule::Kib4);
    let write_only = Attributes {
        access: S2ap::WriteOnly,
        ..Attributes::RAM
    };
    let mut bench = logged_by_hardware(&recorder, write_only);
    bench.map(&ram(GIB, 4 * GIB, PAGE));
    assert_eq!(bench.raw(GIB), (4 * GIB) | RAM_PAGE);
    let mut bench = logged_by_hardware(&recorder, Attributes::RAM);
    bench.map(&Mapping {
        attributes: write_only,
        ..ram(GIB, 4 * GIB, PAGE)
    });
    assert_eq!(bench.raw(GIB), (4 * GIB) | 0x7bf);
}

#[test]
fn other_software_bits_replace_in_place() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB, GIB));
    let tagged = Mapping {
        attributes: Attributes {
            software: 9,
            ..Attributes::RAM
        },
        ..ram(GIB, 4 * GIB, GIB)
    };
    let done = bench.map(&tagged);
    let leaf = (4 * GIB) | RAM_BLOCK | 9 << 55;
    assert_eq!(done.before, [Swap(ROOT + 8, leaf), ISHST]);
}

#[test]
fn other_memory_is_locked_until_nobody_uses_what_was_there() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&ram(GIB, 4 * GIB, GIB));
    let leaf = (7 * GIB) | RAM_BLOCK;
    let done = bench.map(&ram(GIB, 7 * GIB, GIB));
    assert_eq!(done.before, [Write(ROOT + 8, locked(leaf)), ISHST]);
    let address = by_address(operand(1, GIB), 1);
    assert_eq!(done.discharge, remade(&[address], &[(ROOT + 8, leaf)]));
}

#[test]
fn another_memory_type_needs_a_break() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB, GIB));
    let uncached = Mapping {
        attributes: Attributes {
            memory: Memory::NonCacheable,
            ..Attributes::RAM
        },
        ..ram(GIB, 4 * GIB, GIB)
    };
    let leaf = (4 * GIB) | 0x6d5;
    let done = bench.map(&uncached);
    assert_eq!(done.before, [Write(ROOT + 8, locked(leaf)), ISHST]);
}

#[test]
fn a_block_takes_the_place_of_a_table_whose_page_comes_free() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB + PAGE, 4 * GIB, PAGE));
    let leaf = (8 * GIB) | RAM_BLOCK;
    let done = bench.map(&ram(GIB, 8 * GIB, MIB2));
    let expected = [Write(POOL, locked(leaf)), Write(POOL + PAGE, 2), ISHST];
    assert_eq!(done.before, expected);
    let mut expected = remade(
        &(0..512)
            .map(|page| by_address((GIB >> 12) + page, 1))
            .collect::<Vec<_>>(),
        &[(POOL, leaf)],
    );
    // 512 pages without range operations: the whole VMID is cheaper.
    expected.splice(
        1..516,
        [
            bench::tlbi(droste_arm64::tlbi::Tlbi::Vmalls12e1is, 1),
            bench::ISH,
        ],
    );
    expected.push(Give(POOL + PAGE));
    assert_eq!(done.discharge, expected);
    assert_eq!(bench.table.counters().table_pages, 1);
}

#[test]
fn a_page_within_a_block_splits_it() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&ram(GIB, 4 * GIB, MIB2));
    let old = (4 * GIB) | RAM_BLOCK;
    let done = bench.map(&ram(GIB + PAGE, 9 * GIB, PAGE));
    let child = POOL + PAGE;
    assert_eq!(done.before[..2], [Take(child), Swap(POOL, locked(old))]);
    for index in 0..512 {
        let page = (4 * GIB + index * PAGE) | RAM_PAGE;
        let at = usize::try_from(index).expect("fits") + 2;
        assert_eq!(done.before[at], Write(child + index * 8, page));
    }
    let new = (9 * GIB) | RAM_PAGE;
    let expected = [
        Write(POOL, locked(child | TABLE)),
        Write(child + 8, locked(new)),
        ISHST,
    ];
    assert_eq!(done.before[514..], expected);
    // The block's entry and the page's differ in level: no hint, and each page of the block.
    let made = [Write(child + 8, new), Write(POOL, child | TABLE), ISHST];
    assert!(done.discharge.ends_with(&made));
    assert_eq!(bench.leaf(GIB), Some((Level::L3, 4 * GIB)));
    assert_eq!(bench.leaf(GIB + PAGE), Some((Level::L3, 9 * GIB)));
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
fn blocks_of_other_permissions_change_in_place_too() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB, 2 * GIB));
    let done = bench.map(&read_only(ram(GIB, 4 * GIB, 2 * GIB)));
    let expected = [
        Swap(ROOT + 8, (4 * GIB) | READ_BLOCK),
        Swap(ROOT + 16, (5 * GIB) | READ_BLOCK),
        ISHST,
    ];
    assert_eq!(done.before, expected);
}
