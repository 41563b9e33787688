//! What to do with a system register access or system instruction that trapped to EL2 from a guest's EL1 or EL0
//! (exception class 0x18).
//!
//! One table is searched row by row, in order; each row gives its reason. A register that no row names is UNDEFINED, as
//! on a CPU without the feature that adds it: the identification registers show no feature whose registers are missing
//! here.

mod debug;
mod table;
#[cfg(test)]
mod tests;

use crate::gic::SgiRegister;
use droste_arm64::esr::{Direction, SysRegAccess};
use droste_arm64::sysreg::SysReg;

pub use debug::{BREAKPOINTS, DebugRegister, DebugRegisters, Pair, Point, Points};
pub use table::rows;

/// What the hypervisor does for an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A write to this register sends an SGI: [`Gic::send_sgi`](crate::gic::Gic::send_sgi).
    SendSgi(SgiRegister),
    /// A write deactivates the INTID in its bits \[23:0\]: [`Gic::write_dir`](crate::gic::Gic::write_dir).
    Deactivate,
    /// A read gives what [`id::value`](crate::id::value) shows for the register.
    Identification,
    /// A read gives 0; a write has no effect.
    Zero,
    /// A read gives this; a write has no effect.
    Constant(u64),
    /// A register that [`DebugRegisters`] holds.
    Debug(DebugRegister),
    /// Data cache maintenance by set and way. The guest sees at most a part of the caches, so it cannot mean their sets
    /// and ways: clean and invalidate the virtual machine's memory by address instead, or do nothing where stage 2
    /// forces it to be cacheable (FEAT_S2FWB) and no device reads past the caches.
    SetWay,
    /// The access causes an UNDEFINED exception, taken to EL1.
    Undefined,
}

/// Which accesses a row covers; others to the same registers are UNDEFINED.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// MRS only.
    Read,
    /// MSR or SYS only.
    Write,
    /// Both.
    Any,
}

/// Which registers a row covers: exact op0, op1 and CRn, and inclusive ranges of CRm and op2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// The register of this op0, op1 and CRn whose CRm and op2 are 0.
    pub group: SysReg,
    /// First and last CRm.
    pub crm: (u8, u8),
    /// First and last op2.
    pub op2: (u8, u8),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Arm's name of the register or the group.
    pub name: &'static str,
    /// The registers.
    pub pattern: Pattern,
    /// The accesses that exist.
    pub access: Access,
    /// What is done.
    pub action: Action,
    /// The reason.
    pub why: &'static str,
}

impl Pattern {
    /// Whether `register` is one of them.
    #[inline]
    pub const fn matches(&self, register: SysReg) -> bool {
        register.group().is(self.group)
            && register.crm() >= self.crm.0
            && register.crm() <= self.crm.1
            && register.op2() >= self.op2.0
            && register.op2() <= self.op2.1
    }
}

/// What to do for `access`.
///
/// ```
/// use droste_arm64::esr::{Direction, SysRegAccess};
/// use droste_arm64::sysreg::ICC_SGI1R_EL1;
/// use droste_vdev::gic::SgiRegister;
/// use droste_vdev::sysreg::{Action, action};
/// let access = SysRegAccess { register: ICC_SGI1R_EL1, direction: Direction::Write, rt: 3 };
/// assert_eq!(action(access), Action::SendSgi(SgiRegister::Sgi1));
/// assert_eq!(action(SysRegAccess { direction: Direction::Read, ..access }), Action::Undefined);
/// ```
pub fn action(access: SysRegAccess) -> Action {
    let mut rows = rows().iter();
    let Some(row) = rows.find(|row| row.pattern.matches(access.register)) else {
        return Action::Undefined;
    };
    match (row.access, access.direction) {
        (Access::Any, _) | (Access::Read, Direction::Read) | (Access::Write, Direction::Write) => {
            row.action
        }
        _ => Action::Undefined,
    }
}
