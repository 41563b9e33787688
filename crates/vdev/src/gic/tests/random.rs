//! Random events against a plain model of the interrupt states, and random MMIO.
//!
//! Two machines. In the *prompt* one every kick is followed at once, so what the guest acknowledges must be exactly
//! what the model says. In the *late* one vCPUs fold whenever chance says so, and then nothing may be lost,
//! nothing delivered twice, and no physical interrupt left active at the end.

use super::machine::{
    ICACTIVER, ICENABLER, ICPENDR, IPRIORITYR, ISACTIVER, ISENABLER, ISPENDR, Machine, intid,
};
use crate::Line;
use crate::gic::{Frame, Kicks, SgiRegister, Vmcr};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use droste_arm64::esr::AccessSize;
use proptest::prelude::*;

pub(super) const VCPUS: usize = 3;
/// Interrupts in play: two SGIs, a timer PPI, a level SPI, two edge SPIs and a physical SPI.
const NUMBERS: [usize; 7] = [0, 9, 27, 33, 40, 41, 45];
const LEVEL: usize = 33;
const PHYSICAL: [usize; 2] = [27, 45];

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Pend(usize, usize),
    Line(Line),
    Fire(usize, usize),
    /// The line of a physical interrupt falls.
    Fall(usize),
    Ack(usize),
    End(usize),
    Sync(usize),
    Enable(usize, usize),
    Disable(usize, usize),
    SetPending(usize, usize),
    ClearPending(usize, usize),
    SetActive(usize, usize),
    ClearActive(usize, usize),
    Route(usize, usize),
    Priority(usize, u8),
    Sgi(usize, usize, usize),
}

fn number() -> impl Strategy<Value = usize> {
    proptest::sample::select(&NUMBERS[..])
}

fn shared() -> impl Strategy<Value = usize> {
    proptest::sample::select(&NUMBERS[3..])
}

/// Events of which every machine must keep account.
fn common() -> BoxedStrategy<Event> {
    let vcpu = 0..VCPUS;
    prop_oneof![
        4 => (vcpu.clone(), number()).prop_map(|(v, n)| Event::Pend(v, n)),
        2 => any::<bool>().prop_map(|high| Event::Line(Line::from_asserted(high))),
        2 => (vcpu.clone(), 0..2usize).prop_map(|(v, n)| Event::Fire(v, PHYSICAL[n])),
        6 => vcpu.clone().prop_map(Event::Ack),
        6 => vcpu.clone().prop_map(Event::End),
        2 => vcpu.clone().prop_map(Event::Sync),
        1 => (vcpu.clone(), number()).prop_map(|(v, n)| Event::Enable(v, n)),
        1 => (vcpu.clone(), number()).prop_map(|(v, n)| Event::Disable(v, n)),
        1 => (vcpu.clone(), number()).prop_map(|(v, n)| Event::SetPending(v, n)),
        1 => (shared(), vcpu.clone()).prop_map(|(n, v)| Event::Route(n, v)),
        1 => (vcpu.clone(), vcpu, 0..2usize).prop_map(|(f, t, n)| Event::Sgi(f, t, NUMBERS[n])),
    ]
    .boxed()
}

/// With the guest's more violent interventions.
pub(super) fn violent() -> BoxedStrategy<Event> {
    prop_oneof![
        12 => common(),
        1 => (0..VCPUS, number()).prop_map(|(v, n)| Event::ClearPending(v, n)),
        1 => (0..VCPUS, number()).prop_map(|(v, n)| Event::SetActive(v, n)),
        1 => (0..VCPUS, number()).prop_map(|(v, n)| Event::ClearActive(v, n)),
        1 => (number(), any::<u8>()).prop_map(|(n, p)| Event::Priority(n, p)),
        2 => (0..2usize).prop_map(|n| Event::Fall(PHYSICAL[n])),
    ]
    .boxed()
}

/// Priorities that all differ, so that nesting is deep.
pub(super) fn prepare(list_registers: usize) -> Machine {
    let mut machine = Machine::new(VCPUS, 32, list_registers);
    for (n, &number) in NUMBERS.iter().enumerate() {
        set_priority(&mut machine, number, 0xb0 - 0x10 * n as u8);
    }
    for number in [40, 41] {
        machine.edge(number);
    }
    machine
}

