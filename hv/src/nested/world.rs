//! From virtual EL2's world to its guest's, and back.

use droste_arm64::hcr;
use droste_arm64::sysreg::{
    CNTHCTL_EL2, CNTVOFF_EL2, CPTR_EL2, ICH_HCR_EL2, MDCR_EL2, SCTLR_EL2, TCR_EL2, TTBR0_EL2,
    VMPIDR_EL2,
};
use droste_nested::forward::{self, Controls};
use droste_nested::registers::{Known, Loaded, VirtualEl2, host_stage1};

use super::{El2, HCR, VPIDR, el2, interrupts};
use crate::arch::el2::Hardware;
use crate::arch::traps::Traps;
use crate::arch::vcpu::Control;
use crate::arch::vcpu::loaded_serror;
use crate::vm::VcpuState;

const CPTR: Known = Known::new(CPTR_EL2);
const MDCR: Known = Known::new(MDCR_EL2);
const CNTHCTL: Known = Known::new(CNTHCTL_EL2);
const CNTVOFF: Known = Known::new(CNTVOFF_EL2);
const ICH_HCR: Known = Known::new(ICH_HCR_EL2);
const VMPIDR: Known = Known::new(VMPIDR_EL2);
const SCTLR: Known = Known::new(SCTLR_EL2);
const TCR: Known = Known::new(TCR_EL2);
const TTBR0: Known = Known::new(TTBR0_EL2);

/// What HCR_EL2 of virtual EL2 says beside its traps, and hardware is to do for its guest: broadcasts, stage 1 that is off,
/// and virtual interrupts, each where it routes physical ones of the kind to itself (DDI 0487, D24.2, HCR_EL2.{VF, VI,
/// VSE}). Not CD and ID: cached more than asked is coherent.
pub(super) const fn for_guest(hcr: u64) -> u64 {
    const BSU: u64 = 3 << 10;
    const fn routed(hcr: u64, by: u64, what: u64) -> u64 {
        if hcr & by != 0 { hcr & what } else { 0 }
    }
    hcr & (hcr::FB | BSU | hcr::DC)
        | routed(hcr, hcr::FMO, hcr::VF)
        | routed(hcr, hcr::IMO, hcr::VI)
        | routed(hcr, hcr::AMO, hcr::VSE)
}

impl El2 {
    /// Virtual EL2's trap controls.
    pub(super) fn controls(&mut self) -> Controls {
        Controls {
            el2: self.kind,
            hcr: self.get(HCR),
            cptr: self.get(CPTR),
            mdcr: self.get(MDCR),
            cnthctl: self.get(CNTHCTL),
            ich_hcr: self.get(ICH_HCR),
        }
    }

    /// The control registers of its guest's world.
    fn of_guest(&mut self) -> Control {
        let l1 = self.controls();
        let own = self.own;
        let own_traps = own.traps.with_mdscr_trapped().with_timers_open();
        // Where L1 has a stage 2, whether walks may go to Device memory is its affair: what it permits would fault for ever.
        let has_stage2 = l1.hcr & (hcr::VM | hcr::DC) != 0;
        let ptw = if has_stage2 { l1.hcr } else { own.hcr } & hcr::PTW;
        let own_hcr = own.hcr & !(hcr::NV | hcr::NV1 | hcr::NV2 | hcr::AT | hcr::TTLB | hcr::PTW);
        let merged = forward::hardware(
            forward::Hardware {
                hcr: own_hcr,
                cptr: own_traps.cptr,
                mdcr: own_traps.mdcr,
                cnthctl: own_traps.cnthctl,
                ich_hcr: 0,
            },
            &l1,
        );
        self.interrupts.traps = merged.ich_hcr;
        // With E2H = 0 and TGE, EL0 runs with its stage 1 off, and its exceptions are EL2's.
        let tge = match self.kind {
            VirtualEl2::Nvhe => l1.hcr & hcr::TGE,
            VirtualEl2::Vhe => 0,
        };
        Control {
            hcr: merged.hcr | for_guest(l1.hcr) | tge | ptw,
            mpidr: self.get(VMPIDR),
            midr: self.get(VPIDR),
            cntvoff: self.get(CNTVOFF),
            traps: Traps {
                cptr: merged.cptr,
                mdcr: merged.mdcr,
                cnthctl: merged.cnthctl,
            },
        }
    }

    /// Loads what stands for its stage 1, where that is of another form than EL1's.
    #[inline]
    pub(super) fn load_stage1(&self) {
        if self.kind == VirtualEl2::Nvhe {
            Hardware::load_stage1(&self.stage1);
        }
    }

    /// What stands for its stage 1 in the hardware, from its registers as they are.
    pub(super) fn derive_stage1(&mut self) {
        let [sctlr, tcr, ttbr0, cptr] = [SCTLR, TCR, TTBR0, CPTR].map(|r| self.get(r));
        self.stage1 = host_stage1(sctlr, tcr, ttbr0, cptr);
    }
}

/// Makes the loaded virtual CPU's hardware that of virtual EL2's guest, whose state it has.
#[inline(never)]
pub(super) fn to_guest(state: &mut VcpuState) {
    interrupts::take_back(state);
    let vm = state.vcpu.vm;
    let el2 = el2(state);
    let stage2 = el2.stage2();
    if stage2 != el2.guests {
        el2.guests = stage2;
        el2.walker = None;
    }
    el2.view(&mut Hardware).park();
    el2.loaded = Loaded::El1;
    let control = el2.of_guest();
    el2.held = Some(vm.contexts().switch(&vm.memory, el2.held, &stage2));
    state.resident.set_control(control);
    state.enter_context();
    interrupts::switch(state);
    interrupts::settle(state);
}

/// Makes the loaded virtual CPU's hardware that of virtual EL2.
pub(super) fn to_host(state: &mut VcpuState) {
    interrupts::take_back(state);
    let serror = loaded_serror();
    let el2 = el2(state);
    el2.view(&mut Hardware).load();
    el2.loaded = Loaded::El2;
    el2.load_stage1();
    keep_serror(el2, serror);
    let mut control = el2.own;
    if el2.kind == VirtualEl2::Nvhe {
        // Read as CNTVCT_EL0 where that does not trap.
        control.cntvoff = el2.get(CNTVOFF);
    }
    state.resident.set_control(control);
    state.enter_context();
    interrupts::switch(state);
}

/// HCR_EL2.VSE of virtual EL2 is clear once its guest has taken the SError.
fn keep_serror(el2: &mut El2, pending: u64) {
    let hcr = el2.get(HCR);
    if for_guest(hcr) & hcr::VSE != 0 && pending == 0 {
        el2.view(&mut Hardware).set(HCR, hcr & !hcr::VSE);
    }
}
