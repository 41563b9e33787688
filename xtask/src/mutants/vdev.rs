//! The mutants of `droste-vdev`: each breaks one thing in how a guest hypervisor's interrupts and timers share the
//! hardware's.

use super::table::{Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    // List registers of a guest hypervisor's guest, on the way in.
    mutant(
        "nested-lends-what-another-holds",
        "gic/nested.rs",
        "            At::Shared(index) => usize::from(self.shared[index].holder[bit]) == vcpu,",
        "            At::Shared(_) => true,",
    ),
    mutant(
        "nested-lends-pending-and-active",
        "gic/nested.rs",
        "        let can_lend = is_mine && lr.state() != Lr::PENDING | Lr::ACTIVE;",
        "        let can_lend = is_mine;",
    ),
    mutant(
        "nested-links-sgis",
        "gic/nested.rs",
        "            .filter(|intid| !intid.is_sgi())\n",
        "",
    ),
    mutant(
        "nested-by-hand-asks-for-nothing",
        "gic/nested.rs",
        "            lr.plain().with_eoi_maintenance()",
        "            lr.plain()",
    ),
    mutant(
        "nested-requests-under-a-high-line",
        "gic/nested.rs",
        "        let requests = if line.is_high() || is_odd {",
        "        let requests = if is_odd {",
    ),
    mutant(
        "nested-requests-that-count-otherwise",
        "gic/nested.rs",
        "        let requests = if line.is_high() || is_odd {",
        "        let requests = if line.is_high() || is_odd && used > 16 {",
    ),
    mutant(
        "nested-lists-one-twice",
        "gic/nested.rs",
        "            if guest.is_twice(slot, lrs.valid) {",
        "            if guest.is_twice(slot, 0) {",
    ),
    mutant(
        "nested-reserved-bits-stay",
        "gic/nested.rs",
        "                None => lr.sanitized().0,",
        "                None => lr.0,",
    ),
    mutant(
        "nested-interface-as-it-is",
        "gic/nested.rs",
        "        hardware.interface = guest.interface.sanitized();",
        "        hardware.interface = guest.interface;",
    ),
    mutant(
        "nested-traps-are-dropped",
        "gic/nested.rs",
        "(hcr::EN | hcr::TRAPS | hcr::EOI_COUNT | requests)",
        "(hcr::EN | hcr::EOI_COUNT | requests)",
    ),
    mutant(
        "nested-count-begins-anew",
        "gic/nested.rs",
        "(hcr::EN | hcr::TRAPS | hcr::EOI_COUNT | requests)",
        "(hcr::EN | hcr::TRAPS | requests)",
    ),
    // And back.
    mutant(
        "nested-count-is-lost",
        "gic/nested.rs",
        "        guest.hcr = guest.hcr & !hcr::EOI_COUNT | hardware.hcr & hcr::EOI_COUNT;\n",
        "",
    ),
    mutant(
        "nested-keeps-what-it-was-lent",
        "gic/nested.rs",
        "            if lent & mask != 0 {",
        "            if lent & mask != 0 && slot >= MAX_LIST_REGISTERS {",
    ),
    mutant(
        "nested-takes-back-active-always",
        "gic/nested.rs",
        "        let state = if lr.state() == 0 { 0 } else { Lr::ACTIVE };",
        "        let state = Lr::ACTIVE | lr.0 & 0;",
    ),
    mutant(
        "nested-takes-back-as-pending",
        "gic/nested.rs",
        "        let state = if lr.state() == 0 { 0 } else { Lr::ACTIVE };",
        "        let state = lr.state();",
    ),
    mutant(
        "nested-deactivates-only-what-is-free",
        "gic/nested.rs",
        "    after.state() == 0 || before.state() == BOTH && after.state() != BOTH",
        "    after.state() == 0 && before.state() <= BOTH",
    ),
    mutant(
        "nested-never-deactivates-by-hand",
        "gic/nested.rs",
        "            } else if by_hand & mask != 0 && is_deactivated(before, after) {",
        "            } else if by_hand & mask != 0 && is_deactivated(before, after) && slot >= MAX_LIST_REGISTERS {",
    ),
    // What a guest hypervisor reads of its interface.
    mutant(
        "misr-without-ended",
        "gic/ich.rs",
        "        let mut conditions = EOI & u64::from(lrs.ended != 0);",
        "        let mut conditions = EOI & u64::from(lrs.ended > 0xffff);",
    ),
    mutant(
        "misr-underflow-at-none",
        "gic/ich.rs",
        "        if lrs.valid & lrs.valid.wrapping_sub(1) == 0 {",
        "        if lrs.valid == 0 {",
    ),
    mutant(
        "misr-active-is-pending",
        "gic/ich.rs",
        "                found.pending |= if lr.is_active() { 0 } else { mask };",
        "                found.pending |= mask;",
    ),
    mutant(
        "misr-groups-the-other-way",
        "gic/ich.rs",
        "        conditions | self.hcr & hcr::GROUP_CHANGES & !still_to_come",
        "        conditions | self.hcr & hcr::GROUP_CHANGES & still_to_come",
    ),
    // What is signalled while no list register holds it.
    mutant(
        "signal-of-what-is-active",
        "gic/signal.rs",
        " & bank.deliverable(self.enables) & !bank.active;",
        " & bank.deliverable(self.enables);",
    ),
    mutant(
        "signal-of-a-group-that-is-off",
        "gic/signal.rs",
        "                if vmcr.is_group_enabled(is_group1) && first",
        "                if first",
    ),
    mutant(
        "signal-at-the-mask",
        "gic/signal.rs",
        "        let is_let_through = priority < vmcr.priority_mask()",
        "        let is_let_through = priority <= vmcr.priority_mask()",
    ),
    mutant(
        "signal-preempts-its-equal",
        "gic/signal.rs",
        "priority & group_mask < running & group_mask)",
        "priority & group_mask <= running & group_mask)",
    ),
    mutant(
        "signal-by-another-binary-point",
        "gic/signal.rs",
        "            bpr1.saturating_sub(1)",
        "            bpr1",
    ),
    // Timers that change places.
    mutant(
        "timers-idle-while-one-is-owed",
        "gic/timers.rs",
        "        (active | line | hw) & guest == 0 && self.owed[0] & mask(physical) == 0",
        "        (active | line | hw) & guest == 0 && mask(physical) != 0",
    ),
    mutant(
        "timers-owe-still",
        "gic/timers.rs",
        "            state.disown(physical_mask);\n",
        "",
    ),
    mutant(
        "timers-leave-it-active",
        "gic/timers.rs",
        "            } else if was_active || state.owed[0] & physical_mask != 0 {",
        "            } else if was_active && state.owed[0] & physical_mask != 0 {",
    ),
    mutant(
        "nested-lent-until-it-is-left",
        "gic/nested.rs",
        "            if lr.state() == 0 {\n                self.vcpus",
        "            if lr.state() == 1 {\n                self.vcpus",
    ),
    mutant(
        "nested-requests-wait-while-lent",
        "gic/bank.rs",
        "        (self.set_active | self.clear_active) >> bit & 1 != 0",
        "        self.set_active >> bit & 1 != 0",
    ),
    mutant(
        "levels-of-what-is-shared-stay",
        "gic/levels.rs",
        "        let shared = state.summary & !1;",
        "        let shared = state.summary & 1;",
    ),
    mutant(
        "levels-take-the-guests-own-events",
        "gic/bank.rs",
        "        let gone = bits & self.fired;\n",
        "        let gone = bits & self.fired;\n        self.latch &= !gone;\n",
    ),
    mutant(
        "levels-take-edges",
        "gic/bank.rs",
        "        self.latch |= mask & self.edge;\n        self.fired |= mask & !self.edge;",
        "        self.fired |= mask;",
    ),
    mutant(
        "levels-are-not-looked-at-before-a-read",
        "gic/distributor.rs",
        "        matches!(self, Self::SetPending | Self::ClearPending)",
        "        matches!(self, Self::SetActive)",
    ),
    mutant(
        "park-keeps-what-fired",
        "gic/timers.rs",
        "        self.fired &= !mask;\n",
        "",
    ),
    mutant(
        "park-sees-no-edge",
        "gic/timers.rs",
        "        self.latch |= high & !self.line & self.edge & !held;\n",
        "",
    ),
    mutant(
        "load-fires-over-an-active-one",
        "gic/timers.rs",
        "        self.fired |= high & !self.active;",
        "        self.fired |= high;",
    ),
    mutant(
        "load-forgets-the-active-one",
        "gic/timers.rs",
        "        let held = (high | self.active | self.hw) & mask;",
        "        let held = (high | self.hw) & mask;",
    ),
    mutant(
        "breakpoint-above-el1",
        "sysreg/debug.rs",
        " && self.control & ABOVE == 0",
        "",
    ),
    mutant(
        "breakpoint-under-the-os-lock",
        "sysreg/debug.rs",
        "        let is_on = !self.is_os_locked\n            && self.mdscr & MDSCR_MDE != 0",
        "        let is_on = self.mdscr & MDSCR_MDE != 0",
    ),
    mutant(
        "breakpoint-of-a-context-that-is-none",
        "sysreg/debug.rs",
        "first.breakpoint(first.knows_no_context(), link)",
        "first.breakpoint(true, link)",
    ),
    mutant(
        "watchpoint-linked-to-any",
        "sysreg/debug.rs",
        "        if self.control & LINK == 1 << LINK_SHIFT {",
        "        if self.control & ENABLED == ENABLED {",
    ),
    mutant(
        "parked-wakes-for-the-later",
        "timer/pairs.rs",
        "            deadline: next.into_iter().chain(other).min(),",
        "            deadline: next.into_iter().chain(other).max(),",
    ),
    mutant(
        "parked-wakes-for-a-high-line",
        "timer/pairs.rs",
        "        let rises = |left: &u64| *left != 0;",
        "        let rises = |left: &u64| *left != 0 || now != 0;",
    ),
    mutant(
        "parked-line-without-its-offset",
        "timer/pairs.rs",
        "pair.map(|t| left(t.control, t.compare, t.offset, now));",
        "pair.map(|t| left(t.control, t.compare, 0, now));",
    ),
    mutant(
        "timer-before-its-zero-is-far-away",
        "timer/mod.rs",
        "        Some(compare.saturating_sub(now.wrapping_sub(offset)))",
        "        Some(compare.saturating_add_signed(offset.cast_signed()).saturating_sub(now))",
    ),
    mutant(
        "timer-that-is-never-due-wraps",
        "timer/mod.rs",
        "        Some(left) => Some(now.saturating_add(left)),",
        "        Some(left) => Some(now.wrapping_add(left)),",
    ),
    mutant(
        "parked-fires-though-masked",
        "timer/mod.rs",
        "    control & (ENABLE | IMASK) == ENABLE",
        "    control & ENABLE == ENABLE",
    ),
    mutant(
        "pairs-swapped",
        "timer/pairs.rs",
        "            Self::El1 => [Intid::PHYSICAL_TIMER, Intid::VIRTUAL_TIMER],",
        "            Self::El1 => [Intid::VIRTUAL_TIMER, Intid::PHYSICAL_TIMER],",
    ),
    // More interrupts than list registers.
    mutant(
        "active-ones-take-all",
        "gic/lists.rs",
        "        let reserved = usize::from(pending.offered != 0);",
        "        let reserved = usize::from(pending.offered > 1023);",
    ),
    mutant(
        "groups-may-change-unseen",
        "gic/lists.rs",
        "            bits |= hcr::on_group_change(vmcr);\n",
        "",
    ),
    mutant(
        "one-end-for-all",
        "gic/lists.rs",
        "        for _ in 0..unlisted_ends.min(31) {",
        "        for _ in 0..unlisted_ends.min(1) {",
    ),
    mutant(
        "end-of-the-lowest",
        "gic/lists.rs",
        "first.map_or(key, |first: u32| first.min(key))",
        "first.map_or(key, |first: u32| first.max(key))",
    ),
    mutant(
        "end-of-what-is-listed",
        "gic/lists.rs",
        "            for bit in ones32(state.wanted[word] & bank.active & !bank.listed) {",
        "            for bit in ones32(state.wanted[word] & bank.active) {",
    ),
];
