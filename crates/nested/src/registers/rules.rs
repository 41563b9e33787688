//! What each register of virtual EL2 keeps of a write, what it is after reset, where it is, and what depends on it.

use droste_arm64::hcr;
use droste_arm64::sysreg::{
    ACTLR_EL2, AFSR0_EL1, AFSR0_EL2, AFSR1_EL1, AFSR1_EL2, AMAIR_EL1, AMAIR_EL2, CNTHCTL_EL2,
    CNTHP_CTL_EL2, CNTHP_CVAL_EL2, CNTHV_CTL_EL2, CNTHV_CVAL_EL2, CNTKCTL_EL1, CNTP_CTL_EL0,
    CNTP_CVAL_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVOFF_EL2, CONTEXTIDR_EL1, CONTEXTIDR_EL2,
    CPACR_EL1, CPTR_EL2, ELR_EL1, ELR_EL2, ESR_EL1, ESR_EL2, FAR_EL1, FAR_EL2, HACR_EL2, HCR_EL2,
    HPFAR_EL2, HSTR_EL2, ICC_SRE_EL2, ICH_HCR_EL2, ICH_VMCR_EL2, MAIR_EL1, MAIR_EL2, MDCR_EL2,
    SCTLR_EL1, SCTLR_EL2, SP_EL1, SPSR_EL1, SPSR_EL2, SysReg, TCR_EL1, TCR_EL2, TPIDR_EL2,
    TTBR0_EL1, TTBR0_EL2, TTBR1_EL1, TTBR1_EL2, VBAR_EL1, VBAR_EL2, VMPIDR_EL2, VPIDR_EL2,
    VTCR_EL2, VTTBR_EL2,
};
use droste_arm64::vncr::{Nv1, Slot, slot};

use super::nvhe::SCTLR_COMMON;
use super::{VirtualEl2, place_in};

/// Where a register's value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// In the register page, always.
    Page,
    /// In this EL1 or EL0 register of the hardware while virtual EL2 runs, else in the file.
    Twin(SysReg),
    /// As [`Twin`](Self::Twin) for the bits of `mask`; the others, which the twin lacks, are in the file.
    Split {
        /// The twin.
        twin: SysReg,
        /// The bits that it has.
        mask: u64,
    },
    /// In the file. With E2H = 0 what the hardware has of it is derived: [`host_stage1`](super::host_stage1).
    File,
    /// A register of L1's EL1, in this one of the hardware while L1's EL1 or EL0 runs, else in the file.
    Guest(SysReg),
    /// This EL2 has no such register.
    Absent,
}

/// Where a register is and what it keeps of a write, for one kind of EL2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Where it is.
    pub home: Home,
    /// Bits that keep what is written. Every other bit is 0, or 1 where `ones` says so, whatever is written: RES0,
    /// RES1, or a field of something that L1 is not shown.
    pub writable: u64,
    /// Bits that read as 1.
    pub ones: u64,
}

impl Layout {
    /// What the register holds after `value` is written, and what it reads as where the page holds `value`.
    pub const fn keep(&self, value: u64) -> u64 {
        value & self.writable | self.ones
    }
}

/// What a register holds after reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reset {
    /// This value, as far as the layout keeps it.
    Value(u64),
    /// What EL1 of a vCPU without EL2 reads as MIDR_EL1.
    Midr,
    /// What EL1 of a vCPU without EL2 reads as MPIDR_EL1.
    Mpidr,
}

/// What L0 has to look at anew when a register changes. L0 does not see writes of the registers in the page, so for
/// these it looks at each entry of L1's EL1 or EL0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Affects {
    /// Nothing of L0's.
    Nothing,
    /// Which stage-2 context L1's EL1 and EL0 run under.
    Context,
    /// Which accesses and exceptions of L1's EL1 and EL0 come to virtual EL2.
    Traps,
    /// With E2H = 0, the derived EL1 registers that virtual EL2 runs with.
    HostStage1,
    /// Timers, their offset and their interrupts.
    Timers,
    /// What the virtual GIC gives L1's EL1.
    Interrupts,
    /// What L1's EL1 reads as MIDR_EL1 and MPIDR_EL1.
    Identity,
}

