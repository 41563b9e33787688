//! Which traps of EL1 and EL0 go to virtual EL2.
//!
//! Something under virtual EL2 trapped to L0, by a control that L0 set for itself or for L1. If L1's own controls would
//! have trapped it, the exception is forwarded: taken to virtual EL2 with the hardware's syndrome as it is. If not, L0
//! emulates it, or it is UNDEFINED. One table lists, for each system register, system instruction and other trapped
//! instruction, the bits of HCR_EL2, CPTR_EL2, MDCR_EL2, CNTHCTL_EL2 and ICH_HCR_EL2 that forward it. [`hardware`]
//! gives what L0 must set so that all of them trap in the first place.
//!
//! A trap that EL1's controls demand of EL0 (SCTLR_EL1, CPACR_EL1, CNTKCTL_EL1) comes before EL2's. The hardware has
//! those registers, and takes such a trap to EL1 itself, or to L0 where TGE is 1 and E2H is 0. In the latter case it goes
//! to virtual EL2, and [`routed`] tells it from what L0's own traps took.
//!
//! Left out, because L1 is not shown what they control, so that their bits are RES0 or without effect and what they
//! trap is UNDEFINED: fine-grained traps (HFGxTR_EL2 and the like), HCRX_EL2, HCR_EL2.{NV, NV1, AT} and with them ERET
//! and AT, TERR, TEA and FIEN, TLOR, TID0 and HSTR_EL2, which trap AArch32 alone, TID5 and ATA, EnSCXT, TWED, the traps
//! of performance monitors, profiling, trace and activity monitors, of SVE and of SME. TLBI instructions for EL2 and
//! stage 2 are UNDEFINED at EL1.

mod table;
#[cfg(test)]
mod tests;

use droste_arm64::esr::{Direction, Ec, Esr, SysRegAccess};
use droste_arm64::hcr;
use droste_arm64::sysreg::SysReg;
use droste_arm64::vhe::Layout;

use crate::exception::{Level, is_in_host};
use crate::registers::{HCR_CLEAR, HCR_SET, VirtualEl2};

/// SCTLR_EL1.nTWI, which lets EL0 execute WFI.
const SCTLR_NTWI: u64 = 1 << 16;
/// SCTLR_EL1.nTWE, the same for WFE.
const SCTLR_NTWE: u64 = 1 << 18;
/// SCTLR_EL1.TIDCP, of FEAT_TIDCP1: traps what is IMPLEMENTATION DEFINED.
const SCTLR_TIDCP: u64 = 1 << 63;

pub use table::{instructions, of_el1, rows};

/// A register of virtual EL2 with trap bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Control {
    /// HCR_EL2.
    Hcr,
    /// CPTR_EL2.
    Cptr,
    /// MDCR_EL2.
    Mdcr,
    /// CNTHCTL_EL2.
    Cnthctl,
    /// ICH_HCR_EL2.
    IchHcr,
}

/// Which value of the bit traps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sense {
    /// 1.
    Set,
    /// 0.
    Clear,
}

/// Where a trap bit has effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// EL1.
    El1,
    /// EL1, and EL0 unless it belongs to EL2 (E2H and TGE both 1).
    Guest,
    /// EL0 that belongs to EL2.
    Host,
    /// EL1, and EL0 whether or not it belongs to EL2.
    Any,
}

/// Which accesses a trap bit traps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accesses {
    /// MRS.
    Read,
    /// MSR and system instructions.
    Write,
    /// Both.
    Any,
}

/// One trap bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trap {
    /// Arm's name; with E2H = 1 where the two differ.
    pub name: &'static str,
    /// Its register.
    pub control: Control,
    /// The bit with E2H = 1; `None` if that layout has none.
    pub vhe: Option<u8>,
    /// The bit with E2H = 0; `None` if that layout has none.
    pub nvhe: Option<u8>,
    /// Which value traps.
    pub sense: Sense,
    /// Where it has effect.
    pub at: At,
    /// Which accesses it traps.
    pub accesses: Accesses,
}

