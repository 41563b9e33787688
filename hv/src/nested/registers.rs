//! Registers and system instructions of virtual EL2 that trap.

use droste_arm64::esr::{Direction, Esr, SysRegAccess};
use droste_arm64::exception::Injection;
use droste_nested::registers::{Affects, Known, Way, timer_compare, timer_value, way};
use droste_nested::tlbi::{Instruction, Invalidation, Regime, VirtualLevel};

use super::{El2, deliver, el2, interrupts};
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
    match way(access.register, el2(state).kind) {
        Way::AsAtEl1 => return sysreg::access(state, esr),
        Way::Trapped(register) | Way::Twin(register) => match access.direction {
            Direction::Read => {
                let value = read(el2(state), register);
                state.registers.set(access.rt, value);
            }
            Direction::Write => {
                let value = state.registers.get(access.rt);
                let el2 = el2(state);
                let affects = el2.view(&mut Hardware).set(register, value);
                if affects.is_some_and(|affects| affects.contains(&Affects::HostStage1)) {
                    el2.load_stage1();
                }
            }
        },
        Way::TimerValue(compare) => {
            let now = timer::now();
            match access.direction {
                Direction::Read => {
                    let value = read(el2(state), compare);
                    state.registers.set(access.rt, timer_value(value, now));
                }
                Direction::Write => {
                    let value = timer_compare(state.registers.get(access.rt), now);
                    el2(state).view(&mut Hardware).set(compare, value);
                }
            }
        }
        Way::GuestTimerValue(compare) => {
            let page = el2(state).page;
            let now = interrupts::count_of(page, compare);
            match access.direction {
                Direction::Read => {
                    let value = timer_value(page.read(compare), now);
                    state.registers.set(access.rt, value);
                }
                Direction::Write => {
                    page.write(compare, timer_compare(state.registers.get(access.rt), now));
                }
            }
        }
        Way::Vgic(register) if access.direction == Direction::Read => {
            let value = interrupts::computed(el2(state), register);
            state.registers.set(access.rt, value);
        }
        // The hardware goes to the page by itself.
        Way::InMemory(slot) => {
            let page = el2(state).page;
            match access.direction {
                Direction::Read => state.registers.set(access.rt, page.read(slot)),
                Direction::Write => page.write(slot, state.registers.get(access.rt)),
            }
        }
        Way::Vgic(_) | Way::Redirected(_) | Way::Undefined => return undefined(state, access),
    }
    state.registers.skip(esr.instruction_bytes());
}

/// Reads a register that is no constant.
fn read(el2: &mut El2, register: Known) -> u64 {
    el2.get(register)
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
