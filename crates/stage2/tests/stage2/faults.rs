//! Faults that find a hole, and those that no table answers.

use droste_arm64::desc::{S2ap, Xn};
use droste_arm64::esr::{AccessSize, Direction, Esr};
use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Granule, IdRegisters, Ipa, Level};
use droste_stage2::{
    Answer, Attributes, Contexts, Decision, DirtyLog, Error, FAULT_AROUND, Fault, Ic, Memory,
    PageCache, PageSupply, Privilege, Reason,
};

use crate::bench::{
    Bench, DBM, FETCH, GIB, ISH, ISHST, MIB2, NSH, PAGE, PERMISSION, RAM_BLOCK, RAM_PAGE, READ,
    READ_PAGE, ROOT, S1PTW, TABLE, WRITE, locked, ram, tlbi,
};
use crate::hardware::{plain, with_caches, with_fwb, with_hardware_dirty, with_xnx};
use crate::recorder::Event::{Clean, Ic as Cache, Isb, Lost, Swap, Zero};
use crate::recorder::{Event, Interference, POOL, Recorder};

const RAM: u64 = 4 * GIB;
const ROM: u64 = 8 * GIB;
const DEVICE: u64 = 9 * GIB;
const OFFSET: u64 = 16 * GIB;
/// The pages that a full cache gives, in order.
const GIVEN: [u64; 4] = [POOL + 3 * PAGE, POOL + 2 * PAGE, POOL + PAGE, POOL];

fn bench<'r>(recorder: &'r Recorder, ids: &IdRegisters) -> Bench<'r> {
    let mut bench = Bench::new(recorder, ids);
    for (ipa, attributes) in [
        (RAM, Attributes::RAM),
        (ROM, Attributes::READ_ONLY),
        (DEVICE, Attributes::DEVICE),
    ] {
        bench.slot(ipa, ipa + OFFSET, GIB, attributes);
    }
    bench
}

/// The same with RAM that is off by a page, so that nothing larger fits.
fn paged<'r>(recorder: &'r Recorder, ids: &IdRegisters) -> Bench<'r> {
    let mut bench = Bench::new(recorder, ids);
    bench.slot(RAM, RAM + OFFSET + PAGE, GIB, Attributes::RAM);
    bench
}

/// What a leaf at a page of [`paged`] RAM is.
fn page_at(ipa: u64) -> u64 {
    (ipa + OFFSET + PAGE) | RAM_PAGE
}

#[test]
fn a_fault_maps_the_largest_block_and_nothing_else() {
    for (ids, leaf) in [(plain(), RAM_BLOCK), (with_fwb(plain()), 0x7d9)] {
        let recorder = Recorder::new(Granule::Kib4);
        let mut bench = bench(&recorder, &ids);
        let (answer, trace) = bench.fault(WRITE, RAM + 0x12_3456);
        assert_eq!(answer, Ok(Answer::Mapped));
        assert_eq!(trace, [Swap(ROOT + 4 * 8, (RAM + OFFSET) | leaf), ISHST]);
        assert_eq!(bench.table.counters().faults, 1);
    }
}

#[test]
fn a_page_comes_with_the_sixteen_around_it_and_after_its_tables() {
    for (ids, attributes) in [(plain(), RAM_PAGE), (with_fwb(plain()), 0x7db)] {
        let recorder = Recorder::new(Granule::Kib4);
        let mut bench = paged(&recorder, &ids);
        let at = RAM + MIB2 + 0x25 * PAGE;
        let (answer, trace) = bench.fault(READ, at + 0x123);
        assert_eq!(answer, Ok(Answer::Mapped));
        let [level2, level3, ..] = GIVEN;
        let leaf = |page: u64| {
            let output = RAM + MIB2 + page * PAGE + OFFSET + PAGE;
            Swap(level3 + page * 8, output | attributes)
        };
        let mut expected = vec![
            Zero(level2, PAGE),
            ISHST,
            Swap(ROOT + 4 * 8, level2 | TABLE),
            Zero(level3, PAGE),
            ISHST,
            Swap(level2 + 8, level3 | TABLE),
            leaf(0x25),
        ];
        expected.extend((0x20..0x30).filter(|page| *page != 0x25).map(leaf));
        expected.push(ISHST);
        assert_eq!(trace, expected);
        assert_eq!(bench.table.counters().table_pages, 2);
    }
}

