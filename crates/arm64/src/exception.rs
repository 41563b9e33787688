//! What the architecture does when an exception is taken to EL1, for a hypervisor that takes one on a guest's behalf.

use crate::esr::Esr;

/// A synchronous exception to inject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Injection {
    /// The instruction is UNDEFINED (EC 0x00).
    Undefined,
    /// A synchronous external abort of a load or store, at the virtual address given.
    DataAbort {
        /// FAR_EL1.
        far: u64,
    },
    /// A synchronous external abort of an instruction fetch, at the virtual address given.
    InstructionAbort {
        /// FAR_EL1.
        far: u64,
    },
}

impl Injection {
    /// What ESR_ELx says of it; an abort's class is that of one from a lower level.
    pub const fn esr(self) -> Esr {
        const EXTERNAL: u64 = 0x10;
        const IL: u64 = 1 << 25;
        let (ec, status) = match self {
            Self::Undefined => (0x00, 0),
            Self::InstructionAbort { .. } => (0x20, EXTERNAL),
            Self::DataAbort { .. } => (0x24, EXTERNAL),
        };
        Esr(ec << 26 | IL | status)
    }

    /// What FAR_ELx says of it, if anything.
    pub const fn far(self) -> Option<u64> {
        match self {
            Self::Undefined => None,
            Self::InstructionAbort { far } | Self::DataAbort { far } => Some(far),
        }
    }
}

/// The state of EL1 right after it took an exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where EL1 goes on.
    pub pc: u64,
    /// Its PSTATE, as SPSR_EL2 holds it.
    pub pstate: u64,
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1, where the exception sets it.
    pub far: Option<u64>,
}

mod pstate {
    pub(super) const EL1H: u64 = 0b0101;
    pub(super) const EL1T: u64 = 0b0100;
    pub(super) const AARCH32: u64 = 1 << 4;
    pub(super) const DAIF: u64 = 0xf << 6;
    pub(super) const SSBS: u64 = 1 << 12;
    pub(super) const PAN: u64 = 1 << 22;
    pub(super) const DIT: u64 = 1 << 24;
    pub(super) const NZCV: u64 = 0xf << 28;
}

const SCTLR_SPAN: u64 = 1 << 23;
const SCTLR_DSSBS: u64 = 1 << 44;

/// Takes `what` to EL1 from a guest whose PSTATE is `from`, with its SCTLR_EL1 and VBAR_EL1 (DDI 0487, D1.3.1 and
/// AArch64.TakeException).
///
/// ```
/// use droste_arm64::exception::{Injection, take_to_el1};
/// let from_el0 = 0;
/// let entry = take_to_el1(Injection::Undefined, from_el0, 0, 0xffff_8000_0000_0800);
/// assert_eq!(entry.pc, 0xffff_8000_0000_0c00);
/// ```
pub const fn take_to_el1(what: Injection, from: u64, sctlr: u64, vbar: u64) -> Entry {
    // An abort from the same level has the next class.
    const SAME: u64 = 1 << 26;
    let is_el1 = from & (pstate::AARCH32 | 0b1100) == 0b0100;
    let offset = if from & pstate::AARCH32 != 0 {
        0x600
    } else if !is_el1 {
        0x400
    } else if from & 0xf == pstate::EL1T {
        0x000
    } else {
        0x200
    };
    let esr = match what {
        Injection::InstructionAbort { .. } | Injection::DataAbort { .. } if is_el1 => {
            what.esr().0 | SAME
        }
        _ => what.esr().0,
    };
    let mut to = from & (pstate::NZCV | pstate::DIT | pstate::PAN) | pstate::DAIF | pstate::EL1H;
    if sctlr & SCTLR_SPAN == 0 {
        to |= pstate::PAN;
    }
    if sctlr & SCTLR_DSSBS != 0 {
        to |= pstate::SSBS;
    }
    Entry {
        pc: (vbar & !0x7ff).wrapping_add(offset),
        pstate: to,
        esr,
        far: what.far(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VBAR: u64 = 0xffff_0000_0001_0000;
    const SPAN: u64 = SCTLR_SPAN;

    #[test]
    fn each_source_has_its_vector() {
        let pc = |from| take_to_el1(Injection::Undefined, from, SPAN, VBAR).pc - VBAR;
        assert_eq!(pc(0b0100), 0x000, "EL1t");
        assert_eq!(pc(0b0101), 0x200, "EL1h");
        assert_eq!(pc(0b0000), 0x400, "EL0");
        assert_eq!(pc(0b1_0000), 0x600, "AArch32 EL0");
    }

    #[test]
    fn an_abort_names_the_level_it_came_from() {
        let abort = Injection::DataAbort { far: 0x1234 };
        let from_el1 = take_to_el1(abort, 0b0101, SPAN, VBAR);
        assert_eq!(
            (from_el1.esr, from_el1.far),
            (0x25 << 26 | 1 << 25 | 0x10, Some(0x1234))
        );
        assert_eq!(take_to_el1(abort, 0, SPAN, VBAR).esr >> 26, 0x24);
        let fetch = Injection::InstructionAbort { far: 0 };
        assert_eq!(take_to_el1(fetch, 0b0101, SPAN, VBAR).esr >> 26, 0x21);
        assert_eq!(take_to_el1(fetch, 0, SPAN, VBAR).esr >> 26, 0x20);
    }

    #[test]
    fn interrupts_are_masked_and_flags_survive() {
        let from = 0b0101 | pstate::NZCV | 1 << 21 | 3 << 10;
        let to = take_to_el1(Injection::Undefined, from, SPAN, VBAR).pstate;
        assert_eq!(
            to,
            0b0101 | pstate::DAIF | pstate::NZCV,
            "single step and BTYPE are cleared"
        );
    }

    #[test]
    fn pan_and_ssbs_follow_sctlr() {
        assert_eq!(
            take_to_el1(Injection::Undefined, 0, 0, VBAR).pstate & pstate::PAN,
            pstate::PAN
        );
        assert_eq!(
            take_to_el1(Injection::Undefined, 0, SPAN, VBAR).pstate & pstate::PAN,
            0
        );
        let with_ssbs = take_to_el1(Injection::Undefined, 0, SCTLR_DSSBS | SPAN, VBAR).pstate;
        assert_eq!(with_ssbs & pstate::SSBS, pstate::SSBS);
    }

    #[test]
    fn garbage_in_the_low_bits_of_vbar_is_ignored() {
        assert_eq!(
            take_to_el1(Injection::Undefined, 0b0101, SPAN, VBAR | 0x7ff).pc,
            VBAR + 0x200
        );
    }
}
