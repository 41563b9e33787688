//! What the list registers of a vCPU hold: taking back what hardware changed, and choosing anew.
//!
//! Mostly all pending and active interrupts fit, and hardware chooses among them. Where they do not, the pending
//! interrupt of highest priority always gets a list register, so that the guest never waits for one that active
//! interrupts occupy. The active ones come next, highest priority first, since the guest ends those first; behind them
//! come those that the guest made active without acknowledging them (GICD_ISACTIVER). The rest is for other pending
//! ones. What is left over is fetched by maintenance interrupts:
//!
//! - pending ones when no list register is pending any more (NPIE). An underflow interrupt (UIE) would come one
//!   interrupt earlier, but never while active interrupts fill the list registers, and always with only one list
//!   register;
//! - pending ones of a group that the guest's CPU interface has disabled, when the guest enables that group, and the
//!   other way round;
//! - active ones when the guest ends an interrupt that no list register holds (LRENPIE), or deactivates one (a trapped
//!   ICC_DIR_EL1).

use super::bank::Bank;
use super::distributor::{Banks, Register};
use super::lr::{Lr, MAX_LIST_REGISTERS, Vmcr, hcr};
use super::state::{At, Vcpu, WORDS};
use super::{Frame, Gic, Kicks, redistributor};
use crate::bits::ones32;

/// What a fill asks the machine for.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fill {
    /// List registers in use, from the first; the others are 0.
    pub used: usize,
    /// Maintenance interrupts and traps to enable: ICH_HCR_EL2 is these bits and En, with EOIcount 0.
    pub hcr: u64,
    /// Whether [`take_deactivation`](Gic::take_deactivation) has something to give.
    pub has_deactivations: bool,
}

impl Vcpu {
    /// The one interrupt that wants a list register, if it is a private one: what is most common by far.
    #[inline]
    fn only_private(&self) -> Option<usize> {
        let is_only = self.summary == 1 && self.wanted[0].is_power_of_two();
        is_only.then(|| self.wanted[0].trailing_zeros() as usize)
    }
}

impl Gic {
    /// Chooses what the list registers of `vcpu` hold while it runs next. What they held before must have been folded.
    ///
    /// `vmcr` is the vCPU's ICH_VMCR_EL2. Of `lrs` the first [`Fill::used`] are written.
    ///
    /// # Panics
    /// If the last fill of `vcpu` was not folded, or the last [`enter_nested`](Self::enter_nested) not left: its
    /// interrupts would be delivered twice.
    pub fn fill(&mut self, vcpu: usize, vmcr: Vmcr, lrs: &mut [u64; MAX_LIST_REGISTERS]) -> Fill {
        let state = &mut self.vcpus[vcpu];
        assert!(state.used == 0, "a fill follows a fold");
        assert!(!state.shadow.is_entered, "the guest's own guest was left");
        state.is_stale = false;
        let mut fill = Fill {
            hcr: state.traps,
            has_deactivations: state.owed_summary != 0,
            ..Fill::default()
        };
        let summary = state.summary;
        if summary == 0 {
            return fill;
        }
        if let Some(intid) = state.only_private() {
            if self.forwarded(vcpu, 0) != 0 {
                self.list(vcpu, intid, lrs);
            }
        } else if self.count_forwarded(vcpu) > self.list_registers {
            let choice = self.choose(vcpu, vmcr);
            for &key in choice.active.kept().iter().chain(choice.pending.kept()) {
                self.list(vcpu, usize::from(key as u16), lrs);
            }
            fill.hcr |= choice.hcr(vmcr);
        } else {
            for word in ones32(summary) {
                for bit in ones32(self.forwarded(vcpu, word)) {
                    self.list(vcpu, word << 5 | bit, lrs);
                }
            }
        }
        fill.used = self.vcpus[vcpu].used;
        fill
    }

    /// Sets which accesses of `vcpu` to the CPU interface each fill makes trap, until the next call: ICH_HCR_EL2.{TC,
    /// TALL0, TALL1, TDIR} of `hcr`, as a guest hypervisor requests where its EL1 has the list registers of the vCPU.
    pub fn set_traps(&mut self, vcpu: usize, hcr: u64) {
        self.vcpus[vcpu].traps = hcr & hcr::TRAPS;
    }

