//! TLB invalidations: the instructions as data (DDI 0487, C5.5).

use core::fmt;

use crate::config::{Config, Features};

/// Which CPUs an invalidation reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The CPU that executes it.
    Local,
    /// The Inner Shareable domain: all CPUs of the model.
    Inner,
    /// The Outer Shareable domain: all CPUs of the model as well (FEAT_TLBIOS).
    Outer,
}

/// Whether the instruction has the nXS qualifier (FEAT_XS).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completion {
    /// Without it.
    Full,
    /// With it: accesses with the XS attribute need not have ended when it is complete. The model lets entries that
    /// could give that attribute, those without FnXS, survive.
    ExceptXs,
}

/// An invalidation instruction, without scope and qualifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    missing_docs,
    reason = "the names are the architecture's; the groups are told"
)]
pub enum Form {
    // Stage 1 and combined entries, by virtual address: V(A)(A)(L)E1 and the range forms.
    Vae1,
    Vaae1,
    Vale1,
    Vaale1,
    Rvae1,
    Rvaae1,
    Rvale1,
    Rvaale1,
    // Stage 1 and combined entries, by ASID or all of the VMID.
    Aside1,
    Vmalle1,
    // Stage-2 entries, by intermediate physical address.
    Ipas2e1,
    Ipas2le1,
    Ripas2e1,
    Ripas2le1,
    // All entries of the VMID; of every VMID.
    Vmalls12e1,
    Alle1,
    // EL2's own regime.
    Alle2,
    Vae2,
    Vale2,
}

impl Form {
    /// All forms with their mnemonics.
    pub(crate) const ALL: [(Self, &'static str); 19] = [
        (Self::Vae1, "vae1"),
        (Self::Vaae1, "vaae1"),
        (Self::Vale1, "vale1"),
        (Self::Vaale1, "vaale1"),
        (Self::Rvae1, "rvae1"),
        (Self::Rvaae1, "rvaae1"),
        (Self::Rvale1, "rvale1"),
        (Self::Rvaale1, "rvaale1"),
        (Self::Aside1, "aside1"),
        (Self::Vmalle1, "vmalle1"),
        (Self::Ipas2e1, "ipas2e1"),
        (Self::Ipas2le1, "ipas2le1"),
        (Self::Ripas2e1, "ripas2e1"),
        (Self::Ripas2le1, "ripas2le1"),
        (Self::Vmalls12e1, "vmalls12e1"),
        (Self::Alle1, "alle1"),
        (Self::Alle2, "alle2"),
        (Self::Vae2, "vae2"),
        (Self::Vale2, "vale2"),
    ];

    /// The mnemonic in lower case, without scope.
    pub(crate) fn mnemonic(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(form, _)| *form == self)
            .map_or("", |&(_, name)| name)
    }

    /// Whether its operand is a range (FEAT_TLBIRANGE).
    pub const fn is_range(self) -> bool {
        use Form::{Ripas2e1, Ripas2le1, Rvaae1, Rvaale1, Rvae1, Rvale1};
        matches!(
            self,
            Rvae1 | Rvaae1 | Rvale1 | Rvaale1 | Ripas2e1 | Ripas2le1
        )
    }

    /// Whether the instruction has a register operand.
    pub const fn takes_operand(self) -> bool {
        !matches!(
            self,
            Self::Vmalle1 | Self::Vmalls12e1 | Self::Alle1 | Self::Alle2
        )
    }

