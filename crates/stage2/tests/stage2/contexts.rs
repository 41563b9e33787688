//! Entering contexts, and the private TLB that each virtual CPU is promised.

use droste_arm64::Granule;
use droste_arm64::tlbi::Tlbi;
use droste_stage2::{Context, Dsb, Ic, Table, VcpuId, VmidAllocator};

use crate::recorder::Event::{Dsb as Barrier, Ic as Cache, Isb, SetVttbr, Tlbi as Invalidate};
use crate::recorder::{self, Event, ROOT, Recorder, plain};

const VTTBR: u64 = 1 << 48 | ROOT;
const A: VcpuId = VcpuId(0);
const B: VcpuId = VcpuId(1);

const FORGET_PREVIOUS: [Event; 5] = [
    Isb,
    Invalidate(Tlbi::Vmalle1, VTTBR),
    Cache(Ic::Iallu),
    Barrier(Dsb::Nsh),
    Isb,
];

struct Bench {
    recorder: Recorder,
    table: Table,
    vmids: VmidAllocator<4>,
}

impl Bench {
    fn new() -> Self {
        let recorder = Recorder::new(Granule::Kib4);
        let table = recorder::table(&recorder, Granule::Kib4, 40, &plain());
        recorder.take_trace();
        Self {
            recorder,
            table,
            vmids: VmidAllocator::new(),
        }
    }

    fn enter(&self, context: &Context<4>, cpu: usize, vcpu: VcpuId) -> Vec<Event> {
        context.enter(&self.recorder, &self.vmids, cpu, vcpu);
        self.recorder.take_trace()
    }
}

#[test]
fn the_first_entry_gets_a_vmid_and_loads_it() {
    let mut bench = Bench::new();
    let context = Context::new(&mut bench.table);
    assert_eq!(
        bench.enter(&context, 0, A),
        [Barrier(Dsb::Ish), SetVttbr(VTTBR)]
    );
    assert_eq!(
        bench.enter(&context, 0, A),
        [],
        "nothing to do the second time"
    );
}

#[test]
fn another_virtual_cpu_finds_no_entries_of_the_last() {
    let mut bench = Bench::new();
    let context = Context::new(&mut bench.table);
    bench.enter(&context, 0, A);
    assert_eq!(bench.enter(&context, 0, B), FORGET_PREVIOUS);
    assert_eq!(bench.enter(&context, 0, B), []);
    assert_eq!(bench.enter(&context, 0, A), FORGET_PREVIOUS);
    assert_eq!(context.private_invalidations(), 2);
}

#[test]
fn each_cpu_remembers_for_itself() {
    let mut bench = Bench::new();
    let context = Context::new(&mut bench.table);
    bench.enter(&context, 0, A);
    // On CPU 1 nobody ran; the slow path gives this CPU its active tag.
    assert_eq!(bench.enter(&context, 1, B), [Barrier(Dsb::Ish)]);
    assert_eq!(
        bench.enter(&context, 0, A),
        [],
        "A is still the last on CPU 0"
    );
    assert_eq!(bench.enter(&context, 1, A), FORGET_PREVIOUS);
}

#[test]
fn each_context_of_a_table_remembers_for_itself() {
    let mut bench = Bench::new();
    let first = Context::new(&mut bench.table);
    let second = Context::new(&mut bench.table);
    bench.enter(&first, 0, A);
    let second_vttbr = 2 << 48 | ROOT;
    let trace = bench.enter(&second, 0, B);
    assert_eq!(trace, [Barrier(Dsb::Ish), SetVttbr(second_vttbr)]);
    // B ran last on CPU 0, but under another VMID: A's entries of the first are its own.
    assert_eq!(bench.enter(&first, 0, A), [SetVttbr(VTTBR)]);
}

#[test]
fn an_invalidation_follows_the_load_of_its_vmid() {
    let mut bench = Bench::new();
    let first = Context::new(&mut bench.table);
    let second = Context::new(&mut bench.table);
    bench.enter(&first, 0, A);
    bench.enter(&second, 0, A);
    let trace = bench.enter(&first, 0, B);
    assert_eq!(trace[0], SetVttbr(VTTBR));
    assert_eq!(trace[1..], FORGET_PREVIOUS);
}

#[test]
fn every_number_is_a_virtual_cpu() {
    let mut bench = Bench::new();
    let context = Context::new(&mut bench.table);
    bench.enter(&context, 0, VcpuId(u32::MAX));
    assert_eq!(bench.enter(&context, 0, A), FORGET_PREVIOUS);
}

#[test]
fn a_retired_context_is_no_longer_asked_for() {
    let mut bench = Bench::new();
    let first = Context::<4>::new(&mut bench.table);
    let second = Context::<4>::new(&mut bench.table);
    second.retire(&mut bench.table);
    let mut pool = recorder::Pool::new(&bench.recorder, 4);
    let owed = bench.table.free(&bench.recorder);
    owed.discharge(&bench.recorder, &mut pool, &bench.vmids, [&first]);
}

#[test]
#[should_panic(expected = "another table")]
fn a_context_is_retired_from_its_own_table() {
    let mut bench = Bench::new();
    let geometry = bench.table.geometry();
    let elsewhere = droste_arm64::Pa(ROOT + 0x10_0000);
    let mut other = Table::new(&bench.recorder, elsewhere, geometry, &plain()).expect("aligned");
    Context::<4>::new(&mut bench.table).retire(&mut other);
}
