//! Programs of a guest without EL2, for its EL1 and EL0.
//!
//! The laboratory is at EL1 as well, so what it stands on stays: the lower half of the addresses, its vectors, and that
//! its memory is executed though it can be written.
//!
//! SMC is left out: on the bare machine, which has no EL3, it is UNDEFINED, and a hypervisor answers it as firmware would.

use super::states::{leave, touch_state};
use super::{ASYNCHRONOUS, FLAGS, SCTLR_ODD, UAO_PAN, access, gic, offset};
use crate::differ::generate::{Maker, SCTLR_OF_EL1};
use crate::differ::instructions::{
    ACCESSES, AT, CACHES, FMOV, MAINTENANCE, PSTATE, RAISING, WFE, WFI,
};
use crate::differ::program::{CODE, DATA, EL0_ALIAS, Level, Operand, PHASE_BYTES, SLOT_BYTES};
use crate::differ::registers::{self as r, Register};

/// SCTLR_EL1: A, SA, SA0, nTWI, nTWE, UMA, DZE, UCT, UCI, SPAN, E0E.
const ODD: u64 = SCTLR_ODD & !(1 << 2 | 1 << 12 | 1 << 19) | 1 << 16 | 1 << 18 | 1 << 9;

fn level(maker: &mut Maker) -> Level {
    maker
        .random
        .one_of(&[Level::OwnEl1, Level::OwnEl1t, Level::OwnEl0, Level::OwnEl0])
}

fn own_phase(maker: &mut Maker) {
    maker.phase(Level::OwnEl1, 0);
}

/// Stage 1 of any shape, by accesses and by AT; and the laboratory's own.
pub(super) fn translation(maker: &mut Maker) {
    maker.looks = maker.once_in(2);
    let pages = [(); 2].map(|()| DATA + 0x1000 * maker.random.below(16));
    let stage1 = maker.stage1(pages, None);
    own_phase(maker);
    let sctlr = maker.few_of(ODD & !(1 << 24));
    maker.turn_stage1_on(&stage1, sctlr);
    maker.fixed(MAINTENANCE[0]);
    maker.fixed(crate::differ::instructions::DSB);
    for _ in 0..2 {
        let level = level(maker);
        maker.phase(level, 0);
        let pstate = maker.few_of(UAO_PAN | FLAGS);
        maker.last().pstate = pstate;
        for _ in 0..2 + maker.random.below(5) {
            let hole = 500 << 30;
            let odd = maker.random.next();
            let [one, other] = stage1.data;
            let lower = pages[0];
            let address = maker.random.one_of(&[
                one,
                one,
                one,
                other,
                other,
                lower,
                lower + EL0_ALIAS,
                hole,
                odd,
            ]);
            if maker.looks && maker.once_in(3) {
                let at = maker.random.one_of(&AT);
                maker.translate(at, address);
            } else {
                access(maker, address);
            }
        }
    }
}

/// What EL1's controls trap of EL0, and what either may not do.
pub(super) fn traps(maker: &mut Maker) {
    own_phase(maker);
    let sctlr = maker.some_of(ODD & !(1 << 24));
    maker.set(r::SCTLR_EL1, SCTLR_OF_EL1 ^ sctlr);
    let value = maker.some_of(0x303);
    maker.set(r::CNTKCTL_EL1, value);
    let value = maker.some_of(3 << 20);
    maker.set(r::CPACR_EL1, value);
    let tdcc = maker.some_of(1 << 12);
    maker.set(r::MDSCR_EL1, tdcc);
    let level = level(maker);
    maker.phase(level, 0);
    // Not trapped it would wait.
    let traps_wait = |bit: u32| level == Level::OwnEl0 && sctlr >> bit & 1 == 0;
    for _ in 0..6 + maker.random.below(8) {
        match maker.random.below(12) {
            0 => {
                let raising = maker.random.one_of(&RAISING);
                maker.push(raising, Operand::Kept);
            }
            1 | 2 => {
                let instruction = maker.random.one_of(&MAINTENANCE);
                maker.push(instruction, Operand::Value(0));
            }
            3 => {
                let instruction = maker.random.one_of(&CACHES);
                let address = DATA + offset(maker) + level.alias();
                maker.push(instruction, Operand::Value(address));
            }
            4 => maker.push(FMOV, Operand::Kept),
            5 if traps_wait(16) => maker.push(WFI, Operand::Kept),
            5 if traps_wait(18) => maker.push(WFE, Operand::Kept),
            6 => {
                let instruction = maker.random.one_of(&PSTATE);
                maker.push(instruction, Operand::Kept);
            }
            _ => touch(maker),
        }
    }
}

