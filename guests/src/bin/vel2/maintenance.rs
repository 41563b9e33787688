//! The maintenance interrupt's line follows ICH_HCR_EL2 and the list registers at each moment, whoever runs, and what is
//! lent to EL1 comes back to EL2 as soon as EL1 ends it (IHI 0069, 4.6 and 12.4).

use crate::lab::{IRQ_FROM_BELOW, Lab, Where};
use crate::names::{
    ICC_EOIR0_EL1, ICC_EOIR1_EL1, ICC_IAR0_EL1, ICC_IAR1_EL1, ICC_IGRPEN0_EL1, ICC_IGRPEN1_EL1,
    ICH_AP1R0_EL2, ICH_HCR_EL2, ICH_LR0_EL2, ICH_LR1_EL2, ICH_VMCR_EL2, ISB,
};
use droste_guests::el2::{World, hcr, mode};
use droste_guests::time::Timer;
use droste_guests::{cpu, gic};

/// ICH_HCR_EL2: En, UIE, VGrp0DIE, VGrp1EIE.
const EN: u64 = 1;
const UIE: u64 = 1 << 1;
const DISABLED_0: u64 = 1 << 5;
const ENABLED_1: u64 = 1 << 6;
/// ICH_VMCR_EL2: VENG0, VENG1, VPMR.
const VENG0: u64 = 1 << 0;
const VENG1: u64 = 1 << 1;
const VPMR_ALL: u64 = 0xff << 24;
/// `ICH_LR<n>_EL2`: pending, HW, group 1, priority 0xa0.
const LISTED: u64 = 1 << 62 | 1 << 60 | 0xa0 << 48;
const HW: u64 = 1 << 61;

/// All of it.
pub(crate) fn check(lab: &mut Lab) {
    risen_at_entry(lab);
    lowered_for_another(lab);
    disputed(lab);
    disputed_of_el2(lab);
    held_over_its_end(lab);
    lab.write(Where::El2, ICH_HCR_EL2, 0);
    gic::enable_cpu(0, 0);
}

fn set_up(lab: &mut Lab, control: u64, vmcr: u64, listed: u64) {
    lab.write(Where::El2, ICH_VMCR_EL2, vmcr | VPMR_ALL);
    lab.write(Where::El2, ICH_AP1R0_EL2, 0);
    lab.write(Where::El2, ICH_LR0_EL2, listed);
    lab.write(Where::El2, ICH_LR1_EL2, 0);
    lab.write(Where::El2, ICH_HCR_EL2, EN | control);
}

/// EL1 runs `code` and waits until an interrupt of EL2's comes, which is acknowledged.
fn interrupted(lab: &mut Lab, code: &[u32]) -> (World, Option<u32>) {
    let mut world = lab.waiting(Where::El1, code);
    world.run();
    (world, gic::take())
}

/// A condition that is met when EL1 is entered interrupts at once.
fn risen_at_entry(lab: &mut Lab) {
    set_up(lab, UIE, VENG1, 0);
    gic::enable_cpu(0, 1 << gic::MAINTENANCE);
    let (world, taken) = interrupted(lab, &[]);
    lab.expect("underflow at entry", world.vector(), IRQ_FROM_BELOW);
    let intid = taken.unwrap_or(gic::SPURIOUS);
    lab.expect(
        "underflow at entry: INTID",
        intid.into(),
        gic::MAINTENANCE.into(),
    );
    lab.write(Where::El2, ICH_HCR_EL2, 0);
    taken.into_iter().for_each(gic::end);
    let after = gic::take();
    after.into_iter().for_each(gic::end);
    let after = after.unwrap_or(gic::SPURIOUS);
    lab.expect("underflow: after it", after.into(), gic::SPURIOUS.into());
}

