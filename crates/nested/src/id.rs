//! What a guest with EL2 reads in its identification registers: where they differ from those of a guest without EL2.
//!
//! The identification registers of a guest without EL2 come from a table of its own, which hides everything of EL2's.
//! This table says field by field what virtual EL2 changes: what is emulated is shown, and what is shown is emulated. A
//! field in no row stays as it is without EL2. Nested virtualization itself is hidden: L1's guests have no virtual EL2.
//!
//! The numbers of list registers, of breakpoints and the like do not identify EL2, and come from elsewhere.

mod table;
#[cfg(test)]
mod tests;

use droste_arm64::Granule;
use droste_arm64::sysreg::SysReg;

use crate::registers::VirtualEl2;

pub use table::registers;

/// What becomes of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// 0: whatever it describes is not there.
    Hide,
    /// What a guest without EL2 is shown, at most this.
    AsWithout(u8),
    /// The host's value, at most this.
    Host(u8),
    /// This value on any host.
    Fixed(u8),
    /// One value with FEAT_VHE, and another without.
    Either {
        /// For [`VirtualEl2::Vhe`].
        vhe: u8,
        /// For [`VirtualEl2::Nvhe`].
        nvhe: u8,
    },
    /// A field TGran_2: 2, supported, where stage 2 of this granule can be shadowed; else 1, not supported.
    StageTwo(Granule),
}

/// One field of a register, four bits wide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Arm's name.
    pub name: &'static str,
    /// Lowest bit.
    pub shift: u8,
    /// What becomes of it.
    pub policy: Policy,
    /// Why.
    pub why: &'static str,
}

/// A register and the fields of it that change.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// Its encoding.
    pub register: SysReg,
    /// Arm's name.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

/// Which EL2 a virtual machine has, and the granule of its shadow tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Which EL2 it has.
    pub el2: VirtualEl2,
    /// The granule of the tables that shadow L1's. Tables of L1's with a smaller granule could not be shadowed.
    pub shadow: Granule,
}

impl Field {
    /// The field in its place: `host` is the real register, `without` what a guest without EL2 reads of it.
    fn value(&self, host: u64, without: u64, shape: Shape) -> u64 {
        let cut = |register: u64| register >> self.shift & 0xf;
        let shown = match self.policy {
            Policy::Hide => 0,
            Policy::AsWithout(max) => cut(without).min(max.into()),
            Policy::Host(max) => cut(host).min(max.into()),
            Policy::Fixed(value) => value.into(),
            Policy::Either { vhe, nvhe } => match shape.el2 {
                VirtualEl2::Vhe => vhe.into(),
                VirtualEl2::Nvhe => nvhe.into(),
            },
            Policy::StageTwo(granule) => {
                if granule.page_bytes() >= shape.shadow.page_bytes() {
                    2
                } else {
                    1
                }
            }
        };
        shown << self.shift
    }
}

/// What a guest with EL2 reads of `register`, where the real one is `host` and a guest without EL2 reads `without`.
///
/// It searches the table: ask it when a virtual machine is built, not at each trap.
///
/// ```
/// use droste_arm64::{Granule, sysreg::{ID_AA64MMFR1_EL1, ID_AA64PFR0_EL1}};
/// use droste_nested::{id::{Shape, value}, registers::VirtualEl2};
/// let shape = Shape { el2: VirtualEl2::Vhe, shadow: Granule::Kib4 };
/// assert_eq!(value(ID_AA64PFR0_EL1, 0x1111, 0x0011, shape), 0x0111);
/// // FEAT_VHE and VMIDs of 16 bits, on a host that has neither.
/// assert_eq!(value(ID_AA64MMFR1_EL1, 0, 0, shape), 0x120);
/// ```
pub fn value(register: SysReg, host: u64, without: u64, shape: Shape) -> u64 {
    let Some(row) = registers().iter().find(|row| row.register == register) else {
        return without;
    };
    row.fields.iter().fold(without, |value, field| {
        value & !(0xf << field.shift) | field.value(host, without, shape)
    })
}
