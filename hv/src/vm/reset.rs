//! A virtual CPU as it comes out of reset.

use alloc::boxed::Box;

use droste_arm64::hcr;
use droste_vdev::Affinity;

use super::{Vcpu, VcpuState, all};
use crate::arch;
use crate::arch::traps::Traps;
use crate::arch::vcpu::{Control, Fixed, VectorTable};

/// The state of `vcpu` as it comes on at `pc`, with `argument` in x0.
pub(crate) fn new_state(vcpu: &'static Vcpu, pc: u64, argument: u64) -> Box<VcpuState> {
    const GUEST: u64 = hcr::VM
        | hcr::SWIO
        | hcr::PTW
        | hcr::FMO
        | hcr::IMO
        | hcr::AMO
        | hcr::BSU_INNER
        | hcr::TID3
        | hcr::TSC
        | hcr::TIDCP
        | hcr::TACR
        | hcr::RW
        | hcr::TLOR
        | hcr::TERR
        | hcr::API
        | hcr::APK;
    let (vm, index) = (vcpu.vm, vcpu.index);
    let shared = if all::is_shared(vcpu.cpu) {
        hcr::TWI | hcr::TWE
    } else {
        0
    };
    let control = Control {
        hcr: GUEST | shared | vm.memory.hcr(),
        mpidr: Affinity::of_vcpu(index).mpidr(),
        midr: arch::id::midr(),
        cntvoff: 0,
        traps: Traps::own(),
    };
    let fixed = Fixed {
        vtcr: vm.memory.vtcr(),
        vncr: None,
        vectors: VectorTable::Plain,
    };
    let (el2, registers) = match &vm.nested {
        Some(nested) => {
            let (el2, registers) = nested.reset(index, &vm.ids, (fixed, control));
            (Some(el2), registers)
        }
        None => (None, (fixed, control)),
    };
    VcpuState::new(vcpu, vcpu.cpu, registers, el2, (pc, argument))
}
