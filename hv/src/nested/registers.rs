//! Registers and system instructions of virtual EL2 that trap.

use droste_arm64::esr::{Direction, Esr, SysRegAccess};
use droste_arm64::exception::Injection;
use droste_nested::registers::{Affects, Way, timer_compare, timer_value, way};
use droste_nested::tlbi::{Instruction, Invalidation, Regime, VirtualLevel};

use super::{deliver, el2, interrupts};
use crate::arch::el2::{self as hardware, Hardware};
use crate::arch::timer;
use crate::arch::vcpu::VcpuState;
use crate::sysreg;

/// Carries out an access by virtual EL2, or by EL0 in its regime.
#[inline(never)]
pub(super) fn access(state: &mut VcpuState, esr: Esr) {
    const INSTRUCTION: u8 = 1;
    let access = esr.sysreg_access();
    if access.register.op0() == INSTRUCTION {
        return instruction(state, esr, access);
    }
    let way = way(access.register, el2(state).kind);
    match way {
        Way::AsAtEl1 => return sysreg::access(state, esr),
        Way::Trapped(register) | Way::Twin(register) | Way::Redirected(register) => {
            let done = match access.direction {
                Direction::Read => el2(state)
                    .read(register)
                    .map(|value| state.registers.set(access.rt, value)),
                Direction::Write => {
                    let value = state.registers.get(access.rt);
                    let el2 = el2(state);
                    let affects = el2.view(&mut Hardware).write(register, value);
                    affects.map(|affects| {
                        if affects.contains(&Affects::HostStage1) {
                            el2.load_stage1();
                        }
                    })
                }
            };
            if done.is_none() {
                return undefined(state, access);
            }
        }
        Way::TimerValue(compare) => {
            let now = timer::now();
            match access.direction {
                Direction::Read => {
                    let value = el2(state).read(compare).unwrap_or(0);
                    state.registers.set(access.rt, timer_value(value, now));
                }
                Direction::Write => {
                    let value = timer_compare(state.registers.get(access.rt), now);
                    el2(state).view(&mut Hardware).write(compare, value);
                }
            }
        }
        Way::Vgic(register) if access.direction == Direction::Read => {
            let value = interrupts::computed(el2(state), register);
            state.registers.set(access.rt, value);
        }
        Way::InMemory(slot) => {
            let page = el2(state).page;
            match access.direction {
                Direction::Read => state.registers.set(access.rt, page.read(slot)),
                Direction::Write => page.write(slot, state.registers.get(access.rt)),
            }
        }
        Way::Vgic(_) | Way::Undefined => return undefined(state, access),
    }
    state.registers.skip(esr.instruction_bytes());
}

/// A system instruction.
fn instruction(state: &mut VcpuState, esr: Esr, access: SysRegAccess) {
    let vm = state.vcpu.vm;
    let contexts = vm.contexts();
    let advertised = &contexts.advertised;
    let Some(tlbi) = Instruction::decode(access.register, VirtualLevel::El2, advertised) else {
        return sysreg::access(state, esr);
    };
    let operand = state.registers.get(access.rt);
    let stage2 = el2(state).stage2();
    let what = tlbi.invalidation(operand, VirtualLevel::El2, &stage2, advertised);
    match what {
        Invalidation::Stage1 {
            regime: Regime::VirtualEl2,
            of,
        } => hardware::invalidate_stage1(of),
        what => contexts.invalidate(&vm.memory, &what),
    }
    state.registers.skip(esr.instruction_bytes());
}

fn undefined(state: &mut VcpuState, access: SysRegAccess) {
    state.vcpu.vm.complain(format_args!(
        "{:?} of {} is undefined at virtual EL2",
        access.direction, access.register
    ));
    deliver::inject(state, Injection::Undefined);
}
