//! From virtual EL2's world to its guest's, and back.

use droste_arm64::hcr;
use droste_arm64::sysreg::{CNTVOFF_EL2, HCR_EL2, VMPIDR_EL2, VPIDR_EL2};
use droste_nested::forward;
use droste_nested::registers::{Known, Loaded, VirtualEl2};
use droste_vdev::gic::Signal;

use super::interrupts;
use crate::arch::el2::Hardware;
use crate::arch::traps::Traps;
use crate::arch::vcpu::{Control, loaded_serror};
use crate::vm::hcr::{asked_of_hardware, kept_for_its_guest, of_its_guest};
use crate::vm::virtual_el2::El2;
use crate::vm::{VcpuState, el2};

const CNTVOFF: Known = Known::new(CNTVOFF_EL2);
const HCR: Known = Known::new(HCR_EL2);
const VPIDR: Known = Known::new(VPIDR_EL2);
const VMPIDR: Known = Known::new(VMPIDR_EL2);

/// Makes the loaded vCPU's hardware that of virtual EL2's guest, whose state it has. Gives the interrupt of virtual
/// EL2's that waits, and whether a physical SError does.
#[inline(never)]
pub(super) fn to_guest(state: &mut VcpuState) -> (Option<Signal>, bool) {
    let has_serror = state.resident.unpend_serror();
    let vm = state.vcpu.vm;
    let el2 = el2(state);
    let stage2 = el2.stage2();
    if !el2.current.is_still(&stage2) {
        vm.contexts().switch(&vm.memory, &mut el2.current, &stage2);
    }
    el2.view(&mut Hardware).park();
    el2.loaded = Loaded::El1;
    let control = of_guest(el2);
    state.resident.set_control(&control);
    state.enter_context();
    (interrupts::switch(state), has_serror)
}

/// Makes the loaded vCPU's hardware that of virtual EL2.
#[inline(never)]
pub(super) fn to_host(state: &mut VcpuState) {
    let serror = loaded_serror();
    let has_physical_serror = state.resident.unpend_serror();
    let el2 = el2(state);
    el2.view(&mut Hardware).load();
    el2.loaded = Loaded::El2;
    el2.load_stage1();
    keep_serror(el2, serror);
    let control = Control {
        cntvoff: match el2.kind {
            VirtualEl2::Vhe => el2.own.cntvoff,
            // Read as CNTVCT_EL0 where that does not trap.
            VirtualEl2::Nvhe => el2.get(CNTVOFF),
        },
        ..el2.own
    };
    state.resident.set_control(&control);
    state.enter_context();
    let _ = interrupts::switch(state);
    if has_physical_serror {
        state.resident.pend_serror();
    }
}

/// Ends what a vCPU holds beside its registers: they are about to be lost.
pub(crate) fn leave(state: &mut VcpuState) {
    if let Some(el2) = &mut state.el2
        && let Some(held) = el2.current.give_up()
    {
        state.vcpu.vm.contexts().release(held);
    }
}

/// HCR_EL2.VSE of virtual EL2 is clear once its guest has taken the SError.
fn keep_serror(el2: &mut El2, pending: u64) {
    let hcr = el2.get(HCR);
    if asked_of_hardware(hcr) & hcr::VSE != 0 && pending == 0 {
        el2.view(&mut Hardware).set(HCR, hcr & !hcr::VSE);
    }
}

/// The control registers of the world of its guest.
#[inline]
fn of_guest(el2: &mut El2) -> Control {
    let l1 = el2.controls();
    let own = &el2.own;
    let own_traps = own.traps.with_mdscr_trapped().with_timers_open(el2.kind);
    let merged = forward::hardware(
        forward::Hardware {
            hcr: kept_for_its_guest(own.hcr),
            cptr: own_traps.cptr,
            mdcr: own_traps.mdcr,
            cnthctl: own_traps.cnthctl,
            ich_hcr: 0,
        },
        &l1,
    );
    let hcr = of_its_guest(merged.hcr, own.hcr, l1.hcr, el2.kind);
    el2.interrupts.traps = merged.ich_hcr;
    Control {
        hcr,
        mpidr: el2.get(VMPIDR),
        midr: el2.get(VPIDR),
        cntvoff: el2.get(CNTVOFF),
        traps: Traps {
            cptr: merged.cptr,
            mdcr: merged.mdcr,
            cnthctl: merged.cnthctl,
        },
    }
}
