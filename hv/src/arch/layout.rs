//! Whether EL2 has its registers in the layout of FEAT_VHE: HCR_EL2.E2H.
//!
//! EL2 runs with E2H = 0 where the CPU lets it, and with E2H = 1 where it does not or the command line asks for it
//! (`droste.e2h=1`). [`droste_arm64::vhe`] knows what differs, and [`boot`](super::boot) chooses.

use droste_arm64::vhe::Layout;

use super::mrs;

/// How this CPU's EL2 has its registers.
#[inline]
pub(crate) fn layout() -> Layout {
    Layout::of(mrs!("hcr_el2"))
}

/// Whether the CPU lets EL2 run with E2H = 0: ID_AA64MMFR4_EL1.E2H0 is not negative. CPUs from before that field may have E2H
/// as 1 for good, and show it in HCR_EL2, which was written with 0; a virtual EL2 by FEAT_NV2 has HCR_EL2 in memory, where it
/// is what was written.
pub(super) fn has_e2h0() -> bool {
    const E2H0_SIGN: u64 = 1 << 27;
    mrs!("S3_0_C0_C7_4") & E2H0_SIGN == 0 && layout() == Layout::E2h0
}

/// Whether E2H can be 1: FEAT_VHE, ID_AA64MMFR1_EL1.VH.
pub(super) fn has_vhe() -> bool {
    mrs!("id_aa64mmfr1_el1") >> 8 & 0xf != 0
}
