//! The identification registers that a guest reads, field by field, each with a reason.
//!
//! One table gives a policy for each field that the architecture defines. A field without a row, one that the table's
//! author did not know, reads as 0: not implemented. A value above the highest that the table names is capped to that
//! one, since it may stand for a feature with state of its own. What is shown needs no state beyond what the hypervisor
//! switches: the general and SIMD registers, FPCR and FPSR, the EL1 system registers of Armv8.0, the pointer
//! authentication keys, the timers and, for a guest without EL2, two breakpoints and two watchpoints.
//!
//! The guest has EL1 and EL0, in AArch64 only.

mod instructions;
mod memory;
mod processor;

use droste_arm64::PaRange;
use droste_arm64::sysreg::SysReg;

/// How a field is shown to the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// 0: whatever it describes is not there.
    Hide,
    /// The host's value, at most this.
    UpTo(u8),
    /// As [`UpTo`](Self::UpTo) for a field of four signed bits, where 0b1111 says "not there" (DDI 0487, D24.1.3).
    SignedUpTo(i8),
    /// This value on any host.
    Fixed(u8),
    /// The host's value unchanged, since it tells how to read a register that is not trapped.
    Pass,
    /// The host's physical address size, at most the virtual machine's.
    PhysicalAddress,
}

/// One field of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Arm's name.
    pub name: &'static str,
    /// Lowest bit.
    pub shift: u8,
    /// Width in bits: 4, 8, or 64 for a register that is hidden as a whole.
    pub width: u8,
    /// How it is shown.
    pub policy: Policy,
    /// The reason for that.
    pub why: &'static str,
}

/// A register and its fields.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// Its encoding.
    pub register: SysReg,
    /// Arm's name.
    pub name: &'static str,
    /// Its fields; bits outside them read as 0.
    pub fields: &'static [Field],
}

impl Field {
    const fn mask(&self) -> u64 {
        u64::MAX >> (64 - self.width)
    }

    /// The field in its place, of a host whose register is `host`.
    fn value(&self, host: u64, pa_range: PaRange) -> u64 {
        let field = host >> self.shift & self.mask();
        let shown = match self.policy {
            Policy::Hide => 0,
            Policy::UpTo(max) => field.min(max.into()),
            Policy::SignedUpTo(max) => {
                let signed = (field << 60).cast_signed() >> 60;
                signed.min(max.into()).cast_unsigned()
            }
            Policy::Fixed(value) => value.into(),
            Policy::Pass => field,
            Policy::PhysicalAddress => field.min(pa_range.field()),
        };
        (shown & self.mask()) << self.shift
    }
}

/// The registers of the table.
pub fn registers() -> impl Iterator<Item = &'static Register> {
    let (processor, instructions, memory) = (
        processor::REGISTERS,
        instructions::REGISTERS,
        memory::REGISTERS,
    );
    processor.iter().chain(instructions).chain(memory)
}

/// Whether `register` belongs to the group that HCR_EL2.TID3 traps: `S3_0_C0_C<m>_<n>` with m from 1 to 7. Unallocated
/// registers of the group read as 0 (DDI 0487, HCR_EL2.TID3).
pub const fn is_identification(register: SysReg) -> bool {
    register.op0() == 3
        && register.op1() == 0
        && register.crn() == 0
        && register.crm() >= 1
        && register.crm() <= 7
}

/// What a guest with physical addresses of `pa_range` reads from `register`, where the host reads `host`. A register
/// that is not in the table reads as 0; those of AArch32 are not in it.
///
/// Call it when a virtual machine is built, not at each trap: it walks the table.
///
/// ```
/// use droste_arm64::{PaRange, sysreg::ID_AA64PFR0_EL1};
/// use droste_vdev::id;
/// // A host with EL2, EL3, AArch32 at EL0, GICv4.1, RAS and SVE.
/// let pfr0 = id::value(ID_AA64PFR0_EL1, 0x1201_0011_1311_1112, PaRange::Bits40);
/// assert_eq!(pfr0, 0x1101_0000_0111_0011);
/// ```
pub fn value(register: SysReg, host: u64, pa_range: PaRange) -> u64 {
    let Some(row) = registers().find(|row| row.register == register) else {
        return 0;
    };
    let fields = row.fields.iter();
    fields.fold(0, |value, field| value | field.value(host, pa_range))
}

/// Fields of one register: name, lowest bit, width if not 4, policy and reason.
macro_rules! fields {
    ($($name:ident $shift:literal $(/ $width:literal)? : $policy:expr, $why:literal;)*) => {
        &[$($crate::id::Field {
            name: stringify!($name),
            shift: $shift,
            width: $crate::id::width!($($width)?),
            policy: $policy,
            why: $why,
        }),*]
    };
}
macro_rules! width {
    () => {
        4
    };
    ($width:literal) => {
        $width
    };
}
/// A register by its name.
macro_rules! register {
    ($name:ident, $fields:expr) => {
        $crate::id::Register {
            register: droste_arm64::sysreg::$name,
            name: stringify!($name),
            fields: $fields,
        }
    };
}
use {fields, register, width};

#[cfg(test)]
mod tests;
