//! The group that a guest hypervisor leaves to its EL1: its registers as software emulates them, and what hardware has
//! meanwhile.

use super::machine::{ALL_ON, Machine};
use crate::gic::{GroupRegister, Ich, Interface, Intid, Signal, Vmcr, Vtr};
use droste_arm64::esr::{Direction, SysRegAccess};
use droste_arm64::hcr;
use droste_arm64::sysreg::SysReg;
use proptest::prelude::*;

/// Five bits of preemption.
const VTR: Vtr = Vtr(4 << 26);
const OPEN: Interface = Interface {
    vmcr: ALL_ON,
    ..Interface::RESET
};
const SPURIOUS: u64 = 1023;
const SPLIT_EOI: u64 = 1 << 9;
const GROUPS: [Signal; 2] = [Signal::Fiq, Signal::Irq];

/// SPI 33 of group 1 and 34 of group 0, of one priority, and the vCPU's own guest in hardware.
struct World {
    machine: Machine,
    interface: Interface,
}

impl World {
    fn new() -> Self {
        let mut machine = Machine::new(2, 32, 4);
        machine.write(0, 0x84, !(1 << 2));
        for intid in [33, 34] {
            machine.priority(intid, 0x80);
        }
        let mut world = Self {
            machine,
            interface: OPEN,
        };
        world.below();
        world
    }

    /// Its list registers are its guest's from now on.
    fn below(&mut self) {
        let _ = self.machine.fold(0);
        self.machine.is_below = Some(0);
    }

    fn pend(&mut self, intid: usize) {
        self.machine.pend(0, intid);
    }

    fn read(&mut self, of: Signal, register: GroupRegister) -> u64 {
        let Self { machine, interface } = self;
        let (value, kicks) = machine.gic.read_direct(0, (of, register), interface, VTR);
        machine.follow(kicks);
        value
    }

    fn write(&mut self, of: Signal, register: GroupRegister, value: u64) {
        let Self { machine, interface } = self;
        let kicks = machine
            .gic
            .write_direct(0, (of, register), value, interface, VTR);
        machine.follow(kicks);
    }

    fn signal(&self) -> Option<Signal> {
        self.machine.gic.signal(0, &self.interface, VTR)
    }

    fn ack(&mut self, of: Signal) -> u64 {
        self.read(of, GroupRegister::Acknowledge)
    }

    fn end(&mut self, of: Signal, intid: u64) {
        self.write(of, GroupRegister::End, intid);
    }

    /// Pending and active, as the distributor shows it.
    fn states(&self, intid: u64) -> (u32, u32) {
        let bit = |offset: u64| self.machine.read(offset + 4) >> (intid - 32) & 1;
        (bit(0x200), bit(0x300))
    }
}

fn intid(of: Signal) -> u64 {
    match of {
        Signal::Irq => 33,
        Signal::Fiq => 34,
    }
}

fn other(of: Signal) -> Signal {
    match of {
        Signal::Irq => Signal::Fiq,
        Signal::Fiq => Signal::Irq,
    }
}

#[test]
fn one_group_is_left_where_the_other_alone_is_routed() {
    const ROUTES: u64 = hcr::IMO | hcr::FMO;
    for tge in [0, hcr::TGE] {
        for others in [0, hcr::E2H | hcr::VM | hcr::AMO | hcr::VI | hcr::VF] {
            let left = |routes| Signal::left_to_el1(routes | tge | others);
            assert_eq!([left(0), left(ROUTES)], [None; 2]);
            let without_tge = |group| (tge == 0).then_some(group);
            assert_eq!(left(hcr::IMO), without_tge(Signal::Fiq));
            assert_eq!(left(hcr::FMO), without_tge(Signal::Irq));
        }
    }
    assert_eq!(Signal::Fiq.pending_bit(), hcr::VF);
    assert_eq!(Signal::Irq.pending_bit(), hcr::VI);
}