fn set_priority(machine: &mut Machine, number: usize, priority: u8) {
    if number >= 32 {
        machine.priority(number, priority);
        return;
    }
    for vcpu in 0..VCPUS as u64 {
        let offset = vcpu * 0x2_0000 + 0x1_0000 + IPRIORITYR + number as u64;
        let frame = Frame::Redistributors;
        let kicks = machine
            .gic
            .write(0, frame, offset, AccessSize::Byte, priority.into());
        machine.follow(kicks);
    }
}

/// A bit of a register, wherever the interrupt's bank is.
pub(super) fn write_bit(machine: &mut Machine, vcpu: usize, register: u64, number: usize) -> Kicks {
    let (frame, offset) = if number < 32 {
        let base = vcpu as u64 * 0x2_0000 + 0x1_0000;
        (Frame::Redistributors, base + register)
    } else {
        (Frame::Distributor, register + 4 * (number as u64 / 32))
    };
    let value = 1 << (number % 32);
    machine
        .gic
        .write(vcpu, frame, offset, AccessSize::Word, value)
}

/// Does what `event` says except for acknowledging and ending.
pub(super) fn apply(machine: &mut Machine, event: Event) -> Kicks {
    match event {
        Event::Pend(v, n) => machine.gic.pend(v, intid(n)),
        Event::Line(line) => machine.gic.set_line(0, intid(LEVEL), line),
        Event::Fire(v, n) => {
            // The PPI of one vCPU only: the machine has one set of physical interrupts.
            machine.fire(if n < 32 { 1 } else { v }, n)
        }
        Event::Fall(n) => {
            machine.fall(n);
            machine.look_before_read(ISPENDR + 4);
            Kicks::one(0) | Kicks::one(1) | Kicks::one(2)
        }
        Event::Sync(v) => Kicks::one(v),
        Event::Enable(v, n) => write_bit(machine, v, ISENABLER, n),
        Event::Disable(v, n) => write_bit(machine, v, ICENABLER, n),
        Event::SetPending(v, n) => write_bit(machine, v, ISPENDR, n),
        Event::ClearPending(v, n) => write_bit(machine, v, ICPENDR, n),
        Event::SetActive(v, n) => write_bit(machine, v, ISACTIVER, n),
        Event::ClearActive(v, n) => write_bit(machine, v, ICACTIVER, n),
        Event::Route(n, v) => {
            let offset = 0x6000 + 8 * n as u64;
            let (frame, size) = (Frame::Distributor, AccessSize::Doubleword);
            machine.gic.write(0, frame, offset, size, v as u64)
        }
        Event::Priority(n, p) => {
            set_priority(machine, n, p);
            Kicks::NONE
        }
        Event::Sgi(from, to, n) => {
            let value = (n as u64) << 24 | 1 << to;
            machine.gic.send_sgi(from, SgiRegister::Sgi1, value)
        }
        Event::Ack(_) | Event::End(_) => Kicks::NONE,
    }
}

/// What became of a physical interrupt that was handed through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Physical {
    /// It is inactive, or never fired.
    #[default]
    Inactive,
    /// The guest has not taken it.
    Fired,
    /// The guest took it.
    Taken,
    /// The guest ended it while another event was pending: it may be active until that one is ended too.
    Ended,
}

/// One interrupt as the architecture describes it, no list registers anywhere.
#[derive(Clone, Default)]
pub(super) struct State {
    is_disabled: bool,
    latch: bool,
    line: bool,
    physical: Physical,
    pub(super) active_on: Option<usize>,
    priority: u8,
    target: usize,
}

impl State {
    pub(super) fn take(&mut self, by: usize) {
        (self.latch, self.active_on) = (false, Some(by));
        if self.physical == Physical::Fired {
            self.physical = Physical::Taken;
        }
    }

    fn is_pending(&self) -> bool {
        self.latch || self.line || self.physical == Physical::Fired
    }

    /// What a physical interrupt made pending no longer is.
    fn retract(&mut self) {
        if self.physical == Physical::Fired {
            self.physical = match self.active_on {
                None if !self.latch => Physical::Inactive,
                // It may be active until the other event is ended.
                _ => Physical::Ended,
            };
        }
    }

