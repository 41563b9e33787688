//! Faults that find a leaf: widening, access flags, and the shrinking of logged blocks.

use droste_arm64::desc::{S2ap, Xn};
use droste_arm64::{Granule, IdRegisters, Ipa, Level};
use droste_stage2::{Answer, Attributes, DirtyLog, Ic, Mapping, Privilege, Reason, Runs};

use crate::bench::{
    self, AF, Bench, DBM, FETCH, GIB, ISH, ISHST, MIB2, PAGE, PERMISSION, RAM_BLOCK, RAM_PAGE,
    READ, READ_BLOCK, READ_PAGE, ROOT, RUN, S1PTW, TABLE, WRITE, access_flag, by_address,
    forgotten_here, invalidated, invalidated_in_both, locked, operand, ram, read_only, remade,
    runs,
};
use crate::hardware::{plain, with_bbm, with_caches, with_hardware_dirty, with_ttl, with_xnx};
use crate::recorder::Event::{Clean, Ic as Cache, Lost, Swap, Write};
use crate::recorder::{Event, Interference, POOL, Recorder};

const RAM: u64 = 4 * GIB;
const OFFSET: u64 = 16 * GIB;
const PA: u64 = RAM + OFFSET;
/// The root's entry for RAM.
const ENTRY: u64 = ROOT + 4 * 8;
/// The first page that a full cache gives.
const CHILD: u64 = POOL + 3 * PAGE;
const XN: u64 = 2 << 53;

/// RAM that a slot permits everything in, with a mapping of fewer permissions.
fn narrowed<'r>(recorder: &'r Recorder, ids: &IdRegisters, has: Attributes) -> Bench<'r> {
    let mut bench = Bench::new(recorder, ids);
    bench.slot(RAM, PA, GIB, Attributes::RAM);
    bench.map(&Mapping {
        attributes: has,
        ..ram(RAM, PA, GIB)
    });
    bench
}

/// The same, logged and write-protected.
fn logged<'r>(recorder: &'r Recorder, ids: &IdRegisters, mapping: &Mapping) -> Bench<'r> {
    let mut bench = Bench::new(recorder, ids);
    bench.slot(RAM, PA, GIB, Attributes::RAM);
    bench.map(mapping);
    bench.slots.set_log(Ipa(RAM), DirtyLog::On).expect("there");
    bench.dirty(RAM, GIB);
    bench
}

#[test]
fn each_access_widens_nothing_but_itself() {
    let nothing = Attributes {
        access: S2ap::None,
        execute: Xn::Nowhere,
        ..Attributes::RAM
    };
    let recorder = Recorder::new(Granule::Kib4);
    for (esr, leaf) in [(READ, 0x77d | XN), (WRITE, 0x7bd | XN), (FETCH, 0x73d)] {
        let mut bench = narrowed(&recorder, &with_ttl(plain()), nothing);
        let (answer, trace) = bench.fault(esr | PERMISSION, RAM + 8);
        assert_eq!(answer, Ok(Answer::Relaxed));
        let mut expected = vec![Swap(ENTRY, PA | leaf), ISHST];
        expected.extend(forgotten_here(operand(1, RAM)));
        assert_eq!(trace, expected);
        assert_eq!(bench.table.counters().tlbi_local, 1);
        assert_eq!(bench.table.counters().faults, 1);
    }
}

#[test]
fn accesses_one_after_the_other_widen_to_what_the_slot_has() {
    let nothing = Attributes {
        access: S2ap::None,
        execute: Xn::Nowhere,
        ..Attributes::RAM
    };
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = narrowed(&recorder, &plain(), nothing);
    for esr in [WRITE, READ, FETCH] {
        assert_eq!(bench.answer(esr | PERMISSION, RAM), Answer::Relaxed);
    }
    assert_eq!(bench.raw(RAM), PA | RAM_BLOCK);
}

#[test]
fn execution_widens_as_far_as_the_slot_permits() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_xnx(plain()));
    let only_el0 = Attributes {
        execute: Xn::OnlyEl0,
        ..Attributes::RAM
    };
    bench.slot(RAM, PA, GIB, only_el0);
    bench.map(&Mapping {
        attributes: Attributes::DATA,
        ..ram(RAM, PA, GIB)
    });
    bench.fill_pages();
    let fetch = FETCH | PERMISSION;
    let (answer, _) = bench.fault_with_what_is_left(fetch, RAM, Privilege::El0);
    assert_eq!(answer, Ok(Answer::Relaxed));
    assert_eq!(bench.raw(RAM), PA | RAM_BLOCK | 1 << 53);
}

