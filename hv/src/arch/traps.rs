//! What EL2 takes from every guest, alike on every CPU.

use droste_nested::registers::VirtualEl2;

use droste_arm64::vhe::Layout;

use super::id::Model;
use super::layout::layout;
use super::{debug, isb, mrs, msr};

/// EL2's traps that a guest hypervisor may add to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traps {
    /// CPTR_EL2.
    pub(crate) cptr: u64,
    /// MDCR_EL2.
    pub(crate) mdcr: u64,
    /// CNTHCTL_EL2.
    pub(crate) cnthctl: u64,
}

/// MDCR_EL2.TDA: traps debug registers.
const MDCR_TDA: u64 = 1 << 9;
/// MDCR_EL2.TDCC, of FEAT_FGT: traps the registers of the debug communication channel.
const MDCR_TDCC: u64 = 1 << 27;

/// CNTHCTL_EL2.EL1PCEN, or EL1PTEN with E2H = 1: EL1's physical timer does not trap.
#[inline]
const fn physical_timer_open(layout: Layout) -> u64 {
    1 << (layout.physical_timer_shift() + 1)
}
/// CNTHCTL_EL2.{EL1TVT, EL1TVCT}, of FEAT_ECV: EL1's virtual timer and the virtual counter trap.
const EL1TVT: u64 = 1 << 13;
const EL1TVCT: u64 = 1 << 14;
/// CNTHCTL_EL2.{EL1NVPCT, EL1NVVCT}, of FEAT_ECV: the _EL02 names of EL1's timers trap at virtual EL2.
const EL1NVPCT: u64 = 1 << 15;
const EL1NVVCT: u64 = 1 << 16;

/// Whether the CPU has FEAT_ECV: ID_AA64MMFR0_EL1.ECV.
#[inline]
pub(crate) fn has_ecv() -> bool {
    mrs!("id_aa64mmfr0_el1") >> 60 != 0
}

impl Traps {
    /// What EL2 traps for itself.
    pub(crate) fn own() -> Self {
        const CPTR_RES1: u64 = 0x33ff; // traps SVE and SME, where there are such
        const CPTR_TRACE: u64 = 1 << 20;
        const CPTR_ACTIVITY_MONITORS: u64 = 1 << 30;
        const CNTHCTL_EL1_PHYSICAL: u64 = 0b11; // counter and timer
        const MDCR_DEBUG: u64 = MDCR_TDA | 1 << 10 | 1 << 11; // and TDOSA, TDRA
        const MDCR_PERFORMANCE: u64 = 1 << 6 | 1 << 5; // TPM, TPMCR
        const MDCR_TRACE_FILTER: u64 = 1 << 19;
        const MDCR_STATISTICAL: u64 = 1 << 14; // TPMS
        let layout = layout();
        Self {
            cptr: layout.cptr(CPTR_RES1 | CPTR_TRACE | CPTR_ACTIVITY_MONITORS),
            mdcr: MDCR_DEBUG | MDCR_PERFORMANCE | MDCR_TRACE_FILTER | MDCR_STATISTICAL,
            cnthctl: CNTHCTL_EL1_PHYSICAL << layout.physical_timer_shift(),
        }
        .on(Model::read())
    }

    /// The same on a CPU of this model: its counters stay with EL1 in MDCR_EL2.HPMN, all of whose accesses trap.
    pub(super) const fn on(self, model: Model) -> Self {
        const HPMN: u64 = 0x1f;
        Self {
            mdcr: self.mdcr & !HPMN | model.counters,
            ..self
        }
    }

    /// As these, but without the trap of MDSCR_EL1, where fine-grained traps take the other debug registers anyway
    /// ([`init_cpu`]).
    pub(crate) fn with_mdscr_open(self) -> Self {
        if fine_grained_traps() == 0 {
            return self;
        }
        Self {
            mdcr: self.mdcr & !MDCR_TDA | MDCR_TDCC,
            ..self
        }
    }

    /// The trap of MDSCR_EL1 again.
    pub(crate) const fn with_mdscr_trapped(self) -> Self {
        Self {
            mdcr: self.mdcr | MDCR_TDA,
            ..self
        }
    }

    /// As these, for virtual EL2: what it does with the timers of its EL1, which are in its register page, traps as far as
    /// the CPU can tell of it. Without VHE that is by the names of EL1's registers, CNTVCT_EL0 among them, which is to be
    /// behind by virtual EL2's own CNTVOFF_EL2 (DDI 0487, D24.10, CNTHCTL_EL2).
    pub(crate) fn with_parked_timers_trapped(self, kind: VirtualEl2) -> Self {
        let of_ecv = match kind {
            VirtualEl2::Vhe => EL1NVVCT | EL1NVPCT,
            VirtualEl2::Nvhe => EL1TVT | EL1TVCT,
        };
        let bits = if has_ecv() { of_ecv } else { 0 };
        // By the name of EL1's physical timer it means its EL1's, and the hardware's is its own.
        let open = match kind {
            VirtualEl2::Vhe => self.cnthctl,
            VirtualEl2::Nvhe => self.cnthctl & !physical_timer_open(layout()),
        };
        Self {
            cnthctl: open | bits,
            ..self
        }
    }

    /// As those, for what is under a virtual EL2 of this kind, whose timers are the hardware's.
    #[inline]
    pub(crate) fn with_timers_open(self, kind: VirtualEl2) -> Self {
        let closed = match kind {
            VirtualEl2::Vhe => 0,
            VirtualEl2::Nvhe => physical_timer_open(layout()),
        };
        Self {
            cnthctl: self.cnthctl & !(EL1NVVCT | EL1NVPCT | EL1TVT | EL1TVCT) | closed,
            ..self
        }
    }

