//! What a vCPU with EL2 is left for.

use alloc::boxed::Box;

use droste_arm64::esr::{Ec, Esr, FaultStatus};
use droste_arm64::exception::Injection;
use droste_arm64::hcr;
use droste_arm64::sysreg::SCTLR_EL1;
use droste_nested::exception::{Exception, level};
use droste_nested::fault::misaligned;
use droste_nested::forward::{Event, Route, evaluate, is_hvc_taken, is_raised, routed};
use droste_nested::registers::{Loaded, Twins};
use droste_nested::{Abort, L2Ipa};
use droste_resources::Exit;

use super::abort::{self, FaultAddress};
use super::{el2_registers, sysreg, trap};
use crate::arch::el2::Hardware;
use crate::arch::exception::Fault;
use crate::console::complaints;
use crate::memory::contexts::Answer;
use crate::nested::deliver;
use crate::vm::{VcpuState, el2};

/// A synchronous exception. What virtual EL2 does most often has a way of its own.
#[inline]
pub(super) fn synchronous(mut state: Box<VcpuState>, esr: Esr) -> Box<VcpuState> {
    match (el2(&mut state).loaded, esr.ec()) {
        (Loaded::El2, Ec::SYSREG) => {
            state.vcpu.counters.count(Exit::SystemRegister);
            el2_registers::access(&mut state, esr);
            state
        }
        // What virtual EL2 returns to may be its guest, with an interrupt that waits.
        (Loaded::El2, Ec::ERET) => {
            state.vcpu.counters.count(Exit::Return);
            deliver::eret(&mut state, esr);
            state
        }
        // By which virtual EL2 calls the firmware.
        (Loaded::El2, Ec::SMC64) => trap::firmware_call(state, esr),
        (Loaded::El2, _) => of_host(state, esr),
        (Loaded::El1, Ec::HVC64) if is_hypercall(&mut state) => {
            state.vcpu.counters.count(Exit::Forwarded);
            deliver::take_hypercall(&mut state, esr);
            state
        }
        (Loaded::El1, Ec::DATA_ABORT_LOWER | Ec::INSTRUCTION_ABORT_LOWER) => {
            let mut state = aborted(state, esr);
            deliver_due(&mut state);
            state
        }
        (Loaded::El1, _) => {
            let mut state = of_guest(state, esr);
            deliver_due(&mut state);
            state
        }
    }
}

/// Whether an HVC of L1's EL1 or of L2 is virtual EL2's.
#[inline]
fn is_hypercall(state: &mut VcpuState) -> bool {
    is_hvc_taken(level(state.registers.pstate), el2(state).hcr())
}

/// Lets the vCPU that is to be entered take what waits for its virtual EL2, if it has one.
pub(super) fn deliver_due(state: &mut VcpuState) {
    if state.el2.is_some() {
        deliver::deliver_due(state);
    }
}

/// Of virtual EL2, or of EL0 in its translation regime.
#[inline(never)]
fn of_host(mut state: Box<VcpuState>, esr: Esr) -> Box<VcpuState> {
    if esr.ec() != Ec::HVC64 {
        return trap::common(state, esr);
    }
    state.vcpu.counters.count(Exit::Hypercall);
    if el2(&mut state).hcr() & hcr::HCD != 0 {
        undefined_hvc(&mut state);
    } else {
        deliver::take_hypercall(&mut state, esr);
    }
    state
}

/// An HVC that is UNDEFINED. The hardware has stepped over it.
#[cold]
fn undefined_hvc(state: &mut VcpuState) {
    state.registers.pc = state.registers.pc.wrapping_sub(4);
    deliver::inject(state, Injection::Undefined);
}

/// An abort of L1's EL1 or EL0, or of L2.
#[inline(never)]
fn aborted(mut state: Box<VcpuState>, esr: Esr) -> Box<VcpuState> {
    // Stage 1 that is off raises these, and Droste's stage 2 neither.
    let is_of_stage1 = matches!(
        esr.fault_status(),
        FaultStatus::Alignment | FaultStatus::AddressSize { .. }
    );
    if is_of_stage1 && el2(&mut state).hcr() & hcr::TGE != 0 {
        return raised(state, esr);
    }
    abort_of_guest(&mut state, esr);
    state
}

