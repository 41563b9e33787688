//! TLB invalidations as L1 issues them: as the encoding that traps, and as the instruction that the model of L1's
//! hardware executes (DDI 0487, C5.5).

use std::fmt;

use droste_arm64::sysreg::SysReg;
use droste_mmu_model::{Completion, Form, Scope, Tlbi};

use crate::text::{Fields, ParseError, name_of};

/// An instruction and its operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct L1Tlbi {
    /// Which.
    pub form: Form,
    /// Where.
    pub scope: Scope,
    /// Whether it is the nXS form.
    pub is_nxs: bool,
    /// The register operand; nothing, where the form takes none.
    pub operand: u64,
}

/// The forms that programs use, with their names.
pub(crate) const NAMES: [(Form, &str); 18] = [
    (Form::Ipas2e1, "ipas2e1"),
    (Form::Ipas2le1, "ipas2le1"),
    (Form::Ripas2e1, "ripas2e1"),
    (Form::Ripas2le1, "ripas2le1"),
    (Form::Vmalls12e1, "vmalls12e1"),
    (Form::Vmalle1, "vmalle1"),
    (Form::Alle1, "alle1"),
    (Form::Alle2, "alle2"),
    (Form::Vae1, "vae1"),
    (Form::Vaae1, "vaae1"),
    (Form::Aside1, "aside1"),
    (Form::Vale1, "vale1"),
    (Form::Vaale1, "vaale1"),
    (Form::Rvae1, "rvae1"),
    (Form::Rvaae1, "rvaae1"),
    (Form::Rvale1, "rvale1"),
    (Form::Rvaale1, "rvaale1"),
    (Form::Vae2, "vae2"),
];

/// Those of them that L2 can execute.
pub(crate) const OF_EL1: [Form; 6] = [
    Form::Vmalle1,
    Form::Vae1,
    Form::Vaae1,
    Form::Aside1,
    Form::Vale1,
    Form::Vaale1,
];

pub(crate) const SCOPES: [(Scope, &str); 3] = [
    (Scope::Local, "local"),
    (Scope::Inner, "is"),
    (Scope::Outer, "os"),
];

impl L1Tlbi {
    /// The encoding.
    pub(crate) const fn encoding(self) -> SysReg {
        let crn = if self.is_nxs { 9 } else { 8 };
        let (op1, crm, op2) = self.form.encoding(self.scope);
        SysReg::new(1, op1, crn, crm, op2)
    }

    /// Whether it needs FEAT_TLBIRANGE, with which FEAT_TLBIOS comes.
    pub(crate) const fn needs_ranges(self) -> bool {
        self.form.is_range() || matches!(self.scope, Scope::Outer)
    }

    /// Whether L2 can execute it, on every machine.
    pub(crate) fn is_of_el1(self) -> bool {
        OF_EL1.contains(&self.form) && !self.needs_ranges() && !self.is_nxs
    }

    /// The instruction.
    pub(crate) const fn instruction(self) -> Tlbi {
        Tlbi {
            form: self.form,
            scope: self.scope,
            completion: if self.is_nxs {
                Completion::ExceptXs
            } else {
                Completion::Full
            },
            operand: if self.form.takes_operand() {
                self.operand
            } else {
                0
            },
        }
    }
}

impl fmt::Display for L1Tlbi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "form={} scope={} nxs={} operand={:#x}",
            name_of(&self.form, &NAMES),
            name_of(&self.scope, &SCOPES),
            u8::from(self.is_nxs),
            self.operand
        )
    }
}

impl L1Tlbi {
    /// The instruction of a line.
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            form: fields.named("form", &NAMES)?,
            scope: fields.named("scope", &SCOPES)?,
            is_nxs: fields.number("nxs")? != 0,
            operand: fields.number("operand")?,
        })
    }
}