/// System registers or instructions with the same traps: one op0, and sets of op1, CRn, CRm and op2.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Arm's name of the register, the instruction or the group.
    pub name: &'static str,
    /// op0.
    pub op0: u8,
    /// Bit n: op1 = n.
    pub op1: u8,
    /// Bit n: CRn = n.
    pub crn: u16,
    /// Bit n: CRm = n.
    pub crm: u16,
    /// Bit n: op2 = n.
    pub op2: u8,
    /// The trap bits, each of which forwards them.
    pub traps: &'static [Trap],
}

/// An instruction that traps other than by exception class 0x18.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Instruction {
    /// WFI, WFIT.
    Wfi,
    /// WFE, WFET.
    Wfe,
    /// HVC. Where it is not forwarded it is UNDEFINED.
    Hvc,
    /// SMC.
    Smc,
    /// Advanced SIMD and floating point.
    FloatingPoint,
    /// Pointer authentication.
    PointerAuthentication,
    /// What makes a debug exception: BRK, a step, a breakpoint, a watchpoint.
    Debug,
    /// SVE: hidden, UNDEFINED.
    Sve,
    /// SME: hidden, UNDEFINED.
    Sme,
    /// ERET: only FEAT_NV and FEAT_FGT trap it, and L1 has neither.
    Eret,
}

/// What trapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// An access to a system register, or a system instruction.
    System(SysRegAccess),
    /// Another instruction.
    Instruction(Instruction),
}

impl Event {
    /// Decodes the syndrome (DDI 0487, D24.2, ESR_EL2). `None` for classes that no trap control of EL2's makes: above
    /// all those of aborts, which [`fault`](crate::fault) judges.
    ///
    /// ```
    /// use droste_arm64::esr::Esr;
    /// use droste_nested::forward::{Event, Instruction};
    /// assert_eq!(Event::decode(Esr(0x1 << 26 | 1)), Some(Event::Instruction(Instruction::Wfe)));
    /// assert_eq!(Event::decode(Esr(0x24 << 26)), None);
    /// ```
    pub fn decode(esr: Esr) -> Option<Self> {
        const IS_WFE: u64 = 1;
        let instruction = match esr.ec() {
            Ec::SYSREG => return Some(Self::System(esr.sysreg_access())),
            Ec::WFX if esr.0 & IS_WFE != 0 => Instruction::Wfe,
            Ec::WFX => Instruction::Wfi,
            Ec::FP => Instruction::FloatingPoint,
            Ec::PAC => Instruction::PointerAuthentication,
            Ec::HVC64 => Instruction::Hvc,
            Ec::SMC64 => Instruction::Smc,
            Ec::SVE => Instruction::Sve,
            Ec(0x1d) => Instruction::Sme,
            Ec(0x1a) => Instruction::Eret,
            Ec(0x30..=0x35 | 0x3c) => Instruction::Debug,
            _ => return None,
        };
        Some(Self::Instruction(instruction))
    }
}

/// Virtual EL2's registers with trap bits, as their rules keep them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Controls {
    /// Which EL2 it is: CPTR_EL2 and CNTHCTL_EL2 have two layouts.
    pub el2: VirtualEl2,
    /// HCR_EL2.
    pub hcr: u64,
    /// CPTR_EL2.
    pub cptr: u64,
    /// MDCR_EL2.
    pub mdcr: u64,
    /// CNTHCTL_EL2.
    pub cnthctl: u64,
    /// ICH_HCR_EL2.
    pub ich_hcr: u64,
}

impl Controls {
    /// The register that `control` names.
    pub const fn get(&self, control: Control) -> u64 {
        match control {
            Control::Hcr => self.hcr,
            Control::Cptr => self.cptr,
            Control::Mdcr => self.mdcr,
            Control::Cnthctl => self.cnthctl,
            Control::IchHcr => self.ich_hcr,
        }
    }
}