#[test]
fn what_becomes_executable_is_maintained_whole_before() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = narrowed(&recorder, &with_caches(plain()), Attributes::DATA);
    // Not all of the block: a fault cleans 2 MiB at most, so the block is split to that.
    let (answer, trace) = bench.fault(FETCH | PERMISSION, RAM + MIB2);
    assert_eq!(answer, Ok(Answer::Relaxed));
    let leaf = POOL + 3 * PAGE + 8;
    let relaxed = trace.iter().position(|event| matches!(event, Clean(..)));
    let expected = [
        Clean(PA + MIB2, MIB2),
        ISH,
        Cache(Ic::Ialluis),
        ISH,
        Swap(leaf, (PA + MIB2) | RAM_BLOCK),
        ISHST,
    ];
    let from = relaxed.expect("it is cleaned");
    assert_eq!(trace[from..from + 6], expected);
    assert!(
        !trace[from + 1..]
            .iter()
            .any(|event| matches!(event, Clean(..)))
    );
    // A write changes nothing for fetches.
    let mut bench = narrowed(&recorder, &with_caches(plain()), Attributes::ROM);
    let (_, trace) = bench.fault(WRITE | PERMISSION, RAM + MIB2);
    assert_eq!(trace[0], Swap(ENTRY, PA | RAM_BLOCK));
}

#[test]
fn a_run_that_becomes_executable_is_maintained_whole_before() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_caches(plain()));
    bench.slot(RAM, PA, GIB, Attributes::RAM);
    bench.map(&Mapping {
        runs: Runs::Contiguous,
        attributes: Attributes::DATA,
        ..ram(RAM, PA, 32 * PAGE)
    });
    let (answer, trace) = bench.fault(FETCH | PERMISSION, RAM + 21 * PAGE);
    assert_eq!(answer, Ok(Answer::Relaxed));
    let maintenance = [
        Clean(PA + 16 * PAGE, 16 * PAGE),
        ISH,
        Cache(Ic::Ialluis),
        ISH,
    ];
    assert_eq!(trace[..4], maintenance);
    assert_eq!(
        bench.raw(RAM + 31 * PAGE),
        (PA + 31 * PAGE) | RAM_PAGE | RUN
    );
    assert_eq!(bench.raw(RAM) & XN, XN, "the run before is as it was");
}

#[test]
fn walks_and_maintenance_get_to_read_before_they_get_to_write() {
    const CM: u64 = 1 << 8;
    let recorder = Recorder::new(Granule::Kib4);
    for esr in [READ | S1PTW | PERMISSION, WRITE | CM | PERMISSION] {
        for access in [S2ap::None, S2ap::WriteOnly] {
            let unreadable = Attributes {
                access,
                ..Attributes::RAM
            };
            let mut bench = narrowed(&recorder, &plain(), unreadable);
            assert_eq!(bench.answer(esr, RAM), Answer::Relaxed);
            assert_eq!(bench.raw(RAM) & 1 << 6, 1 << 6);
            // It can read by now, so what it lacks is the permission to write.
            bench.answer(esr, RAM);
            assert_eq!(bench.raw(RAM), PA | RAM_BLOCK);
        }
        let mut bench = Bench::new(&recorder, &plain());
        let write_only = Attributes {
            access: S2ap::WriteOnly,
            ..Attributes::RAM
        };
        bench.slot(RAM, PA, GIB, write_only);
        bench.map(&Mapping {
            attributes: write_only,
            ..ram(RAM, PA, GIB)
        });
        let answer = bench.answer(esr, RAM);
        assert_eq!(answer, Answer::Inject(Reason::NotReadable));
        assert_eq!(bench.raw(RAM), PA | 0x7bd);
    }
}

#[test]
fn an_entry_of_before_another_cpus_widening_is_forgotten_here() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = narrowed(&recorder, &with_ttl(plain()), Attributes::ROM);
    assert_eq!(bench.answer(WRITE | PERMISSION, RAM), Answer::Relaxed);
    let (answer, trace) = bench.fault(WRITE | PERMISSION, RAM + PAGE);
    assert_eq!(answer, Ok(Answer::Retry));
    assert_eq!(trace, forgotten_here(operand(1, RAM + PAGE)));
    assert_eq!(bench.table.counters().faults, 1);
}

