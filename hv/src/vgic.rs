//! Between the hardware's list registers and a VM's virtual GIC.
//!
//! While a virtual CPU is loaded, its list registers are the hardware's. Whoever changes interrupts of a virtual CPU
//! does so in the [`Gic`] under its lock and kicks it; the virtual CPU's own physical CPU then folds and fills. So
//! list registers are touched by their own CPU alone, and only when there is a reason.

use droste_arm64::Pa;
use droste_vdev::Line;
use droste_vdev::gic::{Gic, Intid, Kicks, MAX_LIST_REGISTERS, Vmcr};

use crate::arch::vcpu::loaded_serror;
use crate::arch::{self, gic};
use crate::machine::machine;
use crate::nested::interrupts;
use crate::vm::VcpuState;

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

/// Folds and fills the loaded virtual CPU's list registers.
#[inline(never)]
pub(crate) fn refresh(state: &mut VcpuState) {
    update(state, |_, _| Kicks::NONE);
}

/// Answers a maintenance interrupt of the loaded virtual CPU's list registers.
pub(crate) fn maintain(state: &mut VcpuState) {
    if state.el2.as_ref().is_some_and(|el2| el2.has_guests_lists()) {
        interrupts::look(state);
    } else {
        refresh(state);
    }
    gic::drop_disputed_requests();
}

/// Folds the loaded virtual CPU, lets `change` act on the GIC for it, and fills again.
#[inline]
pub(crate) fn update(state: &mut VcpuState, change: impl FnOnce(&mut Gic, usize) -> Kicks) {
    let (vm, me) = (state.vcpu.vm, state.vcpu.index);
    let others = {
        let mut gic = vm.gic.lock();
        if state.el2.as_ref().is_some_and(|el2| el2.has_guests_lists()) {
            // Its own interrupts wait in the GIC while those of its guest are in the list registers.
            let folded = interrupts::fold(state, &mut gic);
            let kicks = folded | gic.look_at_levels(me, physical_line) | change(&mut gic, me);
            deactivate_owed(&mut gic, me);
            kicks
        } else {
            let folded = fold(state, &mut gic);
            let looked =
                interrupts::look_at_levels(state, &mut gic) | gic.look_at_levels(me, physical_line);
            let others = folded | looked | change(&mut gic, me);
            fill(state, &mut gic);
            others
        }
    };
    vm.kick(others.without(me));
}

/// The level of the line of a physical interrupt that stands active for the loaded virtual CPU.
pub(crate) fn physical_line(physical: Intid) -> Line {
    let machine = machine();
    let (timer, distributor) = (&machine.timer, Pa(machine.gic.distributor.start));
    let is_high = match physical.number() as u32 {
        intid if intid == timer.virt.intid => arch::timer::is_virtual_due(),
        intid if intid == timer.physical.intid => arch::timer::is_physical_due(),
        intid => gic::is_line_high(distributor, intid),
    };
    Line::from_asserted(is_high)
}

/// Fills the loaded virtual CPU's list registers, which have been folded.
pub(crate) fn fill(state: &mut VcpuState, gic: &mut Gic) {
    let me = state.vcpu.index;
    let fill = gic.fill(me, virtual_control(), &mut state.lists);
    write_lists(&mut state.lists_used, &state.lists, fill.used);
    gic::set_maintenance(fill.hcr);
    if fill.has_deactivations {
        deactivate_owed(gic, me);
    }
}

/// Deactivates physical interrupts that the loaded virtual CPU has ended in a way that hardware does not see.
pub(crate) fn deactivate_owed(gic: &mut Gic, me: usize) {
    while let Some(intid) = gic.take_deactivation(me) {
        gic::deactivate(intid.number() as u32);
    }
}

/// Puts the first `used` of `lists` into the hardware, of which `before` may hold something, and nothing into others.
#[inline]
pub(crate) fn write_lists(before: &mut usize, lists: &[u64; MAX_LIST_REGISTERS], used: usize) {
    for (n, list) in lists.iter().enumerate().take(used) {
        gic::write_list_register(n, *list);
    }
    for n in used..*before {
        gic::write_list_register(n, 0);
    }
    *before = used;
}

/// Takes the list registers of the loaded virtual CPU back, before it leaves its CPU.
pub(crate) fn unload(state: &mut VcpuState) {
    let (vm, me) = (state.vcpu.vm, state.vcpu.index);
    let others = {
        let mut gic = vm.gic.lock();
        if state.el2.as_ref().is_some_and(|el2| el2.has_guests_lists()) {
            interrupts::leave(state, &mut gic)
        } else {
            fold(state, &mut gic)
        }
    };
    write_lists(&mut state.lists_used, &state.lists, 0);
    // Neither its requests for maintenance nor its count of ends are the next one's.
    gic::set_virtual_interface_off();
    vm.kick(others.without(me));
}

/// Takes the loaded virtual CPU's own list registers back.
pub(crate) fn fold(state: &mut VcpuState, gic: &mut Gic) -> Kicks {
    read_lists(state.lists_used, &mut state.lists);
    gic.fold(state.vcpu.index, &state.lists, gic::unlisted_ends())
}

/// Reads the first `used` list registers.
#[inline]
pub(crate) fn read_lists(used: usize, lists: &mut [u64; MAX_LIST_REGISTERS]) {
    for (n, list) in lists.iter_mut().enumerate().take(used) {
        *list = gic::read_list_register(n);
    }
}

/// The loaded guest's own settings of its CPU interface.
pub(crate) fn virtual_control() -> Vmcr {
    Vmcr(gic::read_virtual_control())
}

/// Whether an interrupt waits that ends a WFI of the loaded virtual CPU.
pub(crate) fn has_pending(state: &mut VcpuState) -> bool {
    // A virtual SError ends it, masked or not (DDI 0487, D1.7, "WFI wake-up events").
    if loaded_serror() != 0 {
        return true;
    }
    if state.el2.as_ref().is_some_and(|el2| el2.has_guests_lists()) {
        return interrupts::has_pending(state);
    }
    refresh(state);
    state
        .vcpu
        .vm
        .gic
        .lock()
        .has_pending(state.vcpu.index, virtual_control())
}

/// Hands physical interrupt `intid`, acknowledged and with its priority dropped, to the loaded virtual CPU.
#[inline]
pub(crate) fn hand_over(state: &mut VcpuState, physical: u32, as_intid: u32) {
    if let Some((physical, intid)) = Intid::new(physical).zip(Intid::new(as_intid)) {
        update(state, |gic, me| gic.inject_hardware(me, intid, physical));
    }
}

/// Makes private interrupts as active on this CPU as the virtual CPU that is being loaded left them: one that it has
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
