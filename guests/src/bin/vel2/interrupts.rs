//! Virtual interrupts of the EL1 under this EL2: by HCR_EL2, by list registers, linked to hardware, with their maintenance
//! interrupt (IHI 0069, 12.4).

use crate::lab::{IRQ_FROM_BELOW, Lab, Where};
use crate::names::{
    CNTV_CTL_EL0, ICC_EOIR1_EL1, ICC_HPPIR1_EL1, ICC_IAR1_EL1, ICC_IGRPEN1_EL1, ICC_PMR_EL1,
    ICH_AP1R0_EL2, ICH_EISR_EL2, ICH_ELRSR_EL2, ICH_HCR_EL2, ICH_LR0_EL2, ICH_LR1_EL2,
    ICH_MISR_EL2, ICH_VMCR_EL2, ISB,
};
use droste_guests::el2::{World, class, hcr, mode};
use droste_guests::encode::Name;
use droste_guests::time::Timer;
use droste_guests::{cpu, gic};

const WFI: u32 = 0xd503207f;
/// ICH_HCR_EL2: En, UIE.
const EN: u64 = 1;
const UIE: u64 = 1 << 1;
/// ICH_VMCR_EL2: VENG0, VENG1, VPMR.
const VENG0: u64 = 1 << 0;
const VENG1: u64 = 1 << 1;
const VPMR_ALL: u64 = 0xff << 24;
/// `ICH_LR<n>_EL2`: state, HW, group 1, priority 0xa0, EOI of a register without HW.
const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 2 << 62;
const STATE: u64 = 3 << 62;
const HW: u64 = 1 << 61;
const GROUP_1: u64 = 1 << 60;
const PRIORITY: u64 = 0xa0 << 48;
const EOI: u64 = 1 << 41;
/// INTID of the first that is listed.
const FIRST: u64 = 40;
const IRQ_MASK: u64 = 0x80;
const ACTIVE_PRIORITY: u64 = 1 << (0xa0 >> 3);

/// All of it.
pub(crate) fn check(lab: &mut Lab) {
    by_hcr(lab);
    one_listed(lab);
    two_by_priority(lab);
    linked(lab);
    underflow(lab);
    groups(lab);
    end_of_interrupt(lab);
    pending_wakes(lab);
    lab.write(Where::El2, ICH_HCR_EL2, 0);
}

/// EL1 that waits for an interrupt and has none masked.
fn unmasked(lab: &mut Lab) -> World {
    let mut world = lab.waiting(Where::El1, &[ISB, ISB]);
    world.pstate = mode::EL1H & !0x1c0;
    world
}

/// HCR_EL2.VI, VF and VSE.
fn by_hcr(lab: &mut Lab) {
    let base = lab.hcr;
    for (what, bit, vector) in [("VI", hcr::VI, 5), ("VF", hcr::VF, 6), ("VSE", hcr::VSE, 7)] {
        lab.hcr = base | bit;
        let mut world = lab.world(Where::El1, &[ISB]);
        world.run();
        lab.ended(format_args!("{what} while masked"), Where::El1, &world);
        let mut world = unmasked(lab);
        world.run();
        lab.at_el1(what, &world, vector, 0);
        if bit == hcr::VSE {
            // Taking it clears it; the world keeps what EL2 gave it.
            lab.expect("VSE once it is taken", world.left_hcr() & hcr::VSE, 0);
        }
        lab.hcr = base;
    }
}

fn set_up(lab: &mut Lab, control: u64, listed: &[u64]) {
    lab.write(Where::El2, ICH_VMCR_EL2, VENG1 | VPMR_ALL);
    lab.write(Where::El2, ICH_AP1R0_EL2, 0);
    for (n, name) in [ICH_LR0_EL2, ICH_LR1_EL2].into_iter().enumerate() {
        lab.write(Where::El2, name, listed.get(n).copied().unwrap_or(0));
    }
    lab.write(Where::El2, ICH_HCR_EL2, EN | control);
}

fn listed(intid: u64, priority: u64) -> u64 {
    PENDING | GROUP_1 | priority << 48 | intid
}

fn expect_register(lab: &mut Lab, what: &str, name: Name, wanted: u64) {
    let found = lab.read(Where::El2, name);
    lab.expect(what, found, wanted);
}