/// All about one register, or about a group of like registers.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The register, or the first of the group.
    pub register: SysReg,
    /// Arm's name.
    pub name: &'static str,
    /// How many registers it covers, consecutive by CRm and op2.
    pub count: u8,
    /// With E2H = 1.
    pub vhe: Layout,
    /// With E2H = 0.
    pub nvhe: Layout,
    /// After reset.
    pub reset: Reset,
    /// What depends on it.
    pub affects: &'static [Affects],
    /// Why the layout is what it is.
    pub why: &'static str,
}

impl Rule {
    /// The layout in this kind of EL2.
    pub const fn layout(&self, el2: VirtualEl2) -> &Layout {
        match el2 {
            VirtualEl2::Vhe => &self.vhe,
            VirtualEl2::Nvhe => &self.nvhe,
        }
    }
}

/// All rules. No register is in two.
pub fn rules() -> &'static [Rule] {
    &RULES
}

/// The number of rules, which is also the size of a file of registers.
pub(super) const RULE_COUNT: usize = RULES.len();

/// The place in the table of the rule of `register`. `None` for what is not a register of virtual EL2.
pub(super) const fn find(register: SysReg) -> Option<usize> {
    let mut n = 0;
    while n < RULE_COUNT {
        if place_in(RULES[n].register, RULES[n].count, register).is_some() {
            return Some(n);
        }
        n += 1;
    }
    None
}

/// The rule of `register`; `None` if it is not a register of virtual EL2, or is computed at each read.
///
/// ```
/// use droste_arm64::hcr;
/// use droste_arm64::sysreg::HCR_EL2;
/// use droste_nested::registers::{VirtualEl2, rule};
/// let rule = rule(HCR_EL2).unwrap();
/// // L1 asks for E2H = 0 and for nested virtualization, and gets neither.
/// assert_eq!(rule.layout(VirtualEl2::Vhe).keep(hcr::NV | hcr::VM), hcr::RW | hcr::E2H | hcr::VM);
/// ```
pub fn rule(register: SysReg) -> Option<&'static Rule> {
    find(register).map(|n| &RULES[n])
}

/// The slot of an EL2 register that is in the page: its name is the same whatever NV1.
pub(super) const fn page_slot(register: SysReg) -> Option<Slot> {
    slot(register, Nv1::Set)
}

/// SP_EL2, by the name that EL3 has for it.
const SP_EL2: SysReg = SysReg::new(3, 6, 4, 1, 0);

/// SPSR_abt, the first of those that save AArch32's modes.
pub(super) const SPSR_ABT: SysReg = SysReg::new(3, 4, 4, 3, 1);

const ALL: u64 = u64::MAX;
const LOW_32: u64 = 0xffff_ffff;

const fn page(writable: u64, ones: u64) -> Layout {
    Layout {
        home: Home::Page,
        writable,
        ones,
    }
}
const fn twin(register: SysReg, writable: u64) -> Layout {
    Layout {
        home: Home::Twin(register),
        writable,
        ones: 0,
    }
}
const fn file(writable: u64, ones: u64) -> Layout {
    Layout {
        home: Home::File,
        writable,
        ones,
    }
}
const ABSENT: Layout = Layout {
    home: Home::Absent,
    writable: 0,
    ones: 0,
};

/// The bits of HCR_EL2 that trap when set.
pub(crate) const HCR_SET: u64 = hcr::TWI
    | hcr::TWE
    | hcr::TID1
    | hcr::TID2
    | hcr::TID3
    | hcr::TSC
    | hcr::TIDCP
    | hcr::TACR
    | hcr::TSW
    | hcr::TPCP
    | hcr::TPU
    | hcr::TTLB
    | hcr::TVM
    | hcr::TDZ
    | hcr::TRVM
    | hcr::TID4
    | hcr::TICAB
    | hcr::TOCU
    | hcr::TTLBIS
    | hcr::TTLBOS;
