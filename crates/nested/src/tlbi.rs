//! What a TLB invalidation by L1 asks for.
//!
//! A trapped instruction and its operand become data in two steps. [`Instruction::decode`] knows the encodings, and
//! gives `None` for one that is UNDEFINED or not advertised. [`Instruction::invalidation`] says what the instruction
//! means where it is issued. Nothing here depends on what L1's tables hold.
//!
//! Rule: what comes out covers what the architecture asks for. It may cover more in two respects, as an invalidation
//! always may: it has no scope, because a shadow serves all CPUs of a virtual machine; and for stage 2 it has no "last
//! level only", because a shadow's tables are not L1's.
//!
//! Left out: `TLBI VMALLWS2E1` (FEAT_TLBIW), the 128-bit TLBIP forms (FEAT_D128) and those of EL3 and realms, none of
//! which is advertised.
//!
//! Sources: DDI 0487, C5.5 "A64 system instructions for TLB maintenance", and D8 "TLB maintenance".

use droste_arm64::desc::{Format, OutputFormat};
use droste_arm64::sysreg::SysReg;
use droste_arm64::{Granule, Level, Vmid, VmidBits, hcr};

use crate::walk::format;
use crate::{Advertised, L2Ipa, StageTwoRegisters};

mod encoding;

use encoding::{el2_form, stage_1_form};

/// The level that L1 or L2 runs at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VirtualLevel {
    /// EL1.
    El1,
    /// EL2.
    El2,
}

/// Which CPUs an instruction reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The one that executes it.
    Local,
    /// The Inner Shareable domain.
    Inner,
    /// The Outer Shareable domain (FEAT_TLBIOS).
    Outer,
}

/// What a DSB waits for after an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completion {
    /// All accesses that used the old entries.
    Full,
    /// Those without the XS attribute (FEAT_XS, the nXS forms).
    ExceptXs,
}

/// Which of the entries that translate an address are invalidated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entries {
    /// All.
    Any,
    /// Those of the last level of the walk.
    Last,
}

/// The ASIDs that an address is invalidated for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asids {
    /// That of the operand, bits \[63:48\], and global entries.
    One,
    /// All.
    All,
}

/// What an instruction does, without its scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `VMALLE1`.
    Vmalle1,
    /// `ASIDE1`.
    Aside1,
    /// `VAE1`, `VALE1`, `VAAE1` and `VAALE1`.
    Va1(Entries, Asids),
    /// `RVAE1`, `RVALE1`, `RVAAE1` and `RVAALE1`.
    Rva1(Entries, Asids),
    /// `ALLE2`.
    Alle2,
    /// `VAE2` and `VALE2`.
    Va2(Entries),
    /// `RVAE2` and `RVALE2`.
    Rva2(Entries),
    /// `ALLE1`.
    Alle1,
    /// `VMALLS12E1`.
    Vmalls12e1,
    /// `IPAS2E1` and `IPAS2LE1`.
    Ipas2(Entries),
    /// `RIPAS2E1` and `RIPAS2LE1`.
    Ripas2(Entries),
}

impl Form {
    const fn is_range(self) -> bool {
        matches!(self, Self::Rva1(..) | Self::Rva2(_) | Self::Ripas2(_))
    }
}

/// One TLBI instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// What it does.
    pub form: Form,
    /// Which CPUs it reaches.
    pub scope: Scope,
    /// What a DSB then waits for.
    pub completion: Completion,
}

/// CRn of TLBI, and of its nXS forms.
const CRN: u8 = 8;
const CRN_NXS: u8 = 9;

impl Instruction {
    /// The instruction of this encoding, issued at `level`; `None` if it is no TLBI, or is UNDEFINED at that level with
    /// what is advertised.
    ///
    /// ```
    /// use droste_arm64::{IdRegisters, IpaBits};
    /// use droste_arm64::sysreg::SysReg;
    /// use droste_nested::Advertised;
    /// use droste_nested::tlbi::{Entries, Form, Instruction, Scope, VirtualLevel};
    /// let plain = Advertised { ids: IdRegisters::default(), isar1: 0, ipa_bits: IpaBits::MIN };
    /// let ipas2e1is = SysReg::new(1, 4, 8, 0, 1);
    /// let found = Instruction::decode(ipas2e1is, VirtualLevel::El2, &plain).unwrap();
    /// assert_eq!((found.form, found.scope), (Form::Ipas2(Entries::Any), Scope::Inner));
    /// assert_eq!(Instruction::decode(ipas2e1is, VirtualLevel::El1, &plain), None);
    /// ```
    pub fn decode(encoding: SysReg, level: VirtualLevel, advertised: &Advertised) -> Option<Self> {
        let completion = match (encoding.op0(), encoding.crn()) {
            (1, CRN) => Completion::Full,
            (1, CRN_NXS) if advertised.has_nxs_tlbi() => Completion::ExceptXs,
            _ => return None,
        };
        let (form, scope) = match (encoding.op1(), level) {
            (0, _) => stage_1_form(encoding.crm(), encoding.op2())?,
            (4, VirtualLevel::El2) => el2_form(encoding.crm(), encoding.op2())?,
            _ => return None,
        };
        let is_missing = form.is_range() && !advertised.ids.has_tlbi_range()
            || scope == Scope::Outer && !advertised.has_outer_tlbi();
        (!is_missing).then_some(Self {
            form,
            scope,
            completion,
        })
    }

