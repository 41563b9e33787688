//! EL1's timers as EL2 finds and sets them while EL1 does not run: ISTATUS at each moment, interrupts that EL2 brings
//! forward, and with E2H = 0 the count and the timer value under CNTVOFF_EL2 (DDI 0487, D12.2 and D24.10).
//!
//! A hypervisor under this EL2 has these registers in memory (FEAT_NV2) and sees how they change only where FEAT_ECV
//! lets it trap the accesses. Told that there is none, what needs it is left out.

use crate::lab::{Lab, Where};
use crate::names::{CNTPCT_EL0, CNTV_CVAL_EL0, CNTV_TVAL_EL0, CNTVCT_EL0, ISB};
use droste_guests::encode::Name;
use droste_guests::lines::{self, until};
use droste_guests::{cpu, el2, gic};

/// CNT*_CTL: ENABLE, IMASK, ISTATUS.
const ENABLE: u64 = 1;
const IMASK: u64 = 1 << 1;
const ISTATUS: u64 = 1 << 2;
/// A count that no test lives to see.
const NEVER: u64 = u64::MAX >> 1;

/// One of EL1's timers.
struct Timer {
    what: &'static str,
    intid: u32,
    control: fn() -> u64,
    set_control: fn(u64),
    set_compare: fn(u64),
}

const TIMERS: [Timer; 2] = [
    Timer {
        what: "EL1's virtual timer",
        intid: gic::VIRTUAL_TIMER,
        control: el2::cntv_ctl,
        set_control: el2::set_cntv_ctl,
        set_compare: el2::set_cntv_cval,
    },
    Timer {
        what: "EL1's physical timer",
        intid: gic::PHYSICAL_TIMER,
        control: el2::cntp_ctl,
        set_control: el2::set_cntp_ctl,
        set_compare: el2::set_cntp_cval,
    },
];

impl Timer {
    fn line(&self) -> lines::Timer {
        lines::Timer {
            what: self.what,
            intid: self.intid,
            set_control: self.set_control,
            set_compare: self.set_compare,
        }
    }
}

/// All of it.
pub(crate) fn check(lab: &mut Lab) {
    for timer in &TIMERS {
        if lab.has_ecv {
            status(lab, timer);
            armed(lab, timer);
            falls(lab, &timer.line());
        }
        status_after_el1(lab, timer);
        falls_due(lab, timer);
        (timer.set_control)(0);
    }
    falls(
        lab,
        &lines::Timer {
            what: "EL2's physical timer",
            intid: gic::HYPERVISOR_TIMER,
            set_control: el2::set_cnthp_ctl,
            set_compare: el2::set_cnthp_cval,
        },
    );
    count(lab);
    if lab.has_ecv {
        timer_value(lab);
    }
    el2::set_cntvoff(0);
    el2::set_cntv_ctl(0);
    gic::enable_cpu(0, 0);
}

/// ISTATUS follows the compare value and the offset as EL2 writes them.
fn status(lab: &mut Lab, timer: &Timer) {
    let what = timer.what;
    gic::enable_cpu(0, 0);
    for (compare, written, wanted) in [
        (0, ENABLE, ENABLE | ISTATUS),
        (NEVER, ENABLE, ENABLE),
        (NEVER, ENABLE | ISTATUS, ENABLE),
        (0, ENABLE | IMASK, ENABLE | IMASK | ISTATUS),
    ] {
        (timer.set_compare)(compare);
        (timer.set_control)(written);
        let found = (timer.control)();
        lab.expect(
            format_args!("{what} at {compare:#x}, {written:#x} written"),
            found,
            wanted,
        );
    }
    (timer.set_compare)(NEVER);
    lab.expect(
        format_args!("{what}, moved on"),
        (timer.control)(),
        ENABLE | IMASK,
    );
    (timer.set_compare)(0);
    lab.expect(
        format_args!("{what}, moved back"),
        (timer.control)(),
        ENABLE | IMASK | ISTATUS,
    );
    (timer.set_control)(0);
}

/// ISTATUS of a timer that is due when EL1 is left, and moves on then.
fn status_after_el1(lab: &mut Lab, timer: &Timer) {
    let what = timer.what;
    gic::enable_cpu(0, 0);
    (timer.set_compare)(0);
    (timer.set_control)(ENABLE);
    let world = lab.run(Where::El1, &[ISB], [0; 4]);
    lab.ended(what, Where::El1, &world);
    let found = (timer.control)();
    lab.expect(
        format_args!("{what}, due, once EL1 ran"),
        found,
        ENABLE | ISTATUS,
    );
    if lab.has_ecv {
        (timer.set_compare)(NEVER);
        lab.expect(
            format_args!("{what}, moved on after that"),
            (timer.control)(),
            ENABLE,
        );
    }
    (timer.set_control)(0);
}

