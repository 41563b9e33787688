//! Registers and system instructions of virtual EL2 that trap.

use droste_arm64::esr::{Direction, Esr, SysRegAccess};
use droste_arm64::exception::Injection;
use droste_arm64::sysreg::{
    MAIR_EL1, MAIR_EL2, SCTLR_EL1, SCTLR_EL2, TCR_EL1, TCR_EL2, TTBR0_EL1, TTBR0_EL2, TTBR1_EL1,
    TTBR1_EL2,
};
use droste_arm64::vncr::Slot;
use droste_nested::at::{At, Regime, Registers, StageOneRegisters, Translated, execute};
use droste_nested::registers::{Affects, Known, VirtualEl2, Way, timer_compare, timer_value, way};
use droste_nested::tlbi::{self, Instruction, Invalidation, VirtualLevel};
use droste_vdev::gic::GroupRegister;

use super::sysreg;
use crate::arch::el2::{self as hardware, Hardware};
use crate::arch::{gic, timer};
use crate::console::complaints;
use crate::devices::{timers, vgic};
use crate::memory::contexts::Completion;
use crate::memory::l1_memory::L1Memory;
use crate::nested::{deliver, ich, parked};
use crate::vm::virtual_el2::{Due, El2, Interrupts, in_page};
use crate::vm::{VcpuState, el2, running};

/// Carries out an access by virtual EL2, or by EL0 in its regime.
#[inline(never)]
pub(super) fn access(state: &mut VcpuState, esr: Esr) {
    const INSTRUCTION: u8 = 1;
    let access = esr.sysreg_access();
    if access.register.op0() == INSTRUCTION {
        return instruction(state, esr, access);
    }
    match way(access.register, el2(state).kind) {
        Way::AsAtEl1 => return sysreg::access(state, esr, access),
        Way::Trapped(register) | Way::Twin(register) => match access.direction {
            Direction::Read => {
                let value = read(el2(state), register);
                state.registers.set(access.rt, value);
            }
            Direction::Write => write(state, register, access.rt),
        },
        Way::Vgic(register) if access.direction == Direction::Read => {
            let value = ich::computed(el2(state).page, register);
            state.registers.set(access.rt, value);
        }
        Way::TimerValue(compare) => timer_value_of_el2(state, compare, access),
        Way::GuestTimerValue(compare) => timer_value_of_guest(state, compare, access),
        Way::GuestCount if access.direction == Direction::Read => {
            let value = parked::virtual_count(el2(state).page);
            state.registers.set(access.rt, value);
        }
        Way::InMemory(slot) => in_memory(state, slot, access),
        Way::GuestCount | Way::Vgic(_) | Way::Redirected(_) | Way::Undefined => {
            return undefined(state, access);
        }
    }
    state.registers.skip(esr.instruction_bytes());
}

/// Writes a register from general register `rt`.
#[inline(never)]
fn write(state: &mut VcpuState, register: Known, rt: u8) {
    let value = state.registers.get(rt);
    let el2 = el2(state);
    let affects = el2.view(&mut Hardware).set(register, value);
    let is_derived = el2.kind == VirtualEl2::Nvhe
        && affects.is_some_and(|affects| affects.contains(&Affects::HostStage1));
    if is_derived {
        el2.derive_stage1();
        el2.load_stage1();
    }
}

