//! Which vCPUs are on.

use crate::MAX_VCPUS;

/// The power state of one vCPU, with the numbers that AFFINITY_INFO returns (DEN0022, 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Power {
    /// It runs.
    On = 0,
    /// It does not run.
    Off = 1,
    /// CPU_ON was called for it, and it does not run yet.
    OnPending = 2,
}

/// The power of all vCPUs of one machine, a bit each.
#[derive(Clone, Debug)]
pub(super) struct PowerStates {
    vcpus: usize,
    on: u64,
    pending: u64,
}

impl PowerStates {
    /// `vcpus` vCPUs, at most [`MAX_VCPUS`], of which the first is on.
    pub(super) const fn new(vcpus: usize) -> Self {
        assert!(vcpus <= MAX_VCPUS, "a set of vCPUs is one word");
        Self {
            vcpus,
            on: 1,
            pending: 0,
        }
    }

    pub(super) const fn has(&self, vcpu: usize) -> bool {
        vcpu < self.vcpus
    }

    pub(super) const fn get(&self, vcpu: usize) -> Power {
        let mask = Self::mask(vcpu);
        if self.on & mask != 0 {
            Power::On
        } else if self.pending & mask != 0 {
            Power::OnPending
        } else {
            Power::Off
        }
    }

    pub(super) const fn set(&mut self, vcpu: usize, power: Power) {
        let mask = Self::mask(vcpu);
        self.on &= !mask;
        self.pending &= !mask;
        match power {
            Power::On => self.on |= mask,
            Power::OnPending => self.pending |= mask,
            Power::Off => {}
        }
    }

    /// The power of several vCPUs as one: on if one of them is, or else pending if one is. `None` if there are
    /// none.
    pub(super) fn of_members(&self, is_member: impl Fn(usize) -> bool) -> Option<Power> {
        let members = (0..self.vcpus).filter(|&vcpu| is_member(vcpu));
        let members = members.fold(0, |set, vcpu| set | Self::mask(vcpu));
        if members == 0 {
            None
        } else if self.on & members != 0 {
            Some(Power::On)
        } else if self.pending & members != 0 {
            Some(Power::OnPending)
        } else {
            Some(Power::Off)
        }
    }

    const fn mask(vcpu: usize) -> u64 {
        1 << (vcpu & (MAX_VCPUS - 1))
    }
}
