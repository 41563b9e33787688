//! Synchronous exceptions that mean the same whatever vCPU they are of.

use alloc::boxed::Box;

use droste_arm64::esr::{Ec, Esr};
use droste_arm64::exception::Injection;
use droste_resources::Exit;

use super::abort::abort;
use super::inject::inject;
use super::psci;
use crate::life::sched;
use crate::vm::VcpuState;

/// Such an exception.
pub(super) fn common(mut state: Box<VcpuState>, esr: Esr) -> Box<VcpuState> {
    match esr.ec() {
        Ec::WFX => {
            state.vcpu.counters.count(Exit::Wait);
            return wait(state, esr);
        }
        Ec::DATA_ABORT_LOWER | Ec::INSTRUCTION_ABORT_LOWER => abort(&mut state, esr),
        Ec::SMC64 => return firmware_call(state, esr),
        _ => {
            // What a feature that the ID registers hide traps as.
            state.vcpu.counters.count(Exit::Other);
            inject(&mut state, Injection::Undefined);
        }
    }
    state
}

/// The guest's SMC.
#[inline]
pub(super) fn firmware_call(mut state: Box<VcpuState>, esr: Esr) -> Box<VcpuState> {
    state.vcpu.counters.count(Exit::Firmware);
    state.registers.skip(esr.instruction_bytes());
    psci::call(state)
}

/// The guest's WFI or WFE, which trap only where it shares its CPU.
#[inline(never)]
fn wait(mut state: Box<VcpuState>, esr: Esr) -> Box<VcpuState> {
    const IS_WFE: u64 = 1;
    state.registers.skip(esr.instruction_bytes());
    let is_wfe = esr.0 & IS_WFE != 0;
    if !is_wfe {
        return sched::wait(state);
    }
    state.cpu.alarm.end_slice();
    sched::schedule(state.cpu, Some(state))
}
