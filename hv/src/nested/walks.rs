//! Walks of stage 1 that hardware could not end.
//!
//! Where one reads a descriptor that is not in memory it takes a stage-2 fault, whose syndrome has the level of stage 2.
//! The guest's external abort is to name stage 1's, which nobody tells: the walk is done once more. So it is where stage 1
//! gives an address that is wider than the guest's physical addresses and not than the hardware's.

use droste_arm64::esr::FaultStatus;
use droste_arm64::sysreg::{MAIR_EL1, SCTLR_EL1, SysReg, TCR_EL1, TTBR0_EL1, TTBR1_EL1};
use droste_arm64::{Ipa, Vtcr, Vttbr};
use droste_nested::StageTwoRegisters;
use droste_nested::at::{At, Registers, StageOneRegisters, Translated, execute};
use droste_nested::exception::Exception;
use droste_nested::registers::{Loaded, Twins};

use crate::arch::el2::Hardware;
use crate::memory::l1_memory::{L1Memory, advertised};
use crate::vm::VcpuState;

const S1E1R: At = match At::decode(SysReg::new(1, 0, 7, 8, 0)) {
    Some(at) => at,
    None => panic!("it is an AT"),
};
const OF_EL1: [SysReg; 5] = [SCTLR_EL1, TCR_EL1, TTBR0_EL1, TTBR1_EL1, MAIR_EL1];
/// Stage 2 that is off.
const OFF: StageTwoRegisters = StageTwoRegisters {
    hcr: 0,
    sctlr: 0,
    vtcr: Vtcr(0),
    vttbr: Vttbr(0),
};

/// The level at which the loaded guest's walk of stage 1 for `va` leaves its memory. Where it has changed its tables since,
/// the last.
#[cold]
pub(crate) fn level(state: &VcpuState, va: u64) -> i8 {
    let status = match walk(state, va) {
        Translated::Exception(Exception::Synchronous { esr, .. }) => esr.fault_status(),
        _ => FaultStatus::External,
    };
    match status {
        FaultStatus::ExternalOnWalk { level } => level,
        _ => 3,
    }
}

/// The level at which stage 1 gives an address for `va` that is wider than the loaded guest's physical addresses, if it
/// does: a fault of stage 1, which hardware of wider addresses leaves to stage 2 (DDI 0487, D8 "Output address size").
#[cold]
pub(crate) fn address_size(state: &VcpuState, va: u64) -> Option<i8> {
    walk(state, va).address_size()
}

/// Whether an address is wider than the physical addresses of a guest.
pub(crate) fn exceeds_physical(state: &VcpuState, ipa: Ipa) -> bool {
    let vm = state.vcpu.vm;
    advertised(&vm.ids, &vm.memory).exceeds_physical(ipa.0)
}

/// Walks the loaded guest's stage 1 once more.
fn walk(state: &VcpuState, va: u64) -> Translated {
    let vm = state.vcpu.vm;
    let stage_two = match &state.el2 {
        Some(el2) if el2.loaded == Loaded::El1 => *el2.current.registers(),
        _ => OFF,
    };
    let registers = Registers {
        stage_one: StageOneRegisters::of(OF_EL1, |register| Hardware.get(register)),
        stage_two,
        pstate: 0,
    };
    let memory = L1Memory::new(&vm.memory);
    let advertised = advertised(&vm.ids, &vm.memory);
    execute(S1E1R, va, &registers, &advertised, &memory)
}
