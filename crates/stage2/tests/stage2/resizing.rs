//! Splitting and collapsing: translations stay what they are.

use droste_arm64::desc::{S2ap, Xn};
use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Granule, Ipa, Level};
use droste_stage2::{Attributes, Error, Mapping, Memory};

use crate::bench::{
    Bench, GIB, ISH, ISHST, MIB2, PAGE, RAM_BLOCK, ROOT, RUN, TABLE, by_address, locked, operand,
    ram, remade, runs, tlbi,
};
use crate::hardware::{plain, with_bbm, with_hardware_dirty, with_ttl};
use crate::recorder::Event::{Give, Isb, Swap, Take, Write};
use crate::recorder::{Event, Interference, POOL, Recorder};

const PA: u64 = 4 * GIB;
/// The whole VMID at once.
const WHOLE: Event = Event::Tlbi(Tlbi::Vmalls12e1is, 1 << 48 | ROOT);

/// Pages from 1 GiB on.
fn pages(count: u64) -> Mapping {
    Mapping {
        largest: Level::L3,
        ..ram(GIB, PA, count * PAGE)
    }
}

#[test]
fn a_split_block_is_locked_until_its_table_can_take_its_place() {
    let recorder = Recorder::new(Granule::Kib4);
    for bbm in [0, 1] {
        let mut bench = Bench::new(&recorder, &with_bbm(with_ttl(plain()), bbm));
        bench.map(&ram(GIB, PA, GIB));
        let done = bench.split(GIB + 5 * MIB2, PAGE, Level::L2);
        let mut expected = vec![Take(POOL), Swap(ROOT + 8, locked(PA | RAM_BLOCK))];
        expected.extend((0..512).map(|n| Write(POOL + n * 8, (PA + n * MIB2) | RAM_BLOCK)));
        expected.push(Write(ROOT + 8, locked(POOL | TABLE)));
        assert_eq!(done.before, expected);
        let address = by_address(operand(1, GIB), 1);
        assert_eq!(
            done.discharge,
            remade(&[address], &[(ROOT + 8, POOL | TABLE)])
        );
    }
}

#[test]
fn at_bbm_level_2_the_table_takes_the_blocks_place_at_once() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_bbm(with_ttl(plain()), 2));
    bench.map(&ram(GIB, PA, GIB));
    let done = bench.split(GIB, PAGE, Level::L2);
    assert_eq!(done.before[0], Take(POOL));
    assert_eq!(done.before[513..], [ISHST, Swap(ROOT + 8, POOL | TABLE)]);
    let address = by_address(operand(1, GIB), 1);
    let invalidated = [ISH, address, ISH, tlbi(Tlbi::Vmalle1is, 1), ISH, Isb];
    assert_eq!(done.discharge, invalidated);
}

#[test]
fn hardware_that_notes_an_access_during_a_split_is_waited_for() {
    for bbm in [0, 2] {
        let recorder = Recorder::new(Granule::Kib4);
        let mut bench = Bench::new(&recorder, &with_bbm(plain(), bbm));
        bench.map(&ram(GIB, PA, GIB));
        bench.table.age(&recorder, Ipa(GIB), GIB).expect("in range");
        recorder.interference.set(Some(Interference {
            at: ROOT + 8,
            value: PA | RAM_BLOCK,
        }));
        assert_eq!(bench.split(GIB, PAGE, Level::L2).result, Ok(()));
        assert_eq!(bench.raw(GIB + MIB2), (PA + MIB2) | RAM_BLOCK, "and kept");
        assert_eq!(bench.page_count(), 64);
    }
}

#[test]
fn splitting_goes_down_to_the_level_asked_for() {
    let recorder = Recorder::new(Granule::Kib4);
    for (to, first, second) in [
        (Level::L1, Level::L1, Level::L1),
        (Level::L2, Level::L2, Level::L2),
        (Level::L3, Level::L3, Level::L2),
    ] {
        let mut bench = Bench::new(&recorder, &plain());
        bench.map(&ram(GIB, PA, GIB));
        assert_eq!(bench.split(GIB + MIB2, PAGE, to).result, Ok(()));
        assert_eq!(bench.leaf(GIB + MIB2), Some((first, PA + MIB2)));
        assert_eq!(bench.leaf(GIB), Some((second, PA)), "beside the range");
    }
}

#[test]
fn splitting_pages_and_holes_does_nothing() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, PA, PAGE));
    for (ipa, bytes) in [(GIB, PAGE), (GIB + PAGE, PAGE), (0, 1 << 40)] {
        let done = bench.split(ipa, bytes, Level::L3);
        assert_eq!((done.before, done.discharge), (vec![], vec![]));
    }
}