fn touch(maker: &mut Maker) {
    const HIDDEN: [Register; 10] = [
        r::MIDR_EL1,
        r::MPIDR_EL1,
        r::ID_AA64ISAR0_EL1,
        r::CTR_EL0,
        r::DCZID_EL0,
        r::CLIDR_EL1,
        r::ACTLR_EL1,
        r::CNTPCT_EL0,
        r::CNTVCT_EL0,
        r::ICC_CTLR_EL1,
    ];
    const OF_EL2: [Register; 6] = [
        r::VTTBR_EL2,
        r::SPSR_EL2,
        r::CNTVOFF_EL2,
        r::ICH_VMCR_EL2,
        r::CPTR_EL2,
        r::SP_EL1,
    ];
    if maker.once_in(4) {
        let hidden = maker.random.one_of(&HIDDEN);
        maker.touch(hidden);
        return;
    }
    let register = match maker.random.below(8) {
        0 => maker.random.one_of(&OF_EL2),
        _ => maker.random.one_of(&KEPT),
    };
    if maker.once_in(2) && register.bits != 0 {
        let value = maker.value() & register.bits;
        maker.set(register, value);
    } else {
        maker.get(register);
    }
}

/// Registers on which neither code nor laboratory depends.
const KEPT: [Register; 25] = [
    r::SPSR_EL1,
    r::ELR_EL1,
    r::SP_EL0,
    r::ESR_EL1,
    r::FAR_EL1,
    r::PAR_EL1,
    r::CONTEXTIDR_EL1,
    r::TPIDR_EL1,
    r::TPIDR_EL0,
    r::TPIDRRO_EL0,
    r::CSSELR_EL1,
    r::CNTP_CVAL_EL0,
    r::CNTV_CVAL_EL0,
    r::CNTKCTL_EL1,
    r::CPACR_EL1,
    r::TTBR1_EL1,
    r::FPCR,
    r::OSLSR_EL1,
    r::ISR_EL1,
    r::DBGBVR0_EL1,
    r::DBGWVR0_EL1,
    r::DBGBVR1_EL1,
    r::DBGWVR1_EL1,
    r::ICC_PMR_EL1,
    r::ICC_BPR1_EL1,
];

/// What registers keep of what is written.
pub(super) fn registers(maker: &mut Maker) {
    own_phase(maker);
    for _ in 0..4 + maker.random.below(10) {
        let register = maker.random.one_of(&KEPT);
        if register.bits != 0 {
            let value = maker.value() & register.bits;
            maker.set(register, value);
        }
        if maker.once_in(3) {
            let other = maker.random.one_of(&KEPT);
            maker.get(other);
        }
        maker.get(register);
    }
    // And what is left of them behind an exception.
    own_phase(maker);
    for _ in 0..4 {
        let register = maker.random.one_of(&KEPT);
        maker.get(register);
    }
}

/// Returns to anywhere, and exceptions from there.
pub(super) fn returns(maker: &mut Maker) {
    own_phase(maker);
    let sctlr = maker.few_of(1 << 23 | 1 << 1 | 3 << 3 | 1 << 9);
    maker.set(r::SCTLR_EL1, SCTLR_OF_EL1 ^ sctlr);
    for _ in 0..2 {
        let level = level(maker);
        maker.phase(level, 0);
        // DIT, UAO, PAN, IL, SSBS, BTYPE and flags.
        let pstate = maker.some_of(r::SPSR_BITS & !(0x3ff | 1 << 21 | 1 << 20));
        let il = u64::from(maker.once_in(6)) << 20;
        maker.last().pstate = pstate | il;
        for _ in 0..2 + maker.random.below(5) {
            match maker.random.below(6) {
                0 | 1 => leave(maker, level),
                2 => {
                    let raising = maker.random.one_of(&RAISING);
                    maker.push(raising, Operand::Kept);
                }
                which => touch_state(maker, which - 3),
            }
        }
    }
}

