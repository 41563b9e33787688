//! Aborts of loads, stores and fetches: memory that is to be mapped, emulated devices, and places where nothing is.

use droste_arm64::Ipa;
use droste_arm64::esr::{Direction, Ec, Esr, FaultStatus, MmioAccess, fault_ipa};
use droste_arm64::exception::{Abort, Injection};
use droste_resources::Exit;
use droste_stage2::Privilege;

use super::inject::inject;
use crate::arch::exception::Fault;
use crate::console::complaints;
use crate::devices::mmio;
use crate::memory::guest_memory::Resolution;
use crate::nested::walks;
use crate::vm::layout::Device;
use crate::vm::{Vcpu, VcpuState};

/// An abort of an access that the canonical stage 2 translates.
pub(super) fn abort(state: &mut VcpuState, esr: Esr) {
    match esr.ec() {
        Ec::INSTRUCTION_ABORT_LOWER => instruction_abort(state, esr),
        _ => data_abort(state, esr),
    }
}

/// A data abort.
#[inline]
pub(super) fn data_abort(state: &mut VcpuState, esr: Esr) {
    let far = Fault::address();
    let ipa = match locate(state, esr, far) {
        FaultAddress::Ipa(ipa) => ipa,
        FaultAddress::Moved => return,
        FaultAddress::Unknown => return external(state, esr, far),
    };
    if let Some(device) = state.vcpu.vm.device_at(ipa)
        && !esr.is_s1_walk()
    {
        return emulate(state, esr, device, far);
    }
    memory_abort(state, esr, far, ipa);
}

/// A data abort of a guest's guest at `ipa` of the guest's, where no memory is.
pub(super) fn device_abort(state: &mut VcpuState, esr: Esr, (ipa, far): (Ipa, u64)) {
    match state.vcpu.vm.device_at(ipa) {
        Some(device) => emulate(state, esr, device, far),
        None => outside(state, esr, far),
    }
}

/// A load or store to an emulated device.
#[inline]
fn emulate(state: &mut VcpuState, esr: Esr, device: Device, far: u64) {
    state.vcpu.counters.count(Exit::Mmio);
    match esr.mmio_access() {
        Some(access) => {
            mmio(state, device, access);
            state.registers.skip(esr.instruction_bytes());
        }
        None if esr.is_cache_maintenance() => state.registers.skip(esr.instruction_bytes()),
        None => external(state, esr, far),
    }
}

/// An abort where nothing is.
pub(super) fn outside(state: &mut VcpuState, esr: Esr, far: u64) {
    state.vcpu.counters.count(Exit::Outside);
    let ipa = fault_ipa(Fault::page(), far);
    if esr.is_hpfar_valid() && walks::exceeds_physical(state, ipa) && too_wide(state, esr, far) {
        return;
    }
    let is_data = esr.ec() == Ec::DATA_ABORT_LOWER;
    if is_data && esr.is_cache_maintenance() && !esr.is_s1_walk() {
        return state.registers.skip(esr.instruction_bytes());
    }
    external(state, esr, far);
}

/// The guest takes the address size fault of stage 1 in place of the abort of stage 2 that hardware reported, if stage 1
/// gives an address that is too wide for it.
#[cold]
pub(super) fn too_wide(state: &mut VcpuState, esr: Esr, far: u64) -> bool {
    let Some(level) = walks::address_size(state, far) else {
        return false;
    };
    let abort = Abort::new(esr, far).of_address_size(level);
    inject(state, Injection::AddressSize(abort));
    true
}

/// The guest takes a synchronous external abort in place of the abort that hardware reported.
#[inline(never)]
pub(super) fn external(state: &mut VcpuState, esr: Esr, far: u64) {
    let abort = Abort::new(esr, far);
    let abort = if esr.is_s1_walk() {
        abort.on_walk(walks::level(state, far))
    } else {
        abort
    };
    inject(state, Injection::External(abort));
}

/// A data abort where no emulated device is.
#[inline(never)]
fn memory_abort(state: &mut VcpuState, esr: Esr, far: u64, ipa: Ipa) {
    match resolve(state, ipa, esr) {
        Resolution::Retry => state.vcpu.counters.count(Exit::Stage2),
        Resolution::Outside => outside(state, esr, far),
    }
}

#[inline(never)]
fn instruction_abort(state: &mut VcpuState, esr: Esr) {
    let far = Fault::address();
    let ipa = match locate(state, esr, far) {
        FaultAddress::Ipa(ipa) => ipa,
        FaultAddress::Moved => return,
        FaultAddress::Unknown => return external(state, esr, far),
    };
    match resolve(state, ipa, esr) {
        Resolution::Retry => state.vcpu.counters.count(Exit::Stage2),
        Resolution::Outside => outside(state, esr, far),
    }
}

/// Brings the VM's stage 2 to what the abort needs, as far as it may.
fn resolve(state: &VcpuState, ipa: Ipa, esr: Esr) -> Resolution {
    let privilege = privilege(state.registers.pstate);
    let Vcpu { vm, index, .. } = state.vcpu;
    let resolution = vm.memory.resolve(*index, ipa, esr, privilege);
    resolution.unwrap_or_else(|error| {
        complaints::add(vm, format_args!("stage 2: {error}"));
        Resolution::Outside
    })
}

/// The privilege of an access from this PSTATE.
pub(super) fn privilege(pstate: u64) -> Privilege {
    const EL: u64 = 3 << 2;
    if pstate & EL == 0 {
        Privilege::El0
    } else {
        Privilege::El1
    }
}

/// Where an abort was.
pub(super) enum FaultAddress {
    /// At this guest physical address.
    Ipa(Ipa),
    /// The guest has changed its tables since, or it was a TLB conflict abort: retry.
    Moved,
    /// The hardware does not say: an external abort or the like, which is the guest's own affair.
    Unknown,
}

/// Finds out where an abort was. A permission fault leaves HPFAR_EL2 unknown, so the guest's own tables are asked.
#[inline]
pub(super) fn locate(state: &VcpuState, esr: Esr, far: u64) -> FaultAddress {
    if esr.fault_status() == FaultStatus::TlbConflict {
        state.vcpu.vm.memory.resolve_conflict();
        return FaultAddress::Moved;
    }
    if esr.is_hpfar_valid() {
        return FaultAddress::Ipa(fault_ipa(Fault::page(), far));
    }
    match esr.fault_status() {
        FaultStatus::Permission { .. } => {
            Fault::translate(far).map_or(FaultAddress::Moved, |ipa| FaultAddress::Ipa(Ipa(ipa)))
        }
        _ => FaultAddress::Unknown,
    }
}

#[inline]
fn mmio(state: &mut VcpuState, device: Device, access: MmioAccess) {
    match access.direction {
        Direction::Read => {
            let value = mmio::read(state, device, access.size);
            state.registers.set(access.register, access.extend(value));
        }
        Direction::Write => {
            let value = state.registers.get(access.register) & access.size.mask();
            mmio::write(state, device, access.size, value);
        }
    }
}
