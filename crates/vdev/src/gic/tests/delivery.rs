//! What reaches a list register, in which order, and what a guest's registers change about it.

use super::machine::{
    ALL_ON, ICACTIVER, ICENABLER, ICPENDR, ISACTIVER, ISENABLER, ISPENDR, Machine, intid,
};
use crate::Line;
use crate::gic::{Frame, Kicks, Vmcr};
use alloc::vec;
use alloc::vec::Vec;
use droste_arm64::esr::AccessSize;

#[test]
fn events_between_the_acknowledge_and_the_fold_are_not_lost() {
    let mut machine = Machine::new(1, 0, 4);
    machine.pend(0, 3);
    assert_eq!(machine.ack(0), Some(3));
    assert_eq!(machine.end(0), Some(3));
    // The list registers still say "listed" to the logic.
    let kicks = machine.gic.pend(0, intid(3));
    assert_eq!(kicks, Kicks::one(0));
    machine.follow(kicks);
    assert_eq!(machine.ack(0), Some(3));
}

#[test]
fn an_event_before_the_acknowledge_joins_the_one_that_is_listed() {
    let mut machine = Machine::new(1, 0, 4);
    machine.pend(0, 3);
    machine.pend(0, 3);
    assert_eq!(machine.ack(0), Some(3));
    machine.end(0);
    assert_eq!(machine.ack(0), None);
}

#[test]
fn higher_priority_comes_first_whatever_the_order_of_events() {
    let mut machine = Machine::new(1, 32, 4);
    for (number, priority) in [(40, 0xa0), (41, 0x20), (42, 0x60)] {
        machine.priority(number, priority);
        machine.edge(number);
        machine.pend(0, number);
    }
    for expected in [41, 42, 40] {
        assert_eq!(machine.ack(0), Some(expected));
        machine.end(0);
    }
}

#[test]
fn more_pending_than_list_registers_all_arrive_in_order() {
    for list_registers in [1, 2, 4] {
        let mut machine = Machine::new(1, 64, list_registers);
        for n in 0..20 {
            machine.priority(40 + n, (19 - n as u8) * 8);
            machine.edge(40 + n);
            machine.pend(0, 40 + n);
        }
        assert_eq!(machine.cpus[0].fill.used, list_registers);
        assert_ne!(machine.cpus[0].fill.hcr >> 3 & 1, 0, "NPIE");
        for n in (0..20).rev() {
            assert_eq!(machine.ack(0), Some(40 + n), "{list_registers} registers");
            machine.end(0);
        }
        assert_eq!(machine.cpus[0].fill.hcr, 0);
    }
}

#[test]
fn nested_active_interrupts_outnumber_the_list_registers() {
    for list_registers in [1, 2, 4] {
        let mut machine = Machine::new(1, 64, list_registers);
        for n in 0..10 {
            machine.priority(40 + n, (19 - n as u8) * 8);
            machine.edge(40 + n);
            machine.pend(0, 40 + n);
            assert_eq!(machine.ack(0), Some(40 + n), "each preempts the last");
        }
        let first = machine.gic.needs_fold(Frame::Distributor, ISACTIVER + 4);
        machine.follow(first);
        assert_eq!(machine.read(ISACTIVER + 4), 0x3ff << 8);
        machine.pend(0, 43);
        for n in (4..10).rev() {
            assert_eq!(machine.end(0), Some(40 + n));
            assert_eq!(machine.ack(0), None, "43 runs already");
        }
        machine.end(0);
        assert_eq!(machine.ack(0), Some(43), "again");
        machine.end(0);
        for n in (0..3).rev() {
            assert_eq!(machine.end(0), Some(40 + n));
        }
        machine.follow(Kicks::one(0));
        assert_eq!(machine.read(ISACTIVER + 4), 0);
    }
}

/// A maintenance interrupt comes when it comes: the guest may have ended more by then.
#[test]
fn all_ends_that_were_counted_are_seen_the_most_urgent_first() {
    let mut machine = Machine::new(1, 32, 1);
    for n in 0..5 {
        machine.priority(40 + n, (9 - n as u8) * 8);
    }
    machine.write(0, ISACTIVER + 4, 0x1f << 8);
    let lrs = machine.cpus[0].lrs;
    assert_eq!(machine.cpus[0].listed(), vec![44]);
    let _ = machine.gic.fold(0, &lrs, 3);
    assert_eq!(machine.read(ISACTIVER + 4), 0b1_0001 << 8);
}

