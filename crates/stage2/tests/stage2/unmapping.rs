//! Unmapping, and the discharge of what it owes, verb by verb.

use droste_arm64::tlbi::{RangeOperand, Tlbi};
use droste_arm64::{Granule, Ipa, Level, Pa};
use droste_stage2::{Attributes, Contexts, Error, Machine, Mapping, Regime, Table, under};

use crate::bench::{
    self, Bench, GIB, ISH, ISHST, MIB2, PAGE, RAM_BLOCK, RAM_PAGE, ROOT, TABLE, by_address,
    invalidated, invalidated_in_both, locked, operand, ram, remade, runs, tlbi,
};
use crate::hardware::{plain, with_bbm, with_ranges, with_ttl};
use crate::recorder::Event::{Give, Isb, SetVtcr, Swap, Take, Write};
use crate::recorder::{Event, POOL, Recorder};

/// A bench of 40 address bits with this many contexts, the last one loaded.
fn with_contexts<'r>(
    recorder: &'r Recorder,
    ids: &droste_arm64::IdRegisters,
    count: usize,
) -> Bench<'r> {
    Bench::with(
        recorder,
        bench::geometry(Granule::Kib4, 40, ids),
        ids,
        count,
    )
}

#[test]
fn a_page_of_a_loaded_context() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&ram(GIB, 4 * GIB, 2 * PAGE));
    let done = bench.unmap(GIB, PAGE);
    assert_eq!(done.before, [Write(POOL + PAGE, 0)]);
    assert_eq!(
        done.discharge,
        invalidated(&[by_address(0x7000_0004_0000, 1)])
    );
}

#[test]
fn without_ttl_there_is_no_hint() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB, 2 * PAGE));
    let done = bench.unmap(GIB, PAGE);
    assert_eq!(done.discharge, invalidated(&[by_address(0x4_0000, 1)]));
}

#[test]
fn the_last_page_takes_its_tables_along_and_their_pages_come_last() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&ram(GIB, 4 * GIB, PAGE));
    let done = bench.unmap(GIB, PAGE);
    let end_of_list = 2;
    let expected = [
        Write(POOL + PAGE, 0),
        Write(POOL, 0),
        Write(POOL + PAGE, end_of_list),
        Write(ROOT + 8, 0),
        Write(POOL, POOL + PAGE),
    ];
    assert_eq!(done.before, expected);
    // A table went: no hint.
    let mut expected = invalidated(&[by_address(0x4_0000, 1)]);
    expected.extend([Give(POOL), Give(POOL + PAGE)]);
    assert_eq!(done.discharge, expected);
    assert_eq!(bench.page_count(), 64);
}

#[test]
fn a_run_of_entries_shares_its_barriers() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&ram(GIB, 4 * GIB, 4 * MIB2));
    let done = bench.unmap(GIB, 3 * MIB2);
    assert_eq!(
        done.before,
        [0, 8, 16].map(|offset| Write(POOL + offset, 0))
    );
    let addresses =
        [0x4_0000, 0x4_0200, 0x4_0400].map(|page| by_address(operand(2, page << 12), 1));
    assert_eq!(done.discharge, invalidated(&addresses));
}

#[test]
fn ranges_are_invalidated_as_ranges_where_the_machine_can() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ranges(plain()));
    bench.map(&ram(GIB, 4 * GIB, 4 * MIB2));
    let done = bench.unmap(GIB, 3 * MIB2);
    // 3 * 512 pages: SCALE 1 (64 pages), NUM 23; TTL 2, TG 1.
    let operand = 1 << 46 | 1 << 44 | 23 << 39 | 2 << 37 | 0x4_0000;
    let range = tlbi(Tlbi::Ripas2e1is(RangeOperand(operand)), 1);
    assert_eq!(done.discharge, invalidated(&[range]));
}

#[test]
fn past_the_threshold_the_whole_vmid_goes() {
    let recorder = Recorder::new(Granule::Kib4);
    let whole = [ISH, tlbi(Tlbi::Vmalls12e1is, 1), ISH, Isb];
    for (ids, unit, most) in [
        (with_ttl(plain()), MIB2, 64),
        (with_ranges(plain()), GIB, 8),
    ] {
        for (count, is_whole) in [(most, false), (most + 1, true)] {
            let mut bench = Bench::new(&recorder, &ids);
            bench.map(&Mapping {
                largest: if unit == GIB { Level::L1 } else { Level::L2 },
                ..ram(GIB, 64 * GIB, (count + 1) * unit)
            });
            let done = bench.unmap(GIB, count * unit);
            assert_eq!(done.discharge == whole, is_whole, "{count} of {unit:#x}");
        }
    }
}

