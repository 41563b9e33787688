//! Physical interrupts: whose they are, and what is due with each.

use droste_life::Phase;
use droste_vdev::gic::Intid;

use super::{timers, vgic};
use crate::arch::{self, gic};
use crate::console::{keyboard, report};
use crate::machine::cpu::{Cpu, KICK_SGI};
use crate::machine::{bug, machine};
use crate::vm::{VcpuState, alarm, all, layout, watch};

/// The most interrupts handled before the scheduler runs; what is pending beyond them comes again after that.
const INTERRUPTS_MAX: usize = 16;

/// Handles pending physical interrupts of this CPU, for the loaded vCPU where there is one.
pub(crate) fn take(cpu: &'static Cpu, mut state: Option<&mut VcpuState>) {
    let timer = &machine().timer;
    for _ in 0..INTERRUPTS_MAX {
        let intid = gic::acknowledge();
        if intid == gic::SPURIOUS {
            return;
        }
        gic::drop_priority(intid);
        match (&mut state, intid) {
            (_, KICK_SGI) => {
                gic::deactivate(intid);
                if bug::is_reported() {
                    arch::halt();
                }
            }
            (Some(state), i) if i == timer.virt.intid => {
                let [guest, _] = timer_interrupts(state);
                vgic::hand_over(state, i, guest);
            }
            (Some(state), i) if i == timer.physical.intid => {
                let [_, guest] = timer_interrupts(state);
                vgic::hand_over(state, i, guest);
            }
            (state, i) if i == machine().gic.maintenance.intid => {
                match state {
                    Some(state) => vgic::maintain(state),
                    None => gic::set_virtual_interface_off(),
                }
                gic::deactivate(i);
            }
            (state, i) if i == timer.hypervisor.intid => {
                report::print_if_due(cpu);
                watch::ring_if_due(cpu);
                if let Some(state) = state {
                    timers::drive_timers(state);
                }
                alarm::timer_is_due(cpu);
                gic::deactivate(i);
            }
            (_, i) if i == machine().uart_intid => {
                keyboard::interrupt();
                gic::deactivate(i);
            }
            (_, i) => shared_interrupt(i),
        }
        // A kick of the loaded vCPU: the SGI's, or one that the handlers above gave and that need not wait for it.
        if let Some(state) = &mut state
            && state.vcpu.is_kicked()
            && state.vcpu.take_kick()
        {
            vgic::refresh(state);
        }
    }
}

/// A physical interrupt, acknowledged, that belongs to a VM's device, or to nobody.
fn shared_interrupt(intid: u32) {
    let owner = all::owner_of(intid).zip(Intid::new(intid));
    match owner.filter(|(vm, _)| vm.lives.phase() == Phase::Running) {
        Some((vm, id)) => {
            let kicks = vm.gic.lock().inject_hardware(0, id, id);
            vm.kick(kicks);
        }
        None => gic::deactivate(intid),
    }
}

/// Makes timers' interrupts as active on this CPU as the vCPU being loaded left them: an earlier one, or an
/// earlier life of its VM, may have left them otherwise.
pub(crate) fn restore_timers(state: &VcpuState) {
    let timer = &machine().timer;
    let [virt, physical] = timer_interrupts(state);
    let pairs = [(virt, timer.virt.intid), (physical, timer.physical.intid)];
    vgic::restore_ppis(state, &pairs);
}

/// The guest's interrupts of the timers that the hardware's virtual and physical timer of EL1 are for it.
#[inline]
fn timer_interrupts(state: &VcpuState) -> [u32; 2] {
    match &state.el2 {
        Some(el2) if el2.is_loaded() => [layout::HYP_VIRTUAL_TIMER, layout::HYP_PHYSICAL_TIMER],
        _ => [layout::VIRTUAL_TIMER, layout::PHYSICAL_TIMER],
    }
}
