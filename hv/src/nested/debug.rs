//! MDSCR_EL1 of a vCPU with EL2.
//!
//! By this name a hypervisor means its guest's register as well as its own: it writes the guest's before it enters it, and
//! its own afterwards. At virtual EL2 the name is a place in the register page (FEAT_NV2; DDI 0487, D8.14.6), whose value
//! the hardware's register is to have whenever it matters. That is when virtual EL2 returns from an exception, which
//! traps: software step goes by exception returns, of EL0 and of virtual EL2 itself (D2.12). So it is brought up to date
//! there, and no access traps. Where one finds debug exceptions within EL2 on (KDE), what is written has effect at once,
//! and each access traps until they are off.
//!
//! What that leaves out: virtual EL2 turns KDE and SS on for itself, and PSTATE.D off, and returns from no exception. It
//! should step at once, and does so from its next exception return on.
//!
//! A CPU without FEAT_FGT has no traps of the other debug registers without MDSCR_EL1's. There each access traps, always.

use droste_arm64::sysreg::{MDCR_EL2, MDSCR_EL1};
use droste_arm64::vncr::Slot;
use droste_nested::exception::{self, Target, debug_target, level};
use droste_nested::registers::Known;
use droste_vdev::sysreg::DebugRegister;

use crate::vm::virtual_el2::in_page;
use crate::vm::{VcpuState, el2, running};

const MDSCR: Slot = in_page(MDSCR_EL1);
const MDCR: Known = Known::new(MDCR_EL2);

/// Follows what virtual EL2 has written meanwhile: it returns from an exception, or another debug register of its is about
/// to change.
#[inline]
pub(crate) fn follow(state: &mut VcpuState) {
    if let Some(el2) = &state.el2
        && el2.page.read(MDSCR) != state.debug.read(DebugRegister::Mdscr)
    {
        changed(state);
    }
}

#[cold]
fn changed(state: &mut VcpuState) {
    if let Some(el2) = &state.el2 {
        state
            .debug
            .write(DebugRegister::Mdscr, el2.page.read(MDSCR));
        state.load_debug();
        note(state);
    }
}

/// Whether the loaded vCPU, with EL2 or without, makes single steps where it is now.
pub(crate) fn is_stepping(state: &mut VcpuState) -> bool {
    let mdscr = state.debug.hardware_mdscr();
    let (pstate, debug) = if state.el2.is_some() {
        let (_, pstate) = running(state);
        let el2 = el2(state);
        (pstate, debug_target(el2.hcr(), el2.get(MDCR)))
    } else {
        (state.registers.pstate, Target::El1)
    };
    exception::is_stepping(level(pstate), debug, mdscr, pstate)
}

/// The vCPU's debug registers have changed: the page has them, and whether they trap at virtual EL2 follows.
pub(crate) fn note(state: &mut VcpuState) {
    let Some(el2) = &mut state.el2 else {
        return;
    };
    el2.page
        .write(MDSCR, state.debug.read(DebugRegister::Mdscr));
    let traps = if state.debug.are_within_level() {
        el2.own.traps.with_mdscr_trapped()
    } else {
        el2.own.traps.with_mdscr_open()
    };
    if traps == el2.own.traps {
        return;
    }
    el2.own.traps = traps;
    if el2.is_loaded() {
        state.resident.set_traps(traps);
    }
}
