//! Exceptions that virtual EL2 takes, interrupts among them, and its returns from them.

use droste_arm64::esr::{Ec, Esr};
use droste_arm64::exception::{Injection, take_to_el1};
use droste_arm64::sysreg::{HPFAR_EL2, MDCR_EL2, SCTLR_EL2, VBAR_EL2};
use droste_nested::Syndrome;
use droste_nested::eret::{self, Form};
use droste_nested::exception::{
    Cause, Controls, Exception, Origin, Running, Target, hardware_pstate, level, take_to_el2,
    target, virtual_pstate,
};
use droste_nested::registers::{Known, Loaded};
use droste_vdev::gic::Signal;

use super::{debug, world};
use crate::arch::el2::Hardware;
use crate::arch::exception::ExceptionRegisters;
use crate::arch::gic;
use crate::vm::virtual_el2::Due;
use crate::vm::{VcpuState, el2, running};

const HPFAR: Known = Known::new(HPFAR_EL2);
const MDCR: Known = Known::new(MDCR_EL2);
const SCTLR: Known = Known::new(SCTLR_EL2);
const VBAR: Known = Known::new(VBAR_EL2);

/// Makes the loaded vCPU take `what` to virtual EL2.
#[inline(never)]
pub(crate) fn take(state: &mut VcpuState, what: Exception) {
    take_known(state, what);
}

/// The same of an HVC, which is what a guest does most.
#[inline(never)]
pub(crate) fn take_hypercall(state: &mut VcpuState, esr: Esr) {
    let what = Exception::Synchronous {
        esr,
        far: None,
        hpfar: None,
    };
    take_known(state, what);
}

/// The same of a stage-2 abort.
#[inline(never)]
pub(crate) fn take_abort(state: &mut VcpuState, syndrome: &Syndrome) {
    let what = Exception::Synchronous {
        esr: syndrome.esr,
        far: Some(syndrome.far),
        hpfar: Some(syndrome.hpfar),
    };
    take_known(state, what);
}

#[expect(
    clippy::inline_always,
    reason = "made for each kind it asks nothing of the kind"
)]
#[inline(always)]
fn take_known(state: &mut VcpuState, what: Exception) {
    let (now, pstate) = running(state);
    let origin = Origin {
        pc: state.registers.pc,
        pstate,
    };
    if now == Running::Guest {
        world::to_host(state);
    }
    let el2 = el2(state);
    let controls = Controls {
        hcr: el2.hcr(),
        sctlr: el2.get(SCTLR),
        vbar: el2.get(VBAR),
        bits: el2.bits,
    };
    let entry = take_to_el2(what, origin, &controls);
    if let Some(hpfar) = entry.hpfar {
        el2.view(&mut Hardware).set(HPFAR, hpfar);
    }
    ExceptionRegisters::set(entry.esr, entry.elr, entry.spsr, entry.far);
    state.registers.pc = entry.pc;
    state.registers.pstate = hardware_pstate(entry.pstate);
}

/// ERET at virtual EL2.
#[inline(never)]
pub(crate) fn eret(state: &mut VcpuState, esr: Esr) {
    let pstate = virtual_pstate(state.registers.pstate, Running::VirtualEl2);
    let (spsr, elr) = Hardware::return_state();
    let elr = match Form::decode(esr) {
        Form::Plain => elr,
        Form::KeyA | Form::KeyB => eret::strip(elr),
    };
    debug::follow(state);
    let el2 = el2(state);
    let back = eret::eret(&eret::From {
        elr,
        spsr,
        pstate,
        hcr: el2.hcr(),
        bits: el2.bits,
    });
    state.registers.pc = back.pc;
    state.registers.pstate = hardware_pstate(back.pstate);
    if back.running == Running::Guest {
        enter_guest(state);
    }
}

#[inline]
fn enter_guest(state: &mut VcpuState) {
    let (signal, has_serror) = world::to_guest(state);
    if signal.is_some() || el2(state).interrupts.left.is_some() {
        give(state, signal);
    }
    if has_serror {
        take_serror(state);
    }
}

