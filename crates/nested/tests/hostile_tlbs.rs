//! Shadows on the hostile model: L2 runs on two CPUs while L1 changes its table and L0 takes memory from L1.
//!
//! The model caches what any walk may give and keeps it as long as it may. After every step, whatever it could still
//! answer L2 with must be what both tables say now: an invalidation by L1 is complete when its emulation returns, and so
//! is a change by L0.

use std::cell::RefCell;
use std::collections::HashMap;

use droste_arm64::desc::{Format, RawDescriptor};
use droste_arm64::esr::Esr;
use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Granule, IdRegisters, Ipa, IpaBits, Level, Pa, Va, Vtcr, Vttbr, hcr};
use droste_mmu_model::{
    Access, AccessKind, Allowed, Config, Effect, Features, Form, Model, Scope, Tlbi as Instruction,
    Vcpu,
};
use droste_nested::reverse::{Concerned, Owner, Record};
use droste_nested::{
    Abort, Advertised, Ahead, CanonicalLeaf, Changes, Exchange, ExternalAbort, Filled, GuestMemory,
    Host, L1, L1Ipa, L2Ipa, Pool, Range, Reverse, Shadow, StageTwo, StageTwoRegisters, Verdict,
    Walker,
};
use droste_nested::{Key, pool};
use droste_stage2::{
    Attributes, Context, Dsb, Geometry, Ic, Machine, PageCache, PageSupply, Privilege, Slot, Slots,
    Table, Users, VcpuId, VmidAllocator, scheme,
};
use proptest::prelude::*;

const CPUS: usize = 2;
/// Memory of the model: roots, then pages for tables.
const BASE: u64 = 0x1000_0000;
const PAGES: u64 = 96;
const SHADOW_ROOT: u64 = BASE;
const CANONICAL_ROOT: u64 = BASE + 0x4000;

/// What L1 takes for its memory, and where that is.
const L1_RAM: u64 = 0x8000_0000;
const L1_RAM_BYTES: u64 = 0x40_0000;
const RAM_AT: u64 = 0x9_0000_0000;
/// L1's table for L2, in memory of its own that only L1 and the walk see.
const L1_ROOT: u64 = 0x7000_0000;

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;
/// A Contiguous run of pages.
const RUN: u64 = 16 * PAGE;
const RUN_TABLE: u64 = L1_ROOT + 0x4000;
/// L2's pages 0 to 3 are described one by one, and its second 2 MiB by a block or a table.
const SINGLE_PAGES: u64 = 4;

/// One CPU of the model, at EL2.
#[derive(Clone, Copy)]
struct Cpu<'m> {
    model: &'m RefCell<Model>,
    number: usize,
}

impl Machine for Cpu<'_> {
    fn read(&self, at: Pa) -> RawDescriptor {
        RawDescriptor(self.model.borrow_mut().read(self.number, at))
    }
    fn write(&self, at: Pa, value: RawDescriptor) {
        self.model.borrow_mut().write(self.number, at, value.0);
    }
    fn compare_exchange(
        &self,
        at: Pa,
        expected: RawDescriptor,
        new: RawDescriptor,
    ) -> Result<(), RawDescriptor> {
        let mut model = self.model.borrow_mut();
        model
            .compare_exchange(self.number, at, expected.0, new.0)
            .map_err(RawDescriptor)
    }
    fn zero(&self, page: Pa, bytes: u64) {
        self.model.borrow_mut().zero(self.number, page, bytes);
    }
    fn dsb(&self, domain: Dsb) {
        self.model.borrow_mut().dsb(self.number, domain);
    }
    fn isb(&self) {
        self.model.borrow_mut().isb(self.number);
    }
    fn tlbi(&self, operation: Tlbi) {
        let (form, scope, operand) = match operation {
            Tlbi::Ipas2e1is(operand) => (Form::Ipas2e1, Scope::Inner, operand.0),
            Tlbi::Ipas2e1(operand) => (Form::Ipas2e1, Scope::Local, operand.0),
            Tlbi::Ripas2e1is(operand) => (Form::Ripas2e1, Scope::Inner, operand.0),
            Tlbi::Vmalle1is => (Form::Vmalle1, Scope::Inner, 0),
            Tlbi::Vmalls12e1is => (Form::Vmalls12e1, Scope::Inner, 0),
            Tlbi::Vmalle1 => (Form::Vmalle1, Scope::Local, 0),
            Tlbi::Vmalls12e1 => (Form::Vmalls12e1, Scope::Local, 0),
            Tlbi::Alle1is => (Form::Alle1, Scope::Inner, 0),
        };
        let instruction = Instruction::new(form, scope, operand);
        self.model.borrow_mut().tlbi(self.number, instruction);
    }
    fn ic(&self, _: Ic) {}
    fn clean_invalidate_data(&self, _: Pa, _: u64) {}
    fn vttbr(&self) -> Vttbr {
        Vttbr(self.model.borrow().vttbr(self.number))
    }
    fn set_vttbr(&self, value: Vttbr) {
        self.model.borrow_mut().set_vttbr(self.number, value.0);
    }
    fn vtcr(&self) -> Vtcr {
        Vtcr(self.model.borrow().vtcr(self.number))
    }
    fn set_vtcr(&self, value: Vtcr) {
        self.model.borrow_mut().set_vtcr(self.number, value.0);
    }
}

