//! Taking an exception to EL1 as the architecture does, for a hypervisor that injects one into its guest.

use crate::esr::{Ec, Esr};

/// A synchronous exception to inject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Injection {
    /// The instruction is UNDEFINED (EC 0x00).
    Undefined,
    /// PSTATE.IL is set (EC 0x0e).
    IllegalState,
    /// A synchronous external abort.
    External(Abort),
    /// An address size fault of stage 1.
    AddressSize(Abort),
    /// A software step, after an instruction other than a Load-Exclusive.
    Step,
}

/// An abort to inject for an access for which hardware reported another abort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abort {
    esr: Esr,
    far: Option<u64>,
}

const CM: u64 = 1 << 8;
const WNR: u64 = 1 << 6;
const FNV: u64 = 1 << 10;
const IL: u64 = 1 << 25;

impl Abort {
    /// A synchronous external abort in place of the abort from a lower exception level that ESR_EL2 and FAR_EL2 report.
    /// Class, CM and WnR describe the access and stay; the description for device emulation and the stage-2 fields have
    /// no meaning at EL1 (DDI 0487, D24.2, ESR_EL2). A FAR_EL2 that is not valid is not passed on: it holds the address
    /// of an earlier exception, maybe another guest's.
    ///
    /// ```
    /// use droste_arm64::esr::Esr;
    /// use droste_arm64::exception::Abort;
    /// let store = Abort::new(Esr(0x24 << 26 | 1 << 25 | 1 << 24 | 1 << 6 | 0x07), 0x1000);
    /// assert_eq!((store.esr(), store.far()), (Esr(0x24 << 26 | 1 << 25 | 1 << 6 | 0x10), Some(0x1000)));
    /// ```
    pub const fn new(of: Esr, far: u64) -> Self {
        const EXTERNAL: u64 = 0x10;
        let is_fetch = matches!(of.ec(), Ec::INSTRUCTION_ABORT_LOWER);
        let ec = if is_fetch {
            Ec::INSTRUCTION_ABORT_LOWER
        } else {
            Ec::DATA_ABORT_LOWER
        };
        let kept = if is_fetch { 0 } else { of.0 & (CM | WNR) };
        let (valid, far) = if of.has_address() {
            (0, Some(far))
        } else {
            (FNV, None)
        };
        Self {
            esr: Esr((ec.0 as u64) << 26 | IL | kept | valid | EXTERNAL),
            far,
        }
    }

    /// The same, on a stage-1 table walk at this level, −1 to 3.
    #[must_use]
    pub const fn on_walk(self, level: i8) -> Self {
        self.with_status((0x14 + level as i64).cast_unsigned())
    }

    /// A stage-1 address size fault in its place, at this level, −1 to 3.
    #[must_use]
    pub const fn of_address_size(self, level: i8) -> Self {
        const MINUS_1: u64 = 0x29;
        self.with_status(match level {
            ..0 => MINUS_1,
            level => level.cast_unsigned() as u64,
        })
    }

    const fn with_status(self, status: u64) -> Self {
        const STATUS: u64 = 0x3f;
        Self {
            esr: Esr(self.esr.0 & !STATUS | status),
            ..self
        }
    }

    /// The value for ESR_ELx, with the class of an abort from a lower level.
    pub const fn esr(self) -> Esr {
        self.esr
    }

    /// The value for FAR_ELx, if there is one.
    pub const fn far(self) -> Option<u64> {
        self.far
    }
}

impl Injection {
    /// The value for ESR_ELx; where a class exists for lower levels and for the same level, the one for lower levels.
    pub const fn esr(self) -> Esr {
        const ISV: u64 = 1 << 24;
        const STEPPED: u64 = 0x22;
        match self {
            Self::Undefined => Esr(IL),
            Self::IllegalState => Esr(0x0e << 26 | IL),
            Self::External(abort) | Self::AddressSize(abort) => abort.esr,
            Self::Step => Esr(0x32 << 26 | IL | ISV | STEPPED),
        }
    }