    /// What the instruction asks for. `registers` are those of virtual EL2, and `operand` is the general register's
    /// value.
    pub fn invalidation(
        self,
        operand: u64,
        level: VirtualLevel,
        registers: &StageTwoRegisters,
        advertised: &Advertised,
    ) -> Invalidation {
        let vmid = guest_vmid(registers, advertised);
        let is_host = level == VirtualLevel::El2
            && registers.hcr & (hcr::E2H | hcr::TGE) == hcr::E2H | hcr::TGE;
        // At EL2 with E2H and TGE the forms for EL1 act on EL2's own regime (DDI 0487, C5.5, each instruction).
        let el1 = if is_host {
            Regime::VirtualEl2
        } else {
            Regime::Vmid(vmid)
        };
        // Without E2H the EL2 regime has no ASIDs, but the hardware's EL1 in its place has.
        let el2_asids = if registers.hcr & hcr::E2H != 0 {
            Asids::One
        } else {
            Asids::All
        };
        let stage1 = |regime, of| Invalidation::Stage1 { regime, of };
        match self.form {
            Form::Vmalle1 => stage1(el1, StageOne::All),
            Form::Aside1 => stage1(el1, StageOne::Asid { operand }),
            Form::Va1(entries, asids) => stage1(
                el1,
                StageOne::Address {
                    entries,
                    asids,
                    operand,
                },
            ),
            Form::Rva1(entries, asids) => stage1(
                el1,
                StageOne::Range {
                    entries,
                    asids,
                    operand,
                },
            ),
            Form::Alle2 => stage1(Regime::VirtualEl2, StageOne::All),
            Form::Va2(entries) => stage1(
                Regime::VirtualEl2,
                StageOne::Address {
                    entries,
                    asids: el2_asids,
                    operand,
                },
            ),
            Form::Rva2(entries) => stage1(
                Regime::VirtualEl2,
                StageOne::Range {
                    entries,
                    asids: el2_asids,
                    operand,
                },
            ),
            Form::Alle1 => Invalidation::Everything,
            Form::Vmalls12e1 => Invalidation::Vmid(vmid),
            Form::Ipas2(_) => Invalidation::Stage2 {
                vmid,
                range: address(operand, registers, advertised),
            },
            Form::Ripas2(_) => match range(operand, registers, advertised) {
                Some(range) => Invalidation::Stage2 { vmid, range },
                None => Invalidation::Nothing,
            },
        }
    }
}

/// Whose stage-1 entries are invalidated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Regime {
    /// The EL1&0 regime under L1's VMID: every context that has it.
    Vmid(Vmid),
    /// Virtual EL2's own regime, which hardware runs at EL1.
    VirtualEl2,
}

/// Which stage-1 entries are invalidated. An `operand` is in the form that the corresponding instruction for the
/// hardware's EL1 takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StageOne {
    /// All: `VMALLE1`.
    All,
    /// Those of one ASID: `ASIDE1`.
    Asid {
        /// The ASID at \[63:48\].
        operand: u64,
    },
    /// Those of one address: `VAE1` and its like.
    Address {
        /// All or the last level's.
        entries: Entries,
        /// Of the ASID at \[63:48\], or of all.
        asids: Asids,
        /// VA\[55:12\] at \[43:0\], TTL at \[47:44\].
        operand: u64,
    },
    /// Those of a range: `RVAE1` and its like.
    Range {
        /// All or the last level's.
        entries: Entries,
        /// Of the ASID at \[63:48\], or of all.
        asids: Asids,
        /// TG, SCALE, NUM, TTL and BaseADDR.
        operand: u64,
    },
}

