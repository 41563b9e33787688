//! Which virtual CPU runs on a physical one.
//!
//! Each virtual CPU belongs to one physical CPU. A physical CPU with one member never switches: the guest's WFI waits
//! in the hardware. With several, they take turns of [`TURN_MS`], and WFI and WFE trap so that a waiting one gives the
//! CPU back. A virtual CPU that waits stays loaded until another one wants the CPU, so its timers wake it directly.
//!
//! A turn ends when its time is over, or when its owner waits or yields (WFE), and by nothing else: whatever wakes
//! another member, and however often, that one's turn comes after this one's.

use alloc::boxed::Box;
use core::sync::atomic::Ordering;

use crate::arch::vcpu::VcpuState;
use crate::arch::{self, timer};
use crate::cpu::Cpu;
use crate::vcpu::{Phase, Vcpu};
use crate::{bug, exit, nested, report, vgic};

/// A deadline that is none.
const NEVER: u64 = u64::MAX;
/// How long a virtual CPU runs while others want its CPU, milliseconds. So long may one spin for a lock whose holder
/// waits for its turn, where WFE does not trap: QEMU's never does.
const TURN_MS: u64 = 2;

/// Takes `current` off `cpu` where another member should run, and waits where none can. Returns whom to run.
///
/// `current` is the loaded one, if any; its phase says whether it wants to go on.
pub(crate) fn schedule(cpu: &'static Cpu, mut current: Option<Box<VcpuState>>) -> Box<VcpuState> {
    loop {
        if bug::is_reported() {
            arch::halt();
        }
        current = leave_stopped_vms(cpu, current);
        wake_waiting(cpu, current.as_deref_mut());
        if let Some(state) = current.take_if(|state| keeps_turn(cpu, state)) {
            arm_turn(cpu);
            return state;
        }
        if let Some(next) = pick(cpu) {
            let state = match current {
                Some(state) if core::ptr::eq(state.vcpu, next) => state,
                Some(state) => {
                    park(state);
                    load(next)
                }
                None => load(next),
            };
            cpu.turn_end.store(
                timer::now() + timer::frequency() / 1000 * TURN_MS,
                Ordering::Relaxed,
            );
            arm_turn(cpu);
            return state;
        }
        arm(cpu, None);
        arch::wait_for_interrupt();
        exit::take_interrupts(cpu, current.as_deref_mut());
    }
}

/// The loaded virtual CPU waits for an interrupt, unless one is pending already.
pub(crate) fn wait(mut state: Box<VcpuState>) -> Box<VcpuState> {
    if !vgic::has_pending(&mut state) {
        state.vcpu.set_phase(Phase::Waiting);
    }
    schedule(state.cpu, Some(state))
}

