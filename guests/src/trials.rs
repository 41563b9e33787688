//! What each field of an identification register promises, and how to try it.
//!
//! A row for each field that the hypervisor's tables name, with a trial for each of its levels: something that works where
//! the field says that level or a higher one, and is UNDEFINED, or as the architecture has it without the feature, where
//! it says a lower one. The tests here hold these rows to the hypervisor's. Where there is nothing to try, the row says
//! why.

mod instructions;
mod memory;
mod processor;

use crate::encode::Name;

#[cfg(target_os = "none")]
core::arch::global_asm!(include_str!("trials.s"), options(raw));

/// One of the routines of `trials.s`.
#[derive(Clone, Copy, Debug)]
pub struct Routine {
    /// Its symbol.
    pub name: &'static str,
    /// Where it begins.
    #[cfg(target_os = "none")]
    pub entry: unsafe extern "C" fn(),
}

/// How one level of a field is tried.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// By a routine that says whether it works.
    Run(Routine),
    /// By a routine, where the field shows it alone: without, its bits of a register that is the guest's own are reserved,
    /// and an implementation may keep them or not.
    Grants(Routine),
    /// By a routine that works by an exception of this class.
    Raises(Routine, u64),
    /// By a read of a register.
    Reads(Name),
    /// By a routine, at EL1; at EL2, where the field shows it alone: what is on for EL1 stays on there, for this reason.
    RunAtEl1(Routine, &'static str),
    /// By a read of a register of EL2; at EL2, where the field shows it alone: FEAT_NV2 makes it a place in memory, and has
    /// no way not to.
    ReadsOfEl2(Name),
    /// By bits of PSTATE that an exception return sets, and the next exception saves.
    State(u64),
    /// By an exception return to this mode, where an exception of this class follows.
    Mode(u64, u64),
    /// As [`Mode`](Self::Mode), where the field does not show it: where it does, it takes more than a return.
    NoMode(u64),
    /// Not at all, for this reason: nothing that software sees differs.
    Unseen(&'static str),
    /// Not at all: what the field denies works all the same, since the hardware has no way to take it away, for this reason.
    Remains(&'static str),
}

/// Who can make the trials of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// Any level.
    Anyone,
    /// EL1.
    El1,
    /// A level with EL0 under it and two ranges of addresses: EL1, and EL2 with E2H = 1.
    Kernel,
}

/// A field and its trials.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Arm's name.
    pub name: &'static str,
    /// Lowest bit.
    pub shift: u32,
    /// Bits.
    pub width: u32,
    /// Whether 0b1111 is less than 0.
    pub is_signed: bool,
    /// Fields that say the same of another way to do it: the highest of all counts.
    pub or: &'static [(Name, u32)],
    /// Who tries.
    pub whose: Whose,
    /// A trial for each level.
    pub levels: &'static [(i64, How)],
}

/// A register and its fields.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// Arm's name.
    pub name: &'static str,
    /// Its encoding.
    pub register: Name,
    /// Its fields.
    pub fields: &'static [Field],
}

/// All registers.
pub fn registers() -> impl Iterator<Item = &'static Register> {
    let all = [
        processor::REGISTERS,
        instructions::REGISTERS,
        memory::REGISTERS,
    ];
    all.into_iter().flatten()
}

impl Field {
    /// The field of a register.
    pub fn of(&self, register: u64) -> i64 {
        cut(register, self.shift, self.width, self.is_signed)
    }
}

/// Bits of a register, with a sign or without.
pub fn cut(register: u64, shift: u32, width: u32, is_signed: bool) -> i64 {
    let top = register << (64 - shift - width);
    if is_signed {
        top.cast_signed() >> (64 - width)
    } else {
        i64::try_from(top >> (64 - width)).unwrap_or(i64::MAX)
    }
}

/// Fields of one register: name, lowest bit, width if not 4, then `signed`, `kernel` and fields that count as well, if
/// so, and the trials by level.
macro_rules! fields {
    ($($name:ident $shift:literal $(/ $width:literal)? $(($($word:tt)*))? : $($level:literal $how:expr),+;)*) => {
        &[$($crate::trials::Field {
            name: stringify!($name),
            shift: $shift,
            width: $crate::trials::width!($($width)?),
            levels: &[$(($level, $how)),+],
            ..$crate::trials::words!($($($word)*)?)
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
macro_rules! words {
    () => {
        $crate::trials::PLAIN
    };
    (signed) => {
        $crate::trials::Field {
            is_signed: true,
            ..$crate::trials::PLAIN
        }
    };
    (kernel) => {
        $crate::trials::Field {
            whose: $crate::trials::Whose::Kernel,
            ..$crate::trials::PLAIN
        }
    };
    (el1) => {
        $crate::trials::Field {
            whose: $crate::trials::Whose::El1,
            ..$crate::trials::PLAIN
        }
    };
    (signed kernel) => {
        $crate::trials::Field {
            is_signed: true,
            whose: $crate::trials::Whose::Kernel,
            ..$crate::trials::PLAIN
        }
    };
    (or $others:expr) => {
        $crate::trials::Field {
            or: $others,
            ..$crate::trials::PLAIN
        }
    };
}
/// A register by its name and encoding.
macro_rules! register {
    ($name:ident $op0:literal $op1:literal $crn:literal $crm:literal $op2:literal, $fields:expr) => {
        $crate::trials::Register {
            name: stringify!($name),
            register: $crate::encode::Name::new($op0, $op1, $crn, $crm, $op2),
            fields: $fields,
        }
    };
}
/// A routine by its symbol.
macro_rules! routine {
    ($name:literal) => {
        $crate::trials::Routine {
            name: $name,
            #[cfg(target_os = "none")]
            entry: {
                unsafe extern "C" {
                    #[link_name = $name]
                    fn entry();
                }
                entry
            },
        }
    };
}
macro_rules! run {
    ($name:literal) => {
        $crate::trials::How::Run($crate::trials::routine!($name))
    };
}
macro_rules! run_at_el1 {
    ($name:literal, $why:literal) => {
        $crate::trials::How::RunAtEl1($crate::trials::routine!($name), $why)
    };
}
macro_rules! reads_of_el2 {
    ($crn:literal $crm:literal $op2:literal) => {
        $crate::trials::How::ReadsOfEl2($crate::encode::Name::new(3, 4, $crn, $crm, $op2))
    };
}
macro_rules! grants {
    ($name:literal) => {
        $crate::trials::How::Grants($crate::trials::routine!($name))
    };
}
macro_rules! raises {
    ($name:literal, $class:literal) => {
        $crate::trials::How::Raises($crate::trials::routine!($name), $class)
    };
}
macro_rules! reads {
    ($op0:literal $op1:literal $crn:literal $crm:literal $op2:literal) => {
        $crate::trials::How::Reads($crate::encode::Name::new($op0, $op1, $crn, $crm, $op2))
    };
}
use {
    fields, grants, raises, reads, reads_of_el2, register, routine, run, run_at_el1, width, words,
};

const PLAIN: Field = Field {
    name: "",
    shift: 0,
    width: 4,
    is_signed: false,
    or: &[],
    whose: Whose::Anyone,
    levels: &[],
};

#[cfg(test)]
mod tests;