/// Pages for tables; the last to come back goes out first.
struct Supply<'m> {
    model: &'m RefCell<Model>,
    free: Vec<Pa>,
}

impl PageSupply for Supply<'_> {
    fn take(&mut self) -> Option<Pa> {
        let page = self.free.pop()?;
        self.model.borrow_mut().claim(page, PAGE);
        Some(page)
    }
    fn give(&mut self, page: Pa) {
        self.model.borrow_mut().release(page, PAGE);
        self.free.push(page);
    }
}

/// L1's table.
#[derive(Default)]
struct Words(RefCell<HashMap<u64, u64>>);

impl GuestMemory for Words {
    fn read(&self, at: L1Ipa) -> Result<u64, ExternalAbort> {
        Ok(self.0.borrow().get(&at.0).copied().unwrap_or(0))
    }
    fn compare_exchange(&self, at: L1Ipa, old: u64, new: u64) -> Result<Exchange, ExternalAbort> {
        if self.read(at)? != old {
            return Ok(Exchange::Differs);
        }
        self.0.borrow_mut().insert(at.0, new);
        Ok(Exchange::Done)
    }
}

/// What the machine can do beyond the plainest.
#[derive(Clone, Copy, Debug)]
enum Hardware {
    Plain,
    LevelsAndRanges,
    DirtyState,
}

fn ids(hardware: Hardware) -> IdRegisters {
    let plain = IdRegisters {
        mmfr0: 5 | 1 << 20,
        ctr: 3 << 28,
        ..IdRegisters::default()
    };
    match hardware {
        Hardware::Plain => plain,
        Hardware::LevelsAndRanges => IdRegisters {
            isar0: 2 << 56,
            mmfr2: 1 << 48,
            ..plain
        },
        Hardware::DirtyState => IdRegisters { mmfr1: 2, ..plain },
    }
}

struct World<'m> {
    model: &'m RefCell<Model>,
    ids: IdRegisters,
    vmids: VmidAllocator<CPUS>,
    supply: Supply<'m>,
    shadow: Shadow<CPUS>,
    canonical: Table,
    context: Context<CPUS>,
    slots: Slots,
    memory: Words,
    walker: Walker,
    changes: Changes,
    reverse: Reverse<Vec<Record>, Vec<Owner>>,
    place: droste_nested::Place,
}

