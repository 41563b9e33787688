//! The table of ways.

use droste_arm64::sysreg::{
    ACTLR_EL2, AFSR0_EL2, AFSR1_EL2, AMAIR_EL2, CNTHCTL_EL2, CNTHP_CTL_EL2, CNTHP_CVAL_EL2,
    CNTHV_CTL_EL2, CNTHV_CVAL_EL2, CNTKCTL_EL1, CNTP_CVAL_EL0, CNTV_CVAL_EL0, CONTEXTIDR_EL2,
    CPTR_EL2, ELR_EL1, ELR_EL2, ESR_EL1, ESR_EL2, FAR_EL1, FAR_EL2, HACR_EL2, HPFAR_EL2,
    ICC_SRE_EL2, ICH_EISR_EL2, ICH_ELRSR_EL2, ICH_MISR_EL2, ICH_VTR_EL2, MAIR_EL2, MDCR_EL2,
    SCTLR_EL2, SPSR_EL1, SPSR_EL2, TCR_EL2, TTBR0_EL2, TTBR1_EL2, VBAR_EL2,
};
use droste_arm64::vncr::{Nv1, Slot, slot};

use super::Way::{self, AsAtEl1, GuestCount, Redirected, Undefined, Vgic};
use super::rules::SPSR_ABT;
use super::{Known, Row, SysReg, position};

/// All rows. No register is in two.
pub fn rows() -> &'static [Row] {
    ROWS
}

/// The slot at `offset` bytes of the page.
const fn memory(offset: u16) -> Way {
    match Slot::new(offset) {
        Some(slot) => Way::InMemory(slot),
        None => panic!("an offset of the table is no slot"),
    }
}

const fn trapped(register: SysReg) -> Way {
    Way::Trapped(Known::new(register))
}
const fn twin(register: SysReg) -> Way {
    Way::Twin(Known::new(register))
}
const fn timer_value(compare: SysReg) -> Way {
    Way::TimerValue(Known::new(compare))
}
const fn guest_timer_value(compare: SysReg) -> Way {
    match slot(compare, Nv1::Set) {
        Some(slot) => Way::GuestTimerValue(slot),
        None => panic!("a timer of L1's EL1 is not in the page"),
    }
}

/// The row of a register, by an index that was made for all encodings beforehand.
#[inline]
pub(super) fn find(register: SysReg) -> Option<&'static Row> {
    let n = INDEX[index(register)?];
    ROWS.get(usize::from(n).wrapping_sub(1))
}

/// Values of CRn, CRm and op2, for each of the values of op1 that a row has.
const INDEX_SIZE: usize = 4 << 11;

/// The place of a register in [`INDEX`]. Debug registers, op0 = 2, have none: their rows say no more than
/// [`is_el2_space`](super::is_el2_space) does.
#[inline]
const fn index(register: SysReg) -> Option<usize> {
    if register.op0() != 3 {
        return None;
    }
    let group = match register.op1() {
        0 => 0,
        3 => 1,
        4 => 2,
        5 => 3,
        _ => return None,
    };
    Some(group << 11 | (register.crn() as usize) << 7 | position(register) as usize)
}

/// By encoding: the number of the row, from 1; 0 for none.
static INDEX: [u8; INDEX_SIZE] = {
    let mut numbers = [0; INDEX_SIZE];
    let mut n = 0;
    while n < ROWS.len() {
        let row = &ROWS[n];
        assert!(n < 255, "a row's number fits");
        let Some(first) = index(row.first) else {
            assert!(matches!(row.vhe, Undefined) && matches!(row.nvhe, Undefined));
            n += 1;
            continue;
        };
        let mut place = 0;
        while place < row.count as usize {
            assert!(numbers[first + place] == 0, "two rows share a place");
            numbers[first + place] = n as u8 + 1;
            place += 1;
        }
        n += 1;
    }
    numbers
};

