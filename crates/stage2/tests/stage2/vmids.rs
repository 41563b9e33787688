//! VMIDs among more contexts than there are numbers, judged by what TLBs would hold.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;

use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Granule, Pa, Vmid, VmidBits, Vttbr};
use droste_stage2::{Context, Dsb, Table, VcpuId, VmidAllocator};
use proptest::prelude::*;

use crate::bench::{self, ROOT};
use crate::hardware::plain;
use crate::recorder::{Event, Recorder};

const CPUS: usize = 4;

/// CPUs whose TLBs keep every entry until an invalidation of all takes it; a CPU inside a guest makes new ones at
/// once.
struct Machine {
    recorder: Recorder,
    table: Table,
    vmids: VmidAllocator<CPUS>,
    contexts: Vec<Context<CPUS>>,
    /// Which context's entries some TLB holds under a VMID.
    cached: HashMap<Vmid, usize>,
    /// Who runs on each CPU, under which VMID.
    inside: [Option<(usize, Vmid)>; CPUS],
}

impl Machine {
    fn new(contexts: usize) -> Self {
        let recorder = Recorder::new(Granule::Kib4);
        let geometry = bench::geometry(Granule::Kib4, 40, &plain());
        let mut table = Table::new(&recorder, Pa(ROOT), geometry, &plain()).expect("aligned");
        let contexts = (0..contexts).map(|_| Context::new(&mut table)).collect();
        Self {
            recorder,
            table,
            vmids: VmidAllocator::new(),
            contexts,
            cached: HashMap::new(),
            inside: [None; CPUS],
        }
    }

    fn enter(&mut self, cpu: usize, context: usize) -> Vmid {
        self.recorder.take_trace();
        let vttbr = self.contexts[context].enter(&self.recorder, &self.vmids, cpu, VcpuId(0));
        let is_rollover = |event: &Event| matches!(event, Event::Tlbi(Tlbi::Alle1is, _));
        if self.recorder.take_trace().iter().any(is_rollover) {
            self.cached.clear();
            for (other, place) in self.inside.into_iter().enumerate() {
                if let Some((context, vmid)) = place
                    && other != cpu
                {
                    self.fill(vmid, context);
                }
            }
        }
        let vmid = vttbr.vmid();
        assert_ne!(vmid, Vmid(0), "VMID 0 is the hypervisor's");
        let baddr = self.table.geometry().baddr(self.table.root());
        assert_eq!(Some(vttbr.baddr()), baddr);
        self.inside[cpu] = Some((context, vmid));
        self.fill(vmid, context);
        vmid
    }

    /// A guest made entries under this VMID. Panics if another context's are still there.
    fn fill(&mut self, vmid: Vmid, context: usize) {
        let owner = *self.cached.entry(vmid).or_insert(context);
        assert_eq!(owner, context, "{vmid:?} means two contexts at once");
    }

    fn live(&self, context: usize) -> Option<Vmid> {
        self.vmids.live(&self.contexts[context]).map(Vttbr::vmid)
    }

    /// Every VMID under which TLBs hold a context's entries is the one that maintenance would use.
    fn check_live(&self) {
        for (&vmid, &context) in &self.cached {
            assert_eq!(self.live(context), Some(vmid));
        }
    }
}

#[test]
fn thousands_of_contexts_share_eight_bits() {
    let mut machine = Machine::new(5000);
    for round in 0..2 {
        for context in 0..5000 {
            machine.enter((context + round) % CPUS, context);
        }
        machine.check_live();
    }
    assert!(machine.vmids.rollovers() >= 10_000 / 255);
    assert!(machine.vmids.rollovers() <= 10_000 / (255 - CPUS as u64) + 1);
}

#[test]
fn a_cpu_inside_a_guest_keeps_its_vmid_through_rollovers() {
    let mut machine = Machine::new(1000);
    let kept = machine.enter(0, 0);
    for context in 1..1000 {
        assert_ne!(machine.enter(1, context), kept);
    }
    assert!(machine.vmids.rollovers() >= 3);
    assert_eq!(
        machine.live(0),
        Some(kept),
        "its entries can be invalidated"
    );
    assert_eq!(machine.enter(0, 0), kept);
    // Renewed on one CPU, it is current on all.
    assert_eq!(machine.enter(2, 0), kept);
}

#[test]
fn a_context_inside_on_two_cpus_is_one_context() {
    let mut machine = Machine::new(600);
    let kept = machine.enter(0, 0);
    machine.enter(1, 0);
    for context in 1..300 {
        machine.enter(2, context);
    }
    assert_eq!(machine.enter(1, 0), kept, "renewed by CPU 1");
    for context in 300..600 {
        machine.enter(2, context);
    }
    assert!(machine.vmids.rollovers() >= 2);
    assert_eq!(machine.enter(0, 0), kept, "CPU 0 was inside all the time");
}

