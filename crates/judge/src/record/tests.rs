//! A machine of a few pages, and what is told of it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;

const BASE: u64 = 0x4000_0000;
const ROOT: u64 = BASE;
const T2: u64 = BASE + 0x1000;
const T3: u64 = BASE + 0x2000;
const VTCR: u64 = 1 << 31 | 5 << 16 | 1 << 6 | 0x19;
const LOADED: Loaded = Loaded {
    vttbr: 1 << 48 | ROOT,
    vtcr: VTCR,
    hcr: 1,
    vmpidr: 7,
};
/// EL2 has memory here.
const LINEAR: u64 = 0xffff_0000_0000_0000;
/// X29 of every CPU.
const FRAME: u64 = LINEAR + 0x9000;

const DSB_ISHST: u32 = 0xd503_3a9f;
const DSB_ISH: u32 = 0xd503_3b9f;
const ISB: u32 = 0xd503_3fdf;
const DMB_ISH: u32 = 0xd503_3bbf;
const DC_ZVA: u32 = 0xd50b_7423;
const VMALLS12E1IS: u32 = 0xd50c_83df;
const VMALLE1IS: u32 = 0xd508_831f;
const MSR_HCR: u32 = 0xd51c_1103;

struct Rig {
    ram: RefCell<BTreeMap<u64, u64>>,
    /// What EL2 finds at its frames, and in its code.
    stack: Vec<(u64, [u64; 2])>,
    recorder: Option<Recorder<Vec<u8>>>,
}

impl Rig {
    fn new() -> Self {
        let machine = Machine {
            cpus: 2,
            base: BASE,
            bytes: 16 << 12,
            ids: [0; 5],
        };
        Self {
            ram: RefCell::default(),
            stack: Vec::new(),
            recorder: Some(Recorder::new(&machine, Vec::new())),
        }
    }