#[test]
fn every_register_of_a_group_is_known_by_its_encoding_and_direction() {
    use Direction::{Read, Write};
    use GroupRegister::{Acknowledge, ActivePriorities, BinaryPoint, Enable, End, Highest};
    let known = |of| match of {
        Signal::Fiq => [(8, 0), (8, 1), (8, 2), (8, 3), (8, 4), (8, 5), (12, 6)],
        Signal::Irq => [(12, 0), (12, 1), (12, 2), (12, 3), (9, 0), (9, 1), (12, 7)],
    };
    let wanted = |n| match n {
        0 => (Acknowledge, [true, false]),
        1 => (End, [false, true]),
        2 => (Highest, [true, false]),
        3 => (BinaryPoint, [true; 2]),
        4 => (ActivePriorities(0), [true; 2]),
        5 => (ActivePriorities(1), [true; 2]),
        _ => (Enable, [true; 2]),
    };
    for of in GROUPS {
        for (crm, op2) in (0..16).flat_map(|crm| (0..8).map(move |op2| (crm, op2))) {
            let position = known(of).iter().position(|&it| it == (crm, op2));
            for (n, direction) in [Read, Write].into_iter().enumerate() {
                let access = SysRegAccess {
                    register: SysReg::new(3, 0, 12, crm, op2),
                    direction,
                    rt: 0,
                };
                // With six bits of preemption there are two registers of active priorities.
                let found = GroupRegister::decode(access, of, Vtr(5 << 26));
                let is = position.map(wanted).filter(|(_, there)| there[n]);
                assert_eq!(found, is.map(|(register, _)| register), "{crm} {op2}");
                for register in [
                    SysReg::new(3, 0, 4, crm, op2),
                    SysReg::new(3, 3, 12, crm, op2),
                    SysReg::new(2, 0, 12, crm, op2),
                ] {
                    let access = SysRegAccess { register, ..access };
                    assert_eq!(GroupRegister::decode(access, of, VTR), None);
                }
            }
        }
    }
}

#[test]
fn an_interrupt_is_looked_at_acknowledged_and_ended() {
    for of in GROUPS {
        let mut world = World::new();
        assert_eq!(world.ack(of), SPURIOUS);
        world.pend(33);
        world.pend(34);
        let (taken, waits) = (intid(of), intid(other(of)));
        world.machine.priority(taken as usize, 0x40);
        assert_eq!(world.signal(), Some(of));
        assert_eq!(world.read(of, GroupRegister::Highest), taken);
        assert_eq!(world.read(other(of), GroupRegister::Highest), SPURIOUS);
        assert_eq!(world.ack(other(of)), SPURIOUS);
        assert_eq!(world.ack(of), taken);
        assert_eq!(world.states(taken), (0, 1));
        let level = u64::from(0x40_u8 >> 3);
        assert_eq!(
            world.read(of, GroupRegister::ActivePriorities(0)),
            1 << level
        );
        // What waits is less urgent than what runs.
        assert_eq!(world.signal(), None);
        assert_eq!(world.ack(other(of)), SPURIOUS);
        world.end(other(of), taken);
        assert_eq!(world.states(taken), (0, 1), "not its group's to end");
        world.end(of, SPURIOUS);
        assert_eq!(world.states(taken), (0, 1), "no interrupt");
        world.end(of, taken);
        assert_eq!(world.states(taken), (0, 0));
        assert_eq!(world.interface, OPEN);
        assert_eq!(world.signal(), Some(other(of)));
        assert_eq!(world.states(waits), (1, 0));
        // Nothing runs: nothing ends.
        world.end(of, waits);
        assert_eq!(world.states(waits), (1, 0));
    }
}

#[test]
fn what_comes_while_it_runs_is_pending_behind_it() {
    for of in GROUPS {
        let mut world = World::new();
        let taken = intid(of);
        world.machine.edge(taken as usize);
        world.pend(taken as usize);
        assert_eq!(world.ack(of), taken);
        world.pend(taken as usize);
        assert_eq!(world.states(taken), (1, 1));
        assert_eq!(world.signal(), None);
        world.end(of, taken);
        assert_eq!(world.signal(), Some(of));
        assert_eq!(world.ack(of), taken);
    }
}

