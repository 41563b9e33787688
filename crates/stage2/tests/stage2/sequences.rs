//! The exact verbs of each operation, in order.

use droste_arm64::tlbi::{IpaOperand, RangeOperand, Tlbi};
use droste_arm64::{Granule, IdRegisters, Ipa, Pa};
use droste_stage2::{
    Attributes, Context, Dsb, Error, Mapping, Permissions, Table, VmidAllocator, Walk, under,
};

use crate::recorder::Event::{Dsb as Barrier, Give, Isb, SetVttbr, Take, Write, Zero};
use crate::recorder::{self, Event, POOL, Pool, ROOT, Recorder, plain, with_ranges, with_ttl};

const PAGE: u64 = 0x1000;
const MIB2: u64 = 2 << 20;
const GIB: u64 = 1 << 30;
/// Valid page and block of read-write-execute memory, without their address.
const LEAF_PAGE: u64 = 0x7ff;
const LEAF_BLOCK: u64 = 0x7fd;
const TABLE: u64 = 3;
const LOCKED: u64 = 1 << 55;

const ISH: Event = Barrier(Dsb::Ish);
const ISHST: Event = Barrier(Dsb::Ishst);

fn memory(ipa: u64, pa: u64, bytes: u64) -> Mapping {
    Mapping {
        ipa: Ipa(ipa),
        pa: Pa(pa),
        bytes,
        attributes: Attributes::Memory(Permissions::ReadWriteExecute),
    }
}

/// A table of 40 address bits with contexts; the first `entered` of them have VMIDs 1, 2, …
struct Bench<'r, const CONTEXTS: usize> {
    recorder: &'r Recorder,
    pool: Pool<'r>,
    table: Table,
    vmids: VmidAllocator<4>,
    contexts: [Context<4>; CONTEXTS],
}

impl<'r, const CONTEXTS: usize> Bench<'r, CONTEXTS> {
    fn new(recorder: &'r Recorder, ids: &IdRegisters, entered: usize) -> Self {
        let mut table = recorder::table(recorder, Granule::Kib4, 40, ids);
        let vmids = VmidAllocator::new();
        let contexts = std::array::from_fn(|_| Context::new(&mut table));
        for context in &contexts[..entered] {
            recorder::enter(recorder, &vmids, context);
        }
        recorder.take_trace();
        Self {
            recorder,
            pool: Pool::new(recorder, 16),
            table,
            vmids,
            contexts,
        }
    }

    fn map(&mut self, mapping: &Mapping) -> Vec<Event> {
        self.table
            .map(self.recorder, &mut self.pool, mapping)
            .expect("maps");
        self.recorder.take_trace()
    }

    /// The trace of unmapping, and that of the discharge.
    fn unmap(&mut self, ipa: u64, bytes: u64) -> (Vec<Event>, Vec<Event>) {
        let owed = self
            .table
            .unmap(self.recorder, &mut self.pool, Ipa(ipa), bytes)
            .expect("unmaps");
        let broken = self.recorder.take_trace();
        owed.discharge(self.recorder, &mut self.pool, &self.vmids, &self.contexts);
        (broken, self.recorder.take_trace())
    }
}

fn tlbi(operation: Tlbi, vmid: u64) -> Event {
    Event::Tlbi(operation, vmid << 48 | ROOT)
}

fn by_address(operand: u64) -> Tlbi {
    Tlbi::Ipas2e1is(IpaOperand(operand))
}

#[test]
fn a_new_table_is_cleared_before_walks_can_see_it() {
    let recorder = Recorder::new(Granule::Kib4);
    recorder::table(&recorder, Granule::Kib4, 40, &plain());
    assert_eq!(recorder.take_trace(), [Zero(ROOT, 2 * PAGE), ISHST]);
}

#[test]
fn a_misplaced_root_is_refused() {
    let recorder = Recorder::new(Granule::Kib4);
    let geometry = recorder::geometry(Granule::Kib4, 40, &plain());
    for root in [ROOT + PAGE, 1 << 48, (1 << 48) - PAGE] {
        let result = Table::new(&recorder, Pa(root), geometry, &plain());
        assert!(
            matches!(result, Err(Error::RootMisplaced { .. })),
            "{root:#x}"
        );
    }
    assert_eq!(recorder.take_trace(), []);
}

