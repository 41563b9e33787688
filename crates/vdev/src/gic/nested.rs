//! The list registers while a guest hypervisor's own guest runs.
//!
//! # Who is who
//! A guest hypervisor (L1) lists interrupts for its own guest (L2) in ICH_LR&lt;n&gt;_EL2 registers that are values in
//! memory: an [`Ich`]. While L2 runs, the hardware's list registers are a *shadow* of them, one for one, and L1's own
//! interrupts wait in the [`Gic`]. [`enter_nested`](Gic::enter_nested) makes the shadow,
//! [`leave_nested`](Gic::leave_nested) folds it back; they come as a pair, between a [`fold`](Gic::fold) and the next
//! [`fill`](Gic::fill). To see the present state while L2 goes on running, as a kick requires, leave and enter again;
//! for [`signal`](Gic::signal) to be exact, [`fold_lent`](Gic::fold_lent) suffices.
//!
//! # Physical interrupts
//! A list register of L1's with HW set names one of L1's own interrupts, which is deactivated when L2 deactivates the
//! virtual one. Where a physical interrupt stands behind L1's interrupt, and L1 has that active on this vCPU, the
//! shadow names the physical interrupt, and hardware does the rest: the Gic *lends* it, as if a list register of L1's
//! held it. So one list register at a time names it, and whatever others do to it meanwhile waits for the fold. In all
//! other cases (a virtual device behind it, not active, another vCPU's, lent already) the shadow has HW clear and
//! requests a maintenance interrupt instead, on which the hypervisor leaves and deactivates by hand. Where L1 has no
//! such interrupt, or names an SGI, the shadow has HW clear and there is nothing to deactivate.
//!
//! # Maintenance interrupts
//! The line of L1's maintenance interrupt is a level that [`Ich::maintenance`] computes at each enter and leave. L1's
//! requests go to the hardware only to learn when that level rises. While it is high already, because L1 masks the
//! interrupt, they stay off: otherwise the hardware's maintenance interrupt would come again at once and for ever. It
//! does not matter that the level may fall and rise unseen: with its interrupt masked L1 sees the level only after the
//! next leave. Where L2 does not run, the registers change in memory, unseen. So the line is computed anew at each fold
//! there and at each switch between L1 and what runs under it, whether virtual EL2 or an EL1 of L1's own runs next: an
//! L1 that ends the interrupt only to find it pending once more has the right level from then on.
//!
//! Hardware may report a condition as met that is not met by the architecture: QEMU 10.0 judges VGrp0DIE by group 1's
//! enable. Then its interrupt would come again at once and for ever as well, so [`undisputed`] turns such a request off
//! until the next enter or fill.
//!
//! Mostly none of this applies, and few registers move: the module `bare` does that.
//!
//! # What an L1 does wrong
//! Two list registers in use for one virtual interrupt are UNPREDICTABLE (IHI 0069, ICH_LR&lt;n&gt;_EL2.vINTID): the
//! later one stays out of the hardware. So do all requests for maintenance interrupts, since hardware would count other
//! list registers than L1 has. Reserved bits are dropped.

use super::ich::Ich;
use super::lr::{Lr, hcr};
use super::state::{At, Shadow};
use super::{Gic, Intid, Kicks, Signal};
use crate::bits::ones32;
use crate::line::Line;