#[test]
fn a_long_range_is_split_piece_by_piece() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, PA, 16 * MIB2));
    for piece in 0..16 {
        let ipa = GIB + piece * MIB2;
        assert_eq!(bench.split(ipa, MIB2, Level::L3).result, Ok(()));
        for block in 0..16 {
            let level = if block <= piece { Level::L3 } else { Level::L2 };
            let at = GIB + block * MIB2 + 0x5008;
            assert_eq!(bench.leaf(at), Some((level, at + 3 * GIB)));
        }
    }
}

#[test]
fn a_split_that_lacks_a_page_in_the_middle_can_be_repeated() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, PA, 4 * MIB2));
    let rest = bench.pool.keep(2);
    let done = bench.split(GIB, 4 * MIB2, Level::L3);
    let missing = GIB + 2 * MIB2;
    assert_eq!(done.result, Err(Error::NoTablePage { ipa: Ipa(missing) }));
    let levels = |bench: &Bench<'_>| {
        [0, 1, 2, 3].map(|n| bench.leaf(GIB + n * MIB2).map(|(level, _)| level.number()))
    };
    assert_eq!(levels(&bench), [Some(3), Some(3), Some(2), Some(2)]);
    bench.pool.refill(rest);
    assert_eq!(bench.split(GIB, 4 * MIB2, Level::L3).result, Ok(()));
    assert_eq!(levels(&bench), [Some(3); 4]);
    assert_eq!(bench.page_count(), 64);
}

#[test]
fn runs_in_the_range_become_single_leaves() {
    let recorder = Recorder::new(Granule::Kib4);
    for (bbm, to) in [(0, Level::L3), (0, Level::L2), (2, Level::L3)] {
        let mut bench = Bench::new(&recorder, &with_bbm(plain(), bbm));
        bench.map(&runs(ram(GIB, PA, 32 * MIB2)));
        assert_eq!(bench.split(GIB + 3 * MIB2, MIB2, to).result, Ok(()));
        for block in 0..32 {
            let ipa = GIB + block * MIB2;
            let is_split = block == 3 && to == Level::L3;
            let level = if is_split { Level::L3 } else { Level::L2 };
            assert_eq!(bench.leaf(ipa), Some((level, ipa + 3 * GIB)));
            assert_eq!(bench.raw(ipa) & RUN != 0, block >= 16, "block {block}");
        }
    }
}

#[test]
fn pages_become_a_block_whose_table_comes_free_after_it() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&pages(512));
    let table = POOL + PAGE;
    let block = PA | RAM_BLOCK;
    let done = bench.collapse(GIB, MIB2, Level::Minus1);
    assert_eq!(done.before, [Write(POOL, locked(block)), Write(table, 2)]);
    let expected = [ISH, WHOLE, ISH, Isb, Write(POOL, block), ISHST, Give(table)];
    assert_eq!(done.discharge, expected);
}

#[test]
fn at_bbm_level_2_a_block_takes_the_tables_place_at_once() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_bbm(plain(), 2));
    bench.map(&pages(512));
    let table = POOL + PAGE;
    let done = bench.collapse(GIB, MIB2, Level::Minus1);
    assert_eq!(done.before, [Write(POOL, PA | RAM_BLOCK), Write(table, 2)]);
    assert_eq!(done.discharge, [ISH, WHOLE, ISH, Isb, Give(table)]);
}

#[test]
fn at_bbm_level_2_a_block_that_permits_more_than_its_pages_takes_a_break() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_bbm(plain(), 2));
    bench.map(&pages(512));
    bench.write_protect(GIB + 9 * PAGE, PAGE);
    let done = bench.collapse(GIB, MIB2, Level::Minus1);
    assert_eq!(done.before[0], Write(POOL, locked(PA | RAM_BLOCK)));
}

#[test]
fn pages_and_blocks_become_one_large_block_in_one_go() {
    for bbm in [0, 2] {
        let recorder = Recorder::new(Granule::Kib4);
        let mut bench = Bench::new(&recorder, &with_bbm(plain(), bbm));
        bench.map(&ram(GIB, PA, GIB));
        // The first and a middle one of the blocks become pages.
        for ipa in [GIB, GIB + 77 * MIB2] {
            bench.split(ipa, PAGE, Level::L3);
        }
        assert_eq!(bench.table.counters().table_pages, 3);
        let done = bench.collapse(GIB, GIB, Level::Minus1);
        assert_eq!(done.result, Ok(()));
        let is_valid = |event: &Event| matches!(event, Write(_, value) if value & 1 != 0);
        assert_eq!(done.before.iter().any(is_valid), bbm == 2);
        assert_eq!(bench.raw(GIB), PA | RAM_BLOCK);
        assert_eq!(bench.leaf(2 * GIB - 1), Some((Level::L1, PA + GIB - 1)));
        assert_eq!(bench.table.counters().table_pages, 0);
        assert_eq!(bench.page_count(), 64);
    }
}

