//! As much of the GICv3 as the guests need (IHI 0069): group 1, one priority, acknowledged through system registers.

use crate::mmio::{Device, GICD};
use crate::{cpu, time};

pub use crate::time::{HYPERVISOR_TIMER, PHYSICAL_TIMER, VIRTUAL_TIMER};

/// The PPI of EL2's virtual timer.
pub const HYPERVISOR_VIRTUAL_TIMER: u32 = 28;
/// The PPI by which the virtual CPU interface asks EL2 for maintenance.
pub const MAINTENANCE: u32 = 25;
/// The INTID that says "nothing pending".
pub const SPURIOUS: u32 = 1023;

/// GICD_ISENABLER1: enables of INTIDs 32 to 63, state that a read must look up.
pub const GICD_ISENABLER1: usize = 0x104;
const GICD_CTLR: usize = 0x0000;
const GICD_IGROUPR: usize = 0x0080;
const GICD_ISENABLER: usize = 0x0100;
const GICD_ISPENDR: usize = 0x0200;
const GICR_WAKER: usize = 0x0014;
const GICR_IGROUPR0: usize = 0x1_0080;
const GICR_ISENABLER0: usize = 0x1_0100;
const GICR_ICENABLER0: usize = 0x1_0180;
const GICR_ISPENDR0: usize = 0x1_0200;
const GICR_ICPENDR0: usize = 0x1_0280;
const GICR_ISACTIVER0: usize = 0x1_0300;
const GICR_ICACTIVER0: usize = 0x1_0380;
const GICR_IPRIORITYR: usize = 0x1_0400;

/// Affinity routing and group 1, of a distributor with one security state (GICD_CTLR.DS = 1).
pub fn enable_distributor() {
    GICD.write(GICD_CTLR, 1 << 4 | 1 << 1);
}

/// Which groups the distributor forwards, beside affinity routing: a bit each.
pub fn enable_groups(groups: u32) {
    GICD.write(GICD_CTLR, 1 << 4 | groups & 3);
}

/// Puts the SGIs and PPIs set in `intids` (a bit per INTID) of a vCPU into group 1, and the others into group 0.
pub fn set_group1(vcpu: usize, intids: u32) {
    Device::gicr(vcpu).write(GICR_IGROUPR0, intids);
}

/// Disables every SPI and drops what is pending or active of it.
pub fn silence_spis() {
    for word in 1..32 {
        for first in [0x180, 0x280, 0x380] {
            GICD.write(first + 4 * word, u32::MAX);
        }
    }
}

/// Disables every SGI and PPI of a vCPU and drops what is pending or active.
pub fn silence_cpu(vcpu: usize) {
    let gicr = Device::gicr(vcpu);
    gicr.write(GICR_WAKER, 0);
    time::wait_until("a redistributor", || gicr.read(GICR_WAKER) & 1 << 2 == 0);
    for register in [GICR_ICENABLER0, GICR_ICPENDR0, GICR_ICACTIVER0] {
        gicr.write(register, u32::MAX);
    }
}

/// Makes this vCPU take the SGIs and PPIs set in `enabled` (a bit per INTID), and nothing else.
pub fn enable_cpu(vcpu: usize, enabled: u32) {
    silence_cpu(vcpu);
    let gicr = Device::gicr(vcpu);
    gicr.write(GICR_IGROUPR0, u32::MAX);
    for word in 0..8 {
        gicr.write(GICR_IPRIORITYR + 4 * word, 0x8080_8080);
    }
    gicr.write(GICR_ISENABLER0, enabled);
    cpu::set_icc_sre(7);
    cpu::set_icc_ctlr(0);
    cpu::set_binary_point(0);
    cpu::set_priority_mask(0xff);
    cpu::set_group1_enable(1);
}

/// Gives an SGI or PPI of a vCPU this priority, which is 0x80 after [`enable_cpu`].
pub fn set_priority(vcpu: usize, intid: u32, priority: u8) {
    let word = GICR_IPRIORITYR + (intid as usize & !3);
    let shift = intid % 4 * 8;
    let gicr = Device::gicr(vcpu);
    let others = gicr.read(word) & !(0xff << shift);
    gicr.write(word, others | u32::from(priority) << shift);
}

/// Acknowledges the highest pending interrupt; `None` when there is none.
pub fn take() -> Option<u32> {
    let intid = cpu::acknowledge_interrupt() as u32 & 0xff_ffff;
    if intid == SPURIOUS {
        return None;
    }
    Some(intid)
}

/// Ends an interrupt that [`take`] gave.
pub fn end(intid: u32) {
    cpu::end_interrupt(intid.into());
}

/// Sends SGI `intid` (0 to 15) to a vCPU below 16.
#[inline]
pub fn send(intid: u32, vcpu: usize) {
    cpu::send_sgi(u64::from(intid) << 24 | 1 << vcpu);
}

/// Makes the SGIs and PPIs set in `intids` (a bit per INTID) pending on a vCPU.
pub fn make_pending(vcpu: usize, intids: u32) {
    Device::gicr(vcpu).write(GICR_ISPENDR0, intids);
}

/// Makes this vCPU take the SGIs and PPIs set in `intids` (a bit per INTID) besides.
pub fn enable_also(vcpu: usize, intids: u32) {
    Device::gicr(vcpu).write(GICR_ISENABLER0, intids);
}

/// Makes the first vCPU take this SPI as well, while its line is high.
pub fn enable_spi(intid: u32) {
    let (word, bit) = (intid as usize / 32 * 4, 1 << (intid % 32));
    GICD.write(GICD_IGROUPR + word, GICD.read(GICD_IGROUPR + word) | bit);
    GICD.write(GICD_ISENABLER + word, bit);
}

/// Whether this SPI is pending.
pub fn is_spi_pending(intid: u32) -> bool {
    GICD.read(GICD_ISPENDR + intid as usize / 32 * 4) >> (intid % 32) & 1 != 0
}

/// Which SGIs and PPIs of a vCPU are pending, a bit per INTID.
pub fn pending(vcpu: usize) -> u32 {
    Device::gicr(vcpu).read(GICR_ISPENDR0)
}

/// Which SGIs and PPIs of a vCPU are active, a bit per INTID.
pub fn active(vcpu: usize) -> u32 {
    Device::gicr(vcpu).read(GICR_ISACTIVER0)
}

/// Makes the SGIs and PPIs set in `intids` (a bit per INTID) of a vCPU active.
pub fn make_active(vcpu: usize, intids: u32) {
    Device::gicr(vcpu).write(GICR_ISACTIVER0, intids);
}

/// Takes the active state from the SGIs and PPIs set in `intids` (a bit per INTID) of a vCPU.
pub fn make_inactive(vcpu: usize, intids: u32) {
    Device::gicr(vcpu).write(GICR_ICACTIVER0, intids);
}
