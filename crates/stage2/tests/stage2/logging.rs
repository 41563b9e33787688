//! Write protection, the dirty log, and ageing.

use droste_arm64::desc::S2ap;
use droste_arm64::{Granule, Ipa, Level};
use droste_stage2::{Answer, Attributes, DirtyLog, Mapping};

use crate::bench::{
    AF, Bench, DBM, GIB, MIB2, PAGE, PERMISSION, RAM_BLOCK, RAM_PAGE, READ_BLOCK, READ_PAGE, ROOT,
    RUN, WRITE, by_address, invalidated, locked, operand, ram, runs,
};
use crate::hardware::{plain, with_hardware_dirty, with_ttl};
use crate::recorder::Event::{Lost, Swap};
use crate::recorder::{Interference, POOL, Recorder};

const PA: u64 = 4 * GIB;
const LEAVES: u64 = POOL + PAGE;

/// Pages from 1 GiB on.
fn pages(count: u64) -> Mapping {
    Mapping {
        largest: Level::L3,
        ..ram(GIB, PA, count * PAGE)
    }
}

/// A store by hardware that manages dirty state.
fn store_by_hardware(recorder: &Recorder, page: u64) {
    let at = LEAVES + page * 8;
    let raw = recorder.peek(at);
    assert_eq!(raw & DBM, DBM, "it manages nothing without DBM");
    recorder.poke(at, raw | 2 << 6 | AF);
}

#[test]
fn protecting_takes_stores_from_valid_leaves_in_place() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&pages(4));
    let done = bench.write_protect(GIB + PAGE, 2 * PAGE);
    let expected = [1, 2].map(|page| Swap(LEAVES + page * 8, (PA + page * PAGE) | READ_PAGE));
    assert_eq!(done.before, expected);
    let addresses = [1, 2].map(|page| by_address(operand(3, GIB + page * PAGE), 1));
    assert_eq!(done.discharge, invalidated(&addresses));
    let again = bench.write_protect(GIB + PAGE, 2 * PAGE);
    assert!(again.before.is_empty() && again.was_nothing);
}

#[test]
fn blocks_are_protected_whole() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(with_hardware_dirty(plain())));
    bench.map(&ram(GIB, PA, GIB));
    let done = bench.write_protect(GIB + MIB2, PAGE);
    // Hardware does not manage a block: its dirty state would tell of no page.
    assert_eq!(done.before, [Swap(ROOT + 8, PA | READ_BLOCK)]);
    let address = by_address(operand(1, GIB), 1);
    assert_eq!(done.discharge, invalidated(&[address]));
}

#[test]
fn what_may_not_be_read_may_do_nothing_once_it_is_protected() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&Mapping {
        attributes: Attributes {
            access: S2ap::WriteOnly,
            ..Attributes::RAM
        },
        ..ram(GIB, PA, GIB)
    });
    bench.write_protect(GIB, GIB);
    assert_eq!(bench.raw(GIB), PA | 0x73d);
}

#[test]
fn protecting_covers_what_the_range_touches_of_a_run() {
    let recorder = Recorder::new(Granule::Kib4);
    for (first, count, expected) in [
        (0, 1, 0..16),
        (15, 1, 0..16),
        (5, 3, 0..16),
        (16, 16, 16..32),
        (15, 2, 0..32),
        (31, 2, 16..33),
        (32, 1, 32..33),
    ] {
        let mut bench = Bench::new(&recorder, &plain());
        bench.map(&runs(pages(34)));
        let (reported, _) = bench.dirty(GIB + first * PAGE, count * PAGE);
        let reported: Vec<_> = reported.iter().map(|(ipa, _)| (ipa - GIB) / PAGE).collect();
        assert_eq!(reported, expected.clone().collect::<Vec<_>>());
        for page in 0..34 {
            let is_run = page < 32;
            let leaf = if expected.contains(&page) {
                READ_PAGE
            } else {
                RAM_PAGE
            };
            let raw = (PA + page * PAGE) | leaf | if is_run { RUN } else { 0 };
            assert_eq!(bench.raw(GIB + page * PAGE), raw, "page {page}");
        }
    }
}

#[test]
fn each_written_page_is_reported_once_and_again_once_written_again() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.slot(GIB, PA, GIB, Attributes::RAM);
    bench.slots.set_log(Ipa(GIB), DirtyLog::On).expect("there");
    bench.map(&pages(32));
    bench.write_protect(GIB, GIB);
    for written in [vec![3, 4, 20], vec![3]] {
        for page in &written {
            let ipa = GIB + page * PAGE;
            assert_eq!(bench.answer(WRITE | PERMISSION, ipa), Answer::Relaxed);
        }
        let (reported, done) = bench.dirty(GIB, GIB);
        let expected: Vec<_> = written
            .iter()
            .map(|page| (GIB + page * PAGE, PAGE))
            .collect();
        assert_eq!(reported, expected);
        assert!(!done.was_nothing);
        let (reported, done) = bench.dirty(GIB, GIB);
        assert!(reported.is_empty() && done.was_nothing && done.before.is_empty());
    }
}

#[test]
fn only_the_range_is_reported_and_blocks_whole() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, PA, MIB2));
    bench.map(&ram(GIB + MIB2, PA, 3 * PAGE));
    let (reported, _) = bench.dirty(GIB + 7 * PAGE, MIB2 - 6 * PAGE);
    assert_eq!(reported, [(GIB, MIB2), (GIB + MIB2, PAGE)]);
    assert_eq!(bench.raw(GIB + MIB2 + PAGE) & 2 << 6, 2 << 6);
}

