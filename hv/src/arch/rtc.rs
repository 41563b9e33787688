//! The platform's PL031.

use droste_arm64::Pa;

/// What the clock whose registers stage 1 maps at `base` says: RTCDR (DDI 0224, 3.3.1), seconds since 1970 by custom.
pub(crate) fn seconds(base: Pa) -> u32 {
    // SAFETY: the device tree says that a PL031 is here and `mmu::add` mapped it as a device; a load has no effect on it.
    unsafe { core::ptr::read_volatile(base.0 as *const u32) }
}
