//! Clocks of VMs, and the CPU that watches for the alarm of one.
//!
//! That is the CPU on which the VM last used its clock: one of its own, so that a neighbour is interrupted only where they
//! share it. An alarm that was moved meanwhile costs one interrupt in vain.

use droste_vdev::gic::{Intid, Kicks};

use super::layout::RTC_INTID;
use super::rtc::GuestRtc;
use super::{Vm, alarm, all};
use crate::arch::timer;
use crate::machine::cpu::Cpu;
use crate::machine::machine;

/// Lets `act` use the clock of `vm` at this second, on `cpu`. The vCPUs named must look at their interrupts.
/// Nothing where the machine has no clock.
pub(crate) fn with_rtc<T>(
    vm: &Vm,
    cpu: &'static Cpu,
    act: impl FnOnce(&mut GuestRtc, u64) -> T,
) -> Option<(T, Kicks)> {
    let clock = machine().clock.as_ref()?;
    let mut rtc = vm.rtc.lock();
    let value = act(&mut rtc, clock.seconds(timer::now()));
    if rtc.watcher == cpu.index
        && let Some(deadline) = rtc.model.deadline()
    {
        alarm::watch(cpu, clock.ticks(deadline));
    }
    let line = rtc.model.line();
    let kicks = if line == rtc.told {
        Kicks::NONE
    } else {
        // With both locked, so that the last word is the right one.
        rtc.told = line;
        let intid = Intid::new(RTC_INTID).expect("the clock's interrupt is an SPI");
        vm.gic.lock().set_line(0, intid, line)
    };
    Some((value, kicks))
}

/// Looks at the clocks of the VMs that run on `cpu`, if one may have its alarm now.
pub(crate) fn ring_if_due(cpu: &'static Cpu) {
    if !cpu.alarm.take_watched(timer::now) {
        return;
    }
    for vcpu in all::members(cpu) {
        let looked = with_rtc(vcpu.vm, cpu, |rtc, seconds| rtc.model.advance(seconds));
        if let Some(((), kicks)) = looked {
            vcpu.vm.kick(kicks);
        }
    }
    alarm::arm(cpu);
}
