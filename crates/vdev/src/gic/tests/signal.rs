//! What a vCPU would take, by the state that it left in its CPU interface.

use super::machine::{ALL_ON, Machine};
use crate::gic::{Interface, Signal, Vmcr, Vtr};

/// Five bits of preemption.
const VTR: Vtr = Vtr(4 << 26);

const OPEN: Interface = Interface {
    vmcr: ALL_ON,
    ..Interface::RESET
};

/// Interrupt 33 of priority 0x80 pending in group 1, folded.
fn pending() -> Machine {
    let mut machine = Machine::new(1, 32, 4);
    machine.priority(33, 0x80);
    machine.pend(0, 33);
    let _ = machine.fold(0);
    machine
}

#[test]
fn the_group_decides_how_an_interrupt_is_signalled() {
    let mut machine = pending();
    assert_eq!(machine.gic.signal(0, &OPEN, VTR), Some(Signal::Irq));
    machine.write(0, 0x84, !(1 << 1));
    let _ = machine.fold(0);
    assert_eq!(machine.gic.signal(0, &OPEN, VTR), Some(Signal::Fiq));
}

#[test]
fn a_group_that_is_off_hides_its_interrupts_and_no_others() {
    let mut machine = pending();
    machine.priority(34, 0x90);
    machine.write(0, 0x84, !(1 << 1));
    machine.pend(0, 34);
    let _ = machine.fold(0);
    let only = |group: u64| Interface {
        vmcr: Vmcr(0xff00_0000 | 1 << group),
        ..OPEN
    };
    assert_eq!(machine.gic.signal(0, &only(0), VTR), Some(Signal::Fiq));
    assert_eq!(machine.gic.signal(0, &only(1), VTR), Some(Signal::Irq));
    assert_eq!(machine.gic.signal(0, &Interface::RESET, VTR), None);
}

#[test]
fn the_mask_lets_through_what_is_more_urgent() {
    let machine = pending();
    for (mask, signal) in [(0x80, None), (0x88, Some(Signal::Irq))] {
        let interface = Interface {
            vmcr: Vmcr(mask << 24 | 0b11),
            ..OPEN
        };
        assert_eq!(machine.gic.signal(0, &interface, VTR), signal, "{mask:#x}");
    }
}

#[test]
fn what_runs_holds_back_what_is_not_more_urgent() {
    let machine = pending();
    // Level n of five bits is priority 8 * n; of seven, 2 * n.
    for (level, vtr, signal) in [
        (15, VTR, None),
        (16, VTR, None),
        (17, VTR, Some(Signal::Irq)),
        (64, Vtr(6 << 26), None),
        (65, Vtr(6 << 26), Some(Signal::Irq)),
        (32, Vtr(5 << 26), None),
        (33, Vtr(5 << 26), Some(Signal::Irq)),
    ] {
        let mut interface = OPEN;
        // A binary point of 1, that is 7 bits of group priority.
        interface.vmcr.0 |= 1 << 18;
        interface.ap1r[level / 32] = 1 << (level % 32);
        assert_eq!(machine.gic.signal(0, &interface, vtr), signal, "{level}");
        (interface.ap0r, interface.ap1r) = (interface.ap1r, interface.ap0r);
        assert_eq!(machine.gic.signal(0, &interface, vtr), signal, "{level}");
    }
}

#[test]
fn the_binary_point_makes_priorities_alike() {
    let machine = pending();
    let runs_at_0x90 = |vmcr: u64| Interface {
        vmcr: Vmcr(ALL_ON.0 | vmcr),
        ap1r: [1 << 18, 0, 0, 0],
        ..OPEN
    };
    let bpr1 = |point: u64| point << 18;
    let bpr0 = |point: u64| point << 21;
    let signal = |vmcr| machine.gic.signal(0, &runs_at_0x90(vmcr), VTR);
    assert_eq!(signal(bpr1(4)), Some(Signal::Irq), "bits 7 to 4 preempt");
    assert_eq!(signal(bpr1(5)), None, "bits 7 to 5 are the same");
    assert_eq!(
        signal(bpr1(5) | bpr0(3) | 1 << 4),
        Some(Signal::Irq),
        "common"
    );
    assert_eq!(signal(bpr1(4) | bpr0(4) | 1 << 4), None, "common");
    assert_eq!(signal(bpr0(7) | 1 << 4), None, "nothing preempts");
}

#[test]
fn an_active_interrupt_is_not_signalled_again() {
    let mut machine = Machine::new(1, 32, 4);
    machine.pend(0, 33);
    assert_eq!(machine.ack(0), Some(33));
    machine.pend(0, 33);
    let _ = machine.fold(0);
    assert_eq!(machine.gic.signal(0, &OPEN, VTR), None);
}