    /// The encoding: op1, CRm and op2 of the system instruction (DDI 0487, C5.5).
    pub const fn encoding(self, scope: Scope) -> (u8, u8, u8) {
        match (self, scope) {
            (Self::Ipas2e1, Scope::Inner) => (4, 0, 1),
            (Self::Ripas2e1, Scope::Inner) => (4, 0, 2),
            (Self::Ipas2le1, Scope::Inner) => (4, 0, 5),
            (Self::Ripas2le1, Scope::Inner) => (4, 0, 6),
            (Self::Ipas2e1, Scope::Outer) => (4, 4, 0),
            (Self::Ipas2e1, Scope::Local) => (4, 4, 1),
            (Self::Ripas2e1, Scope::Local) => (4, 4, 2),
            (Self::Ripas2e1, Scope::Outer) => (4, 4, 3),
            (Self::Ipas2le1, Scope::Outer) => (4, 4, 4),
            (Self::Ipas2le1, Scope::Local) => (4, 4, 5),
            (Self::Ripas2le1, Scope::Local) => (4, 4, 6),
            (Self::Ripas2le1, Scope::Outer) => (4, 4, 7),
            (Self::Rvae1 | Self::Rvaae1 | Self::Rvale1 | Self::Rvaale1, scope) => {
                let crm = match scope {
                    Scope::Inner => 2,
                    Scope::Outer => 5,
                    Scope::Local => 6,
                };
                let op2 = match self {
                    Self::Rvae1 => 1,
                    Self::Rvaae1 => 3,
                    Self::Rvale1 => 5,
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
                    Self::Vmalls12e1 => (4, crm, 6),
                    Self::Alle1 => (4, crm, 4),
                    Self::Alle2 => (4, crm, 0),
                    Self::Vae2 => (4, crm, 1),
                    Self::Vale2 => (4, crm, 5),
                    Self::Vae1 => (0, crm, 1),
                    Self::Aside1 => (0, crm, 2),
                    Self::Vaae1 => (0, crm, 3),
                    Self::Vale1 => (0, crm, 5),
                    Self::Vaale1 => (0, crm, 7),
                    _ => (0, crm, 0),
                }
            }
        }
    }

    /// The form and scope of which this is the encoding.
    ///
    /// ```
    /// use droste_mmu_model::{Form, Scope};
    /// assert_eq!(Form::Ipas2e1.encoding(Scope::Inner), (4, 0, 1));
    /// assert_eq!(Form::decode((4, 0, 1)), Some((Form::Ipas2e1, Scope::Inner)));
    /// assert_eq!(Form::decode((4, 0, 3)), None);
    /// ```
    pub fn decode(encoding: (u8, u8, u8)) -> Option<(Self, Scope)> {
        let scopes = [Scope::Local, Scope::Inner, Scope::Outer];
        let each = Self::ALL
            .iter()
            .flat_map(|&(form, _)| scopes.map(|scope| (form, scope)));
        each.into_iter()
            .find(|&(form, scope)| form.encoding(scope) == encoding)
    }

    pub(crate) const fn is_by_asid(self) -> bool {
        matches!(
            self,
            Self::Vae1 | Self::Vale1 | Self::Rvae1 | Self::Rvale1 | Self::Aside1
        )
    }

    const fn is_by_ipa(self) -> bool {
        matches!(
            self,
            Self::Ipas2e1 | Self::Ipas2le1 | Self::Ripas2e1 | Self::Ripas2le1
        )
    }

    /// Whether EL1 can execute it.
    pub(crate) const fn is_guests(self) -> bool {
        !matches!(
            self,
            Self::Vmalls12e1 | Self::Alle1 | Self::Alle2 | Self::Vae2 | Self::Vale2
        ) && !self.is_by_ipa()
    }

    /// Whether, at EL2, it acts on EL2's own regime while HCR_EL2.{E2H,TGE} is {1,1}.
    pub(crate) const fn follows_tge(self) -> bool {
        self.is_guests()
    }
}

/// An invalidation as it is executed.
///
/// ```
/// use droste_mmu_model::{Form, Scope, Tlbi};
/// let tlbi = Tlbi::new(Form::Ipas2e1, Scope::Inner, 0x8_0000);
/// assert_eq!(tlbi.to_string(), "ipas2e1 is 0x80000");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tlbi {
    /// Which.
    pub form: Form,
    /// Where.
    pub scope: Scope,
    /// nXS or not.
    pub completion: Completion,
    /// The register operand as the instruction takes it; 0 where it takes none.
    pub operand: u64,
}

impl Tlbi {
    /// An invalidation without the nXS qualifier.
    pub const fn new(form: Form, scope: Scope, operand: u64) -> Self {
        Self {
            form,
            scope,
            completion: Completion::Full,
            operand,
        }
    }
}

