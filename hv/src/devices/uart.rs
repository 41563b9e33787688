//! A VM's UART: between the guest's loads and stores, the console and the VM's interrupt controller.

use droste_arm64::esr::AccessSize;
use droste_vdev::pl011::Action;

use super::vgic;
use crate::console::terminal;
use crate::vm::{VcpuState, line};

/// A load of the loaded guest from its UART.
#[inline]
pub(crate) fn read(state: &mut VcpuState, offset: u64, size: AccessSize) -> u64 {
    const FLAGS: u64 = 0x18;
    let vm = state.vcpu.vm;
    let value = vm.uart.lock().model.read(offset, size);
    if offset != FLAGS {
        // The flags are what a driver polls, and reading them changes nothing.
        terminal::offer_waiting(vm);
        tell_line(state);
    }
    value
}

/// A store of the loaded guest to its UART.
#[inline]
pub(crate) fn write(state: &mut VcpuState, offset: u64, size: AccessSize, value: u64) {
    let vm = state.vcpu.vm;
    let (action, has_changed) = {
        let mut uart = vm.uart.lock();
        (
            uart.model.write(offset, size, value),
            uart.has_changed_line(),
        )
    };
    match action {
        Action::Transmit(byte) => terminal::transmit(vm, byte),
        Action::None => terminal::offer_waiting(vm),
    }
    if has_changed {
        tell_line(state);
    }
}

/// Tells the GIC of the loaded guest's VM what its UART's line does.
#[cold]
fn tell_line(state: &mut VcpuState) {
    let kicks = line::follow(state.vcpu.vm);
    vgic::deliver(state, kicks);
}
