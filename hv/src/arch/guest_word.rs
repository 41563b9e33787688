//! Reads and changes of a word that a guest may be storing to meanwhile.
//!
//! A loop of load-exclusive and store-exclusive ends once nobody else stores to what is near the word for long enough: a
//! guest that stores without end need not allow that, and would keep EL2 for ever. So a guest's word is changed by one
//! instruction, CAS. FEAT_LSE has it, which every CPU with FEAT_NV2 has (DDI 0487, A2: mandatory from Armv8.1 on, and
//! FEAT_NV2 is of Armv8.4); and guests whose words EL2 changes are those that FEAT_NV2 is for.

use core::arch::asm;

use droste_arm64::Pa;

use super::{memory, mrs};

/// What a word was found to hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchanged {
    /// What was expected; the new value is in its place.
    Done,
    /// Something else, and nothing was written.
    Differs,
}

/// Whether this CPU has CAS (DDI 0487, D24.2, ID_AA64ISAR0_EL1.Atomic).
pub(crate) fn can_exchange() -> bool {
    const LSE: u64 = 2;
    mrs!("id_aa64isar0_el1") >> 20 & 0xf >= LSE
}

/// Reads a word of a guest's RAM, 8-byte aligned.
#[inline]
pub(crate) fn read(at: Pa) -> u64 {
    memory::read_u64(at)
}

/// Replaces a word of a guest's RAM, 8-byte aligned, that holds `expected`. The CPU [can](can_exchange).
pub(crate) fn exchange(at: Pa, expected: u64, new: u64) -> Exchanged {
    let found: u64;
    // SAFETY: callers pass words of a guest's RAM, mapped and aligned, to which no reference exists. The instruction is
    // CAS X0, X1, [X2] (DDI 0487, C6.2), by number, since the base architecture's assembler does not know its name.
    unsafe {
        asm!(
            ".inst 0xc8a07c41",
            inout("x0") expected => found,
            in("x1") new,
            in("x2") at.0,
            options(nostack, preserves_flags),
        );
    }
    if found == expected {
        Exchanged::Done
    } else {
        Exchanged::Differs
    }
}