#[test]
fn mapping_a_page_links_cleared_tables_and_ends_with_a_barrier() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &plain(), 1);
    let trace = bench.map(&memory(GIB + MIB2 + PAGE, 0x8000_1000, PAGE));
    let expected = [
        Take(POOL),
        Zero(POOL, PAGE),
        ISHST,
        Write(ROOT + 8, POOL | TABLE),
        Take(POOL + PAGE),
        Zero(POOL + PAGE, PAGE),
        ISHST,
        Write(POOL + 8, POOL + PAGE + TABLE),
        Write(POOL + PAGE + 8, 0x8000_1000 | LEAF_PAGE),
        ISHST,
    ];
    assert_eq!(trace, expected);
    // Its neighbour needs the leaf alone.
    let trace = bench.map(&memory(GIB + MIB2, 0x9000_0000, PAGE));
    assert_eq!(trace, [Write(POOL + PAGE, 0x9000_0000 | LEAF_PAGE), ISHST]);
}

#[test]
fn mapping_takes_the_largest_blocks_that_fit() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &plain(), 1);
    let trace = bench.map(&memory(GIB - MIB2, 4 * GIB - MIB2, GIB + 2 * MIB2));
    let leaves: Vec<_> = trace
        .into_iter()
        .filter(|event| matches!(event, Write(_, value) if value & 3 == 1))
        .collect();
    let expected = [
        Write(POOL + 511 * 8, (4 * GIB - MIB2) | LEAF_BLOCK),
        Write(ROOT + 8, (4 * GIB) | LEAF_BLOCK),
        Write(POOL + PAGE, (5 * GIB) | LEAF_BLOCK),
    ];
    assert_eq!(leaves, expected);
}

#[test]
fn mapping_the_same_again_writes_nothing() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &plain(), 1);
    bench.map(&memory(0, GIB, MIB2 + PAGE));
    assert_eq!(bench.map(&memory(0, GIB, MIB2 + PAGE)), [ISHST]);
    // Within a block, and across the border of block and page.
    assert_eq!(
        bench.map(&memory(MIB2 - PAGE, GIB + MIB2 - PAGE, 2 * PAGE)),
        [ISHST]
    );
}

#[test]
fn mapping_over_something_else_is_an_error_at_its_address() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &plain(), 1);
    bench.map(&memory(MIB2, GIB, MIB2));
    let other_output = memory(0, 2 * GIB, 2 * MIB2);
    let other_attributes = Mapping {
        attributes: Attributes::Memory(Permissions::Read),
        ..memory(MIB2 + PAGE, GIB + PAGE, PAGE)
    };
    for (mapping, ipa) in [(other_output, MIB2), (other_attributes, MIB2 + PAGE)] {
        let result = bench.table.map(&recorder, &mut bench.pool, &mapping);
        assert_eq!(result, Err(Error::AlreadyMapped { ipa: Ipa(ipa) }));
    }
    // What came before the conflict is mapped, and walks see it.
    assert!(matches!(
        bench.table.walk(&recorder, Ipa(0)),
        Walk::Leaf { .. }
    ));
    assert_eq!(recorder.take_trace().last(), Some(&ISHST));
}

#[test]
fn an_entry_that_another_cpu_filled_is_left_to_it() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &plain(), 1);
    let theirs = (8 * GIB) | LEAF_BLOCK;
    recorder.interference.set(Some((ROOT + 8, theirs)));
    let result = bench
        .table
        .map(&recorder, &mut bench.pool, &memory(GIB, 4 * GIB, PAGE));
    assert_eq!(result, Err(Error::Raced { ipa: Ipa(GIB) }));
    assert_eq!(recorder.peek(ROOT + 8), theirs);
    assert_eq!(
        bench.pool.left(),
        16,
        "the page of the table that lost is back"
    );
    assert_eq!(bench.table.counters().table_pages, 0);
}

#[test]
fn exhaustion_keeps_what_is_mapped_and_can_be_repeated() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &plain(), 1);
    bench.pool = Pool::new(&recorder, 2);
    let mapping = memory(MIB2 - PAGE, 4 * GIB, 2 * PAGE);
    let result = bench.table.map(&recorder, &mut bench.pool, &mapping);
    assert_eq!(result, Err(Error::NoTablePage { ipa: Ipa(MIB2) }));
    assert!(matches!(
        bench.table.walk(&recorder, mapping.ipa),
        Walk::Leaf { .. }
    ));
    assert!(matches!(
        bench.table.walk(&recorder, Ipa(MIB2)),
        Walk::Hole { .. }
    ));
    recorder.take_trace();
    bench.pool = Pool::new(&recorder, 3);
    bench.pool.skip(2);
    assert_eq!(bench.map(&mapping).len(), 6);
}