    pub(super) fn end(&mut self) {
        self.active_on = None;
        if self.physical == Physical::Taken {
            self.physical = Physical::Ended;
        }
    }
}

/// The plain model: by interrupt, and by vCPU for private ones.
pub(super) struct Plain(BTreeMap<(usize, usize), State>);

impl Plain {
    pub(super) fn new() -> Self {
        let mut states = BTreeMap::new();
        for (n, number) in NUMBERS.into_iter().enumerate() {
            for vcpu in 0..VCPUS {
                let state = State {
                    priority: 0xb0 - 0x10 * n as u8,
                    target: if number < 32 { vcpu } else { 0 },
                    ..State::default()
                };
                states.insert(Self::key(vcpu, number), state);
            }
        }
        Self(states)
    }

    fn key(vcpu: usize, number: usize) -> (usize, usize) {
        (if number < 32 { vcpu } else { 0 }, number)
    }

    pub(super) fn at(&mut self, vcpu: usize, number: usize) -> &mut State {
        self.0
            .get_mut(&Self::key(vcpu, number))
            .expect("it is in play")
    }

    pub(super) fn apply(&mut self, event: Event, did_fire: bool) {
        match event {
            Event::Pend(v, n) | Event::SetPending(v, n) | Event::Sgi(_, v, n) => {
                self.at(v, n).latch = true;
            }
            Event::Line(line) => self.at(0, LEVEL).line = line.is_high(),
            Event::Fire(v, n) => {
                let v = if n < 32 { 1 } else { v };
                if did_fire {
                    self.at(v, n).physical = Physical::Fired;
                }
            }
            Event::Enable(v, n) => self.at(v, n).is_disabled = false,
            Event::Disable(v, n) => self.at(v, n).is_disabled = true,
            Event::ClearPending(v, n) => {
                self.at(v, n).latch = false;
                self.at(v, n).retract();
            }
            Event::Fall(n) => self.at(1, n).retract(),
            Event::SetActive(v, n) => {
                let state = self.at(v, n);
                state.active_on = state.active_on.or(Some(state.target));
            }
            Event::ClearActive(v, n) => self.at(v, n).end(),
            Event::Route(n, v) => self.at(0, n).target = v,
            Event::Priority(n, p) => {
                for vcpu in 0..VCPUS {
                    self.at(vcpu, n).priority = p & 0xf8;
                }
            }
            Event::Ack(_) | Event::End(_) | Event::Sync(_) => {}
        }
    }

    /// Compares the physical interrupts, once nothing of an event is left to the guest where that is so.
    fn check_physical(&mut self, active: &BTreeSet<usize>) {
        for (&(_, number), state) in &mut self.0 {
            let is_fired = state.physical == Physical::Fired;
            if !state.latch && !is_fired && state.active_on.is_none() {
                state.physical = Physical::Inactive;
            }
            let is_mine = PHYSICAL.contains(&number) && state.physical != Physical::Ended;
            if is_mine && (number >= 32 || state.target == 1) {
                let expected = state.physical != Physical::Inactive;
                assert_eq!(active.contains(&number), expected, "physical {number}");
            }
        }
    }

    /// Compares all that the guest can read, and the physical interrupts. Every vCPU has folded.
    pub(super) fn check(&mut self, machine: &mut Machine) {
        self.check_physical(&machine.physical_active);
        machine.look_before_read(ISPENDR + 4);
        for (&(v, number), state) in &self.0 {
            let word = |register| {
                let offset = register + 4 * (number as u64 / 32);
                let bits = if number < 32 {
                    machine.read_private(v, register)
                } else {
                    machine.read(offset)
                };
                bits >> (number % 32) & 1 != 0
            };
            let is_high = PHYSICAL.contains(&number) && !machine.fallen.contains(&number);
            match (state.physical, state.active_on) {
                // An interrupt of the hardware's that is active is pending besides while its line is high.
                (Physical::Taken, Some(_)) => {
                    let is_pending = state.is_pending() || is_high;
                    assert_eq!(word(ISPENDR), is_pending, "pending {number}");
                }
                // It may be active still.
                (Physical::Ended, Some(_)) if is_high => {}
                _ => assert_eq!(word(ISPENDR), state.is_pending(), "pending {number}"),
            }
            assert_eq!(
                word(ISACTIVER),
                state.active_on.is_some(),
                "active {number}"
            );
        }
    }

