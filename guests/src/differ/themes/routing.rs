//! Physical interrupts where there is EL2: taken at EL2, or left to the EL1 under it, each group by HCR_EL2.{IMO, FMO},
//! beside virtual ones of the other.
//!
//! No timers: what is ended while its line is high is pending again at once or a little later, and in between it is
//! another that is the most urgent.

use super::gic;
use crate::differ::generate::{Maker, UNDER};
use crate::differ::instructions::{MOV_X1, STORE_WORD};
use crate::differ::program::{GICD, GICR, Level};
use crate::differ::registers::{self as r, Register};

/// HCR_EL2.FMO and IMO.
const FMO: u64 = 1 << 3;
const IMO: u64 = 1 << 4;
/// PSTATE.I and F.
const IRQ: u64 = 1 << 7;
const FIQ: u64 = 1 << 6;
/// GICD_CTLR.ARE.
const GICD_ARE: u64 = 1 << 4;
const OF_GROUP0: (Register, Register) = (r::ICC_IAR0_EL1, r::ICC_EOIR0_EL1);
const OF_GROUP1: (Register, Register) = (r::ICC_IAR1_EL1, r::ICC_EOIR1_EL1);

/// Interrupts of both groups, at EL2 and under it.
pub(super) fn routing(maker: &mut Maker) {
    maker.host_phase();
    gic::set_priorities(maker);
    // SGIs from 4 on are of group 1 and sent as such: to QEMU 10.0.2 ICC_SGI1R_EL1 sends none of group 0.
    let fast = maker.some_of(gic::INTERRUPTS & !0xf0);
    maker.fixed_with(MOV_X1, 0xffff_ffff & !fast);
    maker.fixed_with(STORE_WORD, GICR + gic::IGROUPR0);
    let groups = maker.random.one_of(&[3, 3, 3, 2, 1]);
    gic::store_to(maker, GICD, GICD_ARE | groups);
    let enabled = maker.some_of(gic::INTERRUPTS);
    gic::store(maker, gic::ISENABLER0, enabled);
    // Both groups stay on here: in QEMU 10.0.2 a pending interrupt of one that is off holds the other's back, though it
    // is none that could be signalled (IHI 0069, 4.1.1).
    maker.set_up(r::ICC_IGRPEN0_EL1, 1);
    let left = maker.random.one_of(&[0, FMO, IMO, FMO, IMO, FMO | IMO]);
    // Virtual ones of a group that is left to EL1 hold nothing back on Droste: module `direct` of its GIC.
    match left {
        0 => list(maker, [0, 1]),
        FMO => list(maker, [1, 1]),
        IMO => list(maker, [0, 0]),
        _ => {}
    }
    let pending = maker.some_of(gic::INTERRUPTS) & maker.random.next();
    gic::store(maker, gic::ISPENDR0, pending);
    if maker.once_in(2) {
        of_interface(maker);
    }
    for _ in 0..2 {
        maker.phase(Level::El1, UNDER & !left);
        // Not both: which of two is taken first is IMPLEMENTATION DEFINED (DDI 0487, D1.3).
        let unmasked = maker.random.one_of(&[0, 0, IRQ, FIQ]);
        maker.last().pstate = unmasked;
        for _ in 0..3 + maker.random.below(6) {
            of_interface(maker);
        }
    }
    maker.host_phase();
    for _ in 0..maker.random.below(4) {
        of_interface(maker);
    }
    for register in gic::OF_BITS {
        gic::load(maker, register);
    }
    for register in [
        r::ICC_RPR_EL1,
        r::ICC_HPPIR0_EL1,
        r::ICC_HPPIR1_EL1,
        r::ICH_AP0R0_EL2,
        r::ICH_AP1R0_EL2,
        r::ICH_LR0_EL2,
        r::ICH_LR1_EL2,
    ] {
        maker.get(register);
    }
    if left != FMO | IMO {
        // Memory at virtual EL2: what is least of its binary points shows once something was virtual.
        maker.get(r::ICH_VMCR_EL2);
    }
}

/// A virtual interrupt of each of these groups, or none.
fn list(maker: &mut Maker, groups: [u64; 2]) {
    const PENDING: u64 = 1 << 62;
    if maker.once_in(2) {
        return;
    }
    for (n, register) in [r::ICH_LR0_EL2, r::ICH_LR1_EL2].into_iter().enumerate() {
        let priority = maker.random.one_of(&[0x40, 0x80, 0xa0]);
        let value = PENDING | groups[n] << 60 | priority << 48 | (40 + n as u64);
        maker.set(register, value);
    }
    maker.set(r::ICH_VMCR_EL2, 0xf8 << 24 | 3);
    maker.set(r::ICH_HCR_EL2, 1);
}

/// Something with the CPU interface.
fn of_interface(maker: &mut Maker) {
    const LOOKED_AT: [Register; 9] = [
        r::ICC_RPR_EL1,
        r::ICC_HPPIR0_EL1,
        r::ICC_HPPIR1_EL1,
        r::ICC_IAR0_EL1,
        r::ICC_IAR1_EL1,
        r::ISR_EL1,
        r::ICC_BPR0_EL1,
        r::ICC_BPR1_EL1,
        r::ICC_PMR_EL1,
    ];
    const SET: [Register; 3] = [r::ICC_BPR0_EL1, r::ICC_BPR1_EL1, r::ICC_CTLR_EL1];
    match maker.random.below(10) {
        0..3 => {
            let intid = maker.random.below(8);
            let sends = [r::ICC_SGI0R_EL1, r::ICC_SGI1R_EL1];
            maker.set(sends[intid as usize / 4], intid << 24 | 1);
        }
        3 => {
            let mask = maker.random.one_of(&[0xf8, 0x50, 0xa0, 0x88]);
            maker.set(r::ICC_PMR_EL1, mask);
        }
        4 => gic::handle(maker, OF_GROUP0),
        5 => gic::handle(maker, OF_GROUP1),
        6 => gic::deactivate(maker),
        7 => {
            let register = maker.random.one_of(&SET);
            let value = maker.random.next() & register.bits;
            maker.set(register, value);
        }
        _ => {
            let register = maker.random.one_of(&LOOKED_AT);
            maker.get(register);
        }
    }
}
