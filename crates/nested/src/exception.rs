//! Taking an exception to virtual EL2: whether it goes there, and the state after it (DDI 0487, D1.4).
//!
//! PSTATE here is the *virtual* one, in an SPSR's form: its M field says EL2 where the hardware's says EL1.
//! [`hardware_pstate`] and [`virtual_pstate`] convert. All is AArch64; L1 has no AArch32.

use droste_arm64::esr::Esr;
use droste_arm64::hcr;

use crate::registers::Loaded;

/// An exception level as L1 sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Applications, of virtual EL2 itself or of L1's EL1.
    El0,
    /// A kernel under virtual EL2.
    El1,
    /// Virtual EL2.
    El2,
}

/// What runs, and so what the hardware has to be set up for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Running {
    /// Virtual EL2: at EL1 with HCR_EL2.{NV, NV2} set, its registers in the twins, stage 2 by the canonical table.
    VirtualEl2,
    /// EL0 in virtual EL2's translation regime, where E2H and TGE are 1: the hardware is as for virtual EL2. Its
    /// exceptions for EL1 go to the hardware's EL1, which is virtual EL2, and L0 does not see them.
    HostEl0,
    /// EL1 and EL0 under virtual EL2, L1's own or L2's: with their registers from the page, and with virtual EL2's
    /// traps, stage-2 context, timers and list registers.
    Guest,
}

impl Running {
    /// What runs at `level`, where virtual EL2's HCR_EL2 is `hcr`, as its rule keeps it. With E2H = 0 and TGE = 1, EL0
    /// is a [`Guest`](Self::Guest) with stage 1 off, and the hardware's TGE is to be set as well: its exceptions for
    /// EL1 then come to L0, which takes them to virtual EL2 (D24.2, HCR_EL2.TGE).
    pub const fn at(level: Level, hcr: u64) -> Self {
        match level {
            Level::El2 => Self::VirtualEl2,
            Level::El0 if is_in_host(hcr) => Self::HostEl0,
            Level::El0 | Level::El1 => Self::Guest,
        }
    }

    /// Whose registers are in the hardware's EL1 registers.
    pub const fn loaded(self) -> Loaded {
        match self {
            Self::VirtualEl2 | Self::HostEl0 => Loaded::El2,
            Self::Guest => Loaded::El1,
        }
    }
}

/// Whether EL0 belongs to EL2: HCR_EL2.{E2H, TGE} is {1, 1}.
pub const fn is_in_host(hcr: u64) -> bool {
    hcr & (hcr::E2H | hcr::TGE) == hcr::E2H | hcr::TGE
}

/// Fields of PSTATE as an SPSR holds them (D24.2, SPSR_EL2).
pub(crate) mod pstate {
    pub(crate) const MODE: u64 = 0x1f;
    pub(crate) const SP: u64 = 1;
    pub(crate) const EL2H: u64 = 0b1001;
    pub(crate) const DAIF: u64 = 0xf << 6;
    pub(crate) const F: u64 = 1 << 6;
    pub(crate) const I: u64 = 1 << 7;
    pub(crate) const A: u64 = 1 << 8;
    pub(crate) const D: u64 = 1 << 9;
    pub(crate) const BTYPE: u64 = 3 << 10;
    pub(crate) const SSBS: u64 = 1 << 12;
    pub(crate) const IL: u64 = 1 << 20;
    pub(crate) const SS: u64 = 1 << 21;
    pub(crate) const PAN: u64 = 1 << 22;
    pub(crate) const UAO: u64 = 1 << 23;
    pub(crate) const DIT: u64 = 1 << 24;
    pub(crate) const TCO: u64 = 1 << 25;
    pub(crate) const NZCV: u64 = 0xf << 28;
}

/// The bits of PSTATE that a vCPU has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PstateBits(u64);

