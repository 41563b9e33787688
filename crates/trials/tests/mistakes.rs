//! Mistakes that others made: for each, the library does it right, and the judges see it done wrong.
//!
//! Left to `nested_mistakes.rs` and the tests of `droste-nested`, because they need a guest's own tables: a shadow pool
//! moved under a user, a TG0 that the guest writes and the CPU lacks, walker limits against the PA size, a guest table
//! that points to itself, to MMIO, outside its memory or to a page being unmapped, AT with an empty root. Left to the
//! hypervisor, which holds it: the VNCR page invalidated without the lock or raced with a TLBI.

use std::cell::RefCell;

use droste_arm64::desc::RawDescriptor;
use droste_arm64::esr::Esr;
use droste_arm64::{Granule, IdRegisters, Ipa, IpaBits, Level, Pa, Va};
use droste_mmu_model::{
    Access, AccessKind, Allowed, Bbm, Config, Cpu, Effect, Features, Form, Model, Rule, Scope,
    Stage1, Stage1Entry, Tagging, Tlbi, Vcpu,
};
use droste_stage2::{
    Answer, Attributes, Context, Contexts, Decision, Dsb, Error, Fault, Geometry, Machine, Mapping,
    PageCache, Privilege, Slot, Slots, Table, VcpuId, VmidAllocator,
};
use droste_trials::stage2::{Failure, Program, run, run_with};
use droste_trials::{Pool, Problem, Sabotage, Verb};

const RAM: u64 = 0x4000_0000;
const MEMORY: u64 = 0x1_0000_0000;
const TABLES: u64 = 0x8000_0000;
const PAGE: u64 = 0x1000;

fn program(cpus: u8, with: &str, steps: &str) -> Program {
    let text = format!(
        "world cpus={cpus} bbm=0 pa=40 seed=0x5 with={with}\n\
         vm granule=4 ipa=32 output=48 contexts=2 vcpus=2 quota=8\n\
         cpu=0 vm=0 add-slot ipa=0x40000000 pa=0x80000000 bytes=0x400000 as=wb,rw,x,0 log=off\n\
         cpu=1 vm=0 enter context=0 vcpu=0\n{steps}"
    );
    text.parse()
        .unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// The library passes, and with the sabotage something of the architecture is broken.
fn only_fails_with(program: &Program, sabotage: Sabotage) -> Rule {
    run(program).unwrap_or_else(|failure| panic!("{failure}"));
    let failure = run_with(program, sabotage).expect_err("the judges object");
    let Failure {
        problem: Problem::Violation(violation),
        ..
    } = *failure
    else {
        panic!("{failure}");
    };
    violation.rule
}

/// A TLB may hold what it must not.
const fn is_stale(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::StaleTranslation(_) | Rule::BreakBeforeMake(_) | Rule::PageReachable
    )
}

const MAP_AND_UNMAP: &str = "\
cpu=0 vm=0 map ipa=0x40000000 pa=0x80000000 bytes=0x3000 as=wb,rw,x,0 largest=3 runs=single
cpu=0 vm=0 unmap ipa=0x40001000 bytes=0x1000
cpu=0 vm=0 map ipa=0x40001000 pa=0x90000000 bytes=0x1000 as=wb,rw,x,0 largest=3 runs=single
cpu=1 vm=0 access ipa=0x40001000 kind=read
";

#[test]
fn combined_entries_go_after_those_of_stage_2() {
    let rule = only_fails_with(
        &program(2, "", MAP_AND_UNMAP),
        Sabotage::Without(Verb::Vmalle1is),
    );
    assert!(is_stale(rule), "{rule}");
}

#[test]
fn the_operand_of_an_address_is_shifted() {
    let rule = only_fails_with(&program(2, "", MAP_AND_UNMAP), Sabotage::Unshifted);
    assert!(is_stale(rule), "{rule}");
}

#[test]
fn a_long_range_is_covered_to_its_end() {
    let steps = "\
cpu=0 vm=0 map ipa=0x40000000 pa=0x80000000 bytes=0x61000 as=wb,rw,x,0 largest=3 runs=single
cpu=0 vm=0 unmap ipa=0x40000000 bytes=0x60000
cpu=0 vm=0 map ipa=0x40010000 pa=0x90000000 bytes=0x1000 as=wb,rw,x,0 largest=3 runs=single
";
    let rule = only_fails_with(&program(2, "range", steps), Sabotage::ShortRanges);
    assert!(is_stale(rule), "{rule}");
}