#[test]
fn a_collapse_ends_at_the_level_asked_for() {
    let recorder = Recorder::new(Granule::Kib4);
    for (largest, expected) in [
        (Level::L1, Level::L1),
        (Level::L2, Level::L2),
        (Level::L3, Level::L3),
    ] {
        let mut bench = Bench::new(&recorder, &plain());
        bench.map(&ram(GIB, PA, GIB));
        bench.split(GIB, PAGE, Level::L3);
        bench.collapse(GIB, GIB, largest);
        assert_eq!(bench.leaf(GIB), Some((expected, PA)));
    }
}

#[test]
fn tables_that_reach_beyond_the_range_stay() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&pages(1024));
    for (ipa, bytes) in [
        (GIB, MIB2 - PAGE),
        (GIB + PAGE, MIB2 - PAGE),
        (GIB + PAGE, 2 * MIB2 - 2 * PAGE),
    ] {
        assert!(bench.collapse(ipa, bytes, Level::Minus1).was_nothing);
    }
    bench.collapse(GIB + PAGE, 2 * MIB2 - PAGE, Level::Minus1);
    assert_eq!(bench.leaf(GIB), Some((Level::L3, PA)));
    assert_eq!(bench.leaf(GIB + MIB2), Some((Level::L2, PA + MIB2)));
}

#[test]
fn pages_that_no_block_can_stand_for_stay() {
    let recorder = Recorder::new(Granule::Kib4);
    let page = |change: Attributes| Mapping {
        attributes: change,
        ..ram(GIB + 100 * PAGE, PA + 100 * PAGE, PAGE)
    };
    let elsewhere = ram(GIB + 100 * PAGE, PA, PAGE);
    let tagged = page(Attributes {
        software: 1,
        ..Attributes::RAM
    });
    let uncached = page(Attributes {
        memory: Memory::NonCacheable,
        ..Attributes::RAM
    });
    for odd in [elsewhere, tagged, uncached] {
        let mut bench = Bench::new(&recorder, &plain());
        bench.map(&pages(512));
        bench.map(&odd);
        let done = bench.collapse(GIB, MIB2, Level::Minus1);
        assert!(done.was_nothing && done.before.is_empty(), "{odd:?}");
    }
    for hole in [0, 100, 511] {
        let mut bench = Bench::new(&recorder, &plain());
        bench.map(&pages(512));
        bench.unmap(GIB + hole * PAGE, PAGE);
        assert!(
            bench.collapse(GIB, MIB2, Level::Minus1).was_nothing,
            "a hole at {hole}"
        );
    }
    // An output that is not as aligned as the block.
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, PA + PAGE, MIB2));
    assert!(bench.collapse(GIB, MIB2, Level::Minus1).was_nothing);
}

#[test]
fn a_collapse_never_takes_a_permission_away_and_may_add_the_slots() {
    let recorder = Recorder::new(Granule::Kib4);
    let with = |attributes| Mapping {
        attributes,
        ..pages(512)
    };
    let not_executable = Attributes {
        execute: Xn::Nowhere,
        ..Attributes::RAM
    };
    let write_only = Attributes {
        access: S2ap::WriteOnly,
        ..Attributes::RAM
    };
    for (has, to, is_collapsed) in [
        (Attributes::RAM, Attributes::RAM, true),
        (Attributes::ROM, Attributes::RAM, true),
        (Attributes::RAM, Attributes::ROM, false),
        (Attributes::RAM, not_executable, false),
        (Attributes::READ_ONLY, Attributes::DATA, true),
        (Attributes::RAM, write_only, false),
        (write_only, Attributes::RAM, true),
    ] {
        let mut bench = Bench::new(&recorder, &plain());
        bench.map(&with(has));
        let done =
            bench.run(|table, machine, _| table.collapse(machine, Ipa(GIB), MIB2, Level::L2, to));
        assert_eq!(!done.was_nothing, is_collapsed, "{has:?} {to:?}");
        if is_collapsed {
            let execute = if to == Attributes::DATA { 2 << 53 } else { 0 };
            assert_eq!(bench.raw(GIB), PA | RAM_BLOCK | execute);
        }
    }
}

#[test]
fn what_was_noted_of_its_use_does_not_keep_a_page() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_hardware_dirty(plain()));
    bench.map(&runs(pages(512)));
    // The log is over: some pages were aged, all are managed by hardware and a few were written.
    bench.write_protect(GIB, MIB2);
    bench
        .table
        .age(&recorder, Ipa(GIB), 7 * PAGE)
        .expect("in range");
    bench.collapse(GIB, MIB2, Level::L2);
    assert_eq!(bench.raw(GIB), PA | RAM_BLOCK);
    assert_eq!(bench.page_count(), 64);
}

#[test]
fn a_collapse_of_the_whole_space_reaches_its_top() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    let top = 1 << 40;
    bench.map(&Mapping {
        largest: Level::L3,
        ..ram(top - MIB2, PA, MIB2)
    });
    bench.collapse(0, top, Level::Minus1);
    assert_eq!(bench.leaf(top - 1), Some((Level::L2, PA + MIB2 - 1)));
}