/// Its bits that trap when clear.
pub(crate) const HCR_CLEAR: u64 = hcr::APK | hcr::API;

/// Bits of HCR_EL2 that L1 has. No AArch32: RW is RES1. No RAS, LOR, FEAT_NV, MTE, AMU, FEAT_TWED, FEAT_CSV2_2.
const HCR: u64 = HCR_SET
    | HCR_CLEAR
    | hcr::VM
    | hcr::SWIO
    | hcr::PTW
    | hcr::FMO
    | hcr::IMO
    | hcr::AMO
    | hcr::VF
    | hcr::VI
    | hcr::VSE
    | hcr::FB
    | 3 << 10 // BSU
    | hcr::DC
    | hcr::TGE
    | hcr::HCD
    | hcr::CD
    | hcr::ID
    | hcr::FWB;

/// TDE, TDA, TDOSA and TDRA.
const MDCR: u64 = 0xf << 8;

const TCPAC: u64 = 1 << 31;
/// CPTR_EL2.FPEN with E2H = 1, which CPACR_EL1 has as well.
const FPEN: u64 = 3 << 20;
/// CPTR_EL2.TFP with E2H = 0.
const TFP: u64 = 1 << 10;
/// CPTR_EL2 with E2H = 0: RES1, TSM and TZ among them where there is neither SME nor SVE.
const CPTR_ONES: u64 = 0x33ff;

/// The bits of SCTLR_EL2 that are RES1 with E2H = 0, EIS and EOS aside.
const SCTLR_ONES: u64 = 0x3085_0030;
/// SCTLR_EL2 after reset: everything off that can be, and what Armv8.0 has as RES1.
const SCTLR_RESET: u64 = 0x30c5_0830;

/// TCR_EL2 with E2H = 0: T0SZ to PS, TBI, HA, HD, HPD, HWU and TBID. Bits 31 and 23 are RES1.
const TCR_NVHE: u64 = 0x7_ff3f | 7 << 20 | 0x3f << 24;
const TCR_ONES: u64 = 1 << 31 | 1 << 23;

/// VTCR_EL2: T0SZ to PS, VS, HA, HD and HWU; bit 31 is RES1. No DS and SL2, for no FEAT_LPA2 is shown.
const VTCR: u64 = 0xf_ffff | 3 << 21 | 0xf << 25;

/// The bits of CNTHCTL_EL2 that are also CNTKCTL_EL1's: EL0PCTEN, EL0VCTEN, EVNTEN, EVNTDIR, EVNTI, EL0VTEN, EL0PTEN,
/// EVNTIS.
const CNTKCTL: u64 = 0x2_03ff;
/// CNTHCTL_EL2 with E2H = 1: those and EL1PCTEN, EL1PTEN, EL1TVT, EL1TVCT.
const CNTHCTL_VHE: u64 = CNTKCTL | 3 << 10 | 3 << 13;
/// CNTHCTL_EL2 with E2H = 0: EL1PCTEN, EL1PCEN, the event stream, EL1TVT, EL1TVCT.
const CNTHCTL_NVHE: u64 = 0xff | 3 << 13 | 1 << 17;

/// ICH_HCR_EL2: En to VGrp1DIE, TC, TALL0, TALL1, TDIR and EOIcount.
const ICH_HCR: u64 = 0xff | 7 << 10 | 1 << 14 | 0x1f << 27;
/// ICH_VMCR_EL2: VENG0, VENG1, VAckCtl, VCBPR, VEOIM, VBPR1, VBPR0 and VPMR. VFIQEn is RES1.
const ICH_VMCR: u64 = 7 | 1 << 4 | 1 << 9 | 0x3fff << 18;
/// ICH_LR<n>_EL2: vINTID, pINTID, priority, Group, HW and State.
const ICH_LR: u64 = LOW_32 | 0x1fff << 32 | 0xff << 48 | 0xf << 60;

