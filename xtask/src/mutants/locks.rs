//! The mutants of `droste-locks`: each breaks the order in which CPUs are let in, or lets two in.

use super::table::{Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "locks-alone-beside-those-who-share",
        "turns.rs",
        "        self.alone.load(Ordering::Acquire) == turn\n",
        "        self.shared.load(Ordering::Acquire) == turn\n",
    ),
    mutant(
        "locks-alone-before-its-turn",
        "turns.rs",
        "        if !self.may_be_alone(turn) {",
        "        if turn.wrapping_sub(self.alone.load(Ordering::Acquire)) > 1 {",
    ),
    mutant(
        "locks-shares-before-its-turn",
        "turns.rs",
        "        if !self.may_share(turn) {",
        "        if turn.wrapping_sub(self.shared.load(Ordering::Acquire)) > 1 {",
    ),
    mutant(
        "locks-one-at-a-time",
        "turns.rs",
        "            self.wait_until(|| self.may_share(turn));
        }
        self.let_share(turn);
",
        "            self.wait_until(|| self.may_share(turn));
        }
        self.wait(Turn(turn));
",
    ),
    mutant(
        "locks-tried-in-front-of-those-who-wait",
        "turns.rs",
        "        let turn = self.shared.load(Ordering::Acquire);
        let is_in = self.join_if_next(turn);
        if is_in {
            self.let_share(turn);
        }
        is_in
",
        "        let turn = self.shared.load(Ordering::Acquire);
        self.next.fetch_add(1, Ordering::Relaxed);
        self.let_share(turn);
        true
",
    ),
    mutant(
        "locks-alone-goes-and-nobody-shares",
        "turns.rs",
        "        self.let_share(self.shared.load(Ordering::Relaxed));
        self.alone.fetch_add(1, Ordering::Release);
",
        "        self.alone.fetch_add(1, Ordering::Release);
",
    ),
    mutant(
        "locks-shares-last",
        "turns.rs",
        "        self.let_share(self.shared.load(Ordering::Relaxed));
        self.alone.fetch_add(1, Ordering::Release);
",
        "        self.alone.fetch_add(1, Ordering::Release);
        self.let_share(self.shared.load(Ordering::Relaxed));
",
    ),
    mutant(
        "locks-goes-by-a-store",
        "turns.rs",
        "    pub fn unlock_shared(&self) {
        self.alone.fetch_add(1, Ordering::Release);
",
        "    pub fn unlock_shared(&self) {
        let gone = self.alone.load(Ordering::Relaxed).wrapping_add(1);
        self.alone.store(gone, Ordering::Release);
",
    ),
    mutant(
        "locks-waits-without-a-word",
        "turns.rs",
        "        self.waits.fetch_add(1, Ordering::Relaxed);\n",
        "",
    ),
    mutant(
        "locks-passes-without-end",
        "visits.rs",
        "wrapping_sub(first) < PASSES {",
        "wrapping_sub(first) < u32::MAX {",
    ),
    mutant(
        "locks-passes-those-with-turns",
        "visits.rs",
        "        self.state
            .compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
",
        "        let state = self.state.load(Ordering::Relaxed) & !TAKEN;
        let taken = state + TAKEN;
        self.state
            .compare_exchange(state, taken, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
",
    ),
    mutant(
        "locks-visits-beside-another",
        "visits.rs",
        "        let free = self.state.load(Ordering::Relaxed) & !TAKEN;
        let taken = free - WITH_TURN + TAKEN;
",
        "        let free = self.state.load(Ordering::Relaxed);
        let taken = (free - WITH_TURN) | TAKEN;
",
    ),
    mutant(
        "locks-turns-in-no-order",
        "visits.rs",
        "        if self.served.load(Ordering::Acquire) != turn {",
        "        if turn.wrapping_sub(self.served.load(Ordering::Acquire)) > 1 {",
    ),
    mutant(
        "locks-visits-that-do-not-count",
        "visits.rs",
        "        self.ended.store(ended.wrapping_add(1), Ordering::Relaxed);
",
        "        self.ended.store(ended, Ordering::Relaxed);
",
    ),
    mutant(
        "locks-visit-waits-without-a-word",
        "visits.rs",
        "        self.waits.fetch_add(1, Ordering::Relaxed);\n",
        "",
    ),
];