/// Taken, acknowledged, ended, each step seen in the list register.
fn one_listed(lab: &mut Lab) {
    set_up(lab, 0, &[listed(FIRST, 0xa0)]);
    let elrsr = lab.read(Where::El2, ICH_ELRSR_EL2);
    lab.expect("ICH_ELRSR_EL2 with one listed", elrsr & 3, 2);
    let mut world = unmasked(lab);
    world.run();
    lab.at_el1("a listed interrupt", &world, 5, 0);
    let code = [ICC_HPPIR1_EL1.read(2), ICC_IAR1_EL1.read(1), ISB];
    let world = lab.run(Where::El1, &code, [0; 4]);
    lab.ended("acknowledge", Where::El1, &world);
    lab.expect("ICC_HPPIR1_EL1", world.x[2], FIRST);
    lab.expect("ICC_IAR1_EL1", world.x[1], FIRST);
    expect_register(
        lab,
        "the list register, active",
        ICH_LR0_EL2,
        ACTIVE | GROUP_1 | PRIORITY | FIRST,
    );
    expect_register(lab, "ICH_AP1R0_EL2, active", ICH_AP1R0_EL2, ACTIVE_PRIORITY);
    let code = [ICC_EOIR1_EL1.write(1), ISB, ICC_IAR1_EL1.read(2)];
    let world = lab.run(Where::El1, &code, [0, FIRST, 0, 0]);
    lab.ended("end", Where::El1, &world);
    lab.expect(
        "ICC_IAR1_EL1 with nothing left",
        world.x[2],
        gic::SPURIOUS.into(),
    );
    let register = lab.read(Where::El2, ICH_LR0_EL2);
    lab.expect("the list register, ended", register & STATE, 0);
    expect_register(lab, "ICH_AP1R0_EL2, ended", ICH_AP1R0_EL2, 0);
    let elrsr = lab.read(Where::El2, ICH_ELRSR_EL2);
    lab.expect("ICH_ELRSR_EL2 with none listed", elrsr & 3, 3);
}

fn two_by_priority(lab: &mut Lab) {
    set_up(lab, 0, &[listed(41, 0xa0), listed(42, 0x80)]);
    let code = [
        ICC_IAR1_EL1.read(1),
        ICC_EOIR1_EL1.write(1),
        ISB,
        ICC_IAR1_EL1.read(2),
        ICC_EOIR1_EL1.write(2),
        ISB,
        ICC_IAR1_EL1.read(3),
    ];
    let world = lab.run(Where::El1, &code, [0; 4]);
    lab.ended("two in turn", Where::El1, &world);
    lab.expect("the urgent one first", world.x[1], 42);
    lab.expect("then the other", world.x[2], 41);
    lab.expect("then none", world.x[3], gic::SPURIOUS.into());
    // EL1's own controls are in ICH_VMCR_EL2.
    let code = [ICC_PMR_EL1.write(1), ICC_IGRPEN1_EL1.write(2), ISB];
    lab.run(Where::El1, &code, [0, 0x50, 0, 0]);
    let vmcr = lab.read(Where::El2, ICH_VMCR_EL2);
    lab.expect("VPMR as EL1 wrote it", vmcr >> 24, 0x50);
    lab.expect("VENG1 as EL1 wrote it", vmcr & VENG1, 0);
}

/// HW = 1: EL1's end of interrupt deactivates the hardware's, which EL2 has acknowledged and dropped.
fn linked(lab: &mut Lab) {
    const SPLIT_EOI: u64 = 1 << 1;
    gic::enable_cpu(0, 1 << gic::VIRTUAL_TIMER);
    cpu::set_icc_ctlr(SPLIT_EOI);
    let intid = u64::from(gic::VIRTUAL_TIMER);
    gic::make_pending(0, 1 << intid);
    Timer::Below.make_due();
    let mut world = lab.waiting(Where::El1, &[]);
    world.run();
    lab.expect("the hardware's: vector", world.vector(), IRQ_FROM_BELOW);
    let taken = gic::take().unwrap_or(gic::SPURIOUS);
    lab.expect("the hardware's: INTID", taken.into(), intid);
    gic::end(gic::VIRTUAL_TIMER);
    lab.expect(
        "active after the drop",
        (gic::active(0) >> intid & 1).into(),
        1,
    );
    set_up(lab, 0, &[listed(intid, 0xa0) | HW | intid << 32]);
    let code = [ICC_IAR1_EL1.read(1), ISB, CNTV_CTL_EL0.write(31), ISB];
    let world = lab.run(Where::El1, &code, [0; 4]);
    lab.ended("acknowledge of a linked one", Where::El1, &world);
    lab.expect("a linked one", world.x[1], intid);
    lab.expect(
        "active while EL1 handles it",
        (gic::active(0) >> intid & 1).into(),
        1,
    );
    let world = lab.run(Where::El1, &[ICC_EOIR1_EL1.write(1), ISB], [0, intid, 0, 0]);
    lab.ended("end of a linked one", Where::El1, &world);
    lab.expect(
        "active after EL1's end",
        (gic::active(0) >> intid & 1).into(),
        0,
    );
    let register = lab.read(Where::El2, ICH_LR0_EL2);
    lab.expect("the linked register, ended", register & STATE, 0);
    cpu::set_icc_ctlr(0);
    gic::enable_cpu(0, 0);
}

