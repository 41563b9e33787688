//! The register page of FEAT_NV2: where hardware keeps a guest hypervisor's registers in memory (DDI 0487, D8.14.6).
//!
//! While HCR_EL2.{NV, NV2} is {1, 1}, an MRS or MSR at EL1 that names one of the registers below is a load or store of
//! eight bytes in the page that VNCR_EL2 points to, without an exception. What the guest writes is not masked: bits
//! that are RES0 or RES1 in the register are whatever was written (R_VFMQB), so every reader of the page applies the
//! register's own rules.
//!
//! With HCR_EL2.NV1 clear, the guest's EL2 has FEAT_VHE's layout and reaches EL1's registers by the names `_EL12` and
//! `_EL02`. With NV1 set it has not, and reaches them by their own names.
//!
//! The table has what the description of each register says of itself in D24 (`NVMem`), which is more than Table D8-120
//! in places. Left out are PIRE0_EL2, 0x298 in that table but trapped by its own description, and the second names that
//! FEAT_SRMASK gives to registers of the table (ACTLR_EL12, and those that end in ALIAS_EL1).

use core::sync::atomic::{AtomicU64, Ordering};

use crate::sysreg::SysReg;

/// The size of the page in bytes, and its alignment in VNCR_EL2.
pub const PAGE_BYTES: usize = 4096;

/// The number of registers that the page has room for.
pub const SLOTS: usize = PAGE_BYTES / 8;

/// HCR_EL2.NV1: which names mean EL1's registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nv1 {
    /// The guest's EL2 has E2H = 1: `_EL12` and `_EL02` mean EL1's registers.
    Clear,
    /// The guest's EL2 has E2H = 0: EL1's registers have their own names.
    Set,
}

/// The place of one register in the page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(u16);

impl Slot {
    /// The slot at `offset` bytes; `None` if that is no multiple of 8 or past the page.
    pub const fn new(offset: u16) -> Option<Self> {
        if offset.is_multiple_of(8) && (offset as usize) < PAGE_BYTES {
            Some(Self(offset))
        } else {
            None
        }
    }

    /// Bytes from the start of the page.
    pub const fn offset(self) -> u16 {
        self.0
    }

    /// Which of the page's [`SLOTS`] it is.
    pub const fn index(self) -> usize {
        self.0 as usize / 8
    }
}

/// A register that is kept in the page.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Arm's name with NV1 set.
    pub name: &'static str,
    /// Its encoding with NV1 set.
    pub register: SysReg,
    /// Its encoding with NV1 clear; the same for a register of EL2.
    pub alias: SysReg,
    /// Where it is.
    pub slot: Slot,
    /// The feature that brings the register, where FEAT_NV2 and FEAT_VHE alone do not. On a CPU without it the
    /// encoding is unallocated, and no access to it reaches the page (R_JSCYJ).
    pub feature: Option<&'static str>,
}

const fn at(offset: u16) -> Slot {
    match Slot::new(offset) {
        Some(slot) => slot,
        None => panic!("an offset of the table is no slot"),
    }
}

/// A register that has one name whatever NV1 says.
const fn same(
    name: &'static str,
    register: SysReg,
    offset: u16,
    feature: Option<&'static str>,
) -> Row {
    Row {
        name,
        register,
        alias: register,
        slot: at(offset),
        feature,
    }
}

/// `S3_4_C<crn>_C<crm>_<op2>`.
const fn el2(
    name: &'static str,
    (crn, crm, op2): (u8, u8, u8),
    offset: u16,
    feature: Option<&'static str>,
) -> Row {
    same(name, SysReg::new(3, 4, crn, crm, op2), offset, feature)
}

/// An EL1 or EL0 register whose alias for EL2 differs from it in op1 alone, which is 5.
const fn aliased(
    name: &'static str,
    (op0, op1, crn, crm, op2): (u8, u8, u8, u8, u8),
    offset: u16,
    feature: Option<&'static str>,
) -> Row {
    Row {
        name,
        register: SysReg::new(op0, op1, crn, crm, op2),
        alias: SysReg::new(op0, 5, crn, crm, op2),
        slot: at(offset),
        feature,
    }
}

