//! Accesses to a VM's emulated devices.

use droste_arm64::esr::AccessSize;

use super::{rtc, uart, vgic};
use crate::vm::layout::Device;
use crate::vm::{VcpuState, lists};

/// A load of the loaded vCPU.
#[inline]
pub(crate) fn read(state: &mut VcpuState, device: Device, size: AccessSize) -> u64 {
    match device {
        Device::Uart(offset) => uart::read(state, offset, size),
        Device::Rtc(offset) => rtc::read(state, offset, size),
        Device::Gic(frame, offset) => {
            let (vm, me) = (state.vcpu.vm, state.vcpu.index);
            let (value, unfolded) = {
                let mut gic = vm.gic.lock();
                let looked = gic.look_before_read(me, frame, offset, lists::physical_line);
                let unfolded = gic.needs_fold(frame, offset);
                (gic.read(frame, offset, size), unfolded | looked)
            };
            if unfolded.is_empty() {
                return value;
            }
            // State that others' list registers hold shows as of their last fold: a guest that polls it sees it change.
            vm.kick(unfolded.without(me));
            if !unfolded.contains(me) {
                return value;
            }
            vgic::refresh(state);
            vm.gic.lock().read(frame, offset, size)
        }
    }
}

/// A store of the loaded vCPU.
#[inline]
pub(crate) fn write(state: &mut VcpuState, device: Device, size: AccessSize, value: u64) {
    match device {
        Device::Uart(offset) => uart::write(state, offset, size, value),
        Device::Rtc(offset) => rtc::write(state, offset, size, value),
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
