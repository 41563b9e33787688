//! The mutants of `droste-locks`: each breaks the order in which CPUs are let in, or lets two in.

use super::table::{Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "locks-alone-beside-those-who-share",
        "visits.rs",
        "            Self::Alone => WITH_TURN - 1,\n",
        "            Self::Alone => ALONE,\n",
    ),
    mutant(
        "locks-alone-comes-beside-those-who-share",
        "visits.rs",
        "            .compare_exchange(0, ALONE, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Shares",
        "            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| {
                (state < WITH_TURN && state & ALONE == 0).then_some(state + ALONE)
            })
            .is_ok()
    }

    /// Shares",
    ),
    mutant(
        "locks-shares-beside-one-alone",
        "visits.rs",
        "        state < WITH_TURN && state & ALONE == 0 && self",
        "        state < WITH_TURN && self",
    ),
    mutant(
        "locks-shares-by-its-turn-beside-one-alone",
        "visits.rs",
        "            Self::Shared => ALONE,\n",
        "            Self::Shared => 0,\n",
    ),
    mutant(
        "locks-shares-before-those-with-turns",
        "visits.rs",
        "        state < WITH_TURN && state & ALONE == 0 && self",
        "        state & ALONE == 0 && self",
    ),
    mutant(
        "locks-one-at-a-time",
        "visits.rs",
        "        state < WITH_TURN && state & ALONE == 0 && self",
        "        state == 0 && self",
    ),
    mutant(
        "locks-shares-and-lets-nobody-in-behind",
        "visits.rs",
        "        if is_in {
            self.served.store(turn.wrapping_add(1), Ordering::Release);
",
        "        if is_in && way == Way::Alone {
            self.served.store(turn.wrapping_add(1), Ordering::Release);
",
    ),
    mutant(
        "locks-goes-by-a-store",
        "visits.rs",
        "        self.state.fetch_sub(SHARING, Ordering::Release);\n",
        "        let gone = self.state.load(Ordering::Relaxed) - SHARING;
        self.state.store(gone, Ordering::Release);
",
    ),
    mutant(
        "locks-passes-without-end",
        "visits.rs",
        "while passes < self.passes {",
        "while passes < u32::MAX {",
    ),
    mutant(
        "locks-passes-those-with-turns",
        "visits.rs",
        "        self.state
            .compare_exchange(0, ALONE, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
",
        "        let state = self.state.load(Ordering::Relaxed) & !(WITH_TURN - 1);
        let taken = state + ALONE;
        self.state
            .compare_exchange(state, taken, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
",
    ),
    mutant(
        "locks-turns-in-no-order",
        "visits.rs",
        "        if self.served.load(Ordering::Acquire) != turn {",
        "        if turn.wrapping_sub(self.served.load(Ordering::Acquire)) > 1 {",
    ),
    mutant(
        "locks-turn-is-told-to-nobody",
        "visits.rs",
        "        self.state.fetch_add(WITH_TURN, Ordering::Relaxed);
        Turn(turn)
",
        "        Turn(turn)\n",
    ),
    mutant(
        "locks-visits-that-do-not-count",
        "visits.rs",
        "        self.ended.store(ended.wrapping_add(1), Ordering::Relaxed);\n",
        "        self.ended.store(ended, Ordering::Relaxed);\n",
    ),
    mutant(
        "locks-shared-visits-that-do-not-count",
        "visits.rs",
        "        self.ended.fetch_add(1, Ordering::Relaxed);\n",
        "",
    ),
    mutant(
        "locks-waits-without-a-word",
        "visits.rs",
        "    fn wait_for(&self, way: Way) {
        self.count_wait();
",
        "    fn wait_for(&self, way: Way) {\n",
    ),
    mutant(
        "locks-waits-for-its-turn-without-a-word",
        "visits.rs",
        "            self.count_wait();\n            self.wait_with_turn",
        "            self.wait_with_turn",
    ),
];