    fn on<R>(&mut self, call: impl FnOnce(&mut Recorder<Vec<u8>>, Sight<'_>) -> R) -> R {
        let (ram, stack) = (&self.ram, &self.stack);
        let read = |at: u64| {
            let offset = at.checked_sub(BASE)?;
            (offset < 16 << 12).then(|| ram.borrow().get(&at).copied().unwrap_or(0))
        };
        let sight = Sight {
            ram: &read,
            frame: &|| FRAME,
            memory: &|at| {
                let known = stack.iter().find(|(found, _)| *found == at);
                let linear = || {
                    Some([
                        read(at.wrapping_sub(LINEAR))?,
                        read(at.wrapping_sub(LINEAR) + 8)?,
                    ])
                };
                known.map(|at| at.1).or_else(linear)
            },
        };
        call(self.recorder.as_mut().unwrap(), sight)
    }

    /// Before anybody watches, or by nobody who is watched.
    fn set(&self, pa: u64, value: u64) {
        self.ram.borrow_mut().insert(pa, value);
    }

    fn store(&mut self, cpu: usize, pa: u64, value: u64, order: Order) {
        self.set(pa, value);
        let store = Store {
            pc: 0x100,
            va: LINEAR + pa,
            pa,
            bytes: 8,
            order,
        };
        self.on(|recorder, sight| {
            if recorder.watched.has(pa) {
                recorder.store(cpu, &store, sight);
            }
        });
    }

    fn execute(&mut self, cpu: usize, word: u32, operand: u64) {
        self.on(|recorder, sight| recorder.execute(cpu, 0x200, word, operand, sight));
    }

    fn enter(&mut self, cpu: usize) {
        self.on(|recorder, sight| {
            recorder.change(cpu, (Who::El2, Who::Guest), LOADED, sight);
        });
    }

    /// What was told since this was last asked.
    fn told(&mut self) -> Vec<(Kind, u64, u64)> {
        let out = &mut self.recorder.as_mut().unwrap().out;
        let trace = core::mem::take(out);
        let mut from = trace.as_slice();
        if from.starts_with(b"drostej") {
            Machine::get(&mut from).unwrap();
        }
        let mut told = Vec::new();
        while let Some(event) = Event::get(&mut from).unwrap() {
            told.push((event.kind, event.a, event.b));
        }
        told
    }
}

/// A guest is inside on CPU 0, with one page mapped.
fn inhabited() -> Rig {
    let mut rig = Rig::new();
    rig.set(ROOT, T2 | 3);
    rig.set(T2, T3 | 3);
    rig.set(T3, 0x8000_07ff);
    rig.enter(0);
    rig
}

#[test]
fn who_executes_is_told_by_pstate_and_hcr() {
    let (vm, tge) = (1, 1 << 27);
    let cases = [
        (0xd, vm, Who::Firmware),
        (0x9, vm | tge, Who::El2),
        (0x5, vm, Who::Guest),
        (0x5, 0, Who::HostKernel),
        (0x0, vm, Who::Guest),
        (0x0, 0, Who::HostUser),
        (0x0, vm | tge, Who::HostUser),
        // AArch32: a user, and a kernel.
        (0x10, vm, Who::Guest),
        (0x13, 0, Who::HostKernel),
    ];
    for (pstate, hcr, who) in cases {
        assert_eq!(Who::of(pstate, hcr), who, "{pstate:#x} {hcr:#x}");
    }
}

#[test]
fn tables_that_were_there_are_told_as_a_guest_is_entered() {
    let mut rig = inhabited();
    assert_eq!(
        rig.told(),
        [
            (Kind::Vtcr, 0, VTCR),
            (Kind::Vttbr, 0, LOADED.vttbr),
            (Kind::Hcr, 0, 1),
            // What a descriptor leads to is told before it.
            (Kind::Learn, T3, 0x8000_07ff),
            (Kind::Learn, T2, T3 | 3),
            (Kind::Learn, ROOT, T2 | 3),
            (Kind::Enter, 7, 0),
        ]
    );
    // The second time nothing of it is news.
    rig.enter(1);
    let kinds: Vec<_> = rig.told().iter().map(|&(kind, ..)| kind).collect();
    assert_eq!(kinds, [Kind::Vtcr, Kind::Vttbr, Kind::Hcr, Kind::Enter]);
}

#[test]
fn stores_to_tables_are_told_and_no_others() {
    let mut rig = inhabited();
    rig.told();
    rig.store(1, T3 + 8, 0x8000_17ff, Order::Plain);
    rig.store(1, BASE + 0x8000, 1, Order::Plain);
    // What changes nothing is no news.
    rig.store(1, T3 + 8, 0x8000_17ff, Order::Plain);
    assert_eq!(rig.told(), [(Kind::Write, T3 + 8, 0x8000_17ff)]);
}

#[test]
fn a_table_is_told_as_it_is_linked_and_watched_from_then_on() {
    let mut rig = inhabited();
    rig.told();
    let table = BASE + 0x4000;
    rig.store(1, table + 16, 0x9000_07ff, Order::Plain);
    assert_eq!(rig.told(), []);
    rig.store(1, T2 + 8, table | 3, Order::Plain);
    rig.store(1, table + 16, 0, Order::Plain);
    assert_eq!(
        rig.told(),
        [
            (Kind::Learn, table + 16, 0x9000_07ff),
            (Kind::Write, T2 + 8, table | 3),
            (Kind::Write, table + 16, 0),
        ]
    );
}

#[test]
fn barriers_are_told_where_something_waits_for_them() {
    let mut rig = inhabited();
    rig.told();
    for word in [DSB_ISH, DSB_ISHST, DMB_ISH, ISB] {
        rig.execute(1, word, 0);
    }
    assert_eq!(rig.told(), []);
    rig.store(1, T3, 0, Order::Plain);
    // Another CPU's waits for nothing.
    rig.execute(0, DSB_ISH, 0);
    for word in [DMB_ISH, DMB_ISH, DSB_ISHST, DSB_ISH, DSB_ISH] {
        rig.execute(1, word, 0);
    }
    assert_eq!(
        rig.told(),
        [
            (Kind::Write, T3, 0),
            (Kind::Order, 0, 0),
            (Kind::Dsb, 10, 0),
            (Kind::Dsb, 11, 0)
        ]
    );
    rig.execute(1, VMALLS12E1IS, 5);
    rig.execute(1, DSB_ISH, 0);
    let invalidation = (Kind::Tlbi, u64::from(VMALLS12E1IS), 5);
    assert_eq!(rig.told(), [invalidation, (Kind::Dsb, 11, 0)]);
}

#[test]
fn a_store_release_orders_what_was_written_before() {
    let mut rig = inhabited();
    rig.told();
    rig.store(1, T3, 0, Order::Release);
    rig.store(1, T3 + 8, 0x8000_17ff, Order::Release);
    assert_eq!(
        rig.told(),
        [
            (Kind::Write, T3, 0),
            (Kind::Order, 0, 0),
            (Kind::Write, T3 + 8, 0x8000_17ff)
        ]
    );
}

#[test]
fn what_a_host_invalidates_of_its_own_is_not_told() {
    let mut rig = Rig::new();
    rig.execute(0, MSR_HCR, 1 << 34 | 1 << 27);
    rig.execute(0, VMALLE1IS, 0);
    rig.execute(0, MSR_HCR, 1 << 34);
    rig.execute(0, VMALLE1IS, 0);
    let kinds: Vec<_> = rig.told().iter().map(|&(kind, ..)| kind).collect();
    assert_eq!(kinds, [Kind::Hcr, Kind::Hcr, Kind::Tlbi]);
}

#[test]
fn dc_zva_clears_what_was_told_of_a_table() {
    let mut rig = inhabited();
    rig.store(1, T3 + 8, 0x8000_17ff, Order::Plain);
    rig.told();
    rig.execute(1, DC_ZVA, LINEAR + T3 + 0x20);
    assert_eq!(rig.told(), [(Kind::Write, T3, 0), (Kind::Write, T3 + 8, 0)]);
}

#[test]
fn dc_zva_of_what_is_elsewhere_clears_no_table() {
    let mut rig = inhabited();
    // The last table that was written is mapped elsewhere too, by which the block would be one of T3.
    let store = Store {
        pc: 0x100,
        va: LINEAR + T2 + 8,
        pa: T3 + 8,
        bytes: 8,
        order: Order::Plain,
    };
    rig.set(T3 + 8, 0x8000_17ff);
    rig.on(|recorder, sight| recorder.store(1, &store, sight));
    rig.told();
    rig.execute(1, DC_ZVA, LINEAR + T2);
    assert_eq!(rig.told(), []);
}

#[test]
fn what_no_cpu_changed_is_told_when_the_table_is_linked_again() {
    let mut rig = inhabited();
    rig.told();
    rig.set(T3, 0x8000_05ff);
    rig.store(1, T2, 0, Order::Plain);
    rig.store(1, T2, T3 | 3, Order::Plain);
    assert_eq!(
        rig.told(),
        [
            (Kind::Write, T2, 0),
            (Kind::Learn, T3, 0x8000_05ff),
            (Kind::Write, T2, T3 | 3)
        ]
    );
}

#[test]
fn shapes_of_all_granules_have_their_levels_and_roots() {
    let shape = |vtcr| Shape::of(vtcr).map(|shape| (shape.page_shift, shape.level, shape.bytes));
    assert_eq!(shape(VTCR), Some((12, 1, 4096)));
    // 40 bits in two tables; 48 bits; 64 KiB from level 2 in two; 16 KiB from level 2 in 16; 52 bits from level −1.
    assert_eq!(shape(0x58), Some((12, 1, 8192)));
    assert_eq!(shape(2 << 6 | 16), Some((12, 0, 4096)));
    assert_eq!(shape(0x4055), Some((16, 2, 128 << 10)));
    assert_eq!(shape(2 << 14 | 0x58), Some((14, 2, 256 << 10)));
    assert_eq!(shape(0x3_0000_000c), Some((12, -1, 128)));
    assert_eq!(shape(3 << 14), None);
    assert_eq!(shape(0x63), None);
}

#[test]
fn callers_are_told_from_a_change_until_a_cpu_is_done() {
    const CALL: u64 = 0x9400_0000_0000_0000;
    let mut rig = inhabited();
    rig.stack = vec![
        (FRAME, [FRAME + 0x40, 0x8000]),
        (FRAME + 0x40, [0, 0x8100]),
        (0x8000 - 16, [0, CALL]),
        (0x8100 - 16, [0, CALL]),
    ];
    let stacks = |rig: &mut Rig| {
        let trace = core::mem::take(&mut rig.recorder.as_mut().unwrap().out);
        let mut from = trace.as_slice();
        if from.starts_with(b"drostej") {
            Machine::get(&mut from).unwrap();
        }
        let events = std::iter::from_fn(|| Event::get(&mut from).unwrap());
        let told = events.map(|event| (event.kind, event.stack, event.a, event.b));
        told.collect::<Vec<_>>()
    };
    stacks(&mut rig);
    // Nothing is new yet.
    rig.execute(1, MSR_HCR, 5);
    assert_eq!(stacks(&mut rig), [(Kind::Hcr, 0, 0, 5)]);
    rig.store(1, T3, 0, Order::Plain);
    rig.execute(1, DSB_ISH, 0);
    rig.execute(0, MSR_HCR, 5);
    assert_eq!(
        stacks(&mut rig),
        [
            (Kind::Frame, 0, 0, 0x8100),
            (Kind::Frame, 0, 1, 0x8000),
            (Kind::Write, 2, T3, 0),
            (Kind::Dsb, 2, 11, 0),
            (Kind::Hcr, 2, 0, 5),
        ]
    );
    // An entry is told with the place of the last event, and its callers; then the CPU knows all that is new.
    rig.enter(0);
    let told = stacks(&mut rig);
    assert_eq!(told.last(), Some(&(Kind::Enter, 2, 7, 0)));
    rig.execute(0, MSR_HCR, 5);
    assert_eq!(stacks(&mut rig), [(Kind::Hcr, 0, 0, 5)]);
}