impl PstateBits {
    /// From the identification registers as L1 reads them: ID_AA64PFR0_EL1, ID_AA64PFR1_EL1, ID_AA64MMFR1_EL1 and
    /// ID_AA64MMFR2_EL1.
    ///
    /// ```
    /// use droste_nested::exception::PstateBits;
    /// let plain = PstateBits::new(0, 0, 0, 0);
    /// assert_eq!(plain.mask() >> 22 & 1, 0);
    /// assert_eq!(PstateBits::new(0, 0, 3 << 20, 0).mask() >> 22 & 1, 1); // FEAT_PAN
    /// ```
    pub const fn new(pfr0: u64, pfr1: u64, mmfr1: u64, mmfr2: u64) -> Self {
        const fn bits(register: u64, shift: u32, bits: u64) -> u64 {
            if register >> shift & 15 != 0 { bits } else { 0 }
        }
        Self(
            pstate::NZCV
                | pstate::SS
                | pstate::IL
                | pstate::DAIF
                | pstate::MODE
                | bits(pfr0, 48, pstate::DIT)
                | bits(pfr1, 0, pstate::BTYPE)
                | bits(pfr1, 4, pstate::SSBS)
                | bits(pfr1, 8, pstate::TCO)
                | bits(mmfr1, 20, pstate::PAN)
                | bits(mmfr2, 4, pstate::UAO),
        )
    }

    /// The bits, in an SPSR's places.
    pub const fn mask(self) -> u64 {
        self.0
    }
}

/// The level that a virtual PSTATE names. AArch32 counts as EL0, the only level where it could run.
pub const fn level(virtual_pstate: u64) -> Level {
    match virtual_pstate & 0b1_1100 {
        0b1000 => Level::El2,
        0b0100 => Level::El1,
        _ => Level::El0,
    }
}

/// The hardware's PSTATE for a virtual one: EL2 becomes EL1.
///
/// ```
/// use droste_nested::exception::hardware_pstate;
/// assert_eq!(hardware_pstate(0x3c9), 0x3c5);
/// assert_eq!(hardware_pstate(0x3c5), 0x3c5);
/// ```
pub const fn hardware_pstate(virtual_pstate: u64) -> u64 {
    match level(virtual_pstate) {
        Level::El2 => virtual_pstate & !0b1100 | 0b0100,
        Level::El1 | Level::El0 => virtual_pstate,
    }
}

/// The virtual PSTATE for the hardware's, while `running` runs.
pub const fn virtual_pstate(hardware_pstate: u64, running: Running) -> u64 {
    match (running, level(hardware_pstate)) {
        (Running::VirtualEl2, Level::El1) => hardware_pstate & !0b1100 | 0b1000,
        _ => hardware_pstate,
    }
}

/// The cause of an exception, as far as its target depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A synchronous exception that goes to EL1 unless TGE says otherwise: UNDEFINED, SVC, a stage-1 or alignment fault
    /// and the like (D1.4.5.1).
    Synchronous,
    /// A synchronous external abort.
    ExternalAbort,
    /// A debug exception.
    Debug,
    /// An IRQ from L1's GIC.
    Irq,
    /// An FIQ from L1's GIC.
    Fiq,
    /// An SError.
    SError,
}

/// Where an exception goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// EL1 under virtual EL2.
    El1,
    /// Virtual EL2.
    El2,
    /// Nowhere for now: its target is below the level that runs, so it stays pending.
    Pending,
}

/// The target of an exception from `from`, where virtual EL2's registers are `hcr` and `mdcr`, as their rules keep
/// them (D1.4.5.1, D1.4.5.2, and Table D1-12 with its like for SErrors).
///
/// ```
/// use droste_arm64::hcr;
/// use droste_nested::exception::{Cause, Level, Target, target};
/// assert_eq!(target(Cause::Synchronous, Level::El0, 0, 0), Target::El1);
/// assert_eq!(target(Cause::Synchronous, Level::El0, hcr::TGE, 0), Target::El2);
/// assert_eq!(target(Cause::Irq, Level::El2, 0, 0), Target::Pending);
/// assert_eq!(target(Cause::Irq, Level::El1, hcr::IMO, 0), Target::El2);
/// ```
pub const fn target(cause: Cause, from: Level, hcr: u64, mdcr: u64) -> Target {
    const TDE: u64 = 1 << 8;
    let is_asynchronous = matches!(cause, Cause::Irq | Cause::Fiq | Cause::SError);
    let is_routed = match cause {
        Cause::Synchronous => false,
        Cause::ExternalAbort => hcr & hcr::TEA != 0,
        Cause::Debug => mdcr & TDE != 0,
        Cause::Irq => hcr & hcr::IMO != 0,
        Cause::Fiq => hcr & hcr::FMO != 0,
        Cause::SError => hcr & hcr::AMO != 0,
    };
    // With TGE, EL1 cannot run, and an interrupt at EL2 counts as routed there.
    let is_tge = hcr & hcr::TGE != 0;
    match from {
        Level::El2 if is_asynchronous && !is_routed && !is_tge => Target::Pending,
        Level::El2 => Target::El2,
        Level::El1 | Level::El0 if is_routed || is_tge => Target::El2,
        Level::El1 | Level::El0 => Target::El1,
    }
}