#[test]
fn unmapping_a_page_of_a_loaded_context() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &with_ttl(plain()), 1);
    bench.map(&memory(GIB, 4 * GIB, 2 * PAGE));
    let (broken, discharged) = bench.unmap(GIB, PAGE);
    assert_eq!(broken, [Write(POOL + PAGE, 0)]);
    let expected = [
        ISH,
        tlbi(by_address(0x7000_0004_0000), 1),
        ISH,
        tlbi(Tlbi::Vmalle1is, 1),
        ISH,
        Isb,
    ];
    assert_eq!(discharged, expected);
}

#[test]
fn without_ttl_there_is_no_hint() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &plain(), 1);
    bench.map(&memory(GIB, 4 * GIB, 2 * PAGE));
    let (_, discharged) = bench.unmap(GIB, PAGE);
    assert_eq!(discharged[1], tlbi(by_address(0x4_0000), 1));
}

#[test]
fn the_last_page_takes_its_tables_along_and_their_pages_come_last() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &with_ttl(plain()), 1);
    bench.map(&memory(GIB, 4 * GIB, PAGE));
    let (broken, discharged) = bench.unmap(GIB, PAGE);
    let end_of_list = 2;
    let expected = [
        Write(POOL + PAGE, 0),
        Write(POOL, 0),
        Write(POOL + PAGE, end_of_list),
        Write(ROOT + 8, 0),
        Write(POOL, POOL + PAGE),
    ];
    assert_eq!(broken, expected);
    // A table went: no hint.
    let expected = [
        ISH,
        tlbi(by_address(0x4_0000), 1),
        ISH,
        tlbi(Tlbi::Vmalle1is, 1),
        ISH,
        Isb,
        Give(POOL),
        Give(POOL + PAGE),
    ];
    assert_eq!(discharged, expected);
    assert_eq!(bench.table.counters().table_pages, 0);
}

#[test]
fn a_context_that_is_not_loaded_is_switched_to_and_back() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<3>::new(&recorder, &with_ttl(plain()), 2);
    bench.map(&memory(GIB, GIB, GIB));
    let (broken, discharged) = bench.unmap(GIB, GIB);
    assert_eq!(broken, [Write(ROOT + 8, 0)]);
    // Context 2 (VMID 2) was entered last and is loaded. Context 3 never had a VMID.
    let operation = by_address(0x5000_0004_0000);
    let expected = [
        ISH,
        SetVttbr(1 << 48 | ROOT),
        Isb,
        tlbi(operation, 1),
        ISH,
        tlbi(Tlbi::Vmalle1is, 1),
        ISH,
        SetVttbr(2 << 48 | ROOT),
        Isb,
        tlbi(operation, 2),
        ISH,
        tlbi(Tlbi::Vmalle1is, 2),
        ISH,
        Isb,
    ];
    assert_eq!(discharged, expected);
}

#[test]
fn a_run_of_entries_shares_its_barriers() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &with_ttl(plain()), 1);
    bench.map(&memory(GIB, 4 * GIB, 4 * MIB2));
    let (broken, discharged) = bench.unmap(GIB, 3 * MIB2);
    let entries = [0, 8, 16].map(|offset| Write(POOL + offset, 0));
    assert_eq!(broken, entries);
    let expected = [
        ISH,
        tlbi(by_address(0x6000_0004_0000), 1),
        tlbi(by_address(0x6000_0004_0200), 1),
        tlbi(by_address(0x6000_0004_0400), 1),
        ISH,
        tlbi(Tlbi::Vmalle1is, 1),
        ISH,
        Isb,
    ];
    assert_eq!(discharged, expected);
}

#[test]
fn ranges_are_invalidated_as_ranges_where_the_machine_can() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &with_ranges(plain()), 1);
    bench.map(&memory(GIB, 4 * GIB, 4 * MIB2));
    let (_, discharged) = bench.unmap(GIB, 3 * MIB2);
    // 3 * 512 pages: SCALE 1 (64 pages), NUM 23; TTL 2, TG 1.
    let operand = 1 << 46 | 1 << 44 | 23 << 39 | 2 << 37 | 0x4_0000;
    let expected = [
        ISH,
        tlbi(Tlbi::Ripas2e1is(RangeOperand(operand)), 1),
        ISH,
        tlbi(Tlbi::Vmalle1is, 1),
        ISH,
        Isb,
    ];
    assert_eq!(discharged, expected);
}

