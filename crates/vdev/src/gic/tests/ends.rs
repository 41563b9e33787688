//! Ends and deactivations of interrupts that no list register holds.

use super::machine::{ALL_ON, ISACTIVER, Machine};
use crate::gic::{Kicks, Vmcr};
use proptest::prelude::*;

/// ICH_VMCR_EL2.VEOIM.
const SPLIT: u64 = 1 << 9;

/// Whose ICH_HCR_EL2.EOIcount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Counts {
    /// As the manual says: what would have deactivated.
    Deactivations,
    /// QEMU's: each end besides.
    Ends,
}

#[test]
fn a_deactivation_of_what_is_not_active_takes_nothing_that_becomes_active_later() {
    let mut machine = Machine::new(1, 0, 4);
    machine.cpus[0].vmcr = ALL_ON.0 | SPLIT;
    machine.dir(0, 27);
    machine.write_private(0, ISACTIVER, 0x41);
    assert_eq!(machine.read_private(0, ISACTIVER), 0x41);
}

#[test]
fn an_end_that_drops_the_priority_deactivates_nothing() {
    let mut machine = Machine::new(1, 0, 4);
    machine.cpus[0].vmcr = ALL_ON.0 | SPLIT;
    machine.write_private(0, ISACTIVER, 0x1234);
    for _ in 0..2 {
        machine.cpus[0].ended_unlisted += 1;
        machine.follow(Kicks::one(0));
    }
    assert_eq!(machine.read_private(0, ISACTIVER), 0x1234);
    machine.dir(0, 9);
    machine.dir(0, 7);
    assert_eq!(machine.read_private(0, ISACTIVER), 0x1034);
}

#[test]
fn a_deactivation_is_nothing_where_the_end_deactivates() {
    let mut machine = Machine::new(1, 0, 1);
    machine.write_private(0, ISACTIVER, 0b11 << 8);
    for vmcr in [ALL_ON, Vmcr(ALL_ON.0 | SPLIT)] {
        let kicks = machine.fold(0) | machine.gic.write_dir(0, vmcr, 9);
        machine.follow(kicks | Kicks::one(0));
        let left = if vmcr == ALL_ON { 0b11 } else { 0b01 };
        assert_eq!(machine.read_private(0, ISACTIVER), left << 8);
    }
}

#[test]
fn without_the_trap_the_count_is_what_tells_in_either_mode() {
    let hcr = 3 << 27 | 1 << 2 | 1;
    for vmcr in [0, SPLIT] {
        assert_eq!(crate::gic::unlisted_ends(hcr, || Vmcr(vmcr)), 3);
    }
}

#[test]
fn an_end_is_of_what_was_acknowledged_rather_than_of_what_was_made_active() {
    let mut machine = Machine::new(1, 0, 4);
    machine.write_private(0, ISACTIVER, 0b1_1110);
    machine.pend(0, 5);
    machine.pend(0, 7);
    assert_eq!(machine.ack(0), Some(5));
    // The others come first by their numbers, and one register is for 7.
    machine.follow(Kicks::one(0));
    assert_eq!(machine.end(0), Some(5));
    let kicks = machine.fold(0);
    assert_eq!(machine.read_private(0, ISACTIVER), 0b1_1110);
    machine.follow(kicks | Kicks::one(0));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Acknowledge(usize),
    SetActive(usize),
    Deactivate(usize),
    Drop,
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0..12usize;
    prop_oneof![
        3 => number.clone().prop_map(Step::Acknowledge),
        1 => number.clone().prop_map(Step::SetActive),
        4 => number.prop_map(Step::Deactivate),
        3 => Just(Step::Drop),
        1 => Just(Step::Look),
    ]
}

/// Has this interrupt pending, and acknowledges what comes first. Gives what became active, as a mask.
fn acknowledge(machine: &mut Machine, number: usize) -> u32 {
    machine.pend(0, number);
    machine.ack(0).map_or(0, |taken| 1 << taken)
}

/// Declares this interrupt active. Gives it as a mask.
fn set_active(machine: &mut Machine, number: usize) -> u32 {
    machine.write_private(0, ISACTIVER, 1 << number);
    1 << number
}

proptest! {
    #[test]
    fn without_split_ends_what_was_acknowledged_last_becomes_inactive_and_nothing_else(
        list_registers in 1..5usize,
        priorities in proptest::array::uniform12(0..4u8),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut machine = Machine::new(1, 0, list_registers);
        for (number, priority) in priorities.into_iter().enumerate() {
            machine.priority_of_ppi(number, priority << 6);
        }
        let mut active = 0;
        for step in steps {
            match step {
                Step::Acknowledge(number) => active |= acknowledge(&mut machine, number),
                Step::SetActive(number) => active |= set_active(&mut machine, number),
                Step::Deactivate(_) => {
                    if let Some(number) = machine.end(0) {
                        active &= !(1 << number);
                    }
                }
                Step::Drop | Step::Look => machine.follow(Kicks::one(0)),
            }
            let kicks = machine.fold(0);
            prop_assert_eq!(machine.read_private(0, ISACTIVER), active);
            machine.follow(kicks | Kicks::one(0));
        }
    }

    #[test]
    fn with_split_ends_what_was_named_becomes_inactive_and_nothing_else(
        list_registers in 1..5usize,
        counts in prop_oneof![Just(Counts::Deactivations), Just(Counts::Ends)],
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut machine = Machine::new(1, 0, list_registers);
        machine.cpus[0].vmcr = ALL_ON.0 | SPLIT;
        let mut active = 0;
        for step in steps {
            match step {
                Step::Acknowledge(number) => active |= acknowledge(&mut machine, number),
                Step::SetActive(number) => active |= set_active(&mut machine, number),
                Step::Deactivate(number) => {
                    machine.dir(0, number);
                    active &= !(1 << number);
                }
                Step::Drop => machine.drop_priority(0, counts == Counts::Ends),
                Step::Look => machine.follow(Kicks::one(0)),
            }
            let kicks = machine.fold(0);
            prop_assert_eq!(machine.read_private(0, ISACTIVER), active);
            machine.follow(kicks | Kicks::one(0));
        }
    }
}
