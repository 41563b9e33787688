//! The registers of virtual EL2: how L1 reaches each, what each keeps of a write, and where it is.
//!
//! Hardware runs virtual EL2 at EL1 with HCR_EL2.{NV, NV2} = {1, 1} (DDI 0487, D8.14). Then an access to a register of
//! EL2 goes to the register page of VNCR_EL2, to the EL1 register that stands in for it, or to L0 as a trap, or it is
//! UNDEFINED. [`way`] gives the [`Way`] of every encoding.
//!
//! While virtual EL2 runs, most of its state is in the hardware's EL1 registers, its *twins*: its own SCTLR_EL2 in
//! SCTLR_EL1, and so on. While L1's EL1 or EL0 runs, those hold L1's EL1 registers, and virtual EL2's are parked in a
//! [`File`]. [`View`] reads and writes one of virtual EL2's registers wherever it is at the time.
//!
//! A virtual machine has one of two kinds of EL2 for good, [`VirtualEl2`]: L0 does not see writes of HCR_EL2, which go
//! to the register page, so it could not follow a change of E2H. What the identification registers say of FEAT_VHE and
//! FEAT_E2H0 agrees with the kind ([`id`](crate::id)).

/// What a row of a table says, or else what most of them mean.
macro_rules! or {
    ($default:expr) => {
        $default
    };
    ($default:expr, $given:expr) => {
        $given
    };
}

mod guest;
mod nvhe;
mod rules;
mod table;
#[cfg(test)]
mod tests;
mod view;

use droste_arm64::sysreg::SysReg;
use droste_arm64::vncr::{Nv1, Slot};

pub use guest::{GuestRegister, guest_registers};
pub use nvhe::{HostStage1, host_stage1};
pub use rules::{Affects, Home, Layout, Reset, Rule, rule, rules};
pub(crate) use rules::{HCR_CLEAR, HCR_SET};
pub use table::rows;
pub use view::{File, Known, Loaded, Twins, View, timer_compare, timer_value};

/// Which EL2 a virtual machine has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VirtualEl2 {
    /// FEAT_VHE without FEAT_E2H0: HCR_EL2.E2H is RES1 and behaves as 1.
    Vhe,
    /// No FEAT_VHE: HCR_EL2.E2H is RES0.
    Nvhe,
}

impl VirtualEl2 {
    /// HCR_EL2.NV1 of the hardware while it runs virtual EL2.
    pub const fn nv1(self) -> Nv1 {
        match self {
            Self::Vhe => Nv1::Clear,
            Self::Nvhe => Nv1::Set,
        }
    }
}

/// What becomes of an MRS or MSR that L1 executes at virtual EL2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Hardware loads from and stores to the register page.
    InMemory(Slot),
    /// Hardware accesses this EL1 register instead (D8.14.6.1), the twin of the one that is named.
    Redirected(SysReg),
    /// Hardware accesses the EL1 or EL0 register that is named, which is the twin of this one of EL2: with E2H = 1 the
    /// name means EL2's (D8.13).
    Twin(Known),
    /// It traps, and what is meant is this register, whose [`rule`] says the rest.
    Trapped(Known),
    /// It traps, and what is meant is the timer value that belongs to this compare value: [`timer_value`].
    TimerValue(Known),
    /// As [`TimerValue`](Self::TimerValue), for a timer of L1's EL1, whose compare value is in the page.
    GuestTimerValue(Slot),
    /// It traps if the hardware has FEAT_ECV, and what is meant is the virtual count of L1's EL1, which is behind by
    /// virtual EL2's CNTVOFF_EL2.
    GuestCount,
    /// It traps; the virtual GIC computes this read-only register from the list registers in the page.
    Vgic(SysReg),
    /// It traps or is UNDEFINED in hardware already; L1 gets an UNDEFINED exception.
    Undefined,
    /// It means at virtual EL2 what it means at EL1, and this table has no more to say.
    AsAtEl1,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Arm's name of the register, or of the group.
    pub name: &'static str,
    /// The register, or the first of the group.
    pub first: SysReg,
    /// How many registers it covers, consecutive by CRm and op2.
    pub count: u8,
    /// For [`VirtualEl2::Vhe`].
    pub vhe: Way,
    /// For [`VirtualEl2::Nvhe`].
    pub nvhe: Way,
    /// Why.
    pub why: &'static str,
}

/// CRm and op2 as one number.
const fn position(register: SysReg) -> u8 {
    register.crm() << 3 | register.op2()
}

/// How far `register` is behind `first` in a run of `count` registers.
const fn place_in(first: SysReg, count: u8, register: SysReg) -> Option<u8> {
    let is_same = first.op0() == register.op0()
        && first.op1() == register.op1()
        && first.crn() == register.crn();
    match position(register).checked_sub(position(first)) {
        Some(place) if is_same && place < count => Some(place),
        _ => None,
    }
}

impl Row {
    /// Whether `register` is one of those that the row covers.
    pub fn matches(&self, register: SysReg) -> bool {
        place_in(self.first, self.count, register).is_some()
    }
}

/// Whether `register` belongs to the part of the encoding space that is EL2's: registers with op1 of 4, or of 5 for
/// the aliases `_EL12` and `_EL02` (DDI 0487, C5.1.2).
pub const fn is_el2_space(register: SysReg) -> bool {
    register.op0() >= 2 && (register.op1() == 4 || register.op1() == 5)
}

/// The way of `register` at virtual EL2. System instructions, op0 = 1, are not registers and are not looked up here.
///
/// A register of EL2 that is in no row is UNDEFINED: what the table does not know belongs to a feature that L1 is not
/// shown.
///
/// ```
/// use droste_arm64::sysreg::{HCR_EL2, SCTLR_EL1, SCTLR_EL2, ESR_EL1, ESR_EL2};
/// use droste_nested::registers::{Known, VirtualEl2, Way, way};
/// assert!(matches!(way(HCR_EL2, VirtualEl2::Vhe), Way::InMemory(slot) if slot.offset() == 0x78));
/// assert_eq!(way(ESR_EL2, VirtualEl2::Vhe), Way::Redirected(ESR_EL1));
/// const SCTLR: Known = Known::new(SCTLR_EL2);
/// assert_eq!(way(SCTLR_EL2, VirtualEl2::Vhe), Way::Trapped(SCTLR));
/// assert_eq!(way(SCTLR_EL1, VirtualEl2::Vhe), Way::Twin(SCTLR));
/// ```
pub fn way(register: SysReg, el2: VirtualEl2) -> Way {
    match table::find(register) {
        Some(row) => {
            let way = match el2 {
                VirtualEl2::Vhe => row.vhe,
                VirtualEl2::Nvhe => row.nvhe,
            };
            place(way, place_in(row.first, row.count, register).unwrap_or(0))
        }
        None if is_el2_space(register) => Way::Undefined,
        None => Way::AsAtEl1,
    }
}

/// The way of the register `place` behind the first of its row: only slots come in numbers.
fn place(way: Way, place: u8) -> Way {
    match way {
        Way::InMemory(first) => {
            let slot = Slot::new(first.offset() + 8 * u16::from(place));
            slot.map_or(Way::Undefined, Way::InMemory)
        }
        other => other,
    }
}
