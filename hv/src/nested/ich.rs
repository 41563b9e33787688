//! The registers of the virtual CPU interface that virtual EL2 sets for its guest: ICH_*_EL2, in the register page.

use core::ops::Range;

use droste_arm64::sysreg::{
    ICH_EISR_EL2, ICH_HCR_EL2, ICH_MISR_EL2, ICH_VMCR_EL2, ICH_VTR_EL2, SysReg,
};
use droste_arm64::vncr::{RegisterPage, Slot};
use droste_vdev::gic::{Bare, Ich, MAX_LIST_REGISTERS, Signal, Vmcr, Vtr};

use crate::arch::gic;
use crate::vm::virtual_el2::in_page;

const ICH_HCR: Slot = in_page(ICH_HCR_EL2);
const ICH_VMCR: Slot = in_page(ICH_VMCR_EL2);
const ICH_AP0R: Slot = in_page(SysReg::new(3, 4, 12, 8, 0));
const ICH_AP1R: Slot = in_page(SysReg::new(3, 4, 12, 9, 0));
const ICH_LR: Slot = in_page(SysReg::new(3, 4, 12, 12, 0));

/// Slot `n` behind `first`.
fn nth(first: Slot, n: usize) -> Slot {
    Slot::new(first.offset() + 8 * n as u16).expect("groups are within the page")
}

/// Whether virtual EL2 has the virtual CPU interface on.
#[inline]
pub(crate) fn is_on(page: RegisterPage<'_>) -> bool {
    const EN: u64 = 1;
    page.read(ICH_HCR) & EN != 0
}

/// Virtual EL2's own settings and list registers, those that exist.
pub(crate) fn read(page: RegisterPage<'_>, ich: &mut Ich) {
    ich.hcr = page.read(ICH_HCR);
    ich.interface.vmcr = Vmcr(page.read(ICH_VMCR));
    for n in active_priorities() {
        ich.interface.ap0r[n] = page.read(nth(ICH_AP0R, n));
        ich.interface.ap1r[n] = page.read(nth(ICH_AP1R, n));
    }
    read_lists(page, &mut ich.lrs);
}

/// The same where they are bare, as the hardware is to have them.
#[inline]
pub(crate) fn bare(page: RegisterPage<'_>, left: Option<Signal>, size: Vtr) -> Option<Bare> {
    let lrs = (0..size.list_registers()).fold(0, |lrs, n| lrs | page.read(nth(ICH_LR, n)));
    let guest = Bare {
        hcr: page.read(ICH_HCR),
        vmcr: Vmcr(page.read(ICH_VMCR)),
        ap0r: page.read(ICH_AP0R),
        ap1r: page.read(ICH_AP1R),
    };
    Bare::for_hardware(&guest, lrs, left, size)
}

/// Puts back what its guest may have changed of those.
#[inline]
pub(crate) fn write_bare(page: RegisterPage<'_>, hardware: &Bare) {
    let guest = hardware.for_guest(page.read(ICH_HCR));
    page.write(ICH_HCR, guest.hcr);
    page.write(ICH_VMCR, guest.vmcr.0);
    page.write(ICH_AP0R, guest.ap0r);
    page.write(ICH_AP1R, guest.ap1r);
}

/// The list registers that exist.
fn read_lists(page: RegisterPage<'_>, lrs: &mut [u64; MAX_LIST_REGISTERS]) {
    for (n, lr) in lrs.iter_mut().enumerate().take(gic::list_registers()) {
        *lr = page.read(nth(ICH_LR, n));
    }
}

/// Puts back what its guest may have changed: the settings, and the first `used` list registers.
pub(crate) fn write(page: RegisterPage<'_>, ich: &Ich, used: usize) {
    page.write(ICH_HCR, ich.hcr);
    page.write(ICH_VMCR, ich.interface.vmcr.0);
    for n in active_priorities() {
        page.write(nth(ICH_AP0R, n), ich.interface.ap0r[n]);
        page.write(nth(ICH_AP1R, n), ich.interface.ap1r[n]);
    }
    for (n, lr) in ich.lrs.iter().enumerate().take(used) {
        page.write(nth(ICH_LR, n), *lr);
    }
}

/// Numbers of the registers of active priorities that exist.
fn active_priorities() -> Range<usize> {
    0..gic::size().active_priorities()
}

/// What virtual EL2 reads of a register that follows from its list registers.
#[inline]
pub(crate) fn computed(page: RegisterPage<'_>, register: SysReg) -> u64 {
    if register == ICH_VTR_EL2 {
        return gic::size().for_guest().0;
    }
    from_lists(page, register)
}

/// ICH_MISR_EL2, ICH_EISR_EL2 or ICH_ELRSR_EL2.
#[inline(never)]
fn from_lists(page: RegisterPage<'_>, register: SysReg) -> u64 {
    let count = gic::list_registers();
    let mut ich = Ich::RESET;
    ich.hcr = page.read(ICH_HCR);
    ich.interface.vmcr = Vmcr(page.read(ICH_VMCR));
    read_lists(page, &mut ich.lrs);
    match register {
        ICH_MISR_EL2 => ich.misr(count),
        ICH_EISR_EL2 => ich.eisr(count),
        _ => ich.elrsr(count),
    }
}
