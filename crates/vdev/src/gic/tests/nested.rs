//! The guest's own guest, event by event.

use super::machine::{ALL_ON, ISPENDR, Machine, intid};
use crate::Line;
use crate::gic::{Ich, Interface, Kicks};

const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 1 << 63;
const HW: u64 = 1 << 61;
const EOI: u64 = 1 << 41;
const TIMER: u64 = 27;

fn linked(physical: u64) -> u64 {
    HW | physical << 32
}

/// A guest that has taken interrupt 27, with physical 27 behind it, and was left.
fn with_timer_taken() -> Machine {
    let mut machine = Machine::new(2, 32, 4);
    machine.fire_and_follow(0, 27);
    assert_eq!(machine.ack(0), Some(27));
    let _ = machine.fold(0);
    machine
}

fn ich(lrs: &[u64]) -> Ich {
    let mut ich = Ich {
        hcr: 1,
        ..Ich::RESET
    };
    ich.interface.vmcr = ALL_ON;
    ich.lrs[..lrs.len()].copy_from_slice(lrs);
    ich
}

fn enter(machine: &mut Machine, guest: &Ich) -> (Ich, usize) {
    let mut hardware = Ich::RESET;
    let (used, line) = machine.gic.enter_nested(0, guest, None, &mut hardware);
    assert_eq!(line, guest.maintenance(16));
    assert!(hardware.lrs[used..].iter().all(|&lr| lr == 0));
    (hardware, used)
}

#[test]
fn a_list_register_without_a_link_is_the_same_in_hardware() {
    let mut machine = Machine::new(1, 0, 4);
    let lr = PENDING | 1 << 60 | 0xa0 << 48 | EOI | 5;
    let (hardware, used) = enter(
        &mut machine,
        &ich(&[0, lr | 0xf << 56 & !(1 << 60) | 0xff << 16]),
    );
    assert_eq!((hardware.lrs[1], used), (lr, 2));
}

#[test]
fn a_taken_interrupt_lends_its_physical_one_and_ends_with_it() {
    let mut machine = with_timer_taken();
    let mut guest = ich(&[PENDING | linked(27) | TIMER]);
    let (mut hardware, _) = enter(&mut machine, &guest);
    assert_eq!(hardware.lrs[0], PENDING | linked(27) | TIMER);
    hardware.lrs[0] &= !PENDING;
    machine.physical_active.remove(&27);
    let _ = machine.gic.leave_nested(0, &hardware, &mut guest);
    assert_eq!(guest.lrs[0], linked(27) | TIMER);
    assert_eq!(machine.gic.physical_ppis(0), 0);
    let _ = machine.sync(0);
    assert_eq!(machine.cpus[0].listed(), []);
}

#[test]
fn an_interrupt_that_the_guest_of_the_guest_has_not_ended_stays_lent_out() {
    let mut machine = with_timer_taken();
    let mut guest = ich(&[PENDING | linked(27) | TIMER]);
    for state in [PENDING, ACTIVE, ACTIVE] {
        let (mut hardware, _) = enter(&mut machine, &guest);
        assert_eq!(hardware.lrs[0] & !(PENDING | ACTIVE), linked(27) | TIMER);
        hardware.lrs[0] = state | linked(27) | TIMER;
        let _ = machine.gic.leave_nested(0, &hardware, &mut guest);
        assert_eq!(guest.lrs[0], state | linked(27) | TIMER);
        assert_eq!(machine.gic.physical_ppis(0), 1 << 27);
    }
}

#[test]
fn the_physical_number_is_the_hypervisors_not_the_guests() {
    let mut machine = Machine::new(1, 32, 4);
    machine.physical_active.insert(45);
    let kicks = machine.gic.inject_hardware(0, intid(40), intid(45));
    machine.follow(kicks);
    assert_eq!(machine.ack(0), Some(40));
    let _ = machine.fold(0);
    let (hardware, _) = enter(&mut machine, &ich(&[PENDING | linked(40) | 7]));
    assert_eq!(hardware.lrs[0], PENDING | linked(45) | 7);
}