/// Of L1's EL1 and EL0, or of L2; no abort.
#[inline(never)]
fn of_guest(mut state: Box<VcpuState>, esr: Esr) -> Box<VcpuState> {
    let Some(event) = Event::decode(esr) else {
        return raised(state, esr);
    };
    let from = level(state.registers.pstate);
    let controls = el2(&mut state).controls();
    let is_forwarded = evaluate(event, from, &controls) == Route::VirtualEl2
        || routed(event, from, &controls, Hardware.get(SCTLR_EL1)) == Route::VirtualEl2;
    if is_forwarded {
        state.vcpu.counters.count(Exit::Forwarded);
        deliver::take(&mut state, as_it_is(esr));
        return state;
    }
    match esr.ec() {
        Ec::HVC64 => {
            undefined_hvc(&mut state);
            state
        }
        Ec::SYSREG => {
            state.vcpu.counters.count(Exit::SystemRegister);
            let access = esr.sysreg_access();
            if el2_registers::access_left(&mut state, access) {
                state.registers.skip(esr.instruction_bytes());
            } else {
                sysreg::access(&mut state, esr, access);
            }
            state
        }
        _ => trap::common(state, esr),
    }
}

/// What is neither of stage 2 nor of a trap bit. With TGE and E2H = 0 the hardware takes from EL0 what it would give EL1: it
/// is virtual EL2's.
fn raised(mut state: Box<VcpuState>, esr: Esr) -> Box<VcpuState> {
    if el2(&mut state).hcr() & hcr::TGE == 0 || !is_raised(esr.ec()) {
        return trap::common(state, esr);
    }
    state.vcpu.counters.count(Exit::Forwarded);
    deliver::take(&mut state, as_it_is(esr));
    state
}

/// The exception that the hardware took, for virtual EL2.
fn as_it_is(esr: Esr) -> Exception {
    Exception::Synchronous {
        esr,
        far: esr.has_address().then(Fault::address),
        hpfar: None,
    }
}

/// An abort of L2 that no address of stage 2 belongs to.
#[cold]
fn nowhere(state: &mut VcpuState, esr: Esr, far: u64) {
    match misaligned(esr, far) {
        Some(exception) => {
            state.vcpu.counters.count(Exit::Forwarded);
            deliver::take(state, exception);
        }
        None => abort::external(state, esr, far),
    }
}

/// An abort that is stage 2's.
fn abort_of_guest(state: &mut VcpuState, esr: Esr) {
    let Some(place) = el2(state).current.shadow() else {
        return abort::abort(state, esr);
    };
    let far = Fault::address();
    let ipa = match abort::locate(state, esr, far) {
        FaultAddress::Ipa(ipa) => ipa,
        FaultAddress::Moved => return,
        FaultAddress::Unknown => return nowhere(state, esr, far),
    };
    let pstate = state.registers.pstate;
    let abort = Abort {
        esr,
        far,
        ipa: L2Ipa(ipa.0),
        privilege: abort::privilege(pstate),
    };
    let vm = state.vcpu.vm;
    let me = state.vcpu.index;
    let contexts = vm.contexts();
    let Some(walker) = el2(state).current.walker(&contexts.advertised) else {
        return abort::abort(state, esr);
    };
    match contexts.resolve(&vm.memory, (place, me), walker, &abort) {
        Ok(Answer::Retry) => state.vcpu.counters.count(Exit::Stage2),
        Ok(Answer::Guest(fault)) => {
            // No table of L1's takes such an address.
            if contexts.exceeds_physical(ipa.0) && abort::too_wide(state, esr, far) {
                return;
            }
            state.vcpu.counters.count(Exit::Forwarded);
            deliver::take_abort(state, &abort.for_guest(fault));
        }
        Ok(Answer::Device(at)) => abort::device_abort(state, esr, (at.ipa(), far)),
        Ok(Answer::External | Answer::Other) => abort::outside(state, esr, far),
        Err(error) => {
            complaints::add(vm, format_args!("stage 2 of its guest: {error}"));
            abort::external(state, esr, far);
        }
    }
}