#[test]
fn unmapping_nothing_owes_nothing() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB, PAGE));
    for (ipa, bytes) in [(0, GIB), (GIB + PAGE, PAGE), (2 * GIB, (1 << 40) - 2 * GIB)] {
        let done = bench.unmap(ipa, bytes);
        assert_eq!((done.before, done.discharge), (vec![], vec![]));
        assert!(done.was_nothing);
    }
}

#[test]
fn ranges_outside_or_between_pages_are_refused_untouched() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(0, 4 * GIB, GIB));
    for (ipa, bytes) in [
        (8, PAGE),
        (0, 8),
        (0, 0),
        (1 << 40, PAGE),
        (0, (1 << 40) + PAGE),
        (!0xfff, PAGE),
    ] {
        for done in [
            bench.unmap(ipa, bytes),
            bench.split(ipa, bytes, Level::L3),
            bench.collapse(ipa, bytes, Level::L1),
            bench.write_protect(ipa, bytes),
        ] {
            assert!(done.result.is_err(), "{ipa:#x} {bytes:#x}");
            assert_eq!((done.before, done.discharge), (vec![], vec![]));
        }
        assert!(bench.table.age(&recorder, Ipa(ipa), bytes).is_err());
        assert!(bench.table.flush(&recorder, Ipa(ipa), bytes).is_err());
    }
}

#[test]
fn the_top_of_the_address_space_is_unmapped_like_any_other_part() {
    let recorder = Recorder::new(Granule::Kib4);
    let top = 1 << 40;
    for bytes in [PAGE, 3 * PAGE, MIB2, MIB2 + PAGE, GIB, GIB + PAGE] {
        let mut bench = Bench::new(&recorder, &plain());
        bench.map(&ram(top - 4 * GIB, 0, 4 * GIB));
        assert_eq!(bench.unmap(top - bytes, bytes).result, Ok(()));
        assert_eq!(bench.leaf(top - 1), None);
        assert!(bench.leaf(top - bytes - PAGE).is_some());
        bench.unmap(0, top);
        assert_eq!(bench.page_count(), 64);
    }
}

#[test]
fn the_middle_of_a_block_goes_and_both_ends_stay() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&ram(GIB, 4 * GIB, GIB));
    let start = GIB + 3 * MIB2 + PAGE;
    let end = GIB + 7 * MIB2 - PAGE;
    let done = bench.unmap(start, end - start);
    let taken = done.before.iter().filter(|event| matches!(event, Take(_)));
    assert_eq!(taken.count(), 3, "the block's table and one for each end");
    let old = (4 * GIB) | RAM_BLOCK;
    assert_eq!(done.before[..2], [Take(POOL), Swap(ROOT + 8, locked(old))]);
    assert!(done.before.contains(&Write(ROOT + 8, locked(POOL | TABLE))));
    assert!(done.discharge.contains(&Write(ROOT + 8, POOL | TABLE)));
    assert_eq!(done.discharge.last(), Some(&ISHST));
    for (ipa, expected) in [
        (GIB, Some(Level::L2)),
        (start - PAGE, Some(Level::L3)),
        (start, None),
        (end - PAGE, None),
        (end, Some(Level::L3)),
        (end + PAGE, Some(Level::L2)),
    ] {
        assert_eq!(
            bench.leaf(ipa),
            expected.map(|level| (level, ipa + 3 * GIB))
        );
    }
}

#[test]
fn a_page_out_of_a_large_block_owes_that_block_alone() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&ram(GIB, 4 * GIB, GIB));
    // Two tables take the block's place, and neither is seen by any walker before the block is gone.
    let done = bench.unmap(GIB + MIB2 + PAGE, PAGE);
    assert_eq!(
        done.discharge,
        remade(
            &[by_address(operand(1, GIB), 1)],
            &[(ROOT + 8, POOL + TABLE)]
        )
    );
    assert_eq!(
        recorder.read(Pa(POOL + 8)).0,
        POOL + PAGE + TABLE,
        "linked, not locked"
    );
}

