//! Trapped system registers and instructions of the loaded guest.

use droste_arm64::esr::{Direction, Esr};
use droste_arm64::exception::Injection;
use droste_arm64::sysreg as r;

use crate::arch::vcpu::VcpuState;
use crate::{exit, vgic};
use droste_vdev::gic::SgiRegister;

pub(crate) fn access(state: &mut VcpuState, esr: Esr) {
    let a = esr.sysreg_access();
    if a.direction == Direction::Write && a.register == r::ICC_SGI1R_EL1 {
        let value = state.registers.get(a.rt);
        let kicks = state
            .vcpu
            .vm
            .gic
            .lock()
            .send_sgi(state.vcpu.index, SgiRegister::Sgi1, value);
        vgic::deliver(state, kicks);
    } else if a.direction == Direction::Read && a.register.op0() == 3 && a.register.crn() == 0 {
        let v = state.vcpu.vm.ids.get(a.register);
        state.registers.set(a.rt, v);
    } else if a.register.op0() == 2 {
        if a.direction == Direction::Read {
            state.registers.set(a.rt, 0);
        }
    } else {
        state
            .vcpu
            .vm
            .complain(format_args!("sysreg {}", a.register));
        exit::inject(state, Injection::Undefined);
        return;
    }
    state.registers.skip(4);
}
