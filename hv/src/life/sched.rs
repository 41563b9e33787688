//! Which vCPU runs on a physical one.
//!
//! Each vCPU belongs to one physical CPU. A physical CPU with one member never switches: the guest's WFI waits
//! in the hardware. With several, each has a time slice in its turn, and WFI and WFE trap so that a waiting one gives the
//! CPU back. A vCPU that waits stays loaded until another one wants the CPU, so its timers wake it directly.
//!
//! A time slice ends when its time is over, or when its owner waits or yields (WFE), and by nothing else. Who has the next one,
//! and who leaves for the end of a VM, is decided in `droste-life`, when a slice is over in `droste-resources`; here are the
//! verbs that they use.

use alloc::boxed::Box;
use core::convert::Infallible;
use core::sync::atomic::Ordering;

use droste_life::{self as life, Member};

use super::rest;
use crate::arch::{self, timer};
use crate::devices::{interrupts, timers, vgic};
use crate::machine::bug;
use crate::machine::cpu::Cpu;
use crate::nested;
use crate::vm::{Vcpu, VcpuState, alarm, all};

/// A physical CPU as `droste-life` gives its time slices away.
struct Here(&'static Cpu);

impl Here {
    fn vcpu(&self, position: usize) -> &'static Vcpu {
        all::members(self.0)[position]
    }
}

impl life::Cpu for Here {
    type State = Box<VcpuState>;
    type End = Infallible;

    fn members(&self) -> usize {
        all::members(self.0).len()
    }

    fn member(&self, position: usize) -> Member<'_, Self::State> {
        let vcpu = self.vcpu(position);
        Member {
            lives: &vcpu.vm.lives,
            index: vcpu.index,
            kick: &vcpu.kicks,
        }
    }

    fn position(&self, state: &Self::State) -> usize {
        state.vcpu.position()
    }

    fn last(&self) -> usize {
        self.0.last.load(Ordering::Relaxed)
    }

    fn put_in(&mut self, state: &mut Self::State) {
        // Before its timers are on: one whose interrupt the guest is handling must not come again.
        interrupts::restore_timers(state);
        state.load();
        state.vcpu.set_deadline(None);
        state.enter_context();
        state.vcpu.take_kick();
        vgic::refresh(state);
        timers::resume(state);
    }

    fn take_out(&mut self, state: &mut Self::State) {
        // Of timers that are not in the hardware the deadline is that of the last look, and one that has risen by then has
        // none. It, and an interrupt that shows only now, would wake a vCPU that waits by a kick, which this CPU does
        // not give itself: it is due at once.
        let has_risen = timers::drive_timers(state);
        let has_more = vgic::unload(state);
        let has_serror = state.resident.save();
        let due = (has_risen || has_more || has_serror).then(timer::now);
        let parked = state.el2.as_ref().and_then(|el2| el2.deadline());
        let deadline = state
            .resident
            .timer_deadline()
            .into_iter()
            .chain(parked)
            .chain(due)
            .min();
        state.vcpu.set_deadline(deadline);
        self.0.alarm.unload();
    }

    fn give_up(_: usize, mut state: Self::State) {
        nested::world::leave(&mut state);
        if state.el2.is_some() {
            nested::interrupts::lower(&state);
        }
    }

    fn tell_home(&mut self, position: usize) {
        self.vcpu(position).vm.home().kick();
    }

    fn has_pending(&mut self, state: &mut Self::State) -> bool {
        // Its timers are in the hardware, and raise interrupts.
        vgic::has_pending(state)
    }

    fn is_due(&self, position: usize) -> bool {
        self.vcpu(position).deadline() <= timer::now()
    }

    fn begin_slice(&mut self, position: usize) {
        self.0.last.store(position, Ordering::Relaxed);
        self.0.alarm.begin_slice(timer::now(), timer::frequency());
    }

    fn is_slice_over(&self) -> bool {
        self.0.alarm.is_slice_over(timer::now())
    }

    fn arm(&mut self) {
        if self.0.is_shared() {
            alarm::arm_for_slice(self.0);
        }
    }

    fn work(&mut self, position: usize) {
        rest::work(self.vcpu(position).vm);
        take_interrupts(self.0, None);
    }

    fn sleep(&mut self, current: Option<&mut Self::State>) -> Result<(), Infallible> {
        alarm::arm(self.0);
        arch::wait_for_interrupt();
        take_interrupts(self.0, current.map(|state| &mut **state));
        Ok(())
    }
}

/// Takes `current` off `cpu` where another member should run, and waits where none can. Returns whom to run.
///
/// `current` is the loaded one, if any.
pub(crate) fn schedule(cpu: &'static Cpu, current: Option<Box<VcpuState>>) -> Box<VcpuState> {
    halt_after_bug();
    let Ok(state) = life::schedule(&mut Here(cpu), current);
    state
}

/// The loaded vCPU waits for an interrupt, unless one is pending already.
pub(crate) fn wait(mut state: Box<VcpuState>) -> Box<VcpuState> {
    if !vgic::has_pending(&mut state) {
        state.vcpu.vm.lives.wait(state.vcpu.index);
    }
    schedule(state.cpu, Some(state))
}

/// Takes the loaded vCPU, which is switched off, out of the hardware; its registers are lost. Returns whether it was
/// the last one on, so that its VM's CPUs must be told.
pub(crate) fn switch_off(state: Box<VcpuState>) -> bool {
    life::switch_off(&mut Here(state.cpu), state)
}

fn take_interrupts(cpu: &'static Cpu, current: Option<&mut VcpuState>) {
    interrupts::take(cpu, current);
    halt_after_bug();
}

fn halt_after_bug() {
    if bug::is_reported() {
        arch::halt();
    }
}
