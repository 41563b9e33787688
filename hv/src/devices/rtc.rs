//! The loaded guest's loads from and stores to its clock.

use droste_arm64::esr::AccessSize;

use super::vgic;
use crate::vm::{VcpuState, watch};

/// A load.
pub(crate) fn read(state: &mut VcpuState, offset: u64, size: AccessSize) -> u64 {
    access(state, offset, size, None)
}

/// A store.
pub(crate) fn write(state: &mut VcpuState, offset: u64, size: AccessSize, value: u64) {
    access(state, offset, size, Some(value));
}

/// A load, or a store of `stored`. Both are rare: one piece of code is enough.
#[inline(never)]
fn access(state: &mut VcpuState, offset: u64, size: AccessSize, stored: Option<u64>) -> u64 {
    let used = watch::with_rtc(state.vcpu.vm, state.cpu, |rtc, seconds| {
        rtc.watcher = state.cpu.index;
        match stored {
            Some(value) => {
                rtc.model.write(offset, size, value, seconds);
                0
            }
            None => rtc.model.read(offset, size, seconds),
        }
    });
    let Some((value, kicks)) = used else { return 0 };
    vgic::deliver(state, kicks);
    value
}