/// Gives the loaded vCPU a physical SError. From below, virtual EL2 takes it at once where SErrors go to it; else it
/// is pending until PSTATE.A lets it through.
#[cold]
#[inline(never)]
pub(crate) fn take_serror(state: &mut VcpuState) {
    let (now, pstate) = running(state);
    let hcr = el2(state).hcr();
    if now == Running::Guest && target(Cause::SError, level(pstate), hcr, 0) == Target::El2 {
        let esr = Esr::new(Ec::SERROR);
        take(state, Exception::SError { esr });
    } else {
        state.resident.pend_serror();
    }
}

/// Makes the loaded vCPU take what its own instruction caused, at the level whose affair it is.
pub(crate) fn inject(state: &mut VcpuState, what: Injection) {
    let cause = match what {
        Injection::Undefined | Injection::IllegalState | Injection::AddressSize(_) => {
            Cause::Synchronous
        }
        Injection::External(_) => Cause::ExternalAbort,
        Injection::Step => Cause::Debug,
    };
    let (_, pstate) = running(state);
    let el2 = el2(state);
    let (hcr, mdcr) = (el2.hcr(), el2.get(MDCR));
    if el2.loaded == Loaded::El1 && target(cause, level(pstate), hcr, mdcr) == Target::El1 {
        return to_el1(state, what);
    }
    let exception = Exception::Synchronous {
        esr: what.esr(),
        far: what.far(),
        hpfar: None,
    };
    take(state, exception);
}

/// Makes the loaded guest take an exception at EL1.
pub(crate) fn to_el1(state: &mut VcpuState, what: Injection) {
    let (sctlr, vbar) = ExceptionRegisters::control();
    let (pc, pstate) = (state.registers.pc, state.registers.pstate);
    let entry = take_to_el1(what, pstate, sctlr, vbar);
    ExceptionRegisters::set(Some(entry.esr), pc, pstate, entry.far);
    state.registers.pc = entry.pc;
    state.registers.pstate = entry.pstate;
}

/// Lets virtual EL2 take an interrupt of its own that waits while its guest runs and the hardware does not show it.
#[inline]
pub(crate) fn deliver_due(state: &mut VcpuState) {
    let interrupts = &mut el2(state).interrupts;
    if interrupts.due == Due::Nothing || !interrupts.has_guests_lists() {
        return;
    }
    let signal = match core::mem::replace(&mut interrupts.due, Due::Nothing) {
        Due::Known(signal) => signal,
        Due::Nothing | Due::Unknown => ask(state),
    };
    give(state, signal);
}

#[inline(never)]
fn ask(state: &mut VcpuState) -> Option<Signal> {
    let (vm, me) = (state.vcpu.vm, state.vcpu.index);
    let own = &el2(state).interrupts.own;
    vm.gic.lock().signal(me, own, gic::size())
}

/// Gives what waits for virtual EL2 to whom it goes, while the list registers are its guest's.
#[inline(never)]
fn give(state: &mut VcpuState, signal: Option<Signal>) {
    let from = level(state.registers.pstate);
    let el2 = el2(state);
    let hcr = el2.hcr();
    let (cause, exception) = match signal {
        Some(Signal::Irq) => (Cause::Irq, Exception::Irq),
        Some(Signal::Fiq) => (Cause::Fiq, Exception::Fiq),
        None if el2.interrupts.left.is_none() => return,
        None => return show(state, None),
    };
    if target(cause, from, hcr, 0) == Target::El2 {
        take(state, exception);
    } else {
        show(state, signal);
    }
}

/// Shows EL1 what is left to it of virtual EL2's own interrupts, or that it has none.
#[cold]
#[inline(never)]
fn show(state: &mut VcpuState, signal: Option<Signal>) {
    let interrupts = &mut el2(state).interrupts;
    // It may go by what EL1 or others do to it, of which nobody is told.
    interrupts.due = match signal {
        Some(_) => Due::Unknown,
        None => Due::Nothing,
    };
    if let Some(left) = interrupts.left {
        state
            .resident
            .set_pending(left.pending_bit(), signal == Some(left));
    }
}
