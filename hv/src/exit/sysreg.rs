//! Trapped system registers and instructions of the loaded guest.

use droste_arm64::esr::{Direction, Esr, SysRegAccess};
use droste_arm64::exception::Injection;
use droste_vdev::gic::SgiRegister;
use droste_vdev::sysreg::{Action, DebugRegister, action};

use super::inject::inject;
use crate::console::complaints;
use crate::devices::vgic;
use crate::nested::debug;
use crate::vm::{VcpuState, lists};

/// Carries out `access`, which `esr` tells of; one that no row of the table knows is UNDEFINED.
#[inline(never)]
pub(super) fn access(state: &mut VcpuState, esr: Esr, access: SysRegAccess) {
    match action(access) {
        Action::Undefined => return undefined(state, access),
        Action::Identification => {
            let value = state.vcpu.vm.ids.get(access.register);
            state.registers.set(access.rt, value);
        }
        Action::SendSgi(register) => {
            let value = state.registers.get(access.rt);
            send_sgi(state, register, value);
        }
        Action::Deactivate => {
            let value = state.registers.get(access.rt);
            deactivate(state, value);
        }
        Action::Debug(register) => debug_register(state, access, register),
        Action::Constant(value) => read_as(state, access, value),
        // Set and way are not trapped: a vCPU stays on its physical one, whose caches it then means.
        Action::Zero | Action::SetWay => read_as(state, access, 0),
    }
    state.registers.skip(esr.instruction_bytes());
}

#[inline(never)]
fn debug_register(state: &mut VcpuState, access: SysRegAccess, register: DebugRegister) {
    match access.direction {
        Direction::Read => {
            let value = state.debug.read(register);
            state.registers.set(access.rt, value);
        }
        Direction::Write => {
            debug::follow(state);
            state.debug.write(register, state.registers.get(access.rt));
            state.load_debug();
            debug::note(state);
        }
    }
}

#[inline(never)]
fn send_sgi(state: &mut VcpuState, register: SgiRegister, value: u64) {
    let me = state.vcpu.index;
    let kicks = state.vcpu.vm.gic.lock().send_sgi(me, register, value);
    vgic::deliver(state, kicks);
}

#[inline(never)]
fn deactivate(state: &mut VcpuState, value: u64) {
    let vmcr = lists::virtual_control();
    vgic::update(state, |gic, me| gic.write_dir(me, vmcr, value));
}

#[cold]
fn undefined(state: &mut VcpuState, access: SysRegAccess) {
    complaints::add(
        state.vcpu.vm,
        format_args!("{:?} of {} is undefined", access.direction, access.register),
    );
    inject(state, Injection::Undefined);
}

fn read_as(state: &mut VcpuState, access: SysRegAccess, value: u64) {
    if access.direction == Direction::Read {
        state.registers.set(access.rt, value);
    }
}
