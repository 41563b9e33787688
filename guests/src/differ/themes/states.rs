//! Exceptions and returns with every state, and software step.

use super::{FLAGS, access};
use crate::differ::generate::{Maker, SCTLR_OFF, TGE, UNDER};
use crate::differ::instructions::{ERET, PSTATE, RAISING};
use crate::differ::program::{DATA, Level, Operand};
use crate::differ::registers::{
    CURRENT_EL, DAIF, ELR_EL1, ELR_EL2, MDCR_EL2, MDSCR_EL1, MIDR_EL1, NZCV, OSLAR_EL1, PAN,
    SCTLR_EL1, SPSEL, SPSR_BITS, SPSR_EL1, SPSR_EL2,
};

/// PSTATE for a return: any, but for AArch32's EL0, which there is on some machines, and bits of features that are hidden.
fn spsr(maker: &mut Maker) -> u64 {
    // No M[4], no ALLINT, no TCO.
    let some = maker.random.next() & SPSR_BITS & !(1 << 4 | 1 << 13 | 1 << 25 | 1 << 21);
    let il = if maker.once_in(6) { 0 } else { 1 << 20 };
    let mode = match maker.random.below(3) {
        0 => some & 0xf,
        _ => maker.random.one_of(&[0, 4, 5, 5, 8, 9, 9]),
    };
    // Other modes of AArch32 are illegal below an AArch64 EL1 and EL2.
    let is_aarch32 = u64::from(mode != 0 && maker.once_in(10)) << 4;
    // Interrupts stay out.
    some & !0xf & !il | is_aarch32 | mode | 0x3c0
}

/// Returns to anywhere, from EL2 and from EL1, and exceptions from there.
pub(super) fn returns(maker: &mut Maker) {
    maker.host_phase();
    let sctlr = SCTLR_OFF | maker.few_of(1 << 23 | 1 << 1 | 3 << 3);
    maker.set(SCTLR_EL1, sctlr);
    for _ in 0..2 {
        let levels = [
            Level::El2,
            Level::El2t,
            Level::El1,
            Level::El1t,
            Level::El0,
            Level::HostEl0,
        ];
        let last = if maker.shape.is_vhe() { 6 } else { 5 };
        let level = maker.random.one_of(&levels[..last]);
        let host = if maker.shape.is_vhe() { TGE } else { 7 << 3 };
        let hcr = match level {
            Level::HostEl0 => host,
            Level::El2 | Level::El2t if maker.once_in(2) => host,
            _ => UNDER,
        };
        maker.phase(level, hcr);
        // TGE, HCD, TWI, TWE.
        let mut more = maker.few_of(TGE | 1 << 29);
        if level == Level::HostEl0 {
            more &= !TGE;
        }
        maker.last().more_hcr = more;
        let pstate = spsr(maker) & !0x3ff & maker.random.next();
        maker.last().pstate = pstate;
        for _ in 0..2 + maker.random.below(5) {
            match maker.random.below(6) {
                0 => leave(maker, level),
                1 | 2 => {
                    let raising = maker.random.one_of(&RAISING);
                    maker.push(raising, Operand::Kept);
                }
                which => touch_state(maker, which - 3),
            }
        }
    }
}

/// Reads a part of PSTATE (0), changes one by an instruction (1), or sets the flags.
pub(super) fn touch_state(maker: &mut Maker, which: u64) {
    match which {
        0 => {
            let states = [NZCV, CURRENT_EL, SPSEL, PAN, DAIF];
            let state = maker.random.one_of(&states);
            maker.get(state);
        }
        1 => {
            let instruction = maker.random.one_of(&PSTATE);
            maker.push(instruction, Operand::Kept);
        }
        _ => {
            let flags = maker.random.next() & FLAGS;
            maker.set(NZCV, flags);
        }
    }
}

/// ERET of the level's own, to the slot behind it.
pub(super) fn leave(maker: &mut Maker, level: Level) {
    let spsr = spsr(maker);
    let (state, address) = match level {
        Level::El2 | Level::El2t => (SPSR_EL2, ELR_EL2),
        _ => (SPSR_EL1, ELR_EL1),
    };
    maker.set(state, spsr);
    // No part: without it the return would lead back.
    maker.set_as(address, Operand::Ahead(2), true);
    maker.push(ERET, Operand::Kept);
}

/// Software step, and the debug registers.
pub(super) fn debug(maker: &mut Maker) {
    maker.host_phase();
    maker.set(OSLAR_EL1, 0);
    let tde = maker.few_of(0xf << 8) | if maker.once_in(2) { 1 << 8 } else { 0 };
    maker.set(MDCR_EL2, tde);
    let control = maker.some_of(1 | 7 << 12);
    let step = u64::from(!maker.once_in(3));
    maker.set(MDSCR_EL1, (control | step) & !(1 << 14));
    let level = maker
        .random
        .one_of(&[Level::El1, Level::El1t, Level::El0, Level::El1]);
    maker.phase(level, UNDER);
    let unmasked = if maker.once_in(3) { 0 } else { 1 << 9 };
    let stepping = if maker.once_in(3) { 0 } else { 1 << 21 };
    maker.last().pstate = unmasked | stepping;
    for _ in 0..3 + maker.random.below(5) {
        match maker.random.below(6) {
            0 => {
                let raising = maker.random.one_of(&RAISING);
                maker.push(raising, Operand::Kept);
            }
            1 => maker.get(MDSCR_EL1),
            2 => leave(maker, level),
            3 => access(maker, DATA),
            4 => maker.touch(MIDR_EL1),
            _ => maker.get(NZCV),
        }
    }
    maker.host_phase();
    maker.set_up(MDSCR_EL1, 0);
}
