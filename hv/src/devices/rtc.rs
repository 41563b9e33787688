//! The loaded guest's loads from and stores to its clock.

use droste_arm64::esr::AccessSize;
use droste_vdev::pl031::Pl031;

use super::vgic;
use crate::vm::{VcpuState, watch};

/// A load.
pub(crate) fn read(state: &mut VcpuState, offset: u64, size: AccessSize) -> u64 {
    access(state, |rtc, seconds| rtc.read(offset, size, seconds)).unwrap_or_default()
}

/// A store.
pub(crate) fn write(state: &mut VcpuState, offset: u64, size: AccessSize, value: u64) {
    let _ = access(state, |rtc, seconds| {
        rtc.write(offset, size, value, seconds);
    });
}

#[inline(never)]
fn access<T>(state: &mut VcpuState, act: impl FnOnce(&mut Pl031, u64) -> T) -> Option<T> {
    let (value, kicks) = watch::with_rtc(state.vcpu.vm, state.cpu, act)?;
    vgic::deliver(state, kicks);
    Some(value)
}