#[test]
fn the_pages_around_end_with_the_slot() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.slot(RAM + 3 * PAGE, OFFSET, 6 * PAGE, Attributes::RAM);
    bench.slot(RAM + 9 * PAGE, 2 * OFFSET, PAGE, Attributes::READ_ONLY);
    assert_eq!(bench.answer(READ, RAM + 5 * PAGE), Answer::Mapped);
    for page in 0..16 {
        let output = (3..9).contains(&page).then(|| OFFSET + (page - 3) * PAGE);
        assert_eq!(
            bench.leaf(RAM + page * PAGE),
            output.map(|output| (Level::L3, output)),
            "page {page}"
        );
    }
}

#[test]
fn the_pages_around_leave_alone_what_is_there() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = paged(&recorder, &plain());
    bench.map(&ram(RAM + 2 * PAGE, 0, PAGE));
    assert_eq!(bench.answer(READ, RAM), Answer::Mapped);
    assert_eq!(bench.raw(RAM + 2 * PAGE), RAM_PAGE);
    for page in (0..FAULT_AROUND).filter(|page| *page != 2) {
        let ipa = RAM + page * PAGE;
        assert_eq!(bench.raw(ipa), page_at(ipa));
    }
    assert_eq!(bench.leaf(RAM + FAULT_AROUND * PAGE), None);
}

#[test]
fn a_hole_among_pages_is_filled_with_pages() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = bench(&recorder, &plain());
    bench.map(&ram(RAM + 0x5000, RAM + OFFSET + 0x5000, PAGE));
    assert_eq!(bench.answer(READ, RAM + 0x6abc), Answer::Mapped);
    assert_eq!(
        bench.leaf(RAM + 0x6000),
        Some((Level::L3, RAM + OFFSET + 0x6000))
    );
    assert_eq!(bench.answer(READ, RAM + MIB2), Answer::Mapped);
    assert_eq!(
        bench.leaf(RAM + MIB2),
        Some((Level::L2, RAM + OFFSET + MIB2))
    );
}

#[test]
fn a_logged_slot_is_mapped_by_pages_and_writable_where_it_was_written() {
    for (ids, dbm) in [(plain(), 0), (with_hardware_dirty(plain()), DBM)] {
        let recorder = Recorder::new(Granule::Kib4);
        let mut bench = bench(&recorder, &ids);
        bench.slots.set_log(Ipa(RAM), DirtyLog::On).expect("there");
        assert_eq!(bench.answer(WRITE, RAM + 3 * PAGE), Answer::Mapped);
        assert_eq!(bench.answer(READ, RAM + 20 * PAGE), Answer::Mapped);
        for page in 0..32 {
            let ipa = RAM + page * PAGE;
            let leaf = if page == 3 { RAM_PAGE } else { READ_PAGE };
            assert_eq!(bench.raw(ipa), (ipa + OFFSET) | leaf | dbm, "page {page}");
        }
        let (written, _) = bench.dirty(RAM, GIB);
        assert_eq!(written, [(RAM + 3 * PAGE, PAGE)]);
    }
}

#[test]
fn the_same_fault_on_another_cpu_is_retried() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = bench(&recorder, &plain());
    assert_eq!(bench.answer(WRITE, RAM), Answer::Mapped);
    assert_eq!(bench.fault(WRITE, RAM + MIB2), (Ok(Answer::Retry), vec![]));
    assert_eq!(bench.table.counters().faults, 1);
}

#[test]
fn a_race_lost_at_the_leaf_is_retried() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = bench(&recorder, &plain());
    recorder.interference.set(Some(Interference {
        at: ROOT + 4 * 8,
        value: (RAM + OFFSET) | RAM_BLOCK,
    }));
    let (answer, trace) = bench.fault(READ, RAM);
    assert_eq!(answer, Ok(Answer::Retry));
    assert_eq!(trace, [Lost(ROOT + 4 * 8), ISHST]);
    assert_eq!(bench.table.counters().faults, 0);
}