    /// Takes back the list registers of `vcpu` as hardware left them. `lrs` are those that the last
    /// [`fill`](Self::fill) wrote; `unlisted_ends` is what [`unlisted_ends`](super::unlisted_ends) makes of
    /// ICH_HCR_EL2. A second fold without a fill in between takes nothing back.
    ///
    /// The result may name other vCPUs: an interrupt that the guest rerouted meanwhile moves on now.
    pub fn fold(
        &mut self,
        vcpu: usize,
        lrs: &[u64; MAX_LIST_REGISTERS],
        unlisted_ends: u32,
    ) -> Kicks {
        let mut kicks = Kicks::NONE;
        for _ in 0..unlisted_ends.min(31) {
            kicks |= self.end_unlisted(vcpu);
        }
        let used = core::mem::take(&mut self.vcpus[vcpu].used);
        let mut private = 0;
        for (slot, &lr) in lrs.iter().enumerate().take(used) {
            let intid = usize::from(self.vcpus[vcpu].listed[slot]);
            let (at, bit) = (At::of(vcpu, intid), intid & 31);
            self.bank_mut(at).unlist(bit, Lr(lr));
            match at {
                At::Private(_) => private |= 1 << bit,
                At::Shared(_) => kicks |= self.follow_up(at, vcpu, 1 << bit),
            }
        }
        kicks | self.follow_up(At::Private(vcpu), vcpu, private)
    }

    /// The vCPUs that must fold before an access at `offset` in `frame` sees or changes the present pending or active
    /// state, which for private interrupts depends on lines that only their CPU sees. Without those folds the access
    /// still does no harm: a read gives the state of the last fold, and a write takes effect when the vCPUs that it
    /// kicks have folded.
    pub fn needs_fold(&self, frame: Frame, offset: u64) -> Kicks {
        let (banks, offset) = match frame {
            Frame::Distributor => (Banks::Shared, offset),
            Frame::Redistributors => match redistributor::sgi_base(offset) {
                Some((vcpu, offset)) => (Banks::Private(vcpu), offset),
                None => return Kicks::NONE,
            },
        };
        match (Register::decode(offset), banks) {
            (Some(Register::Bank(register, 0)), Banks::Private(vcpu))
                if register.is_pending_state() && vcpu < self.vcpus.len() =>
            {
                Kicks::one(vcpu)
            }
            (Some(Register::Bank(register, word)), _) if register.is_listed_state() => self
                .bank_at(banks, word)
                .map_or(Kicks::NONE, |at| self.listers(at)),
            _ => Kicks::NONE,
        }
    }

    /// Interrupts of a word that the list registers of `vcpu` should hold, while they hold none. Of those that are only
    /// pending, these are the ones in a group that the distributor forwards.
    #[inline]
    fn forwarded(&self, vcpu: usize, word: usize) -> u32 {
        let bank = self.bank(At::of(vcpu, word << 5));
        self.vcpus[vcpu].wanted[word] & (bank.forwarded(self.enables) | bank.active)
    }

    fn count_forwarded(&self, vcpu: usize) -> usize {
        let words = ones32(self.vcpus[vcpu].summary);
        let counts = words.map(|word| self.forwarded(vcpu, word).count_ones());
        counts.sum::<u32>() as usize
    }

    /// Puts interrupt `intid` into the next list register of `vcpu`.
    fn list(&mut self, vcpu: usize, intid: usize, lrs: &mut [u64; MAX_LIST_REGISTERS]) {
        let (at, enables) = (At::of(vcpu, intid), self.enables);
        let lr = self.bank_mut(at).list(intid & 31, intid, enables);
        let state = &mut self.vcpus[vcpu];
        lrs[state.used] = lr.0;
        state.listed[state.used] = intid as u16;
        state.used += 1;
    }

