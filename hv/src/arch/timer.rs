//! The generic timer as EL2 uses it: the counter, and the EL2 physical timer for time slices and sleepers.

use droste_vdev::timer::is_due;

use super::{isb, mrs, msr};

/// The system counter, in ticks since power-on.
#[inline]
pub(crate) fn now() -> u64 {
    isb();
    mrs!("cntpct_el0")
}

/// Ticks a second.
pub(crate) fn frequency() -> u64 {
    mrs!("cntfrq_el0")
}

/// Whether the loaded guest's virtual timer drives its line high.
pub(crate) fn is_virtual_due() -> bool {
    is_due(mrs!("cntv_ctl_el0"))
}

/// Whether its physical timer does.
pub(crate) fn is_physical_due() -> bool {
    is_due(mrs!("cntp_ctl_el0"))
}

/// Asks for the EL2 timer's interrupt once the counter reaches `deadline`; `None` turns the timer off.
pub(crate) fn set_deadline(deadline: Option<u64>) {
    // SAFETY: the EL2 timer is ours alone, and any compare value is a time.
    unsafe {
        if let Some(ticks) = deadline {
            msr!("cnthp_cval_el2", ticks);
        }
        msr!("cnthp_ctl_el2", u64::from(deadline.is_some()));
    }
    isb();
}
