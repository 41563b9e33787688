//! Lines of devices, levels and edges, and what the guest makes pending beside them.

use super::machine::{ICPENDR, ISPENDR, Machine, intid};
use crate::Line;
use crate::gic::Kicks;

#[test]
fn a_level_still_high_at_its_end_becomes_pending_again() {
    let mut machine = Machine::new(1, 32, 4);
    machine.line(33, Line::High);
    assert_eq!(machine.ack(0), Some(33));
    machine.follow(Kicks::one(0));
    assert_eq!(machine.cpus[0].state_of(33), 2, "active only");
    assert_eq!(machine.end(0), Some(33));
    assert_eq!(machine.ack(0), Some(33), "still high");
    machine.line(33, Line::Low);
    assert_eq!(machine.end(0), Some(33));
    assert_eq!(machine.ack(0), None, "gone");
}

#[test]
fn a_level_lowered_by_its_handler_ends_without_a_maintenance_interrupt() {
    let mut machine = Machine::new(1, 32, 4);
    machine.line(33, Line::High);
    assert_eq!(machine.cpus[0].lrs[0] >> 41 & 1, 1, "it may stay high");
    assert_eq!(machine.ack(0), Some(33));
    machine.line(33, Line::Low);
    assert_eq!(machine.cpus[0].lrs[0] >> 41 & 1, 0);
    // It rises again before the end.
    machine.line(33, Line::High);
    assert_eq!(machine.end(0), Some(33));
    assert_eq!(machine.ack(0), Some(33));
}

#[test]
fn a_level_that_falls_before_the_acknowledge_is_withdrawn() {
    let mut machine = Machine::new(1, 32, 4);
    machine.line(33, Line::High);
    let kicks = machine.gic.set_line(0, intid(33), Line::Low);
    assert_eq!(kicks, Kicks::one(0));
    machine.follow(kicks);
    assert_eq!(machine.ack(0), None);
}

#[test]
fn a_level_that_does_not_change_kicks_nobody() {
    let mut machine = Machine::new(1, 32, 4);
    assert_eq!(machine.gic.set_line(0, intid(33), Line::Low), Kicks::NONE);
    let _ = machine.gic.set_line(0, intid(33), Line::High);
    assert_eq!(machine.gic.set_line(0, intid(33), Line::High), Kicks::NONE);
}

#[test]
fn an_edge_is_taken_from_a_rising_line_only() {
    let mut machine = Machine::new(1, 32, 4);
    machine.edge(33);
    for (line, expected) in [
        (Line::High, Some(33)),
        (Line::High, None),
        (Line::Low, None),
        (Line::High, Some(33)),
    ] {
        machine.line(33, line);
        assert_eq!(machine.ack(0), expected);
        machine.end(0);
    }
}

#[test]
fn set_pending_survives_a_low_line_until_the_acknowledge() {
    let mut machine = Machine::new(1, 32, 4);
    machine.write(0, ISPENDR + 4, 0b10);
    machine.follow(Kicks::one(0));
    assert_eq!(machine.read(ISPENDR + 4), 0b10);
    assert_eq!(machine.ack(0), Some(33));
    machine.end(0);
    machine.follow(Kicks::one(0));
    assert_eq!(machine.read(ISPENDR + 4), 0);
}

#[test]
fn clear_pending_leaves_a_high_level_pending() {
    let mut machine = Machine::new(1, 32, 4);
    machine.line(33, Line::High);
    machine.write(0, ISPENDR + 4, 0b110);
    machine.write(0, ICPENDR + 4, 0b110);
    assert_eq!(machine.read(ISPENDR + 4), 0b010);
    assert_eq!(machine.ack(0), Some(33));
    assert_eq!(machine.cpus[0].state_of(34), 0);
}