#[test]
fn at_bbm_level_2_a_split_block_stays_usable_and_nothing_is_locked() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_bbm(plain(), 2));
    bench.map(&ram(GIB, 4 * GIB, MIB2));
    let done = bench.unmap(GIB, PAGE);
    let child = POOL + PAGE;
    assert_eq!(done.before[0], Take(child));
    assert_eq!(
        done.before[513..],
        [ISHST, Swap(POOL, child | TABLE), Write(child, 0)],
        "the table is complete before it takes the block's place"
    );
    assert_eq!(done.discharge, [ISH, tlbi(Tlbi::Vmalls12e1is, 1), ISH, Isb]);
}

#[test]
fn a_split_that_lacks_pages_unmaps_nothing() {
    let recorder = Recorder::new(Granule::Kib4);
    for pages in 0..4 {
        let mut bench = Bench::new(&recorder, &plain());
        bench.map(&ram(GIB, 4 * GIB, 2 * GIB));
        let rest = bench.pool.keep(pages);
        // Two blocks of 1 GiB, each to be split twice.
        let done = bench.unmap(GIB + PAGE, 2 * GIB - 2 * PAGE);
        assert!(matches!(done.result, Err(Error::NoTablePage { .. })));
        for ipa in [GIB, GIB + PAGE, 2 * GIB - PAGE, 2 * GIB, 3 * GIB - PAGE] {
            assert_eq!(bench.leaf(ipa).map(|leaf| leaf.1), Some(ipa + 3 * GIB));
        }
        bench.pool.refill(rest);
        assert_eq!(bench.unmap(GIB + PAGE, 2 * GIB - 2 * PAGE).result, Ok(()));
        assert_eq!(bench.leaf(GIB + PAGE), None);
        bench.unmap(0, 1 << 40);
        assert_eq!(bench.page_count(), 64);
    }
}

#[test]
fn part_of_a_run_unfolds_it_first() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&runs(ram(GIB, 4 * GIB, 32 * PAGE)));
    let done = bench.unmap(GIB + 14 * PAGE, 2 * PAGE);
    let child = POOL + PAGE;
    let single = |page: u64| (4 * GIB + page * PAGE) | RAM_PAGE;
    let mut expected: Vec<_> = (0..16)
        .map(|page| Swap(child + page * 8, locked(single(page))))
        .collect();
    expected.extend([Write(child + 14 * 8, 0), Write(child + 15 * 8, 0)]);
    assert_eq!(done.before, expected);
    let addresses: Vec<_> = (0..16)
        .map(|page| by_address(operand(3, GIB + page * PAGE), 1))
        .collect();
    let made: Vec<_> = (0..14)
        .map(|page| (child + page * 8, single(page)))
        .collect();
    assert_eq!(done.discharge, remade(&addresses, &made));
    // The next run begins where the range ends, and stays one.
    assert_eq!(bench.raw(GIB + 16 * PAGE) & bench::RUN, bench::RUN);
}

#[test]
fn a_whole_run_goes_without_being_unfolded() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&runs(ram(GIB, 4 * GIB, 48 * PAGE)));
    let done = bench.unmap(GIB + 16 * PAGE, 16 * PAGE);
    let cleared: Vec<_> = (16..32)
        .map(|page| Write(POOL + PAGE + page * 8, 0))
        .collect();
    assert_eq!(done.before, cleared);
}

#[test]
fn a_run_of_blocks_is_unfolded_before_one_of_them_is_split() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&runs(ram(GIB, 4 * GIB, 16 * MIB2)));
    assert_eq!(bench.unmap(GIB + 5 * MIB2 + PAGE, PAGE).result, Ok(()));
    for block in 0..16 {
        let ipa = GIB + block * MIB2;
        let level = if block == 5 { Level::L3 } else { Level::L2 };
        assert_eq!(bench.leaf(ipa), Some((level, ipa + 3 * GIB)));
        assert_eq!(bench.raw(ipa) & bench::RUN, 0);
    }
    assert_eq!(bench.leaf(GIB + 5 * MIB2 + PAGE), None);
}

#[test]
fn a_context_that_is_not_loaded_is_switched_to_and_back() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = with_contexts(&recorder, &with_ttl(plain()), 2);
    bench.add_context();
    bench.map(&ram(GIB, GIB, GIB));
    let done = bench.unmap(GIB, GIB);
    assert_eq!(done.before, [Write(ROOT + 8, 0)]);
    // Context 2 (VMID 2) was entered last and is loaded. Context 3 never had a VMID.
    assert_eq!(done.discharge, invalidated_in_both(operand(1, GIB)));
}