/// The maintenance interrupt for too few listed: pending at EL2 once there is at most one.
fn underflow(lab: &mut Lab) {
    gic::enable_cpu(0, 1 << gic::MAINTENANCE);
    set_up(lab, UIE, &[listed(41, 0xa0), listed(42, 0x80)]);
    let misr = lab.read(Where::El2, ICH_MISR_EL2);
    lab.expect("ICH_MISR_EL2 with two listed", misr, 0);
    let world = handles_one(lab);
    maintained(lab, "underflow", &world, 1 << 1);
    gic::enable_cpu(0, 0);
}

/// What ICH_MISR_EL2 says of groups that are on or off, where that was asked for; not of group 0 that is off, which QEMU
/// 10.0 has wrong.
fn groups(lab: &mut Lab) {
    const ENABLED_0: u64 = 1 << 4;
    const ENABLED_1: u64 = 1 << 6;
    const DISABLED_1: u64 = 1 << 7;
    set_up(lab, ENABLED_0 | ENABLED_1 | DISABLED_1, &[]);
    for (vmcr, wanted) in [
        (VPMR_ALL | VENG1, ENABLED_1),
        (VPMR_ALL | VENG0, ENABLED_0 | DISABLED_1),
    ] {
        lab.write(Where::El2, ICH_VMCR_EL2, vmcr);
        expect_register(lab, "ICH_MISR_EL2 of groups", ICH_MISR_EL2, wanted);
    }
    lab.write(Where::El2, ICH_HCR_EL2, 0);
}

/// The maintenance interrupt for the end of a listed interrupt.
fn end_of_interrupt(lab: &mut Lab) {
    gic::enable_cpu(0, 1 << gic::MAINTENANCE);
    set_up(lab, 0, &[listed(43, 0xa0) | EOI]);
    let world = handles_one(lab);
    let eisr = lab.read(Where::El2, ICH_EISR_EL2);
    lab.expect("ICH_EISR_EL2", eisr, 1);
    maintained(lab, "end of interrupt", &world, 1);
    gic::enable_cpu(0, 0);
}

/// EL1 acknowledges and ends one, which interrupts EL2.
fn handles_one(lab: &mut Lab) -> World {
    let code = [ICC_IAR1_EL1.read(1), ICC_EOIR1_EL1.write(1), ISB, ISB];
    let mut world = lab.waiting(Where::El1, &code);
    world.run();
    world
}

fn maintained(lab: &mut Lab, what: &str, world: &World, wanted: u64) {
    lab.expect(
        format_args!("{what}: vector"),
        world.vector(),
        IRQ_FROM_BELOW,
    );
    let misr = lab.read(Where::El2, ICH_MISR_EL2);
    lab.expect(format_args!("{what}: ICH_MISR_EL2"), misr, wanted);
    lab.interrupted(what, gic::MAINTENANCE, ICH_HCR_EL2);
}

/// WFI of EL1 with a virtual interrupt or SError pending returns at once, its mask notwithstanding.
fn pending_wakes(lab: &mut Lab) {
    set_up(lab, 0, &[listed(44, 0xa0)]);
    let mut world = lab.world(Where::El1, &[WFI, ISB]);
    world.pstate |= IRQ_MASK;
    world.run();
    lab.ended("WFI with one listed", Where::El1, &world);
    lab.expect("no abort in it", world.class(), class::HVC);
    lab.write(Where::El2, ICH_LR0_EL2, 0);
    let base = lab.hcr;
    for (what, bit) in [("VI", hcr::VI), ("VF", hcr::VF), ("VSE", hcr::VSE)] {
        lab.hcr = base | bit;
        let world = lab.run(Where::El1, &[WFI, ISB], [0; 4]);
        lab.ended(format_args!("WFI with {what}"), Where::El1, &world);
    }
    lab.hcr = base;
}
