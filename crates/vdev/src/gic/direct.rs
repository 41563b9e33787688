//! The CPU interface of one group, emulated by software.
//!
//! A guest hypervisor (L1) may route one of IRQ and FIQ to itself and leave the other to the EL1 under it, by
//! HCR_EL2.{IMO, FMO}. In the group that L1 routes, EL1 takes virtual interrupts from L1's list registers; in the other
//! it takes L1's physical ones, and L1 is not involved. EL1's accesses go the same ways: those to registers of one
//! group to the virtual or to the physical interface, those to registers of both groups (ICC_PMR_EL1, ICC_CTLR_EL1,
//! ICC_RPR_EL1, ICC_DIR_EL1) to the virtual one (IHI 0069, 12.2 and 12.3: ICV_* registers are accessed where the bit is
//! 1).
//!
//! The hardware has one interface for both, and its list registers then hold those of L1's guest. So software emulates
//! the physical group: [`enter_nested`](Gic::enter_nested) makes its registers trap and disables it in the hardware,
//! [`read_direct`](Gic::read_direct) and [`write_direct`](Gic::write_direct) answer the accesses, and what
//! [`signal`](Gic::signal) says is shown to EL1 by HCR_EL2.VF or VI. That bit is free: L1's own has an effect only
//! where L1 routes the group. As on hardware one interrupt is signalled at a time, the one of highest priority in both
//! groups: while that is an FIQ which EL1 masks, an IRQ of lower priority waits (IHI 0069, 4.8).
//!
//! Left out: virtual interrupts that L1 lists in the group that it does not route are never signalled, as on hardware,
//! but here they do not hold back the others that it lists either.

use droste_arm64::esr::{Direction, SysRegAccess};
use droste_arm64::hcr;

use super::ich::{Interface, Vtr};
use super::state::At;
use super::{Gic, Intid, Kicks, Signal};

/// What a read of ICC_IAR&lt;n&gt;_EL1 or ICC_HPPIR&lt;n&gt;_EL1 gives where there is nothing.
const SPURIOUS: u64 = 1023;

/// A register of one group of the CPU interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupRegister {
    /// ICC_IAR&lt;n&gt;_EL1: a read acknowledges an interrupt.
    Acknowledge,
    /// ICC_EOIR&lt;n&gt;_EL1: a write ends one.
    End,
    /// ICC_HPPIR&lt;n&gt;_EL1: a read gives the pending one of highest priority.
    Highest,
    /// ICC_BPR&lt;n&gt;_EL1.
    BinaryPoint,
    /// ICC_AP&lt;n&gt;R&lt;m&gt;_EL1.
    ActivePriorities(usize),
    /// ICC_IGRPEN&lt;n&gt;_EL1.
    Enable,
}

impl Signal {
    /// Which of IRQ and FIQ is left to EL1, by HCR_EL2.{IMO, FMO}, while virtual EL2, whose HCR_EL2 is `hcr`, routes
    /// the other to itself. `None` if it routes both or neither, and with TGE, where there is no EL1.
    ///
    /// ```
    /// use droste_arm64::hcr;
    /// use droste_vdev::gic::Signal;
    /// assert_eq!(Signal::left_to_el1(hcr::IMO), Some(Signal::Fiq));
    /// assert_eq!(Signal::left_to_el1(hcr::FMO), Some(Signal::Irq));
    /// assert_eq!(Signal::left_to_el1(hcr::IMO | hcr::FMO), None);
    /// ```
    #[inline]
    pub const fn left_to_el1(hcr: u64) -> Option<Self> {
        const ROUTES: u64 = hcr::IMO | hcr::FMO;
        match hcr & (ROUTES | hcr::TGE) {
            hcr::IMO => Some(Self::Fiq),
            hcr::FMO => Some(Self::Irq),
            _ => None,
        }
    }

    /// The bit of HCR_EL2 that makes a virtual one pending for EL1, where physical ones are routed to EL2.
    pub const fn pending_bit(self) -> u64 {
        match self {
            Self::Irq => hcr::VI,
            Self::Fiq => hcr::VF,
        }
    }

    pub(super) const fn is_group1(self) -> bool {
        matches!(self, Self::Irq)
    }
}

impl GroupRegister {
    /// The register of group `of` that an access addresses. `None` if there is no such register in that group, or if
    /// the access reads a write-only one or writes a read-only one (IHI 0069, 12.2).
    pub fn decode(access: SysRegAccess, of: Signal, vtr: Vtr) -> Option<Self> {
        let register = access.register;
        if (register.op0(), register.op1(), register.crn()) != (3, 0, 12) {
            return None;
        }
        let (crm, op2) = (register.crm(), register.op2());
        let found = match (of, crm, op2) {
            (Signal::Fiq, 8, 0) | (Signal::Irq, 12, 0) => Self::Acknowledge,
            (Signal::Fiq, 8, 1) | (Signal::Irq, 12, 1) => Self::End,
            (Signal::Fiq, 8, 2) | (Signal::Irq, 12, 2) => Self::Highest,
            (Signal::Fiq, 8, 3) | (Signal::Irq, 12, 3) => Self::BinaryPoint,
            (Signal::Fiq, 12, 6) | (Signal::Irq, 12, 7) => Self::Enable,
            (Signal::Fiq, 8, 4..) | (Signal::Irq, 9, ..4) => {
                Self::ActivePriorities(usize::from(op2 & 3))
            }
            _ => return None,
        };
        let is_there = match (found, access.direction) {
            (Self::Acknowledge | Self::Highest, direction) => direction == Direction::Read,
            (Self::End, direction) => direction == Direction::Write,
            (Self::ActivePriorities(n), _) => n < vtr.active_priorities(),
            (Self::BinaryPoint | Self::Enable, _) => true,
        };
        is_there.then_some(found)
    }
}