#[test]
fn a_more_urgent_one_runs_first_and_each_end_is_of_what_runs() {
    for of in GROUPS {
        let mut world = World::new();
        let (first, second) = (intid(of), intid(other(of)));
        world.pend(first as usize);
        assert_eq!(world.ack(of), first);
        world.machine.priority(second as usize, 0x20);
        world.pend(second as usize);
        assert_eq!(world.signal(), Some(other(of)));
        assert_eq!(world.ack(other(of)), second);
        world.end(of, first);
        assert_eq!(world.states(first), (0, 1), "the other one runs");
        world.end(other(of), second);
        world.end(of, first);
        assert_eq!([first, second].map(|n| world.states(n)), [(0, 0); 2]);
        assert_eq!(world.interface, OPEN);
    }
}

#[test]
fn with_split_ends_it_stays_active() {
    let mut world = World::new();
    world.interface.vmcr.0 |= SPLIT_EOI;
    world.pend(34);
    assert_eq!(world.ack(Signal::Fiq), 34);
    world.end(Signal::Fiq, 34);
    assert_eq!(world.states(34), (0, 1));
    assert_eq!(world.interface.ap0r, [0; 4]);
}

#[test]
fn its_physical_interrupt_is_deactivated_with_it() {
    let mut world = World::new();
    for _ in 0..2 {
        let kicks = world.machine.fire(0, 34);
        world.machine.follow(kicks);
        assert_eq!(world.ack(Signal::Fiq), 34);
        assert_eq!(world.machine.gic.take_deactivation(0), None);
        world.end(Signal::Fiq, 34);
        let owed = world.machine.gic.take_deactivation(0);
        assert_eq!(owed.map(Intid::number), Some(34));
        world.machine.physical_active.remove(&34);
    }
    assert_eq!(world.ack(Signal::Fiq), SPURIOUS);
}

#[test]
fn the_binary_point_has_a_least_and_may_be_in_common() {
    use GroupRegister::BinaryPoint;
    let mut world = World::new();
    for (written, kept) in [
        (7, [7, 7]),
        (3, [3, 3]),
        (2, [2, 3]),
        (0, [2, 3]),
        (8, [2, 3]),
    ] {
        for (of, kept) in GROUPS.into_iter().zip(kept) {
            world.write(of, BinaryPoint, written);
            assert_eq!(world.read(of, BinaryPoint), kept, "{of:?} {written}");
        }
    }
    world.interface.vmcr.0 |= 1 << 4;
    for (group0, group1) in [(2, 3), (6, 7), (7, 7)] {
        world.write(Signal::Fiq, BinaryPoint, group0);
        world.write(Signal::Irq, BinaryPoint, 5);
        assert_eq!(world.read(Signal::Irq, BinaryPoint), group1);
    }
    world.interface.vmcr.0 &= !(1 << 4);
    assert_eq!(world.read(Signal::Irq, BinaryPoint), 3, "as it was before");
}

#[test]
fn a_group_goes_on_and_off_alone() {
    for of in GROUPS {
        let mut world = World::new();
        world.pend(33);
        world.pend(34);
        world.write(of, GroupRegister::Enable, !1);
        assert_eq!(world.read(of, GroupRegister::Enable), 0);
        assert_eq!(world.read(other(of), GroupRegister::Enable), 1);
        assert_eq!(world.signal(), Some(other(of)));
        assert_eq!(world.read(of, GroupRegister::Highest), SPURIOUS);
        world.write(of, GroupRegister::Enable, 1);
        assert_eq!(world.interface, OPEN);
    }
}

#[test]
fn active_priorities_are_kept_as_written() {
    let mut world = World::new();
    world.write(Signal::Fiq, GroupRegister::ActivePriorities(0), !0);
    world.write(Signal::Irq, GroupRegister::ActivePriorities(0), 6);
    assert_eq!(world.interface.ap0r, [0xffff_ffff, 0, 0, 0]);
    assert_eq!(world.interface.ap1r, [6, 0, 0, 0]);
    let read = world.read(Signal::Irq, GroupRegister::ActivePriorities(0));
    assert_eq!(read, 6);
}