const ALWAYS: Option<&str> = None;
const GIC: Option<&str> = Some("GICv3 CPU interface");
const FGT: Option<&str> = Some("FEAT_FGT");
const FGT2: Option<&str> = Some("FEAT_FGT2");
const SEL2: Option<&str> = Some("FEAT_SEL2");
const RAS: Option<&str> = Some("FEAT_RAS");
const SPE: Option<&str> = Some("FEAT_SPE");
const MPAM: Option<&str> = Some("FEAT_MPAM");
const SRMASK: Option<&str> = Some("FEAT_SRMASK");
const HDBSS: Option<&str> = Some("FEAT_HDBSS");
const HACDBS: Option<&str> = Some("FEAT_HACDBS");
const AIE: Option<&str> = Some("FEAT_AIE");
const S1PIE: Option<&str> = Some("FEAT_S1PIE");
const GCS: Option<&str> = Some("FEAT_GCS");
const ITE: Option<&str> = Some("FEAT_ITE");
const AMU: Option<&str> = Some("FEAT_AMUv1p1");
const MPAM_BW: Option<&str> = Some("FEAT_MPAM_PE_BW_CTRL");

/// Single registers; those that come in numbers are in [`GROUPS`].
static ROWS: &[Row] = &[
    el2("VTTBR_EL2", (2, 1, 0), 0x020, ALWAYS),
    el2("VSTTBR_EL2", (2, 6, 0), 0x030, SEL2),
    el2("VTCR_EL2", (2, 1, 2), 0x040, ALWAYS),
    el2("VSTCR_EL2", (2, 6, 2), 0x048, SEL2),
    el2("VMPIDR_EL2", (0, 0, 5), 0x050, ALWAYS),
    el2("CNTVOFF_EL2", (14, 0, 3), 0x060, ALWAYS),
    el2("HCR_EL2", (1, 1, 0), 0x078, ALWAYS),
    el2("HSTR_EL2", (1, 1, 3), 0x080, ALWAYS),
    el2("VPIDR_EL2", (0, 0, 0), 0x088, ALWAYS),
    el2("TPIDR_EL2", (13, 0, 2), 0x090, ALWAYS),
    el2("HCRX_EL2", (1, 2, 2), 0x0a0, Some("FEAT_HCX")),
    el2("VNCR_EL2", (2, 2, 0), 0x0b0, ALWAYS),
    aliased("CPACR_EL1", (3, 0, 1, 0, 2), 0x100, ALWAYS),
    aliased("CONTEXTIDR_EL1", (3, 0, 13, 0, 1), 0x108, ALWAYS),
    aliased("SCTLR_EL1", (3, 0, 1, 0, 0), 0x110, ALWAYS),
    same("ACTLR_EL1", SysReg::new(3, 0, 1, 0, 1), 0x118, ALWAYS),
    aliased("TCR_EL1", (3, 0, 2, 0, 2), 0x120, ALWAYS),
    aliased("AFSR0_EL1", (3, 0, 5, 1, 0), 0x128, ALWAYS),
    aliased("AFSR1_EL1", (3, 0, 5, 1, 1), 0x130, ALWAYS),
    aliased("ESR_EL1", (3, 0, 5, 2, 0), 0x138, ALWAYS),
    aliased("MAIR_EL1", (3, 0, 10, 2, 0), 0x140, ALWAYS),
    aliased("AMAIR_EL1", (3, 0, 10, 3, 0), 0x148, ALWAYS),
    same("MDSCR_EL1", SysReg::new(2, 0, 0, 2, 2), 0x158, ALWAYS),
    aliased("SPSR_EL1", (3, 0, 4, 0, 0), 0x160, ALWAYS),
    aliased("CNTV_CVAL_EL0", (3, 3, 14, 3, 2), 0x168, ALWAYS),
    aliased("CNTV_CTL_EL0", (3, 3, 14, 3, 1), 0x170, ALWAYS),
    aliased("CNTP_CVAL_EL0", (3, 3, 14, 2, 2), 0x178, ALWAYS),
    aliased("CNTP_CTL_EL0", (3, 3, 14, 2, 1), 0x180, ALWAYS),
    aliased("SCXTNUM_EL1", (3, 0, 13, 0, 7), 0x188, Some("FEAT_CSV2_2")),
    aliased("TFSR_EL1", (3, 0, 5, 6, 0), 0x190, Some("FEAT_MTE2")),
    el2("HDFGRTR2_EL2", (3, 1, 0), 0x1a0, FGT2),
    el2("CNTPOFF_EL2", (14, 0, 6), 0x1a8, Some("FEAT_ECV_POFF")),
    el2("HDFGWTR2_EL2", (3, 1, 1), 0x1b0, FGT2),
    el2("HFGRTR_EL2", (1, 1, 4), 0x1b8, FGT),
    el2("HFGWTR_EL2", (1, 1, 5), 0x1c0, FGT),
    el2("HFGITR_EL2", (1, 1, 6), 0x1c8, FGT),
    el2("HDFGRTR_EL2", (3, 1, 4), 0x1d0, FGT),
    el2("HDFGWTR_EL2", (3, 1, 5), 0x1d8, FGT),
    aliased("ZCR_EL1", (3, 0, 1, 2, 0), 0x1e0, Some("FEAT_SVE")),
    el2("HAFGRTR_EL2", (3, 1, 6), 0x1e8, FGT),
    aliased("SMCR_EL1", (3, 0, 1, 2, 6), 0x1f0, Some("FEAT_SME")),
    el2("SMPRIMAP_EL2", (1, 2, 5), 0x1f8, Some("FEAT_SME")),
    aliased("TTBR0_EL1", (3, 0, 2, 0, 0), 0x200, ALWAYS),
    aliased("TTBR1_EL1", (3, 0, 2, 0, 1), 0x210, ALWAYS),
    aliased("FAR_EL1", (3, 0, 6, 0, 0), 0x220, ALWAYS),
    aliased("ELR_EL1", (3, 0, 4, 0, 1), 0x230, ALWAYS),
    el2("SP_EL1", (4, 1, 0), 0x240, ALWAYS),
    aliased("VBAR_EL1", (3, 0, 12, 0, 0), 0x250, ALWAYS),
    aliased("TCR2_EL1", (3, 0, 2, 0, 3), 0x270, Some("FEAT_TCR2")),
    aliased("SCTLR2_EL1", (3, 0, 1, 0, 3), 0x278, Some("FEAT_SCTLR2")),
    aliased("MAIR2_EL1", (3, 0, 10, 2, 1), 0x280, AIE),
    aliased("AMAIR2_EL1", (3, 0, 10, 3, 1), 0x288, AIE),
    aliased("PIRE0_EL1", (3, 0, 10, 2, 2), 0x290, S1PIE),
    aliased("PIR_EL1", (3, 0, 10, 2, 3), 0x2a0, S1PIE),
    aliased("POR_EL1", (3, 0, 10, 2, 4), 0x2a8, Some("FEAT_S1POE")),
    el2("S2PIR_EL2", (10, 2, 5), 0x2b0, Some("FEAT_S2PIE")),
    same(
        "S2POR_EL1",
        SysReg::new(3, 0, 10, 2, 5),
        0x2b8,
        Some("FEAT_S2POE"),
    ),
    el2("HFGRTR2_EL2", (3, 1, 2), 0x2c0, FGT2),
    el2("HFGWTR2_EL2", (3, 1, 3), 0x2c8, FGT2),
    aliased("PFAR_EL1", (3, 0, 6, 0, 5), 0x2d0, Some("FEAT_PFAR")),
    el2("HDBSSBR_EL2", (2, 3, 2), 0x2e0, HDBSS),
    el2("HACDBSBR_EL2", (2, 3, 4), 0x2f0, HACDBS),
    el2("HDBSSPROD_EL2", (2, 3, 3), 0x300, HDBSS),
    el2("HACDBSCONS_EL2", (2, 3, 5), 0x308, HACDBS),
    el2("HFGITR2_EL2", (3, 1, 7), 0x310, FGT2),
    aliased("SCTLRMASK_EL1", (3, 0, 1, 4, 0), 0x318, SRMASK),
    aliased("CPACRMASK_EL1", (3, 0, 1, 4, 2), 0x320, SRMASK),
    aliased("SCTLR2MASK_EL1", (3, 0, 1, 4, 3), 0x328, SRMASK),
    aliased("TCRMASK_EL1", (3, 0, 2, 7, 2), 0x330, SRMASK),
    aliased("TCR2MASK_EL1", (3, 0, 2, 7, 3), 0x338, SRMASK),
    aliased("ACTLRMASK_EL1", (3, 0, 1, 4, 1), 0x340, SRMASK),
    el2("ICH_HCR_EL2", (12, 11, 0), 0x4c0, GIC),
    el2("ICH_VMCR_EL2", (12, 11, 7), 0x4c8, GIC),
    el2("VDISR_EL2", (12, 1, 1), 0x500, RAS),
    el2("VSESR_EL2", (5, 2, 3), 0x508, RAS),
    same("PMBLIMITR_EL1", SysReg::new(3, 0, 9, 10, 0), 0x800, SPE),
    same("PMBPTR_EL1", SysReg::new(3, 0, 9, 10, 1), 0x810, SPE),
    aliased("PMBSR_EL1", (3, 0, 9, 10, 3), 0x820, SPE),
    aliased("PMSCR_EL1", (3, 0, 9, 9, 0), 0x828, SPE),
    same("PMSEVFR_EL1", SysReg::new(3, 0, 9, 9, 5), 0x830, SPE),
    same("PMSICR_EL1", SysReg::new(3, 0, 9, 9, 2), 0x838, SPE),
    same("PMSIRR_EL1", SysReg::new(3, 0, 9, 9, 3), 0x840, SPE),
    same("PMSLATFR_EL1", SysReg::new(3, 0, 9, 9, 6), 0x848, SPE),
    same("PMSNEVFR_EL1", SysReg::new(3, 0, 9, 9, 1), 0x850, SPE),
    same("PMSDSFR_EL1", SysReg::new(3, 0, 9, 10, 4), 0x858, SPE),
    aliased("TRBSR_EL1", (3, 0, 9, 11, 3), 0x860, Some("FEAT_TRBE")),
    aliased("TRFCR_EL1", (3, 0, 1, 2, 1), 0x880, Some("FEAT_TRF")),
    aliased("TRCITECR_EL1", (3, 0, 1, 2, 3), 0x888, ITE),
    aliased("GCSPR_EL1", (3, 0, 2, 5, 1), 0x8c0, GCS),
    aliased("GCSCR_EL1", (3, 0, 2, 5, 0), 0x8d0, GCS),
    aliased("BRBCR_EL1", (2, 1, 9, 0, 0), 0x8e0, Some("FEAT_BRBE")),
    aliased("SPMACCESSR_EL1", (2, 0, 9, 13, 3), 0x8e8, Some("FEAT_SPMU")),
    aliased("MPAM1_EL1", (3, 0, 10, 5, 0), 0x900, MPAM),
    aliased("MPAMBW1_EL1", (3, 0, 10, 5, 4), 0x908, MPAM_BW),
    el2("MPAMBWCAP_EL2", (10, 5, 6), 0x910, MPAM_BW),
    el2("MPAMHCR_EL2", (10, 4, 0), 0x930, MPAM),
    el2("MPAMVPMV_EL2", (10, 4, 1), 0x938, MPAM),
];