#[test]
fn claims_that_do_not_hold_link_nothing() {
    // Not active, an SGI, no such interrupts.
    for claim in [30, 33, 0, 15, 64, 1019, 1020, 1023, 0x1fff] {
        let mut machine = with_timer_taken();
        let mut guest = ich(&[PENDING | linked(claim) | 9]);
        let (mut hardware, _) = enter(&mut machine, &guest);
        assert_eq!(hardware.lrs[0] & HW, 0, "{claim}");
        hardware.lrs[0] &= !PENDING;
        let _ = machine.gic.leave_nested(0, &hardware, &mut guest);
        assert_eq!(guest.lrs[0], linked(claim) | 9);
        assert_eq!(machine.gic.physical_ppis(0), 1 << 27);
    }
}

#[test]
fn another_virtual_cpus_interrupt_is_not_lent_but_can_be_ended() {
    let mut machine = Machine::new(2, 32, 4);
    machine.route(45, 1);
    machine.fire_and_follow(1, 45);
    assert_eq!(machine.ack(1), Some(45));
    let _ = machine.fold(1);
    let mut guest = ich(&[PENDING | linked(45) | 9]);
    let (mut hardware, _) = enter(&mut machine, &guest);
    assert_eq!(hardware.lrs[0], PENDING | EOI | 9);
    hardware.lrs[0] &= !PENDING;
    let kicks = machine.gic.leave_nested(0, &hardware, &mut guest);
    assert!(kicks.contains(1));
    machine.follow(kicks);
    assert!(machine.physical_active.is_empty());
}

#[test]
fn a_physical_interrupt_is_lent_to_one_list_register_only() {
    let mut machine = with_timer_taken();
    let mut guest = ich(&[PENDING | linked(27) | 9, ACTIVE | linked(27) | 8]);
    let (mut hardware, _) = enter(&mut machine, &guest);
    assert_eq!(hardware.lrs[0], PENDING | linked(27) | 9);
    assert_eq!(hardware.lrs[1], ACTIVE | EOI | 8);
    hardware.lrs[1] &= !ACTIVE;
    let kicks = machine.gic.leave_nested(0, &hardware, &mut guest);
    machine.follow(kicks | Kicks::one(0));
    assert!(machine.physical_active.is_empty(), "ended by the second");
    let (hardware, _) = {
        let _ = machine.fold(0);
        enter(&mut machine, &guest)
    };
    assert_eq!(hardware.lrs[0], PENDING | EOI | 9, "nothing left to lend");
}

#[test]
fn pending_and_active_with_a_link_is_ended_by_hand_each_time() {
    let mut machine = with_timer_taken();
    let mut guest = ich(&[PENDING | ACTIVE | linked(27) | 9]);
    let (mut hardware, _) = enter(&mut machine, &guest);
    assert_eq!(hardware.lrs[0], PENDING | ACTIVE | EOI | 9);
    hardware.lrs[0] &= !ACTIVE;
    let kicks = machine.gic.leave_nested(0, &hardware, &mut guest);
    machine.follow(kicks);
    assert!(machine.physical_active.is_empty());
}

#[test]
fn an_emulated_interrupt_that_is_still_high_is_pending_again_after_its_end() {
    let mut machine = Machine::new(1, 0, 4);
    machine.line(27, Line::High);
    assert_eq!(machine.ack(0), Some(27));
    let _ = machine.fold(0);
    let mut guest = ich(&[PENDING | linked(27) | TIMER]);
    let (mut hardware, _) = enter(&mut machine, &guest);
    assert_eq!(hardware.lrs[0], PENDING | EOI | TIMER);
    hardware.lrs[0] &= !PENDING;
    let kicks = machine.gic.leave_nested(0, &hardware, &mut guest);
    assert_eq!(
        guest.lrs[0],
        linked(27) | TIMER,
        "no word of the maintenance"
    );
    assert_eq!(kicks, Kicks::one(0));
    machine.follow(kicks);
    machine.cpus[0].running.clear();
    assert_eq!(machine.ack(0), Some(27));
}

