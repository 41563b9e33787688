//! Those of a change of worlds where little is to be done.

use crate::mutants::table::{Mutant, mutant};

pub(in crate::mutants) const MUTANTS: &[Mutant] = &[
    mutant(
        "bare-though-one-has-ended",
        "gic/bare.rs",
        "        let is_bare = Lr(lrs).is_idle()\n",
        "        let is_bare = lrs >> 62 == 0\n",
    ),
    mutant(
        "bare-though-one-is-listed",
        "gic/bare.rs",
        "        let is_bare = Lr(lrs).is_idle()\n            && guest",
        "        let is_bare = guest",
    ),
    mutant(
        "bare-though-maintenance-is-asked-for",
        "gic/bare.rs",
        "            && guest.hcr & hcr::REQUESTS == 0\n",
        "",
    ),
    mutant(
        "bare-though-a-group-is-left",
        "gic/bare.rs",
        "            && left.is_none()\n",
        "",
    ),
    mutant(
        "bare-with-priorities-left-behind",
        "gic/bare.rs",
        "            && vtr.active_priorities() == 1;",
        "            && vtr.active_priorities() != 0;",
    ),
    mutant(
        "bare-loses-traps",
        "gic/bare.rs",
        "(hcr::EN | hcr::TRAPS | hcr::EOI_COUNT);",
        "(hcr::EN | hcr::EOI_COUNT);",
    ),
    mutant(
        "bare-starts-the-count-of-ends-anew",
        "gic/bare.rs",
        "(hcr::EN | hcr::TRAPS | hcr::EOI_COUNT);",
        "(hcr::EN | hcr::TRAPS);",
    ),
    mutant(
        "bare-forgets-the-count-of-ends",
        "gic/bare.rs",
        "        let hcr = hcr & !hcr::EOI_COUNT | self.hcr & hcr::EOI_COUNT;",
        "        let hcr = if self.hcr == 0 { 0 } else { hcr };",
    ),
    mutant(
        "bare-with-reserved-bits",
        "gic/bare.rs",
        "            vmcr: Vmcr(self.vmcr.0 & Interface::VMCR),",
        "            vmcr: self.vmcr,",
    ),
    mutant(
        "bare-with-reserved-priorities",
        "gic/bare.rs",
        "            ap1r: self.ap1r & Interface::PRIORITIES,",
        "            ap1r: self.ap1r,",
    ),
    mutant(
        "quiet-though-something-is-wanted",
        "gic/quiet.rs",
        "        state.summary | state.owed_summary == 0\n",
        "        state.owed_summary == 0\n",
    ),
    mutant(
        "quiet-though-something-is-owed",
        "gic/quiet.rs",
        "        state.summary | state.owed_summary == 0\n",
        "        state.summary == 0\n",
    ),
    mutant(
        "quiet-though-a-timer-is-not",
        "gic/quiet.rs",
        "            && state.are_timers_quiet()\n",
        "",
    ),
    mutant(
        "quiet-though-accesses-trap",
        "gic/quiet.rs",
        "            && state.traps == 0\n",
        "",
    ),
    mutant(
        "quiet-though-its-guest-has-the-lists",
        "gic/quiet.rs",
        "            && !state.shadow.is_entered\n",
        "",
    ),
    mutant(
        "what-is-owed-kicks-nobody",
        "gic/state.rs",
        "        if !is_concerned && released == 0 {",
        "        if !is_concerned {",
    ),
    // Timers.
    mutant(
        "timers-quiet-while-one-is-owed",
        "gic/timers.rs",
        "        (active | line | hw) & TIMERS == 0 && self.owed_summary & 1 == 0",
        "        (active | line | hw) & TIMERS == 0",
    ),
    mutant(
        "timers-quiet-while-one-is-active",
        "gic/timers.rs",
        "        (active | line | hw) & TIMERS == 0 &&",
        "        (line | hw) & TIMERS == 0 && active != 1 &&",
    ),
    mutant(
        "timers-quiet-while-one-is-high",
        "gic/timers.rs",
        "        (active | line | hw) & TIMERS == 0 &&",
        "        (active | hw) & TIMERS == 0 && line != 1 &&",
    ),
    mutant(
        "timers-quiet-while-one-has-fired",
        "gic/timers.rs",
        "        (active | line | hw) & TIMERS == 0 &&",
        "        (active | line) & TIMERS == 0 && hw != 1 &&",
    ),
    mutant(
        "timers-quiet-by-one-pair",
        "gic/timers.rs",
        "    a.mask() | b.mask() | c.mask() | d.mask()",
        "    a.mask() | b.mask() | (c.mask() | d.mask()) & 1",
    ),
    mutant(
        "timers-quiet-though-one-is-parked-high",
        "gic/timers.rs",
        "        let is_low = !(parked[0].is_high() || parked[1].is_high());",
        "        let is_low = !parked[0].is_high();",
    ),
];
