//! TLB invalidations: the instructions as data, and the model's own reading of their operands.
//!
//! Written from DDI 0487, C5.5 (the instructions' operands) and D8 "TLB maintenance". Where an operand asks for
//! something that hardware need not do (a hint of another level or granule, a range that does not begin on a
//! multiple of the hinted leaf), the model does not do it.

use core::fmt;

use crate::config::{Config, Features};
use crate::regime::is_ds;

/// Which CPUs an invalidation reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The one that executes it.
    Local,
    /// All of the Inner Shareable domain: all of the model.
    Inner,
    /// All of the Outer Shareable domain: all of the model too (FEAT_TLBIOS).
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

    const fn is_range(self) -> bool {
        use Form::{Ripas2e1, Ripas2le1, Rvaae1, Rvaale1, Rvae1, Rvale1};
        matches!(
            self,
            Rvae1 | Rvaae1 | Rvale1 | Rvaale1 | Ripas2e1 | Ripas2le1
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
    /// Without the nXS qualifier.
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

/// What is wrong with an operand or an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperandFault {
    /// The CPU does not implement the form, the scope or the qualifier.
    NotImplemented,
    /// EL1 cannot execute it.
    UndefinedAtEl1,
    /// Bits are set that are RES0.
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

/// What a hint says about the entries to invalidate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hint {
    /// Granule of the table, as a shift; `None` for any.
    pub(crate) page_shift: Option<u32>,
    /// Level of the leaf; `None` for any.
    pub(crate) level: Option<i8>,
}

/// Which entries an instruction asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// Entries of EL2's regime.
    Nothing,
    /// Stage-2 entries that translate addresses of \[from, to).
    Stage2 {
        from: u64,
        to: u64,
        hint: Hint,
        depth: Depth,
    },
    /// Stage-1 and combined entries by virtual address.
    Virtual {
        from: u64,
        to: u64,
        asid: Option<u16>,
    },
    /// Stage-1 and combined entries of an ASID that are not global.
    Asid(u16),
    /// Stage-1 and combined entries of the VMID.
    Combined,
    /// All entries of the VMID.
    Vmid,
    /// All entries of the EL1&0 regime.
    All,
}

/// Whether entries for table descriptors go too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Depth {
    /// All levels.
    AllLevels,
    /// The last only.
    LastLevel,
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
                if granule(operand >> 46 & 3).is_none() {
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

    /// Which entries it asks for, with this VTCR_EL2 on the CPU that executes it.
    pub(crate) fn target(&self, vtcr: u64) -> Target {
        let operand = self.operand;
        let asid = self.form.is_by_asid().then_some((operand >> 48) as u16);
        match self.form {
            Form::Alle2 | Form::Vae2 | Form::Vale2 => Target::Nothing,
            Form::Alle1 => Target::All,
            Form::Vmalls12e1 => Target::Vmid,
            Form::Vmalle1 => Target::Combined,
            Form::Aside1 => Target::Asid((operand >> 48) as u16),
            Form::Vae1 | Form::Vaae1 | Form::Vale1 | Form::Vaale1 => {
                let from = sign_extended(operand << 12, 56);
                Target::Virtual {
                    from,
                    to: from.wrapping_add(1 << 12),
                    asid,
                }
            }
            Form::Rvae1 | Form::Rvaae1 | Form::Rvale1 | Form::Rvaale1 => {
                let Some(range) = Range::decode(operand, Unit::Granule) else {
                    return Target::Nothing;
                };
                let from = sign_extended(range.from, 37 + range.page_shift);
                Target::Virtual {
                    from,
                    to: from.wrapping_add(range.bytes),
                    asid,
                }
            }
            Form::Ipas2e1 | Form::Ipas2le1 => {
                let from = operand << 12 & 0xf_ffff_ffff_f000;
                let hint = Hint::of_address(operand, vtcr);
                Target::Stage2 {
                    from,
                    to: from + 1,
                    hint,
                    depth: self.depth(),
                }
            }
            Form::Ripas2e1 | Form::Ripas2le1 => self.stage2_range(vtcr),
        }
    }

    fn stage2_range(&self, vtcr: u64) -> Target {
        let unit = if is_ds(vtcr) {
            Unit::Kib64
        } else {
            Unit::Granule
        };
        let Some(range) = Range::decode(self.operand, unit) else {
            return Target::Nothing;
        };
        let level = range.level(self.operand, vtcr);
        let is_aligned = level.is_none_or(|level| {
            let leaf =
                range.page_shift + (range.page_shift - 3) * u32::from((3 - level).unsigned_abs());
            range.from & ((1 << leaf) - 1) == 0
        });
        if !is_aligned {
            return Target::Nothing;
        }
        Target::Stage2 {
            from: range.from,
            to: range.from.saturating_add(range.bytes),
            hint: Hint {
                page_shift: Some(range.page_shift),
                level,
            },
            depth: self.depth(),
        }
    }

    const fn depth(&self) -> Depth {
        match self.form {
            Form::Ipas2le1 | Form::Ripas2le1 => Depth::LastLevel,
            _ => Depth::AllLevels,
        }
    }
}

impl Form {
    const fn is_by_asid(self) -> bool {
        matches!(
            self,
            Self::Vae1 | Self::Vale1 | Self::Rvae1 | Self::Rvale1 | Self::Aside1
        )
    }
}

/// The address whose bits above `bits` repeat the one below.
const fn sign_extended(va: u64, bits: u32) -> u64 {
    let unused = 64 - bits;
    ((va << unused).cast_signed() >> unused).cast_unsigned()
}

impl Hint {
    const NONE: Self = Self {
        page_shift: None,
        level: None,
    };

