//! Faults from syndrome to mapping.

use droste_arm64::esr::Esr;
use droste_arm64::{Granule, IdRegisters, Ipa, Level, Pa};
use droste_stage2::{
    Attributes, Decision, Dsb, Error, Fault, Ic, Mapping, Outcome, Permissions, Slot, Slots, Table,
    Walk, handle,
};

use crate::recorder::Event::{Clean, Dsb as Barrier, Ic as Cache, Take, Write, Zero};
use crate::recorder::{self, POOL, Pool, ROOT, Recorder, plain};

const MIB2: u64 = 2 << 20;
const GIB: u64 = 1 << 30;
const RAM: u64 = 4 * GIB;
const ROM: u64 = 8 * GIB;
const DEVICE: u64 = 9 * GIB;
const OFFSET: u64 = 16 * GIB;

const READ: u64 = 0x24 << 26 | 0x06;
const WRITE: u64 = READ | 1 << 6;
const FETCH: u64 = 0x20 << 26 | 0x06;
/// Turns a translation fault into a permission fault.
const PERMISSION: u64 = 0x08;

fn fault(esr: u64, ipa: u64) -> Fault {
    Fault::new(Esr(esr), Ipa(ipa)).expect("a fault that a mapping answers")
}

struct Bench<'r> {
    recorder: &'r Recorder,
    pool: Pool<'r>,
    table: Table,
    slots: Slots,
}

impl<'r> Bench<'r> {
    fn new(recorder: &'r Recorder, ids: &IdRegisters) -> Self {
        let table = recorder::table(recorder, Granule::Kib4, 40, ids);
        let mut slots = Slots::new(table.geometry());
        for (ipa, attributes) in [
            (RAM, Attributes::Memory(Permissions::ReadWriteExecute)),
            (ROM, Attributes::Memory(Permissions::Read)),
            (DEVICE, Attributes::Device),
        ] {
            let slot = Slot {
                ipa: Ipa(ipa),
                pa: Pa(ipa + OFFSET),
                bytes: GIB,
                attributes,
            };
            slots.add(slot).expect("free");
        }
        recorder.take_trace();
        Self {
            recorder,
            pool: Pool::new(recorder, 8),
            table,
            slots,
        }
    }

    fn handle(&mut self, esr: u64, ipa: u64) -> Result<Outcome, Error> {
        let fault = fault(esr, ipa);
        handle(
            self.recorder,
            &mut self.table,
            &mut self.pool,
            &self.slots,
            &fault,
        )
    }

    fn leaf_level(&self, ipa: u64) -> Option<Level> {
        match self.table.walk(self.recorder, Ipa(ipa)) {
            Walk::Leaf { level, leaf, ipa } => {
                assert_eq!(leaf.output, Pa(ipa.0 + OFFSET));
                Some(level)
            }
            Walk::Hole { .. } => None,
        }
    }
}

#[test]
fn a_fault_maps_the_largest_block_and_nothing_else() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    assert_eq!(bench.handle(WRITE, RAM + 0x12_3456), Ok(Outcome::Mapped));
    let expected = [
        Write(ROOT + 4 * 8, (RAM + OFFSET) | 0x7fd),
        Barrier(Dsb::Ishst),
    ];
    assert_eq!(recorder.take_trace(), expected);
    assert_eq!(bench.table.counters().faults, 1);
}

#[test]
fn the_same_fault_on_another_cpu_is_retried() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    assert_eq!(bench.handle(WRITE, RAM), Ok(Outcome::Mapped));
    recorder.take_trace();
    assert_eq!(bench.handle(WRITE, RAM + MIB2), Ok(Outcome::Retry));
    assert_eq!(bench.handle(WRITE | PERMISSION, RAM), Ok(Outcome::Retry));
    assert_eq!(recorder.take_trace(), []);
    assert_eq!(bench.table.counters().faults, 1);
}

#[test]
fn a_race_lost_in_the_entry_itself_is_retried() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    let theirs = (RAM + OFFSET) | 0x7fd;
    recorder.interference.set(Some((ROOT + 4 * 8, theirs)));
    assert_eq!(bench.handle(READ, RAM), Ok(Outcome::Retry));
    assert_eq!(bench.handle(READ, RAM), Ok(Outcome::Retry));
    assert_eq!(bench.table.counters().faults, 0);
}

#[test]
fn what_a_slot_denies_is_refused_whether_it_is_mapped_or_not() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    for _ in 0..2 {
        assert_eq!(bench.handle(WRITE, ROM), Ok(Outcome::ReadOnlyWrite));
        assert_eq!(bench.handle(FETCH, ROM), Ok(Outcome::NotExecutable));
        assert_eq!(bench.handle(FETCH, DEVICE), Ok(Outcome::NotExecutable));
        assert_eq!(bench.handle(WRITE, 5 * GIB), Ok(Outcome::NotMemory));
        assert_eq!(bench.handle(READ, u64::MAX), Ok(Outcome::NotMemory));
        assert!(matches!(
            bench.handle(READ, ROM),
            Ok(Outcome::Mapped | Outcome::Retry)
        ));
        assert_eq!(
            bench.handle(WRITE | PERMISSION, ROM),
            Ok(Outcome::ReadOnlyWrite)
        );
    }
    assert_eq!(bench.handle(WRITE, DEVICE), Ok(Outcome::Mapped));
}

