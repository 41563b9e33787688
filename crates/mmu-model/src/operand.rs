//! The model's own reading of what a TLB invalidation asks for.
//!
//! Written from DDI 0487, C5.5 (the instructions' operands) and D8 "TLB maintenance". Where an operand asks for
//! something that hardware need not do (a hint of another level or granule, a range that does not begin on a
//! multiple of the hinted leaf), the model does not do it.

use crate::regime::is_ds;
use crate::tlbi::{Form, Tlbi};

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
    use crate::tlbi::Scope;

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
}
