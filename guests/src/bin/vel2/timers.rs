//! Timers of EL2 and of the EL1 under it: their interrupts come to EL2, whoever runs, and not early; CNTVOFF_EL2 shifts
//! EL1's virtual time. Whether a deadline is past when its timer is armed, or when the level is entered that it
//! interrupts, does not matter: each must interrupt.
//!
//! Left out: EL1's timers that fire while EL2 runs, which [`parked`](crate::parked) has.

use crate::lab::{IRQ_FROM_BELOW, Lab, Where, under};
use crate::names::{
    CNTHP_CTL_EL2, CNTHP_CVAL_EL2, CNTHV_CTL_EL2, CNTHV_CVAL_EL2, CNTP_CTL_EL0, CNTP_CVAL_EL0,
    CNTPCT_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0,
};
use droste_guests::encode::Name;
use droste_guests::time::{self, now, ticks, virtual_compare};
use droste_guests::{el2, gic};

/// How long a timer runs, in nanoseconds: one that is past as soon as it is armed, one that may be past or ahead, and one
/// that is ahead on any machine but a very busy one.
const RUNS_NS: [u64; 3] = [0, 20_000, 2_000_000];
/// An offset that the counter has not reached, so that the virtual one has wrapped around.
const FAR: u64 = 1 << 40;
/// CNT*_CTL: ENABLE, ISTATUS.
const ENABLE: u64 = 1;
const FIRED: u64 = 1 << 2;

/// One timer, as EL2 reaches it.
struct Timer {
    what: &'static str,
    intid: u32,
    control: Name,
    compare: Name,
    /// Whether it follows CNTVOFF_EL2.
    is_virtual: bool,
    /// Where it interrupts.
    levels: &'static [Where],
}

/// All of it.
pub(crate) fn check(lab: &mut Lab) {
    for timer in timers() {
        interrupts(lab, &timer);
    }
    offset(lab);
    el1_arms_its_own(lab);
}

fn timers() -> impl Iterator<Item = Timer> {
    let all = [
        Some(Timer {
            what: "EL2's physical timer",
            intid: gic::HYPERVISOR_TIMER,
            control: CNTHP_CTL_EL2,
            compare: CNTHP_CVAL_EL2,
            is_virtual: false,
            levels: &[Where::El1, Where::El2],
        }),
        el2::is_vhe().then_some(Timer {
            what: "EL2's virtual timer",
            intid: gic::HYPERVISOR_VIRTUAL_TIMER,
            control: CNTHV_CTL_EL2,
            compare: CNTHV_CVAL_EL2,
            is_virtual: false,
            levels: &[Where::El1, Where::El2],
        }),
        Some(Timer {
            what: "EL1's physical timer",
            intid: gic::PHYSICAL_TIMER,
            control: under(CNTP_CTL_EL0),
            compare: under(CNTP_CVAL_EL0),
            is_virtual: false,
            levels: &[Where::El1],
        }),
        Some(Timer {
            what: "EL1's virtual timer",
            intid: gic::VIRTUAL_TIMER,
            control: under(CNTV_CTL_EL0),
            compare: under(CNTV_CVAL_EL0),
            is_virtual: true,
            levels: &[Where::El1],
        }),
    ];
    all.into_iter().flatten()
}

/// The timer ends an EL1 that waits, or an EL2, with CNTVOFF_EL2 such that the virtual counter is the physical one,
/// another, and one that has wrapped around.
fn interrupts(lab: &mut Lab, timer: &Timer) {
    gic::enable_cpu(0, 1 << timer.intid);
    for level in timer.levels.iter().copied() {
        for runs in RUNS_NS {
            for offset in [0, now() / 2] {
                interrupts_once(lab, timer, level, runs, offset);
            }
        }
        interrupts_once(lab, timer, level, 0, FAR);
    }
    el2::set_cntvoff(0);
    gic::enable_cpu(0, 0);
}

fn interrupts_once(lab: &mut Lab, timer: &Timer, level: Where, runs: u64, offset: u64) {
    let what = timer.what;
    el2::set_cntvoff(offset);
    let start = now();
    let deadline = if runs == 0 {
        start
    } else {
        start + ticks(runs)
    };
    let own = if timer.is_virtual { offset } else { 0 };
    lab.write(Where::El2, timer.compare, virtual_compare(deadline, own));
    lab.write(Where::El2, timer.control, ENABLE);
    let mut world = lab.waiting(level, &[]);
    if level == Where::El2 {
        // Unmasked. EL1 is interrupted whatever its masks.
        world.pstate &= !0x80;
    }
    world.run();
    let vector = if level == Where::El2 {
        5
    } else {
        IRQ_FROM_BELOW
    };
    lab.expect(
        format_args!("{what} at {level:?}: vector"),
        world.vector(),
        vector,
    );
    let is_early = u64::from(now() < deadline);
    lab.expect(format_args!("{what} at {level:?}: early"), is_early, 0);
    let control = lab.read(Where::El2, timer.control);
    lab.expect(format_args!("{what}: control"), control, ENABLE | FIRED);
    lab.interrupted(what, timer.intid, timer.control);
}

/// EL1 sees the physical counter less CNTVOFF_EL2.
fn offset(lab: &mut Lab) {
    for offset in [0, 1 << 33, FAR, 0u64.wrapping_sub(1 << 45)] {
        el2::set_cntvoff(offset);
        for (what, level, counter, own) in [
            ("virtual time of EL1", Where::El1, CNTVCT_EL0, offset),
            ("physical time of EL1", Where::El1, CNTPCT_EL0, 0),
            ("physical time of EL2", Where::El2, CNTPCT_EL0, 0),
        ] {
            let before = now();
            let seen = lab.read(level, counter).wrapping_add(own);
            let is_between = (before..=now()).contains(&seen);
            let what = format_args!("{what}, CNTVOFF_EL2 {offset:#x}, is between EL2's");
            lab.expect(what, is_between.into(), 1);
        }
    }
    el2::set_cntvoff(0);
}

/// EL1 arms its virtual timer by itself and waits.
fn el1_arms_its_own(lab: &mut Lab) {
    gic::enable_cpu(0, 1 << gic::VIRTUAL_TIMER);
    for runs in RUNS_NS {
        el1_arms_once(lab, now() + ticks(runs));
    }
    gic::enable_cpu(0, 0);
}

fn el1_arms_once(lab: &mut Lab, deadline: u64) {
    let code = [CNTV_CVAL_EL0.write(0), CNTV_CTL_EL0.write(1)];
    let mut world = lab.waiting(Where::El1, &code);
    (world.x[0], world.x[1]) = (deadline, ENABLE);
    world.run();
    lab.expect("EL1's own: vector", world.vector(), IRQ_FROM_BELOW);
    lab.expect("EL1's own: control", el2::cntv_ctl(), ENABLE | FIRED);
    lab.expect("EL1's own: compare", el2::cntv_cval(), deadline);
    let intid = gic::take().unwrap_or(gic::SPURIOUS);
    lab.expect("EL1's own: INTID", intid.into(), gic::VIRTUAL_TIMER.into());
    time::Timer::Below.disarm();
    if intid != gic::SPURIOUS {
        gic::end(intid);
    }
}
