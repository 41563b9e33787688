//! A vCPU as it comes out of reset.

use alloc::boxed::Box;

use droste_vdev::Affinity;

use super::hcr::{self, Waits};
use super::{Vcpu, VcpuState};
use crate::arch;
use crate::arch::layout::layout;
use crate::arch::traps::Traps;
use crate::arch::vcpu::{Control, Fixed, VectorTable};

/// The state of `vcpu` as it comes on at `pc`, with `argument` in x0.
pub(crate) fn new_state(vcpu: &'static Vcpu, pc: u64, argument: u64) -> Box<VcpuState> {
    let (vm, index) = (vcpu.vm, vcpu.index);
    let waits = if vcpu.cpu.is_shared() {
        Waits::Trapped
    } else {
        Waits::InHardware
    };
    let control = Control {
        hcr: hcr::of_guest(waits, vm.memory.scheme(), layout()),
        mpidr: Affinity::of_vcpu(index).mpidr(),
        midr: arch::id::midr(),
        cntvoff: 0,
        traps: Traps::own(),
    };
    let fixed = Fixed {
        vtcr: vm.memory.vtcr.0,
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
