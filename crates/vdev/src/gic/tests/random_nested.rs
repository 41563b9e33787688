//! A guest hypervisor that lists what it likes, its own guest that takes and ends it, and random events around them,
//! against two plain models: the interrupts of the guest hypervisor, and its list registers as hardware would have
//! them were it at EL2.

use super::machine::Machine;
use super::random::{Event, Plain, VCPUS, apply, prepare, quiesce, violent};
use crate::Line;
use crate::gic::{Bare, GroupRegister, Ich, Interface, Kicks, Signal, Vmcr, Vtr};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

/// The vCPU whose PPI 27 is a physical one.
const HYPERVISOR: usize = 1;
const COUNT: usize = 4;
const VTR: Vtr = Vtr(4 << 26);
/// What list registers claim: that PPI, the physical SPI, others that exist, an SGI, and none.
const CLAIMS: [u64; 8] = [27, 45, 40, 33, 9, 63, 64, 1023];

#[derive(Clone, Copy, Debug)]
enum Step {
    Around(Event),
    /// The guest hypervisor drops the priority of what runs and leaves it active.
    Drop,
    /// It lists an interrupt: slot, the state bits and what they mean, INTID.
    List(usize, u64, u64),
    Request(u64),
    /// With group 1 its EL1's own, or not.
    Enter(bool),
    Leave,
    /// Its guest acknowledges what is most urgent.
    Take,
    /// It deactivates the interrupt of a slot, if it is active.
    Deactivate(usize),
    DeactivateUnlisted,
    Groups(u64),
    /// Its EL1 acknowledges or ends an interrupt of the group that is left to it.
    AckDirect,
    EndDirect,
}

