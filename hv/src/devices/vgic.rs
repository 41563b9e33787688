//! Between the hardware's list registers and a VM's virtual GIC.
//!
//! While a vCPU is loaded, its list registers are the hardware's. Whoever changes interrupts of a vCPU
//! does so in the [`Gic`] under its lock and kicks it; the vCPU's own physical CPU then folds and fills. So
//! list registers are touched by their own CPU alone, and only when there is a reason.

use droste_vdev::gic::{Gic, Intid, Kicks};

use crate::arch::exception::is_serror_pending;
use crate::arch::gic;
use crate::arch::vcpu::loaded_serror;
use crate::nested::interrupts;
use crate::vm::{VcpuState, lists};

/// Makes each of `kicks` look at its interrupts: others by a kick, the loaded one by folding and filling here.
#[inline]
pub(crate) fn deliver(state: &mut VcpuState, kicks: Kicks) {
    if kicks.is_empty() {
        return;
    }
    let me = state.vcpu.index;
    state.vcpu.vm.kick(kicks.without(me));
    if kicks.contains(me) {
        refresh(state);
    }
}

/// Folds and fills the loaded vCPU's list registers.
#[inline(never)]
pub(crate) fn refresh(state: &mut VcpuState) {
    update(state, |_, _| Kicks::NONE);
}

/// Answers a maintenance interrupt of the loaded vCPU's list registers.
pub(crate) fn maintain(state: &mut VcpuState) {
    if state.has_guests_lists() {
        interrupts::look(state);
    } else {
        refresh(state);
    }
    gic::drop_disputed_requests();
}

/// Folds the loaded vCPU, lets `change` act on the GIC for it, and fills again.
#[inline]
pub(crate) fn update(state: &mut VcpuState, change: impl FnOnce(&mut Gic, usize) -> Kicks) {
    let (vm, me) = (state.vcpu.vm, state.vcpu.index);
    let others = {
        let mut gic = vm.gic.lock();
        if state.has_guests_lists() {
            // Its own interrupts wait in the GIC while those of its guest are in the list registers.
            let folded = interrupts::fold(state, &mut gic);
            let kicks =
                folded | gic.look_at_levels(me, lists::physical_line) | change(&mut gic, me);
            lists::deactivate_owed(&mut gic, me);
            note_quiet(state, &gic);
            interrupts::note_due(state, &gic);
            kicks
        } else {
            let folded = lists::fold(state, &mut gic);
            let looked = interrupts::look_at_levels(state, &mut gic)
                | gic.look_at_levels(me, lists::physical_line);
            let others = folded | looked | change(&mut gic, me);
            lists::fill(state, &mut gic);
            note_quiet(state, &gic);
            others
        }
    };
    vm.kick(others.without(me));
}

/// Notes for a change of worlds whether anything is going on.
#[inline]
fn note_quiet(state: &mut VcpuState, gic: &Gic) {
    let me = state.vcpu.index;
    if let Some(el2) = &mut state.el2 {
        el2.interrupts.is_quiet = gic.is_quiet(me);
    }
}

/// Takes the list registers of the loaded vCPU back, before it leaves its CPU. Says whether an interrupt came of it
/// for that vCPU itself: the maintenance interrupt that its guest's list registers ask for, which a WFI can be
/// faster than.
#[must_use]
pub(crate) fn unload(state: &mut VcpuState) -> bool {
    let (vm, me) = (state.vcpu.vm, state.vcpu.index);
    let (others, has_more) = {
        let mut gic = vm.gic.lock();
        if state.has_guests_lists() {
            let kicks = interrupts::leave(state, &mut gic);
            (kicks, kicks.contains(me))
        } else {
            (lists::fold(state, &mut gic), false)
        }
    };
    lists::write_lists(&mut state.lists_used, &state.lists, 0);
    // Neither its requests for maintenance nor its count of ends are the next one's.
    gic::set_virtual_interface_off();
    vm.kick(others.without(me));
    has_more
}

/// Whether an interrupt waits that ends a WFI of the loaded vCPU.
pub(crate) fn has_pending(state: &mut VcpuState) -> bool {
    // An SError ends it, masked or not (DDI 0487, D1.7, "WFI wake-up events"). A physical one is taken as the guest goes on.
    if loaded_serror() != 0 || is_serror_pending() {
        return true;
    }
    if state.has_guests_lists() {
        return interrupts::has_pending(state);
    }
    refresh(state);
    state
        .vcpu
        .vm
        .gic
        .lock()
        .has_pending(state.vcpu.index, lists::virtual_control())
}

/// Hands physical interrupt `intid`, acknowledged and with its priority dropped, to the loaded vCPU.
#[inline]
pub(crate) fn hand_over(state: &mut VcpuState, physical: u32, as_intid: u32) {
    if let Some((physical, intid)) = Intid::new(physical).zip(Intid::new(as_intid)) {
        update(state, |gic, me| gic.inject_hardware(me, intid, physical));
    }
}

/// Makes private interrupts as active on this CPU as the vCPU that is being loaded left them: one that it has
/// acknowledged, or will, must not come again; one that another guest left must. `pairs` are the guest's INTID and the
/// physical one of each.
pub(crate) fn restore_ppis(state: &VcpuState, pairs: &[(u32, u32)]) {
    let Some(redistributor) = state.cpu.redistributor.get() else {
        return;
    };
    let held = state.vcpu.vm.gic.lock().physical_ppis(state.vcpu.index);
    let (mut active, mut inactive) = (0, 0);
    for (guest, physical) in pairs {
        let bits = if held >> guest & 1 != 0 {
            &mut active
        } else {
            &mut inactive
        };
        *bits |= 1 << physical;
    }
    gic::set_ppis_active(*redistributor, active, inactive);
}