/// Registers of EL2 that come in numbers: eight to a CRm, in consecutive slots.
struct Group {
    name: &'static str,
    crn: u8,
    crm: u8,
    count: u16,
    first: Slot,
    feature: Option<&'static str>,
}

const fn group(
    name: &'static str,
    (crn, crm): (u8, u8),
    count: u16,
    first: u16,
    feature: Option<&'static str>,
) -> Group {
    Group {
        name,
        crn,
        crm,
        count,
        first: at(first),
        feature,
    }
}

static GROUPS: &[Group] = &[
    group("ICH_LR<n>_EL2", (12, 12), 16, 0x400, GIC),
    group("ICH_AP0R<n>_EL2", (12, 8), 4, 0x480, GIC),
    group("ICH_AP1R<n>_EL2", (12, 9), 4, 0x4a0, GIC),
    group("MPAMVPM<n>_EL2", (10, 6), 8, 0x940, MPAM),
    group("AMEVCNTVOFF0<n>_EL2", (13, 8), 16, 0xa00, AMU),
    group("AMEVCNTVOFF1<n>_EL2", (13, 10), 16, 0xa80, AMU),
];

impl Group {
    const fn row(&self, n: u16) -> Row {
        let register = SysReg::new(3, 4, self.crn, self.crm + n as u8 / 8, n as u8 % 8);
        same(
            self.name,
            register,
            self.first.offset() + 8 * n,
            self.feature,
        )
    }
}