fn list() -> impl Strategy<Value = Step> {
    let claim = proptest::sample::select(&CLAIMS[..]);
    let link = prop_oneof![
        3 => claim.prop_map(|claim| 1 << 61 | claim << 32),
        1 => Just(1 << 41),
        1 => Just(0),
    ];
    (0..COUNT, 0..4u64, 0..4u64, link).prop_map(|(slot, state, priority, link)| {
        let lr = state << 62 | priority << 54 | link | 1 << 60;
        Step::List(slot, lr, 0x20 + slot as u64)
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => violent().prop_map(Step::Around),
        1 => Just(Step::Around(Event::Fire(HYPERVISOR, 27))),
        2 => Just(Step::Around(Event::Ack(HYPERVISOR))),
        2 => Just(Step::Drop),
        4 => list(),
        1 => (0..0x100u64, any::<bool>())
            .prop_map(|(bits, on)| Step::Request(bits & !1 | u64::from(on))),
        4 => any::<bool>().prop_map(Step::Enter),
        2 => Just(Step::Leave),
        6 => Just(Step::Take),
        4 => (0..COUNT).prop_map(Step::Deactivate),
        1 => Just(Step::DeactivateUnlisted),
        1 => (0..4u64).prop_map(Step::Groups),
        3 => Just(Step::AckDirect),
        2 => Just(Step::EndDirect),
    ]
}

/// The list register that a CPU interface takes next: pending alone, the most urgent, then the first.
fn next(lrs: &[u64; 16]) -> Option<usize> {
    let pending = (0..COUNT).filter(|&slot| lrs[slot] >> 62 == 1);
    pending.min_by_key(|&slot| (lrs[slot] >> 48 & 0xff, slot))
}

/// Whether hardware with these registers raises the maintenance interrupt (IHI 0069, ICH_MISR_EL2).
fn maintenance(ich: &Ich) -> bool {
    let asks = |bit: u32| ich.hcr >> bit & 1 != 0;
    let on = |group: u32| ich.interface.vmcr.0 >> group & 1 != 0;
    let lrs = &ich.lrs[..COUNT];
    let ended = |lr: &u64| lr >> 61 == 0 && lr >> 41 & 1 != 0;
    asks(0)
        && (lrs.iter().any(ended)
            || asks(1) && lrs.iter().filter(|&lr| lr >> 62 != 0).count() < 2
            || asks(2) && ich.hcr >> 27 & 31 != 0
            || asks(3) && !lrs.iter().any(|lr| lr >> 62 == 1)
            || (0..2).any(|group| asks(4 + 2 * group) && on(group))
            || (0..2).any(|group| asks(5 + 2 * group) && !on(group)))
}

fn bare(ich: &Ich) -> Bare {
    let Interface { vmcr, ap0r, ap1r } = ich.interface;
    Bare {
        hcr: ich.hcr,
        vmcr,
        ap0r: ap0r[0],
        ap1r: ap1r[0],
    }
}

fn set_bare(ich: &mut Ich, bare: Bare) {
    ich.hcr = bare.hcr;
    ich.interface.vmcr = bare.vmcr;
    ich.interface.ap0r[0] = bare.ap0r;
    ich.interface.ap1r[0] = bare.ap1r;
}

struct World {
    machine: Machine,
    plain: Plain,
    /// The guest hypervisor's registers.
    guest: Ich,
    /// The same as they should be, once folded.
    expected: Ich,
    hardware: Ich,
    left: Option<Signal>,
    /// Whether its guest has bare list registers.
    is_bare: bool,
    /// Whether its line was high when its guest was entered.
    was_high: bool,
    /// Whether the physical interrupt said so before it folded.
    is_noticed: bool,
}

impl World {
    fn is_below(&self) -> bool {
        self.machine.is_below.is_some()
    }

    fn new() -> Self {
        let mut guest = Ich::RESET;
        guest.hcr = 1;
        guest.interface.vmcr.0 = 0xff00_0003;
        Self {
            machine: prepare(16),
            plain: Plain::new(),
            guest,
            expected: guest,
            hardware: Ich::RESET,
            left: None,
            is_bare: false,
            was_high: false,
            is_noticed: false,
        }
    }

    fn enter(&mut self) {
        let lrs = self.guest.lrs.iter().fold(0, |all, lr| all | lr);
        let bare = Bare::for_hardware(&bare(&self.guest), lrs, self.left, VTR);
        self.is_bare = bare.is_some();
        let gic = &mut self.machine.gic;
        let (used, line) = if let Some(bare) = bare {
            set_bare(&mut self.hardware, bare);
            (0, Line::Low)
        } else {
            gic.enter_nested(HYPERVISOR, &self.guest, self.left, &mut self.hardware)
        };
        self.hardware.lrs[used..].fill(0);
        assert!(!maintenance(&self.hardware), "it would never run");
        self.was_high = maintenance(&self.expected);
        assert_eq!(line.is_high(), self.was_high, "told at entry");
        let is_signalled = self.hardware.interface.vmcr.0 & 2 != 0;
        assert!(self.left.is_none() || !is_signalled, "virtual ones");
        self.is_noticed = false;
        self.machine.is_below = Some(HYPERVISOR);
        self.check_links();
    }

    fn leave(&mut self) -> Kicks {
        let gic = &mut self.machine.gic;
        let kicks = if self.is_bare {
            let left = bare(&self.hardware).for_guest(self.guest.hcr);
            set_bare(&mut self.guest, left);
            Kicks::NONE
        } else {
            gic.leave_nested(HYPERVISOR, &self.hardware, &mut self.guest)
        };
        self.machine.is_below = None;
        self.deactivate_owed();
        assert_eq!(self.guest, self.expected);
        let line = self.guest.maintenance(COUNT);
        assert_eq!(line.is_high(), maintenance(&self.expected));
        assert!(
            self.was_high || self.is_noticed || line == Line::Low,
            "a rise unseen"
        );
        kicks
    }

    /// Whoever is kicked folds and goes on as before, but for the hypervisor whose guest runs: that one takes back what it
    /// has lent and no longer is.
    fn follow(&mut self, mut kicks: Kicks) {
        while let Some(vcpu) = kicks.iter().next() {
            kicks = kicks.without(vcpu);
            kicks |= if vcpu == HYPERVISOR && self.is_below() {
                self.fold_lent()
            } else {
                self.machine.sync(vcpu)
            };
            kicks = kicks.without(vcpu);
        }
    }

    fn fold_lent(&mut self) -> Kicks {
        if self.machine.gic.has_lent_requests(HYPERVISOR) {
            let kicks = self.leave();
            self.enter();
            return kicks;
        }
        let lrs = &self.hardware.lrs;
        let kicks = self.machine.gic.fold_lent(HYPERVISOR, |slot| lrs[slot]);
        let kicks = kicks | self.machine.look(HYPERVISOR);
        self.deactivate_owed();
        kicks
    }

    fn deactivate_owed(&mut self) {
        while let Some(physical) = self.machine.gic.take_deactivation(HYPERVISOR) {
            let was_active = self.machine.physical_active.remove(&physical.number());
            assert!(was_active, "{physical:?} deactivated twice");
        }
    }

    /// Its own CPU interface.
    fn interface(&self) -> Interface {
        let vcpu = &self.machine.cpus[HYPERVISOR];
        let mut interface = Interface {
            vmcr: Vmcr(vcpu.vmcr),
            ..Interface::RESET
        };
        for &(_, priority) in &vcpu.running {
            interface.ap1r[0] |= 1 << (priority >> 3);
        }
        interface
    }

    /// What it would take.
    fn signalled(&self) -> Vec<usize> {
        let running = &self.machine.cpus[HYPERVISOR].running;
        let limit = running.iter().map(|&(_, priority)| priority).min();
        self.plain.signalled(HYPERVISOR, limit.unwrap_or(0xff))
    }

    /// What the hypervisor would take while its guest runs is what hardware would signal to it.
    fn check_signal(&self) {
        let expected = self.signalled();
        let found = self.machine.gic.signal(HYPERVISOR, &self.interface(), VTR);
        assert_eq!(found.is_some(), !expected.is_empty(), "{expected:?}");
    }

    fn ack_direct(&mut self) -> Kicks {
        let (expected, before) = (self.signalled(), self.interface());
        let mut after = before;
        let what = (Signal::Irq, GroupRegister::Acknowledge);
        let gic = &mut self.machine.gic;
        let (number, kicks) = gic.read_direct(HYPERVISOR, what, &mut after, VTR);
        if number == 1023 {
            assert_eq!(expected, []);
            assert_eq!(before, after);
            return kicks;
        }
        let number = number as usize;
        assert!(expected.contains(&number), "{number} of {expected:?}");
        self.plain.at(HYPERVISOR, number).take(HYPERVISOR);
        let level = (after.ap1r[0] ^ before.ap1r[0]).trailing_zeros() as u8;
        let running = &mut self.machine.cpus[HYPERVISOR].running;
        running.push((number, level << 3));
        assert_eq!(self.interface(), after);
        kicks
    }

    fn end_direct(&mut self) -> Kicks {
        let mut interface = self.interface();
        let Some((number, _)) = self.machine.cpus[HYPERVISOR].running.pop() else {
            return Kicks::NONE;
        };
        let state = self.plain.at(HYPERVISOR, number);
        if state.active_on != Some(HYPERVISOR) {
            return Kicks::NONE;
        }
        state.end();
        let what = (Signal::Irq, GroupRegister::End);
        let gic = &mut self.machine.gic;
        let kicks = gic.write_direct(HYPERVISOR, what, number as u64, &mut interface, VTR);
        assert_eq!(self.interface(), interface);
        kicks
    }

    /// A physical interrupt in hardware's list registers is active, the hypervisor's own, and there once.
    fn check_links(&self) {
        let mut named: Vec<u64> = Vec::new();
        let others = (0..VCPUS).filter(|&vcpu| vcpu != HYPERVISOR);
        let lists = others.map(|vcpu| &self.machine.cpus[vcpu].lrs);
        for lr in lists.flatten().chain(&self.hardware.lrs) {
            if lr >> 62 != 0 && lr >> 61 & 1 != 0 {
                named.push(lr >> 32 & 0x1fff);
            }
        }
        for (slot, lr) in self.hardware.lrs.iter().enumerate() {
            if lr >> 62 == 0 || lr >> 61 & 1 == 0 {
                continue;
            }
            assert_ne!(lr >> 62, 3, "no state of a linked one");
            let number = lr >> 32 & 0x1fff;
            assert_eq!(
                number,
                self.guest.lrs[slot] >> 32 & 0x1fff,
                "a claim that holds"
            );
            assert!(self.machine.physical_active.contains(&(number as usize)));
            assert_eq!(named.iter().filter(|&&n| n == number).count(), 1);
        }
    }

    /// What no physical interrupt stands behind ends by a maintenance interrupt. An interface that is off raises none, nor
    /// does one that is pending as well, which is no state of a register with HW: that is seen at the next leave.
    fn is_end_seen(&self, slot: usize) -> bool {
        let (lr, set) = (self.hardware.lrs[slot], self.guest.lrs[slot]);
        lr >> 61 & 1 != 0 || set >> 61 & 1 == 0 || self.hardware.hcr & 1 != 0 && lr >> 62 != 3
    }

    fn deactivate_in_hardware(&mut self, slot: usize) {
        let lr = &mut self.hardware.lrs[slot];
        *lr &= !(1 << 63);
        if *lr >> 61 & 1 != 0 {
            let number = *lr as usize >> 32 & 0x1fff;
            let was_active = self.machine.physical_active.remove(&number);
            assert!(was_active, "another's");
        }
    }

    fn deactivate_in_models(&mut self, slot: usize) {
        let lr = &mut self.expected.lrs[slot];
        *lr &= !(1 << 63);
        let claim = *lr as usize >> 32 & 0x1fff;
        if *lr >> 61 & 1 != 0 && [27, 33, 40, 45].contains(&claim) {
            self.plain.at(HYPERVISOR, claim).end();
        }
    }

    /// The guest's guest does something, at which hardware may raise the maintenance interrupt.
    fn below(&mut self, step: Step) {
        match step {
            Step::Take => {
                let slot = next(&self.hardware.lrs);
                assert_eq!(slot, next(&self.expected.lrs));
                if let Some(slot) = slot {
                    self.hardware.lrs[slot] ^= 3 << 62;
                    self.expected.lrs[slot] ^= 3 << 62;
                }
            }
            Step::Deactivate(slot) if self.is_end_seen(slot) => {
                let is_active = self.hardware.lrs[slot] >> 63 != 0;
                assert_eq!(is_active, self.expected.lrs[slot] >> 63 != 0);
                if is_active {
                    self.deactivate_in_hardware(slot);
                    self.deactivate_in_models(slot);
                }
            }
            Step::DeactivateUnlisted => {
                for ich in [&mut self.hardware, &mut self.expected] {
                    let count = ich.hcr >> 27 & 31;
                    ich.hcr = ich.hcr & !(31 << 27) | ((count + 1) & 31) << 27;
                }
            }
            Step::Groups(enables) => {
                let mask = if self.left.is_some() { 1 } else { 3 };
                for ich in [&mut self.hardware, &mut self.expected] {
                    ich.interface.vmcr.0 = ich.interface.vmcr.0 & !mask | enables & mask;
                }
            }
            Step::AckDirect if self.left.is_some() => {
                let kicks = self.ack_direct();
                self.follow(kicks);
            }
            Step::EndDirect if self.left.is_some() => {
                let kicks = self.end_direct();
                self.follow(kicks);
            }
            _ => {}
        }
        if maintenance(&self.hardware) {
            self.is_noticed = true;
            let kicks = self.leave();
            self.enter();
            self.follow(kicks);
        }
    }

    /// The guest hypervisor does something at virtual EL2.
    fn above(&mut self, step: Step) {
        match step {
            Step::Drop => {
                self.machine.cpus[HYPERVISOR].running.pop();
            }
            Step::List(slot, lr, intid) => {
                self.guest.lrs[slot] = lr | intid;
                self.expected.lrs[slot] = lr | intid;
            }
            Step::Request(requests) => {
                let count = self.guest.hcr & 16 << 27;
                self.guest.hcr = requests | count;
                self.expected.hcr = requests | count;
            }
            Step::Enter(is_left) => {
                self.left = is_left.then_some(Signal::Irq);
                let kicks = self.machine.fold(HYPERVISOR);
                self.enter();
                self.follow(kicks.without(HYPERVISOR));
            }
            _ => {}
        }
    }

    fn around(&mut self, event: Event) {
        match event {
            Event::Ack(HYPERVISOR) | Event::End(HYPERVISOR) if self.is_below() => {}
            Event::Ack(v) => {
                let running = &self.machine.cpus[v].running;
                let limit = running.last().map_or(0xff, |&(_, priority)| priority);
                let expected = self.plain.signalled(v, limit);
                match self.machine.ack(v) {
                    Some(number) => {
                        assert!(expected.contains(&number), "{number} of {expected:?}");
                        self.plain.at(v, number).take(v);
                    }
                    None => assert_eq!(expected, [], "on {v}"),
                }
            }
            Event::End(v) => {
                if let Some(number) = self.machine.end(v) {
                    let state = self.plain.at(v, number);
                    if state.active_on == Some(v) {
                        state.end();
                    }
                }
            }
            _ => {
                let could_fire = match event {
                    Event::Fire(_, n) => !self.machine.physical_active.contains(&n),
                    _ => false,
                };
                let kicks = apply(&mut self.machine, event);
                self.plain.apply(event, could_fire);
                self.follow(kicks);
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Around(event) => self.around(event),
            Step::Leave if self.is_below() => {
                let kicks = self.leave();
                self.follow(kicks | Kicks::one(HYPERVISOR));
            }
            _ if self.is_below() => self.below(step),
            _ => self.above(step),
        }
        self.follow(Kicks::one(0) | Kicks::one(1) | Kicks::one(2));
        if self.is_below() {
            self.check_links();
            self.check_signal();
        }
        self.plain.check(&mut self.machine);
    }
}

proptest! {
    #[test]
    fn a_guest_hypervisor_cannot_tell_its_list_registers_from_hardware(
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let mut world = World::new();
        for &step in &steps {
            world.step(step);
        }
        world.step(Step::Leave);
        quiesce(&mut world.machine);
    }
}