#[test]
fn a_widening_that_loses_its_race_is_retried() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = narrowed(&recorder, &plain(), Attributes::READ_ONLY);
    recorder.interference.set(Some(Interference {
        at: ENTRY,
        value: PA | READ_BLOCK,
    }));
    let (answer, trace) = bench.fault(WRITE | PERMISSION, RAM);
    assert_eq!((answer, trace), (Ok(Answer::Retry), vec![Lost(ENTRY)]));
    assert_eq!(bench.raw(RAM), PA | READ_BLOCK, "theirs stands");
}

#[test]
fn an_access_flag_is_set_without_an_invalidation() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = narrowed(&recorder, &plain(), Attributes::RAM);
    bench.table.age(&recorder, Ipa(RAM), GIB).expect("in range");
    recorder.take_trace();
    let (answer, trace) = bench.fault(access_flag(READ), RAM);
    assert_eq!(answer, Ok(Answer::Relaxed));
    assert_eq!(trace, [Swap(ENTRY, PA | RAM_BLOCK), ISHST]);
    // Another CPU comes late.
    let late = bench.fault(access_flag(READ), RAM);
    assert_eq!(late, (Ok(Answer::Retry), vec![]));
}

#[test]
fn an_access_flag_set_by_another_cpu_meanwhile_is_left_to_it() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = narrowed(&recorder, &plain(), Attributes::RAM);
    bench.table.age(&recorder, Ipa(RAM), GIB).expect("in range");
    recorder.take_trace();
    recorder.interference.set(Some(Interference {
        at: ENTRY,
        value: PA | RAM_BLOCK,
    }));
    let (answer, trace) = bench.fault(access_flag(READ), RAM);
    assert_eq!(answer, Ok(Answer::Retry));
    assert_eq!(trace, [Lost(ENTRY), ISHST]);
}

#[test]
fn a_widened_leaf_counts_as_used() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = narrowed(&recorder, &plain(), Attributes::ROM);
    bench.table.age(&recorder, Ipa(RAM), GIB).expect("in range");
    assert_eq!(bench.raw(RAM) & AF, 0);
    assert_eq!(bench.answer(WRITE | PERMISSION, RAM), Answer::Relaxed);
    assert_eq!(bench.raw(RAM), PA | RAM_BLOCK);
}

#[test]
fn a_whole_run_is_widened_at_once() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.slot(RAM, PA, GIB, Attributes::RAM);
    bench.map(&runs(read_only(ram(RAM, PA, 32 * PAGE))));
    let (answer, trace) = bench.fault(WRITE | PERMISSION, RAM + 5 * PAGE);
    assert_eq!(answer, Ok(Answer::Relaxed));
    let mut expected: Vec<_> = (0..16)
        .map(|page| Swap(POOL + PAGE + page * 8, (PA + page * PAGE) | RAM_PAGE | RUN))
        .collect();
    expected.push(ISHST);
    expected.extend(forgotten_here(operand(3, RAM + 5 * PAGE)));
    assert_eq!(trace, expected);
    assert_eq!(
        bench.raw(RAM + 16 * PAGE),
        (PA + 16 * PAGE) | READ_PAGE | RUN
    );
}

/// What splitting the block `old` of 2 MiB at `entry` does, up to where its table can be linked.
fn filled(child: u64, old: u64) -> Vec<Event> {
    (0..512)
        .map(|page| Write(child + page * 8, (old | 2) + page * PAGE))
        .collect()
}

#[test]
fn a_store_to_a_logged_block_splits_it_beside_other_faults() {
    for bbm in [0, 1] {
        let recorder = Recorder::new(Granule::Kib4);
        let ids = with_bbm(with_ttl(plain()), bbm);
        let mut bench = logged(&recorder, &ids, &ram(RAM, PA, MIB2));
        let (answer, trace) = bench.fault(WRITE | PERMISSION, RAM + 7 * PAGE);
        assert_eq!(answer, Ok(Answer::Relaxed));
        let old = PA | READ_BLOCK;
        let mut expected = vec![Swap(POOL, locked(old))];
        expected.extend(filled(CHILD + PAGE, old));
        expected.push(Write(POOL, locked((CHILD + PAGE) | TABLE)));
        let address = by_address(operand(2, RAM), 1);
        expected.extend(remade(&[address], &[(POOL, (CHILD + PAGE) | TABLE)]));
        expected.extend([
            Swap(CHILD + PAGE + 7 * 8, (PA + 7 * PAGE) | RAM_PAGE),
            ISHST,
        ]);
        expected.extend(forgotten_here(operand(3, RAM + 7 * PAGE)));
        assert_eq!(trace, expected);
        assert_eq!(bench.dirty(RAM, GIB).0, [(RAM + 7 * PAGE, PAGE)]);
    }
}