#[test]
fn a_page_of_a_race_lost_at_a_link_is_given_back() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = paged(&recorder, &plain());
    let theirs = POOL + 0x10_0000;
    for index in 0..512 {
        recorder.poke(theirs + index * 8, 0);
    }
    recorder.interference.set(Some(Interference {
        at: ROOT + 4 * 8,
        value: theirs | TABLE,
    }));
    let (answer, trace) = bench.fault(READ, RAM);
    assert_eq!(answer, Ok(Answer::Retry));
    assert_eq!(trace, [Zero(GIVEN[0], PAGE), ISHST, Lost(ROOT + 4 * 8)]);
    assert!(bench.pages.is_full(), "the page is back in the cache");
    assert_eq!(bench.table.counters().table_pages, 0);
    assert_eq!(bench.answer(READ, RAM), Answer::Mapped);
    assert_eq!(bench.raw(RAM), page_at(RAM));
}

#[test]
fn a_fault_at_an_entry_that_is_being_replaced_is_retried() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = bench(&recorder, &plain());
    for esr in [READ, WRITE, FETCH, WRITE | PERMISSION] {
        recorder.poke(ROOT + 4 * 8, locked((RAM + OFFSET) | RAM_BLOCK));
        assert_eq!(bench.fault(esr, RAM), (Ok(Answer::Retry), vec![]));
    }
    assert_eq!(bench.leaf(RAM), None);
}

#[test]
fn a_fault_without_a_page_for_its_table_can_be_repeated() {
    let recorder = Recorder::new(Granule::Kib4);
    for pages in 0..2 {
        let mut bench = paged(&recorder, &plain());
        for _ in 0..pages {
            let page = bench.pool.take().expect("enough");
            bench.pages.give(page);
        }
        let (answer, trace) = bench.fault_with_what_is_left(WRITE, RAM + 8, Privilege::El1);
        assert_eq!(answer, Err(Error::NoTablePage { ipa: Ipa(RAM + 8) }));
        assert_eq!(trace.last(), Some(&ISHST), "walks see what was linked");
        assert_eq!(bench.answer(WRITE, RAM), Answer::Mapped);
        assert_eq!(bench.page_count(), 64);
    }
}

#[test]
fn a_full_cache_is_enough_for_any_fault() {
    let ids = crate::hardware::wide();
    let recorder = Recorder::new(Granule::Kib4);
    let geometry = crate::bench::geometry(Granule::Kib4, 52, &ids);
    let highest = geometry.starting_at(Level::Minus1, &ids);
    let mut bench = Bench::with(&recorder, highest.unwrap_or(geometry), &ids, 1);
    bench.slot(0, PAGE, GIB, Attributes::RAM);
    assert_eq!(bench.answer(WRITE, 0), Answer::Mapped);
    assert_eq!(bench.leaf(0), Some((Level::L3, PAGE)));
    assert!(bench.table.counters().table_pages <= PageCache::CAPACITY as u64);
}

#[test]
fn a_decision_is_void_once_the_slots_have_changed() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = bench(&recorder, &plain());
    bench.fill_pages();
    let fault = Fault::new(Esr(WRITE), Ipa(RAM), Privilege::El1).expect("a fault");
    let Decision::Install(proposal) = bench.slots.resolve(&fault) else {
        panic!("there is a slot");
    };
    bench.slots.remove(Ipa(RAM)).expect("there");
    let contexts: Vec<_> = bench.contexts.iter().collect();
    let contexts = Contexts {
        vmids: &bench.vmids,
        all: &contexts,
    };
    let now = bench.slots.sequence();
    let answer = bench
        .table
        .install(&recorder, &mut bench.pages, &contexts, &proposal, now);
    assert_eq!(answer, Ok(Answer::Retry));
    assert_eq!(recorder.take_trace(), []);
    assert_eq!(bench.answer(WRITE, RAM), Answer::Mmio(None));
}

#[test]
fn memory_that_is_mapped_elsewhere_is_an_error_and_no_endless_loop() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = bench(&recorder, &plain());
    bench.map(&ram(RAM, OFFSET, GIB));
    for esr in [READ, WRITE | PERMISSION] {
        let (answer, trace) = bench.fault(esr, RAM + 8);
        assert_eq!(answer, Err(Error::AlreadyMapped { ipa: Ipa(RAM + 8) }));
        assert_eq!(trace, []);
    }
}