#[test]
fn past_the_threshold_the_whole_vmid_goes() {
    let recorder = Recorder::new(Granule::Kib4);
    for (ids, bytes) in [
        (with_ttl(plain()), 65 * MIB2),
        (with_ranges(plain()), 9 * GIB),
    ] {
        let mut bench = Bench::<1>::new(&recorder, &ids, 1);
        bench.map(&memory(GIB, 64 * GIB, bytes + MIB2));
        let (_, discharged) = bench.unmap(GIB, bytes);
        let whole = [ISH, tlbi(Tlbi::Vmalls12e1is, 1), ISH, Isb];
        assert_eq!(discharged[..4], whole);
    }
    // One block fewer goes by address.
    let mut bench = Bench::<1>::new(&recorder, &with_ttl(plain()), 1);
    bench.map(&memory(GIB, 64 * GIB, 66 * MIB2));
    let (_, discharged) = bench.unmap(GIB, 64 * MIB2);
    assert_eq!(discharged.len(), 1 + 64 + 1 + 2 + 1);
}

#[test]
fn unmapping_nothing_owes_nothing() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &plain(), 1);
    assert_eq!(bench.unmap(0, 1 << 40), (vec![], vec![]));
}

#[test]
fn a_split_block_is_invalid_until_its_table_can_take_its_place() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &with_ttl(plain()), 1);
    bench.map(&memory(GIB, 4 * GIB, GIB));
    let owed = bench
        .table
        .split(&recorder, &mut bench.pool, Ipa(GIB + 5 * MIB2 + 0x123))
        .expect("there are pages");
    let broken = recorder.take_trace();
    assert_eq!(broken[..2], [Take(POOL), Zero(POOL, PAGE)]);
    for index in 0..512u64 {
        let block = (4 * GIB + index * MIB2) | LEAF_BLOCK;
        let at = usize::try_from(index).expect("fits") + 2;
        assert_eq!(broken[at], Write(POOL + index * 8, block));
    }
    assert_eq!(broken[514..], [Write(ROOT + 8, LOCKED)]);
    owed.discharge(&recorder, &mut bench.pool, &bench.vmids, &bench.contexts);
    let expected = [
        ISH,
        tlbi(by_address(0x5000_0004_0000), 1),
        ISH,
        tlbi(Tlbi::Vmalle1is, 1),
        ISH,
        Isb,
        Write(ROOT + 8, POOL | TABLE),
        ISHST,
    ];
    assert_eq!(recorder.take_trace(), expected);
}

#[test]
fn splitting_a_page_or_a_hole_does_nothing() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &plain(), 1);
    bench.map(&memory(GIB, 4 * GIB, PAGE));
    for ipa in [GIB, GIB + PAGE, 5 * GIB] {
        let owed = bench
            .table
            .split(&recorder, &mut bench.pool, Ipa(ipa))
            .expect("nothing to do");
        owed.discharge(&recorder, &mut bench.pool, &bench.vmids, &bench.contexts);
        assert_eq!(recorder.take_trace(), []);
    }
    let outside = bench.table.split(&recorder, &mut bench.pool, Ipa(1 << 40));
    assert!(matches!(outside, Err(Error::OutsideIpaSpace { .. })));
}

#[test]
fn unmapping_the_middle_of_a_block_keeps_both_ends() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &with_ttl(plain()), 1);
    bench.map(&memory(GIB, 4 * GIB, GIB));
    let start = GIB + 3 * MIB2 + PAGE;
    let end = GIB + 7 * MIB2 - PAGE;
    let (broken, discharged) = bench.unmap(start, end - start);
    let taken = broken.iter().filter(|event| matches!(event, Take(_)));
    assert_eq!(taken.count(), 3, "the block's table and one for each end");
    assert_eq!(broken.last(), Some(&Write(ROOT + 8, LOCKED)));
    assert_eq!(discharged[6..], [Write(ROOT + 8, POOL | TABLE), ISHST]);
    for (ipa, is_mapped) in [
        (start - PAGE, true),
        (start, false),
        (end - PAGE, false),
        (end, true),
    ] {
        let walk = bench.table.walk(&recorder, Ipa(ipa));
        let is_leaf = matches!(
            walk,
            Walk::Leaf { ipa: at, leaf, .. } if leaf.output - Pa(0) == at.0 + 3 * GIB
        );
        assert_eq!(is_leaf, is_mapped, "{ipa:#x} {walk:?}");
    }
}

