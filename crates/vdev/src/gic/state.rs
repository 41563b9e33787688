//! Where the state of each interrupt and each vCPU is, and which vCPU wants an interrupt in its list registers.

use super::bank::{Bank, Enables};
use super::{Gic, Intid, Kicks, MAX_LIST_REGISTERS};
use crate::bits::ones32;

/// Words of 32 INTIDs.
pub(super) const WORDS: usize = 32;

/// In place of a vCPU: none.
pub(super) const NOBODY: u8 = 0xff;

/// One vCPU's redistributor and list registers.
pub(super) struct Vcpu {
    pub(super) private: Bank,
    /// Interrupts that its list registers should hold, as far as GICD_CTLR forwards their groups: a bit for each INTID.
    pub(super) wanted: [u32; WORDS],
    /// Which words of `wanted` are not 0.
    pub(super) summary: u32,
    /// INTIDs in the list registers, in order.
    pub(super) listed: [u16; MAX_LIST_REGISTERS],
    pub(super) used: usize,
    /// What they hold instead while the guest's own guest runs.
    pub(super) shadow: Shadow,
    /// ICH_HCR_EL2's traps while they hold its own.
    pub(super) traps: u64,
    pub(super) is_stale: bool,
    pub(super) is_asleep: bool,
    /// Physical INTIDs to deactivate: a bit each.
    pub(super) owed: [u32; WORDS],
    /// Which words of `owed` are not 0.
    pub(super) owed_summary: u32,
}

/// What the hardware's list registers hold for a guest's own guest, a bit for each.
#[derive(Default)]
pub(super) struct Shadow {
    pub(super) is_entered: bool,
    pub(super) loaded: u32,
    /// Named with their physical interrupt, which `linked` has as the guest's INTID.
    pub(super) lent: u32,
    /// To be deactivated by hand, `linked` likewise.
    pub(super) by_hand: u32,
    pub(super) linked: [u16; MAX_LIST_REGISTERS],
    /// The bits of ICH_VMCR_EL2 that the hardware's lacks: the enable of a group that is not the guest's guest's.
    pub(super) hidden: u64,
}

/// 32 SPIs.
pub(super) struct Shared {
    pub(super) bank: Bank,
    /// GICD_IROUTER&lt;n&gt; of each: the affinity, packed to 32 bits.
    pub(super) route: [u32; 32],
    /// The vCPU that the route names.
    pub(super) target: [u8; 32],
    /// The vCPU that wants it in its list registers. One that lists it or has it active keeps it.
    pub(super) holder: [u8; 32],
}

/// Where the bank of an interrupt is.
#[derive(Clone, Copy)]
pub(super) enum At {
    /// SGIs and PPIs of a vCPU.
    Private(usize),
    /// SPIs; index 0 is INTIDs 32 to 63.
    Shared(usize),
}

impl At {
    pub(super) fn of(vcpu: usize, intid: usize) -> Self {
        match (intid >> 5).checked_sub(1) {
            None => Self::Private(vcpu),
            Some(index) => Self::Shared(index),
        }
    }
}

impl Vcpu {
    pub(super) fn new() -> Self {
        Self {
            private: Bank::new(u32::MAX, 0xffff),
            wanted: [0; WORDS],
            summary: 0,
            listed: [0; MAX_LIST_REGISTERS],
            used: 0,
            shadow: Shadow::default(),
            traps: 0,
            is_stale: false,
            is_asleep: true,
            owed: [0; WORDS],
            owed_summary: 0,
        }
    }

    pub(super) fn set_wanted(&mut self, word: usize, bits: u32) {
        self.wanted[word] = bits;
        let summary = self.summary & !(1 << word);
        self.summary = summary | u32::from(bits != 0) << word;
    }

    /// Forgets deactivations owed to private physical interrupts.
    pub(super) fn disown(&mut self, physical: u32) {
        self.owed[0] &= !physical;
        if self.owed[0] == 0 {
            self.owed_summary &= !1;
        }
    }

    fn owe(&mut self, physical: usize) {
        let word = physical >> 5 & (WORDS - 1);
        self.owed[word] |= 1 << (physical & 31);
        self.owed_summary |= 1 << word;
        self.is_stale = true;
    }
}

impl Shared {
    pub(super) fn new(interrupts: usize) -> Self {
        let implemented = if interrupts >= 32 {
            u32::MAX
        } else {
            (1 << interrupts) - 1
        };
        Self {
            bank: Bank::new(implemented, 0),
            route: [0; 32],
            target: [0; 32],
            holder: [NOBODY; 32],
        }
    }
}

