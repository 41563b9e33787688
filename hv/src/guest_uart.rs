//! A VM's UART: between the guest's loads and stores, the console and the VM's interrupt controller.

use droste_arm64::esr::AccessSize;
use droste_vdev::Line;
use droste_vdev::gic::{Intid, Kicks};
use droste_vdev::pl011::{Action, Pl011, Receipt, Room};

use crate::vm::VcpuState;
use crate::vm::Vm;
use crate::vm::layout::UART_INTID;
use crate::{console, vgic};

/// A VM's UART, and what its GIC was last told of its interrupt line.
pub(crate) struct GuestUart {
    model: Pl011,
    told: Line,
}

impl GuestUart {
    /// A UART out of reset.
    pub(crate) const fn new() -> Self {
        Self {
            model: Pl011::new(),
            told: Line::Low,
        }
    }

    #[inline]
    fn has_changed_line(&self) -> bool {
        self.model.line() != self.told
    }
}

/// A load of the loaded guest from its UART.
#[inline]
pub(crate) fn read(state: &mut VcpuState, offset: u64, size: AccessSize) -> u64 {
    const FLAGS: u64 = 0x18;
    let vm = state.vcpu.vm;
    let value = vm.uart.lock().model.read(offset, size);
    if offset != FLAGS {
        // The flags are what a driver polls, and reading them changes nothing.
        console::offer_waiting(vm);
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
        Action::Transmit(byte) => console::transmit(vm, byte),
        Action::None => console::offer_waiting(vm),
    }
    if has_changed {
        tell_line(state);
    }
}

/// Offers `vm` a byte of input.
pub(crate) fn receive(vm: &Vm, byte: u8) -> Receipt {
    let receipt = vm.uart.lock().model.receive(byte);
    notify(vm);
    receipt
}

/// Tells the guest whether its output has room.
pub(crate) fn set_room(vm: &Vm, room: Room) {
    vm.uart.lock().model.set_transmit_room(room);
    notify(vm);
}

/// Tells the GIC of the loaded guest's VM what its UART's line does.
#[cold]
fn tell_line(state: &mut VcpuState) {
    let kicks = raise_line(state.vcpu.vm);
    vgic::deliver(state, kicks);
}

/// Brings the line of a VM's UART to its GIC, from a CPU where the VM need not be loaded.
fn notify(vm: &Vm) {
    let kicks = raise_line(vm);
    vm.kick(kicks);
}

/// Sets the GIC's input to the UART's line if it has changed, with both locked, so that the last word is the right one.
fn raise_line(vm: &Vm) -> Kicks {
    let mut uart = vm.uart.lock();
    if !uart.has_changed_line() {
        return Kicks::NONE;
    }
    uart.told = uart.model.line();
    let intid = Intid::new(UART_INTID).expect("the UART's interrupt is an SPI");
    vm.gic.lock().set_line(0, intid, uart.told)
}