impl Gic {
    /// Makes the hardware's registers from those that guest hypervisor `vcpu` set, for its own guest to run. Gives the
    /// number of list registers in use, counted from the first, beyond which `hardware`'s mean nothing; and the level
    /// of the maintenance interrupt's line, which may have risen or fallen since the hypervisor last looked.
    ///
    /// The hypervisor adds to `hardware.hcr` what it wants for itself in ICH_HCR_EL2, such as traps. `left` says which
    /// of the guest hypervisor's own interrupts its EL1 takes, and so which registers EL1's accesses mean (module
    /// `direct`).
    ///
    /// # Panics
    /// If the last fill of `vcpu` was not folded, or the last enter not left.
    pub fn enter_nested(
        &mut self,
        vcpu: usize,
        guest: &Ich,
        left: Option<Signal>,
        hardware: &mut Ich,
    ) -> (usize, Line) {
        let count = self.list_registers;
        let state = &mut self.vcpus[vcpu];
        assert!(state.used == 0, "the guest's list registers were folded");
        assert!(!state.shadow.is_entered, "the last enter was left");
        state.shadow.is_entered = true;
        let lrs = guest.list_registers(count);
        let line = guest.maintenance_of(&lrs);
        let (mut used, mut loaded, mut is_odd) = (0, 0, false);
        let end = u32::BITS - lrs.valid.leading_zeros();
        hardware.lrs[..end as usize].fill(0);
        for slot in ones32(lrs.valid) {
            if guest.is_twice(slot, lrs.valid) {
                is_odd = true;
                continue;
            }
            let lr = Lr(guest.lrs[slot]);
            hardware.lrs[slot] = match lr.physical() {
                None => lr.sanitized().0,
                Some(claimed) => self.link(vcpu, slot, lr, claimed).0,
            };
            loaded |= 1 << slot;
            used = slot + 1;
        }
        self.vcpus[vcpu].shadow.loaded = loaded;
        let requests = if line.is_high() || is_odd {
            0
        } else {
            hcr::REQUESTS
        };
        hardware.hcr = guest.hcr & (hcr::EN | hcr::TRAPS | hcr::EOI_COUNT | requests);
        hardware.interface = guest.interface.sanitized();
        self.vcpus[vcpu].shadow.hidden = left.map_or(0, |left| hardware.hide(left));
        (used, line)
    }

    /// Takes back the lent physical interrupts that the guest's guest has deactivated, while it goes on running, so
    /// that the guest hypervisor can take one that fires again at once. `lr` reads one of the hardware's list
    /// registers. Without an enter before, this does nothing.
    pub fn fold_lent(&mut self, vcpu: usize, lr: impl Fn(usize) -> u64) -> Kicks {
        let mut kicks = Kicks::NONE;
        for slot in ones32(self.vcpus[vcpu].shadow.lent) {
            let lr = Lr(lr(slot));
            if lr.state() == 0 {
                self.vcpus[vcpu].shadow.lent &= !(1 << slot);
                kicks |= self.take_back(vcpu, slot, lr);
            }
        }
        kicks
    }

    /// Whether somebody has changed the active state of an interrupt that `vcpu` has lent. The change takes effect only
    /// by leaving and entering, since a list register holds the interrupt.
    pub fn has_lent_requests(&self, vcpu: usize) -> bool {
        let Shadow { lent, linked, .. } = &self.vcpus[vcpu].shadow;
        ones32(*lent).any(|slot| {
            let intid = usize::from(linked[slot]);
            self.bank(At::of(vcpu, intid)).has_request(intid & 31)
        })
    }

    /// Folds the hardware's registers as the guest's guest left them back into those of guest hypervisor `vcpu`.
    /// `hardware` need hold only the list registers that [`enter_nested`](Self::enter_nested) used. Without an enter
    /// before, this does nothing.
    ///
    /// Compute the line of the maintenance interrupt from `guest` afterwards: [`Ich::maintenance`]. Interrupts of the
    /// guest hypervisor's own may be pending again.
    pub fn leave_nested(&mut self, vcpu: usize, hardware: &Ich, guest: &mut Ich) -> Kicks {
        let shadow = &mut self.vcpus[vcpu].shadow;
        if !shadow.is_entered {
            return Kicks::NONE;
        }
        let Shadow {
            loaded,
            lent,
            by_hand,
            ..
        } = *shadow;
        (
            shadow.is_entered,
            shadow.loaded,
            shadow.lent,
            shadow.by_hand,
        ) = (false, 0, 0, 0);
        let mut kicks = Kicks::NONE;
        for slot in ones32(loaded) {
            let (before, after) = (Lr(guest.lrs[slot]), Lr(hardware.lrs[slot]));
            guest.lrs[slot] = before.in_state_of(after).0;
            let mask = 1 << slot;
            if lent & mask != 0 {
                kicks |= self.take_back(vcpu, slot, after);
            } else if by_hand & mask != 0 && is_deactivated(before, after) {
                kicks |= self.deactivate(vcpu, self.linked(vcpu, slot));
            }
        }
        guest.hcr = guest.hcr & !hcr::EOI_COUNT | hardware.hcr & hcr::EOI_COUNT;
        guest.interface = hardware.interface.sanitized();
        guest.interface.vmcr.0 |= self.vcpus[vcpu].shadow.hidden;
        kicks
    }