impl fmt::Display for Tlbi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = match self.scope {
            Scope::Local => "local",
            Scope::Inner => "is",
            Scope::Outer => "os",
        };
        let nxs = match self.completion {
            Completion::Full => "",
            Completion::ExceptXs => "nxs",
        };
        write!(
            f,
            "{}{nxs} {scope} {:#x}",
            self.form.mnemonic(),
            self.operand
        )
    }
}

/// TG of a range operand.
const TG: u64 = 3 << 46;

/// What is wrong with an operand or an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperandFault {
    /// The CPU does not implement the form, the scope or the qualifier.
    NotImplemented,
    /// EL1 cannot execute it.
    UndefinedAtEl1,
    /// RES0 bits are set.
    Reserved,
    /// TG of a range is 0.
    NoGranule,
    /// An instruction without operand was given one.
    Unused,
}

impl fmt::Display for OperandFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotImplemented => "the CPU does not implement it",
            Self::UndefinedAtEl1 => "it is UNDEFINED at EL1",
            Self::Reserved => "its operand has RES0 bits set",
            Self::NoGranule => "its operand names no granule",
            Self::Unused => "it takes no operand",
        })
    }
}

impl Tlbi {
    /// What is wrong with the instruction on such a CPU.
    pub(crate) fn fault(&self, config: &Config) -> Option<OperandFault> {
        let has = |feature| config.features.has(feature);
        let operand = self.operand;
        let needs = [
            (self.form.is_range(), Features::TLBI_RANGE),
            (self.scope == Scope::Outer, Features::TLBI_OS),
            (self.completion == Completion::ExceptXs, Features::XS),
        ];
        if needs
            .iter()
            .any(|&(is_used, feature)| is_used && !has(feature))
        {
            return Some(OperandFault::NotImplemented);
        }
        let ttl = if has(Features::TTL) { 0 } else { 0xf << 44 };
        let reserved = match self.form {
            _ if self.form.is_range() => {
                if operand & TG == 0 {
                    return Some(OperandFault::NoGranule);
                }
                let asid = self.form.is_by_ipa() || !self.form.is_by_asid();
                u64::from(asid) * (0x7fff << 48)
            }
            Form::Ipas2e1 | Form::Ipas2le1 => 0x7fff << 48 | 0xf << 40 | ttl,
            Form::Vae1 | Form::Vale1 => ttl,
            Form::Vaae1 | Form::Vaale1 | Form::Vae2 | Form::Vale2 => 0xffff << 48 | ttl,
            Form::Aside1 => !(0xffff << 48),
            _ if operand != 0 => return Some(OperandFault::Unused),
            _ => 0,
        };
        (operand & reserved != 0).then_some(OperandFault::Reserved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use droste_arm64::Pa;

    fn config(features: Features) -> Config {
        Config {
            features,
            ..Config::new(Pa(0), 1)
        }
    }

    #[test]
    fn every_operand_fault_is_found() {
        let none = config(Features::NONE);
        let all = config(Features::ALL);
        let fault = |form, operand, config| Tlbi::new(form, Scope::Inner, operand).fault(config);
        assert_eq!(
            fault(Form::Ripas2e1, 1 << 46, &none),
            Some(OperandFault::NotImplemented)
        );
        assert_eq!(
            fault(Form::Ripas2e1, 0, &all),
            Some(OperandFault::NoGranule)
        );
        assert_eq!(fault(Form::Ripas2e1, 1 << 46, &all), None);
        assert_eq!(
            fault(Form::Ipas2e1, 1 << 40, &all),
            Some(OperandFault::Reserved)
        );
        assert_eq!(
            fault(Form::Ipas2e1, 1 << 44, &none),
            Some(OperandFault::Reserved)
        );
        assert_eq!(fault(Form::Ipas2e1, 1 << 44, &all), None);
        assert_eq!(fault(Form::Aside1, 1, &all), Some(OperandFault::Reserved));
        assert_eq!(fault(Form::Vmalle1, 1, &all), Some(OperandFault::Unused));
        assert_eq!(
            Tlbi::new(Form::Alle1, Scope::Outer, 0).fault(&none),
            Some(OperandFault::NotImplemented)
        );
    }
}
