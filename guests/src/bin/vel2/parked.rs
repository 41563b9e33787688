//! EL1's timers as EL2 finds and sets them while EL1 does not run: ISTATUS at each moment, interrupts that EL2 brings
//! forward, and with E2H = 0 the count and the timer value under CNTVOFF_EL2 (DDI 0487, D12.2 and D24.10).
//!
//! A hypervisor under this EL2 has these registers in memory (FEAT_NV2) and sees how they change only where FEAT_ECV
//! lets it trap the accesses. Told that there is none, what needs it is left out.

use crate::lab::{Lab, Where, under};
use crate::names::{
    CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTPCT_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTV_TVAL_EL0,
    CNTVCT_EL0, ISB,
};
use droste_guests::encode::Name;
use droste_guests::time::{self, now, ticks};
use droste_guests::{el2, gic, lines};

/// CNT*_CTL: ENABLE, IMASK, ISTATUS.
const ENABLE: u64 = 1;
const IMASK: u64 = 1 << 1;
const ISTATUS: u64 = 1 << 2;
/// A count that no test lives to see.
const NEVER: u64 = u64::MAX >> 1;
/// How long a timer runs that falls due while EL2 does, in nanoseconds.
const SHORT_NS: u64 = 10_000_000;

/// One of EL1's timers, as EL2 reaches it.
struct Timer {
    what: &'static str,
    intid: u32,
    control: Name,
    compare: Name,
}

impl Timer {
    fn control(&self, lab: &mut Lab) -> u64 {
        lab.read(Where::El2, self.control)
    }

    fn set_control(&self, lab: &mut Lab, value: u64) {
        lab.write(Where::El2, self.control, value);
    }

    fn set_compare(&self, lab: &mut Lab, value: u64) {
        lab.write(Where::El2, self.compare, value);
    }
}

fn timers() -> [Timer; 2] {
    [
        Timer {
            what: "EL1's virtual timer",
            intid: gic::VIRTUAL_TIMER,
            control: under(CNTV_CTL_EL0),
            compare: under(CNTV_CVAL_EL0),
        },
        Timer {
            what: "EL1's physical timer",
            intid: gic::PHYSICAL_TIMER,
            control: under(CNTP_CTL_EL0),
            compare: under(CNTP_CVAL_EL0),
        },
    ]
}

/// All of it.
pub(crate) fn check(lab: &mut Lab) {
    for timer in &timers() {
        if lab.has_ecv {
            status(lab, timer);
            armed(lab, timer);
        }
        status_after_el1(lab, timer);
        falls_due(lab, timer);
        timer.set_control(lab, 0);
    }
    if lab.has_ecv {
        moves(lab);
    }
    falls(lab, time::Timer::Hypervisor);
    if lab.has_ecv {
        falls(lab, time::Timer::Below);
    }
    count(lab);
    if lab.has_ecv {
        timer_value(lab);
    }
    el2::set_cntvoff(0);
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
        timer.set_compare(lab, compare);
        timer.set_control(lab, written);
        let found = timer.control(lab);
        lab.expect(
            format_args!("{what} at {compare:#x}, {written:#x} written"),
            found,
            wanted,
        );
    }
    timer.set_compare(lab, NEVER);
    let found = timer.control(lab);
    lab.expect(format_args!("{what}, moved on"), found, ENABLE | IMASK);
    timer.set_compare(lab, 0);
    let found = timer.control(lab);
    lab.expect(
        format_args!("{what}, moved back"),
        found,
        ENABLE | IMASK | ISTATUS,
    );
    timer.set_control(lab, 0);
}