/// The next member that is ready, in turn after the one that ran last.
fn pick(cpu: &'static Cpu) -> Option<&'static Vcpu> {
    let members = cpu.members();
    let last = cpu.last.load(Ordering::Relaxed);
    let turn = (1..=members.len()).map(|n| (last + n) % members.len());
    let next = turn
        .into_iter()
        .find(|n| members[*n].phase() == Phase::Ready)?;
    cpu.last.store(next, Ordering::Relaxed);
    Some(members[next])
}

/// Makes those members ready whose wait is over. The loaded one's timers are in the hardware, and raise interrupts.
fn wake_waiting(cpu: &'static Cpu, mut current: Option<&mut VcpuState>) {
    let now = timer::now();
    for member in cpu.members().iter().filter(|m| m.phase() == Phase::Waiting) {
        let is_over = match current
            .as_deref_mut()
            .filter(|state| core::ptr::eq(state.vcpu, *member))
        {
            Some(state) => vgic::has_pending(state),
            None => member.is_kicked() || member.deadline() <= now,
        };
        if is_over {
            member.set_phase(Phase::Ready);
        }
    }
}

fn earliest_deadline(cpu: &'static Cpu) -> Option<u64> {
    let waiting = cpu.members().iter().filter(|m| m.phase() == Phase::Waiting);
    waiting
        .map(|m| m.deadline())
        .min()
        .filter(|d| *d != u64::MAX)
}

/// Whether the loaded virtual CPU goes on with its turn.
fn keeps_turn(cpu: &Cpu, state: &VcpuState) -> bool {
    state.vcpu.phase() == Phase::Ready && timer::now() < cpu.turn_end.load(Ordering::Relaxed)
}

/// Ends the turn of the one that is loaded on `cpu`, which would rather have another run.
pub(crate) fn yield_turn(cpu: &Cpu) {
    cpu.turn_end.store(0, Ordering::Relaxed);
}

fn arm_turn(cpu: &'static Cpu) {
    if cpu.is_shared() {
        arm(cpu, Some(cpu.turn_end.load(Ordering::Relaxed)));
    }
}

/// Sets the EL2 timer to what is due first: the end of the turn, the wake-up of a waiting member, or the next report.
pub(crate) fn arm(cpu: &'static Cpu, end_of_turn: Option<u64>) {
    let dues = [end_of_turn, earliest_deadline(cpu), report::next(cpu)];
    let due = dues.into_iter().flatten().min().unwrap_or(NEVER);
    cpu.due.store(due, Ordering::Relaxed);
    set_timer(cpu);
}

/// The EL2 timer has fired. On a shared CPU and in idleness the scheduler follows and sees who is due: off until then.
pub(crate) fn timer_is_due(cpu: &'static Cpu) {
    if cpu.is_shared() {
        timer::set_deadline(None);
    } else if cpu.due.load(Ordering::Relaxed) <= timer::now() {
        arm(cpu, None);
    }
}

/// Sets the EL2 timer anew where timers of the loaded virtual CPU that are not in the hardware have another deadline.
pub(crate) fn rearm(state: &VcpuState) {
    let deadline = state.el2.as_ref().and_then(|el2| el2.deadline());
    let deadline = deadline.unwrap_or(NEVER);
    if state.cpu.loaded_due.swap(deadline, Ordering::Relaxed) != deadline {
        set_timer(state.cpu);
    }
}

fn set_timer(cpu: &Cpu) {
    let dues = [&cpu.due, &cpu.loaded_due].map(|due| due.load(Ordering::Relaxed));
    let due = dues.into_iter().min().filter(|due| *due != NEVER);
    timer::set_deadline(due);
}

/// Takes a virtual CPU out of the hardware.
fn park(mut state: Box<VcpuState>) {
    let vcpu = state.vcpu;
    vgic::unload(&mut state);
    state.save();
    let parked = state.el2.as_ref().and_then(|el2| el2.deadline());
    vcpu.set_deadline(state.timer_deadline().into_iter().chain(parked).min());
    vcpu.cpu.loaded_due.store(NEVER, Ordering::Relaxed);
    *vcpu.parked.lock() = Some(state);
}

/// Takes a virtual CPU that is switched off out of the hardware; its registers are lost.
pub(crate) fn discard(mut state: Box<VcpuState>) {
    state.cpu.loaded_due.store(NEVER, Ordering::Relaxed);
    nested::leave(&mut state);
    vgic::unload(&mut state);
    if state.el2.is_some() {
        nested::interrupts::lower(&state);
    }
    state.save();
}

/// Puts a virtual CPU that is ready into the hardware.
fn load(vcpu: &'static Vcpu) -> Box<VcpuState> {
    let parked = vcpu.parked.lock().take();
    let mut state = parked.expect("a virtual CPU that is ready and not loaded is parked");
    // Before its timers are on: one whose interrupt the guest is handling must not come again.
    exit::restore_timer_interrupts(&state);
    state.load();
    vcpu.set_deadline(None);
    vcpu.vm.enter_context(&state);
    vcpu.take_kick();
    vgic::refresh(&mut state);
    nested::interrupts::resume(&mut state);
    state
}

/// Lets members of VMs that are ending leave; `current` as well, if it is one of them.
fn leave_stopped_vms(cpu: &'static Cpu, current: Option<Box<VcpuState>>) -> Option<Box<VcpuState>> {
    let mut current = current;
    for member in cpu.members() {
        // Looked at once: it may be stopped at any time, and a loaded one is taken out of the hardware before it has left.
        // In this order: a restart says that the VM no longer ends before it says that its CPUs are no longer retired.
        if member.phase() == Phase::Retired || !member.vm.is_stopping() {
            continue;
        }
        if let Some(state) = current.take_if(|state| core::ptr::eq(state.vcpu, *member)) {
            park(state);
        }
        member.retire();
        member.vm.retire_one();
    }
    current
}
