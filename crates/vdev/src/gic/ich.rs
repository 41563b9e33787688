//! A guest hypervisor's view of the virtual CPU interface: its ICH_* registers as values, and those that the hardware
//! computes from the others (IHI 0069, 12.4).
//!
//! A guest at virtual EL2 writes most of them to memory (FEAT_NV2; DDI 0487, D8.11), so they may hold any bits.
//! Reserved bits are dropped on the way to the hardware, not here.

use super::lr::{Lr, MAX_LIST_REGISTERS, Vmcr, hcr};
use crate::bits::ones;
use crate::line::Line;

/// The most registers ICH_AP0R&lt;n&gt;_EL2 that an interface has, and the most ICH_AP1R&lt;n&gt;_EL2.
pub const MAX_ACTIVE_PRIORITIES: usize = 4;

/// What software has set on a virtual CPU interface, and the priorities that are active there: the state that moves
/// with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    /// ICH_VMCR_EL2.
    pub vmcr: Vmcr,
    /// ICH_AP0R&lt;n&gt;_EL2, of which [`Vtr::active_priorities`] exist.
    pub ap0r: [u64; MAX_ACTIVE_PRIORITIES],
    /// ICH_AP1R&lt;n&gt;_EL2, as many.
    pub ap1r: [u64; MAX_ACTIVE_PRIORITIES],
}

impl Interface {
    /// As after a reset: no group enabled, a priority mask that lets nothing through, no priority active.
    pub const RESET: Self = Self {
        vmcr: Vmcr(0),
        ap0r: [0; MAX_ACTIVE_PRIORITIES],
        ap1r: [0; MAX_ACTIVE_PRIORITIES],
    };

    /// The bits of ICH_VMCR_EL2 that there are.
    pub(super) const VMCR: u64 = 0xfffc_021f;
    /// Those of a register of active priorities.
    pub(super) const PRIORITIES: u64 = 0xffff_ffff;

    /// Without bits that no register has.
    pub(super) fn sanitized(&self) -> Self {
        Self {
            vmcr: Vmcr(self.vmcr.0 & Self::VMCR),
            ap0r: self.ap0r.map(|word| word & Self::PRIORITIES),
            ap1r: self.ap1r.map(|word| word & Self::PRIORITIES),
        }
    }

    /// The running priority, as a group priority (ICC_RPR_EL1); `None` where no priority is active.
    pub(super) fn running(&self, vtr: Vtr) -> Option<u8> {
        (0..vtr.active_priorities()).find_map(|n| {
            let word = (self.ap0r[n] | self.ap1r[n]) as u32;
            // A register holds 32 of the 32, 64 or 128 levels of preemption, so this fits.
            let level = n as u32 * 32 + word.trailing_zeros();
            (word != 0).then(|| (level << vtr.lowest_binary_point().saturating_add(1)) as u8)
        })
    }
}

/// ICH_VTR_EL2: the size of the virtual CPU interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Vtr(pub u64);

impl Vtr {
    const PRI_BITS: u64 = 0b111 << 29;
    const PRE_BITS: u64 = 0b111 << 26;
    const A3V: u64 = 1 << 21;
    const NV4: u64 = 1 << 20;
    const TDS: u64 = 1 << 19;
    const LIST_REGISTERS: u64 = 0x1f;

    /// What a guest hypervisor reads where the hardware reads `self`: 16 bits of INTID, no SErrors by the interface
    /// (SEIS), no direct injection (nV4), the rest as it is.
    #[must_use]
    pub const fn for_guest(self) -> Self {
        let kept = Self::PRI_BITS | Self::PRE_BITS | Self::A3V | Self::TDS | Self::LIST_REGISTERS;
        Self(self.0 & kept | Self::NV4)
    }

    /// How many ICH_LR&lt;n&gt;_EL2 exist, at most [`MAX_LIST_REGISTERS`].
    pub const fn list_registers(self) -> usize {
        // Five bits, of which the architecture uses four.
        (self.0 & Self::LIST_REGISTERS & 0xf) as usize + 1
    }

    /// How many ICH_AP0R&lt;n&gt;_EL2 exist, and ICH_AP1R&lt;n&gt;_EL2: 1, 2 or 4.
    pub const fn active_priorities(self) -> usize {
        1 << (2 - self.lowest_binary_point())
    }

    /// The lowest binary point of group 0: 2 for 5 bits of preemption, down to 0 for 7.
    pub(super) const fn lowest_binary_point(self) -> u32 {
        let bits = ((self.0 & Self::PRE_BITS) >> 26) as u32 + 1;
        match bits {
            ..=5 => 2,
            6 => 1,
            _ => 0,
        }
    }
}