#[test]
fn a_pending_interrupt_gets_a_list_register_though_active_ones_fill_all() {
    let mut machine = Machine::new(1, 32, 2);
    machine.write(0, ISACTIVER + 4, 0xff);
    assert_eq!(machine.cpus[0].fill.used, 2);
    assert_ne!(machine.cpus[0].fill.hcr >> 14 & 1, 0, "ICC_DIR_EL1 traps");
    machine.priority(50, 0xf0);
    machine.edge(50);
    machine.pend(0, 50);
    assert_eq!(machine.ack(0), Some(50));
    // Deactivated one by one through the trap.
    machine.end(0);
    for number in 32..40 {
        let kicks = machine.fold(0) | machine.gic.deactivate(0, intid(number));
        machine.follow(kicks | Kicks::one(0));
    }
    assert_eq!(machine.read(ISACTIVER + 4), 0);
    assert_eq!(machine.cpus[0].fill, crate::gic::Fill::default());
}

#[test]
fn disabling_takes_an_interrupt_out_of_another_vcpus_list_register() {
    let mut machine = Machine::new(2, 32, 4);
    machine.edge(40);
    machine.route(40, 1);
    machine.pend(0, 40);
    assert_eq!(machine.cpus[1].state_of(40), 1);
    machine.write(0, ICENABLER + 4, 1 << 8);
    assert_eq!(machine.ack(1), None);
    assert_eq!(machine.read(ISPENDR + 4), 1 << 8, "it stays pending");
    machine.write(0, ISENABLER + 4, 1 << 8);
    assert_eq!(machine.ack(1), Some(40));
}

#[test]
fn a_disabled_interrupt_kicks_nobody() {
    let mut machine = Machine::new(2, 32, 4);
    machine.write(0, ICENABLER + 4, 1 << 8);
    assert_eq!(machine.gic.pend(0, intid(40)), Kicks::NONE);
    let kicks = machine.gic.set_line(0, intid(40), Line::High);
    assert_eq!(kicks, Kicks::NONE);
}

#[test]
fn rerouting_moves_a_pending_interrupt_and_leaves_an_active_one() {
    let mut machine = Machine::new(3, 32, 4);
    machine.edge(40);
    machine.pend(0, 40);
    machine.route(40, 1);
    assert_eq!(machine.ack(0), None);
    assert_eq!(machine.ack(1), Some(40));
    machine.route(40, 2);
    machine.pend(0, 40);
    assert_eq!(machine.ack(2), None, "active on 1");
    machine.end(1);
    // vCPU 1 holds it as pending until it folds next.
    machine.follow(Kicks::one(1));
    assert_eq!(machine.ack(1), None);
    assert_eq!(machine.ack(2), Some(40));
}

#[test]
fn a_route_to_nobody_keeps_the_interrupt_pending() {
    let mut machine = Machine::new(2, 32, 4);
    machine.edge(40);
    machine.route(40, 5);
    machine.pend(0, 40);
    assert_eq!(machine.read(ISPENDR + 4), 1 << 8);
    assert!(machine.cpus.iter().all(|cpu| cpu.listed().is_empty()));
    machine.route(40, 1);
    assert_eq!(machine.ack(1), Some(40));
}

#[test]
fn a_group_turned_off_at_the_distributor_delivers_nothing() {
    let mut machine = Machine::new(1, 32, 4);
    machine.edge(40);
    machine.pend(0, 40);
    machine.write(0, 0, 1);
    assert_eq!(machine.ack(0), None);
    machine.write(0, 0, 2);
    assert_eq!(machine.ack(0), Some(40));
}