#[test]
fn a_range_that_ends_at_the_top_of_the_address_space_is_unmapped() {
    let steps = "\
cpu=0 vm=0 add-slot ipa=0xffc00000 pa=0x3fc00000 bytes=0x400000 as=wb,rw,x,0 log=off
cpu=1 vm=0 access ipa=0xffffff00 kind=write
cpu=0 vm=0 unmap ipa=0xfffff000 bytes=0x1000
cpu=1 vm=0 access ipa=0xffffe000 kind=write
cpu=0 vm=0 unmap ipa=0xffe00000 bytes=0x200000
";
    let rule = only_fails_with(
        &program(2, "", steps),
        Sabotage::Without(Verb::Vmalls12e1is),
    );
    assert!(is_stale(rule), "{rule}");
}

#[test]
fn a_virtual_cpu_that_migrates_finds_nothing_of_another() {
    let steps = "\
cpu=0 vm=0 enter context=0 vcpu=1
cpu=1 vm=0 leave
cpu=0 vm=0 enter context=0 vcpu=0
cpu=0 vm=0 enter context=1 vcpu=1
cpu=0 vm=0 enter context=0 vcpu=1
";
    let rule = only_fails_with(&program(2, "", steps), Sabotage::Without(Verb::Vmalle1));
    assert_eq!(rule, Rule::OtherVcpu);
}

#[test]
fn vmids_roll_over_while_a_virtual_cpu_is_inside() {
    let steps = "\
cpu=1 vm=0 access ipa=0x40000000 kind=write
cpu=0 vm=0 pressure count=300
cpu=1 vm=0 access ipa=0x40200000 kind=write
cpu=0 vm=0 enter context=1 vcpu=1
cpu=0 vm=0 pressure count=300
cpu=0 vm=0 unmap ipa=0x40000000 bytes=0x400000
cpu=1 vm=0 access ipa=0x40000000 kind=write
";
    let rule = only_fails_with(&program(2, "", steps), Sabotage::Without(Verb::Alle1is));
    assert_eq!(rule, Rule::VmidReused);
}

#[test]
fn a_table_with_a_hole_does_not_become_a_block() {
    let steps = "\
cpu=0 vm=0 map ipa=0x40000000 pa=0x80000000 bytes=0x1ff000 as=wb,rw,x,0 largest=3 runs=single
cpu=0 vm=0 collapse ipa=0x40000000 bytes=0x200000 level=2
cpu=0 vm=0 map ipa=0x401ff000 pa=0x801ff000 bytes=0x1000 as=wb,rw,x,0 largest=3 runs=single
cpu=0 vm=0 collapse ipa=0x40000000 bytes=0x200000 level=2
cpu=1 vm=0 access ipa=0x401ff000 kind=write
";
    let rule = only_fails_with(&program(2, "", steps), Sabotage::Without(Verb::DsbIsh));
    assert!(
        matches!(rule, Rule::PageReachable | Rule::BreakBeforeMake(_)),
        "{rule}"
    );
}

/// A machine of two CPUs, a table with a slot, and what its operations need.
struct Bench<'m> {
    model: &'m RefCell<Model>,
    ids: IdRegisters,
    table: Table,
    pool: Pool<'m>,
    slots: Slots,
    context: Context<2>,
    vmids: VmidAllocator<2>,
}

const FB_BSU: u64 = 1 << 9 | 1 << 10;

impl<'m> Bench<'m> {
    fn new(model: &'m RefCell<Model>) -> Self {
        let bbm = match model.borrow().config().bbm {
            Bbm::Level2 => 2 << 52,
            _ => 0,
        };
        let ids = IdRegisters {
            mmfr0: 2,
            mmfr2: bbm,
            ..IdRegisters::default()
        };
        let bits = IpaBits::new(32).expect("a width");
        let geometry = Geometry::new(Granule::Kib4, bits, &ids).expect("a shape");
        let machine = Cpu::new(model, 0);
        let mut table = Table::new(&machine, Pa(TABLES), geometry, &ids).expect("aligned");
        let context = Context::new(&mut table);
        let mut slots = Slots::new(geometry);
        let slot = Slot::new(Ipa(RAM), Pa(MEMORY), 0x40_0000, Attributes::RAM);
        slots.add(slot).expect("the first");
        let first = Pa(TABLES + geometry.root_bytes());
        Self {
            model,
            ids,
            table,
            pool: Pool::new(model, first, 8, PAGE),
            slots,
            context,
            vmids: VmidAllocator::new(),
        }
    }

    fn enter(&self, cpu: usize, vcpu: u32) {
        let vtcr = self.table.geometry().vtcr(&self.ids);
        let machine = Cpu::new(self.model, cpu);
        machine.set_vtcr(vtcr);
        self.context.enter(&machine, &self.vmids, cpu, VcpuId(vcpu));
        self.model.borrow_mut().enter(cpu, Vcpu::new(vcpu));
    }