/// A guest hypervisor's ICH_* registers, or the hardware's that stand for them while its guest runs.
///
/// ```
/// use droste_vdev::Line;
/// use droste_vdev::gic::{Ich, Interface};
/// let mut ich = Ich { hcr: 0b11, interface: Interface::RESET, lrs: [0; 16] };
/// // Underflow: fewer than two list registers in use.
/// assert_eq!((ich.misr(4), ich.maintenance(4)), (0b10, Line::High));
/// ich.lrs[0] = 1 << 62 | 5;
/// ich.lrs[2] = 1 << 62 | 6;
/// assert_eq!((ich.misr(4), ich.maintenance(4)), (0, Line::Low));
/// assert_eq!(ich.elrsr(4), 0b1010);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ich {
    /// ICH_HCR_EL2.
    pub hcr: u64,
    /// ICH_VMCR_EL2 and the active priorities.
    pub interface: Interface,
    /// ICH_LR&lt;n&gt;_EL2.
    pub lrs: [u64; MAX_LIST_REGISTERS],
}

/// The states of the list registers, a bit for each.
pub(super) struct Use {
    /// Not invalid.
    pub(super) valid: u32,
    /// Pending, and not active too.
    pending: u32,
    /// Ended, with a maintenance interrupt asked for.
    ended: u32,
}

impl Ich {
    /// Nothing set, nothing listed.
    pub const RESET: Self = Self {
        hcr: 0,
        interface: Interface::RESET,
        lrs: [0; MAX_LIST_REGISTERS],
    };

    /// ICH_EISR_EL2 of an interface with `count` list registers: those whose interrupt has ended and that request a
    /// maintenance interrupt for its end.
    pub fn eisr(&self, count: usize) -> u64 {
        self.list_registers(count).ended.into()
    }

    /// ICH_ELRSR_EL2: list registers free for use.
    pub fn elrsr(&self, count: usize) -> u64 {
        let Use { valid, ended, .. } = self.list_registers(count);
        let existing = (1 << count.min(MAX_LIST_REGISTERS)) - 1;
        (existing & !valid & !ended).into()
    }

    /// ICH_MISR_EL2: the conditions that raise a maintenance interrupt. They take effect only with ICH_HCR_EL2.En:
    /// [`maintenance`](Self::maintenance).
    pub fn misr(&self, count: usize) -> u64 {
        self.misr_of(&self.list_registers(count))
    }

    /// The level of the maintenance interrupt's line, which is [`Intid::MAINTENANCE`](super::Intid::MAINTENANCE).
    pub fn maintenance(&self, count: usize) -> Line {
        if self.hcr & hcr::EN == 0 {
            return Line::Low;
        }
        Line::from_asserted(self.misr(count) != 0)
    }

    pub(super) fn maintenance_of(&self, lrs: &Use) -> Line {
        Line::from_asserted(self.hcr & hcr::EN != 0 && self.misr_of(lrs) != 0)
    }

    fn misr_of(&self, lrs: &Use) -> u64 {
        const EOI: u64 = 1 << 0;
        // From underflow on, each bit of ICH_MISR_EL2 is where ICH_HCR_EL2 has its enable.
        let mut conditions = EOI & u64::from(lrs.ended != 0);
        if self.hcr & hcr::REQUESTS == 0 {
            return conditions;
        }
        if lrs.valid & lrs.valid.wrapping_sub(1) == 0 {
            conditions |= self.hcr & hcr::UIE;
        }
        if self.hcr & hcr::EOI_COUNT != 0 {
            conditions |= self.hcr & hcr::LRENPIE;
        }
        if lrs.pending == 0 {
            conditions |= self.hcr & hcr::NPIE;
        }
        // A group's change in the direction that would be asked for now has not happened, the other has.
        let still_to_come = hcr::on_group_change(self.interface.vmcr);
        conditions | self.hcr & hcr::GROUP_CHANGES & !still_to_come
    }

    pub(super) fn list_registers(&self, count: usize) -> Use {
        let mut found = Use {
            valid: 0,
            pending: 0,
            ended: 0,
        };
        for (slot, &lr) in self.lrs.iter().enumerate().take(count) {
            let lr = Lr(lr);
            let mask = 1 << slot;
            if lr.is_idle() {
                continue;
            }
            if lr.is_free_without_link() {
                found.ended |= if lr.asks_maintenance() { mask } else { 0 };
            } else if lr.state() != 0 {
                found.valid |= mask;
                found.pending |= if lr.is_active() { 0 } else { mask };
            }
        }
        found
    }

    /// Whether an earlier list register of `valid` than `slot` holds the same virtual interrupt.
    pub(super) fn is_twice(&self, slot: usize, valid: u32) -> bool {
        let earlier = u64::from(valid) & ((1 << slot) - 1);
        ones(earlier).any(|other| Lr(self.lrs[other]).intid() == Lr(self.lrs[slot]).intid())
    }
}