    /// What vCPU `vcpu` may acknowledge while it runs at `limit`: the pending ones of highest priority.
    pub(super) fn signalled(&self, vcpu: usize, limit: u8) -> Vec<usize> {
        let pending = self.0.iter().filter(|&(_, state)| {
            state.is_pending()
                && !state.is_disabled
                && state.active_on.is_none()
                && state.target == vcpu
                && state.priority < limit
        });
        let pending: Vec<_> = pending
            .map(|(key, state)| (state.priority, key.1))
            .collect();
        let highest = pending.iter().map(|&(priority, _)| priority).min();
        let first = pending
            .into_iter()
            .filter(|&(priority, _)| Some(priority) == highest);
        first.map(|(_, number)| number).collect()
    }
}

/// Runs `events` with every kick followed at once, and compares each acknowledge with the plain model.
fn run_promptly(list_registers: usize, events: &[Event]) {
    let mut machine = prepare(list_registers);
    let mut plain = Plain::new();
    for &event in events {
        match event {
            Event::Ack(v) => {
                let limit = machine.cpus[v].running.last().map_or(0xff, |&(_, p)| p);
                let expected = plain.signalled(v, limit);
                let taken = machine.ack(v);
                match taken {
                    Some(number) => {
                        assert!(expected.contains(&number), "{number} of {expected:?}");
                        plain.at(v, number).take(v);
                    }
                    None => assert_eq!(expected, [], "on {v}"),
                }
            }
            Event::End(v) => {
                if let Some(number) = machine.end(v) {
                    let state = plain.at(v, number);
                    if state.active_on == Some(v) {
                        state.end();
                    }
                }
            }
            Event::Fire(_, n) => {
                let could = !machine.physical_active.contains(&n);
                let kicks = apply(&mut machine, event);
                machine.follow(kicks);
                plain.apply(event, could);
            }
            _ => {
                let kicks = apply(&mut machine, event);
                machine.follow(kicks);
                plain.apply(event, false);
            }
        }
        // What ended without a maintenance interrupt is seen late, and so is what waits for it on another.
        machine.follow(Kicks::one(0) | Kicks::one(1) | Kicks::one(2));
        plain.check(&mut machine);
    }
    quiesce(&mut machine);
}

/// Lets the guest take and end all that is left; then no physical interrupt may stand active.
pub(super) fn quiesce(machine: &mut Machine) {
    machine.line(LEVEL, Line::Low);
    for vcpu in 0..VCPUS {
        for number in NUMBERS {
            let kicks = write_bit(machine, vcpu, ISENABLER, number);
            machine.follow(kicks);
        }
    }
    for vcpu in (0..VCPUS).chain(0..VCPUS) {
        machine.follow(Kicks::one(vcpu));
        while machine.end(vcpu).is_some() {}
        let all = Event::Sync(vcpu);
        let kicks = apply(machine, all);
        machine.follow(kicks);
    }
    // States set by hand have nobody who ends them.
    for vcpu in 0..VCPUS {
        for number in NUMBERS {
            let kicks = write_bit(machine, vcpu, ICACTIVER, number);
            machine.follow(kicks);
        }
    }
    for number in NUMBERS {
        set_priority(machine, number, 0x80);
    }
    for _ in 0..NUMBERS.len() {
        for vcpu in 0..VCPUS {
            machine.follow(Kicks::one(vcpu));
            while machine.ack(vcpu).is_some() {
                machine.end(vcpu);
            }
        }
    }
    for vcpu in 0..VCPUS {
        machine.follow(Kicks::one(vcpu));
        assert_eq!(machine.gic.physical_ppis(vcpu), 0);
        assert_eq!(machine.cpus[vcpu].fill.used, 0, "nothing left");
        assert!(!machine.gic.has_pending(vcpu, Vmcr(0xff00_0003)));
    }
    assert!(machine.physical_active.is_empty(), "one never fires again");
}