    /// Maps the slot's first bytes.
    fn map(&mut self, bytes: u64) {
        let machine = Cpu::new(self.model, 0);
        let mapping = Mapping::new(Ipa(RAM), Pa(MEMORY), bytes, Attributes::RAM);
        let contexts = Contexts {
            vmids: &self.vmids,
            all: &[&self.context],
        };
        let owed = self.table.map(&machine, &mut self.pool, &mapping);
        owed.discharge(&machine, &mut self.pool, &contexts)
            .expect("there are pages");
    }

    fn install(&self, fault: &Fault, decision: Decision) -> Result<Answer, Error> {
        let Decision::Install(proposal) = decision else {
            panic!("{fault:?} became {decision:?}");
        };
        let mut pages = PageCache::new();
        let mut pool = Pool::new(self.model, Pa(TABLES + 0x10_0000), 4, PAGE);
        pages.fill(&mut pool, fault.ipa).expect("four pages");
        let contexts = Contexts {
            vmids: &self.vmids,
            all: &[&self.context],
        };
        let machine = Cpu::new(self.model, 0);
        self.table.install(
            &machine,
            &mut pages,
            &contexts,
            &proposal,
            self.slots.sequence(),
        )
    }
}

fn model(bbm: Bbm) -> RefCell<Model> {
    let model = RefCell::new(Model::new(Config {
        cpus: 2,
        pa_bits: 40,
        bbm,
        ..Config::new(Pa(TABLES), 0x200)
    }));
    for cpu in 0..2 {
        model.borrow_mut().set_hcr(cpu, FB_BSU);
    }
    model
}

fn store_fault() -> Fault {
    let translation = Esr(0x24 << 26 | 1 << 6 | 0x06);
    Fault::new(translation, Ipa(RAM), Privilege::El1).expect("a fault for the table")
}

#[test]
fn a_fault_that_was_resolved_before_its_slot_went_installs_nothing() {
    let model = model(Bbm::Level0);
    let mut bench = Bench::new(&model);
    bench.enter(0, 0);
    model.borrow_mut().exit(0);
    let fault = store_fault();
    let decision = bench.slots.resolve(&fault);
    bench.slots.remove(Ipa(RAM)).expect("it is there");
    assert_eq!(bench.install(&fault, decision), Ok(Answer::Retry));
    // A sequence that was read with the slots, not under the lock, is always the same: undo the removal's.
    let late = Bench {
        slots: Slots::new(bench.table.geometry()),
        ..bench
    };
    let mut before = late.slots.clone();
    before
        .add(Slot::new(Ipa(RAM), Pa(MEMORY), 0x40_0000, Attributes::RAM))
        .expect("the first");
    let careless = Bench {
        slots: before,
        ..late
    };
    assert_eq!(careless.install(&fault, decision), Ok(Answer::Mapped));
    model.borrow_mut().enter(0, Vcpu::new(0));
    let access = Access::new(Va(RAM), AccessKind::Write);
    model.borrow_mut().expect(0, access, Allowed::Fault);
    let rule = model
        .borrow()
        .violation()
        .expect("memory without a slot is reached")
        .rule;
    assert_eq!(rule, Rule::WrongTranslation);
}

#[test]
fn a_subtree_that_was_freed_is_not_walked() {
    let model = model(Bbm::Level0);
    let mut bench = Bench::new(&model);
    let machine = Cpu::new(&model, 0);
    let mapping = Mapping::new(Ipa(RAM), Pa(MEMORY), PAGE, Attributes::RAM);
    let contexts = Contexts {
        vmids: &bench.vmids,
        all: &[&bench.context],
    };
    let owed = bench.table.map(&machine, &mut bench.pool, &mapping);
    owed.discharge(&machine, &mut bench.pool, &contexts)
        .expect("there are pages");
    bench.enter(1, 0);
    // By the library: pages come back when no walk can reach them.
    let contexts = Contexts {
        vmids: &bench.vmids,
        all: &[&bench.context],
    };
    let owed = bench.table.unmap(&machine, &mut bench.pool, Ipa(RAM), PAGE);
    owed.discharge(&machine, &mut bench.pool, &contexts)
        .expect("nothing to split");
    assert_eq!(bench.pool.left(), 8);
    assert_eq!(model.borrow().violation(), None);
    // By hand: unlinked, and given away before the walk caches know.
    let owed = bench.table.map(&machine, &mut bench.pool, &mapping);
    owed.discharge(&machine, &mut bench.pool, &contexts)
        .expect("there are pages");
    let link =
        bench
            .table
            .geometry()
            .entry(bench.table.root(), bench.table.geometry().start(), Ipa(RAM));
    let child = Pa(machine.read(link).0 & !0xfff & 0xff_ffff_ffff);
    machine.write(link, RawDescriptor::EMPTY);
    machine.dsb(Dsb::Ish);
    model.borrow_mut().release(child, PAGE);
    let rule = model
        .borrow()
        .violation()
        .expect("a walk can reach it")
        .rule;
    assert_eq!(rule, Rule::PageReachable);
}

