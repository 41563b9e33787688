//! The mutants of `droste-life`: each breaks one rule of how virtual machines and their CPUs live, leave and start anew.

use super::table::{Mutant, mutant};

pub(super) const MUTANTS: &[Mutant] = &[
    // Who leaves.
    mutant(
        "life-leaves-while-loaded",
        "lives.rs",
        "        if self.stand(n).is_loaded() || !self.must_leave(n) {",
        "        if !self.must_leave(n) {",
    ),
    mutant(
        "life-leaves-for-the-last-stop",
        "lives.rs",
        "        self.stand(n) != Stand::Left && self.phase() == Phase::Stopping",
        "        self.phase() == Phase::Stopping && self.stand(n) != Stand::Left",
    ),
    mutant(
        "life-leaves-again",
        "lives.rs",
        "        self.stand(n) != Stand::Left && self.phase() == Phase::Stopping",
        "        self.phase() == Phase::Stopping",
    ),
    mutant(
        "life-leaves-while-it-runs",
        "lives.rs",
        "        self.stand(n) != Stand::Left && self.phase() == Phase::Stopping",
        "        self.stand(n) != Stand::Left && self.phase() != Phase::Built",
    ),
    mutant(
        "life-gives-nothing-up",
        "lives.rs",
        "            give_up(state);\n",
        "            core::mem::forget((state, give_up));\n",
    ),
    mutant(
        "life-counts-before-it-gives-up",
        "lives.rs",
        "        if let Some(state) = self.seats[n].leave() {
            give_up(state);
        }
        match self.step(|word| word.leave(self.seats.len())) {",
        "        let state = self.seats[n].leave();
        let step = self.step(|word| word.leave(self.seats.len()));
        if let Some(state) = state {
            give_up(state);
        }
        match step {",
    ),
    mutant(
        "life-has-left-and-is-off",
        "seat.rs",
        "        self.set(Stand::Left);\n",
        "        self.set(Stand::Off);\n",
    ),
    mutant(
        "life-leaves-its-registers",
        "seat.rs",
        "        parked.take()\n",
        "        parked.take_if(|_| self.stand() == Stand::Waiting)\n",
    ),
    mutant(
        "life-rests-before-the-last",
        "word.rs",
        "        let phase = if usize::from(left) < vcpus {",
        "        let phase = if usize::from(left) + 1 < vcpus {",
    ),
    mutant(
        "slices-loaded-stays-in",
        "sched.rs",
        "        if let Some(state) = current.take_if(|state| cpu.position(state) == position) {
            park(cpu, state);
        }
",
        "",
    ),
    mutant(
        "slices-no-home-is-told",
        "sched.rs",
        "            cpu.tell_home(position);\n",
        "",
    ),
    // Who begins.
    mutant(
        "life-begins-while-some-stay",
        "word.rs",
        "        (self.phase == Phase::Resting).then_some(Self {
            phase: Phase::Running,",
        "        (self.phase != Phase::Running).then_some(Self {
            phase: Phase::Running,",
    ),
    mutant(
        "life-begins-with-them-left",
        "lives.rs",
        "        self.seats.iter().for_each(Seat::begin);\n",
        "        self.seats[..1].iter().for_each(Seat::begin);\n",
    ),
    mutant(
        "life-keeps-its-count",
        "word.rs",
        "            run_state: RunState::Running,
            left: 0,
            on: 0,
            life: self.life",
        "            run_state: RunState::Running,
            left: self.left,
            on: 0,
            life: self.life",
    ),
    mutant(
        "life-any-cpu-is-its-home",
        "sched.rs",
        "    index == 0 && lives.resting().is_some()",
        "    index < usize::MAX && lives.resting().is_some()",
    ),
    mutant(
        "slices-work-under-the-loaded",
        "sched.rs",
        "                if let Some(state) = current.take() {
                    park(cpu, state);
                }
                cpu.begin_slice(position);",
        "                cpu.begin_slice(position);",
    ),
    mutant(
        "slices-work-past-the-end",
        "sched.rs",
        "                while rests(cpu, position) && !cpu.is_slice_over() {",
        "                while rests(cpu, position) {",
    ),
    // Who stops it.
    mutant(
        "life-the-last-reason-counts",
        "word.rs",
        "        (self.phase == Phase::Running).then_some(Self {
            phase: Phase::Stopping,",
        "        matches!(self.phase, Phase::Running | Phase::Stopping).then_some(Self {
            phase: Phase::Stopping,",
    ),
    mutant(
        "life-idle-with-one-on",
        "word.rs",
        "            0 => fewer.stop(RunState::Idle).unwrap_or(fewer),",
        "            0 | 1 => fewer.stop(RunState::Idle).unwrap_or(fewer),",
    ),
    mutant(
        "life-never-idle",
        "word.rs",
        "            0 => fewer.stop(RunState::Idle).unwrap_or(fewer),",
        "            0 => fewer,",
    ),
    mutant(
        "life-ends-while-it-runs",
        "word.rs",
        "        matches!(self.phase, Phase::Built | Phase::Resting).then_some(Self {",
        "        matches!(self.phase, Phase::Built | Phase::Resting | Phase::Stopping).then_some(Self {",
    ),
    // On and off.
    mutant(
        "life-on-though-not-off",
        "seat.rs",
        "        let is_on = self.stand() == Stand::Off && may();",
        "        let is_on = may();",
    ),
    mutant(
        "life-on-while-it-stops",
        "word.rs",
        "        (self.phase == Phase::Running).then_some(Self {
            on: self.on + 1,",
        "        matches!(self.phase, Phase::Running | Phase::Stopping).then_some(Self {
            on: self.on + 1,",
    ),
    mutant(
        "life-off-is-ready",
        "seat.rs",
        "    pub(crate) fn off(&self) {
        self.set(Stand::Off);",
        "    pub(crate) fn off(&self) {
        self.set(Stand::Ready);",
    ),
    mutant(
        "slices-off-stays-in",
        "sched.rs",
        "    cpu.take_out(&mut state);
    C::give_up(position, state);",
        "    core::hint::black_box(&mut state);
    C::give_up(position, state);",
    ),
    mutant(
        "slices-off-gives-nothing-up",
        "sched.rs",
        "    C::give_up(position, state);
    let Member",
        "    core::mem::forget(state);
    let Member",
    ),
    // Who has the time slice, and who wakes.
    mutant(
        "life-parks-as-ready",
        "seat.rs",
        "            Stand::Idle => Stand::Waiting,",
        "            Stand::Idle => Stand::Ready,",
    ),
    mutant(
        "life-loads-who-waits",
        "seat.rs",
        "parked.take_if(|_| self.stand() == Stand::Ready)?",
        "parked.take_if(|_| self.stand() != Stand::Off)?",
    ),
    mutant(
        "slices-kicks-wake-nobody",
        "sched.rs",
        "            Stand::Waiting => kick.is_given() || cpu.is_due(position),",
        "            Stand::Waiting => kick.is_given() && cpu.is_due(position),",
    ),
    mutant(
        "slices-idle-sleeps-on",
        "sched.rs",
        "                Some(state) => cpu.has_pending(state),",
        "                Some(state) => cpu.has_pending(state) && position > 64,",
    ),
    mutant(
        "slices-one-has-them-all",
        "sched.rs",
        "    lives.stand(index) == Stand::Running && !cpu.is_slice_over()",
        "    lives.stand(index) == Stand::Running && cpu.last() < usize::MAX",
    ),
    mutant(
        "slices-the-last-is-next",
        "sched.rs",
        "    (1..=members)\n",
        "    (0..members)\n",
    ),
    mutant(
        "slices-load-over-the-loaded",
        "sched.rs",
        "            if let Some(state) = other {
                park(cpu, state);
            }
            let Member",
        "            core::mem::forget(other);
            let Member",
    ),
    mutant(
        "kick-tells-nobody",
        "kick.rs",
        "        !self.0.swap(true, Ordering::AcqRel)",
        "        self.0.swap(true, Ordering::AcqRel)",
    ),
];
