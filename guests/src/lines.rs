//! Level-sensitive interrupts are pending while their line is high and no longer (IHI 0069, 4.1.2 and 4.5): a timer's, which
//! goes off again before anybody takes it, or while it is handled.

use crate::gic;
use crate::time::{Timer, wait_until};

/// Tries it, with interrupts masked. `expect` hears what was found and what it must be.
pub fn check(timer: Timer, mut expect: impl FnMut(&str, u64, u64)) {
    let mask = 1 << timer.intid();
    let is_pending = || gic::pending(0) & mask != 0;
    for (is_enabled, is_read) in [(false, true), (false, false), (true, true)] {
        gic::enable_cpu(0, if is_enabled { mask } else { 0 });
        timer.make_due();
        wait_until("a line that rises", is_pending);
        timer.disarm();
        if is_read {
            wait_until("a line that falls", || !is_pending());
        }
        gic::enable_also(0, mask);
        expect_taken(&mut expect, "a line that fell: taken", gic::SPURIOUS);
    }
    // What software makes pending is so whatever the line does.
    gic::enable_cpu(0, 0);
    gic::make_pending(0, mask);
    timer.make_due();
    expect("made pending: pending", is_pending().into(), 1);
    timer.disarm();
    gic::enable_also(0, mask);
    expect_taken(&mut expect, "made pending: taken", timer.intid());
    expect_taken(&mut expect, "made pending: taken again", gic::SPURIOUS);
    // One that is active is pending besides, and comes again.
    gic::enable_cpu(0, mask);
    timer.make_due();
    for _ in 0..2 {
        let mut taken = None;
        wait_until("an interrupt", || {
            taken = gic::take();
            taken.is_some()
        });
        expect("active: pending", is_pending().into(), 1);
        timer.disarm();
        wait_until("a line that falls under an active one", || !is_pending());
        timer.make_due();
        expect("active: pending again", is_pending().into(), 1);
        taken.into_iter().for_each(gic::end);
    }
    timer.disarm();
    gic::enable_cpu(0, 0);
}

fn expect_taken(expect: &mut impl FnMut(&str, u64, u64), what: &str, wanted: u32) {
    let taken = gic::take();
    taken.into_iter().for_each(gic::end);
    let taken = taken.unwrap_or(gic::SPURIOUS);
    expect(what, taken.into(), wanted.into());
}