#[inline(never)]
fn timer_value_of_el2(state: &mut VcpuState, compare: Known, access: SysRegAccess) {
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

#[inline(never)]
fn timer_value_of_guest(state: &mut VcpuState, compare: Slot, access: SysRegAccess) {
    let page = el2(state).page;
    let now = parked::count_of(page, compare);
    match access.direction {
        Direction::Read => {
            let value = timer_value(page.read(compare), now);
            state.registers.set(access.rt, value);
        }
        Direction::Write => {
            page.write(compare, timer_compare(state.registers.get(access.rt), now));
            timers::drive_timers(state);
        }
    }
}

/// A register that the hardware finds in the page by itself, unless it is trapped besides: one of EL1's timers.
#[inline(never)]
fn in_memory(state: &mut VcpuState, slot: Slot, access: SysRegAccess) {
    let page = el2(state).page;
    match access.direction {
        Direction::Read => {
            let value = parked::read(page, slot);
            state.registers.set(access.rt, value);
            timers::follow_status(state, slot, value);
        }
        Direction::Write => {
            page.write(slot, state.registers.get(access.rt));
            // A compare value is mostly set while its timer is off, whose control follows and is seen as well.
            if !parked::is_compare_of_one_off(page, slot) {
                timers::drive_timers(state);
            }
        }
    }
}

/// Reads a register that is no constant.
#[inline(never)]
fn read(el2: &mut El2, register: Known) -> u64 {
    el2.get(register)
}

/// A system instruction.
#[inline(never)]
fn instruction(state: &mut VcpuState, esr: Esr, access: SysRegAccess) {
    let vm = state.vcpu.vm;
    let contexts = vm.contexts();
    let advertised = &contexts.advertised;
    let Some(instruction) = Instruction::decode(access.register, VirtualLevel::El2, advertised)
    else {
        return match At::decode(access.register) {
            Some(at) => translate(state, esr, (at, access.rt)),
            None => sysreg::access(state, esr, access),
        };
    };
    let operand = state.registers.get(access.rt);
    let stage2 = el2(state).stage2();
    let what = instruction.invalidation(operand, VirtualLevel::El2, &stage2, advertised);
    match what {
        Invalidation::Stage1 {
            regime: tlbi::Regime::VirtualEl2,
            of,
        } => hardware::invalidate_stage1(of),
        what => {
            if contexts.invalidate(&vm.memory, &what) == Completion::Interrupted {
                return;
            }
        }
    }
    state.registers.skip(esr.instruction_bytes());
}

/// AT, whose result is in PAR_EL1.
#[inline(never)]
fn translate(state: &mut VcpuState, esr: Esr, (at, rt): (At, u8)) {
    let (_, pstate) = running(state);
    let vm = state.vcpu.vm;
    let va = state.registers.get(rt);
    let el2 = el2(state);
    let stage_two = el2.stage2();
    let stage_one = match at.regime(stage_two.hcr) {
        Regime::El2 => StageOneRegisters::of(OF_EL2, |register| el2.get(register)),
        Regime::El1 => StageOneRegisters::of(OF_EL1, |slot| el2.page.read(slot)),
    };
    let registers = Registers {
        stage_one,
        stage_two,
        pstate,
    };
    let memory = L1Memory::new(&vm.memory);
    match execute(at, va, &registers, &vm.contexts().advertised, &memory) {
        Translated::Par(par) => {
            Hardware::set_par(par);
            state.registers.skip(esr.instruction_bytes());
        }
        Translated::Exception(exception) => deliver::take(state, exception),
    }
}

const OF_EL2: [Known; 5] = [
    Known::new(SCTLR_EL2),
    Known::new(TCR_EL2),
    Known::new(TTBR0_EL2),
    Known::new(TTBR1_EL2),
    Known::new(MAIR_EL2),
];

/// What of L1's EL1 is in the page while virtual EL2 runs.
const OF_EL1: [Slot; 5] = [
    in_page(SCTLR_EL1),
    in_page(TCR_EL1),
    in_page(TTBR0_EL1),
    in_page(TTBR1_EL1),
    in_page(MAIR_EL1),
];

#[cold]
#[inline(never)]
fn undefined(state: &mut VcpuState, access: SysRegAccess) {
    complaints::add(
        state.vcpu.vm,
        format_args!(
            "{:?} of {} is undefined at virtual EL2",
            access.direction, access.register
        ),
    );
    deliver::inject(state, Injection::Undefined);
}

/// What EL1 does to the part of the CPU interface that is its own while another is virtual. Gives whether it was that.
pub(super) fn access_left(state: &mut VcpuState, access: SysRegAccess) -> bool {
    let Interrupts { left, mut own, .. } = el2(state).interrupts;
    let vtr = gic::size();
    let Some(what) =
        left.and_then(|group| Some((group, GroupRegister::decode(access, group, vtr)?)))
    else {
        return false;
    };
    let written = state.registers.get(access.rt);
    let mut read = 0;
    vgic::update(state, |gic, me| match access.direction {
        Direction::Read => {
            let (value, kicks) = gic.read_direct(me, what, &mut own, vtr);
            read = value;
            kicks
        }
        Direction::Write => gic.write_direct(me, what, written, &mut own, vtr),
    });
    let interrupts = &mut el2(state).interrupts;
    interrupts.own = own;
    // By the interface as it was before, the GIC was asked.
    interrupts.due = Due::Unknown;
    if access.direction == Direction::Read {
        state.registers.set(access.rt, read);
    }
    true
}