#[test]
fn a_guests_own_invalidation_reaches_the_cpu_that_it_left() {
    let trial = |hcr: u64| {
        let model = RefCell::new(Model::new(Config {
            cpus: 2,
            stage1: Stage1::Known,
            features: Features::NONE,
            pa_bits: 40,
            ..Config::new(Pa(TABLES), 0x200)
        }));
        let mut bench = Bench::new(&model);
        bench.map(PAGE);
        let entry = |ipa| Stage1Entry {
            ipa: Ipa(ipa),
            tagging: Tagging::PerAsid,
        };
        let vcpu = Vcpu {
            number: 0,
            asid: 1,
            space: Some(1),
        };
        let run_on = |cpu: usize| {
            model.borrow_mut().set_hcr(cpu, hcr);
            let machine = Cpu::new(&model, cpu);
            machine.set_vtcr(bench.table.geometry().vtcr(&bench.ids));
            bench.context.enter(&machine, &bench.vmids, cpu, VcpuId(0));
            model.borrow_mut().enter(cpu, vcpu);
        };
        model.borrow_mut().stage1_map(1, Va(0x1000), entry(RAM));
        run_on(0);
        model.borrow_mut().exit(0);
        run_on(1);
        let mut guest = model.borrow_mut();
        guest.stage1_map(1, Va(0x1000), entry(RAM + PAGE));
        guest.guest_tlbi(1, Tlbi::new(Form::Vae1, Scope::Local, 1 << 48 | 1));
        guest.guest_dsb(1, Dsb::Nsh);
        guest.exit(1);
        drop(guest);
        run_on(0);
        let access = Access::new(Va(0x1000), AccessKind::Read);
        model.borrow_mut().expect(0, access, Allowed::Fault);
        model.borrow().violation().map(|violation| violation.rule)
    };
    assert_eq!(trial(FB_BSU), None);
    assert_eq!(trial(0), Some(Rule::GuestInvalidationLost));
}

#[test]
fn a_conflict_abort_is_answered_by_forgetting() {
    let model = model(Bbm::Level2);
    let mut bench = Bench::new(&model);
    let machine = Cpu::new(&model, 0);
    let mapping = Mapping::new(Ipa(RAM), Pa(MEMORY), 0x20_0000, Attributes::RAM);
    let contexts = Contexts {
        vmids: &bench.vmids,
        all: &[&bench.context],
    };
    let owed = bench.table.map(&machine, &mut bench.pool, &mapping);
    owed.discharge(&machine, &mut bench.pool, &contexts)
        .expect("there are pages");
    bench.enter(1, 0);
    let owed = bench
        .table
        .split(&machine, &mut bench.pool, Ipa(RAM), PAGE, Level::L3);
    let access = Access::new(Va(RAM), AccessKind::Read);
    let has_conflict = || model.borrow_mut().access(1, access).has(Effect::Conflict);
    assert!(
        has_conflict(),
        "until the discharge both sizes may be there"
    );
    owed.discharge(&machine, &mut bench.pool, &contexts)
        .expect("there is a page");
    assert!(!has_conflict());
    // By hand, as a CPU sees it that takes the abort before the other one's invalidation.
    let owed = bench
        .table
        .collapse(&machine, Ipa(RAM), 0x20_0000, Level::L2, Attributes::RAM);
    assert!(has_conflict());
    machine.dsb(Dsb::Ish);
    model.borrow_mut().exit(1);
    drop(owed);
    let other = Cpu::new(&model, 1);
    bench.table.resolve_conflict(&other);
    model.borrow_mut().enter(1, Vcpu::new(0));
    assert!(!has_conflict());
    assert_eq!(model.borrow().violation(), None);
}

#[test]
fn start_levels_that_the_hardware_cannot_walk_are_refused() {
    let ids = IdRegisters {
        mmfr0: 2,
        ..IdRegisters::default()
    };
    let bits = IpaBits::new(40).expect("a width");
    let shape = Geometry::new(Granule::Kib4, bits, &ids).expect("a shape");
    for level in [Level::L2, Level::L3, Level::Minus1] {
        assert!(shape.starting_at(level, &ids).is_err(), "{level:?}");
    }
    // By hand: SL0 says level 2, where 40 bits would take more than 16 tables.
    let model = model(Bbm::Level0);
    let vtcr = shape.vtcr(&ids).0 & !(3 << 6);
    model.borrow_mut().set_vtcr(0, vtcr);
    model.borrow_mut().set_vttbr(0, 1 << 48 | TABLES);
    model.borrow_mut().enter(0, Vcpu::new(0));
    let rule = model.borrow().violation().expect("no such walk").rule;
    assert!(matches!(rule, Rule::Register(_)), "{rule}");
}