/// All registers of the table.
pub fn rows() -> impl Iterator<Item = Row> {
    let numbered = GROUPS
        .iter()
        .flat_map(|group| (0..group.count).map(|n| group.row(n)));
    ROWS.iter().copied().chain(numbered)
}

/// The slot of the page that an access to `register` at EL1 uses; `None` for a register that is not in the page.
///
/// A `const fn`, so that a register known beforehand costs nothing at run time; otherwise it walks the table.
///
/// ```
/// use droste_arm64::sysreg::{HCR_EL2, SCTLR_EL1, SysReg};
/// use droste_arm64::vncr::{Nv1, slot};
/// let sctlr_el12 = SysReg::new(3, 5, 1, 0, 0);
/// assert_eq!(slot(HCR_EL2, Nv1::Clear).map(|slot| slot.offset()), Some(0x78));
/// assert_eq!(slot(sctlr_el12, Nv1::Clear), slot(SCTLR_EL1, Nv1::Set));
/// assert_eq!(slot(SCTLR_EL1, Nv1::Clear), None);
/// ```
pub const fn slot(register: SysReg, nv1: Nv1) -> Option<Slot> {
    let mut n = 0;
    while n < ROWS.len() {
        let row = &ROWS[n];
        let name = match nv1 {
            Nv1::Clear => row.alias,
            Nv1::Set => row.register,
        };
        if name.is(register) {
            return Some(row.slot);
        }
        n += 1;
    }
    let mut n = 0;
    while n < GROUPS.len() {
        let group = &GROUPS[n];
        let mut m = 0;
        while m < group.count {
            let row = group.row(m);
            if row.register.is(register) {
                return Some(row.slot);
            }
            m += 1;
        }
        n += 1;
    }
    None
}

