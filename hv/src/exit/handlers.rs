//! What to do when a guest is left: one function for each way out.
//!
//! A handler takes the loaded vCPU and returns the one to go on with, mostly the same.

use alloc::boxed::Box;

use droste_arm64::esr::Ec;
use droste_arm64::exception::{Injection, back_from_aarch32};
use droste_resources::Exit;

use super::inject::inject;
use super::{abort, nested, psci, sysreg, trap};
use crate::arch;
use crate::arch::exception::Fault;
use crate::console::complaints;
use crate::devices::interrupts;
use crate::life::sched;
use crate::nested::{debug, deliver};
use crate::vm::VcpuState;

arch::vcpu::handlers!(VcpuState {
    /// A synchronous exception from a guest.
    handle_sync => synchronous;
    /// An interrupt while a guest ran.
    handle_irq => interrupt;
    /// An SError while a guest ran.
    handle_serror => serror;
    /// Any of these, of a guest in AArch32: comes before them, and in place of the first.
    handle_aarch32 => leave_aarch32;
    /// A guest that is to be entered, and to be told of a step over an instruction.
    handle_stepped => stepped;
});

/// A synchronous exception.
#[inline]
fn synchronous(mut state: Box<VcpuState>) -> Box<VcpuState> {
    let esr = Fault::syndrome();
    if state.el2.is_some() {
        return nested::synchronous(state, esr);
    }
    match esr.ec() {
        Ec::DATA_ABORT_LOWER => abort::data_abort(&mut state, esr),
        Ec::HVC64 => {
            state.vcpu.counters.count(Exit::Hypercall);
            return psci::call(state);
        }
        Ec::SYSREG => {
            state.vcpu.counters.count(Exit::SystemRegister);
            sysreg::access(&mut state, esr, esr.sysreg_access());
        }
        _ => return trap::common(state, esr),
    }
    state
}

/// An interrupt while the guest ran.
#[inline]
fn interrupt(mut state: Box<VcpuState>) -> Box<VcpuState> {
    state.vcpu.counters.count(Exit::Interrupt);
    let cpu = state.cpu;
    interrupts::take(cpu, Some(&mut state));
    nested::deliver_due(&mut state);
    if cpu.is_shared() || state.vcpu.vm.is_stopping() {
        return sched::schedule(cpu, Some(state));
    }
    state
}

/// An SError while the guest ran: its own, since EL2 takes none of its own unseen.
fn serror(mut state: Box<VcpuState>) -> Box<VcpuState> {
    state.vcpu.counters.count(Exit::Other);
    complaints::add(
        state.vcpu.vm,
        format_args!("SError, syndrome {:#x}", Fault::syndrome().0),
    );
    if state.el2.is_some() {
        deliver::take_serror(&mut state);
    } else {
        state.resident.pend_serror();
    }
    state
}

/// A guest is in AArch32. None has that, but hardware may, and lets EL1 return to it at EL0 without a word to EL2. This is
/// the first that EL2 sees of it: the return was illegal. So nobody finds a mode that he cannot return to.
#[cold]
fn leave_aarch32(mut state: Box<VcpuState>) -> Box<VcpuState> {
    state.vcpu.counters.count(Exit::Other);
    complaints::add(
        state.vcpu.vm,
        format_args!("return to AArch32, which it does not have"),
    );
    state.registers.pstate = back_from_aarch32(state.registers.pstate);
    inject(&mut state, Injection::IllegalState);
    nested::deliver_due(&mut state);
    state
}

/// The guest makes single steps, and one was over an instruction that was emulated: what the hardware would say when it is
/// entered again is that it stepped over none.
#[cold]
fn stepped(mut state: Box<VcpuState>) -> Box<VcpuState> {
    state.registers.forget_step();
    if debug::is_stepping(&mut state) {
        inject(&mut state, Injection::Step);
    }
    state
}
