//! The platform that every VM has: where its devices and its RAM are, and which interrupts are whose.
//!
//! The addresses are those that QEMU's `virt` board made customary; the private interrupts are those that Arm's base system
//! architecture gives the same uses.

use core::ops::Range;

use droste_arm64::Ipa;
use droste_image::{Console, VCPUS_MAX};
use droste_vdev::gic::{DISTRIBUTOR_BYTES, Frame, Intid, REDISTRIBUTOR_BYTES};

use crate::machine::machine;

/// The distributor.
pub(crate) const DISTRIBUTOR: Range<u64> = at(0x0800_0000, DISTRIBUTOR_BYTES);
/// Where the first redistributor is; the others follow.
const REDISTRIBUTORS: u64 = 0x080a_0000;
/// The PL011.
pub(crate) const UART: Range<u64> = at(0x0900_0000, 0x1000);
/// The PL031, where the machine has a clock.
pub(crate) const RTC: Range<u64> = at(0x0901_0000, 0x1000);
/// Where the RAM begins, unless a device writes to it without translation.
pub(crate) const RAM: u64 = 0x4000_0000;

/// INTID of the PL011.
pub(crate) const UART_INTID: u32 = 33;
/// INTID of the PL031.
pub(crate) const RTC_INTID: u32 = 34;
/// The virtual timer's interrupt.
pub(crate) const VIRTUAL_TIMER: u32 = Intid::VIRTUAL_TIMER.number() as u32;
/// The physical timer's interrupt.
pub(crate) const PHYSICAL_TIMER: u32 = Intid::PHYSICAL_TIMER.number() as u32;
/// The maintenance interrupt of the virtual CPU interface of a guest with EL2.
pub(crate) const GIC_MAINTENANCE: u32 = Intid::MAINTENANCE.number() as u32;
/// The physical timer's interrupt of a guest's EL2; of a guest without, a place in the list of its timers.
pub(crate) const HYP_PHYSICAL_TIMER: u32 = Intid::HYPERVISOR_PHYSICAL_TIMER.number() as u32;
/// The virtual timer's interrupt of a guest's EL2 with VHE.
pub(crate) const HYP_VIRTUAL_TIMER: u32 = Intid::HYPERVISOR_VIRTUAL_TIMER.number() as u32;
/// The secure timer's interrupt: a place in the list of timers, for one that no guest has.
pub(crate) const SECURE_TIMER: u32 = 29;

/// The redistributors of this many vCPUs.
#[inline]
pub(crate) const fn redistributors(vcpus: usize) -> Range<u64> {
    at(REDISTRIBUTORS, REDISTRIBUTOR_BYTES * vcpus as u64)
}

/// What emulated devices take of the addresses of any VM.
pub(crate) fn taken() -> [Range<u64>; 3] {
    let redistributors = redistributors(VCPUS_MAX as usize);
    [DISTRIBUTOR.start..redistributors.end, UART, RTC]
}

/// A device and where in it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Device {
    /// A frame of the GIC.
    Gic(Frame, u64),
    /// The console.
    Uart(u64),
    /// The clock.
    Rtc(u64),
}

/// The device at `ipa` in a VM with this console and number of vCPUs.
#[inline]
pub(crate) fn device_at(ipa: Ipa, console: Console, vcpus: usize) -> Option<Device> {
    let within = |range: Range<u64>| {
        let offset = ipa.0.checked_sub(range.start);
        offset.filter(|offset| *offset < range.end - range.start)
    };
    if let Some(offset) = within(UART) {
        return (console == Console::Uart).then_some(Device::Uart(offset));
    }
    if let Some(offset) = within(DISTRIBUTOR) {
        return Some(Device::Gic(Frame::Distributor, offset));
    }
    if let Some(offset) = within(redistributors(vcpus)) {
        return Some(Device::Gic(Frame::Redistributors, offset));
    }
    within(RTC)
        .filter(|_| machine().clock.is_some())
        .map(Device::Rtc)
}

const fn at(start: u64, bytes: u64) -> Range<u64> {
    start..start + bytes
}