#[test]
fn pending_ones_of_a_disabled_group_do_not_block_the_other() {
    let mut machine = Machine::new(1, 32, 2);
    // Interrupts 32 to 39 in group 0 and of highest priority, but the guest's CPU interface has group 0 off.
    machine.write(0, 0x84, !0xff);
    machine.cpus[0].vmcr = 0xff00_0002;
    machine.priority(45, 0x80);
    machine.write(0, ISPENDR + 4, 0xff | 1 << 13);
    assert_eq!(machine.ack(0), Some(45));
    machine.end(0);
    machine.cpus[0].vmcr |= 1;
    machine.follow_maintenance(0);
    for _ in 0..8 {
        assert!(machine.ack(0).is_some());
        machine.end(0);
    }
    assert_eq!(machine.ack(0), None);
}

#[test]
fn requests_for_a_listed_interrupt_take_effect_in_their_order() {
    let mut machine = Machine::new(1, 0, 4);
    machine.pend(0, 3);
    // All before the vCPU folds: cleared, then set pending and active, then active cleared.
    let frame = Frame::Redistributors;
    let word = AccessSize::Word;
    for offset in [ICPENDR, ISPENDR, ISACTIVER] {
        let _ = machine.gic.write(0, frame, 0x1_0000 + offset, word, 8);
    }
    assert_eq!(machine.read_private(0, ISPENDR), 8);
    assert_eq!(machine.read_private(0, ISACTIVER), 8);
    machine.follow(Kicks::one(0));
    assert_eq!(machine.cpus[0].state_of(3), 3);
    // And set active, then cleared after all.
    for offset in [ICPENDR, ISACTIVER, ICACTIVER] {
        let _ = machine.gic.write(0, frame, 0x1_0000 + offset, word, 8);
    }
    assert_eq!(machine.read_private(0, ISPENDR), 0);
    assert_eq!(machine.read_private(0, ISACTIVER), 0);
    machine.follow(Kicks::one(0));
    assert_eq!(machine.cpus[0].state_of(3), 0);
}

#[test]
fn only_registers_of_listed_state_ask_for_a_fold() {
    let mut machine = Machine::new(2, 32, 4);
    machine.edge(40);
    machine.route(40, 1);
    machine.pend(0, 40);
    machine.pend(0, 3);
    let private = |vcpu: u64, offset| (Frame::Redistributors, vcpu * 0x2_0000 + 0x1_0000 + offset);
    for (offset, expected) in [
        (ISPENDR + 4, Kicks::one(1)),
        (ICPENDR + 4, Kicks::one(1)),
        (ISACTIVER + 4, Kicks::one(1)),
        (ICACTIVER + 4, Kicks::one(1)),
        (ISPENDR, Kicks::NONE),
        (ISPENDR + 8, Kicks::NONE),
        (ISENABLER + 4, Kicks::NONE),
        (4, Kicks::NONE),
        (u64::MAX, Kicks::NONE),
    ] {
        let needed = machine.gic.needs_fold(Frame::Distributor, offset);
        assert_eq!(needed, expected, "{offset:#x}");
    }
    for ((frame, offset), expected) in [
        (private(0, ISPENDR), Kicks::one(0)),
        (private(1, ISPENDR), Kicks::one(1)),
        (private(1, ISACTIVER), Kicks::NONE),
        (private(2, ISPENDR), Kicks::NONE),
        (private(0, ISENABLER), Kicks::NONE),
        ((Frame::Redistributors, ISPENDR), Kicks::NONE),
        ((Frame::Redistributors, u64::MAX), Kicks::NONE),
    ] {
        assert_eq!(
            machine.gic.needs_fold(frame, offset),
            expected,
            "{offset:#x}"
        );
    }
}

#[test]
fn a_wfi_ends_only_for_what_the_cpu_interface_would_signal() {
    let mut machine = Machine::new(1, 32, 4);
    machine.priority(40, 0x80);
    machine.line(40, Line::High);
    assert!(machine.gic.has_pending(0, ALL_ON));
    assert!(
        !machine.gic.has_pending(0, Vmcr(0xff00_0001)),
        "group 1 off"
    );
    assert!(!machine.gic.has_pending(0, Vmcr(0x8000_0003)), "masked");
    assert!(machine.gic.has_pending(0, Vmcr(0x8800_0003)));
    let _ = machine.ack(0);
    machine.follow(Kicks::one(0));
    assert!(!machine.gic.has_pending(0, ALL_ON), "active, though high");
}