/// The page of one vCPU, as memory that its hardware accesses go to as well.
///
/// Loads and stores are relaxed: they have no order beyond that of the CPU that runs the vCPU, and neither have
/// the hardware's (R_VFMQB). Moving the vCPU to another one orders them as it orders the rest of its state.
///
/// ```
/// use core::sync::atomic::AtomicU64;
/// use droste_arm64::sysreg::HCR_EL2;
/// use droste_arm64::vncr::{Nv1, RegisterPage, SLOTS, Slot, slot};
/// const HCR: Slot = slot(HCR_EL2, Nv1::Clear).unwrap();
/// let memory = [const { AtomicU64::new(0) }; SLOTS];
/// let page = RegisterPage::new(&memory);
/// page.write(HCR, 1);
/// assert_eq!(page.read(HCR), 1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RegisterPage<'a>(&'a [AtomicU64; SLOTS]);

impl<'a> RegisterPage<'a> {
    /// The page in `memory`.
    pub const fn new(memory: &'a [AtomicU64; SLOTS]) -> Self {
        Self(memory)
    }

    /// What is in `slot`, as the guest wrote it.
    #[inline]
    pub fn read(self, slot: Slot) -> u64 {
        self.0[slot.index()].load(Ordering::Relaxed)
    }

    /// Puts `value` into `slot`.
    #[inline]
    pub fn write(self, slot: Slot, value: u64) {
        self.0[slot.index()].store(value, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_registers_share_a_slot_or_a_name() {
        let (mut slots, mut registers, mut aliases) =
            (HashSet::new(), HashSet::new(), HashSet::new());
        for row in rows() {
            assert!(slots.insert(row.slot), "{} {:?}", row.name, row.slot);
            assert!(registers.insert(row.register), "{}", row.name);
            assert!(aliases.insert(row.alias), "{}", row.name);
        }
    }

    #[test]
    fn every_encoding_is_found_by_the_name_that_nv1_gives_it_and_no_other() {
        for bits in 0..=u16::MAX {
            let field = |shift: u16, mask: u16| (bits >> shift & mask) as u8;
            let register = SysReg::new(
                field(14, 3),
                field(11, 7),
                field(7, 15),
                field(3, 15),
                field(0, 7),
            );
            let by_name = rows().find(|row| row.register == register);
            let by_alias = rows().find(|row| row.alias == register);
            assert_eq!(slot(register, Nv1::Set), by_name.map(|row| row.slot));
            assert_eq!(slot(register, Nv1::Clear), by_alias.map(|row| row.slot));
        }
    }

    #[test]
    fn an_alias_has_op1_5_and_else_the_register_s_own_encoding() {
        for row in rows().filter(|row| row.alias != row.register) {
            let (own, alias) = (row.register, row.alias);
            let is_el02 = row.name.ends_with("_EL0");
            assert_eq!(own.op1() == 3, is_el02, "{}", row.name);
            assert_eq!(alias.op1(), 5, "{}", row.name);
            assert_eq!(
                (own.op0(), own.crn(), own.crm(), own.op2()),
                (alias.op0(), alias.crn(), alias.crm(), alias.op2()),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn numbered_registers_follow_each_other() {
        let lr = |crm, op2| slot(SysReg::new(3, 4, 12, crm, op2), Nv1::Set).map(Slot::offset);
        assert_eq!([lr(12, 0), lr(12, 7)], [Some(0x400), Some(0x438)]);
        assert_eq!([lr(13, 0), lr(13, 7)], [Some(0x440), Some(0x478)]);
        assert_eq!([lr(8, 3), lr(9, 3)], [Some(0x498), Some(0x4b8)]);
        assert_eq!([lr(8, 4), lr(9, 5)], [None, None], "ICC_SRE_EL2 traps");
    }

    #[test]
    fn only_multiples_of_eight_inside_the_page_are_slots() {
        for offset in 0..=u16::MAX {
            let expected = offset.is_multiple_of(8) && offset < 0x1000;
            let slot = Slot::new(offset);
            assert_eq!(slot.is_some(), expected);
            assert!(slot.is_none_or(|slot| slot.index() < SLOTS && slot.offset() == offset));
        }
    }

    #[test]
    fn the_page_keeps_every_bit_of_every_slot() {
        let memory = [const { AtomicU64::new(0) }; SLOTS];
        let page = RegisterPage::new(&memory);
        for row in rows() {
            page.write(row.slot, !u64::from(row.slot.offset()));
        }
        for row in rows() {
            assert_eq!(page.read(row.slot), !u64::from(row.slot.offset()));
        }
        let written = memory
            .iter()
            .filter(|slot| slot.load(Ordering::Relaxed) != 0);
        assert_eq!(written.count(), rows().count());
    }
}
