//! EL2's own timer of a CPU, and all that it is set for: the end of a turn, virtual CPUs that wait, timers of the loaded one
//! that are not in the hardware, and reports.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Vcpu, VcpuState, all};
use crate::arch::timer;
use crate::machine::cpu::Cpu;
use crate::machine::machine;

/// A deadline that is none.
const NEVER: u64 = u64::MAX;

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

/// Sets the EL2 timer to what is due first: the end of the turn, the wake-up of a waiting member, or the next report.
pub(crate) fn arm(cpu: &'static Cpu, end_of_turn: Option<u64>) {
    let dues = [end_of_turn, earliest_deadline(cpu), next_report(cpu)];
    let due = dues.into_iter().flatten().min().unwrap_or(NEVER);
    cpu.due.store(due, Ordering::Relaxed);
    set_timer(cpu);
}

/// The EL2 timer has fired. On a shared CPU and in idleness the scheduler follows and sees who is due: off until then.
pub(crate) fn timer_is_due(cpu: &'static Cpu) {
    if all::is_shared(cpu) {
        timer::set_deadline(None);
    } else if cpu.due.load(Ordering::Relaxed) <= timer::now() {
        arm(cpu, None);
    }
}

/// Sets the EL2 timer anew where timers of the loaded virtual CPU that are not in the hardware have another deadline.
pub(crate) fn rearm(state: &VcpuState) {
    let deadline = state.el2.as_ref().and_then(|el2| el2.deadline());
    let deadline = deadline.unwrap_or(NEVER);
    // Its own CPU alone changes it.
    let due = &state.cpu.loaded_due;
    if due.load(Ordering::Relaxed) != deadline {
        due.store(deadline, Ordering::Relaxed);
        set_timer(state.cpu);
    }
}

/// The loaded virtual CPU leaves its CPU, and has no timers there any more.
pub(crate) fn forget_loaded(cpu: &Cpu) {
    cpu.loaded_due.store(NEVER, Ordering::Relaxed);
}

fn set_timer(cpu: &Cpu) {
    let dues = [&cpu.due, &cpu.loaded_due].map(|due| due.load(Ordering::Relaxed));
    let due = dues.into_iter().min().filter(|due| *due != NEVER);
    timer::set_deadline(due);
}

/// When `cpu` has to print one.
fn next_report(cpu: &Cpu) -> Option<u64> {
    let next = REPORT.load(Ordering::Relaxed);
    (cpu.index == 0 && next != u64::MAX).then_some(next)
}

fn earliest_deadline(cpu: &'static Cpu) -> Option<u64> {
    let is_waiting = |vcpu: &&&Vcpu| vcpu.vm.lives.stand(vcpu.index).is_waiting();
    let waiting = all::members(cpu).iter().filter(is_waiting);
    waiting
        .map(|m| m.deadline())
        .min()
        .filter(|d| *d != u64::MAX)
}
