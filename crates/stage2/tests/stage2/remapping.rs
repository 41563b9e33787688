//! Mapping over what is mapped, the same or something else, verb by verb.

use droste_arm64::desc::S2ap;
use droste_arm64::{Granule, Ipa, Level};
use droste_stage2::{Attributes, Mapping, Memory};

use crate::bench::{
    self, AF, Bench, DBM, GIB, ISHST, MIB2, PAGE, RAM_BLOCK, RAM_PAGE, READ_BLOCK, READ_PAGE, ROOT,
    TABLE, by_address, invalidated, locked, operand, ram, read_only, remade,
};
use crate::hardware::{plain, with_hardware_dirty, with_ttl};
use crate::recorder::Event::{Give, Swap, Take, Write};
use crate::recorder::{POOL, Recorder};

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