    /// The value for FAR_ELx, if there is one.
    pub const fn far(self) -> Option<u64> {
        match self {
            Self::External(abort) | Self::AddressSize(abort) => abort.far,
            Self::Undefined | Self::IllegalState | Self::Step => None,
        }
    }
}

/// The state of EL1 right after it took an exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where EL1 continues.
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
    pub(super) const DAIF: u64 = 0xf << 6;
    pub(super) const SSBS: u64 = 1 << 12;
    pub(super) const PAN: u64 = 1 << 22;
    pub(super) const DIT: u64 = 1 << 24;
    pub(super) const NZCV: u64 = 0xf << 28;
    pub(super) const D: u64 = 1 << 9;
    pub(super) const AIF: u64 = 7 << 6;
    pub(super) const IL: u64 = 1 << 20;
}

const SCTLR_SPAN: u64 = 1 << 23;
const SCTLR_DSSBS: u64 = 1 << 44;

/// The PSTATE for a guest without AArch32 whose EL1 has returned to AArch32 at EL0 and was found there, with `found` in
/// SPSR_EL2. Such a return is illegal: EL1 continues at its target with PSTATE.IL set, and the first instruction there
/// raises an [Illegal State exception](Injection::IllegalState) (DDI 0487, D1.4.4). Hardware with AArch32 at EL0 cannot
/// be told to refuse: HCR_EL2.RW is about EL1.
///
/// Flags, masks, PAN and DIT are those of the return. Which stack pointer EL1 used is lost, and SP_EL1 is assumed.
pub const fn back_from_aarch32(found: u64) -> u64 {
    const KEPT: u64 = pstate::NZCV | pstate::DIT | pstate::PAN | pstate::AIF;
    found & KEPT | pstate::D | pstate::IL | pstate::EL1H
}