#[test]
fn hardware_logs_stores_to_pages_without_a_fault() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_hardware_dirty(plain()));
    bench.map(&pages(8));
    bench.dirty(GIB, GIB);
    for page in 0..8 {
        let raw = bench.raw(GIB + page * PAGE);
        assert_eq!(raw, (PA + page * PAGE) | READ_PAGE | DBM);
    }
    for _ in 0..2 {
        store_by_hardware(&recorder, 2);
        store_by_hardware(&recorder, 7);
        let (reported, _) = bench.dirty(GIB, GIB);
        assert_eq!(reported, [(GIB + 2 * PAGE, PAGE), (GIB + 7 * PAGE, PAGE)]);
        assert!(bench.dirty(GIB, GIB).0.is_empty());
    }
}

#[test]
fn what_is_write_protected_is_not_for_hardware_to_make_writable() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_hardware_dirty(plain()));
    bench.map(&pages(2));
    bench.dirty(GIB, PAGE);
    bench.write_protect(GIB, 2 * PAGE);
    assert_eq!(bench.raw(GIB), PA | READ_PAGE, "logged before");
    assert_eq!(bench.raw(GIB + PAGE), (PA + PAGE) | READ_PAGE);
}

#[test]
fn hardware_does_not_manage_a_run() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_hardware_dirty(plain()));
    bench.slot(GIB, PA, GIB, Attributes::RAM);
    bench.slots.set_log(Ipa(GIB), DirtyLog::On).expect("there");
    bench.map(&runs(pages(16)));
    bench.dirty(GIB, GIB);
    // One TLB entry serves all of a run: it is dirty with the first page stored to, and says nothing of the others.
    for page in 0..16 {
        let raw = bench.raw(GIB + page * PAGE);
        assert_eq!(raw, (PA + page * PAGE) | READ_PAGE | RUN);
    }
    let store = WRITE | PERMISSION;
    assert_eq!(bench.answer(store, GIB + 5 * PAGE), Answer::Relaxed);
    assert_eq!(bench.dirty(GIB, GIB).0, [(GIB + 5 * PAGE, PAGE)]);
    // What was a run is pages now, and hardware can tell those apart.
    assert_eq!(bench.raw(GIB + 5 * PAGE), (PA + 5 * PAGE) | READ_PAGE | DBM);
}

#[test]
fn a_store_by_hardware_during_the_protection_is_not_lost() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_hardware_dirty(plain()));
    bench.map(&pages(1));
    // The access flag changes under it; it reads again.
    recorder.interference.set(Some(Interference {
        at: LEAVES,
        value: (PA | RAM_PAGE) & !AF,
    }));
    let (reported, done) = bench.dirty(GIB, PAGE);
    assert_eq!(reported, [(GIB, PAGE)]);
    let protected = (PA | READ_PAGE) & !AF | DBM;
    assert_eq!(done.before, [Lost(LEAVES), Swap(LEAVES, protected)]);
}

#[test]
fn ageing_counts_what_was_used_and_tells_no_tlb() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&pages(8));
    bench.map(&ram(4 * GIB, PA, 2 * GIB));
    recorder.take_trace();
    assert_eq!(bench.table.age(&recorder, Ipa(0), 1 << 40), Ok(10));
    assert_eq!(recorder.take_trace().len(), 10, "a compare-exchange each");
    assert_eq!(bench.table.age(&recorder, Ipa(0), 1 << 40), Ok(0));
    assert_eq!(recorder.take_trace(), []);
    assert_eq!(bench.raw(4 * GIB), (PA | RAM_BLOCK) & !AF);
    recorder.poke(LEAVES + 3 * 8, (PA + 3 * PAGE) | RAM_PAGE);
    assert_eq!(bench.table.age(&recorder, Ipa(GIB), 3 * PAGE), Ok(0));
    assert_eq!(bench.table.age(&recorder, Ipa(GIB), 4 * PAGE), Ok(1));
}

#[test]
fn ageing_looks_at_each_leaf_of_a_run() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&runs(pages(32)));
    assert_eq!(
        bench.table.age(&recorder, Ipa(GIB + 14 * PAGE), 4 * PAGE),
        Ok(4)
    );
    for page in 0..32 {
        let is_young = !(14..18).contains(&page);
        let raw = bench.raw(GIB + page * PAGE);
        assert_eq!(raw & AF != 0, is_young);
        assert_eq!(raw & RUN, RUN, "it is a run still");
    }
}

#[test]
fn ageing_passes_by_entries_that_are_being_replaced() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&pages(3));
    let during = locked((PA + PAGE) | RAM_PAGE);
    recorder.poke(LEAVES + 8, during);
    assert_eq!(bench.table.age(&recorder, Ipa(GIB), 3 * PAGE), Ok(2));
    assert_eq!(recorder.peek(LEAVES + 8), during);
    // One that is taken away under its hands.
    recorder.poke(LEAVES, PA | RAM_PAGE);
    recorder.interference.set(Some(Interference {
        at: LEAVES,
        value: locked(PA | RAM_PAGE),
    }));
    assert_eq!(bench.table.age(&recorder, Ipa(GIB), 3 * PAGE), Ok(0));
    assert_eq!(recorder.peek(LEAVES), locked(PA | RAM_PAGE));
}

#[test]
fn ageing_does_not_count_what_another_cpu_aged_meanwhile() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&pages(1));
    recorder.interference.set(Some(Interference {
        at: LEAVES,
        value: (PA | RAM_PAGE) & !AF,
    }));
    assert_eq!(bench.table.age(&recorder, Ipa(GIB), PAGE), Ok(0));
}