impl Trap {
    /// The bit in the layout of this kind of EL2.
    pub const fn bit(&self, el2: VirtualEl2) -> Option<u8> {
        match el2 {
            VirtualEl2::Vhe => self.vhe,
            VirtualEl2::Nvhe => self.nvhe,
        }
    }

    /// Whether the bit has the value that traps.
    pub fn is_on(&self, controls: &Controls) -> bool {
        self.bit(controls.el2).is_some_and(|bit| {
            let is_set = controls.get(self.control) >> bit & 1 != 0;
            is_set == (self.sense == Sense::Set)
        })
    }

    /// Whether it has effect at `level`, where HCR_EL2 is `hcr`.
    fn is_at(&self, level: Level, hcr: u64) -> bool {
        match (self.at, level) {
            (_, Level::El2) | (At::El1, Level::El0) | (At::Host, Level::El1) => false,
            (At::Any, _) | (At::El1 | At::Guest, Level::El1) => true,
            (At::Guest, Level::El0) => !is_in_host(hcr),
            (At::Host, Level::El0) => is_in_host(hcr),
        }
    }

    fn means(&self, direction: Option<Direction>) -> bool {
        match (self.accesses, direction) {
            (Accesses::Any, _) | (_, None) => true,
            (Accesses::Read, Some(direction)) => direction == Direction::Read,
            (Accesses::Write, Some(direction)) => direction == Direction::Write,
        }
    }
}

impl Row {
    /// Whether `register` is one of those that the row covers.
    pub const fn matches(&self, register: SysReg) -> bool {
        self.op0 == register.op0()
            && self.op1 >> register.op1() & 1 != 0
            && self.crn >> register.crn() & 1 != 0
            && self.crm >> register.crm() & 1 != 0
            && self.op2 >> register.op2() & 1 != 0
    }
}

/// Who gets a trap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// Virtual EL2, with the syndrome as it is.
    VirtualEl2,
    /// L0 alone: no control of L1's asks for it.
    Hypervisor,
}

/// Judges what trapped from `level`, EL1 or EL0 under virtual EL2. What virtual EL2 itself executed is L0's to emulate,
/// and its HVC is an exception to virtual EL2 itself.
///
/// ```
/// use droste_arm64::esr::{Direction, SysRegAccess};
/// use droste_arm64::hcr;
/// use droste_arm64::sysreg::{SCTLR_EL1, TTBR0_EL1};
/// use droste_nested::exception::Level;
/// use droste_nested::forward::{Controls, Event, Route, evaluate};
/// use droste_nested::registers::VirtualEl2;
/// let controls = Controls {
///     el2: VirtualEl2::Vhe,
///     hcr: hcr::E2H | hcr::TVM,
///     cptr: 0,
///     mdcr: 0,
///     cnthctl: 0,
///     ich_hcr: 0,
/// };
/// let write = SysRegAccess { register: TTBR0_EL1, direction: Direction::Write, rt: 0 };
/// let read = SysRegAccess { direction: Direction::Read, ..write };
/// assert_eq!(evaluate(Event::System(write), Level::El1, &controls), Route::VirtualEl2);
/// assert_eq!(evaluate(Event::System(read), Level::El1, &controls), Route::Hypervisor);
/// ```
pub fn evaluate(event: Event, level: Level, controls: &Controls) -> Route {
    let (traps, direction) = match event {
        Event::System(access) if level == Level::El0 && is_above_el0(access.register) => {
            return Route::Hypervisor;
        }
        Event::System(access) => {
            let mut rows = rows().iter();
            let row = rows.find(|row| row.matches(access.register));
            (row.map_or(&[][..], |row| row.traps), Some(access.direction))
        }
        Event::Instruction(instruction) => (instructions(instruction), None),
    };
    let is_forwarded = traps.iter().any(|trap| {
        trap.means(direction) && trap.is_at(level, controls.hcr) && trap.is_on(controls)
    });
    if is_forwarded {
        Route::VirtualEl2
    } else {
        Route::Hypervisor
    }
}