    /// The hardware's list register for one of the guest's with HW set, which claims interrupt `claimed`.
    fn link(&mut self, vcpu: usize, slot: usize, lr: Lr, claimed: u32) -> Lr {
        let Some((intid, (at, _))) = Intid::new(claimed)
            .filter(|intid| !intid.is_sgi())
            .and_then(|intid| Some((intid, self.locate(vcpu, intid)?)))
        else {
            return lr.plain();
        };
        let bit = intid.number() & 31;
        let is_mine = match at {
            At::Private(_) => true,
            At::Shared(index) => usize::from(self.shared[index].holder[bit]) == vcpu,
        };
        // Pending and active is no state of a list register with a physical interrupt.
        let can_lend = is_mine && lr.state() != Lr::PENDING | Lr::ACTIVE;
        let physical = can_lend.then(|| self.bank_mut(at).lend(bit)).flatten();
        let shadow = &mut self.vcpus[vcpu].shadow;
        shadow.linked[slot] = intid.number() as u16;
        if let Some(physical) = physical {
            shadow.lent |= 1 << slot;
            lr.plain().with_physical(physical)
        } else {
            shadow.by_hand |= 1 << slot;
            lr.plain().with_eoi_maintenance()
        }
    }

    /// Takes back the physical interrupt that list register `slot` was lent, which hardware has as `lr` now.
    fn take_back(&mut self, vcpu: usize, slot: usize, lr: Lr) -> Kicks {
        let intid = self.linked(vcpu, slot).number();
        let at = At::of(vcpu, intid);
        // To the guest hypervisor its interrupt is active until its guest has deactivated it.
        let state = if lr.state() == 0 { 0 } else { Lr::ACTIVE };
        self.bank_mut(at)
            .unlist(intid & 31, Lr::default().with_state(state));
        self.follow_up(at, vcpu, 1 << (intid & 31))
    }

    fn linked(&self, vcpu: usize, slot: usize) -> Intid {
        let number = self.vcpus[vcpu].shadow.linked[slot];
        Intid::new(number.into()).expect("`link` took it from an INTID")
    }
}

/// ICH_HCR_EL2 of value `hcr` without the requests whose conditions `misr`, ICH_MISR_EL2, still shows as met. Use it
/// after a maintenance interrupt, once the list registers have been folded and filled, or left and entered: none of the
/// conditions that this module requests has been met then, so where one shows, the hardware disagrees.
///
/// ```
/// use droste_vdev::gic::undisputed;
/// // VGrp0DIE and NPIE were asked for, and group 0 is off to the hardware.
/// assert_eq!(undisputed(0b0010_1001, 0b0010_0000), 0b0000_1001);
/// ```
pub const fn undisputed(hcr: u64, misr: u64) -> u64 {
    // From underflow on, each bit of ICH_MISR_EL2 is where ICH_HCR_EL2 has its enable.
    hcr & !(misr & hcr::REQUESTS)
}

impl Ich {
    /// Takes a group out of what hardware signals and makes its registers trap. Gives the bit that ICH_VMCR_EL2 lacks
    /// for that: the group's enable, which does not change meanwhile, so no change of it need be requested either.
    #[cold]
    #[inline(never)]
    fn hide(&mut self, group: Signal) -> u64 {
        let (trap, requests) = match group {
            Signal::Fiq => (hcr::TALL0, hcr::GROUP0_CHANGES),
            Signal::Irq => (hcr::TALL1, hcr::GROUP1_CHANGES),
        };
        self.hcr = self.hcr & !requests | trap;
        let vmcr = self.interface.vmcr;
        self.interface.vmcr = vmcr.with_group(group.is_group1(), false);
        vmcr.0 ^ self.interface.vmcr.0
    }
}

/// Whether a list register that went from `before` to `after` was deactivated on the way. One that was pending alone
/// becomes free in no other way.
fn is_deactivated(before: Lr, after: Lr) -> bool {
    const BOTH: u64 = Lr::PENDING | Lr::ACTIVE;
    after.state() == 0 || before.state() == BOTH && after.state() != BOTH
}