#[test]
fn an_invalidation_finds_its_tables_shape_in_place() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_ttl(plain()));
    bench.map(&ram(GIB, GIB, GIB));
    let own = bench.table.geometry().vtcr(&plain());
    let other = droste_arm64::Vtcr(own.0 ^ 1);
    recorder.set_vtcr(other);
    let done = bench.unmap(GIB, GIB);
    assert_eq!(done.discharge[1..3], [SetVtcr(own.0), Isb]);
    let back = done.discharge.len() - 3;
    assert_eq!(done.discharge[back..], [SetVtcr(other.0), Isb, Isb]);
}

#[test]
fn a_context_that_lost_its_vmid_has_nothing_to_forget() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = with_contexts(&recorder, &with_ttl(plain()), 1);
    bench.map(&ram(GIB, GIB, GIB));
    // The others use the numbers up; the first is on no CPU by then.
    for _ in 0..255 {
        bench.add_context();
    }
    for other in 1..256 {
        bench.enter(other, 0);
    }
    assert_eq!(bench.vmids.rollovers(), 1);
    let done = bench.unmap(GIB, GIB);
    let invalidations = |event: &&Event| matches!(event, Event::Tlbi(Tlbi::Ipas2e1is(_), _));
    // CPU 0 ran the last but one at the rollover, whose number is reserved; the last has one of the new generation.
    assert_eq!(done.discharge.iter().filter(invalidations).count(), 2);
}

#[test]
fn a_table_nobody_translates_through_needs_no_invalidation() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = with_contexts(&recorder, &plain(), 0);
    bench.map(&ram(GIB, 4 * GIB, PAGE));
    let done = bench.unmap(GIB, PAGE);
    assert_eq!(done.discharge, [ISH, Isb, Give(POOL), Give(POOL + PAGE)]);
}

#[test]
fn freeing_reads_tables_and_not_the_address_space() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB, PAGE));
    bench.map(&ram(9 * GIB, 8 * GIB, GIB));
    let done = bench.run(|table, machine, _| table.free(machine));
    let expected = [
        Write(ROOT + 8, 0),
        Write(POOL, 2),
        Write(POOL + PAGE, POOL | 1 << 2),
        Write(ROOT + 9 * 8, 0),
    ];
    assert_eq!(done.before, expected);
    let expected = [
        ISH,
        tlbi(Tlbi::Vmalls12e1is, 1),
        ISH,
        Isb,
        Give(POOL + PAGE),
        Give(POOL),
    ];
    assert_eq!(done.discharge, expected);
    // It is as new.
    assert!(
        bench
            .run(|table, machine, _| table.free(machine))
            .was_nothing
    );
    assert_eq!(bench.map(&ram(0, 0, PAGE)).result, Ok(()));
}

#[test]
fn counters_tell_invalidations_by_kind() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = with_contexts(&recorder, &with_ranges(plain()), 2);
    bench.map(&ram(GIB, 4 * GIB, 4 * PAGE));
    bench.unmap(GIB, 3 * PAGE);
    let counters = bench.table.counters();
    // Two pages as a range and an odd one, in two contexts.
    assert_eq!((counters.tlbi_address, counters.tlbi_range), (2, 2));
    assert_eq!((counters.tlbi_combined, counters.tlbi_vmid), (2, 0));
    assert_eq!((counters.tlbi_local, counters.table_pages), (0, 2));
    bench.run(|table, machine, _| table.free(machine));
    let counters = bench.table.counters();
    assert_eq!((counters.tlbi_vmid, counters.table_pages), (2, 0));
}

#[test]
#[should_panic(expected = "some context of the table is missing")]
fn a_discharge_that_forgets_a_context_is_stopped() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = with_contexts(&recorder, &plain(), 2);
    bench.map(&ram(GIB, 4 * GIB, PAGE));
    bench.contexts.pop();
    bench.unmap(GIB, PAGE);
}

#[test]
#[should_panic(expected = "some context of the table is missing")]
fn a_context_named_twice_does_not_stand_for_another() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = with_contexts(&recorder, &plain(), 2);
    bench.map(&ram(GIB, 4 * GIB, PAGE));
    let named = &bench.contexts[0];
    let contexts = Contexts {
        vmids: &bench.vmids,
        all: &[named, named],
        smmus: &[],
    };
    let owed = bench
        .table
        .unmap(&recorder, &mut bench.pool, Ipa(GIB), PAGE);
    let _ = owed.discharge(&recorder, &mut bench.pool, &contexts);
}