/// EL2 turns the cause off and enters an EL1 that takes EL2's interrupts itself: there is none left.
fn lowered_for_another(lab: &mut Lab) {
    set_up(lab, ENABLED_1, VENG0, 0);
    gic::enable_cpu(0, 1 << gic::MAINTENANCE);
    let code = [ICC_IGRPEN1_EL1.write(1), ISB, ISB];
    let mut world = lab.waiting(Where::El1, &code);
    world.x[1] = 1;
    world.run();
    lab.expect("a group turned on", world.vector(), IRQ_FROM_BELOW);
    lab.write(Where::El2, ICH_HCR_EL2, 0);
    let routed = lab.hcr;
    lab.hcr &= !(hcr::IMO | hcr::FMO);
    let mut world = lab.world(Where::El1, &[ISB, ICC_IAR1_EL1.read(1), ISB]);
    world.pstate = mode::EL1H & !0x1c0;
    world.run();
    lab.ended("a line that fell: nothing comes", Where::El1, &world);
    lab.expect("a line that fell: INTID", world.x[1], gic::SPURIOUS.into());
    lab.hcr = routed;
    gic::enable_cpu(0, 0);
}

/// A condition on which two views may differ (QEMU 10.0 takes group 0 for off where group 1 is) holds EL1 up for neither.
fn disputed(lab: &mut Lab) {
    set_up(lab, DISABLED_0, VENG0, 0);
    gic::enable_cpu(0, 0);
    let world = lab.run(Where::El1, &[ISB, ISB], [0; 4]);
    lab.ended("group 0 on, its end asked for", Where::El1, &world);
    lab.write(Where::El2, ICH_HCR_EL2, 0);
}

/// The same of interrupts of EL2's own, of which there are more than list registers.
fn disputed_of_el2(lab: &mut Lab) {
    const SGIS: u32 = 0xff;
    gic::enable_cpu(0, SGIS);
    gic::set_group1(0, !SGIS);
    gic::enable_groups(0b11);
    lab.write(Where::El2, ICC_IGRPEN1_EL1, 0);
    lab.write(Where::El2, ICC_IGRPEN0_EL1, 1);
    gic::make_pending(0, SGIS);
    let mut taken = 0;
    for _ in 0..SGIS.count_ones() {
        let intid = lab.read(Where::El2, ICC_IAR0_EL1);
        taken |= 1u64.checked_shl(intid as u32).unwrap_or(1 << 63);
        lab.write(Where::El2, ICC_EOIR0_EL1, intid);
    }
    lab.expect("interrupts of group 0", taken, SGIS.into());
    let after = lab.read(Where::El2, ICC_IAR0_EL1);
    lab.expect("group 0: after them", after, gic::SPURIOUS.into());
    lab.write(Where::El2, ICC_IGRPEN0_EL1, 0);
    gic::enable_distributor();
    gic::enable_cpu(0, 0);
}

/// EL1 ends an interrupt that is lent to it while its level is high: it is EL2's again, at once.
fn held_over_its_end(lab: &mut Lab) {
    const ENDS_ONE: [u32; 3] = [ICC_IAR1_EL1.read(1), ICC_EOIR1_EL1.write(1), ISB];
    const SPLIT_EOI: u64 = 1 << 1;
    let intid = u64::from(gic::VIRTUAL_TIMER);
    set_up(lab, 0, VENG1, 0);
    Timer::Below.make_due();
    gic::enable_cpu(0, 1 << intid);
    cpu::set_icc_ctlr(SPLIT_EOI);
    let mut code: &[u32] = &[];
    for nth in 0..4 {
        let (world, taken) = interrupted(lab, code);
        let what = format_args!("the timer of EL1, {nth}. time");
        lab.expect(what, world.vector(), IRQ_FROM_BELOW);
        let taken = taken.unwrap_or(gic::SPURIOUS);
        lab.expect(what, taken.into(), intid);
        gic::end(taken);
        lab.write(Where::El2, ICH_LR0_EL2, LISTED | HW | intid << 32 | intid);
        code = &ENDS_ONE;
    }
    Timer::Below.disarm();
    lab.write(Where::El2, ICH_LR0_EL2, 0);
    cpu::set_icc_ctlr(0);
}