/// ISTATUS of a timer that is due when EL1 is left, and moves on then.
fn status_after_el1(lab: &mut Lab, timer: &Timer) {
    let what = timer.what;
    gic::enable_cpu(0, 0);
    timer.set_compare(lab, 0);
    timer.set_control(lab, ENABLE);
    let world = lab.run(Where::El1, &[ISB], [0; 4]);
    lab.ended(what, Where::El1, &world);
    let found = timer.control(lab);
    lab.expect(
        format_args!("{what}, due, once EL1 ran"),
        found,
        ENABLE | ISTATUS,
    );
    if lab.has_ecv {
        timer.set_compare(lab, NEVER);
        let found = timer.control(lab);
        lab.expect(format_args!("{what}, moved on after that"), found, ENABLE);
    }
    timer.set_control(lab, 0);
}

/// A timer that runs when EL1 is left falls due while EL2 runs.
fn falls_due(lab: &mut Lab, timer: &Timer) {
    let what = timer.what;
    gic::enable_cpu(0, 0);
    timer.set_compare(lab, now() + ticks(SHORT_NS));
    timer.set_control(lab, ENABLE);
    let world = lab.run(Where::El1, &[ISB], [0; 4]);
    lab.ended(what, Where::El1, &world);
    time::wait_until("ISTATUS of a timer that falls due while EL2 runs", || {
        timer.control(lab) & ISTATUS != 0
    });
    timer.set_control(lab, 0);
}

/// What EL2 arms for EL1 interrupts EL2 while it goes on.
fn armed(lab: &mut Lab, timer: &Timer) {
    let what = timer.what;
    for wait in [0, ticks(SHORT_NS)] {
        gic::enable_cpu(0, 1 << timer.intid);
        timer.set_compare(lab, now() + wait);
        timer.set_control(lab, ENABLE);
        let mut taken = None;
        time::wait_until("what EL2 armed for EL1", || {
            taken = gic::take();
            taken.is_some()
        });
        let intid = taken.unwrap_or(gic::SPURIOUS);
        lab.expect(
            format_args!("{what}, armed by EL2 for {wait} ticks: INTID"),
            intid.into(),
            timer.intid.into(),
        );
        timer.set_control(lab, 0);
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

/// A timer that is armed follows CNTVOFF_EL2 as EL2 writes it, and so does its interrupt.
fn moves(lab: &mut Lab) {
    const AHEAD: u64 = 1 << 50;
    let [timer, _] = timers();
    el2::set_cntvoff(0);
    gic::enable_cpu(0, 1 << timer.intid);
    timer.set_compare(lab, now() + AHEAD / 2);
    timer.set_control(lab, ENABLE);
    let before = timer.control(lab);
    lab.expect("before its time is moved", before, ENABLE);
    el2::set_cntvoff(0u64.wrapping_sub(AHEAD));
    let mut taken = None;
    time::wait_until("a timer whose time was moved", || {
        let control = timer.control(lab);
        lab.expect("once its time is moved", control, ENABLE | ISTATUS);
        taken = gic::take();
        taken.is_some()
    });
    let intid = taken.unwrap_or(gic::SPURIOUS);
    lab.expect("its INTID", intid.into(), timer.intid.into());
    el2::set_cntvoff(0);
    let after = timer.control(lab);
    lab.expect("moved back", after, ENABLE);
    taken.into_iter().for_each(gic::end);
    let after = gic::take().unwrap_or(gic::SPURIOUS);
    lab.expect("moved back: after it", after.into(), gic::SPURIOUS.into());
    timer.set_control(lab, 0);
}

/// Its interrupt goes with its line.
fn falls(lab: &mut Lab, timer: time::Timer) {
    lines::check(timer, |what, found, wanted| {
        lab.expect(format_args!("{timer:?}: {what}"), found, wanted);
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
    let (value, compare) = (under(CNTV_TVAL_EL0), under(CNTV_CVAL_EL0));
    el2::set_cntvoff(OFFSET);
    let count = |lab: &mut Lab| lab.read(Where::El2, CNTPCT_EL0).wrapping_sub(OFFSET);
    // Without ENABLE what it reads is UNKNOWN.
    lab.write(Where::El2, under(CNTV_CTL_EL0), ENABLE | IMASK);
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