#[test]
fn a_split_that_lacks_pages_changes_nothing() {
    let recorder = Recorder::new(Granule::Kib4);
    for pages in 0..4 {
        let mut bench = Bench::<1>::new(&recorder, &plain(), 1);
        bench.map(&memory(GIB, 4 * GIB, 2 * GIB));
        bench.pool = Pool::new(&recorder, pages);
        // Two blocks of 1 GiB, each to be split twice.
        let result = bench.table.unmap(
            &recorder,
            &mut bench.pool,
            Ipa(GIB + PAGE),
            2 * GIB - 2 * PAGE,
        );
        assert!(matches!(result, Err(Error::NoTablePage { .. })));
        assert_eq!(u64::try_from(bench.pool.left()).expect("fits"), pages);
        assert_eq!(bench.table.counters().table_pages, 0);
        for ipa in [GIB, 2 * GIB] {
            assert_eq!(
                recorder.peek(ROOT + ipa / GIB * 8),
                (ipa + 3 * GIB) | LEAF_BLOCK
            );
        }
    }
}

#[test]
fn freeing_reads_tables_and_not_the_address_space() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &plain(), 1);
    bench.map(&memory(GIB, 4 * GIB, PAGE));
    bench.map(&memory(9 * GIB, 8 * GIB, GIB));
    let owed = bench.table.free(&recorder);
    let broken = recorder.take_trace();
    let expected = [
        Write(ROOT + 8, 0),
        Write(POOL + PAGE, 2),
        Write(POOL, POOL + PAGE),
        Write(ROOT + 9 * 8, 0),
    ];
    assert_eq!(broken, expected);
    owed.discharge(&recorder, &mut bench.pool, &bench.vmids, &bench.contexts);
    let expected = [
        ISH,
        tlbi(Tlbi::Vmalls12e1is, 1),
        ISH,
        Isb,
        Give(POOL),
        Give(POOL + PAGE),
    ];
    assert_eq!(recorder.take_trace(), expected);
}

#[test]
fn a_table_nobody_translates_through_needs_no_invalidation() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<0>::new(&recorder, &plain(), 0);
    bench.map(&memory(GIB, 4 * GIB, PAGE));
    let (_, discharged) = bench.unmap(GIB, PAGE);
    assert_eq!(discharged, [ISH, Isb, Give(POOL), Give(POOL + PAGE)]);
}

#[test]
fn counters_tell_invalidations_by_kind() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<2>::new(&recorder, &with_ranges(plain()), 2);
    bench.map(&memory(GIB, 4 * GIB, 4 * PAGE));
    bench.unmap(GIB, 3 * PAGE);
    let counters = *bench.table.counters();
    assert_eq!((counters.tlbi_address, counters.tlbi_range), (2, 2));
    assert_eq!((counters.tlbi_combined, counters.tlbi_vmid), (2, 0));
    assert_eq!(counters.table_pages, 2);
    bench.table.free(&recorder).discharge(
        &recorder,
        &mut bench.pool,
        &bench.vmids,
        &bench.contexts,
    );
    assert_eq!(bench.table.counters().tlbi_vmid, 2);
    assert_eq!(bench.table.counters().table_pages, 0);
}

#[test]
#[should_panic(expected = "some context of the table is missing")]
fn a_discharge_that_forgets_a_context_is_stopped() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<2>::new(&recorder, &plain(), 2);
    bench.map(&memory(GIB, 4 * GIB, PAGE));
    let owed = bench
        .table
        .unmap(&recorder, &mut bench.pool, Ipa(GIB), PAGE)
        .expect("unmaps");
    owed.discharge(
        &recorder,
        &mut bench.pool,
        &bench.vmids,
        &bench.contexts[..1],
    );
}

#[test]
#[should_panic(expected = "discharge it")]
fn an_owed_invalidation_that_was_dropped_is_noticed() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &plain(), 1);
    bench.map(&memory(GIB, 4 * GIB, PAGE));
    drop(
        bench
            .table
            .unmap(&recorder, &mut bench.pool, Ipa(GIB), PAGE),
    );
    bench.map(&memory(GIB, 4 * GIB, PAGE));
}

#[test]
fn a_walk_beyond_the_address_space_finds_nothing() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::<1>::new(&recorder, &plain(), 1);
    bench.map(&memory(0, 4 * GIB, GIB));
    for ipa in [1 << 40, u64::MAX] {
        let walk = bench.table.walk(&recorder, Ipa(ipa));
        assert!(matches!(walk, Walk::Hole { .. }));
    }
}

#[test]
fn under_a_loaded_context_nothing_is_switched() {
    let recorder = Recorder::new(Granule::Kib4);
    let bench = Bench::<1>::new(&recorder, &plain(), 1);
    let loaded = bench.vmids.live(&bench.contexts[0]).expect("entered");
    assert_eq!(under(&recorder, loaded, || 7), 7);
    assert_eq!(recorder.take_trace(), []);
}
