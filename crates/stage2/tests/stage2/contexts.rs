//! Entering contexts, and the private TLB that each vCPU is promised.

use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Granule, Pa};
use droste_stage2::{Context, Dsb, Ic, Table, VcpuId, VmidAllocator};

use crate::bench::{self, Bench, GIB, ROOT, ram};
use crate::hardware::plain;
use crate::recorder::Event::{Dsb as Barrier, Ic as Cache, Isb, SetVttbr, Tlbi as Invalidate};
use crate::recorder::{Event, Recorder};

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

struct Entries {
    recorder: Recorder,
    table: Table,
    vmids: VmidAllocator<4>,
}

impl Entries {
    fn new() -> Self {
        let recorder = Recorder::new(Granule::Kib4);
        let geometry = bench::geometry(Granule::Kib4, 40, &plain());
        let table = Table::new(&recorder, Pa(ROOT), geometry, &plain()).expect("aligned");
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
    let mut entries = Entries::new();
    let context = Context::new(&mut entries.table);
    assert_eq!(
        entries.enter(&context, 0, A),
        [Barrier(Dsb::Ish), SetVttbr(VTTBR)]
    );
    assert_eq!(
        entries.enter(&context, 0, A),
        [],
        "nothing to do the second time"
    );
}

#[test]
fn another_virtual_cpu_finds_no_entries_of_the_last() {
    let mut entries = Entries::new();
    let context = Context::new(&mut entries.table);
    entries.enter(&context, 0, A);
    assert_eq!(entries.enter(&context, 0, B), FORGET_PREVIOUS);
    assert_eq!(entries.enter(&context, 0, B), []);
    assert_eq!(entries.enter(&context, 0, A), FORGET_PREVIOUS);
    assert_eq!(context.private_invalidations(), 2);
}

#[test]
fn each_cpu_remembers_for_itself() {
    let mut entries = Entries::new();
    let context = Context::new(&mut entries.table);
    entries.enter(&context, 0, A);
    // On CPU 1 nobody ran; the slow path gives this CPU its active tag.
    assert_eq!(entries.enter(&context, 1, B), [Barrier(Dsb::Ish)]);
    assert_eq!(
        entries.enter(&context, 0, A),
        [],
        "A is still the last on CPU 0"
    );
    assert_eq!(entries.enter(&context, 1, A), FORGET_PREVIOUS);
}

#[test]
fn each_context_of_a_table_remembers_for_itself() {
    let mut entries = Entries::new();
    let first = Context::new(&mut entries.table);
    let second = Context::new(&mut entries.table);
    entries.enter(&first, 0, A);
    let second_vttbr = 2 << 48 | ROOT;
    let trace = entries.enter(&second, 0, B);
    assert_eq!(trace, [Barrier(Dsb::Ish), SetVttbr(second_vttbr)]);
    // B ran last on CPU 0, but under another VMID: A's entries of the first are its own.
    assert_eq!(entries.enter(&first, 0, A), [SetVttbr(VTTBR)]);
}

#[test]
fn an_invalidation_follows_the_load_of_its_vmid() {
    let mut entries = Entries::new();
    let first = Context::new(&mut entries.table);
    let second = Context::new(&mut entries.table);
    entries.enter(&first, 0, A);
    entries.enter(&second, 0, A);
    let trace = entries.enter(&first, 0, B);
    assert_eq!(trace[0], SetVttbr(VTTBR));
    assert_eq!(trace[1..], FORGET_PREVIOUS);
}

#[test]
fn every_number_is_a_virtual_cpu() {
    let mut entries = Entries::new();
    let context = Context::new(&mut entries.table);
    entries.enter(&context, 0, VcpuId(u32::MAX));
    assert_eq!(entries.enter(&context, 0, A), FORGET_PREVIOUS);
}

#[test]
fn a_retired_context_is_no_longer_asked_for() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::with(
        &recorder,
        bench::geometry(Granule::Kib4, 40, &plain()),
        &plain(),
        2,
    );
    bench.map(&ram(GIB, 4 * GIB, GIB));
    let second = bench.contexts.pop().expect("two were made");
    second.retire(&mut bench.table);
    let done = bench.unmap(GIB, GIB);
    let is_of_second = |event: &Event| matches!(event, Invalidate(_, vttbr) if vttbr >> 48 == 2);
    assert!(!done.discharge.iter().any(is_of_second));
}

#[test]
#[should_panic(expected = "another table")]
fn a_context_is_retired_from_its_own_table() {
    let mut entries = Entries::new();
    let geometry = entries.table.geometry();
    let elsewhere = Pa(ROOT + 0x10_0000);
    let mut other = Table::new(&entries.recorder, elsewhere, geometry, &plain()).expect("aligned");
    Context::<4>::new(&mut entries.table).retire(&mut other);
}