    /// Puts them into this CPU.
    #[inline]
    pub(super) fn load(self) {
        // SAFETY: EL2's own traps, and others of guests' EL1 and EL0.
        unsafe {
            msr!("cptr_el2", self.cptr);
            msr!("mdcr_el2", self.mdcr);
            msr!("cnthctl_el2", self.cnthctl);
        }
    }
}

/// Traps and controls of EL2 that are the same for every guest, and HCR_EL2 until the first. Once a CPU.
pub(crate) fn init_cpu(hcr: u64) {
    let pfr0 = mrs!("id_aa64pfr0_el1");
    let has_ras = pfr0 >> 28 & 0xf != 0;
    let has_mpam = pfr0 >> 40 & 0xf != 0;
    let has_hcrx = mrs!("id_aa64mmfr1_el1") >> 40 & 0xf != 0;
    let has_mops = mrs!("S3_0_C0_C6_2") >> 16 & 0xf != 0;
    let has_nmi = mrs!("id_aa64pfr1_el1") >> 36 & 0xf != 0;
    Traps::own().load();
    // SAFETY: EL2 controls.
    unsafe {
        msr!("hcr_el2", hcr);
        msr!("hstr_el2", 0u64);
        msr!("oslar_el1", 0u64); // the guest's own OS lock is kept in software
        debug::init_cpu();
        msr!("cntvoff_el2", 0u64); // both of a guest's counters agree
        msr!("cnthp_ctl_el2", 0u64);
        msr!("cntv_ctl_el0", 0u64);
        msr!("cntp_ctl_el0", 0u64);
        if has_hcrx {
            const MSCEN: u64 = 1 << 11;
            const TALLINT: u64 = 1 << 6;
            let of = |has_it: bool, bits| if has_it { bits } else { 0 };
            let hcrx = of(has_mops, MSCEN) | of(has_nmi, TALLINT);
            msr!("S3_4_C1_C2_2", hcrx); // HCRX_EL2
        }
        if has_ras {
            msr!("S3_4_C5_C2_3", 0u64); // VSESR_EL2: what a virtual SError says
        }
        if has_mpam {
            const TRAP_EL1_AND_EL0: u64 = 1 << 49 | 1 << 48;
            msr!("S3_4_C10_C5_0", TRAP_EL1_AND_EL0); // MPAM2_EL2
        }
        set_fine_grained_traps();
        // Whoever used this CPU before may have left entries under the VMIDs that guests get now.
        core::arch::asm!(
            "isb",
            "tlbi alle1",
            "dsb nsh",
            options(nostack, preserves_flags)
        );
    }
    isb();
}

/// ID_AA64MMFR0_EL1.FGT: 1 with FEAT_FGT, 2 with FEAT_FGT2.
fn fine_grained_traps() -> u64 {
    mrs!("S3_0_C0_C7_0") >> 56 & 0xf
}

/// Fine-grained trap registers come out of reset unknown. Debug registers but MDSCR_EL1 and those of the communication
/// channel trap. Otherwise zero traps nothing but the features whose bits say "do not trap" when set, none of which
/// guests are shown.
///
/// # Safety
///
/// At EL2 only.
unsafe fn set_fine_grained_traps() {
    /// DBGBCR, DBGBVR, DBGWCR, DBGWVR, DBGCLAIM, DBGPRCR, OSECCR and OSDLR; besides DBGAUTHSTATUS and OSLSR, which are
    /// read, or OSLAR, which is written (DDI 0487, D24.2, HDFGRTR_EL2 and HDFGWTR_EL2).
    const DEBUG: u64 = 0xf | 1 << 5 | 1 << 7 | 1 << 10 | 1 << 11;
    const DEBUG_READ: u64 = DEBUG | 1 << 6 | 1 << 9;
    const DEBUG_WRITTEN: u64 = DEBUG | 1 << 8;
    let level = fine_grained_traps();
    if level == 0 {
        return;
    }
    let has_activity_monitors = mrs!("id_aa64pfr0_el1") >> 44 & 0xf != 0;
    // SAFETY: FEAT_FGT has these five, FEAT_FGT2 the next five; AMU's comes with both features.
    unsafe {
        msr!("S3_4_C1_C1_4", 0u64); // HFGRTR_EL2
        msr!("S3_4_C1_C1_5", 0u64); // HFGWTR_EL2
        msr!("S3_4_C1_C1_6", 0u64); // HFGITR_EL2
        msr!("S3_4_C3_C1_4", DEBUG_READ); // HDFGRTR_EL2
        msr!("S3_4_C3_C1_5", DEBUG_WRITTEN); // HDFGWTR_EL2
        if has_activity_monitors {
            msr!("S3_4_C3_C1_6", 0u64); // HAFGRTR_EL2
        }
        if level >= 2 {
            msr!("S3_4_C3_C1_0", 0u64); // HDFGRTR2_EL2
            msr!("S3_4_C3_C1_1", 0u64); // HDFGWTR2_EL2
            msr!("S3_4_C3_C1_2", 0u64); // HFGRTR2_EL2
            msr!("S3_4_C3_C1_3", 0u64); // HFGWTR2_EL2
            msr!("S3_4_C3_C1_7", 0u64); // HFGITR2_EL2
        }
    }
}
