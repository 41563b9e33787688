//! The timers' interrupts across switches between virtual EL2 and what runs below.

use super::machine::{ICACTIVER, ICFGR, ISACTIVER, ISPENDR, Machine, intid};
use crate::Line::{self, High, Low};
use crate::gic::{Intid, Kicks, TimerSwitch};
use crate::timer::Pair::{self, El1, El2};

const PHYSICAL: [Intid; 2] = [Intid::PHYSICAL_TIMER, Intid::VIRTUAL_TIMER];
const NOTHING: TimerSwitch = TimerSwitch {
    set_active: 0,
    clear_active: 0,
};

/// The guest leaves and comes back with the other pair in hardware; `virt` is the level of the parked virtual timer.
fn switch(machine: &mut Machine, to: Pair, virt: Line) -> TimerSwitch {
    let kicks = machine.fold(0);
    let switch = machine.gic.switch_timers(0, to, PHYSICAL, [Low, virt]);
    assert_eq!(switch.set_active & switch.clear_active, 0);
    for intid in PHYSICAL {
        let mask = 1 << intid.number();
        if switch.set_active & mask != 0 {
            machine.physical_active.insert(intid.number());
        } else if switch.clear_active & mask != 0 {
            machine.physical_active.remove(&intid.number());
        }
    }
    machine.follow(kicks | Kicks::one(0));
    switch
}

/// Physical 27 fires while `pair` is loaded.
fn fire(machine: &mut Machine, pair: Pair) {
    assert!(machine.physical_active.insert(27), "it could fire");
    let kicks = machine
        .gic
        .inject_hardware(0, pair.intids()[1], PHYSICAL[1]);
    machine.follow(kicks);
}

#[test]
fn a_switch_with_nothing_going_on_touches_nothing() {
    let mut machine = Machine::new(1, 0, 4);
    for pair in [El2, El1, El2] {
        assert_eq!(switch(&mut machine, pair, Low), NOTHING);
    }
}

#[test]
fn a_fired_timer_is_taken_once_after_it_was_parked() {
    let mut machine = Machine::new(1, 0, 4);
    fire(&mut machine, El1);
    let parked = switch(&mut machine, El2, High);
    assert_eq!(parked.clear_active, 1 << 27, "the other timer may fire");
    assert_eq!(machine.ack(0), Some(27));
    let kicks = machine.gic.drive_timers(0, El1, [Low, Low]);
    machine.follow(kicks);
    assert_eq!(machine.end(0), Some(27));
    assert_eq!(machine.ack(0), None);
}

#[test]
fn a_parked_timer_that_was_turned_off_is_not_pending_any_more() {
    let mut machine = Machine::new(1, 0, 4);
    fire(&mut machine, El1);
    let _ = switch(&mut machine, El2, Low);
    assert_eq!(machine.ack(0), None);
    assert_eq!(machine.gic.physical_ppis(0), 0);
}

#[test]
fn a_parked_timer_that_stays_high_comes_again_after_its_end() {
    let mut machine = Machine::new(1, 0, 4);
    let _ = switch(&mut machine, El2, High);
    for _ in 0..3 {
        assert_eq!(machine.ack(0), Some(27));
        assert_eq!(machine.ack(0), None);
        assert_eq!(machine.end(0), Some(27));
    }
}

#[test]
fn a_high_timer_that_is_loaded_has_fired_at_once() {
    let mut machine = Machine::new(1, 0, 4);
    let _ = switch(&mut machine, El1, Low);
    let kicks = machine.gic.drive_timers(0, El2, [Low, High]);
    machine.follow(kicks);
    let loaded = switch(&mut machine, El2, Low);
    assert_eq!(
        loaded.set_active,
        1 << 27,
        "it does not fire again meanwhile"
    );
    assert_eq!(machine.ack(0), Some(28));
    assert_eq!(machine.end(0), Some(28));
    assert!(machine.physical_active.is_empty(), "hardware ended it");
    assert_eq!(machine.ack(0), None);
}