/// Runs `events` with kicks followed at the next `Sync` only, and counts.
fn run_late(list_registers: usize, events: &[Event]) {
    let mut machine = prepare(list_registers);
    let mut owed = Kicks::NONE;
    let mut made: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut taken: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for &event in events {
        match event {
            Event::Ack(v) => {
                if let Some(number) = machine.ack(v) {
                    *taken.entry(Plain::key(v, number)).or_default() += 1;
                }
            }
            Event::End(v) => {
                machine.end(v);
            }
            Event::Sync(v) => owed = owed.without(v) | machine.sync(v),
            _ => {
                let could = match event {
                    Event::Fire(_, n) => !machine.physical_active.contains(&n),
                    _ => true,
                };
                owed |= apply(&mut machine, event);
                let (v, n) = match event {
                    Event::Pend(v, n) | Event::SetPending(v, n) | Event::Sgi(_, v, n) => (v, n),
                    Event::Fire(v, n) if could => (if n < 32 { 1 } else { v }, n),
                    _ => continue,
                };
                *made.entry(Plain::key(v, n)).or_default() += 1;
            }
        }
    }
    let all = Kicks::one(0) | Kicks::one(1) | Kicks::one(2);
    machine.follow(owed | all);
    // What is pending now was made and not taken.
    for (&(v, n), &count) in &made {
        let is_set = |register| {
            let bits = if n < 32 {
                machine.read_private(v, register)
            } else {
                machine.read(register + 4 * (n as u64 / 32))
            };
            bits >> (n % 32) & 1 != 0
        };
        let is_pending = is_set(ISPENDR);
        // By its line, which is high, and no event.
        let is_besides = PHYSICAL.contains(&n) && is_set(ISACTIVER);
        let taken = taken.get(&(v, n)).copied().unwrap_or(0);
        if n != LEVEL {
            assert!(taken <= count, "{n} taken {taken} times of {count}");
            assert!(taken > 0 || is_pending, "{n} lost");
            let is_left = is_pending && !is_besides;
            assert!(taken < count || !is_left, "{n} made from nothing");
        }
    }
    quiesce(&mut machine);
}

proptest! {
    #[test]
    fn followed_at_once_the_guest_takes_what_the_architecture_says(
        events in proptest::collection::vec(violent(), 0..150),
    ) {
        run_promptly(16, &events);
    }

    #[test]
    fn too_few_list_registers_change_nothing_for_the_guest(
        list_registers in 1..5usize,
        events in proptest::collection::vec(common(), 0..150),
    ) {
        run_promptly(list_registers, &events);
    }

    #[test]
    fn followed_late_nothing_is_lost_and_nothing_comes_twice(
        list_registers in 1..9usize,
        events in proptest::collection::vec(common(), 0..150),
    ) {
        run_late(list_registers, &events);
    }

    #[test]
    fn violence_of_the_guest_leaves_no_physical_interrupt_active(
        events in proptest::collection::vec(violent(), 0..150),
    ) {
        let mut machine = prepare(16);
        for &event in &events {
            match event {
                Event::Ack(v) => {
                    machine.ack(v);
                }
                Event::End(v) => {
                    machine.end(v);
                }
                Event::Sync(v) => {
                    let _ = machine.sync(v);
                }
                _ => {
                    let _ = apply(&mut machine, event);
                }
            }
        }
        quiesce(&mut machine);
    }

    #[test]
    fn no_access_of_a_guest_panics(
        accesses in proptest::collection::vec(
            (any::<bool>(), 0..0x8_0000u64, 0..4usize, any::<u64>(), 0..VCPUS), 0..300),
    ) {
        let mut machine = prepare(4);
        for (is_private, offset, size, value, vcpu) in accesses {
            let frame = if is_private { Frame::Redistributors } else { Frame::Distributor };
            let size = [AccessSize::Byte, AccessSize::Halfword, AccessSize::Word,
                AccessSize::Doubleword][size];
            let offset = if is_private { offset } else { offset & 0xffff } & !(size.bytes() - 1);
            let _ = machine.gic.needs_fold(frame, offset);
            let kicks = machine.gic.write(vcpu, frame, offset, size, value);
            machine.follow(kicks);
            prop_assert_eq!(machine.gic.read(frame, offset, size) & !size.mask(), 0);
            machine.ack(vcpu);
        }
    }
}