/// Name, op0, op1, CRn, CRm and op2 of the first, how many if not one: the way of either kind of EL2, or first that
/// with E2H = 1 and then that with E2H = 0, and the reason.
macro_rules! rows {
    ($($name:ident $op0:literal $op1:literal $crn:literal $crm:literal $op2:literal $(* $count:literal)? :
       $vhe:expr $(=> $nvhe:expr)?, $why:literal;)*) => {
        &[$(Row {
            name: stringify!($name),
            first: SysReg::new($op0, $op1, $crn, $crm, $op2),
            count: or!(1 $(, $count)?),
            vhe: $vhe,
            nvhe: or!($vhe $(, $nvhe)?),
            why: $why,
        }),*]
    };
}

// DDI 0487, D24.2, D24.3 and D24.10, the accessibility of each register, and D8.14; IHI 0069, 12.4.
static ROWS: &[Row] = rows! {
    // EL2: identification, control, traps.
    VPIDR_EL2 3 4 0 0 0: memory(0x088), "in the page; read when L1's EL1 is entered";
    VMPIDR_EL2 3 4 0 0 5: memory(0x050), "in the page; read when L1's EL1 is entered";
    SCTLR_EL2 3 4 1 0 0: trapped(SCTLR_EL2), "traps; few write it by this name";
    ACTLR_EL2 3 4 1 0 1: trapped(ACTLR_EL2), "no control of the CPU model's own: reads 0";
    SCTLR2_EL2 3 4 1 0 3: Undefined, "no FEAT_SCTLR2";
    HCR_EL2 3 4 1 1 0: memory(0x078), "in the page; read at each exit that depends on it";
    MDCR_EL2 3 4 1 1 1: trapped(MDCR_EL2), "traps; its own traps are honoured";
    CPTR_EL2 3 4 1 1 2: trapped(CPTR_EL2), "traps; with E2H = 1 its twin is CPACR_EL1";
    HSTR_EL2 3 4 1 1 3: memory(0x080), "in the page; without AArch32 it has no effect";
    HFGxTR_EL2 3 4 1 1 4 * 3: Undefined, "no FEAT_FGT: fine-grained traps are not evaluated";
    HACR_EL2 3 4 1 1 7: trapped(HACR_EL2), "no control of the CPU model's own: reads 0";
    ZCR_EL2 3 4 1 2 0: Undefined, "no SVE";
    TRFCR_EL2 3 4 1 2 1: Undefined, "no trace";
    HCRX_EL2 3 4 1 2 2: Undefined, "no FEAT_HCX; where hardware has it, the access ends in the page and nobody reads it";
    TRCITECR_EL2 3 4 1 2 3: Undefined, "no trace";
    SMPRIMAP_EL2 3 4 1 2 5: Undefined, "no SME";
    SMCR_EL2 3 4 1 2 6: Undefined, "no SME";
    SDER32_EL2 3 4 1 3 1: Undefined, "no Secure state";
    mask_EL2_group 3 4 1 4 0 * 4: Undefined, "no FEAT_SRMASK";
    // EL2: translation.
    TTBR0_EL2 3 4 2 0 0: trapped(TTBR0_EL2), "traps; with E2H = 1 it is written by the name of TTBR0_EL1";
    TTBR1_EL2 3 4 2 0 1: trapped(TTBR1_EL2) => Undefined, "traps; FEAT_VHE brings it";
    TCR_EL2 3 4 2 0 2: trapped(TCR_EL2), "traps; with E2H = 1 it is written by the name of TCR_EL1";
    TCR2_EL2 3 4 2 0 3: Undefined, "no FEAT_TCR2";
    VTTBR_EL2 3 4 2 1 0: memory(0x020), "in the page; it and HCR_EL2 choose the context when L1's EL1 is entered";
    VTCR_EL2 3 4 2 1 2: memory(0x040), "in the page; as VTTBR_EL2";
    VNCR_EL2 3 4 2 2 0: Undefined, "no FEAT_NV2: no hypervisor below L1's; on hardware the access ends in the page";
    HDBSS_group 3 4 2 3 2 * 4: Undefined, "no FEAT_HDBSS and FEAT_HACDBS";
    GCS_EL2_group 3 4 2 5 0 * 2: Undefined, "no guarded control stack";
    VSTTBR_EL2 3 4 2 6 0: Undefined, "no Secure state";
    VSTCR_EL2 3 4 2 6 2: Undefined, "no Secure state";
    TCRMASK_EL2_group 3 4 2 7 2 * 2: Undefined, "no FEAT_SRMASK";
    DACR32_EL2 3 4 3 0 0: Undefined, "no AArch32";
    HFG2_group 3 4 3 1 0 * 8: Undefined, "no FEAT_FGT and FEAT_FGT2";
    // EL2: exceptions.
    SPSR_EL2 3 4 4 0 0: Redirected(SPSR_EL1), "the exception registers of EL1 are virtual EL2's while it runs";
    ELR_EL2 3 4 4 0 1: Redirected(ELR_EL1), "as SPSR_EL2";
    SP_EL1 3 4 4 1 0: memory(0x240), "in the page; EL2's own stack pointer is the hardware's SP_EL1";
    SPSR_AArch32_group 3 4 4 3 0 * 4: trapped(SPSR_ABT), "without AArch32 they read 0";
    IFSR32_EL2 3 4 5 0 1: Undefined, "no AArch32";
    AFSR0_EL2 3 4 5 1 0: trapped(AFSR0_EL2), "traps; its twin is AFSR0_EL1";
    AFSR1_EL2 3 4 5 1 1: trapped(AFSR1_EL2), "traps; its twin is AFSR1_EL1";
    ESR_EL2 3 4 5 2 0: Redirected(ESR_EL1), "as SPSR_EL2";
    VSESR_EL2 3 4 5 2 3: Undefined, "no RAS";
    FPEXC32_EL2 3 4 5 3 0: Undefined, "no AArch32";
    TFSR_EL2 3 4 5 6 0: Undefined, "no MTE";
    FAR_EL2 3 4 6 0 0: Redirected(FAR_EL1), "as SPSR_EL2";
    HPFAR_EL2 3 4 6 0 4: trapped(HPFAR_EL2), "traps; EL1 has no such register";
    PFAR_EL2 3 4 6 0 5: Undefined, "no FEAT_PFAR";
    PMSCR_EL2 3 4 9 9 0: Undefined, "no statistical profiling";
    PMBSR_EL2 3 4 9 10 3: Undefined, "no statistical profiling";
    TRBSR_EL2 3 4 9 11 3: Undefined, "no trace buffer";
    MAIR2_EL2 3 4 10 1 1: Undefined, "no FEAT_AIE";
    MAIR_EL2 3 4 10 2 0: trapped(MAIR_EL2), "traps; its twin is MAIR_EL1";
    PIE_EL2_group 3 4 10 2 2 * 4: Undefined, "no permission indirection and overlays";
    AMAIR_EL2 3 4 10 3 0: trapped(AMAIR_EL2), "traps; its twin is AMAIR_EL1";
    AMAIR2_EL2 3 4 10 3 1: Undefined, "no FEAT_AIE";
    MPAM_EL2_group 3 4 10 4 0 * 24: Undefined, "no MPAM";
    MECID_group 3 4 10 8 0 * 10: Undefined, "no Realms";
    VBAR_EL2 3 4 12 0 0: trapped(VBAR_EL2), "traps; its twin is VBAR_EL1";
    RVBAR_EL2 3 4 12 0 1: Undefined, "hardware with EL3 has none, and cannot be made to trap it";
    RMR_EL2 3 4 12 0 2: Undefined, "not implemented where EL2 has no AArch32";
    VDISR_EL2 3 4 12 1 1: Undefined, "no RAS";
    // EL2: the GIC (IHI 0069, 12.4).
    ICH_AP0R_EL2 3 4 12 8 0 * 4: memory(0x480), "in the page; loaded with the list registers";
    ICH_AP1R_EL2 3 4 12 9 0 * 4: memory(0x4a0), "in the page; loaded with the list registers";
    ICC_SRE_EL2 3 4 12 9 5: trapped(ICC_SRE_EL2), "there is no other way than system registers";
    ICH_HCR_EL2 3 4 12 11 0: memory(0x4c0), "in the page; it takes effect when L1's EL1 is entered";
    ICH_VTR_EL2 3 4 12 11 1: Vgic(ICH_VTR_EL2), "how many list registers the virtual GIC has";
    ICH_MISR_EL2 3 4 12 11 2: Vgic(ICH_MISR_EL2), "follows from ICH_HCR_EL2 and the list registers";
    ICH_EISR_EL2 3 4 12 11 3: Vgic(ICH_EISR_EL2), "follows from the list registers";
    ICH_ELRSR_EL2 3 4 12 11 5: Vgic(ICH_ELRSR_EL2), "follows from the list registers";
    ICH_VMCR_EL2 3 4 12 11 7: memory(0x4c8), "in the page; loaded with the list registers";
    ICH_LR_EL2 3 4 12 12 0 * 16: memory(0x400), "in the page: L1's interrupts for L2";
    // EL2: threads, counters, timers.
    CONTEXTIDR_EL2 3 4 13 0 1: trapped(CONTEXTIDR_EL2) => Undefined, "traps; FEAT_VHE brings it";
    TPIDR_EL2 3 4 13 0 2: memory(0x090), "the hardware keeps it in the page";
    SCXTNUM_EL2 3 4 13 0 7: Undefined, "not switched, and CSV2 says so";
    AMEVCNTVOFF_group 3 4 13 8 0 * 32: Undefined, "no activity monitors";
    CNTVOFF_EL2 3 4 14 0 3: memory(0x060), "in the page; composed with L0's when L1's EL1 is entered";
    CNTPOFF_EL2 3 4 14 0 6: Undefined, "no FEAT_ECV_POFF";
    CNTHCTL_EL2 3 4 14 1 0: trapped(CNTHCTL_EL2), "traps; with E2H = 1 part of it is in CNTKCTL_EL1";
    CNTHP_TVAL_EL2 3 4 14 2 0: timer_value(CNTHP_CVAL_EL2), "a view of CNTHP_CVAL_EL2";
    CNTHP_CTL_EL2 3 4 14 2 1: trapped(CNTHP_CTL_EL2), "traps; its twin is CNTP_CTL_EL0";
    CNTHP_CVAL_EL2 3 4 14 2 2: trapped(CNTHP_CVAL_EL2), "traps; its twin is CNTP_CVAL_EL0";
    CNTHV_TVAL_EL2 3 4 14 3 0: timer_value(CNTHV_CVAL_EL2) => Undefined, "a view of CNTHV_CVAL_EL2; FEAT_VHE brings it";
    CNTHV_CTL_EL2 3 4 14 3 1: trapped(CNTHV_CTL_EL2) => Undefined, "traps; its twin is CNTV_CTL_EL0";
    CNTHV_CVAL_EL2 3 4 14 3 2: trapped(CNTHV_CVAL_EL2) => Undefined, "traps; its twin is CNTV_CVAL_EL0";
    CNTHVS_group 3 4 14 4 0 * 3: Undefined, "no Secure state";
    CNTHPS_group 3 4 14 5 0 * 3: Undefined, "no Secure state";
    DBGVCR32_EL2 2 4 0 7 0: Undefined, "no AArch32";
    BRBCR_EL2 2 4 9 0 0: Undefined, "no branch records";
    SPMACCESSR_EL2 2 4 9 13 3: Undefined, "no system counters";
    // EL1's registers by their names for EL2. Without FEAT_VHE there are none.
    SCTLR_EL12 3 5 1 0 0: memory(0x110) => Undefined, "in the page while virtual EL2 runs";
    CPACR_EL12 3 5 1 0 2: memory(0x100) => Undefined, "in the page while virtual EL2 runs";
    TTBR0_EL12 3 5 2 0 0: memory(0x200) => Undefined, "in the page while virtual EL2 runs";
    TTBR1_EL12 3 5 2 0 1: memory(0x210) => Undefined, "in the page while virtual EL2 runs";
    TCR_EL12 3 5 2 0 2: memory(0x120) => Undefined, "in the page while virtual EL2 runs";
    SPSR_EL12 3 5 4 0 0: memory(0x160) => Undefined, "in the page while virtual EL2 runs";
    ELR_EL12 3 5 4 0 1: memory(0x230) => Undefined, "in the page while virtual EL2 runs";
    AFSR0_EL12 3 5 5 1 0: memory(0x128) => Undefined, "in the page while virtual EL2 runs";
    AFSR1_EL12 3 5 5 1 1: memory(0x130) => Undefined, "in the page while virtual EL2 runs";
    ESR_EL12 3 5 5 2 0: memory(0x138) => Undefined, "in the page while virtual EL2 runs";
    FAR_EL12 3 5 6 0 0: memory(0x220) => Undefined, "in the page while virtual EL2 runs";
    MAIR_EL12 3 5 10 2 0: memory(0x140) => Undefined, "in the page while virtual EL2 runs";
    AMAIR_EL12 3 5 10 3 0: memory(0x148) => Undefined, "in the page while virtual EL2 runs";
    VBAR_EL12 3 5 12 0 0: memory(0x250) => Undefined, "in the page while virtual EL2 runs";
    CONTEXTIDR_EL12 3 5 13 0 1: memory(0x108) => Undefined, "in the page while virtual EL2 runs";
    CNTKCTL_EL12 3 5 14 1 0: trapped(CNTKCTL_EL1) => Undefined, "not in the page, for it steers the event stream (I_RSCBR)";
    CNTP_TVAL_EL02 3 5 14 2 0: guest_timer_value(CNTP_CVAL_EL0) => Undefined, "a view of the compare value in the page";
    CNTP_CTL_EL02 3 5 14 2 1: memory(0x180) => Undefined, "in the page; trapped besides if FEAT_ECV's EL1NVPCT is there to be set, for ISTATUS and what L1 arms";
    CNTP_CVAL_EL02 3 5 14 2 2: memory(0x178) => Undefined, "as CNTP_CTL_EL02";
    CNTV_TVAL_EL02 3 5 14 3 0: guest_timer_value(CNTV_CVAL_EL0) => Undefined, "a view of the compare value in the page";
    CNTV_CTL_EL02 3 5 14 3 1: memory(0x170) => Undefined, "as CNTP_CTL_EL02";
    CNTV_CVAL_EL02 3 5 14 3 2: memory(0x168) => Undefined, "as CNTP_CTL_EL02";
    ACTLR_EL12 3 5 1 0 1: Undefined, "no FEAT_SRMASK";
    SCTLR2_EL12 3 5 1 0 3: Undefined, "no FEAT_SCTLR2";
    ZCR_EL12 3 5 1 2 0: Undefined, "no SVE";
    TRFCR_EL12 3 5 1 2 1: Undefined, "no trace";
    TRCITECR_EL12 3 5 1 2 3: Undefined, "no trace";
    SMCR_EL12 3 5 1 2 6: Undefined, "no SME";
    mask_EL12_group 3 5 1 4 0 * 4: Undefined, "no FEAT_SRMASK";
    TCR2_EL12 3 5 2 0 3: Undefined, "no FEAT_TCR2";
    GCS_EL12_group 3 5 2 5 0 * 2: Undefined, "no guarded control stack";
    TCRMASK_EL12_group 3 5 2 7 2 * 2: Undefined, "no FEAT_SRMASK";
    TFSR_EL12 3 5 5 6 0: Undefined, "no MTE";
    PFAR_EL12 3 5 6 0 5: Undefined, "no FEAT_PFAR";
    PMSCR_EL12 3 5 9 9 0: Undefined, "no statistical profiling";
    PMBSR_EL12 3 5 9 10 3: Undefined, "no statistical profiling";
    TRBSR_EL12 3 5 9 11 3: Undefined, "no trace buffer";
    MAIR2_EL12 3 5 10 2 1: Undefined, "no FEAT_AIE";
    PIE_EL12_group 3 5 10 2 2 * 3: Undefined, "no permission indirection and overlays";
    AMAIR2_EL12 3 5 10 3 1: Undefined, "no FEAT_AIE";
    MPAM1_EL12 3 5 10 5 0: Undefined, "no MPAM";
    MPAMBW1_EL12 3 5 10 5 4: Undefined, "no MPAM";
    SCXTNUM_EL12 3 5 13 0 7: Undefined, "not switched, and CSV2 says so";
    BRBCR_EL12 2 5 9 0 0: Undefined, "no branch records";
    SPMACCESSR_EL12 2 5 9 13 3: Undefined, "no system counters";
    // Names of EL1 and EL0. With E2H = 1 they mean EL2's registers, and the hardware's EL1 has those. With E2H = 0 and NV1
    // they mean L1's EL1, which is in the page.
    SCTLR_EL1 3 0 1 0 0: twin(SCTLR_EL2) => memory(0x110), "the hardware's own, or the page's";
    TTBR0_EL1 3 0 2 0 0: twin(TTBR0_EL2) => memory(0x200), "the hardware's own, or the page's";
    TTBR1_EL1 3 0 2 0 1: twin(TTBR1_EL2) => memory(0x210), "the hardware's own, or the page's";
    TCR_EL1 3 0 2 0 2: twin(TCR_EL2) => memory(0x120), "the hardware's own, or the page's";
    SPSR_EL1 3 0 4 0 0: twin(SPSR_EL2) => memory(0x160), "the hardware's own, or the page's";
    ELR_EL1 3 0 4 0 1: twin(ELR_EL2) => memory(0x230), "the hardware's own, or the page's";
    AFSR0_EL1 3 0 5 1 0: twin(AFSR0_EL2) => memory(0x128), "the hardware's own, or the page's";
    AFSR1_EL1 3 0 5 1 1: twin(AFSR1_EL2) => memory(0x130), "the hardware's own, or the page's";
    ESR_EL1 3 0 5 2 0: twin(ESR_EL2) => memory(0x138), "the hardware's own, or the page's";
    FAR_EL1 3 0 6 0 0: twin(FAR_EL2) => memory(0x220), "the hardware's own, or the page's";
    MAIR_EL1 3 0 10 2 0: twin(MAIR_EL2) => memory(0x140), "the hardware's own, or the page's";
    AMAIR_EL1 3 0 10 3 0: twin(AMAIR_EL2) => memory(0x148), "the hardware's own, or the page's";
    VBAR_EL1 3 0 12 0 0: twin(VBAR_EL2) => memory(0x250), "the hardware's own, or the page's";
    CONTEXTIDR_EL1 3 0 13 0 1: twin(CONTEXTIDR_EL2) => memory(0x108), "the hardware's own, or the page's";
    CPACR_EL1 3 0 1 0 2: twin(CPTR_EL2) => memory(0x100), "as SCTLR_EL1; TCPAC, which CPACR_EL1 lacks before FEAT_NV2p1, is lost by this name";
    CNTKCTL_EL1 3 0 14 1 0: twin(CNTHCTL_EL2) => AsAtEl1, "with E2H = 1 as CPACR_EL1, for EL1PTEN and EL1PCTEN; with E2H = 0 neither trapped nor in the page (I_RSCBR)";
    CNTVCT_EL0 3 3 14 0 2: AsAtEl1 => GuestCount, "with E2H = 1 the hardware's, with an offset of 0; with E2H = 0 CNTVOFF_EL2 counts at EL2 as well, and is written to the page unseen";
    CNTP_TVAL_EL0 3 3 14 2 0: timer_value(CNTHP_CVAL_EL2) => guest_timer_value(CNTP_CVAL_EL0), "never in the page: L0 has it trapped by CNTHCTL_EL2.EL1PCEN, for with E2H = 0 the hardware's timer is EL2's";
    CNTP_CTL_EL0 3 3 14 2 1: twin(CNTHP_CTL_EL2) => memory(0x180), "the hardware's timer is EL2's; trapped by EL1PCEN it means the same";
    CNTP_CVAL_EL0 3 3 14 2 2: twin(CNTHP_CVAL_EL2) => memory(0x178), "as CNTP_CTL_EL0";
    CNTV_TVAL_EL0 3 3 14 3 0: timer_value(CNTHV_CVAL_EL2) => guest_timer_value(CNTV_CVAL_EL0), "never in the page; with E2H = 1 the hardware does it, with E2H = 0 it traps where FEAT_ECV's EL1TVT is there";
    CNTV_CTL_EL0 3 3 14 3 1: twin(CNTHV_CTL_EL2) => memory(0x170), "the hardware's virtual timer is EL2's, with an offset of 0";
    CNTV_CVAL_EL0 3 3 14 3 2: twin(CNTHV_CVAL_EL2) => memory(0x168), "as CNTV_CTL_EL0";
};