/// Whether an HVC from `level` under virtual EL2, whose HCR_EL2 is `hcr`, goes to virtual EL2: the answer of
/// [`evaluate`], for what a guest does most.
///
/// ```
/// use droste_arm64::hcr;
/// use droste_nested::exception::Level;
/// use droste_nested::forward::is_hvc_taken;
/// assert!(is_hvc_taken(Level::El1, hcr::VM));
/// assert!(!is_hvc_taken(Level::El1, hcr::HCD));
/// ```
#[inline]
pub const fn is_hvc_taken(level: Level, hcr: u64) -> bool {
    matches!(level, Level::El1) && hcr & hcr::HCD == 0
}

/// Judges what [`evaluate`] does not forward. With E2H = 0 and TGE = 1, the hardware takes to EL2 what EL1's controls
/// trap of EL0, with the exception class of the trap (DDI 0487, D24.2, HCR_EL2.TGE; J1, AArch64.SystemAccessTrap and
/// AArch64.WFxTrap). `sctlr` is L1's SCTLR_EL1.
///
/// ```
/// use droste_arm64::hcr;
/// use droste_nested::exception::Level;
/// use droste_nested::forward::{Controls, Event, Instruction, Route, routed};
/// use droste_nested::registers::VirtualEl2;
/// let controls = Controls {
///     el2: VirtualEl2::Nvhe,
///     hcr: hcr::TGE,
///     cptr: 0,
///     mdcr: 0,
///     cnthctl: 3,
///     ich_hcr: 0,
/// };
/// let wfi = Event::Instruction(Instruction::Wfi);
/// const NTWI: u64 = 1 << 16;
/// assert_eq!(routed(wfi, Level::El0, &controls, 0), Route::VirtualEl2);
/// assert_eq!(routed(wfi, Level::El0, &controls, NTWI), Route::Hypervisor);
/// ```
pub fn routed(event: Event, level: Level, controls: &Controls, sctlr: u64) -> Route {
    if controls.el2 != VirtualEl2::Nvhe || controls.hcr & hcr::TGE == 0 || level != Level::El0 {
        return Route::Hypervisor;
    }
    let is_of_el1 = match event {
        Event::System(access) if is_implementation_defined(access.register) => {
            sctlr & SCTLR_TIDCP != 0
        }
        Event::System(access) => of_el1().iter().any(|row| row.matches(access.register)),
        Event::Instruction(Instruction::Wfi) => sctlr & SCTLR_NTWI == 0,
        Event::Instruction(Instruction::Wfe) => sctlr & SCTLR_NTWE == 0,
        Event::Instruction(_) => false,
    };
    if is_of_el1 {
        Route::VirtualEl2
    } else {
        Route::Hypervisor
    }
}

/// Whether an exception of this class, which EL0 raises and no trap control makes, goes to virtual EL2 where its TGE is
/// 1 and E2H is 0. Such classes are those that the hardware would otherwise take to EL1 (DDI 0487, D1.3 "Routing of
/// synchronous exceptions", and D24.2, HCR_EL2.TGE). Any other class is that of a trap of something that L1 is not
/// shown, such as 0x0a of FEAT_LS64, and what it traps is UNDEFINED.
///
/// ```
/// use droste_arm64::esr::Ec;
/// use droste_nested::forward::is_raised;
/// let (svc, ls64) = (Ec(0x15), Ec(0x0a));
/// assert!(is_raised(svc) && !is_raised(ls64));
/// ```
pub const fn is_raised(class: Ec) -> bool {
    // UNDEFINED, BTI, Illegal Execution state, SVC, FPAC, aborts, alignment of PC and SP, floating point.
    matches!(
        class.0,
        0x00 | 0x0d | 0x0e | 0x15 | 0x1c | 0x20 | 0x22 | 0x24 | 0x26 | 0x2c
    )
}

