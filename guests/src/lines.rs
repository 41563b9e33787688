//! Level-sensitive interrupts are pending while their line is high and no longer (IHI 0069, 4.5): a timer's, which goes off
//! again before anybody takes it.

use crate::{cpu, gic};

/// How long a condition may take to come true, in seconds.
const DEADLINE: u64 = 20;
/// CNT*_CTL.ENABLE.
const ENABLE: u64 = 1;

/// A timer and its interrupt, by what writes its registers.
pub struct Timer {
    /// What it is.
    pub what: &'static str,
    /// Its PPI.
    pub intid: u32,
    /// Writes its control register.
    pub set_control: fn(u64),
    /// Writes its compare value.
    pub set_compare: fn(u64),
}

/// Whether the condition came true within the deadline.
pub fn until(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = cpu::physical_counter() + DEADLINE * cpu::counter_frequency();
    while !condition() {
        if cpu::physical_counter() > deadline {
            return false;
        }
        cpu::isb();
    }
    true
}

/// Tries it, with interrupts masked. `expect` hears what was found and what it must be.
pub fn check(timer: &Timer, mut expect: impl FnMut(&str, u64, u64)) {
    let mask = 1 << timer.intid;
    let is_pending = || gic::pending(0) & mask != 0;
    for (is_enabled, is_read) in [(false, true), (false, false), (true, true)] {
        gic::enable_cpu(0, if is_enabled { mask } else { 0 });
        (timer.set_compare)(0);
        (timer.set_control)(ENABLE);
        expect("a line that rose: pending", until(is_pending).into(), 1);
        (timer.set_control)(0);
        if is_read {
            let has_gone = until(|| !is_pending());
            expect("a line that fell: not pending", has_gone.into(), 1);
        }
        gic::enable_also(0, mask);
        expect_taken(&mut expect, "a line that fell: taken", gic::SPURIOUS);
    }
    // What software makes pending is so whatever the line does.
    gic::enable_cpu(0, 0);
    gic::make_pending(0, mask);
    (timer.set_control)(ENABLE);
    expect("made pending: pending", until(is_pending).into(), 1);
    (timer.set_control)(0);
    gic::enable_also(0, mask);
    expect_taken(&mut expect, "made pending: taken", timer.intid);
    expect_taken(&mut expect, "made pending: taken again", gic::SPURIOUS);
    gic::enable_cpu(0, 0);
}

fn expect_taken(expect: &mut impl FnMut(&str, u64, u64), what: &str, wanted: u32) {
    let taken = gic::take();
    taken.into_iter().for_each(gic::end);
    let taken = taken.unwrap_or(gic::SPURIOUS);
    expect(what, taken.into(), wanted.into());
}
