//! What runs under EL2: its own EL0, more of EL2, and a guest at EL1 with a stage 2, which is an L2 when this guest has
//! a hypervisor under it.

use crate::meter::{Meter, TIMES};
use droste_guests::checks::Checks;
use droste_guests::mmio::GICD;
use droste_guests::stage2::{self, Leaf, Root, Size, Tables};
use droste_guests::time::Timer;
use droste_guests::tree::Machine;
use droste_guests::{BLOCK, el2, gic, map, programs};
use el2::{World, class, hcr, mode};

/// CNTHCTL_EL2: EL1 and EL0 have counters and timers. With E2H = 0 they are bits 0 and 1, with E2H = 1 bits 10 and 11,
/// and those below are EL0's of EL2.
pub(crate) const COUNTERS_OPEN: u64 = 0xc03;
const PAGE: u64 = 0x1000;
/// IPA of memory that the L2 has by blocks, and of memory that it has by pages.
const BLOCKS_AT: u64 = 0x2_0000_0000;
const PAGES_AT: u64 = 0x2_4000_0000;
/// IPA that nothing is mapped at.
const NOTHING_AT: u64 = 0x2_8000_0000;
/// Blocks that are touched at most.
const MOST_BLOCKS: u64 = 32;
/// ISS of a load of a word into x1 that stage 2 does not translate at level 1, with a valid syndrome (DDI 0487, D24.2,
/// "ISS encoding for an exception from a Data Abort"): ISV, SAS, SRT, SF clear, DFSC translation fault.
const LOAD_UNTRANSLATED: u64 = 1 << 24 | 2 << 22 | 1 << 16 | 0b00_0101;

/// All of it.
pub(crate) fn measure(meter: &mut Meter, machine: &Machine) {
    if el2::is_vhe() {
        own_el0(meter);
    }
    own_el2(meter);
    let mut tables = Tables::take();
    let root = tables.root();
    tables.map_own(root, machine);
    el2::set_vtcr(stage2::vtcr());
    el2::set_vttbr(root.vttbr(1));
    hypercalls(meter);
    contexts(meter, root);
    registers(meter);
    aborts(meter);
    devices(meter);
    first_touches(meter, &mut tables, root, machine);
    preemption(meter);
}

/// A round of `world` that must end as a call of `class` with `immediate`, at the next instruction.
fn expect_call(meter: &mut Meter, what: &str, world: &mut World, class: u64, immediate: u64) {
    let (pc, pstate) = (world.pc, world.pstate);
    world.run();
    let wanted = class << 26 | 1 << 25 | immediate;
    meter.expect(format_args!("{what}: ESR_EL2"), world.esr, wanted);
    meter.expect(format_args!("{what}: ELR_EL2"), world.pc, pc + 4);
    meter.expect(format_args!("{what}: SPSR_EL2"), world.pstate, pstate);
    world.pc = pc;
}

fn own_el0(meter: &mut Meter) {
    let alias = map::open_to_el0();
    let mut world = World::new(programs::svc().wrapping_add(alias), mode::EL0, hcr::TGE);
    expect_call(meter, "SVC from its own EL0", &mut world, class::SVC, 0x17);
    meter.section("eret-el0", || world.run());
}

fn own_el2(meter: &mut Meter) {
    let mut world = World::new(programs::svc(), mode::EL2H, hcr::TGE);
    expect_call(meter, "SVC from EL2", &mut world, class::SVC, 0x17);
    meter.section("eret-el2", || world.run());
    let mut world = World::new(programs::hvc(), mode::EL2H, hcr::TGE);
    expect_call(meter, "HVC from EL2", &mut world, class::HVC, 0x2a);
    meter.section("hvc-el2", || world.run());
}

fn hypercalls(meter: &mut Meter) {
    let mut world = World::new(programs::hvc(), mode::EL1H, hcr::GUEST);
    world.x = core::array::from_fn(|n| 0x1111 * n as u64);
    expect_call(meter, "HVC of the L2", &mut world, class::HVC, 0x2a);
    for (n, x) in world.x.into_iter().enumerate() {
        meter.expect(format_args!("x{n} of the L2"), x, 0x1111 * n as u64);
    }
    meter.section("l2-hypercall", || world.run());
}

/// Two VMIDs on one table, in turn.
fn contexts(meter: &mut Meter, root: Root) {
    let mut worlds = [1, 2].map(|vmid| {
        (
            root.vttbr(vmid),
            World::new(programs::hvc(), mode::EL1H, hcr::GUEST),
        )
    });
    meter.section("l2-other-vmid", || {
        let [(vttbr, world), _] = &mut worlds;
        el2::set_vttbr(*vttbr);
        world.run();
        worlds.swap(0, 1);
    });
    el2::set_vttbr(root.vttbr(1));
}