/// What hardware has of a guest whose group `left` is EL1's by software: nothing of that is signalled or asked for, and the
/// guest hypervisor's registers come back as they were.
#[test]
fn hardware_lacks_the_group_that_is_left() {
    const TALL0: u64 = 1 << 11;
    const TALL1: u64 = 1 << 12;
    for (left, trap, group, requests) in
        [(Signal::Fiq, TALL0, 1, 0xc0), (Signal::Irq, TALL1, 2, 0x30)]
    {
        let mut world = World::new();
        let mut guest = Ich {
            // No condition is met: both groups are on.
            hcr: 1 | 1 << 5 | 1 << 7,
            interface: Interface {
                vmcr: Vmcr(0xff00_0003),
                ..Interface::RESET
            },
            ..Ich::RESET
        };
        guest.lrs[0] = 1 << 62 | 5;
        let mut hardware = Ich::RESET;
        let gic = &mut world.machine.gic;
        let _ = gic.enter_nested(0, &guest, Some(left), &mut hardware);
        assert_eq!(hardware.interface.vmcr.0, 0xff00_0003 & !group);
        assert_eq!(hardware.hcr, 1 | trap | guest.hcr & requests);
        assert_eq!(hardware.lrs[0], guest.lrs[0]);
        let before = guest;
        let _ = gic.leave_nested(0, &hardware, &mut guest);
        assert_eq!(guest, before);
        // One that is off stays off.
        guest.interface.vmcr.0 &= !3;
        guest.hcr = 1;
        let before = guest;
        let _ = gic.enter_nested(0, &guest, Some(left), &mut hardware);
        let _ = gic.leave_nested(0, &hardware, &mut guest);
        assert_eq!(guest, before);
        let _ = gic.enter_nested(0, &guest, None, &mut hardware);
        assert_eq!(hardware.hcr, 1);
        hardware.interface.vmcr.0 |= 3;
        let _ = gic.leave_nested(0, &hardware, &mut guest);
        assert_eq!(guest.interface.vmcr.0 & 3, 3);
    }
}

#[test]
fn an_el1_with_list_registers_of_its_own_has_its_hypervisors_traps() {
    const TRAPS: u64 = 0b1_0111 << 10;
    let mut machine = Machine::new(2, 32, 4);
    machine.gic.set_traps(0, !0);
    for intid in [None, Some(33)] {
        if let Some(intid) = intid {
            machine.pend(0, intid);
        }
        let _ = machine.sync(0);
        assert_eq!(machine.cpus[0].fill.hcr, TRAPS);
        let _ = machine.sync(1);
        assert_eq!(machine.cpus[1].fill.hcr, 0);
    }
    // Beside what it asks for itself.
    for intid in 34..40 {
        machine.pend(0, intid);
    }
    assert_eq!(machine.cpus[0].fill.hcr & TRAPS, TRAPS);
    assert_ne!(machine.cpus[0].fill.hcr, TRAPS);
    machine.gic.set_traps(0, 0);
    let _ = machine.sync(0);
    assert_eq!(machine.cpus[0].fill.hcr & TRAPS, 0);
}

proptest! {
    /// What is acknowledged by software runs where hardware would have it: its level is the running priority.
    #[test]
    fn the_level_that_runs_is_the_group_priority(
        priority in 0..31u8, point in 0..8u64, of in proptest::sample::select(&GROUPS[..]),
    ) {
        let mut world = World::new();
        let priority = priority << 3;
        world.write(of, GroupRegister::BinaryPoint, point);
        world.machine.priority(intid(of) as usize, priority);
        world.pend(intid(of) as usize);
        prop_assert_eq!(world.ack(of), intid(of));
        let mask = world.interface.vmcr.group_priority_mask(of == Signal::Irq);
        prop_assert_eq!(world.interface.running(VTR), Some(priority & mask));
        world.end(of, intid(of));
        prop_assert_eq!(world.interface.running(VTR), None);
    }
}