#[test]
fn at_bbm_level_2_a_logged_block_is_split_without_a_break() {
    let recorder = Recorder::new(Granule::Kib4);
    let ids = with_bbm(with_ttl(plain()), 2);
    let mut bench = logged(&recorder, &ids, &ram(RAM, PA, MIB2));
    let (answer, trace) = bench.fault(WRITE | PERMISSION, RAM + 7 * PAGE);
    assert_eq!(answer, Ok(Answer::Relaxed));
    let mut expected = filled(CHILD + PAGE, PA | READ_BLOCK);
    expected.extend([ISHST, Swap(POOL, (CHILD + PAGE) | TABLE)]);
    expected.extend(invalidated(&[by_address(operand(2, RAM), 1)]));
    expected.push(Swap(CHILD + PAGE + 7 * 8, (PA + 7 * PAGE) | RAM_PAGE));
    expected.push(ISHST);
    expected.extend(forgotten_here(operand(3, RAM + 7 * PAGE)));
    assert_eq!(trace, expected);
}

#[test]
fn a_block_of_1_gib_shrinks_to_a_page_in_one_fault() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = logged(&recorder, &plain(), &ram(RAM, PA, GIB));
    let at = RAM + 3 * MIB2 + 7 * PAGE;
    assert_eq!(bench.answer(WRITE | PERMISSION, at), Answer::Relaxed);
    for (ipa, level, permissions) in [
        (RAM, Level::L2, READ_BLOCK),
        (at - PAGE, Level::L3, READ_PAGE),
        (at, Level::L3, RAM_PAGE),
    ] {
        assert_eq!(bench.leaf(ipa), Some((level, ipa + OFFSET)));
        assert_eq!(bench.raw(ipa), (ipa + OFFSET) | permissions);
    }
    assert_eq!(bench.table.counters().faults, 1);
    assert_eq!(bench.page_count(), 64);
}

#[test]
fn a_shared_split_invalidates_in_every_context_before_the_link() {
    let recorder = Recorder::new(Granule::Kib4);
    let ids = with_ttl(plain());
    let geometry = bench::geometry(Granule::Kib4, 40, &ids);
    let mut bench = Bench::with(&recorder, geometry, &ids, 2);
    bench.slot(RAM, PA, GIB, Attributes::ROM);
    bench.map(&read_only(ram(RAM, PA, MIB2)));
    bench.slots.set_log(Ipa(RAM), DirtyLog::On).expect("there");
    bench
        .slots
        .set_attributes(Ipa(RAM), Attributes::RAM)
        .expect("there");
    let (_, trace) = bench.fault(WRITE | PERMISSION, RAM);
    let mut expected = invalidated_in_both(operand(2, RAM));
    expected.extend([Write(POOL, (CHILD + PAGE) | TABLE), ISHST]);
    let from = trace.iter().position(|event| *event == ISH).expect("a DSB");
    assert_eq!(trace[from..from + expected.len()], expected);
}

#[test]
fn a_lock_of_another_cpu_below_a_split_that_just_ended_is_left_to_it() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = logged(&recorder, &plain(), &ram(RAM, PA, GIB));
    bench.fill_pages();
    // As soon as the table is linked, another CPU takes a block in it to split, and has yet to invalidate.
    let theirs = locked((PA + 9 * MIB2) | READ_BLOCK);
    recorder.after_write.set(Some((
        (ENTRY, CHILD | TABLE),
        Interference {
            at: CHILD + 9 * 8,
            value: theirs,
        },
    )));
    bench.answer(WRITE | PERMISSION, RAM);
    assert!(recorder.after_write.get().is_none(), "it happened");
    assert_eq!(recorder.peek(CHILD + 9 * 8), theirs);
}

#[test]
fn a_split_that_loses_its_race_gives_the_page_back() {
    let recorder = Recorder::new(Granule::Kib4);
    for bbm in [0, 2] {
        let ids = with_bbm(plain(), bbm);
        let mut bench = logged(&recorder, &ids, &ram(RAM, PA, GIB));
        recorder.interference.set(Some(Interference {
            at: ENTRY,
            value: locked((POOL + 0x10_0000) | TABLE),
        }));
        let (answer, trace) = bench.fault(WRITE | PERMISSION, RAM);
        assert_eq!(answer, Ok(Answer::Retry));
        assert_eq!(trace.last(), Some(&Lost(ENTRY)));
        assert!(!trace.iter().any(|event| matches!(event, Event::Tlbi(..))));
        assert!(bench.pages.is_full());
        assert_eq!(bench.table.counters().table_pages, 0);
    }
}

