//! A vCPU's own SGIs and PPIs: the registers of its redistributor that programs use, and what they do with its interface.

use crate::differ::generate::Maker;
use crate::differ::instructions::{LOAD_WORD, MOV_X1, STORE_WORD};
use crate::differ::program::{GICR, Operand};
use crate::differ::registers::{self as r, Register};

/// Registers with a bit for each: ISENABLER0, ICENABLER0, ISPENDR0, ICPENDR0, ISACTIVER0, ICACTIVER0.
pub(super) const OF_BITS: [u64; 6] = [0x100, 0x180, 0x200, 0x280, 0x300, 0x380];
pub(super) const IGROUPR0: u64 = 0x80;
pub(super) const ISENABLER0: u64 = 0x100;
pub(super) const ISPENDR0: u64 = 0x200;
const IPRIORITYR: u64 = 0x400;
/// Some SGIs and the PPIs of both timers.
pub(super) const INTERRUPTS: u64 = 0x00ff | 1 << 27 | 1 << 30;

/// Stores a word to the register at this offset.
pub(super) fn store(maker: &mut Maker, register: u64, value: u64) {
    store_to(maker, GICR + register, value);
}

/// The same anywhere.
pub(super) fn store_to(maker: &mut Maker, at: u64, value: u64) {
    maker.push(MOV_X1, Operand::Value(value));
    maker.push(STORE_WORD, Operand::Value(at));
}

/// Loads one.
pub(super) fn load(maker: &mut Maker, register: u64) {
    maker.push(LOAD_WORD, Operand::Value(GICR + register));
}

/// Priorities of some of the interrupts.
pub(super) fn set_priorities(maker: &mut Maker) {
    for word in [0, 1, 6, 7] {
        let priority = maker.random.one_of(&[0x80, 0xa0, 0x40, 0xf8, 0x88]);
        let mixed = priority << 24 | 0x80 << 16 | 0xa0 << 8 | priority;
        if maker.once_in(2) {
            store(maker, IPRIORITYR + 4 * word, mixed);
        }
    }
}

/// One of EL1's timers falls due, if it is not: one that is no longer due is withdrawn from the virtual CPU interface
/// at the next exit alone, since to disarm a timer does not trap.
pub(super) fn due(maker: &mut Maker) {
    let control = maker.random.one_of(&[r::CNTV_CTL_EL0, r::CNTP_CTL_EL0]);
    if maker.once_in(3) {
        maker.get(control);
    } else {
        maker.set(control, 1);
    }
}

/// Acknowledges, and ends what was acknowledged: everything else is UNPREDICTABLE (IHI 0069, "ICC_EOIR1_EL1").
pub(super) fn handle(maker: &mut Maker, (acknowledge, end): (Register, Register)) {
    maker.get_for_next(acknowledge);
    maker.set_as(end, Operand::Kept, true);
    if maker.once_in(2) {
        maker.set_as(r::ICC_DIR_EL1, Operand::Kept, true);
    }
}

/// Deactivates any of them, active or not.
pub(super) fn deactivate(maker: &mut Maker) {
    let intid = maker
        .random
        .one_of(&[0, 1, 2, 3, 4, 5, 6, 7, 27, 30, 31, 1023]);
    maker.set(r::ICC_DIR_EL1, intid);
}