#[test]
fn what_a_slot_denies_is_refused_whether_it_is_mapped_or_not() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = bench(&recorder, &plain());
    let write_only = Attributes {
        access: S2ap::WriteOnly,
        ..Attributes::DATA
    };
    bench.slot(10 * GIB, 10 * GIB + OFFSET, GIB, write_only);
    for _ in 0..2 {
        for (esr, ipa, reason) in [
            (WRITE, ROM, Reason::ReadOnly),
            (WRITE | PERMISSION, ROM, Reason::ReadOnly),
            (FETCH, ROM, Reason::NotExecutable),
            (FETCH, DEVICE, Reason::NotExecutable),
            (FETCH, 5 * GIB, Reason::NotExecutable),
            (READ, 10 * GIB, Reason::NotReadable),
        ] {
            let expected = (Ok(Answer::Inject(reason)), vec![]);
            assert_eq!(bench.fault(esr, ipa), expected);
        }
        for (esr, ipa) in [(READ, ROM), (WRITE, DEVICE), (WRITE, 10 * GIB)] {
            assert!(matches!(
                bench.answer(esr, ipa),
                Answer::Mapped | Answer::Retry
            ));
        }
    }
}

#[test]
fn an_address_without_a_slot_is_a_devices_to_emulate() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = bench(&recorder, &plain());
    // A load of W3, two bytes wide.
    let described = READ | 1 << 24 | 1 << 22 | 3 << 16;
    let Answer::Mmio(Some(access)) = bench.answer(described, 5 * GIB) else {
        panic!("the syndrome describes it");
    };
    assert_eq!((access.size, access.register), (AccessSize::Halfword, 3));
    assert_eq!(access.direction, Direction::Read);
    for (esr, ipa) in [
        (READ, 5 * GIB),
        (WRITE, 0),
        (READ, u64::MAX),
        (WRITE | 1 << 8, 1 << 40),
    ] {
        assert_eq!(bench.fault(esr, ipa), (Ok(Answer::Mmio(None)), vec![]));
    }
}

#[test]
fn stage_1_tables_in_a_device_are_refused_and_no_endless_loop() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = bench(&recorder, &plain());
    let outside = Answer::Inject(Reason::WalkOutsideMemory);
    assert_eq!(bench.answer(READ | S1PTW, RAM), Answer::Mapped);
    for ipa in [DEVICE, 5 * GIB, u64::MAX] {
        assert_eq!(bench.answer(READ | S1PTW, ipa), outside);
        assert_eq!(bench.answer(FETCH | S1PTW, ipa), outside);
    }
    assert_eq!(bench.answer(READ, DEVICE), Answer::Mapped);
    // What HCR_EL2.PTW makes of the walk now.
    let walk = READ | PERMISSION | S1PTW;
    assert_eq!(bench.answer(walk, DEVICE), outside);
    // A walker that updates its descriptor in read-only memory.
    assert_eq!(bench.answer(READ | S1PTW, ROM), Answer::Mapped);
    assert_eq!(bench.answer(walk, ROM), Answer::Inject(Reason::ReadOnly));
}

#[test]
fn a_tlb_conflict_takes_this_cpus_entries_whatever_the_address() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = bench(&recorder, &plain());
    let conflict = 0x24 << 26 | 0x30;
    for ipa in [RAM, 5 * GIB, u64::MAX] {
        let (answer, trace) = bench.fault(conflict, ipa);
        assert_eq!(answer, Ok(Answer::Retry));
        assert_eq!(trace, [tlbi(Tlbi::Vmalls12e1, 1), NSH, Isb]);
    }
    assert_eq!(bench.table.counters().tlbi_local, 3);
}

#[test]
fn execution_by_level_needs_the_hardware_for_it() {
    let only_el1 = Attributes {
        execute: Xn::OnlyEl1,
        ..Attributes::RAM
    };
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.slot(RAM, RAM, GIB, only_el1);
    let (answer, trace) = bench.fault(FETCH, RAM);
    assert_eq!(answer, Err(Error::XnxUnsupported(Xn::OnlyEl1)));
    assert_eq!(trace, []);

    let mut bench = Bench::new(&recorder, &with_xnx(plain()));
    bench.slot(RAM, RAM, GIB, only_el1);
    bench.fill_pages();
    let (answer, _) = bench.fault_with_what_is_left(FETCH, RAM, Privilege::El0);
    assert_eq!(answer, Ok(Answer::Inject(Reason::NotExecutable)));
    assert_eq!(bench.answer(FETCH, RAM), Answer::Mapped);
    assert_eq!(bench.raw(RAM), RAM | RAM_BLOCK | 3 << 53);
}

