//! Whether a virtual CPU whose interrupts are not in list registers has one to take.

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

impl Gic {
    /// What the CPU interface of `vcpu` signals while its own guest runs, by the state that it left there: the pending
    /// interrupt of highest priority of the groups that are on, if the mask and what runs let it through.
    ///
    /// Exact after a [`fold`](Self::fold) or [`leave_nested`](Self::leave_nested). What this gives and what a
    /// [`fill`](Self::fill) makes hardware signal are the same, so that a virtual CPU that takes an exception for it
    /// finds its interrupt.
    pub fn signal(&self, vcpu: usize, interface: &Interface, vtr: Vtr) -> Option<Signal> {
        let state = &self.vcpus[vcpu];
        let vmcr = interface.vmcr;
        let mut first: Option<(u8, bool)> = None;
        for word in ones32(state.summary) {
            let bank = self.bank(At::of(vcpu, word << 5));
            let pending = state.wanted[word] & bank.deliverable(self.enables) & !bank.active;
            for bit in ones32(pending) {
                let is_group1 = bank.group1() >> bit & 1 != 0;
                let priority = bank.priority(bit);
                if vmcr.is_group_enabled(is_group1) && first.is_none_or(|(p, _)| priority < p) {
                    first = Some((priority, is_group1));
                }
            }
        }
        let (priority, is_group1) = first?;
        let group_mask = vmcr.group_priority_mask(is_group1);
        let is_let_through = priority < vmcr.priority_mask()
            && interface
                .running(vtr)
                .is_none_or(|running| priority & group_mask < running & group_mask);
        is_let_through.then_some(if is_group1 { Signal::Irq } else { Signal::Fiq })
    }
}

impl Vmcr {
    /// The bits of a priority that decide on preemption: those left of the group's binary point (IHI 0069, 4.8.2).
    const fn group_priority_mask(self, is_group1: bool) -> u8 {
        const VCBPR: u64 = 1 << 4;
        let (bpr0, bpr1) = (self.0 >> 21 & 7, self.0 >> 18 & 7);
        let point = if is_group1 && self.0 & VCBPR == 0 {
            bpr1.saturating_sub(1)
        } else {
            bpr0
        };
        // A binary point of 7 leaves no bit: nothing preempts.
        (0xffu32 << (point + 1)) as u8
    }
}
