//! What a guest's firmware calls do.

use alloc::boxed::Box;

use droste_vdev::psci::{Action, answer};

use crate::arch::firmware;
use crate::life::sched;
use crate::vm::{RunState, VcpuState, reset};

/// An HVC or SMC of the loaded guest, which goes on after it.
#[inline]
pub(super) fn call(mut state: Box<VcpuState>) -> Box<VcpuState> {
    let arguments = [0, 1, 2, 3].map(|n| state.registers.get(n));
    let vm = state.vcpu.vm;
    let action =
        answer(arguments).unwrap_or_else(|| vm.psci.lock().call(arguments, |ipa| vm.is_ram(ipa)));
    if let Action::Return(value) = action {
        state.registers.set(0, value);
        return state;
    }
    act(state, action)
}

/// Carries out what is more than a value to return.
#[inline(never)]
fn act(mut state: Box<VcpuState>, action: Action) -> Box<VcpuState> {
    let vm = state.vcpu.vm;
    match action {
        Action::Return(value) => state.registers.set(0, value),
        Action::Identify(words) => {
            for (n, word) in (0..).zip(words) {
                state.registers.set(n, u64::from(word));
            }
        }
        Action::CpuOn {
            target,
            entry,
            context,
        } => {
            let vcpu = vm.vcpus()[target];
            // Confirmed first: once it runs it may switch itself off again.
            vm.psci.lock().confirm_on(target);
            vcpu.power_on(reset::new_state(vcpu, entry.0, context));
            state.registers.set(0, 0);
        }
        Action::Workaround { function } => firmware::work_around(function, state.registers.get(1)),
        Action::Suspend => {
            state.registers.set(0, 0);
            return sched::wait(state);
        }
        Action::CpuOff => return power_off(state),
        Action::SystemOff => return end(state, RunState::Off),
        Action::SystemReset => return end(state, RunState::Reset),
    }
    state
}

/// Ends the VM of the loaded guest.
fn end(state: Box<VcpuState>, run_state: RunState) -> Box<VcpuState> {
    state.vcpu.vm.stop(run_state);
    sched::schedule(state.cpu, Some(state))
}

/// Switches the loaded vCPU off.
fn power_off(state: Box<VcpuState>) -> Box<VcpuState> {
    let (cpu, vcpu) = (state.cpu, state.vcpu);
    let is_last = sched::switch_off(state);
    // Only now may it be switched on again.
    vcpu.vm.psci.lock().confirm_off(vcpu.index);
    if is_last {
        vcpu.vm.tell_cpus();
    }
    sched::schedule(cpu, None)
}