impl<'m> World<'m> {
    fn new(model: &'m RefCell<Model>, hardware: Hardware, records: usize) -> Self {
        let ids = ids(hardware);
        let bits = IpaBits::new(40).expect("a width");
        let geometry = Geometry::new(Granule::Kib4, bits, &ids).expect("a shape");
        let cpu = Cpu { model, number: 0 };
        for number in 0..CPUS {
            Cpu { model, number }.set_vtcr(geometry.vtcr(&ids));
        }
        let format = Some(Format::narrow(Granule::Kib4));
        let shadow = Shadow::new(&cpu, Pa(SHADOW_ROOT), geometry, &ids, format).expect("aligned");
        let mut canonical = Table::new(&cpu, Pa(CANONICAL_ROOT), geometry, &ids).expect("aligned");
        let mut slots = Slots::new(geometry);
        let ram = Slot::new(Ipa(L1_RAM), Pa(RAM_AT), L1_RAM_BYTES, Attributes::RAM);
        slots.add(ram).expect("the only one");
        let memory = Words::default();
        let table = |at: u64| at | 3;
        memory.0.borrow_mut().extend([
            (L1_ROOT, table(L1_ROOT + 0x2000)),
            (L1_ROOT + 0x2000, table(L1_ROOT + 0x3000)),
        ]);
        let registers = StageTwoRegisters {
            hcr: hcr::VM,
            sctlr: 0,
            vtcr: Vtcr(5 << 16 | 1 << 6 | 0x18),
            vttbr: Vttbr(L1_ROOT),
        };
        let advertised = Advertised {
            ids,
            isar1: 0,
            ipa_bits: bits,
        };
        let StageTwo::On(walker) = StageTwo::new(&registers, &advertised) else {
            panic!("HCR_EL2.VM is set");
        };
        let mut contexts = Pool::new(vec![pool::Entry::UNUSED; 1]);
        let grant = contexts.acquire(Key::new(&registers, &advertised));
        Self {
            model,
            ids,
            vmids: VmidAllocator::new(),
            supply: Supply {
                model,
                free: (8..PAGES).map(|n| Pa(BASE + n * PAGE)).collect(),
            },
            shadow,
            context: Context::new(&mut canonical),
            canonical,
            slots,
            memory,
            walker,
            changes: Changes::new(),
            reverse: Reverse::new(vec![Record::UNUSED; records], vec![Owner::UNUSED; 1]),
            place: grant.expect("one").place(),
        }
    }