#[test]
fn memory_is_cleaned_before_the_guest_sees_it_and_no_more_than_2_mib_at_once() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = bench(&recorder, &with_caches(plain()));
    let (answer, trace) = bench.fault(FETCH, RAM + MIB2 + 5);
    assert_eq!(answer, Ok(Answer::Mapped));
    let expected = [
        Clean(RAM + OFFSET + MIB2, MIB2),
        ISH,
        Cache(Ic::Ialluis),
        ISH,
        Zero(GIVEN[0], PAGE),
        ISHST,
        Swap(ROOT + 4 * 8, GIVEN[0] | TABLE),
        Swap(GIVEN[0] + 8, (RAM + OFFSET + MIB2) | RAM_BLOCK),
        ISHST,
    ];
    assert_eq!(trace, expected);
}

#[test]
fn pages_that_have_to_be_cleaned_come_one_by_one() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = paged(&recorder, &with_caches(plain()));
    let (answer, trace) = bench.fault(READ, RAM + 3 * PAGE);
    assert_eq!(answer, Ok(Answer::Mapped));
    assert_eq!(trace[0], Clean(RAM + 3 * PAGE + OFFSET + PAGE, PAGE));
    assert_eq!(bench.leaf(RAM + 2 * PAGE), None);
    assert_eq!(bench.leaf(RAM + 4 * PAGE), None);
}

#[test]
fn what_needs_no_cleaning_keeps_large_blocks() {
    for (ids, ipa, leaf) in [
        (with_caches(plain()), DEVICE, 0x6c5 | 2 << 53),
        // With FEAT_S2FWB data need not be cleaned; instructions, with IDC and DIC set, neither.
        (
            IdRegisters {
                ctr: 3 << 28,
                ..with_fwb(with_caches(plain()))
            },
            RAM,
            0x7d9,
        ),
    ] {
        let recorder = Recorder::new(Granule::Kib4);
        let mut bench = bench(&recorder, &ids);
        let (answer, trace) = bench.fault(WRITE, ipa);
        assert_eq!(answer, Ok(Answer::Mapped));
        assert_eq!(
            trace,
            [Swap(ROOT + (ipa >> 30) * 8, (ipa + OFFSET) | leaf), ISHST]
        );
    }
}

#[test]
fn uncached_memory_is_cleaned_whatever_the_hardware_forces() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_fwb(with_caches(plain())));
    let uncached = Attributes {
        memory: Memory::NonCacheable,
        ..Attributes::DATA
    };
    bench.slot(RAM, RAM, MIB2, uncached);
    let (_, trace) = bench.fault(READ, RAM);
    assert_eq!(trace[..2], [Clean(RAM, MIB2), ISH]);
}

#[test]
fn flushing_cleans_what_is_mapped_in_the_range_and_is_cached() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = bench(&recorder, &with_caches(plain()));
    bench.map(&ram(RAM, RAM + OFFSET, MIB2));
    bench.map(&ram(RAM + MIB2 + PAGE, 7 * PAGE, PAGE));
    assert_eq!(bench.answer(READ, DEVICE), Answer::Mapped);
    recorder.take_trace();
    let bytes = DEVICE + GIB - (RAM + PAGE);
    let done = bench.table.flush(&recorder, Ipa(RAM + PAGE), bytes);
    assert_eq!(done, Ok(()));
    let expected = [
        Clean(RAM + OFFSET + PAGE, MIB2 - PAGE),
        Clean(7 * PAGE, PAGE),
        ISH,
    ];
    assert_eq!(recorder.take_trace(), expected);
}

#[test]
fn flushing_part_of_a_block_cleans_no_more() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = bench(&recorder, &with_caches(plain()));
    bench.map(&ram(RAM, RAM + OFFSET, MIB2));
    recorder.take_trace();
    let done = bench.table.flush(&recorder, Ipa(RAM + PAGE), 3 * PAGE);
    assert_eq!(done, Ok(()));
    let cleaned = Clean(RAM + OFFSET + PAGE, 3 * PAGE);
    assert_eq!(recorder.take_trace(), [cleaned, ISH]);
}

#[test]
fn flushing_does_nothing_where_no_cache_stands_before_the_point_of_coherency() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = bench(&recorder, &plain());
    bench.map(&ram(RAM, RAM + OFFSET, MIB2));
    recorder.take_trace();
    assert_eq!(bench.table.flush(&recorder, Ipa(RAM), MIB2), Ok(()));
    assert_eq!(recorder.take_trace(), Vec::<Event>::new());
}