impl Gic {
    /// Answers EL1's read of `register` in group `of`, which is left to it, with the value that EL1 reads. `interface`
    /// is that of `vcpu`. Call it after a [`fold_lent`](Self::fold_lent).
    pub fn read_direct(
        &mut self,
        vcpu: usize,
        (of, register): (Signal, GroupRegister),
        interface: &mut Interface,
        vtr: Vtr,
    ) -> (u64, Kicks) {
        let value = match register {
            GroupRegister::Acknowledge => return self.acknowledge(vcpu, of, interface, vtr),
            GroupRegister::Highest => match self.highest(vcpu, interface.vmcr) {
                Some(highest) if highest.group() == of => highest.intid() as u64,
                _ => SPURIOUS,
            },
            GroupRegister::End => 0,
            GroupRegister::BinaryPoint => interface.vmcr.binary_point(of.is_group1()).into(),
            GroupRegister::ActivePriorities(n) => interface.active_priorities(of)[n & 3],
            GroupRegister::Enable => interface.vmcr.is_group_enabled(of.is_group1()).into(),
        };
        (value, Kicks::NONE)
    }

    /// Answers EL1's write of `value` to such a register.
    pub fn write_direct(
        &mut self,
        vcpu: usize,
        (of, register): (Signal, GroupRegister),
        value: u64,
        interface: &mut Interface,
        vtr: Vtr,
    ) -> Kicks {
        match register {
            GroupRegister::End => return self.end(vcpu, of, value, interface, vtr),
            GroupRegister::BinaryPoint => {
                let least = vtr.lowest_binary_point() as u8 + u8::from(of.is_group1());
                let point = (value as u8 & 7).max(least);
                interface.vmcr = interface.vmcr.with_binary_point(of.is_group1(), point);
            }
            GroupRegister::ActivePriorities(n) => {
                interface.active_priorities(of)[n & 3] = value & 0xffff_ffff;
            }
            GroupRegister::Enable => {
                interface.vmcr = interface.vmcr.with_group(of.is_group1(), value & 1 != 0);
            }
            GroupRegister::Acknowledge | GroupRegister::Highest => {}
        }
        Kicks::NONE
    }

    /// Acknowledges what is signalled, if it is of group `of` (IHI 0069, ICC_IAR0_EL1).
    fn acknowledge(
        &mut self,
        vcpu: usize,
        of: Signal,
        interface: &mut Interface,
        vtr: Vtr,
    ) -> (u64, Kicks) {
        let highest = self.highest(vcpu, interface.vmcr);
        let Some(taken) =
            highest.filter(|it| it.group() == of && it.is_let_through(interface, vtr))
        else {
            return (SPURIOUS, Kicks::NONE);
        };
        let mask = interface.vmcr.group_priority_mask(of.is_group1());
        let level = usize::from(taken.priority() & mask) >> (vtr.lowest_binary_point() + 1);
        interface.active_priorities(of)[level >> 5 & 3] |= 1 << (level & 31);
        let (at, bit) = (At::of(vcpu, taken.intid()), taken.intid() & 31);
        let touched = self.bank_mut(at).acknowledge(1 << bit);
        (taken.intid() as u64, self.follow_up(at, vcpu, touched))
    }

    /// The running priority drops, if what runs is of group `of`; with EOImode 0 the interrupt is deactivated as well (IHI
    /// 0069, ICC_EOIR0_EL1).
    fn end(
        &mut self,
        vcpu: usize,
        of: Signal,
        value: u64,
        interface: &mut Interface,
        vtr: Vtr,
    ) -> Kicks {
        const INTID: u64 = 0xff_ffff;
        let Some(intid) = Intid::new((value & INTID) as u32) else {
            return Kicks::NONE;
        };
        if interface.running_group(vtr) != Some(of) {
            return Kicks::NONE;
        }
        if let Some(word) = interface
            .active_priorities(of)
            .iter_mut()
            .find(|w| **w != 0)
        {
            *word &= word.wrapping_sub(1);
        }
        if interface.vmcr.is_eoi_split() {
            return Kicks::NONE;
        }
        self.deactivate(vcpu, intid)
    }
}

impl Interface {
    fn active_priorities(&mut self, of: Signal) -> &mut [u64; super::MAX_ACTIVE_PRIORITIES] {
        match of {
            Signal::Fiq => &mut self.ap0r,
            Signal::Irq => &mut self.ap1r,
        }
    }

    /// The group of the running priority: group 0 where both are active at one level, which is UNPREDICTABLE.
    fn running_group(&self, vtr: Vtr) -> Option<Signal> {
        (0..vtr.active_priorities()).find_map(|n| {
            let (group0, group1) = (self.ap0r[n] as u32, self.ap1r[n] as u32);
            let is_group1 = group1.trailing_zeros() < group0.trailing_zeros();
            match group0 | group1 {
                0 => None,
                _ if is_group1 => Some(Signal::Irq),
                _ => Some(Signal::Fiq),
            }
        })
    }
}