#[test]
fn a_vmid_lost_to_a_rollover_needs_no_maintenance() {
    let mut machine = Machine::new(300);
    assert_eq!(machine.live(0), None, "never entered");
    machine.enter(0, 0);
    assert!(machine.live(0).is_some());
    for context in 1..300 {
        machine.enter(0, context);
    }
    assert_eq!(machine.vmids.rollovers(), 1);
    assert_eq!(machine.live(0), None);
}

#[test]
fn a_rollover_is_one_broadcast_between_barriers() {
    let mut machine = Machine::new(256);
    for context in 0..255 {
        machine.enter(0, context);
    }
    assert_eq!(machine.vmids.rollovers(), 0);
    let loaded = machine.vmids.live(&machine.contexts[254]).expect("inside");
    let vttbr = machine.contexts[255].enter(&machine.recorder, &machine.vmids, 0, VcpuId(0));
    let expected = [
        Event::Dsb(Dsb::Ish),
        Event::Tlbi(Tlbi::Alle1is, loaded.0),
        Event::Dsb(Dsb::Ish),
        Event::Isb,
        Event::Dsb(Dsb::Ish),
        Event::SetVttbr(vttbr.0),
    ];
    assert_eq!(machine.recorder.take_trace(), expected);
}

#[test]
fn a_current_context_enters_without_a_lock_or_a_verb() {
    let mut machine = Machine::new(2);
    machine.enter(0, 0);
    machine.enter(0, 1);
    let (first, second) = (&machine.contexts[0], &machine.contexts[1]);
    for context in [first, second] {
        machine.recorder.take_trace();
        let vttbr = context.enter(&machine.recorder, &machine.vmids, 0, VcpuId(0));
        // The slow path, under the lock, would have ended with a DSB.
        let trace = machine.recorder.take_trace();
        assert!(trace.is_empty() || trace == [Event::SetVttbr(vttbr.0)]);
    }
}

#[test]
fn sixteen_bits_last_longer() {
    let mut machine = Machine::new(70_000);
    machine.vmids.widen(VmidBits::Sixteen);
    machine.vmids.widen(VmidBits::Eight);
    let mut largest = Vmid(0);
    for context in 0..65_535 {
        largest = largest.max(machine.enter(0, context));
    }
    assert_eq!(machine.vmids.rollovers(), 0);
    assert_eq!(largest, Vmid(65_535));
    for context in 65_535..70_000 {
        machine.enter(1, context);
    }
    assert_eq!(machine.vmids.rollovers(), 1);
}

#[test]
fn eight_bits_stay_below_256() {
    let mut machine = Machine::new(600);
    for context in 0..600 {
        assert!(machine.enter(0, context) <= Vmid(255));
    }
}

#[test]
fn cpus_at_once_never_run_two_contexts_under_one_vmid() {
    let machine = Machine::new(600);
    let (vmids, contexts) = (&machine.vmids, &machine.contexts);
    let inside = &Mutex::new([None; CPUS]);
    thread::scope(|scope| {
        for cpu in 0..CPUS {
            scope.spawn(move || {
                let hardware = Recorder::new(Granule::Kib4);
                // Each CPU takes its own way through the contexts; some stay longer than others.
                for step in 0..20_000 {
                    let context = step * (2 * cpu + 1) / (cpu + 1) % contexts.len();
                    inside.lock().expect("no thread panicked")[cpu] = None;
                    let vttbr = contexts[context].enter(&hardware, vmids, cpu, VcpuId(0));
                    let mut places = inside.lock().expect("no thread panicked");
                    places[cpu] = Some((vttbr.vmid(), context));
                    for (vmid, other) in places.iter().flatten() {
                        assert!(*vmid != vttbr.vmid() || *other == context, "{vmid:?}");
                    }
                }
            });
        }
    });
    assert!(vmids.rollovers() > 10);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Some contexts run often, most seldom; CPUs stay inside a guest for long.
    #[test]
    fn no_vmid_ever_means_two_contexts(
        entries in prop::collection::vec(
            (prop_oneof![6 => 0..1usize, 3 => 1..2usize, 1 => 2..CPUS], prop_oneof![0..8usize, 0..700usize]),
            1..3000,
        ),
    ) {
        let mut machine = Machine::new(700);
        for (cpu, context) in entries {
            machine.enter(cpu, context);
        }
        machine.check_live();
    }
}