/// Something with one of EL1's timers, whatever time it is.
fn timer(maker: &mut Maker) {
    let timers = [
        (r::CNTV_CTL_EL0, r::CNTV_CVAL_EL0),
        (r::CNTP_CTL_EL0, r::CNTP_CVAL_EL0),
    ];
    let (control, compare) = maker.random.one_of(&timers);
    match maker.random.below(5) {
        0 => {
            let value = maker.random.one_of(&[0, 1, 1 << 62, u64::MAX >> 1]);
            maker.set(compare, value);
        }
        1 | 2 => {
            let value = maker.random.below(4);
            maker.set(control, value);
        }
        3 => maker.get(compare),
        _ => maker.get(control),
    }
}

/// SGIs and PPIs: the redistributor, and the CPU interface.
pub(super) fn interrupts(maker: &mut Maker) {
    own_phase(maker);
    gic::set_priorities(maker);
    let control = maker.some_of(3);
    maker.set(r::ICC_CTLR_EL1, control);
    let enabled = maker.some_of(gic::INTERRUPTS);
    gic::store(maker, gic::ISENABLER0, enabled);
    if maker.once_in(3) {
        let point = maker.random.below(8);
        maker.set(r::ICC_BPR1_EL1, point);
    }
    for _ in 0..2 {
        maker.phase(Level::OwnEl1, 0);
        let unmasked = if maker.once_in(2) { ASYNCHRONOUS } else { 0 };
        maker.last().pstate = unmasked;
        for _ in 0..4 + maker.random.below(8) {
            match maker.random.below(13) {
                0 => gic::due(maker),
                1 | 2 => {
                    let intid = maker.random.below(8);
                    // To this vCPU.
                    maker.set(r::ICC_SGI1R_EL1, intid << 24 | 1);
                }
                3 | 4 => {
                    let register = maker.random.one_of(&gic::OF_BITS);
                    let value = maker.some_of(gic::INTERRUPTS) & maker.random.next();
                    gic::store(maker, register, value);
                }
                5 => {
                    let register = maker.random.one_of(&gic::OF_BITS);
                    gic::load(maker, register);
                }
                6 => {
                    let mask = maker.random.one_of(&[0xf8, 0x50, 0xa0, 0x88]);
                    maker.set(r::ICC_PMR_EL1, mask);
                }
                7 => gic::handle(maker, (r::ICC_IAR1_EL1, r::ICC_EOIR1_EL1)),
                8 => {
                    let register = maker.random.one_of(&[
                        r::ICC_RPR_EL1,
                        r::ICC_HPPIR1_EL1,
                        r::ICC_HPPIR0_EL1,
                        r::ICC_IAR0_EL1,
                        r::ISR_EL1,
                        r::ICC_BPR1_EL1,
                        r::ICC_PMR_EL1,
                    ]);
                    maker.get(register);
                }
                9 => maker.get(r::ISR_EL1),
                10 => gic::deactivate(maker),
                _ => maker.get(r::ICC_IAR1_EL1),
            }
        }
    }
    own_phase(maker);
    for register in gic::OF_BITS {
        gic::load(maker, register);
    }
    maker.get(r::ICC_RPR_EL1);
    maker.get(r::ICC_HPPIR1_EL1);
}

/// EL1's timers at EL1 and at EL0, and whether their interrupts follow.
pub(super) fn timers(maker: &mut Maker) {
    own_phase(maker);
    let open = maker.some_of(0x300) | 3;
    maker.set(r::CNTKCTL_EL1, open);
    for _ in 0..2 {
        let level = level(maker);
        maker.phase(level, 0);
        for _ in 0..4 + maker.random.below(6) {
            timer(maker);
        }
    }
    own_phase(maker);
    for register in [
        r::CNTV_CTL_EL0,
        r::CNTV_CVAL_EL0,
        r::CNTP_CTL_EL0,
        r::CNTP_CVAL_EL0,
    ] {
        maker.get(register);
    }
    gic::load(maker, gic::ISPENDR0);
}