#[test]
fn a_sleeping_redistributor_asks_for_wakeup_whatever_the_cpu_interface_says() {
    let mut machine = Machine::new(1, 0, 4);
    machine.pend(0, 3);
    let (frame, word) = (Frame::Redistributors, AccessSize::Word);
    let _ = machine.gic.write(0, frame, 0x14, word, 2);
    assert!(machine.gic.has_pending(0, Vmcr(0)));
    let _ = machine.gic.write(0, frame, 0x14, word, 0);
    assert!(!machine.gic.has_pending(0, Vmcr(0)));
}

#[test]
fn a_kicked_vcpu_is_stale_until_it_fills() {
    let mut machine = Machine::new(2, 0, 4);
    let kicks = machine.gic.pend(1, intid(3));
    assert!(machine.gic.is_stale(1) && !machine.gic.is_stale(0));
    machine.follow(kicks);
    assert!(!machine.gic.is_stale(1));
    let _ = machine.fold(1);
    assert!(machine.gic.is_stale(1), "its list registers are empty now");
}

#[test]
fn an_interrupt_that_the_machine_does_not_have_is_ignored() {
    let mut machine = Machine::new(1, 40, 4);
    assert!(machine.gic.has(intid(71)) && !machine.gic.has(intid(72)));
    for number in [72, 95, 96, 1019] {
        assert_eq!(machine.gic.pend(0, intid(number)), Kicks::NONE);
        let kicks = machine.gic.inject_hardware(0, intid(number), intid(40));
        assert_eq!(kicks, Kicks::NONE);
    }
}

#[test]
#[should_panic(expected = "a fill follows a fold")]
fn filling_twice_without_a_fold_is_refused() {
    let mut machine = Machine::new(1, 0, 4);
    machine.pend(0, 3);
    let _ = machine.gic.fill(0, ALL_ON, &mut [0; 16]);
}

#[test]
fn all_spis_and_privates_of_a_full_machine_arrive() {
    let mut machine = Machine::new(2, 988, 16);
    for word in 1..32 {
        machine.write(0, ISPENDR + 4 * word, u32::MAX);
    }
    let mut taken: Vec<usize> = vec![];
    while let Some(number) = machine.ack(0) {
        taken.push(number);
        machine.end(0);
    }
    taken.sort_unstable();
    assert!(taken.into_iter().eq(32..1020));
}

#[test]
fn what_the_distributor_does_not_forward_is_in_no_list_register_until_it_does() {
    let (off, group0, both) = (0, 1, 3);
    // One, as many as fit, and more: each is chosen in a way of its own.
    for count in [1, 3, 6] {
        let mut machine = Machine::new(3, 0, 4);
        (0..count).for_each(|number| machine.pend(1, number));
        for control in [off, both, group0, both] {
            let offset = 0;
            let (frame, size) = (Frame::Distributor, AccessSize::Word);
            let kicks = machine.gic.write(0, frame, offset, size, control);
            // Those that have something to look at, and nobody else.
            assert_eq!(kicks, Kicks::one(1));
            machine.follow(kicks);
            let is_forwarded = control == both;
            let listed = machine.cpus[1].listed().len();
            assert_eq!(listed, if is_forwarded { count.min(4) } else { 0 });
            assert_eq!(machine.cpus[1].fill.used, listed);
            let vmcr = Vmcr(machine.cpus[1].vmcr);
            let kicks = machine.fold(1);
            assert_eq!(machine.gic.has_pending(1, vmcr), is_forwarded);
            machine.follow(kicks | Kicks::one(1));
        }
        let frame = Frame::Distributor;
        let again = machine.gic.write(0, frame, 0, AccessSize::Word, both);
        assert!(again.is_empty());
    }
}

#[test]
fn what_is_active_is_ended_though_its_group_is_off() {
    let mut machine = Machine::new(1, 0, 4);
    machine.pend(0, 3);
    assert_eq!(machine.ack(0), Some(3));
    machine.write(0, 0, 0);
    assert_eq!(machine.cpus[0].listed(), [3]);
    assert_eq!(machine.end(0), Some(3));
    let _ = machine.fold(0);
    assert_eq!(machine.read_private(0, ISACTIVER), 0);
}