/// A timer that runs when EL1 is left falls due while EL2 runs.
fn falls_due(lab: &mut Lab, timer: &Timer) {
    let what = timer.what;
    gic::enable_cpu(0, 0);
    (timer.set_compare)(cpu::physical_counter() + cpu::counter_frequency() / 100);
    (timer.set_control)(ENABLE);
    let world = lab.run(Where::El1, &[ISB], [0; 4]);
    lab.ended(what, Where::El1, &world);
    let is_due = until(|| (timer.control)() & ISTATUS != 0);
    lab.expect(
        format_args!("{what}, due while EL2 runs"),
        u64::from(is_due),
        1,
    );
    (timer.set_control)(0);
}

/// What EL2 arms for EL1 interrupts EL2 while it goes on.
fn armed(lab: &mut Lab, timer: &Timer) {
    let what = timer.what;
    for wait in [0, cpu::counter_frequency() / 100] {
        gic::enable_cpu(0, 1 << timer.intid);
        (timer.set_compare)(cpu::physical_counter() + wait);
        (timer.set_control)(ENABLE);
        let mut taken = None;
        until(|| {
            taken = gic::take();
            taken.is_some()
        });
        let intid = taken.unwrap_or(gic::SPURIOUS);
        lab.expect(
            format_args!("{what}, armed by EL2 for {wait} ticks: INTID"),
            intid.into(),
            timer.intid.into(),
        );
        (timer.set_control)(0);
        taken.into_iter().for_each(gic::end);
        let after = gic::take().unwrap_or(gic::SPURIOUS);
        lab.expect(
            format_args!("{what}, armed by EL2: after it"),
            after.into(),
            gic::SPURIOUS.into(),
        );
    }
    gic::enable_cpu(0, 0);
}

/// Its interrupt goes with its line.
fn falls(lab: &mut Lab, timer: &lines::Timer) {
    lines::check(timer, |what, found, wanted| {
        lab.expect(format_args!("{}: {what}", timer.what), found, wanted);
    });
}

/// With E2H = 0 the virtual counter is behind the physical one by CNTVOFF_EL2 at EL2 as well (D24.10, CNTVCT_EL0).
fn count(lab: &mut Lab) {
    for offset in [1 << 50, 0] {
        el2::set_cntvoff(offset);
        if !lab.has_ecv {
            let world = lab.run(Where::El1, &[ISB], [0; 4]);
            lab.ended("a change of levels", Where::El1, &world);
        }
        let offset = if el2::is_vhe() { 0 } else { offset };
        let before = lab.read(Where::El2, CNTPCT_EL0);
        let virt = lab.read(Where::El2, CNTVCT_EL0).wrapping_add(offset);
        let after = lab.read(Where::El2, CNTPCT_EL0);
        lab.expect(
            format_args!("virtual time at EL2, {offset:#x} behind"),
            u64::from(before <= virt && virt <= after),
            1,
        );
    }
}

/// The timer value of EL1's virtual timer is its compare value less the virtual count.
fn timer_value(lab: &mut Lab) {
    const OFFSET: u64 = 1 << 50;
    const AHEAD: u64 = 1 << 30;
    let under = |name: Name| {
        if el2::is_vhe() {
            Name { op1: 5, ..name }
        } else {
            name
        }
    };
    let (value, compare) = (under(CNTV_TVAL_EL0), under(CNTV_CVAL_EL0));
    el2::set_cntvoff(OFFSET);
    let count = |lab: &mut Lab| lab.read(Where::El2, CNTPCT_EL0).wrapping_sub(OFFSET);
    // Without ENABLE what it reads is UNKNOWN.
    el2::set_cntv_ctl(ENABLE | IMASK);
    let before = count(lab);
    let at = before.wrapping_add(AHEAD);
    lab.write(Where::El2, compare, at);
    let left = lab.read(Where::El2, value);
    let passed = count(lab).wrapping_sub(before);
    lab.expect(
        "timer value: no more than at first",
        u64::from(left <= AHEAD),
        1,
    );
    lab.expect(
        "timer value: what is left",
        u64::from(AHEAD - left.min(AHEAD) <= passed),
        1,
    );
    let before = count(lab);
    lab.write(Where::El2, value, AHEAD);
    let at = lab.read(Where::El2, compare);
    let passed = count(lab).wrapping_sub(before);
    let since = at.wrapping_sub(before).wrapping_sub(AHEAD);
    lab.expect(
        "compare value: from the write on",
        u64::from(since <= passed),
        1,
    );
}