#[test]
fn a_logged_block_is_split_by_stores_alone() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = logged(&recorder, &plain(), &ram(RAM, PA, GIB));
    for esr in [
        READ | PERMISSION,
        FETCH | PERMISSION,
        READ,
        access_flag(READ),
    ] {
        assert_ne!(bench.answer(esr, RAM), Answer::Mapped);
        assert_eq!(bench.leaf(RAM), Some((Level::L1, PA)));
    }
    // Without a log a store takes the whole block.
    bench.slots.set_log(Ipa(RAM), DirtyLog::Off).expect("there");
    assert_eq!(bench.answer(WRITE | PERMISSION, RAM), Answer::Relaxed);
    assert_eq!(bench.raw(RAM), PA | RAM_BLOCK);
}

#[test]
fn a_store_to_a_logged_run_makes_single_pages_of_it() {
    for bbm in [0, 2] {
        let recorder = Recorder::new(Granule::Kib4);
        let ids = with_bbm(with_ttl(plain()), bbm);
        let run = runs(ram(RAM, PA, 32 * PAGE));
        let mut bench = logged(&recorder, &ids, &run);
        let (answer, trace) = bench.fault(WRITE | PERMISSION, RAM + 5 * PAGE);
        assert_eq!(answer, Ok(Answer::Relaxed));
        let at = |page: u64| POOL + PAGE + page * 8;
        let single = |page: u64| (PA + page * PAGE) | READ_PAGE;
        let addresses: Vec<_> = (0..16)
            .map(|page| by_address(operand(3, RAM + page * PAGE), 1))
            .collect();
        let mut expected: Vec<_> = (0..16)
            .map(|page| Swap(at(page), locked(single(page))))
            .collect();
        let made: Vec<_> = (0..16).map(|page| (at(page), single(page))).collect();
        expected.extend(remade(&addresses, &made));
        expected.extend([Swap(at(5), (PA + 5 * PAGE) | RAM_PAGE), ISHST]);
        expected.extend(forgotten_here(operand(3, RAM + 5 * PAGE)));
        assert_eq!(trace, expected);
        assert_eq!(
            bench.raw(RAM + 16 * PAGE) & RUN,
            RUN,
            "the next run stays one"
        );
    }
}

#[test]
fn a_run_that_another_cpu_unfolds_is_left_to_it() {
    let recorder = Recorder::new(Granule::Kib4);
    let run = runs(ram(RAM, PA, 16 * PAGE));
    let mut bench = logged(&recorder, &plain(), &run);
    recorder.interference.set(Some(Interference {
        at: POOL + PAGE,
        value: locked(PA | READ_PAGE),
    }));
    let (answer, trace) = bench.fault(WRITE | PERMISSION, RAM + 5 * PAGE);
    assert_eq!(
        (answer, trace),
        (Ok(Answer::Retry), vec![Lost(POOL + PAGE)])
    );
    // The first entry is locked by now, and the run's others still look like one.
    let again = bench.fault(WRITE | PERMISSION, RAM + 5 * PAGE);
    assert_eq!(again, (Ok(Answer::Retry), vec![]));
}

#[test]
fn hardware_that_sets_an_access_flag_during_a_shared_split_costs_a_retry() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = logged(&recorder, &plain(), &ram(RAM, PA, GIB));
    recorder.poke(ENTRY, (PA | READ_BLOCK) & !AF);
    recorder.interference.set(Some(Interference {
        at: ENTRY,
        value: PA | READ_BLOCK,
    }));
    assert_eq!(bench.answer(WRITE | PERMISSION, RAM), Answer::Retry);
    assert_eq!(bench.answer(WRITE | PERMISSION, RAM), Answer::Relaxed);
    assert_eq!(bench.page_count(), 64);
}

#[test]
fn a_page_that_hardware_manages_may_be_widened_by_a_fault_as_well() {
    let recorder = Recorder::new(Granule::Kib4);
    let pages = Mapping {
        largest: Level::L3,
        ..ram(RAM, PA, 4 * PAGE)
    };
    let mut bench = logged(&recorder, &with_hardware_dirty(plain()), &pages);
    assert_eq!(bench.raw(RAM), PA | READ_PAGE | DBM);
    // Hardware that manages no dirty state on this walk reports the store.
    assert_eq!(bench.answer(WRITE | PERMISSION, RAM), Answer::Relaxed);
    assert_eq!(bench.raw(RAM), PA | RAM_PAGE | DBM);
    assert_eq!(bench.dirty(RAM, GIB).0, [(RAM, PAGE)]);
}