/// The target of debug exceptions from EL1 and EL0, where virtual EL2's registers are `hcr` and `mdcr` (D2.4).
pub const fn debug_target(hcr: u64, mdcr: u64) -> Target {
    target(Cause::Debug, Level::El0, hcr, mdcr)
}

/// Whether what runs at `from` is single-stepped, where debug exceptions go to `debug`, MDSCR_EL1 is `mdscr` and PSTATE
/// is `pstate` (D2.4 and D2.12).
///
/// ```
/// use droste_nested::exception::{Level, Target, is_stepping};
/// let (ss, kde, masked) = (1, 1 << 13, 1 << 9);
/// assert!(is_stepping(Level::El0, Target::El1, ss, masked));
/// assert!(!is_stepping(Level::El1, Target::El1, ss, 0));
/// assert!(is_stepping(Level::El1, Target::El1, ss | kde, 0));
/// assert!(!is_stepping(Level::El1, Target::El1, ss | kde, masked));
/// ```
pub const fn is_stepping(from: Level, debug: Target, mdscr: u64, pstate: u64) -> bool {
    const SS: u64 = 1;
    const KDE: u64 = 1 << 13;
    let is_within = mdscr & KDE != 0 && pstate & pstate::D == 0;
    let is_enabled = match (from, debug) {
        (Level::El0, _) | (Level::El1, Target::El2) => true,
        (Level::El1, Target::El1) | (Level::El2, Target::El2) => is_within,
        (Level::El1, Target::Pending) | (Level::El2, Target::El1 | Target::Pending) => false,
    };
    is_enabled && mdscr & SS != 0
}

/// Whether an interrupt for `target` is masked, where the virtual PSTATE is `pstate` and virtual EL2's HCR_EL2 is `hcr`
/// (D1.4.6.4, Table D1-21). Synchronous exceptions never are.
pub const fn is_masked(cause: Cause, target: Target, pstate: u64, hcr: u64) -> bool {
    let mask = match cause {
        Cause::Irq => pstate::I,
        Cause::Fiq => pstate::F,
        Cause::SError => pstate::A,
        Cause::Synchronous | Cause::ExternalAbort | Cause::Debug => return false,
    };
    match (target, level(pstate)) {
        (Target::Pending, _) => true,
        // PSTATE of a lower level masks nothing of EL2's, but for EL0 of EL2's own.
        (Target::El2, Level::El0 | Level::El1) if !is_in_host(hcr) => false,
        _ => pstate & mask != 0,
    }
}

/// An exception to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exception {
    /// A synchronous exception.
    Synchronous {
        /// Its syndrome. Where one exception class is for the same level and another for a lower one, either will do.
        esr: Esr,
        /// FAR_EL2, for an abort and the like.
        far: Option<u64>,
        /// HPFAR_EL2, for a stage-2 abort.
        hpfar: Option<u64>,
    },
    /// An IRQ.
    Irq,
    /// An FIQ.
    Fiq,
    /// An SError.
    SError {
        /// Its syndrome.
        esr: Esr,
    },
}

impl Exception {
    /// The instruction is UNDEFINED.
    pub const UNDEFINED: Self = Self::Synchronous {
        esr: Esr(IL),
        far: None,
        hpfar: None,
    };
}

/// ESR_EL2.IL: a 32-bit instruction, or none.
const IL: u64 = 1 << 25;

/// Where an exception comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The preferred return address: of the instruction itself for a fault or trap, of the next one for HVC and SVC.
    pub pc: u64,
    /// The virtual PSTATE.
    pub pstate: u64,
}

/// Virtual EL2's registers that decide how it is entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Controls {
    /// HCR_EL2, as its rule keeps it.
    pub hcr: u64,
    /// SCTLR_EL2.
    pub sctlr: u64,
    /// VBAR_EL2.
    pub vbar: u64,
    /// The bits of PSTATE that the vCPU has.
    pub bits: PstateBits,
}

