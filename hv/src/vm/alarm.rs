//! EL2's own timer of a CPU, and all that it is set for: the end of a time slice, vCPUs that wait, timers of the
//! loaded one that are not in the hardware, alarms of guests' clocks, and reports. Which comes first is decided in `droste-resources`.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Vcpu, VcpuState, all};
use crate::arch::timer;
use crate::machine::cpu::Cpu;
use crate::machine::machine;

/// When the next report on the way is due (`droste.stats=`), in ticks; the boot CPU prints it.
static REPORT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Starts the reports on the way, where the command line asks for them.
pub(crate) fn start_reports() {
    if let Some(seconds) = machine().stats_interval {
        REPORT.store(
            timer::now() + seconds * timer::frequency(),
            Ordering::Relaxed,
        );
    }
}

/// Whether `cpu` has to print one now.
pub(crate) fn is_report_due(cpu: &Cpu) -> bool {
    next_report(cpu).is_some_and(|ticks| ticks <= timer::now())
}

/// Sets the EL2 timer to what is due first: the wake-up of a waiting member, or the next report.
pub(crate) fn arm(cpu: &'static Cpu) {
    timer::set_deadline(cpu.alarm.set(wakes(cpu)));
}

/// Likewise, or the end of the time slice.
pub(crate) fn arm_for_slice(cpu: &'static Cpu) {
    timer::set_deadline(cpu.alarm.set_for_slice(wakes(cpu)));
}

/// The EL2 timer has fired. On a shared CPU and in idleness the scheduler follows and sees who is due: off until then.
pub(crate) fn timer_is_due(cpu: &'static Cpu) {
    if cpu.is_shared() {
        timer::set_deadline(None);
    } else if cpu.alarm.is_due(timer::now()) {
        arm(cpu);
    }
}

/// Has `cpu`, which this is, watch for the alarm of a guest's clock.
pub(crate) fn watch(cpu: &'static Cpu, deadline: u64) {
    if let Some(due) = cpu.alarm.watch(deadline) {
        timer::set_deadline(Some(due));
    }
}

/// Sets the EL2 timer anew where timers of the loaded vCPU that are not in the hardware have another deadline.
pub(crate) fn rearm(state: &VcpuState) {
    let deadline = state.el2.as_ref().and_then(|el2| el2.deadline());
    if let Some(due) = state.cpu.alarm.load(deadline) {
        timer::set_deadline(due);
    }
}

/// When `cpu` has to print one.
fn next_report(cpu: &Cpu) -> Option<u64> {
    let next = REPORT.load(Ordering::Relaxed);
    (cpu.index == 0 && next != u64::MAX).then_some(next)
}

/// When waiting members want to be woken, and when the next report is due.
fn wakes(cpu: &'static Cpu) -> impl Iterator<Item = u64> {
    let is_waiting = |vcpu: &&&Vcpu| vcpu.vm.lives.stand(vcpu.index).is_waiting();
    let waiting = all::members(cpu).iter().filter(is_waiting);
    waiting.map(|m| m.deadline()).chain(next_report(cpu))
}