    /// The guest ended an interrupt that no list register held: the active one of highest priority among those that it
    /// acknowledged.
    fn end_unlisted(&mut self, vcpu: usize) -> Kicks {
        let state = &self.vcpus[vcpu];
        let mut first = None;
        for word in ones32(state.summary) {
            let bank = self.bank(At::of(vcpu, word << 5));
            for bit in ones32(state.wanted[word] & bank.active & !bank.listed) {
                let key = key_of_active(bank, word << 5 | bit);
                first = Some(first.map_or(key, |first: u32| first.min(key)));
            }
        }
        let Some(first) = first else {
            return Kicks::NONE;
        };
        let at = At::of(vcpu, usize::from(first as u16));
        let touched = self.bank_mut(at).clear_active(1 << (first & 31));
        self.follow_up(at, vcpu, touched)
    }

    /// Chooses among more interrupts than fit.
    fn choose(&self, vcpu: usize, vmcr: Vmcr) -> Choice {
        let state = &self.vcpus[vcpu];
        let (mut active, mut pending) = (Best::default(), Best::default());
        let mut signalled = 0;
        for word in ones32(state.summary) {
            let bank = self.bank(At::of(vcpu, word << 5));
            for bit in ones32(self.forwarded(vcpu, word)) {
                let key = key(bank.priority(bit), word << 5 | bit);
                if bank.active >> bit & 1 != 0 {
                    active.offer(key_of_active(bank, word << 5 | bit));
                } else if vmcr.is_group_enabled(bank.group1() >> bit & 1 != 0) {
                    signalled += 1;
                    pending.offer(key);
                } else {
                    pending.offer(key | NOT_SIGNALLED);
                }
            }
        }
        let reserved = usize::from(pending.offered != 0);
        active.keep(self.list_registers - reserved);
        pending.keep(self.list_registers - active.len);
        Choice {
            active,
            pending,
            signalled,
        }
    }
}

/// Set in the key of an interrupt whose group the CPU interface has off: it comes after all others.
const NOT_SIGNALLED: u32 = 1 << 31;

/// Set in the key of an active interrupt that was not acknowledged: those that were are ended first.
const DECLARED: u32 = 1 << 30;

fn key_of_active(bank: &Bank, intid: usize) -> u32 {
    let is_declared = bank.declared >> (intid & 31) & 1 != 0;
    key(bank.priority(intid), intid) | if is_declared { DECLARED } else { 0 }
}

/// The order of interrupts: by priority (lower value first), then by number, which the low 16 bits hold.
fn key(priority: u8, intid: usize) -> u32 {
    u32::from(priority) << 16 | intid as u32
}

/// The lowest keys of those offered, in order.
#[derive(Default)]
struct Best {
    keys: [u32; MAX_LIST_REGISTERS],
    len: usize,
    offered: usize,
}

impl Best {
    fn offer(&mut self, key: u32) {
        self.offered += 1;
        let at = self.kept().partition_point(|&other| other < key);
        if at == MAX_LIST_REGISTERS {
            return;
        }
        self.len = (self.len + 1).min(MAX_LIST_REGISTERS);
        self.keys[at..self.len].rotate_right(1);
        self.keys[at] = key;
    }

    fn keep(&mut self, at_most: usize) {
        self.len = self.len.min(at_most);
    }

    fn kept(&self) -> &[u32] {
        &self.keys[..self.len]
    }
}

/// What goes into the list registers when not everything fits.
struct Choice {
    active: Best,
    pending: Best,
    /// Pending ones offered whose group is on.
    signalled: usize,
}

impl Choice {
    /// The maintenance interrupts and traps that bring back what is left over.
    fn hcr(&self, vmcr: Vmcr) -> u64 {
        let mut bits = 0;
        if self.active.offered > self.active.len {
            bits |= hcr::LRENPIE | hcr::TDIR;
        }
        if self.pending.offered > self.pending.len {
            bits |= hcr::on_group_change(vmcr);
            if self.signalled > self.pending.len {
                bits |= hcr::NPIE;
            }
        }
        bits
    }
}

const _: () = assert!(WORDS * 32 <= 1 << 16, "a key holds every INTID");
