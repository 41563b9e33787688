//! List registers and timers.

use super::{ASYNCHRONOUS, gic};
use crate::differ::generate::{Maker, UNDER};
use crate::differ::program::Level;
use crate::differ::registers::{
    CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, ICC_EOIR1_EL1, ICC_HPPIR1_EL1,
    ICC_IAR1_EL1, ICC_PMR_EL1, ICC_RPR_EL1, ICH_AP1R0_EL2, ICH_EISR_EL2, ICH_ELRSR_EL2,
    ICH_HCR_EL2, ICH_LR0_EL2, ICH_LR1_EL2, ICH_LR2_EL2, ICH_LR3_EL2, ICH_MISR_EL2, ICH_VMCR_EL2,
    ISR_EL1, Register,
};

/// A list register of one of a few interrupts.
fn listed(maker: &mut Maker, intid: u64) -> u64 {
    let state = maker.random.one_of(&[1, 1, 1, 2, 3, 0]);
    let priority = maker.random.one_of(&[0xa0, 0x80, 0x40, 0xf8, 0]);
    let group = u64::from(!maker.once_in(4));
    let eoi = u64::from(maker.once_in(3));
    state << 62 | group << 60 | priority << 48 | eoi << 41 | intid
}

/// The virtual CPU interface: list registers, what EL1 does with them, what EL2 sees then.
pub(super) fn lists(maker: &mut Maker) {
    const REGISTERS: [Register; 4] = [ICH_LR0_EL2, ICH_LR1_EL2, ICH_LR2_EL2, ICH_LR3_EL2];
    maker.host_phase();
    for (n, register) in REGISTERS.into_iter().enumerate() {
        if !maker.once_in(3) {
            let value = listed(maker, 40 + n as u64);
            maker.set(register, value);
        }
    }
    let groups = maker.random.one_of(&[3, 3, 2, 1]);
    let split = u64::from(maker.once_in(3)) << 9;
    let common = u64::from(maker.once_in(4)) << 4;
    let mask = maker.random.one_of(&[0xf8, 0xf8, 0x90, 0]);
    let points = maker.some_of(0x3f << 18);
    let value = groups | split | common | points | mask << 24;
    maker.set(ICH_VMCR_EL2, value);
    if maker.once_in(4) {
        maker.set(ICH_AP1R0_EL2, 1 << 20);
    }
    let control = maker.few_of(0x4c << 1 | 0xe);
    let count = if maker.once_in(6) { 3 << 27 } else { 0 };
    maker.set(ICH_HCR_EL2, 1 | control & 0xce | count);
    maker.phase(Level::El1, UNDER);
    let virtuals = maker.few_of(7 << 6);
    maker.last().more_hcr = virtuals;
    let unmasked = if maker.once_in(3) { ASYNCHRONOUS } else { 0 };
    maker.last().pstate = unmasked;
    for _ in 0..3 + maker.random.below(6) {
        match maker.random.below(8) {
            0 => maker.get(ICC_HPPIR1_EL1),
            1 => {
                let number = 40 + maker.random.below(5);
                maker.set(ICC_EOIR1_EL1, number);
            }
            2 => {
                let mask = maker.random.one_of(&[0xf8, 0x50, 0xa0]);
                maker.set(ICC_PMR_EL1, mask);
            }
            3 => maker.get(ICC_RPR_EL1),
            4 => maker.get(ISR_EL1),
            5 => {
                let register = maker.random.one_of(&OF_INTERFACE);
                if maker.once_in(2) {
                    maker.get(register);
                } else {
                    let value = maker.value() & register.bits;
                    maker.set(register, value);
                }
            }
            _ => maker.get(ICC_IAR1_EL1),
        }
    }
    maker.host_phase();
    for register in [
        ICH_HCR_EL2,
        ICH_VMCR_EL2,
        ICH_AP1R0_EL2,
        ICH_MISR_EL2,
        ICH_EISR_EL2,
    ] {
        maker.get(register);
    }
    maker.get(crate::differ::registers::ICH_AP0R0_EL2);
    maker.get(ICH_ELRSR_EL2);
    for register in REGISTERS {
        maker.get(register);
    }
}

const OF_INTERFACE: [Register; 10] = {
    use crate::differ::registers as r;
    [
        r::ICC_IAR0_EL1,
        r::ICC_EOIR0_EL1,
        r::ICC_HPPIR0_EL1,
        r::ICC_BPR0_EL1,
        r::ICC_BPR1_EL1,
        r::ICC_CTLR_EL1,
        r::ICC_SRE_EL1,
        r::ICC_IGRPEN0_EL1,
        r::ICC_IGRPEN1_EL1,
        r::ICC_DIR_EL1,
    ]
};

/// A compare value that is long past, or will be long after the program.
fn deadline(maker: &mut Maker) -> u64 {
    maker.random.one_of(&[0, 1, 1 << 62, u64::MAX >> 1])
}

/// EL1's timers, by conditions that hold whatever time it is.
pub(super) fn timers(maker: &mut Maker) {
    let timers = [(CNTV_CTL_EL0, CNTV_CVAL_EL0), (CNTP_CTL_EL0, CNTP_CVAL_EL0)];
    maker.host_phase();
    for n in 0..2 {
        if n == 1 {
            let level = maker.random.one_of(&[Level::El1, Level::El1, Level::El0]);
            maker.phase(level, UNDER);
        }
        for _ in 0..4 + maker.random.below(6) {
            let (control, compare) = maker.random.one_of(&timers);
            match maker.random.below(4) {
                0 => {
                    let value = deadline(maker);
                    maker.set(compare, value);
                }
                1 => {
                    let value = maker.random.below(4);
                    maker.set(control, value);
                }
                2 => maker.get(compare),
                _ => maker.get(control),
            }
        }
    }
    maker.host_phase();
    for (control, compare) in timers {
        maker.get(control);
        maker.get(compare);
    }
    // Their interrupts follow their levels, though none is enabled.
    gic::load(maker, gic::ISPENDR0);
}
