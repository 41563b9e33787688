//! Software step of EL2 and of its own EL0, and MDSCR_EL1, which is one register for EL2 and what is under it (DDI 0487,
//! D2.12).

use crate::lab::{FROM_BELOW, FROM_EL2H, IL, Lab, Where};
use crate::names::{ID_AA64MMFR0_EL1, ISB, MDCR_EL2, MDSCR_EL1, OSLAR_EL1};
use droste_guests::el2;
use droste_guests::encode::load;
use droste_guests::mmio::UART;
use el2::class;

const NOP: u32 = 0xd503201f;
/// UARTFR of the PL011 (DDI 0183, 3.3.3).
const UART_FLAGS: u64 = 0x18;
/// `MSR DAIFClr, #8`: debug exceptions are let through.
const UNMASK_DEBUG: u32 = 0xd50348ff;
/// MDSCR_EL1: software step, no communication channel for EL0, debug exceptions within the level.
const SS: u64 = 1;
const TDCC: u64 = 1 << 12;
const KDE: u64 = 1 << 13;
/// PSTATE: one step is to be made; debug exceptions are masked.
const STEP: u64 = 1 << 21;
const D: u64 = 1 << 9;
/// MDCR_EL2.TDE: debug exceptions are EL2's.
const TDE: u64 = 1 << 8;
/// The syndrome of a step exception, without and with an instruction that was stepped (D24.2, ESR_EL2, "ISS encoding for
/// an exception from a Software Step exception").
const STEPPED_NOTHING: u64 = IL | 0x22;
const STEPPED: u64 = STEPPED_NOTHING | 1 << 24;

/// All of it.
pub(crate) fn check(lab: &mut Lab) {
    lab.write(Where::El2, OSLAR_EL1, 0);
    values(lab);
    beside_the_lock(lab);
    el2::set_mdcr(TDE);
    if el2::is_vhe() {
        steps(lab, Where::HostEl0, SS);
    }
    steps(lab, Where::El2, SS | KDE);
    steps(lab, Where::El1, SS);
    at_once(lab);
    lab.write(Where::El2, MDSCR_EL1, 0);
    lab.write(Where::El2, OSLAR_EL1, 1);
    el2::set_mdcr(0);
}

/// What one level writes the other reads.
fn values(lab: &mut Lab) {
    let levels = [Where::El2, Where::El1];
    for (n, value) in [TDCC, KDE, 0, SS | TDCC, 0].into_iter().enumerate() {
        let writer = levels[n % 2];
        lab.write(writer, MDSCR_EL1, value);
        for reader in levels {
            let found = lab.read(reader, MDSCR_EL1);
            let what = format_args!("MDSCR_EL1 at {reader:?}, written at {writer:?}");
            lab.expect(what, found, value);
        }
    }
}

/// The OS lock is another register: a write of it leaves what was written before.
fn beside_the_lock(lab: &mut Lab) {
    for value in [TDCC, 0] {
        let code = [
            MDSCR_EL1.write(1),
            ISB,
            OSLAR_EL1.write(2),
            ISB,
            MDSCR_EL1.read(3),
        ];
        let world = lab.run(Where::El2, &code, [0, value, 0, !value]);
        let found = world.x[3];
        lab.expect("MDSCR_EL1 behind a write of OSLAR_EL1", found, value);
    }
}

/// A step is told as one over an instruction, whoever carries that out.
fn over_each_instruction(lab: &mut Lab, level: Where, vector: u64, class: u64) {
    // The identification register traps below a hypervisor, and at EL2 of a guest so does the other.
    let register = if level == Where::El2 {
        MDCR_EL2
    } else {
        ID_AA64MMFR0_EL1
    };
    let device = load(2, 1, 0);
    for (what, code) in [("NOP", NOP), ("MRS", register.read(1)), ("LDR", device)] {
        let mut world = lab.world(level, &[code, NOP]);
        world.x[0] = UART.base() + UART_FLAGS;
        world.pstate = world.pstate & !D | STEP;
        world.run();
        let what = format_args!("step over {what} at {level:?}");
        lab.left(what, &world, vector, class << 26 | STEPPED, 1);
    }
}

/// Steps are made while MDSCR_EL1 says so, and no longer.
fn steps(lab: &mut Lab, level: Where, mdscr: u64) {
    let (vector, class) = match level {
        Where::El2 => (FROM_EL2H, class::STEP_SAME),
        _ => (FROM_BELOW, class::STEP),
    };
    for _ in 0..2 {
        lab.write(Where::El2, MDSCR_EL1, mdscr);
        for (step, esr, word) in [(STEP, STEPPED, 1), (0, STEPPED_NOTHING, 0)] {
            let mut world = lab.world(level, &[NOP, NOP]);
            world.pstate = world.pstate & !D | step;
            world.run();
            let what = format_args!("step of {level:?}, PSTATE.SS {}", step != 0);
            lab.left(what, &world, vector, class << 26 | esr, word);
        }
        if level != Where::HostEl0 {
            over_each_instruction(lab, level, vector, class);
        }
        lab.write(Where::El2, MDSCR_EL1, mdscr & !SS);
        let mut world = lab.world(level, &[NOP, NOP]);
        world.pstate = world.pstate & !D | STEP;
        world.run();
        lab.ended(format_args!("no step of {level:?}"), level, &world);
    }
}

/// With debug exceptions within EL2 on, what EL2 writes has effect before it returns from any exception.
fn at_once(lab: &mut Lab) {
    let code = [MDSCR_EL1.write(1), ISB, UNMASK_DEBUG, NOP];
    lab.write(Where::El2, MDSCR_EL1, KDE | SS);
    let off = lab.run(Where::El2, &code, [0, KDE, 0, 0]);
    lab.ended("steps turned off", Where::El2, &off);
    let on = lab.run(Where::El2, &code, [0, KDE | SS, 0, 0]);
    let esr = class::STEP_SAME << 26 | STEPPED_NOTHING;
    lab.left("steps turned on", &on, FROM_EL2H, esr, 3);
}