/// Whether EL0 has no such register or instruction, so that it is UNDEFINED there before any control is asked: those of
/// EL0 have op1 = 3 (DDI 0487, C5.1). IMPLEMENTATION DEFINED ones, with CRn of 11 or 15, may trap from EL0 all the same.
const fn is_above_el0(register: SysReg) -> bool {
    register.op1() != 3 && !is_implementation_defined(register)
}

const fn is_implementation_defined(register: SysReg) -> bool {
    matches!((register.op0(), register.crn()), (1 | 3, 11 | 15))
}

/// The hardware's registers with trap bits, in the layout that the hardware's HCR_EL2.E2H says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hardware {
    /// HCR_EL2.
    pub hcr: u64,
    /// CPTR_EL2.
    pub cptr: u64,
    /// MDCR_EL2.
    pub mdcr: u64,
    /// CNTHCTL_EL2.
    pub cnthctl: u64,
    /// ICH_HCR_EL2.
    pub ich_hcr: u64,
}

const CPTR_TCPAC: u64 = 1 << 31;
/// CPTR_EL2.TFP with E2H = 0.
const CPTR_TFP: u64 = 1 << 10;
/// TDE, TDA, TDOSA and TDRA.
const MDCR_SET: u64 = 0xf << 8;
/// EL1PCTEN and EL1PCEN with E2H = 0; EL1PTEN is beside EL1PCTEN as well.
const CNTHCTL_CLEAR: u64 = 3;
/// EL1TVT and EL1TVCT.
const CNTHCTL_SET: u64 = 3 << 13;
/// TC, TALL0, TALL1 and TDIR.
const ICH_HCR_SET: u64 = 7 << 10 | 1 << 14;

/// The values of the hardware's registers for EL1 and EL0 under virtual EL2, so that both L0's own traps, which `own`
/// has, and L1's come to L0. HVC, physical interrupts and accesses to SGI registers come to L0 in any case.
///
/// ```
/// use droste_arm64::hcr;
/// use droste_nested::forward::{Controls, Hardware, hardware};
/// use droste_nested::registers::VirtualEl2;
/// let own = Hardware { hcr: hcr::VM | hcr::API, cptr: 0x33ff, mdcr: 0, cnthctl: 3, ich_hcr: 1 };
/// let l1 = Controls {
///     el2: VirtualEl2::Vhe,
///     hcr: hcr::E2H | hcr::TVM,
///     cptr: 0, // FPEN traps
///     mdcr: 0,
///     cnthctl: 1 << 10, // EL1PCTEN, but not EL1PTEN
///     ich_hcr: 0,
/// };
/// let merged = hardware(own, &l1);
/// assert_eq!(merged.hcr, hcr::VM | hcr::TVM);
/// assert_eq!(merged.cptr, 0x33ff | 1 << 10);
/// assert_eq!(merged.cnthctl, 1);
/// ```
pub const fn hardware(own: Hardware, l1: &Controls) -> Hardware {
    const FPEN_EL1: u64 = 1 << 20;
    let (traps_fp, counters) = match l1.el2 {
        VirtualEl2::Vhe => (l1.cptr & FPEN_EL1 == 0, l1.cnthctl >> 10),
        VirtualEl2::Nvhe => (l1.cptr & CPTR_TFP != 0, l1.cnthctl),
    };
    let layout = Layout::of(own.hcr);
    let shift = layout.physical_timer_shift();
    let cptr = own.cptr | l1.cptr & CPTR_TCPAC;
    Hardware {
        hcr: (own.hcr | l1.hcr & HCR_SET) & (l1.hcr | !HCR_CLEAR),
        cptr: if traps_fp {
            layout.with_vectors_trapped(cptr)
        } else {
            cptr
        },
        mdcr: own.mdcr | l1.mdcr & MDCR_SET,
        cnthctl: (own.cnthctl | l1.cnthctl & CNTHCTL_SET)
            & (counters << shift | !(CNTHCTL_CLEAR << shift)),
        ich_hcr: own.ich_hcr | l1.ich_hcr & ICH_HCR_SET,
    }
}
