//! Cache maintenance by address.

use droste_arm64::Pa;

unsafe extern "C" {
    #[link_name = "clean_invalidate_dcache"]
    fn clean_invalidate_dcache(start: u64, end: u64);
}

/// Cleans and invalidates `bytes` bytes of memory from `start` to the point of coherency, and waits.
pub(crate) fn clean_invalidate(start: Pa, bytes: u64) {
    // SAFETY: DC CIVAC loses no data; the range is RAM that stage 1 maps. boot.s clobbers only call-clobbered
    // registers.
    unsafe { clean_invalidate_dcache(start.0, start.0 + bytes) }
}
