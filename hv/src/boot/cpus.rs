//! The machine's CPUs: what each has of its own, and how the others are started.

use core::sync::atomic::Ordering;

use super::refusal::give_up;
use crate::arch::boot::secondary_start;
use crate::arch::id::Model;
use crate::arch::layout::layout;
use crate::arch::{firmware, gic, timer, traps};
use crate::machine::cpu::{self, Cpu};
use crate::machine::machine;
use crate::vm::hcr;

/// How long a CPU may take from PSCI CPU_ON until it is ready, milliseconds.
const SECONDARY_MS: u64 = 1000;

/// Looks for every CPU's redistributor; this one's must be there.
pub(super) fn find_redistributors() {
    for cpu in cpu::all() {
        if let Some(found) = gic::redistributor_of(&machine().gic.redistributors, cpu.affinity) {
            cpu.redistributor.call_once(|| found);
        } else if cpu.index == 0 {
            give_up(format_args!(
                "the GICv3 has no redistributor for this CPU, {:#x}, in the regions of the device tree",
                cpu.affinity
            ));
        }
    }
}

/// Brings up what each CPU has of its own.
pub(super) fn init_cpu(cpu: &'static Cpu) {
    traps::init_cpu(hcr::without_guest(layout()));
    let m = machine();
    let timers = [m.timer.virt, m.timer.physical, m.timer.hypervisor].map(|timer| timer.intid);
    let redistributor = cpu.redistributor.get();
    let redistributor = redistributor.expect("a CPU without a redistributor is not started");
    gic::init_cpu(*redistributor, &timers, m.gic.maintenance.intid);
    cpu.model.call_once(Model::read);
    cpu.is_online.store(true, Ordering::Release);
}

/// Starts the other CPUs and waits for them. One that does not come gets no vCPUs.
pub(super) fn start_secondaries() {
    for cpu in cpu::all().iter().skip(1) {
        if cpu.redistributor.get().is_none() {
            log::warn!(
                "CPU {:#x} has no redistributor in the regions of the device tree: it stays off",
                cpu.affinity
            );
            continue;
        }
        let (entry, context) = secondary_start(cpu.index);
        if let Err(error) = firmware::cpu_on(cpu.affinity, entry, context) {
            log::warn!("CPU {:#x} does not start: {error}", cpu.affinity);
            continue;
        }
        let deadline = timer::now() + timer::frequency() / 1000 * SECONDARY_MS;
        while !cpu.is_online.load(Ordering::Acquire) {
            if timer::now() > deadline {
                log::warn!("CPU {:#x} was started and does not answer", cpu.affinity);
                break;
            }
            core::hint::spin_loop();
        }
    }
}