#[test]
#[should_panic(expected = "a context of another table")]
fn a_discharge_with_a_foreign_context_is_stopped() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = with_contexts(&recorder, &plain(), 1);
    bench.map(&ram(GIB, 4 * GIB, PAGE));
    let geometry = bench.table.geometry();
    let elsewhere = Pa(ROOT + 0x10_0000);
    let mut other = Table::new(&recorder, elsewhere, geometry, &plain()).expect("aligned");
    bench.contexts = vec![droste_stage2::Context::new(&mut other)];
    bench.unmap(GIB, PAGE);
}

#[test]
fn every_operation_notices_an_owed_invalidation_that_was_dropped() {
    type Operation = fn(&mut Bench<'_>);
    let operations: [Operation; 9] = [
        |bench| drop(bench.map(&ram(GIB, 4 * GIB, PAGE))),
        |bench| drop(bench.unmap(GIB, PAGE)),
        |bench| drop(bench.split(GIB, PAGE, Level::L3)),
        |bench| drop(bench.collapse(GIB, GIB, Level::L1)),
        |bench| drop(bench.write_protect(GIB, PAGE)),
        |bench| drop(bench.run(|table, machine, _| table.free(machine))),
        |bench| {
            let _ = bench.table.age(bench.recorder, Ipa(GIB), PAGE);
        },
        |bench| {
            let _ = bench.table.flush(bench.recorder, Ipa(GIB), PAGE);
        },
        |bench| drop(bench.fault(bench::READ, GIB)),
    ];
    for (number, operation) in operations.into_iter().enumerate() {
        let recorder = Recorder::new(Granule::Kib4);
        let mut bench = Bench::new(&recorder, &plain());
        bench.slot(0, 4 * GIB, 2 * GIB, Attributes::RAM);
        bench.map(&ram(GIB, 4 * GIB, PAGE));
        operation(&mut bench);
        bench.map(&ram(GIB, 4 * GIB, PAGE));
        drop(
            bench
                .table
                .unmap(&recorder, &mut bench.pool, Ipa(GIB), PAGE),
        );
        let next = std::panic::AssertUnwindSafe(|| operation(&mut bench));
        let message = std::panic::catch_unwind(next).expect_err("it panics");
        let message = message.downcast_ref::<&str>().expect("a plain message");
        assert!(
            message.contains("discharge it"),
            "operation {number}: {message}"
        );
    }
}

#[test]
fn an_owed_nothing_may_be_dropped() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    drop(
        bench
            .table
            .unmap(&recorder, &mut bench.pool, Ipa(GIB), PAGE),
    );
    assert_eq!(bench.map(&ram(GIB, 4 * GIB, PAGE)).result, Ok(()));
}

#[test]
fn an_operation_that_fails_in_the_middle_owes_what_it_did() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB, GIB));
    bench.pool.keep(1);
    let contexts: Vec<_> = bench.contexts.iter().collect();
    let contexts = Contexts {
        vmids: &bench.vmids,
        all: &contexts,
        smmus: &[],
    };
    let owed = bench
        .table
        .unmap(&recorder, &mut bench.pool, Ipa(GIB + PAGE), PAGE);
    assert!(!owed.is_nothing());
    let result = owed.discharge(&recorder, &mut bench.pool, &contexts);
    assert_eq!(result, Err(Error::NoTablePage { ipa: Ipa(GIB) }));
    assert_eq!(bench.leaf(GIB + PAGE), Some((Level::L2, 4 * GIB + PAGE)));
}

#[test]
fn a_walk_beyond_the_address_space_finds_nothing() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(0, 4 * GIB, GIB));
    for ipa in [1 << 40, 1 << 41, u64::MAX] {
        assert_eq!(bench.leaf(ipa), None);
    }
    let leaves = bench.table.leaves(&recorder, Ipa(0), u64::MAX);
    assert_eq!(leaves.count(), 1);
}

#[test]
fn what_is_loaded_is_not_loaded_again() {
    let recorder = Recorder::new(Granule::Kib4);
    let bench = Bench::new(&recorder, &plain());
    let regime = Regime {
        vtcr: bench.table.geometry().vtcr(&plain()),
        vttbr: bench.vmids.live(&bench.contexts[0]).expect("entered"),
    };
    assert_eq!(under(&recorder, regime, || 7), 7);
    assert_eq!(recorder.take_trace(), []);
}
