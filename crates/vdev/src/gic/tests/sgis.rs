//! Interrupts that vCPUs send each other.

use super::machine::Machine;
use crate::gic::{Kicks, SgiRegister};

#[test]
fn an_sgi_reaches_its_target_and_no_other() {
    let mut machine = Machine::new(3, 0, 4);
    let kicks = machine.gic.send_sgi(0, SgiRegister::Sgi1, 7 << 24 | 0b100);
    assert_eq!(kicks, Kicks::one(2));
    machine.follow(kicks);
    assert_eq!([machine.ack(0), machine.ack(1)], [None, None]);
    assert_eq!(machine.ack(2), Some(7));
    assert_eq!(machine.end(2), Some(7));
    assert_eq!(machine.ack(2), None, "delivered once");
}

#[test]
fn an_sgi_to_self_kicks_the_sender() {
    let mut machine = Machine::new(2, 0, 4);
    let kicks = machine.gic.send_sgi(1, SgiRegister::Sgi1, 0b10);
    assert_eq!(kicks, Kicks::one(1));
    machine.follow(kicks);
    assert_eq!(machine.ack(1), Some(0));
}

#[test]
fn an_sgi_to_all_others_leaves_out_the_sender() {
    let mut machine = Machine::new(64, 0, 4);
    let kicks = machine.gic.send_sgi(17, SgiRegister::Sgi1, 1 << 40);
    assert_eq!(kicks.bits(), !(1 << 17));
}

#[test]
fn an_sgi_to_vcpus_that_do_not_exist_is_dropped() {
    let mut machine = Machine::new(3, 0, 4);
    for value in [0xfff8, 1 << 16 | 0xffff, 1 << 32 | 1, !(1 << 40)] {
        let kicks = machine.gic.send_sgi(0, SgiRegister::Sgi1, value);
        assert_eq!(kicks, Kicks::NONE, "{value:#x}");
    }
}

#[test]
fn a_group_0_sgi_register_leaves_group_1_alone() {
    let mut machine = Machine::new(1, 0, 4);
    let kicks = machine.gic.send_sgi(0, SgiRegister::Sgi0, 1);
    assert_eq!(kicks, Kicks::NONE);
    machine.write_private(0, 0x80, 0);
    let kicks = machine.gic.send_sgi(0, SgiRegister::Sgi0, 1);
    machine.follow(kicks);
    assert_eq!(machine.ack(0), Some(0));
}

#[test]
fn an_sgi_sent_again_while_active_comes_again() {
    let mut machine = Machine::new(1, 0, 4);
    machine.pend(0, 3);
    assert_eq!(machine.ack(0), Some(3));
    machine.pend(0, 3);
    assert_eq!(machine.cpus[0].state_of(3), 3, "active and pending");
    assert_eq!(machine.end(0), Some(3));
    assert_eq!(machine.ack(0), Some(3));
    assert_eq!(machine.end(0), Some(3));
    assert_eq!(machine.ack(0), None);
}
