//! Whether EL2 has its registers in the layout of FEAT_VHE: HCR_EL2.E2H.
//!
//! EL2 runs with E2H = 0 where the CPU lets it, and with E2H = 1 where it does not or the command line asks for it
//! (`droste.e2h=1`). What differs is decided here and in [`droste_arm64::vhe`]. Before EL2 turns its MMU on for the first time,
//! each of its instructions that names a register of EL1 is made to say the name that E2H = 1 has for it: to the rest of the
//! code the registers of EL1 are what they are called.

use droste_arm64::Pa;
use droste_arm64::vhe::{Layout, el12_instruction};

use super::image::layout as image;
use super::{memory, mrs};

/// How this CPU's EL2 has its registers.
#[inline]
pub(crate) fn layout() -> Layout {
    Layout::of(mrs!("hcr_el2"))
}

/// Whether the CPU lets EL2 run with E2H = 0: ID_AA64MMFR4_EL1.E2H0 is not negative. CPUs from before that field may have E2H
/// as 1 for good, and show it in HCR_EL2, which was written with 0; a virtual EL2 by FEAT_NV2 has HCR_EL2 in memory, where it
/// is what was written.
fn has_e2h0() -> bool {
    const E2H0_SIGN: u64 = 1 << 27;
    mrs!("S3_0_C0_C7_4") & E2H0_SIGN == 0 && layout() == Layout::E2h0
}

/// Whether E2H can be 1: FEAT_VHE, ID_AA64MMFR1_EL1.VH.
fn has_vhe() -> bool {
    mrs!("id_aa64mmfr1_el1") >> 8 & 0xf != 0
}

/// Chooses the layout for all CPUs, and makes EL2's instructions fit it: returns HCR_EL2. Runs once, with the MMU off: no
/// atomic read-modify-write. What is written into is cleaned from caches afterwards.
#[unsafe(no_mangle)]
extern "C" fn choose_layout(device_tree: u64) -> u64 {
    let tree = memory::device_tree(Pa(device_tree));
    let is_asked = droste_devtree::boot_option(tree, "droste.e2h") == Some("1");
    let chosen = if is_asked && has_vhe() || !has_e2h0() {
        Layout::E2h1
    } else {
        Layout::E2h0
    };
    if chosen == Layout::E2h1 {
        // SAFETY: nothing reads or executes these instructions before caches are cleaned; with the MMU off text can be
        // written.
        let text = unsafe { memory::words(image().text) };
        for word in text {
            if let Some(instruction) = el12_instruction(*word) {
                *word = instruction;
            }
        }
    }
    droste_arm64::hcr::RW | chosen.hcr()
}