    const fn cpu(&self, number: usize) -> Cpu<'m> {
        Cpu {
            model: self.model,
            number,
        }
    }

    fn enter(&self, number: usize) {
        let vcpu = u32::try_from(number).expect("small");
        let cpu = self.cpu(number);
        self.shadow
            .context()
            .enter(&cpu, &self.vmids, number, VcpuId(vcpu));
        self.model.borrow_mut().enter(number, Vcpu::new(vcpu));
    }

    /// Does something on a CPU at EL2, with the shadow, while the other stays in L2.
    fn at_el2<R>(
        &mut self,
        number: usize,
        act: impl FnOnce(&mut Shadow<CPUS>, &mut Host<'_, Cpu<'m>, Supply<'m>, CPUS>) -> R,
    ) -> R {
        let cpu = self.cpu(number);
        let mut host = Host {
            machine: &cpu,
            supply: &mut self.supply,
            vmids: &self.vmids,
        };
        act(&mut self.shadow, &mut host)
    }

    /// Writes a run into the table for the second 2 MiB, unless that is linked.
    fn make_run(&self, output: u64, attributes: u64) {
        const CONTIGUOUS: u64 = 1 << 52;
        let mut words = self.memory.0.borrow_mut();
        if words.get(&Leaf::Table.entry()) == Some(&(3 | RUN_TABLE)) {
            return;
        }
        for page in 0..16 {
            let leaf = 3 | CONTIGUOUS | attributes | (output + page * PAGE);
            words.insert(RUN_TABLE + page * 8, leaf);
        }
    }

    /// Break, invalidate, make: as L1 would on this CPU. Of a block it names some address, of a table all.
    fn write(&mut self, number: usize, leaf: Leaf, value: u64, hint: Hint) {
        let at = leaf.entry();
        let old = self.memory.0.borrow_mut().insert(at, 0).unwrap_or(0);
        let (from, bytes, level) = match leaf {
            Leaf::Page(page) => (page * PAGE, PAGE, Level::L3),
            Leaf::Block | Leaf::Table if old & 3 == 3 => (BLOCK, BLOCK, Level::L3),
            Leaf::Block | Leaf::Table => (BLOCK + 0x7000, PAGE, Level::L2),
        };
        let range = Range {
            from: L2Ipa(from),
            bytes,
            level: match hint {
                Hint::Level => Some(level),
                Hint::None => None,
            },
        };
        self.model.borrow_mut().exit(number);
        self.at_el2(number, |shadow, host| shadow.invalidate(host, &range))
            .expect("nothing is cut");
        self.enter(number);
        self.check();
        self.memory.0.borrow_mut().insert(at, value);
    }

    /// An access of L2, with the faults that it can take.
    fn access(&mut self, number: usize, ipa: u64, kind: AccessKind) {
        let access = Access::new(Va(ipa), kind);
        for _ in 0..5 {
            let outcomes = self.model.borrow_mut().access(number, access);
            let faults = |outcome: &droste_mmu_model::Outcome| {
                matches!(outcome.effect, Effect::Fault { .. })
            };
            if !outcomes.iter().any(faults) {
                return;
            }
            self.model.borrow_mut().exit(number);
            self.resolve(number, ipa, kind);
            self.enter(number);
        }
    }

    fn judge(&self, number: usize, ipa: u64, kind: AccessKind) -> Option<Verdict> {
        let write = u64::from(kind == AccessKind::Write);
        let abort = Abort {
            esr: Esr(0x24 << 26 | write << 6 | 0x07),
            far: ipa,
            ipa: L2Ipa(ipa),
            privilege: Privilege::El1,
        };
        let l1 = L1 {
            walker: &self.walker,
            memory: &self.memory,
            slots: &self.slots,
            scheme: scheme(&self.ids),
        };
        l1.judge(&abort, |at| {
            let walk = self.canonical.walk(&self.cpu(number), at.ipa());
            CanonicalLeaf::new(walk, self.canonical.geometry())
        })
    }

    fn resolve(&mut self, number: usize, ipa: u64, kind: AccessKind) {
        let ticket = self.shadow.ticket(&self.changes);
        let cpu = self.cpu(number);
        let mut pages = PageCache::new();
        pages.fill(&mut self.supply, Ipa(ipa)).expect("pages");
        match self.judge(number, ipa, kind) {
            Some(Verdict::Canonical(proposal)) => {
                let users = Users {
                    vmids: &self.vmids,
                    contexts: &[&self.context],
                };
                let sequence = self.slots.sequence();
                self.canonical
                    .install(&cpu, &mut pages, &users, &proposal, sequence)
                    .expect("pages");
            }
            Some(Verdict::Fill { fault, composed }) => {
                self.reverse.insert(self.place, &composed);
                let mut ahead = Ahead {
                    cache: &mut pages,
                    supply: &mut self.supply,
                };
                let mut host = Host {
                    machine: &cpu,
                    supply: &mut ahead,
                    vmids: &self.vmids,
                };
                let tickets = (ticket, &self.changes);
                let filled = self.shadow.fill(&mut host, tickets, &fault, &composed);
                assert_eq!(filled, Ok(Filled::Mapped));
            }
            _ => {}
        }
        pages.drain(&mut self.supply);
    }

    /// L0 unmaps or write-protects memory of L1.
    fn change(&mut self, number: usize, at: u64, bytes: u64, change: Change) {
        self.model.borrow_mut().exit(number);
        let cpu = self.cpu(number);
        let users = Users {
            vmids: &self.vmids,
            contexts: &[&self.context],
        };
        // What is protected is whole leaves.
        let mut changed = Vec::new();
        let owed = match change {
            Change::Unmap => {
                changed.push((Ipa(at), bytes));
                self.canonical.unmap(&cpu, &mut self.supply, Ipa(at), bytes)
            }
            Change::WriteProtect => self.canonical.dirty(&cpu, Ipa(at), bytes, |ipa, bytes| {
                changed.push((ipa, bytes));
            }),
        };
        owed.discharge(&cpu, &mut self.supply, &users)
            .expect("pages");
        self.changes.note();
        let mut concerned = Vec::new();
        for (Ipa(at), bytes) in changed {
            let show = |one| concerned.push(one);
            match change {
                Change::Unmap => self.reverse.take(L1Ipa(at), bytes, show),
                Change::WriteProtect => self.reverse.visit(L1Ipa(at), bytes, show),
            }
        }
        for one in concerned {
            let result = self.at_el2(number, |shadow, host| match (one, change) {
                (Concerned::Whole(_), _) => shadow.clear(host),
                (Concerned::Region { ipa, bytes, .. }, Change::Unmap) => {
                    shadow.unmap(host, ipa, bytes)
                }
                (Concerned::Region { ipa, bytes, .. }, Change::WriteProtect) => {
                    shadow.write_protect(host, ipa, bytes)
                }
            });
            result.expect("nothing is cut");
            if let Concerned::Whole(place) = one {
                self.reverse.forget(place);
            }
        }
        self.enter(number);
    }

    /// What both tables make of an access of L2 now.
    fn allowed(&self, number: usize, ipa: u64, kind: AccessKind) -> Allowed {
        match self.judge(number, ipa, kind) {
            Some(Verdict::Fill { composed, .. }) => {
                Allowed::Either(Pa(composed.output.0 + (ipa - composed.ipa.0)))
            }
            _ => Allowed::Fault,
        }
    }

    /// Whatever either CPU's TLBs still hold is within that. L1's and the canonical table are read without the model's
    /// knowledge, so a CPU at EL2 is needed for the latter: the one that is not asked.
    fn check(&self) {
        for number in 0..CPUS {
            let other = 1 - number;
            self.model.borrow_mut().exit(other);
            for page in [0, 1, 2, 3, 0x200, 0x201, 0x202, 0x207, 0x3ff] {
                for kind in [AccessKind::Read, AccessKind::Write] {
                    let ipa = page * PAGE + 8;
                    let allowed = self.allowed(other, ipa, kind);
                    let access = Access::new(Va(ipa), kind);
                    self.model.borrow_mut().expect(number, access, allowed);
                }
            }
            self.enter(other);
        }
        if let Some(violation) = self.model.borrow().violation() {
            panic!("{violation}");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Unmap,
    WriteProtect,
}

/// What L1 writes.
#[derive(Clone, Copy, Debug)]
enum Leaf {
    /// The descriptor of one of the first pages.
    Page(u64),
    /// That of the second 2 MiB, as a block.
    Block,
    /// The same, as a table whose first pages are a Contiguous run.
    Table,
}

impl Leaf {
    /// Where its descriptor is.
    const fn entry(self) -> u64 {
        match self {
            Self::Page(page) => L1_ROOT + 0x3000 + page * 8,
            Self::Block | Self::Table => L1_ROOT + 0x2008,
        }
    }
}

/// Whether an invalidation says the level.
#[derive(Clone, Copy, Debug)]
enum Hint {
    Level,
    None,
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        leaf: Leaf,
        output: u64,
        s2ap: u64,
        hint: Hint,
    },
    Access {
        page: u64,
        kind: AccessKind,
    },
    Change {
        page: u64,
        pages: u64,
        change: Change,
    },
    Clear,
}

fn any_step() -> impl Strategy<Value = Step> {
    let page = || prop_oneof![0..SINGLE_PAGES, 0x200..0x203u64];
    let kind = || prop_oneof![Just(AccessKind::Read), Just(AccessKind::Write)];
    let change = || prop_oneof![Just(Change::Unmap), Just(Change::WriteProtect)];
    let leaf = prop_oneof![
        2 => (0..SINGLE_PAGES).prop_map(Leaf::Page),
        1 => Just(Leaf::Block),
        1 => Just(Leaf::Table),
    ];
    let hint = prop_oneof![Just(Hint::Level), Just(Hint::None)];
    prop_oneof![
        3 => (leaf, 0..0x400u64, 0..4u64, hint)
            .prop_map(|(leaf, output, s2ap, hint)| Step::Write { leaf, output, s2ap, hint }),
        6 => (page(), kind()).prop_map(|(page, kind)| Step::Access { page, kind }),
        2 => (0..0x400u64, prop_oneof![Just(1u64), Just(0x200)], change())
            .prop_map(|(page, pages, change)| Step::Change { page, pages, change }),
        1 => Just(Step::Clear),
    ]
}

fn any_hardware() -> impl Strategy<Value = Hardware> {
    prop_oneof![
        Just(Hardware::Plain),
        Just(Hardware::LevelsAndRanges),
        Just(Hardware::DirtyState),
    ]
}

fn model(hardware: Hardware) -> RefCell<Model> {
    let features = match hardware {
        Hardware::Plain => Features::NONE,
        Hardware::LevelsAndRanges => Features::TTL | Features::TLBI_RANGE,
        Hardware::DirtyState => Features::HARDWARE_AF | Features::HARDWARE_DIRTY,
    };
    RefCell::new(Model::new(Config {
        cpus: CPUS,
        features,
        ..Config::new(Pa(BASE), PAGES)
    }))
}

fn run(world: &mut World<'_>, number: usize, step: &Step) {
    match *step {
        Step::Write {
            leaf,
            output,
            s2ap,
            hint,
        } => {
            let attributes = 1 << 10 | 3 << 8 | s2ap << 6 | 0b1111 << 2;
            let value = match leaf {
                Leaf::Page(_) => 3 | attributes | (L1_RAM + output * PAGE),
                Leaf::Block => 1 | attributes | (L1_RAM + output / 0x200 * BLOCK),
                Leaf::Table => {
                    world.make_run(L1_RAM + output / 0x10 * RUN, attributes);
                    3 | RUN_TABLE
                }
            };
            world.write(number, leaf, value, hint);
        }
        Step::Access { page, kind } => world.access(number, page * PAGE + 8, kind),
        Step::Change {
            page,
            pages,
            change,
        } => {
            let at = (L1_RAM + page * PAGE) & !(pages * PAGE - 1);
            world.change(number, at, pages * PAGE, change);
        }
        Step::Clear => {
            world.model.borrow_mut().exit(number);
            world.at_el2(number, Shadow::clear).expect("nothing is cut");
            world.enter(number);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_tlb_gives_l2_more_than_both_tables_do(
        hardware in any_hardware(),
        records in prop_oneof![Just(1usize), Just(64)],
        steps in prop::collection::vec((0..CPUS, any_step()), 1..40),
    ) {
        let model = model(hardware);
        let mut world = World::new(&model, hardware, records);
        for number in 0..CPUS {
            world.enter(number);
        }
        for (number, step) in &steps {
            run(&mut world, *number, step);
            world.check();
        }
    }
}

/// The canonical leaf is a block, and is protected whole: so is what L2 has of it elsewhere.
#[test]
fn a_page_beside_a_protected_one_is_protected_as_well() {
    let model = model(Hardware::Plain);
    let mut world = World::new(&model, Hardware::Plain, 64);
    for number in 0..CPUS {
        world.enter(number);
    }
    let steps = [
        Step::Write {
            leaf: Leaf::Page(3),
            output: 0x200,
            s2ap: 3,
            hint: Hint::None,
        },
        Step::Access {
            page: 3,
            kind: AccessKind::Write,
        },
        Step::Change {
            page: 0x201,
            pages: 1,
            change: Change::WriteProtect,
        },
    ];
    for step in &steps {
        run(&mut world, 0, step);
        world.check();
    }
}

/// The model has to see it when an invalidation by L1 is not emulated.
#[test]
#[should_panic(expected = "does not say what the driver expects")]
fn an_invalidation_that_is_left_out_is_seen() {
    let model = model(Hardware::Plain);
    let mut world = World::new(&model, Hardware::Plain, 64);
    for number in 0..CPUS {
        world.enter(number);
    }
    let map = Step::Write {
        leaf: Leaf::Page(1),
        output: 5,
        s2ap: 3,
        hint: Hint::Level,
    };
    run(&mut world, 0, &map);
    world.access(1, PAGE + 8, AccessKind::Write);
    world.check();
    world.memory.0.borrow_mut().insert(L1_ROOT + 0x3008, 0);
    world.check();
}
