//! A quiet vCPU, and what makes it loud.

use super::machine::{ICPENDR, ISACTIVER, ISENABLER, Machine, intid};
use super::random::{Event, VCPUS, apply, prepare, violent};
use crate::Line;
use crate::gic::{Fill, Frame, Ich, Intid, Kicks, TimerSwitch};
use crate::timer::Pair;
use alloc::vec::Vec;
use droste_arm64::esr::AccessSize::Word;
use proptest::prelude::*;

const PHYSICAL: [Intid; 2] = [Intid::PHYSICAL_TIMER, Intid::VIRTUAL_TIMER];

/// Of a quiet vCPU a change of worlds changes nothing.
fn check_that_nothing_is_done(machine: &mut Machine, vcpu: usize) {
    let vmcr = crate::gic::Vmcr(machine.cpus[vcpu].vmcr);
    let gic = &mut machine.gic;
    let mut lrs = [0; 16];
    for pair in [Pair::El2, Pair::El1] {
        assert_eq!(gic.fold(vcpu, &lrs, 0), Kicks::NONE);
        let switch = gic.switch_timers(vcpu, pair, PHYSICAL, [Line::Low; 2]);
        assert_eq!(switch, TimerSwitch::default());
        assert_eq!(gic.take_deactivation(vcpu), None);
        assert!(!gic.has_pending(vcpu, vmcr));
        assert_eq!(gic.fill(vcpu, vmcr, &mut lrs), Fill::default());
        assert!(gic.is_quiet(vcpu));
    }
}

/// Does something that a CPU other than those of `own` does, and sees that whoever becomes loud by it is kicked.
fn watch(
    machine: &mut Machine,
    own: Kicks,
    act: impl FnOnce(&mut Machine) -> Kicks,
) -> Result<Kicks, TestCaseError> {
    let before: Vec<bool> = (0..VCPUS).map(|vcpu| machine.gic.is_quiet(vcpu)).collect();
    let kicks = act(machine);
    for (vcpu, was_quiet) in before.into_iter().enumerate() {
        let is_told = (kicks | own).contains(vcpu);
        prop_assert!(
            !was_quiet || is_told || machine.gic.is_quiet(vcpu),
            "{vcpu}"
        );
    }
    Ok(kicks)
}

/// Those whose own CPU does it.
fn own(event: Event) -> Kicks {
    match event {
        // The physical PPI is that of one.
        Event::Fire(_, 27) => Kicks::one(1),
        _ => Kicks::NONE,
    }
}