/// Name and count if not one: the layout of either kind of EL2, or that with E2H = 1 and that with E2H = 0; what it is
/// after reset; what depends on it; the reason.
macro_rules! rules {
    ($($name:ident $(* $count:literal)? : $vhe:expr $(=> $nvhe:expr)?; $reset:expr; [$($affects:ident),*]; $why:literal;)*) => {
        [$(Rule {
            register: $name,
            name: stringify!($name),
            count: or!(1 $(, $count)?),
            vhe: $vhe,
            nvhe: or!($vhe $(, $nvhe)?),
            reset: $reset,
            affects: &[$(Affects::$affects),*],
            why: $why,
        }),*]
    };
}

const ZERO: Reset = Reset::Value(0);
const ICH_AP0R: SysReg = SysReg::new(3, 4, 12, 8, 0);
const ICH_AP1R: SysReg = SysReg::new(3, 4, 12, 9, 0);
const ICH_LR0: SysReg = SysReg::new(3, 4, 12, 12, 0);

// DDI 0487, D24.2, D24.3 and D24.10, the fields of each register; IHI 0069, 12.4.
pub(super) static RULES: [Rule; 41] = rules! {
    VPIDR_EL2: page(LOW_32, 0); Reset::Midr; [Identity]; "32 bits";
    VMPIDR_EL2: page(0xff_41ff_ffff, 1 << 31); Reset::Mpidr; [Identity]; "bit 31 is RES1";
    HCR_EL2: page(HCR, hcr::RW | hcr::E2H) => page(HCR, hcr::RW); ZERO; [Context, Traps, Interrupts];
        "E2H is what the kind of EL2 says; fields of what L1 is not shown are RES0";
    HSTR_EL2: page(0xbfef, 0); ZERO; [Nothing]; "kept; without AArch32 it has no effect";
    VTTBR_EL2: page(ALL, 0); ZERO; [Context]; "table, VMID and CnP";
    VTCR_EL2: page(VTCR, 1 << 31); ZERO; [Context]; "as far as walks of L1's tables go";
    TPIDR_EL2: page(ALL, 0); ZERO; [Nothing]; "software's own";
    CNTVOFF_EL2: page(ALL, 0); ZERO; [Timers]; "the offset of L1's EL1";
    ICH_HCR_EL2: page(ICH_HCR, 0); ZERO; [Interrupts, Traps]; "no GICv4 and no SError from the GIC";
    ICH_VMCR_EL2: page(ICH_VMCR, 1 << 3); ZERO; [Interrupts]; "VFIQEn is RES1 where system registers are the only way";
    ICH_AP0R * 4: page(LOW_32, 0); ZERO; [Interrupts]; "active priorities";
    ICH_AP1R * 4: page(LOW_32, 0); ZERO; [Interrupts]; "active priorities";
    ICH_LR0 * 16: page(ICH_LR, 0); ZERO; [Interrupts]; "no non-maskable interrupts";
    ICC_SRE_EL2: file(0, 0xf); ZERO; [Nothing]; "SRE, DFB, DIB and Enable are RAO/WI";
    ACTLR_EL2: file(0, 0); ZERO; [Nothing]; "no control of the CPU model's own";
    HACR_EL2: file(0, 0); ZERO; [Nothing]; "no control of the CPU model's own";
    SPSR_ABT: file(0, 0); ZERO; [Nothing]; "no AArch32";
    MDCR_EL2: file(MDCR, 0); ZERO; [Traps]; "no performance monitors, profiling and trace";
    HPFAR_EL2: file(0xffff_ffff_fff0, 0); ZERO; [Nothing]; "FIPA; no Secure state";
    CPTR_EL2: Layout { home: Home::Split { twin: CPACR_EL1, mask: FPEN }, writable: TCPAC | FPEN, ones: 0 }
        => file(TCPAC | TFP, CPTR_ONES); ZERO; [Traps, HostStage1]; "no SVE, SME, trace and activity monitors";
    CNTHCTL_EL2: Layout { home: Home::Split { twin: CNTKCTL_EL1, mask: CNTKCTL }, writable: CNTHCTL_VHE, ones: 0 }
        => file(CNTHCTL_NVHE, 0); ZERO; [Traps, Timers];
        "CNTKCTL_EL1 is the twin as far as it goes; with E2H = 0 it stays L1's EL1's, and the event stream with it";
    SCTLR_EL2: twin(SCTLR_EL1, ALL) => file(SCTLR_COMMON, SCTLR_ONES); Reset::Value(SCTLR_RESET); [HostStage1];
        "with E2H = 1 laid out as SCTLR_EL1, which masks";
    TCR_EL2: twin(TCR_EL1, ALL) => file(TCR_NVHE, TCR_ONES); ZERO; [HostStage1];
        "with E2H = 1 laid out as TCR_EL1, which masks";
    TTBR0_EL2: twin(TTBR0_EL1, ALL) => file(0xffff_ffff_ffff, 0); ZERO; [HostStage1]; "with E2H = 0 there is no ASID";
    TTBR1_EL2: twin(TTBR1_EL1, ALL) => ABSENT; ZERO; [Nothing]; "of FEAT_VHE";
    MAIR_EL2: twin(MAIR_EL1, ALL); ZERO; [Nothing]; "laid out as MAIR_EL1";
    AMAIR_EL2: twin(AMAIR_EL1, ALL); ZERO; [Nothing]; "the CPU model's own, as AMAIR_EL1";
    AFSR0_EL2: twin(AFSR0_EL1, ALL); ZERO; [Nothing]; "the CPU model's own, as AFSR0_EL1";
    AFSR1_EL2: twin(AFSR1_EL1, ALL); ZERO; [Nothing]; "the CPU model's own, as AFSR1_EL1";
    VBAR_EL2: twin(VBAR_EL1, !0x7ff); ZERO; [Nothing]; "aligned to 2 KiB";
    CONTEXTIDR_EL2: twin(CONTEXTIDR_EL1, LOW_32) => ABSENT; ZERO; [Nothing]; "of FEAT_VHE";
    SPSR_EL2: twin(SPSR_EL1, ALL); ZERO; [Nothing]; "the hardware redirects it, which masks";
    SP_EL2: twin(SP_EL1, ALL); ZERO; [Nothing]; "no name for it at EL2, but a stack pointer";
    ELR_EL2: twin(ELR_EL1, ALL); ZERO; [Nothing]; "the hardware redirects it";
    ESR_EL2: twin(ESR_EL1, ALL); ZERO; [Nothing]; "the hardware redirects it";
    FAR_EL2: twin(FAR_EL1, ALL); ZERO; [Nothing]; "the hardware redirects it";
    CNTHP_CVAL_EL2: twin(CNTP_CVAL_EL0, ALL); ZERO; [Timers]; "in ticks of the physical counter; it is loaded before its control";
    CNTHP_CTL_EL2: twin(CNTP_CTL_EL0, 3); ZERO; [Timers]; "ENABLE and IMASK; ISTATUS follows from the time";
    CNTHV_CVAL_EL2: twin(CNTV_CVAL_EL0, ALL) => ABSENT; ZERO; [Timers]; "of FEAT_VHE; its offset is 0";
    CNTHV_CTL_EL2: twin(CNTV_CTL_EL0, 3) => ABSENT; ZERO; [Timers]; "of FEAT_VHE; as CNTHP_CTL_EL2";
    CNTKCTL_EL1: Layout { home: Home::Guest(CNTKCTL_EL1), writable: CNTKCTL, ones: 0 } => ABSENT; ZERO; [Timers];
        "by the name of CNTKCTL_EL12; with E2H = 0 it is the hardware's all the time";
};
