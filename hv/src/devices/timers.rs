//! Lines of a vCPU's timers that are not in the hardware.

use core::iter::zip;

use droste_arm64::vncr::Slot;
use droste_vdev::Line;
use droste_vdev::timer::is_due;

use super::vgic;
use crate::nested::{deliver, interrupts, parked};
use crate::vm::{VcpuState, alarm, el2};

/// Timers that are not in the hardware may be due, or have another deadline: the CPU's own timer says so, virtual EL2 has
/// set one, or the vCPU is about to leave its CPU. Whether a line has risen.
pub(crate) fn drive_timers(state: &mut VcpuState) -> bool {
    let Some(el2) = state.el2.as_mut() else {
        return false;
    };
    let before = el2.interrupts.timers;
    let lines = parked::timers(el2);
    if lines != before {
        let pair = parked::pair(el2);
        vgic::update(state, |gic, me| gic.drive_timers(me, pair, lines));
    }
    alarm::rearm(state);
    let has_risen = |(now, before): (Line, Line)| now.is_high() && !before.is_high();
    zip(lines, before).any(has_risen)
}

/// The vCPU is being put on its CPU: its registers are loaded.
pub(crate) fn resume(state: &mut VcpuState) {
    let Some(el2) = state.el2.as_ref() else {
        return;
    };
    if el2.has_guests_lists() {
        interrupts::enter(state, &mut state.vcpu.vm.gic.lock());
    }
    drive_timers(state);
    if state.resident.unpend_serror() {
        deliver::take_serror(state);
    }
    deliver::deliver_due(state);
}

/// Virtual EL2 has read `value` of one of the timers of its EL1. What it says of the line must be so.
#[inline]
pub(crate) fn follow_status(state: &mut VcpuState, slot: Slot, value: u64) {
    if let Some(timer) = parked::of_control(slot)
        && is_due(value) != el2(state).interrupts.timers[timer].is_high()
    {
        drive_timers(state);
    }
}
