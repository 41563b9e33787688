//! What is known to differ, or is nobody's to know: bits of what is seen that do not count.
//!
//! One thing that differs is not among them, since its bits count everywhere else: which of several pending interrupts of one
//! priority is the first, which the architecture leaves to the GIC (IHI 0069, 4.8). A program that makes one pending while it
//! is active, and then ends it by ICC_DIR_EL1, may read another from ICC_HPPIR1_EL1: about one program in a million.

use crate::sight::{Sight, What};
use droste_guests::differ::generate::SCTLR_EE;

/// One of them.
pub(crate) struct Known {
    /// In a few words.
    pub(crate) name: &'static str,
    /// The bits that do not count in something seen; 0 if it is not this.
    pub(crate) ignored: fn(&Sight<'_>) -> u64,
}

/// All of them, each with its reason.
pub(crate) const KNOWN: [Known; 8] = [
    // It is UNKNOWN where the translation is not of a Secure regime (DDI 0487, D24.2, "PAR_EL1").
    Known {
        name: "PAR_EL1.NS",
        ignored: |sight| {
            let is_found = sight.is_of("PAR_EL1") && sight.value & 1 == 0;
            if is_found { 1 << 9 } else { 0 }
        },
    },
    // With caches off by SCTLR_EL1.C or HCR_EL2.CD, what a table says or what becomes of it: both are permitted (DDI 0487,
    // D24.2, "PAR_EL1", ATTR and SH).
    Known {
        name: "PAR_EL1.ATTR with caches off",
        ignored: |sight| {
            let is_found = sight.is_of("PAR_EL1") && sight.value & 1 == 0;
            let has_caches = sight
                .written("SCTLR_EL1")
                .next_back()
                .is_none_or(|sctlr| sctlr & 1 << 2 != 0);
            if is_found && (!has_caches || sight.hcr() & 1 << 32 != 0) {
                0xff << 56 | 3 << 7
            } else {
                0
            }
        },
    },
    // After an illegal return SSBS, BTYPE, UAO and DIT are UNKNOWN (DDI 0487, D1.4.4). PAN is the SPSR's; QEMU 10.0.2
    // leaves it as it was.
    Known {
        name: "PSTATE after an illegal return",
        ignored: |sight| {
            let is_state = matches!(sight.what, What::Spsr | What::Spsr1);
            if is_state && sight.value & 1 << 20 != 0 {
                7 << 22 | 7 << 10
            } else {
                0
            }
        },
    },
    // Hardware that sets access flags may do so for AT, and for what nobody asked (DDI 0487, D8.5).
    Known {
        name: "access flags set by AT",
        ignored: |sight| {
            let sets = |name, bit: u32| sight.written(name).any(|v| v >> bit & 1 != 0);
            let can = sets("TCR_EL1", 39) || sets("VTCR_EL2", 21);
            if sight.what == What::Entry && can && sight.has_step("at ") {
                in_tables(sight, 1 << 10)
            } else {
                0
            }
        },
    },
    // AT never changes dirty state (DDI 0487, J1.1, AArch64.SetDirtyState); that of QEMU 10.0.2 does.
    Known {
        name: "dirty state changed by AT",
        ignored: |sight| {
            let sets = |name, bit: u32| sight.written(name).any(|v| v >> bit & 1 != 0);
            let can = sets("TCR_EL1", 40) || sets("VTCR_EL2", 22);
            if sight.what == What::Entry && can && sight.has_step("at ") {
                in_tables(sight, 1 << 7)
            } else {
                0
            }
        },
    },
    // Where stage 1 says Normal and stage 2 Device, the kind of Device is stage 2's (DDI 0487, D8.6.5); QEMU 10.0.2 takes
    // the low bits of the Normal memory's for one.
    Known {
        name: "kind of Device under Normal",
        ignored: |sight| {
            let is_device =
                sight.is_of("PAR_EL1") && sight.value & 1 == 0 && sight.value >> 60 == 0;
            if is_device && sight.has_step("at s12") {
                0xc << 56
            } else {
                0
            }
        },
    },
    // A walk of stage 1 through Device memory of stage 2, which HCR_EL2.PTW forbids, is a fault at the level of stage 2's
    // leaf (DDI 0487, D8.15.3); QEMU 10.0.2 says level 0.
    Known {
        name: "level of a fault by HCR_EL2.PTW",
        ignored: |sight| {
            let forbids = sight.hcr() & 1 << 2 != 0;
            let is_translated = sight.is_of("PAR_EL1") && sight.value & 0x379 == 0x319;
            let is_taken = sight.what == What::Esr && sight.value & 0xbc == 0x8c;
            match (forbids, is_translated, is_taken) {
                (true, true, _) => 3 << 1,
                (true, _, true) => 3,
                _ => 0,
            }
        },
    },
    // WnR says whether the access that matched a watchpoint was a store (DDI 0487, D24.2, ESR_EL1). QEMU 10.0.2 says so of a
    // load as well once a store has matched it, until the watchpoint is written again or the CPU gets it anew.
    Known {
        name: "WnR of a watchpoint that a store has matched",
        ignored: |sight| match (sight.what, sight.value >> 27 & 0x1f) {
            (What::Esr, 0x1a) => 1 << 6,
            _ => 0,
        },
    },
];

/// Where a bit of descriptors may stand: in a program with big-endian tables, stage 2's are not.
fn in_tables(sight: &Sight<'_>, bit: u64) -> u64 {
    let is_big = sight
        .written("SCTLR_EL1")
        .any(|sctlr| sctlr & SCTLR_EE != 0);
    if is_big { bit | bit.swap_bytes() } else { bit }
}

/// All bits that do not count in something seen.
pub(crate) fn ignored(sight: &Sight<'_>, times: &mut [u64; KNOWN.len()]) -> u64 {
    let mut all = 0;
    for (known, times) in KNOWN.iter().zip(times) {
        let bits = (known.ignored)(sight);
        *times += u64::from(bits != 0);
        all |= bits;
    }
    all
}
