//! The list registers of the loaded vCPU, which are the hardware's, and how they come from its VM's GIC and go back.

use droste_arm64::Pa;
use droste_vdev::Line;
use droste_vdev::gic::{Gic, Intid, Kicks, MAX_LIST_REGISTERS, Vmcr};

use super::VcpuState;
use crate::arch::{self, gic};
use crate::machine::machine;

/// Fills the loaded vCPU's list registers, which have been folded.
pub(crate) fn fill(state: &mut VcpuState, gic: &mut Gic) {
    let me = state.vcpu.index;
    let fill = gic.fill(me, virtual_control(), &mut state.lists);
    write_lists(&mut state.lists_used, &state.lists, fill.used);
    gic::set_maintenance(fill.hcr);
    if fill.has_deactivations {
        deactivate_owed(gic, me);
    }
}

/// Deactivates physical interrupts that the loaded vCPU has ended in a way that hardware does not see.
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

/// Takes the loaded vCPU's own list registers back.
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

/// The level of the line of a physical interrupt that stands active for the loaded vCPU.
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