#[test]
fn what_others_do_to_a_lent_interrupt_waits_for_its_return() {
    let mut machine = with_timer_taken();
    let mut guest = ich(&[PENDING | linked(27) | TIMER]);
    let (hardware, _) = enter(&mut machine, &guest);
    let kicks = machine.gic.deactivate(0, intid(27));
    assert_eq!(kicks, Kicks::one(0));
    assert_eq!(machine.gic.take_deactivation(0), None, "hardware has it");
    let _ = machine.gic.leave_nested(0, &hardware, &mut guest);
    assert_eq!(machine.gic.take_deactivation(0), Some(intid(27)));
    let (hardware, _) = enter(&mut machine, &guest);
    assert_eq!(hardware.lrs[0], PENDING | EOI | TIMER);
}

#[test]
fn an_event_over_a_taken_interrupt_keeps_the_physical_one_at_home() {
    let mut machine = with_timer_taken();
    let _ = machine.sync(0);
    machine.write_private(0, ISPENDR, 1 << 27);
    let _ = machine.fold(0);
    let (hardware, _) = enter(&mut machine, &ich(&[PENDING | linked(27) | TIMER]));
    assert_eq!(hardware.lrs[0] & HW, 0);
}

#[test]
fn of_two_list_registers_for_one_interrupt_the_first_is_loaded() {
    let mut machine = Machine::new(1, 0, 4);
    let mut guest = ich(&[PENDING | 9, ACTIVE | EOI | 9, 9]);
    // Underflow: of the two in use, hardware would count one.
    guest.hcr |= 1 << 1;
    let (hardware, used) = enter(&mut machine, &guest);
    assert_eq!((hardware.lrs[0], used, hardware.hcr), (PENDING | 9, 1, 1));
    let before = guest.lrs;
    let _ = machine.gic.leave_nested(0, &hardware, &mut guest);
    assert_eq!(guest.lrs, before);
}

#[test]
fn requests_go_to_hardware_only_while_the_line_is_low() {
    let mut machine = Machine::new(1, 0, 4);
    let mut guest = ich(&[PENDING | 9, PENDING | 8]);
    // Underflow and no-pending are yet to come; both groups are on and their end is asked for.
    guest.hcr = 0x7800_50ff & !0x54 | 0x8000;
    let (mut hardware, _) = enter(&mut machine, &guest);
    assert_eq!(hardware.hcr, 0x7800_50ab);
    hardware.lrs = [0; 16];
    hardware.hcr = 0x8000_50ab;
    let _ = machine.gic.leave_nested(0, &hardware, &mut guest);
    assert_eq!(guest.hcr, 0x8000_d0ab);
    assert_eq!(guest.maintenance(4), Line::High);
    let (hardware, _) = enter(&mut machine, &guest);
    assert_eq!(hardware.hcr, 0x8000_5001);
}

#[test]
fn settings_and_priorities_pass_both_ways_without_reserved_bits() {
    let mut machine = Machine::new(1, 0, 4);
    let mut guest = ich(&[]);
    guest.interface.vmcr.0 = u64::MAX;
    guest.interface.ap0r = [u64::MAX; 4];
    guest.interface.ap1r = [1 << 63 | 5; 4];
    let (mut hardware, used) = enter(&mut machine, &guest);
    assert_eq!(used, 0);
    let Interface { vmcr, ap0r, ap1r } = hardware.interface;
    assert_eq!(vmcr.0, 0xfffc_021f);
    assert_eq!((ap0r, ap1r), ([0xffff_ffff; 4], [5; 4]));
    hardware.interface.ap1r[0] = 7;
    let _ = machine.gic.leave_nested(0, &hardware, &mut guest);
    assert_eq!(guest.interface, hardware.interface);
}

#[test]
fn a_leave_without_an_enter_does_nothing() {
    let mut machine = Machine::new(1, 0, 4);
    let mut guest = ich(&[PENDING | 9]);
    let before = guest;
    let kicks = machine.gic.leave_nested(0, &Ich::RESET, &mut guest);
    assert_eq!((kicks, guest), (Kicks::NONE, before));
}

#[test]
#[should_panic(expected = "the guest's own guest was left")]
fn a_fill_before_the_leave_is_refused() {
    let mut machine = Machine::new(1, 0, 4);
    let _ = enter(&mut machine, &ich(&[]));
    let _ = machine.sync(0);
}
