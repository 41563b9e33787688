//! Ends of interrupts that are active and in no list register (IHI 0069, ICC_EOIR1_EL1, ICC_DIR_EL1 and 12.4,
//! "ICH_HCR_EL2").
//!
//! The hardware counts them in ICH_HCR_EL2.EOIcount and does not say which they are. With ICC_CTLR_EL1.EOImode 0 the
//! count suffices, since ends follow the order of priorities. With EOImode 1 a write of ICC_DIR_EL1 may name any
//! interrupt, even one that is not active. So while a fill leaves active interrupts out, it makes that register trap,
//! and the count then means nothing: QEMU 10.0 counts writes of ICC_EOIR1_EL1, which only drop the priority. While a
//! fill leaves none out, the count is ignored.
//!
//! With an interface that has no such trap (ICH_VTR_EL2.TDS is 0, and ICH_HCR_EL2.TDIR reads as 0) only the count is
//! used, in either mode.
//!
//! Left out: an SPI that another vCPU has active, where ICC_DIR_EL1 does not trap.

use super::lr::{Vmcr, hcr};
use super::{Gic, Intid, Kicks};

/// How many active interrupts that were left out of its list registers a vCPU has ended, highest priority first: the
/// argument of a [`fold`](Gic::fold). `hcr` is ICH_HCR_EL2; `vmcr` is asked for ICH_VMCR_EL2 only if something was
/// counted.
///
/// ```
/// use droste_vdev::gic::{Vmcr, unlisted_ends};
/// // Two counted, with LRENPIE and TDIR.
/// let hcr = 2 << 27 | 1 << 14 | 1 << 2 | 1;
/// assert_eq!(unlisted_ends(hcr, || Vmcr(0)), 2);
/// // VEOIM: ICC_DIR_EL1 would have trapped.
/// assert_eq!(unlisted_ends(hcr, || Vmcr(1 << 9)), 0);
/// // None was left out.
/// assert_eq!(unlisted_ends(2 << 27 | 1, || Vmcr(0)), 0);
/// ```
#[inline]
pub fn unlisted_ends(hcr: u64, vmcr: impl FnOnce() -> Vmcr) -> u32 {
    let count = (hcr & hcr::EOI_COUNT) >> hcr::EOI_COUNT.trailing_zeros();
    if count == 0 || hcr & hcr::LRENPIE == 0 {
        return 0;
    }
    if hcr & hcr::TDIR != 0 && vmcr().is_split() {
        return 0;
    }
    count as u32
}

impl Gic {
    /// Answers a trapped write of `value` to ICC_DIR_EL1 by `vcpu`, which has folded: deactivates the interrupt that it
    /// names. Does nothing with EOImode 0; `vmcr` is ICH_VMCR_EL2.
    pub fn write_dir(&mut self, vcpu: usize, vmcr: Vmcr, value: u64) -> Kicks {
        const INTID: u64 = 0xff_ffff;
        match Intid::new((value & INTID) as u32) {
            Some(intid) if vmcr.is_split() => self.deactivate(vcpu, intid),
            _ => Kicks::NONE,
        }
    }
}

impl Vmcr {
    /// VEOIM: the end of an interrupt drops its priority alone, and ICC_DIR_EL1 deactivates it.
    const fn is_split(self) -> bool {
        self.0 >> 9 & 1 != 0
    }
}