/// The state of virtual EL2 right after it took an exception. A register that is `None` keeps its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where execution goes on.
    pub pc: u64,
    /// The virtual PSTATE.
    pub pstate: u64,
    /// ELR_EL2.
    pub elr: u64,
    /// SPSR_EL2.
    pub spsr: u64,
    /// ESR_EL2.
    pub esr: Option<u64>,
    /// FAR_EL2.
    pub far: Option<u64>,
    /// HPFAR_EL2.
    pub hpfar: Option<u64>,
}

/// Takes `what` to virtual EL2 (J1.1, AArch64.TakeException).
///
/// ```
/// use droste_nested::exception::{Controls, Exception, Origin, PstateBits, take_to_el2};
/// let controls = Controls {
///     hcr: 1 << 34,
///     sctlr: 1 << 23,
///     vbar: 0xffff_8000_0000_0800,
///     bits: PstateBits::new(0, 0, 0, 0),
/// };
/// let from_el1 = Origin { pc: 0x4000_0000, pstate: 0x5 };
/// let entry = take_to_el2(Exception::Irq, from_el1, &controls);
/// assert_eq!(entry.pc, 0xffff_8000_0000_0c80);
/// assert_eq!((entry.pstate, entry.spsr, entry.elr), (0x3c9, 0x5, 0x4000_0000));
/// ```
#[expect(
    clippy::inline_always,
    reason = "left to the compiler it is a call, and what is known of the exception is asked again"
)]
#[inline(always)]
pub const fn take_to_el2(what: Exception, from: Origin, controls: &Controls) -> Entry {
    let source = level(from.pstate);
    let (esr, far, hpfar) = match what {
        Exception::Synchronous { esr, far, hpfar } => {
            (Some(syndrome_at(esr, source).0), far, hpfar)
        }
        Exception::Irq | Exception::Fiq => (None, None, None),
        Exception::SError { esr } => (Some(esr.0), None, None),
    };
    Entry {
        pc: (controls.vbar & !0x7ff).wrapping_add(vector(what, from.pstate)),
        pstate: pstate_at_entry(from.pstate, controls),
        elr: from.pc,
        spsr: from.pstate & controls.bits.mask(),
        esr,
        far,
        hpfar,
    }
}

/// Offset from VBAR_EL2 (D1.4.1.6, Table D1-7).
const fn vector(what: Exception, from: u64) -> u64 {
    let kind = match what {
        Exception::Synchronous { .. } => 0x000,
        Exception::Irq => 0x080,
        Exception::Fiq => 0x100,
        Exception::SError { .. } => 0x180,
    };
    let source = match level(from) {
        Level::El2 if from & pstate::SP == 0 => 0x000,
        Level::El2 => 0x200,
        Level::El1 | Level::El0 => 0x400,
    };
    source + kind
}

/// The new PSTATE: condition flags and DIT stay, PAN stays or is set, the rest is as the entry says.
const fn pstate_at_entry(from: u64, controls: &Controls) -> u64 {
    const SPAN: u64 = 1 << 23;
    const DSSBS: u64 = 1 << 44;
    let mut to = from & (pstate::NZCV | pstate::DIT | pstate::PAN)
        | pstate::EL2H
        | pstate::DAIF
        | pstate::TCO;
    // SPAN is there where EL0 belongs to EL2 (J1.1, `ELIsInHost(EL0)`).
    if is_in_host(controls.hcr) && controls.sctlr & SPAN == 0 {
        to |= pstate::PAN;
    }
    if controls.sctlr & DSSBS != 0 {
        to |= pstate::SSBS;
    }
    to & controls.bits.mask()
}

/// The syndrome as an exception from `source` reports it. The classes of aborts and of debug exceptions come in pairs:
/// a lower level's and, one more, the same level's (D24.2, ESR_EL2.EC).
const fn syndrome_at(esr: Esr, source: Level) -> Esr {
    const SAME: u64 = 1 << 26;
    let is_pair = matches!(esr.ec().0, 0x20..=0x21 | 0x24..=0x25 | 0x30..=0x35);
    match source {
        Level::El2 if is_pair => Esr(esr.0 | SAME),
        Level::El1 | Level::El0 if is_pair => Esr(esr.0 & !SAME),
        _ => esr,
    }
}

#[cfg(test)]
mod tests;