/// A range of L2's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// The first, a multiple of 4 KiB.
    pub from: L2Ipa,
    /// Size in bytes. Where `level` does not say more, an entry that translates part of the range is invalidated whole.
    pub bytes: u64,
    /// The level of the leaves in L1's table, if L1 names it. Leaves of other levels need not be invalidated.
    pub level: Option<Level>,
}

/// An invalidation as data.
///
/// An invalidation by VMID acts on every context of that VMID. In a context of the canonical table, where L1's stage 2
/// is off, stage 2 is not L1's: only stage 1 is invalidated there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invalidation {
    /// Nothing at all: an operand that names no range.
    Nothing,
    /// Both stages of the EL1&0 regime under all of L1's VMIDs.
    Everything,
    /// Both stages under one of L1's VMIDs.
    Vmid(Vmid),
    /// Stage 2 of a range, and what combines it with stage 1.
    Stage2 {
        /// L1's VMID.
        vmid: Vmid,
        /// The addresses.
        range: Range,
    },
    /// Stage 1 alone: no shadow changes.
    Stage1 {
        /// Whose entries.
        regime: Regime,
        /// Which entries.
        of: StageOne,
    },
}

/// L1's VMID: 8 bits of VTTBR_EL2.VMID, or 16 where they are advertised and VTCR_EL2.VS asks for them.
pub fn guest_vmid(registers: &StageTwoRegisters, advertised: &Advertised) -> Vmid {
    let Vmid(vmid) = registers.vttbr.vmid();
    let bits = registers.vtcr.vmid_bits().min(advertised.ids.vmid_bits());
    match bits {
        VmidBits::Eight => Vmid(vmid & 0xff),
        VmidBits::Sixteen => Vmid(vmid),
    }
}

/// The page that an operand of IPAS2E1 names: IPA\[47:12\] at \[35:0\] and, where 52 bits are advertised, IPA\[51:48\]
/// at \[39:36\]; TTL at \[47:44\] with the granule above the level. A hint of another granule than the table's, or of a
/// level without leaves, is none.
fn address(operand: u64, registers: &StageTwoRegisters, advertised: &Advertised) -> Range {
    let hinted = tg(operand >> 46).and_then(|granule| {
        let format = format(registers, advertised)?;
        (granule == format.granule()).then_some(format)
    });
    let pages = if advertised.ids.pa_range().bits() < 52 {
        0xf_ffff_ffff
    } else {
        0xff_ffff_ffff
    };
    Range {
        from: L2Ipa((operand & pages) << 12),
        bytes: 1 << 12,
        level: hint(operand >> 44, hinted, advertised),
    }
}

/// The range that an operand of RIPAS2E1 names: TG at \[47:46\], SCALE at \[45:44\], NUM at \[43:39\], TTL at
/// \[38:37\], BaseADDR at \[36:0\], in pages, or in 64 KiB where VTCR_EL2.DS is 1. `None` for the reserved TG, which
/// invalidates nothing. TTL 0 gives no hint.
fn range(operand: u64, registers: &StageTwoRegisters, advertised: &Advertised) -> Option<Range> {
    let granule = tg(operand >> 46)?;
    let format = format(registers, advertised);
    let is_coarse = format.is_some_and(|format| format.output() == OutputFormat::Lpa2);
    let base_shift = if is_coarse { 16 } else { granule.page_shift() };
    let units = (operand >> 39 & 31) + 1;
    let scale = operand >> 44 & 3;
    let pages = units << (5 * scale + 1);
    let level = operand >> 37 & 3;
    let is_hint = level != 0 && format.is_some_and(|format| format.granule() == granule);
    Some(Range {
        from: L2Ipa((operand & 0x1f_ffff_ffff) << base_shift),
        bytes: pages << granule.page_shift(),
        level: hint(level, format.filter(|_| is_hint), advertised),
    })
}

/// The level of a TTL field's low two bits, where tables of the format have leaves there and FEAT_TTL is advertised.
fn hint(bits: u64, format: Option<Format>, advertised: &Advertised) -> Option<Level> {
    let level = match bits & 3 {
        0 => Level::L0,
        1 => Level::L1,
        2 => Level::L2,
        _ => Level::L3,
    };
    let format = format.filter(|_| advertised.ids.has_ttl())?;
    format.leaf_at(level).map(|_| level)
}

/// The granule of a TG field's two bits; `None` for 0.
const fn tg(bits: u64) -> Option<Granule> {
    match bits & 3 {
        1 => Some(Granule::Kib4),
        2 => Some(Granule::Kib16),
        3 => Some(Granule::Kib64),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
