//! Interrupts of the hardware that a guest's list registers deactivate.

use super::machine::{ICACTIVER, ICENABLER, ICPENDR, ISACTIVER, ISENABLER, ISPENDR, Machine};
use crate::gic::Kicks;

#[test]
fn a_physical_interrupt_is_deactivated_by_the_guest() {
    let mut machine = Machine::new(1, 0, 4);
    machine.fire_and_follow(0, 27);
    assert_eq!(
        machine.cpus[0].lrs[0], 0x7000_001b_0000_001b,
        "HW, group 1, pending"
    );
    assert_eq!(machine.ack(0), Some(27));
    machine.follow(Kicks::one(0));
    assert!(machine.physical_active.contains(&27));
    machine.end(0);
    assert!(machine.physical_active.is_empty());
    // It fires again before the first was folded.
    machine.fire_and_follow(0, 27);
    assert_eq!(machine.gic.physical_ppis(0), 1 << 27);
    assert_eq!(machine.ack(0), Some(27));
    machine.end(0);
    assert!(machine.physical_active.is_empty());
    machine.follow(Kicks::one(0));
    assert_eq!(machine.gic.physical_ppis(0), 0);
}

#[test]
fn a_physical_interrupt_waits_in_software_while_the_guest_has_it_disabled() {
    let mut machine = Machine::new(1, 0, 4);
    machine.write_private(0, ICENABLER, 1 << 27);
    let kicks = machine.fire(0, 27);
    assert_eq!(kicks, Kicks::NONE);
    assert_eq!(machine.gic.physical_ppis(0), 1 << 27, "still active");
    machine.write_private(0, ISENABLER, 1 << 27);
    assert_eq!(machine.ack(0), Some(27));
    machine.end(0);
    assert!(machine.physical_active.is_empty());
}

#[test]
fn a_physical_interrupt_whose_pending_state_the_guest_clears_can_fire_again() {
    let mut machine = Machine::new(1, 32, 4);
    for number in [27, 40] {
        machine.fire_and_follow(0, number);
    }
    machine.write_private(0, ICPENDR, 1 << 27);
    machine.write(0, ICPENDR + 4, 1 << 8);
    assert!(machine.physical_active.is_empty());
    assert_eq!(machine.ack(0), None);
}

#[test]
fn a_physical_interrupt_whose_active_state_the_guest_clears_can_fire_again() {
    let mut machine = Machine::new(1, 0, 4);
    machine.fire_and_follow(0, 27);
    assert_eq!(machine.ack(0), Some(27));
    machine.write_private(0, ICACTIVER, 1 << 27);
    assert!(machine.physical_active.is_empty());
    assert_eq!(machine.gic.physical_ppis(0), 0);
}

#[test]
fn a_physical_interrupt_whose_line_falls_is_not_taken_and_deactivated() {
    let mut machine = Machine::new(1, 0, 4);
    machine.fire_and_follow(0, 30);
    machine.fall(30);
    machine.follow(Kicks::one(0));
    assert_eq!(machine.ack(0), None);
    assert!(machine.physical_active.is_empty());
}

#[test]
fn a_level_that_falls_while_it_is_disabled_leaves_nothing_pending() {
    let mut machine = Machine::new(1, 32, 4);
    machine.write_private(0, ICENABLER, 1 << 27);
    machine.write(0, ICENABLER + 4, 1 << 8);
    for number in [27, 40] {
        machine.fire_and_follow(0, number);
        machine.fall(number);
    }
    assert_eq!(machine.read_private(0, ISPENDR) >> 27 & 1, 1, "not looked");
    machine.look_before_read(ISPENDR + 4);
    assert_eq!(machine.read(ISPENDR + 4), 0);
    machine.write_private(0, ISENABLER, 1 << 27);
    machine.write(0, ISENABLER + 4, 1 << 8);
    assert_eq!(machine.ack(0), None);
    assert!(machine.physical_active.is_empty(), "both can fire again");
}

