//! The state that every program of a guest without EL2 finds.

use crate::state::clear;
use core::arch::asm;
use droste_guests::cpu;
use droste_guests::differ::generate::SCTLR_OF_EL1;
use droste_guests::el2::vectors_of_el1;

/// TCR_EL1 as `start.s` has it, with outputs of 40 bits; MAIR_EL1 as programs have it, which begins with what it has.
const TCR: u64 = 0x80993519 | 2 << 32;
const MAIR: u64 = 0x4ff4_bb0c_0044_ff04;

/// Registers as every program finds them. The lower half of the addresses stays as it is.
pub(crate) fn reset() {
    // SAFETY: what the lab stands on gets the values that it has: the map, the caches, vectors that lead back to it. The
    // upper half, which programs have, is forgotten.
    unsafe {
        asm!(
            "msr daifset, #0xf",
            "msr spsel, #1",
            "msr sctlr_el1, {sctlr}",
            "msr tcr_el1, {tcr}",
            "msr mair_el1, {mair}",
            "msr vbar_el1, {vectors}",
            "msr cpacr_el1, {open}",
            "msr ttbr1_el1, xzr",
            "isb",
            "tlbi vmalle1is",
            "dsb ish",
            "isb",
            sctlr = in(reg) SCTLR_OF_EL1,
            tcr = in(reg) TCR,
            mair = in(reg) MAIR,
            vectors = in(reg) vectors_of_el1(),
            open = in(reg) 3u64 << 20,
            options(nostack, preserves_flags)
        );
    }
    clear!(
        "esr_el1",
        "far_el1",
        "elr_el1",
        "spsr_el1",
        "par_el1",
        "contextidr_el1",
        "tpidr_el1",
        "tpidr_el0",
        "tpidrro_el0",
        "sp_el0",
        "csselr_el1",
        "mdscr_el1",
        "oslar_el1",
        "S3_3_C4_C4_0",
        "nzcv",
        "cntkctl_el1",
        "S3_3_C14_C2_1",
        "S3_3_C14_C3_1",
        "S3_3_C14_C2_2",
        "S3_3_C14_C3_2",
        "dbgbcr0_el1",
        "dbgwcr0_el1",
        "dbgbvr0_el1",
        "dbgwvr0_el1",
        "dbgbcr1_el1",
        "dbgwcr1_el1",
        "dbgbvr1_el1",
        "dbgwvr1_el1",
        "S3_0_C12_C8_4",
        "S3_0_C12_C9_0"
    );
    cpu::isb();
}
