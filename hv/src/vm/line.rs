//! The interrupt line of a VM's UART, which follows what the guest and the console do.

use droste_vdev::gic::{Intid, Kicks};
use droste_vdev::pl011::{Receipt, Room};

use super::Vm;
use super::layout::UART_INTID;

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

/// Brings the line of a VM's UART to its GIC, from a CPU where the VM need not be loaded.
fn notify(vm: &Vm) {
    let kicks = follow(vm);
    vm.kick(kicks);
}

/// Sets the GIC's input to the UART's line if it has changed, with both locked, so that the last word is the right one.
pub(crate) fn follow(vm: &Vm) -> Kicks {
    let mut uart = vm.uart.lock();
    if !uart.has_changed_line() {
        return Kicks::NONE;
    }
    uart.told = uart.model.line();
    let intid = Intid::new(UART_INTID).expect("the UART's interrupt is an SPI");
    vm.gic.lock().set_line(0, intid, uart.told)
}