fn registers(meter: &mut Meter) {
    let mut world = World::new(programs::identify(), mode::EL1H, hcr::GUEST | hcr::TID3);
    let pc = world.pc;
    world.run();
    // op0 3, op1 0, CRn 0, CRm 4, op2 0, to x1, read.
    let wanted = class::SYSREG << 26 | 1 << 25 | 3 << 20 | 1 << 5 | 4 << 1 | 1;
    meter.expect("ID register of the L2: ESR_EL2", world.esr, wanted);
    meter.expect("ID register of the L2: ELR_EL2", world.pc, pc);
    meter.section("l2-id-register", || world.run());
}

/// An address that stage 2 does not translate: emulated by this guest's hypervisor, which finds all it needs.
fn aborts(meter: &mut Meter) {
    let mut world = World::new(programs::load(), mode::EL1H, hcr::GUEST);
    let address = NOTHING_AT + 0x5678;
    (world.x[0], world.x[1]) = (address, 7);
    let pc = world.pc;
    world.run();
    let wanted = class::DATA_LOWER << 26 | 1 << 25 | LOAD_UNTRANSLATED;
    meter.expect("abort of the L2: ESR_EL2", world.esr, wanted);
    meter.expect("abort of the L2: FAR_EL2", world.far, address);
    meter.expect(
        "abort of the L2: HPFAR_EL2",
        el2::hpfar(),
        address >> 12 << 4,
    );
    meter.expect("abort of the L2: ELR_EL2", world.pc, pc);
    meter.expect("abort of the L2: x1", world.x[1], 7);
    meter.section("l2-abort", || {
        world.run();
        el2::hpfar();
    });
}

/// A device of this guest's that it handed on: what answers is under both.
fn devices(meter: &mut Meter) {
    let mut world = World::new(programs::load_and_count(), mode::EL1H, hcr::GUEST);
    world.x[0] = GICD.base() + gic::GICD_ISENABLER1 as u64;
    world.x[2] = 1;
    world.run();
    meter.expect(
        "a device's register to the L2",
        world.x[1],
        GICD.read(gic::GICD_ISENABLER1).into(),
    );
    world.x[2] = TIMES.into();
    meter.at_once("l2-device", TIMES, || world.run());
    meter.expect("loads that are left to do", world.x[2], 0);
}

/// First touches: of blocks that this guest has touched itself, of pages of such a block, and of blocks that nobody has.
fn first_touches(meter: &mut Meter, tables: &mut Tables, root: Root, machine: &Machine) {
    let fresh = machine.unused();
    // One block before those for the tables that the first touch brings, and one for the pages.
    let blocks = ((machine.ram_end() - fresh) / BLOCK - 2).min(2 * MOST_BLOCKS) / 2;
    let known = fresh..fresh + (blocks + 2) * BLOCK;
    for block in known.clone().step_by(BLOCK as usize) {
        // SAFETY: nothing there is this guest's.
        unsafe { core::ptr::write_volatile(block as *mut u64, 0) };
    }
    let all = (2 * blocks + 1) * BLOCK;
    tables.map_all(
        root,
        BLOCKS_AT,
        fresh + BLOCK,
        all,
        Size::Block,
        Leaf::Memory,
    );
    tables.map_all(root, PAGES_AT, fresh, BLOCK, Size::Page, Leaf::Memory);
    World::touch(BLOCKS_AT, BLOCK, 1);
    meter.at_once("l2-fill-2m", blocks as u32, || {
        World::touch(BLOCKS_AT + BLOCK, BLOCK, blocks);
    });
    let untouched = BLOCKS_AT + (blocks + 1) * BLOCK;
    meter.at_once("l2-touch-2m", blocks as u32, || {
        World::touch(untouched, BLOCK, blocks);
    });
    World::touch(PAGES_AT, PAGE, 1);
    let pages = BLOCK / PAGE - 1;
    meter.at_once("l2-fill-4k", pages as u32, || {
        World::touch(PAGES_AT + PAGE, PAGE, pages);
    });
    let last = known.end - BLOCK - BLOCK;
    // SAFETY: memory of the upper half that the L2 has written.
    let seen = unsafe { core::ptr::read_volatile(last as *const u64) };
    meter.expect(
        "what the L2 wrote",
        seen,
        BLOCKS_AT + (last - fresh - BLOCK),
    );
}

/// EL2's physical timer takes the CPU from an L2 that spins.
fn preemption(meter: &mut Meter) {
    let mut world = World::new(programs::spin(), mode::EL1H, hcr::GUEST);
    let mut checks = Checks::new("nested");
    let preempt = || {
        // Longer than the way into the L2 takes, where time goes with instructions.
        Timer::Hypervisor.arm_in(20_000);
        world.run();
        end_interrupt(&mut checks);
    };
    meter.counted("l2-preempted", TIMES, preempt);
    meter.checks.add(&checks);
}

fn end_interrupt(checks: &mut Checks) {
    let intid = gic::take().unwrap_or(gic::SPURIOUS);
    checks.expect(
        "interrupt of EL2's timer",
        intid.into(),
        gic::HYPERVISOR_TIMER.into(),
    );
    Timer::Hypervisor.disarm();
    if intid != gic::SPURIOUS {
        gic::end(intid);
    }
}
