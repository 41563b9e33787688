//! The virtual CPU interface while a guest hypervisor's own guest runs and the list registers hold nothing.
//!
//! Mostly a guest hypervisor lists no interrupt for its guest and requests no maintenance interrupt. Then the
//! hardware's list registers are empty too, no physical interrupt is lent, and the line of the maintenance interrupt is
//! low until the guest is left: with no ended interrupt in a list register and nothing requested, no condition can
//! raise it. So only ICH_HCR_EL2, ICH_VMCR_EL2 and the active priorities move, and each becomes what
//! [`enter_nested`](super::Gic::enter_nested) and [`leave_nested`](super::Gic::leave_nested) would make of it. The
//! [`Gic`](super::Gic) has no part in it and is not asked.
//!
//! Left out, and done by those two: an interface with more than one register of active priorities for a group, and a
//! group that is left to the guest hypervisor's EL1.

use super::Signal;
use super::ich::{Interface, Vtr};
use super::lr::{Lr, Vmcr, hcr};

/// The registers of a virtual CPU interface that move when nothing is listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bare {
    /// ICH_HCR_EL2.
    pub hcr: u64,
    /// ICH_VMCR_EL2.
    pub vmcr: Vmcr,
    /// ICH_AP0R0_EL2.
    pub ap0r: u64,
    /// ICH_AP1R0_EL2.
    pub ap1r: u64,
}

impl Bare {
    /// The hardware's registers for `guest`, the registers that a guest hypervisor set. `None` if it listed something
    /// or requests maintenance interrupts, if `left` names a group that is its EL1's, or if a group has more than one
    /// register of active priorities. `lrs` has a bit set where any of its list registers has.
    ///
    /// ```
    /// use droste_vdev::gic::{Bare, Vmcr, Vtr};
    /// let guest = Bare { hcr: 1, vmcr: Vmcr(u64::MAX), ap0r: 0, ap1r: 1 << 40 | 1 };
    /// let vtr = Vtr(4 << 26);
    /// let hardware = Bare::for_hardware(&guest, 27, None, vtr).unwrap();
    /// assert_eq!(hardware, Bare { vmcr: Vmcr(0xfffc_021f), ap1r: 1, ..guest });
    /// const PENDING: u64 = 1 << 62;
    /// assert_eq!(Bare::for_hardware(&guest, PENDING | 27, None, vtr), None);
    /// ```
    #[inline]
    pub const fn for_hardware(
        guest: &Self,
        lrs: u64,
        left: Option<Signal>,
        vtr: Vtr,
    ) -> Option<Self> {
        let is_bare = Lr(lrs).is_idle()
            && guest.hcr & hcr::REQUESTS == 0
            && left.is_none()
            && vtr.active_priorities() == 1;
        if !is_bare {
            return None;
        }
        let hcr = guest.hcr & (hcr::EN | hcr::TRAPS | hcr::EOI_COUNT);
        Some(Self { hcr, ..*guest }.sanitized())
    }

    /// The guest hypervisor's registers after its guest is left, where the hardware's are `self`; `hcr` is ICH_HCR_EL2
    /// as the guest hypervisor set it.
    #[inline]
    #[must_use]
    pub const fn for_guest(&self, hcr: u64) -> Self {
        let hcr = hcr & !hcr::EOI_COUNT | self.hcr & hcr::EOI_COUNT;
        Self { hcr, ..*self }.sanitized()
    }

    const fn sanitized(self) -> Self {
        Self {
            hcr: self.hcr,
            vmcr: Vmcr(self.vmcr.0 & Interface::VMCR),
            ap0r: self.ap0r & Interface::PRIORITIES,
            ap1r: self.ap1r & Interface::PRIORITIES,
        }
    }
}
