//! Whether a vCPU whose interrupts are not in list registers has one to take.

use super::ich::{Interface, Vtr};
use super::state::At;
use super::{Gic, Vmcr};
use crate::bits::ones32;

/// How an interrupt is signalled (IHI 0069, 4.6.2, with one security state).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// As IRQ: group 1.
    Irq,
    /// As FIQ: group 0.
    Fiq,
}

/// The pending interrupt of highest priority, as one number: the lower, the more urgent. Of two alike it is the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Highest(u32);

impl Highest {
    #[inline]
    fn new(priority: u8, intid: usize, is_group1: bool) -> Self {
        Self(u32::from(priority) << 16 | (intid as u32) << 1 | u32::from(is_group1))
    }

    pub(super) fn priority(self) -> u8 {
        (self.0 >> 16) as u8
    }

    pub(super) fn intid(self) -> usize {
        self.0 as usize >> 1 & 0x3ff
    }

    #[inline]
    pub(super) fn group(self) -> Signal {
        if self.0 & 1 != 0 {
            Signal::Irq
        } else {
            Signal::Fiq
        }
    }

    /// Whether the priority mask and the running priority let it through.
    #[inline]
    pub(super) fn is_let_through(self, interface: &Interface, vtr: Vtr) -> bool {
        let vmcr = interface.vmcr;
        let priority = self.priority();
        let group_mask = vmcr.group_priority_mask(self.group().is_group1());
        priority < vmcr.priority_mask()
            && interface
                .running(vtr)
                .is_none_or(|running| priority & group_mask < running & group_mask)
    }
}

impl Gic {
    /// What the CPU interface of `vcpu` signals while the vCPU's own guest runs, by the state `interface` that it left
    /// there: the pending interrupt of highest priority of the enabled groups, if the priority mask and the running
    /// priority let it through.
    ///
    /// Exact after a [`fold`](Self::fold) or [`leave_nested`](Self::leave_nested). A [`fill`](Self::fill) makes
    /// hardware signal the same, so a vCPU that takes an exception for this signal finds its interrupt.
    pub fn signal(&self, vcpu: usize, interface: &Interface, vtr: Vtr) -> Option<Signal> {
        let highest = self.highest(vcpu, interface.vmcr)?;
        let is_let_through = highest.is_let_through(interface, vtr);
        is_let_through.then(|| highest.group())
    }

    /// The pending interrupt of highest priority of the groups that `vmcr` has on.
    #[inline]
    pub(super) fn highest(&self, vcpu: usize, vmcr: Vmcr) -> Option<Highest> {
        const NONE: Highest = Highest(u32::MAX);
        let state = &self.vcpus[vcpu];
        let mut first = NONE;
        for word in ones32(state.summary) {
            let bank = self.bank(At::of(vcpu, word << 5));
            let pending = state.wanted[word] & bank.deliverable(self.enables) & !bank.active;
            for bit in ones32(pending) {
                let is_group1 = bank.group1() >> bit & 1 != 0;
                if vmcr.is_group_enabled(is_group1) {
                    let found = Highest::new(bank.priority(bit), word << 5 | bit, is_group1);
                    first = first.min(found);
                }
            }
        }
        (first != NONE).then_some(first)
    }
}

impl Vmcr {
    /// One binary point for both groups.
    const VCBPR: u64 = 1 << 4;

    /// The bits of a priority that decide on preemption: those left of the group's binary point (IHI 0069, 4.8.2).
    pub(super) const fn group_priority_mask(self, is_group1: bool) -> u8 {
        let (bpr0, bpr1) = (self.0 >> 21 & 7, self.0 >> 18 & 7);
        let point = if is_group1 && self.0 & Self::VCBPR == 0 {
            bpr1.saturating_sub(1)
        } else {
            bpr0
        };
        // A binary point of 7 leaves no bit: nothing preempts.
        (0xffu32 << (point + 1)) as u8
    }

    /// ICC_BPR0_EL1 or ICC_BPR1_EL1 as it reads: with the binary point in common, group 1's is one more than group 0's.
    pub(super) const fn binary_point(self, is_group1: bool) -> u8 {
        let (bpr0, bpr1) = ((self.0 >> 21) as u8 & 7, (self.0 >> 18) as u8 & 7);
        match is_group1 {
            false => bpr0,
            true if self.0 & Self::VCBPR == 0 => bpr1,
            true if bpr0 == 7 => 7,
            true => bpr0 + 1,
        }
    }

    /// With another binary point of a group; group 1's stays where it is that of group 0.
    pub(super) const fn with_binary_point(self, is_group1: bool, point: u8) -> Self {
        let point = point as u64 & 7;
        match is_group1 {
            false => Self(self.0 & !(7 << 21) | point << 21),
            true if self.0 & Self::VCBPR == 0 => Self(self.0 & !(7 << 18) | point << 18),
            true => self,
        }
    }

    /// With a group on or off.
    pub(super) const fn with_group(self, is_group1: bool, is_on: bool) -> Self {
        let bit = 1 << is_group1 as u32;
        Self(if is_on { self.0 | bit } else { self.0 & !bit })
    }

    /// VEOIM: an end of interrupt drops the priority and no more.
    pub(super) const fn is_eoi_split(self) -> bool {
        self.0 >> 9 & 1 != 0
    }
}