    /// TTL at \[47:44\]; reserved values are no hint.
    const fn of_address(operand: u64, vtcr: u64) -> Self {
        let Some(page_shift) = granule(operand >> 46 & 3) else {
            return Self::NONE;
        };
        let level = (operand >> 44 & 3) as i8;
        let is_defined = match (page_shift, level) {
            (12, 0) | (14, 1) => is_ds(vtcr),
            (_, 0) => false,
            _ => true,
        };
        if is_defined {
            Self {
                page_shift: Some(page_shift),
                level: Some(level),
            }
        } else {
            Self::NONE
        }
    }
}

const fn granule(number: u64) -> Option<u32> {
    match number {
        1 => Some(12),
        2 => Some(14),
        3 => Some(16),
        _ => None,
    }
}

/// The unit of BaseADDR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Granule,
    /// With FEAT_LPA2 in use, whatever the granule.
    Kib64,
}

/// The operand of a range form: TG \[47:46\], SCALE \[45:44\], NUM \[43:39\], TTL \[38:37\], BaseADDR \[36:0\].
#[derive(Clone, Copy, Debug)]
struct Range {
    from: u64,
    bytes: u64,
    page_shift: u32,
}

impl Range {
    fn decode(operand: u64, unit: Unit) -> Option<Self> {
        let page_shift = granule(operand >> 46 & 3)?;
        let scale = operand >> 44 & 3;
        let num = operand >> 39 & 31;
        let shift = match unit {
            Unit::Granule => page_shift,
            Unit::Kib64 => 16,
        };
        Some(Self {
            from: (operand & 0x1f_ffff_ffff) << shift,
            bytes: (num + 1) << (5 * scale + 1) << page_shift,
            page_shift,
        })
    }

    /// The hinted level; 0 is no hint, and so is level 1 of 16 KiB granules without 52-bit addresses.
    fn level(&self, operand: u64, vtcr: u64) -> Option<i8> {
        match (operand >> 37 & 3, self.page_shift) {
            (0, _) => None,
            (1, 14) if !is_ds(vtcr) => None,
            (level, _) => Some(level as i8),
        }
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

    fn stage2(form: Form, operand: u64, vtcr: u64) -> Target {
        Tlbi::new(form, Scope::Inner, operand).target(vtcr)
    }

    #[test]
    fn an_address_is_shifted_by_12_whatever_the_granule() {
        let target = stage2(Form::Ipas2e1, 0x4_0001, 0);
        let Target::Stage2 {
            from,
            to,
            hint,
            depth,
        } = target
        else {
            panic!("{target:?}");
        };
        assert_eq!((from, to), (0x4000_1000, 0x4000_1001));
        assert_eq!((hint, depth), (Hint::NONE, Depth::AllLevels));
    }

    #[test]
    fn hints_are_read_by_granule_and_reserved_ones_are_none() {
        let hint = |ttl: u64, vtcr| match stage2(Form::Ipas2le1, ttl << 44, vtcr) {
            Target::Stage2 {
                hint,
                depth: Depth::LastLevel,
                ..
            } => (hint.page_shift, hint.level),
            other => panic!("{other:?}"),
        };
        assert_eq!(hint(0b0110, 0), (Some(12), Some(2)));
        assert_eq!(hint(0b1111, 0), (Some(16), Some(3)));
        assert_eq!(hint(0b0100, 0), (None, None));
        assert_eq!(hint(0b0100, 1 << 32), (Some(12), Some(0)));
        assert_eq!(hint(0b1001, 0), (None, None));
        assert_eq!(hint(0b1001, 1 << 32), (Some(14), Some(1)));
        assert_eq!(hint(0b0011, 0), (None, None));
    }

    #[test]
    fn a_range_is_num_plus_one_times_two_to_five_scale_plus_one_pages() {
        let operand = 1 << 46 | 1 << 44 | 2 << 39 | 3 << 37 | 0x8_0000;
        let target = stage2(Form::Ripas2e1, operand, 0);
        let Target::Stage2 { from, to, hint, .. } = target else {
            panic!("{target:?}");
        };
        assert_eq!((from, to - from), (0x8000_0000, 3 * 64 * 4096));
        assert_eq!((hint.page_shift, hint.level), (Some(12), Some(3)));
    }

    #[test]
    fn with_lpa2_a_range_begins_on_64_kib() {
        let target = stage2(Form::Ripas2e1, 1 << 46 | 0x8000, 1 << 32);
        assert!(matches!(
            target,
            Target::Stage2 {
                from: 0x8000_0000,
                to: 0x8000_2000,
                ..
            }
        ));
    }

    #[test]
    fn a_range_that_does_not_begin_on_the_hinted_leaf_asks_for_nothing() {
        let hinted = 1 << 46 | 2 << 37;
        assert_eq!(
            stage2(Form::Ripas2e1, hinted | 0x8_0001, 0),
            Target::Nothing
        );
        assert_ne!(
            stage2(Form::Ripas2e1, hinted | 0x8_0000, 0),
            Target::Nothing
        );
    }

    #[test]
    fn virtual_addresses_are_sign_extended() {
        let target = stage2(
            Form::Vae1,
            7 << 48 | 0xf_ffff_ffff_fff0 & 0xfff_ffff_ffff,
            0,
        );
        let Target::Virtual { from, asid, .. } = target else {
            panic!("{target:?}");
        };
        assert_eq!((from, asid), (0xffff_ffff_ffff_0000, Some(7)));
        let target = stage2(Form::Rvaae1, 1 << 46 | 0x1f_ffff_fff0, 0);
        assert!(matches!(
            target,
            Target::Virtual {
                from: 0xffff_ffff_ffff_0000,
                asid: None,
                ..
            }
        ));
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