/// Takes `what` to EL1 from a guest whose PSTATE is `from`, in AArch64, with its SCTLR_EL1 and VBAR_EL1 (DDI 0487, D1.3.1
/// and AArch64.TakeException).
///
/// ```
/// use droste_arm64::exception::{Injection, take_to_el1};
/// let from_el0 = 0;
/// let entry = take_to_el1(Injection::Undefined, from_el0, 0, 0xffff_8000_0000_0800);
/// assert_eq!(entry.pc, 0xffff_8000_0000_0c00);
/// ```
pub const fn take_to_el1(what: Injection, from: u64, sctlr: u64, vbar: u64) -> Entry {
    // An abort or a step of the same level has the next class.
    const SAME: u64 = 1 << 26;
    let is_el1 = from & 0b1100 == 0b0100;
    let offset = if !is_el1 {
        0x400
    } else if from & 0xf == pstate::EL1T {
        0x000
    } else {
        0x200
    };
    let esr = match what {
        Injection::External(_) | Injection::AddressSize(_) | Injection::Step if is_el1 => {
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

    const LOAD: Esr = Esr(0x24 << 26 | IL | 0x07);

    #[test]
    fn each_source_has_its_vector() {
        let pc = |from| take_to_el1(Injection::Undefined, from, SPAN, VBAR).pc - VBAR;
        assert_eq!(pc(0b0100), 0x000, "EL1t");
        assert_eq!(pc(0b0101), 0x200, "EL1h");
        assert_eq!(pc(0b0000), 0x400, "EL0");
    }

    #[test]
    fn a_return_to_aarch32_was_illegal() {
        // T32 with IT, GE and Q, big-endian, IRQs masked.
        let found = 0x1f << 27 | 3 << 25 | pstate::PAN | 0xf << 16 | 0x3f << 10 | 0x2b0;
        let back = back_from_aarch32(found);
        let expected = pstate::NZCV | pstate::PAN | pstate::IL | 0x280 | 0b0101;
        assert_eq!(back, expected);
        let entry = take_to_el1(Injection::IllegalState, back, SPAN, VBAR);
        assert_eq!((entry.pc, entry.esr), (VBAR + 0x200, 0x0e << 26 | IL));
        assert_eq!(entry.pstate & pstate::IL, 0);
    }

    #[test]
    fn an_address_size_fault_is_of_the_access_at_its_level() {
        let store = Abort::new(Esr(LOAD.0 | 1 << 24 | 1 << 7 | WNR), 0x1234);
        for (level, status) in [(-1, 0x29), (0, 0), (1, 1), (3, 3)] {
            let fault = Injection::AddressSize(store.of_address_size(level));
            let from_el1 = take_to_el1(fault, 0b0101, SPAN, VBAR);
            assert_eq!(from_el1.esr, 0x25 << 26 | IL | WNR | status);
            assert_eq!(from_el1.far, Some(0x1234));
            let from_el0 = take_to_el1(fault, 0, SPAN, VBAR);
            assert_eq!(from_el0.esr, 0x24 << 26 | IL | WNR | status);
        }
    }

    #[test]
    fn an_abort_names_the_level_it_came_from() {
        let abort = Injection::External(Abort::new(LOAD, 0x1234));
        let from_el1 = take_to_el1(abort, 0b0101, SPAN, VBAR);
        assert_eq!(
            (from_el1.esr, from_el1.far),
            (0x25 << 26 | 1 << 25 | 0x10, Some(0x1234))
        );
        assert_eq!(take_to_el1(abort, 0, SPAN, VBAR).esr >> 26, 0x24);
        let fetch = Abort::new(Esr(0x20 << 26 | IL | 0x07), 0);
        let fetch = Injection::External(fetch);
        assert_eq!(take_to_el1(fetch, 0b0101, SPAN, VBAR).esr >> 26, 0x21);
        assert_eq!(take_to_el1(fetch, 0, SPAN, VBAR).esr >> 26, 0x20);
    }

    #[test]
    fn an_external_abort_says_of_the_access_what_hardware_said() {
        let everything = Esr(0x24 << 26 | 0x1ff_ffc0 | IL | 0x0f);
        let store = Abort::new(everything, 8);
        let kept = 1 << 8 | 1 << 6;
        assert_eq!(store.esr(), Esr(0x24 << 26 | IL | kept | 0x10));
        assert_eq!(store.far(), Some(8));
        let fetch = Abort::new(Esr(0x20 << 26 | 0x1ff_ffc0 | 0x0f), 8);
        assert_eq!(fetch.esr(), Esr(0x20 << 26 | IL | 0x10));
    }

    #[test]
    fn an_external_abort_on_a_walk_has_the_walks_level() {
        let store = Abort::new(Esr(LOAD.0 | 1 << 7 | 1 << 6), 8);
        for (level, status) in [(-1, 0x13), (0, 0x14), (1, 0x15), (2, 0x16), (3, 0x17)] {
            let esr = store.on_walk(level).esr();
            assert_eq!(esr, Esr(0x24 << 26 | IL | 1 << 6 | status));
        }
    }

    #[test]
    fn an_address_that_is_not_valid_is_nobodys() {
        let unknown = Abort::new(Esr(0x24 << 26 | IL | 1 << 10 | 0x10), 0x1234);
        assert_eq!(unknown.far(), None);
        assert_eq!(unknown.esr(), Esr(0x24 << 26 | IL | 1 << 10 | 0x10));
        // Of other aborts the bit is RES0.
        let known = Abort::new(Esr(LOAD.0 | 1 << 10), 0x1234);
        assert_eq!(
            (known.far(), known.esr()),
            (Some(0x1234), Esr(0x24 << 26 | IL | 0x10))
        );
        let entry = take_to_el1(Injection::External(unknown), 0b0101, SPAN, VBAR);
        assert_eq!(entry.far, None);
    }

    #[test]
    fn a_step_was_of_an_instruction() {
        let step = |from| take_to_el1(Injection::Step, from, SPAN, VBAR);
        assert_eq!(step(0).esr, 0x32 << 26 | IL | 1 << 24 | 0x22);
        assert_eq!(step(0b0101).esr, 0x33 << 26 | IL | 1 << 24 | 0x22);
        assert_eq!(step(0).far, None);
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