#[test]
fn an_active_interrupt_is_pending_besides_while_its_line_is_high() {
    let mut machine = Machine::new(1, 32, 4);
    machine.edge(41);
    machine.priority_of_ppi(27, 0x30);
    for (number, priority) in [(40, 0x20), (41, 0x10)] {
        machine.priority(number, priority);
    }
    for number in [27, 40, 41] {
        machine.fire_and_follow(0, number);
        assert_eq!(machine.ack(0), Some(number));
    }
    let pending = |machine: &mut Machine, register| {
        machine.follow(Kicks::one(0));
        machine.look_before_read(register + 4);
        (
            machine.read_private(0, register),
            machine.read(register + 4),
        )
    };
    for register in [ISPENDR, ICPENDR] {
        assert_eq!(pending(&mut machine, register), (1 << 27, 1 << 8));
    }
    assert_eq!(machine.cpus[0].state_of(27), 2, "the hardware's is pending");
    for number in [27, 40] {
        machine.fall(number);
    }
    assert_eq!(pending(&mut machine, ISPENDR), (0, 0));
    for number in [27, 40] {
        machine.fallen.remove(&number);
    }
    assert_eq!(pending(&mut machine, ISPENDR), (1 << 27, 1 << 8));
    while machine.end(0).is_some() {}
    assert_eq!(pending(&mut machine, ISPENDR), (0, 0), "not fired again");
    assert!(machine.physical_active.is_empty());
}

#[test]
fn what_a_line_was_before_does_not_show_when_its_interrupt_is_active_again() {
    let mut machine = Machine::new(1, 0, 4);
    machine.fire_and_follow(0, 27);
    assert_eq!(machine.ack(0), Some(27));
    machine.follow(Kicks::one(0));
    assert_eq!(machine.read_private(0, ISPENDR), 1 << 27);
    machine.end(0);
    machine.fire_and_follow(0, 27);
    assert_eq!(machine.ack(0), Some(27));
    machine.fall(27);
    let kicks = machine.fold(0);
    assert!(kicks.contains(0));
    // Nobody has looked since it is active.
    assert_eq!(machine.read_private(0, ISPENDR), 0);
    machine.follow(Kicks::one(0));
    assert_eq!(machine.read_private(0, ISPENDR), 0);
}

#[test]
fn what_the_guest_made_pending_and_an_edge_survive_a_line_that_falls() {
    let mut machine = Machine::new(1, 32, 4);
    machine.edge(41);
    machine.write_private(0, ISPENDR, 1 << 27);
    for number in [27, 41] {
        machine.fire_and_follow(0, number);
        machine.fall(number);
    }
    machine.follow(Kicks::one(0));
    for _ in [27, 41] {
        assert!(machine.ack(0).is_some());
        machine.end(0);
    }
    assert_eq!(machine.ack(0), None);
    assert!(machine.physical_active.is_empty());
}

#[test]
fn a_physical_interrupt_pended_by_software_while_active_comes_twice() {
    let mut machine = Machine::new(1, 0, 4);
    machine.fire_and_follow(0, 27);
    assert_eq!(machine.ack(0), Some(27));
    machine.write_private(0, ISPENDR, 1 << 27);
    assert_eq!(machine.cpus[0].state_of(27), 3);
    machine.end(0);
    assert_eq!(machine.ack(0), Some(27));
    machine.end(0);
    assert_eq!(machine.ack(0), None);
    assert!(machine.physical_active.is_empty());
}

#[test]
fn an_active_state_set_by_the_guest_holds_a_physical_interrupt_back() {
    let mut machine = Machine::new(1, 0, 4);
    machine.write_private(0, ISACTIVER, 1 << 27);
    machine.fire_and_follow(0, 27);
    assert_eq!(machine.ack(0), None);
    machine.write_private(0, ICACTIVER, 1 << 27);
    assert!(machine.physical_active.contains(&27), "not yet taken");
    assert_eq!(machine.ack(0), Some(27));
    machine.end(0);
    assert!(machine.physical_active.is_empty());
}

#[test]
fn a_physical_interrupt_behind_an_active_one_outlives_it_though_disabled() {
    let mut machine = Machine::new(1, 0, 4);
    machine.pend(0, 27);
    assert_eq!(machine.ack(0), Some(27));
    machine.fire_and_follow(0, 27);
    machine.write_private(0, ICENABLER, 1 << 27);
    assert_eq!(machine.end(0), Some(27));
    assert!(machine.physical_active.contains(&27), "not yet taken");
    machine.write_private(0, ISENABLER, 1 << 27);
    assert_eq!(machine.ack(0), Some(27));
    machine.end(0);
    assert!(machine.physical_active.is_empty());
}