#[test]
fn an_active_timer_stays_active_and_its_link_goes_and_comes() {
    let mut machine = Machine::new(1, 0, 4);
    fire(&mut machine, El1);
    assert_eq!(machine.ack(0), Some(27));
    for level in [High, Low, High] {
        assert_eq!(switch(&mut machine, El2, level).clear_active, 1 << 27);
        assert_eq!(machine.read_private(0, ISACTIVER) >> 27 & 1, 1);
        assert_eq!(machine.ack(0), None, "it is active");
        assert_eq!(switch(&mut machine, El1, Low).set_active, 1 << 27);
        assert_eq!(machine.ack(0), None, "it is active");
    }
    assert_eq!(machine.end(0), Some(27));
    assert!(machine.physical_active.is_empty());
}

#[test]
fn the_other_pairs_timer_fires_and_ends_while_one_is_active() {
    let mut machine = Machine::new(1, 0, 4);
    machine.priority_of_ppi(28, 0x40);
    machine.priority_of_ppi(27, 0x80);
    fire(&mut machine, El1);
    assert_eq!(machine.ack(0), Some(27));
    let _ = switch(&mut machine, El2, High);
    fire(&mut machine, El2);
    assert_eq!(machine.ack(0), Some(28));
    assert_eq!(machine.end(0), Some(28));
    assert!(machine.physical_active.is_empty());
    let kicks = machine.gic.drive_timers(0, El1, [Low, Low]);
    machine.follow(kicks);
    assert_eq!(machine.end(0), Some(27), "by hand");
    assert!(machine.physical_active.is_empty());
    assert_eq!(switch(&mut machine, El1, Low), NOTHING);
}

#[test]
fn a_deactivation_owed_to_a_timer_is_not_done_to_the_other() {
    let mut machine = Machine::new(1, 0, 4);
    fire(&mut machine, El1);
    assert_eq!(machine.ack(0), Some(27));
    let _ = machine.fold(0);
    let kicks = machine.gic.deactivate(0, intid(27));
    assert_eq!(kicks, Kicks::one(0));
    let switch = machine.gic.switch_timers(0, El2, PHYSICAL, [Low, Low]);
    assert_eq!(switch.clear_active, 1 << 27);
    assert_eq!(machine.gic.take_deactivation(0), None);
}

#[test]
fn an_event_of_the_guests_own_survives_every_switch() {
    let mut machine = Machine::new(1, 0, 4);
    machine.write_private(0, ISPENDR, 1 << 27);
    for pair in [El2, El1, El2] {
        let _ = switch(&mut machine, pair, Low);
    }
    assert_eq!(machine.ack(0), Some(27));
    machine.write_private(0, ISPENDR, 1 << 27);
    let _ = switch(&mut machine, El1, Low);
    let _ = switch(&mut machine, El2, Low);
    machine.write_private(0, ICACTIVER, 1 << 27);
    machine.cpus[0].running.clear();
    assert_eq!(machine.ack(0), Some(27), "again");
}

#[test]
fn an_edge_of_a_timer_is_taken_once_wherever_it_rose() {
    let mut machine = Machine::new(1, 0, 4);
    machine.write_private(0, ICFGR + 4, 2 << (27 % 16 * 2));
    // Fired, then parked; risen as it was parked; risen while it is.
    for (n, has_fired) in [true, false, false].into_iter().enumerate() {
        let _ = switch(&mut machine, El1, Low);
        if has_fired {
            fire(&mut machine, El1);
        }
        let level = Line::from_asserted(n < 2);
        let _ = switch(&mut machine, El2, level);
        let kicks = machine.gic.drive_timers(0, El1, [Low, High]);
        machine.follow(kicks);
        assert_eq!(machine.ack(0), Some(27), "{n}");
        assert_eq!(machine.end(0), Some(27));
        assert_eq!(machine.ack(0), None, "{n}");
        assert_eq!(
            switch(&mut machine, El1, Low).set_active,
            0,
            "hardware's to fire"
        );
        assert_eq!(machine.ack(0), None, "{n}");
    }
}

#[test]
fn a_taken_edge_is_not_taken_again_when_its_timer_is_parked() {
    let mut machine = Machine::new(1, 0, 4);
    machine.write_private(0, ICFGR + 4, 2 << (27 % 16 * 2));
    fire(&mut machine, El1);
    assert_eq!(machine.ack(0), Some(27));
    let _ = switch(&mut machine, El2, High);
    assert_eq!(machine.end(0), Some(27));
    assert_eq!(machine.ack(0), None);
}