/// An event, with all that comes of its kicks.
fn step(machine: &mut Machine, event: Event) -> Result<(), TestCaseError> {
    let mut kicks = match event {
        // These follow their kicks, or those of their folds, themselves.
        Event::Ack(v) => {
            let _ = machine.ack(v);
            Kicks::NONE
        }
        Event::End(v) => {
            let _ = machine.end(v);
            Kicks::NONE
        }
        Event::Priority(..) => apply(machine, event),
        _ => watch(machine, own(event), |machine| apply(machine, event))?,
    };
    while let Some(vcpu) = kicks.iter().next() {
        let told = watch(machine, Kicks::one(vcpu), |machine| machine.sync(vcpu))?;
        kicks = (kicks | told).without(vcpu);
    }
    for vcpu in 0..VCPUS {
        if machine.gic.is_quiet(vcpu) {
            check_that_nothing_is_done(machine, vcpu);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn nobody_makes_a_quiet_virtual_cpu_loud_without_a_kick(
        events in proptest::collection::vec(violent(), 0..200),
    ) {
        let mut machine = prepare(4);
        for &event in &events {
            step(&mut machine, event)?;
        }
    }
}

/// Found at random: the kick of a write to a priority moves an interrupt that was routed away meanwhile.
#[test]
fn what_was_routed_away_is_told_when_a_priority_is_written() {
    let mut machine = prepare(4);
    for event in [
        Event::Pend(0, 41),
        Event::Ack(0),
        Event::Route(41, 1),
        Event::Pend(0, 9),
        Event::Pend(0, 41),
        Event::End(0),
        Event::Priority(9, 0),
    ] {
        step(&mut machine, event).expect("whoever becomes loud is kicked");
    }
    assert!(!machine.gic.is_quiet(1));
}

#[test]
fn whatever_is_going_on_is_not_quiet() {
    let mut machine = Machine::new(2, 32, 4);
    assert!(machine.gic.is_quiet(0));
    // An event that is enabled; one of another's is none of its own.
    let kicks = machine.gic.pend(0, intid(40));
    assert!(!machine.gic.is_quiet(0) && machine.gic.is_quiet(1));
    machine.follow(kicks);
    assert_eq!(machine.ack(0), Some(40));
    assert!(!machine.gic.is_quiet(0));
    assert_eq!(machine.end(0), Some(40));
    let _ = machine.sync(0);
    assert!(machine.gic.is_quiet(0));
    // Traps of accesses, and a guest that has the list registers.
    machine.gic.set_traps(0, 1 << 10);
    assert!(!machine.gic.is_quiet(0));
    machine.gic.set_traps(0, 0);
    let _ = machine.fold(0);
    let mut hardware = Ich::RESET;
    let mut guest = Ich::RESET;
    let _ = machine.gic.enter_nested(0, &guest, None, &mut hardware);
    assert!(!machine.gic.is_quiet(0));
    let _ = machine.gic.leave_nested(0, &hardware, &mut guest);
    assert!(machine.gic.is_quiet(0));
}

#[test]
fn a_timer_that_is_high_and_disabled_is_not_quiet() {
    let mut machine = Machine::new(1, 0, 4);
    machine.write_private(0, ISENABLER + 0x80, u32::MAX);
    for pair in [Pair::El1, Pair::El2] {
        for intid in pair.intids() {
            let _ = machine.gic.set_line(0, intid, Line::High);
            assert!(!machine.gic.is_quiet(0), "{intid:?}");
            let _ = machine.gic.set_line(0, intid, Line::Low);
            assert!(machine.gic.is_quiet(0), "{intid:?}");
        }
    }
}

#[test]
fn what_another_makes_active_is_told() {
    let mut machine = Machine::new(2, 0, 4);
    let offset = 0x1_0000 + ISACTIVER;
    let kicks = machine
        .gic
        .write(1, Frame::Redistributors, offset, Word, 1 << 27);
    assert!(!machine.gic.is_quiet(0) && kicks.contains(0));
}

#[test]
fn a_deactivation_that_is_owed_is_not_quiet() {
    let mut machine = Machine::new(1, 32, 4);
    let kicks = machine.fire(0, 45);
    machine.follow(kicks);
    assert_eq!(machine.ack(0), Some(45));
    let _ = machine.fold(0);
    let kicks = machine.gic.deactivate(0, intid(45));
    assert_eq!(kicks, Kicks::one(0));
    assert!(!machine.gic.is_quiet(0));
    assert_eq!(machine.gic.take_deactivation(0), Some(intid(45)));
    assert!(machine.gic.is_quiet(0));
}

#[test]
fn a_timer_that_fired_while_disabled_is_not_quiet() {
    let mut machine = Machine::new(1, 0, 4);
    machine.write_private(0, ISENABLER + 0x80, 1 << 27);
    // It has fired, and is disabled: active behind it is the physical one.
    let kicks = machine.fire(0, 27);
    machine.follow(kicks);
    assert!(!machine.gic.is_quiet(0));
    // Another takes the event away, and has to say so: the physical one is to be deactivated.
    let offset = 0x1_0000 + ICPENDR;
    let kicks = machine
        .gic
        .write(0, Frame::Redistributors, offset, Word, 1 << 27);
    assert_eq!(kicks, Kicks::one(0));
    assert!(!machine.gic.is_quiet(0));
    assert_eq!(machine.gic.take_deactivation(0), Some(intid(27)));
    assert!(machine.gic.is_quiet(0));
}