/// Something that may be stepped, or meet a breakpoint.
fn watched(maker: &mut Maker, level: Level) {
    match maker.random.below(7) {
        0 => {
            let raising = maker.random.one_of(&RAISING);
            maker.push(raising, Operand::Kept);
        }
        1 => maker.get(r::MDSCR_EL1),
        // At EL1 an exception in between would change what ERET finds, and it would lead to itself.
        2 if level == Level::OwnEl0 => leave(maker, level),
        3 | 4 => access(maker, DATA + level.alias()),
        5 => maker.touch(r::MIDR_EL1),
        _ => maker.get(r::NZCV),
    }
}

/// Software step of EL1 itself and of EL0.
pub(super) fn step(maker: &mut Maker) {
    own_phase(maker);
    let control = maker.some_of(3 << 12);
    let step = u64::from(!maker.once_in(4));
    maker.set(r::MDSCR_EL1, control | step);
    let level = level(maker);
    maker.phase(level, 0);
    let unmasked = if maker.once_in(4) { 0 } else { 1 << 9 };
    let stepping = if maker.once_in(3) { 0 } else { 1 << 21 };
    maker.last().pstate = unmasked | stepping;
    for _ in 0..3 + maker.random.below(5) {
        watched(maker, level);
    }
    own_phase(maker);
    maker.set_up(r::MDSCR_EL1, 0);
}

/// Hardware breakpoints and watchpoints, two of each.
pub(super) fn breakpoints(maker: &mut Maker) {
    const BREAK: [[Register; 2]; 2] = [
        [r::DBGBVR0_EL1, r::DBGBCR0_EL1],
        [r::DBGBVR1_EL1, r::DBGBCR1_EL1],
    ];
    const WATCH: [[Register; 2]; 2] = [
        [r::DBGWVR0_EL1, r::DBGWCR0_EL1],
        [r::DBGWVR1_EL1, r::DBGWCR1_EL1],
    ];
    let level = level(maker);
    own_phase(maker);
    // MDE and KDE.
    let control = if maker.once_in(4) {
        maker.some_of(5 << 13)
    } else {
        5 << 13
    };
    maker.set(r::MDSCR_EL1, control);
    for [address, control] in BREAK {
        if maker.once_in(3) {
            continue;
        }
        let slot = maker.random.below(6);
        let word = maker.random.one_of(&[0, 0x10, 0x10, 0x10, 0x14]);
        let at = CODE + PHASE_BYTES + SLOT_BYTES * slot + word;
        maker.set(address, at + level.alias());
        // E, PMC, all of an instruction.
        let who = maker.random.one_of(&[1, 2, 3, 3]);
        let enabled = u64::from(!maker.once_in(6));
        maker.set(control, 0xf << 5 | who << 1 | enabled);
    }
    let word = DATA + 8 * maker.random.below(4);
    for [address, control] in WATCH {
        if maker.once_in(3) {
            continue;
        }
        maker.set(address, word + level.alias());
        let bytes = maker.random.one_of(&[0xff, 0xff, 0xf, 0xf0, 1, 0x80, 0x3c]);
        let kind = maker.random.one_of(&[1, 2, 3, 3]);
        let who = maker.random.one_of(&[1, 2, 3, 3]);
        let enabled = u64::from(!maker.once_in(6));
        maker.set(control, bytes << 5 | kind << 3 | who << 1 | enabled);
    }
    maker.phase(level, 0);
    let unmasked = if maker.once_in(4) { 0 } else { 1 << 9 };
    maker.last().pstate = unmasked;
    for _ in 0..4 + maker.random.below(6) {
        if maker.once_in(2) {
            let near = (word + maker.random.below(24)).wrapping_sub(8);
            // All but the last, a branch there: stores at odd addresses make instructions of the data.
            let [accesses @ .., _] = &ACCESSES;
            let instruction = maker.random.one_of(accesses);
            maker.push(instruction, Operand::Value(near + level.alias()));
        } else {
            watched(maker, level);
        }
    }
    own_phase(maker);
    maker.set_up(r::MDSCR_EL1, 0);
}