#[test]
fn stage_1_tables_in_a_device_are_refused_and_no_endless_loop() {
    const S1PTW: u64 = 1 << 7;
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    assert_eq!(bench.handle(READ | S1PTW, RAM), Ok(Outcome::Mapped));
    assert_eq!(bench.handle(READ | S1PTW, DEVICE), Ok(Outcome::NotMemory));
    assert_eq!(bench.handle(READ, DEVICE), Ok(Outcome::Mapped));
    // What HCR_EL2.PTW makes of the walk now.
    let walk = READ | PERMISSION | S1PTW;
    assert_eq!(bench.handle(walk, DEVICE), Ok(Outcome::NotMemory));
    // A walker that updates its descriptor in read-only memory.
    assert_eq!(bench.handle(READ | S1PTW, ROM), Ok(Outcome::Mapped));
    assert_eq!(bench.handle(walk, ROM), Ok(Outcome::ReadOnlyWrite));
}

#[test]
fn a_decision_is_void_once_the_slots_have_changed() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    let Decision::Map(proposal) = bench.slots.resolve(&fault(WRITE, RAM)) else {
        panic!("there is a slot");
    };
    bench.slots.remove(Ipa(RAM)).expect("there");
    let now = bench.slots.sequence();
    let outcome = bench
        .table
        .install(&recorder, &mut bench.pool, &proposal, now);
    assert_eq!(outcome, Ok(Outcome::Retry));
    assert_eq!(recorder.take_trace(), []);
    assert_eq!(bench.handle(WRITE, RAM), Ok(Outcome::NotMemory));
}

#[test]
fn a_hole_among_pages_is_filled_with_a_page() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    let mapping = Mapping {
        ipa: Ipa(RAM + 0x5000),
        pa: Pa(RAM + OFFSET + 0x5000),
        bytes: 0x1000,
        attributes: Attributes::Memory(Permissions::ReadWriteExecute),
    };
    bench
        .table
        .map(&recorder, &mut bench.pool, &mapping)
        .expect("maps");
    assert_eq!(bench.handle(READ, RAM + 0x6abc), Ok(Outcome::Mapped));
    assert_eq!(bench.leaf_level(RAM + 0x6000), Some(Level::L3));
    assert_eq!(bench.leaf_level(RAM + 0x7000), None);
    assert_eq!(bench.handle(READ, RAM + MIB2), Ok(Outcome::Mapped));
    assert_eq!(bench.leaf_level(RAM + MIB2), Some(Level::L2));
}

#[test]
fn a_mapping_narrower_than_its_slot_is_an_error_and_no_endless_loop() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    let mapping = Mapping {
        ipa: Ipa(RAM),
        pa: Pa(RAM + OFFSET),
        bytes: GIB,
        attributes: Attributes::Memory(Permissions::Read),
    };
    bench
        .table
        .map(&recorder, &mut bench.pool, &mapping)
        .expect("maps");
    let result = bench.handle(WRITE | PERMISSION, RAM + 8);
    assert_eq!(result, Err(Error::AlreadyMapped { ipa: Ipa(RAM + 8) }));
}

#[test]
fn a_fault_without_a_page_for_its_table_can_be_repeated() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.slots.remove(Ipa(RAM)).expect("there");
    let slot = Slot {
        ipa: Ipa(RAM),
        pa: Pa(RAM + OFFSET),
        bytes: MIB2,
        attributes: Attributes::Memory(Permissions::ReadWrite),
    };
    bench.slots.add(slot).expect("free");
    bench.pool = Pool::new(&recorder, 0);
    let result = bench.handle(WRITE, RAM);
    assert_eq!(result, Err(Error::NoTablePage { ipa: Ipa(RAM) }));
    bench.pool = Pool::new(&recorder, 1);
    assert_eq!(bench.handle(WRITE, RAM), Ok(Outcome::Mapped));
}

/// Caches before the Point of Coherency, no FEAT_S2FWB, neither IDC nor DIC.
fn with_caches() -> IdRegisters {
    IdRegisters {
        ctr: 0,
        clidr: 1 << 27 | 2 << 24 | 1 << 21,
        ..plain()
    }
}

#[test]
fn memory_is_cleaned_before_the_guest_sees_it_and_no_more_than_2_mib_at_once() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_caches());
    assert_eq!(bench.handle(FETCH, RAM + MIB2 + 5), Ok(Outcome::Mapped));
    let expected = [
        Clean(RAM + OFFSET + MIB2, MIB2),
        Barrier(Dsb::Ish),
        Cache(Ic::Ialluis),
        Barrier(Dsb::Ish),
        Take(POOL),
        Zero(POOL, 0x1000),
        Barrier(Dsb::Ishst),
        Write(ROOT + 4 * 8, POOL | 3),
        Write(POOL + 8, (RAM + OFFSET + MIB2) | 0x7fd),
        Barrier(Dsb::Ishst),
    ];
    assert_eq!(recorder.take_trace(), expected);
}

#[test]
fn devices_need_no_cleaning_and_keep_large_blocks() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &with_caches());
    assert_eq!(bench.handle(READ, DEVICE), Ok(Outcome::Mapped));
    assert_eq!(recorder.take_trace().len(), 2);
    assert_eq!(bench.leaf_level(DEVICE), Some(Level::L1));
}

#[test]
fn forced_write_back_needs_no_cleaning() {
    let recorder = Recorder::new(Granule::Kib4);
    let ids = IdRegisters {
        mmfr2: 1 << 40,
        ctr: 3 << 28,
        ..with_caches()
    };
    let mut bench = Bench::new(&recorder, &ids);
    assert_eq!(bench.handle(WRITE, RAM), Ok(Outcome::Mapped));
    // MemAttr 0b0110.
    let expected = [
        Write(ROOT + 4 * 8, (RAM + OFFSET) | 0x7d9),
        Barrier(Dsb::Ishst),
    ];
    assert_eq!(recorder.take_trace(), expected);
}
