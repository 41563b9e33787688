//! Accesses to a VM's emulated devices.

use droste_arm64::Ipa;
use droste_arm64::esr::AccessSize;
use droste_image::Console;
use droste_vdev::gic::{self, Frame};

use crate::vm::VcpuState;
use crate::{guest_uart, vgic};

/// Where the devices of every VM are: the addresses that QEMU's `virt` board made customary.
pub(crate) const DISTRIBUTOR: u64 = 0x0800_0000;
/// First redistributor; the others follow.
pub(crate) const REDISTRIBUTORS: u64 = 0x080a_0000;
/// PL011.
pub(crate) const UART: u64 = 0x0900_0000;
/// Bytes of the PL011's page.
pub(crate) const UART_BYTES: u64 = 0x1000;
/// INTID of the PL011.
pub(crate) const UART_INTID: u32 = 33;

/// A device and where in it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Device {
    /// A frame of the GIC.
    Gic(Frame, u64),
    /// The console.
    Uart(u64),
}

/// The device at `ipa` in a VM with this console and number of virtual CPUs.
#[inline]
pub(crate) fn device_at(ipa: Ipa, console: Console, vcpus: usize) -> Option<Device> {
    let within = |base: u64, bytes: u64| ipa.0.checked_sub(base).filter(|offset| *offset < bytes);
    if let Some(offset) = within(UART, UART_BYTES) {
        return (console == Console::Uart).then_some(Device::Uart(offset));
    }
    if let Some(offset) = within(DISTRIBUTOR, gic::DISTRIBUTOR_BYTES) {
        return Some(Device::Gic(Frame::Distributor, offset));
    }
    let redistributors = gic::REDISTRIBUTOR_BYTES * vcpus as u64;
    within(REDISTRIBUTORS, redistributors).map(|offset| Device::Gic(Frame::Redistributors, offset))
}

/// A load of the loaded virtual CPU.
#[inline]
pub(crate) fn read(state: &mut VcpuState, device: Device, size: AccessSize) -> u64 {
    match device {
        Device::Uart(offset) => guest_uart::read(state, offset, size),
        Device::Gic(frame, offset) => {
            let (vm, me) = (state.vcpu.vm, state.vcpu.index);
            let (value, unfolded) = {
                let mut gic = vm.gic.lock();
                let looked = gic.look_before_read(me, frame, offset, vgic::physical_line);
                let unfolded = gic.needs_fold(frame, offset);
                (gic.read(frame, offset, size), unfolded | looked)
            };
            if unfolded.is_empty() {
                return value;
            }
            // State that others' list registers hold shows as of their last fold: a guest that polls it sees it change.
            vgic::kick(vm, unfolded.without(me));
            if !unfolded.contains(me) {
                return value;
            }
            vgic::refresh(state);
            vm.gic.lock().read(frame, offset, size)
        }
    }
}

/// A store of the loaded virtual CPU.
#[inline]
pub(crate) fn write(state: &mut VcpuState, device: Device, size: AccessSize, value: u64) {
    match device {
        Device::Uart(offset) => guest_uart::write(state, offset, size, value),
        Device::Gic(frame, offset) => {
            let kicks =
                state
                    .vcpu
                    .vm
                    .gic
                    .lock()
                    .write(state.vcpu.index, frame, offset, size, value);
            vgic::deliver(state, kicks);
        }
    }
}