impl Gic {
    pub(super) fn bank(&self, at: At) -> &Bank {
        match at {
            At::Private(vcpu) => &self.vcpus[vcpu].private,
            At::Shared(index) => &self.shared[index].bank,
        }
    }

    pub(super) fn bank_mut(&mut self, at: At) -> &mut Bank {
        match at {
            At::Private(vcpu) => &mut self.vcpus[vcpu].private,
            At::Shared(index) => &mut self.shared[index].bank,
        }
    }

    /// The bank and bit of an interrupt that the virtual machine has.
    pub(super) fn locate(&self, vcpu: usize, intid: Intid) -> Option<(At, u32)> {
        let at = At::of(vcpu, intid.number());
        let mask = 1 << (intid.number() & 31);
        let implemented = match at {
            At::Private(_) => u32::MAX,
            At::Shared(index) => self.shared.get(index)?.bank.implemented(),
        };
        (implemented & mask != 0).then_some((at, mask))
    }

    /// Changes one interrupt by `change`, which gives the bits it touched.
    pub(super) fn touch(
        &mut self,
        vcpu: usize,
        intid: Intid,
        change: impl FnOnce(&mut Bank, u32) -> u32,
    ) -> Kicks {
        let Some((at, mask)) = self.locate(vcpu, intid) else {
            return Kicks::NONE;
        };
        let touched = change(self.bank_mut(at), mask);
        self.follow_up(at, vcpu, touched)
    }

    /// Follows up on a change of the interrupts `touched`: who wants them now, and what must be deactivated since
    /// nothing is left to come of it. `by` is the vCPU that takes over what nobody else owns.
    #[inline]
    pub(super) fn follow_up(&mut self, at: At, by: usize, touched: u32) -> Kicks {
        match at {
            _ if touched == 0 => Kicks::NONE,
            At::Private(vcpu) => self.follow_up_private(vcpu, touched),
            At::Shared(index) => self.follow_up_shared(index, by, touched),
        }
    }

    #[inline]
    fn follow_up_private(&mut self, vcpu: usize, touched: u32) -> Kicks {
        let state = &mut self.vcpus[vcpu];
        let wanted = state.private.wanted(Enables::BOTH);
        let is_concerned = (state.wanted[0] | wanted) & touched != 0;
        state.set_wanted(0, wanted);
        let released = state.private.release(touched);
        for bit in ones32(released) {
            state.owe(state.private.physical(bit).into());
        }
        if !is_concerned && released == 0 {
            return Kicks::NONE;
        }
        state.is_stale = true;
        Kicks::one(vcpu)
    }

    #[inline(never)]
    fn follow_up_shared(&mut self, index: usize, by: usize, touched: u32) -> Kicks {
        let Shared {
            bank,
            target,
            holder,
            ..
        } = &mut self.shared[index];
        let kept = bank.active | bank.listed;
        let deliverable = bank.deliverable(Enables::BOTH);
        let mut kicks = Kicks::NONE;
        for bit in ones32(touched) {
            let (old, to) = (holder[bit], target[bit]);
            let new = if kept >> bit & 1 != 0 {
                match (old, to) {
                    (NOBODY, NOBODY) => by as u8,
                    (NOBODY, _) => to,
                    _ => old,
                }
            } else if deliverable >> bit & 1 != 0 {
                to
            } else {
                NOBODY
            };
            holder[bit] = new;
            for (vcpu, is_wanted) in [(old, old == new), (new, true)] {
                let Some(state) = self.vcpus.get_mut(usize::from(vcpu)) else {
                    continue;
                };
                let (word, mask) = (index + 1, 1 << bit);
                let others = state.wanted[word] & !mask;
                state.set_wanted(word, others | if is_wanted { mask } else { 0 });
                state.is_stale = true;
                kicks |= Kicks::one(usize::from(vcpu));
            }
        }
        let released = bank.release(touched);
        for bit in ones32(released) {
            self.vcpus[by].owe(bank.physical(bit).into());
            kicks |= Kicks::one(by);
        }
        kicks
    }

    /// The vCPUs whose list registers hold one of the interrupts of a bank.
    pub(super) fn listers(&self, at: At) -> Kicks {
        match at {
            At::Private(vcpu) if self.vcpus[vcpu].private.listed != 0 => Kicks::one(vcpu),
            At::Private(_) => Kicks::NONE,
            At::Shared(index) => {
                let Shared { bank, holder, .. } = &self.shared[index];
                ones32(bank.listed).fold(Kicks::NONE, |kicks, bit| {
                    kicks | Kicks::one(usize::from(holder[bit]))
                })
            }
        }
    }
}
