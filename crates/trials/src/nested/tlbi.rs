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
        let (op1, crm, op2) = match (self.form, self.scope) {
            (Form::Ipas2e1, Scope::Inner) => (4, 0, 1),
            (Form::Ripas2e1, Scope::Inner) => (4, 0, 2),
            (Form::Ipas2le1, Scope::Inner) => (4, 0, 5),
            (Form::Ripas2le1, Scope::Inner) => (4, 0, 6),
            (Form::Ipas2e1, Scope::Outer) => (4, 4, 0),
            (Form::Ipas2e1, Scope::Local) => (4, 4, 1),
            (Form::Ripas2e1, Scope::Local) => (4, 4, 2),
            (Form::Ripas2e1, Scope::Outer) => (4, 4, 3),
            (Form::Ipas2le1, Scope::Outer) => (4, 4, 4),
            (Form::Ipas2le1, Scope::Local) => (4, 4, 5),
            (Form::Ripas2le1, Scope::Local) => (4, 4, 6),
            (Form::Ripas2le1, Scope::Outer) => (4, 4, 7),
            (Form::Rvae1 | Form::Rvaae1 | Form::Rvale1 | Form::Rvaale1, scope) => {
                let crm = match scope {
                    Scope::Inner => 2,
                    Scope::Outer => 5,
                    Scope::Local => 6,
                };
                let op2 = match self.form {
                    Form::Rvae1 => 1,
                    Form::Rvaae1 => 3,
                    Form::Rvale1 => 5,
                    _ => 7,
                };
                (0, crm, op2)
            }
            (form, scope) => {
                let crm = match scope {
                    Scope::Outer => 1,
                    Scope::Inner => 3,
                    Scope::Local => 7,
                };
                match form {
                    Form::Vmalls12e1 => (4, crm, 6),
                    Form::Alle1 => (4, crm, 4),
                    Form::Alle2 => (4, crm, 0),
                    Form::Vae2 => (4, crm, 1),
                    Form::Vae1 => (0, crm, 1),
                    Form::Aside1 => (0, crm, 2),
                    Form::Vaae1 => (0, crm, 3),
                    Form::Vale1 => (0, crm, 5),
                    Form::Vaale1 => (0, crm, 7),
                    _ => (0, crm, 0),
                }
            }
        };
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
        let takes_none = matches!(
            self.form,
            Form::Vmalls12e1 | Form::Vmalle1 | Form::Alle1 | Form::Alle2
        );
        Tlbi {
            form: self.form,
            scope: self.scope,
            completion: if self.is_nxs {
                Completion::ExceptXs
            } else {
                Completion::Full
            },
            operand: if takes_none { 0 } else { self.operand },
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
