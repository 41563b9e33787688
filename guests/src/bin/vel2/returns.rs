//! Returns from EL2 with every mode that an SPSR can hold (DDI 0487, D1.4.4, "Illegal exception returns from AArch64
//! state").

use crate::lab::{FROM_BELOW, FROM_EL2H, IL, Lab, Where};
use droste_guests::{cpu, el2};
use el2::{World, class, hcr};

/// PSTATE.IL.
const ILLEGAL: u64 = 1 << 20;
const FLAGS: u64 = 0xf << 28;
const MASKS: u64 = 0x3c0;
/// Bits of an SPSR that are looked at: flags, IL, masks and mode.
const LOOKED_AT: u64 = FLAGS | ILLEGAL | MASKS | 0x1f;
/// AArch32's User mode.
const USER_32: u64 = 0x10;

/// All of it.
pub(crate) fn check(lab: &mut Lab) {
    let has_32 = cpu::id_aa64pfr0() & 0xf == 2;
    for tge in [0, hcr::TGE] {
        // AArch32 that is there is somebody else's.
        for mode in (0..32).filter(|mode| *mode != USER_32 || !has_32) {
            to_mode(lab, mode, tge);
        }
    }
    illegal_by_spsr(lab);
}

/// The code ends with a call, wherever it runs. An illegal return stays at EL2 and raises an Illegal State exception at
/// its first instruction.
fn to_mode(lab: &mut Lab, mode: u64, tge: u64) {
    let what = format_args!("return with mode {mode:#x}, TGE {}", tge != 0);
    let is_legal = match mode {
        0 | 8 | 9 => true,
        4 | 5 => tge == 0,
        _ => false,
    };
    let level = match mode {
        0 if tge == 0 => Where::El0,
        0 if el2::is_vhe() => Where::HostEl0,
        0 => Where::El0,
        4 | 5 => Where::El1,
        8 => Where::El2t,
        _ => Where::El2,
    };
    let mut world = lab.world(level, &[]);
    world.hcr = world.hcr & !hcr::TGE | tge;
    world.pstate = FLAGS | MASKS | mode;
    world.run();
    if !is_legal {
        is_illegal(lab, what, &world, FLAGS | MASKS | 9);
        return;
    }
    match level {
        Where::El0 if tge != 0 => lab.left(what, &world, FROM_BELOW, class::SVC << 26 | IL, 1),
        _ => lab.ended(what, level, &world),
    }
    if level != Where::El0 || tge != 0 {
        let spsr = world.pstate & LOOKED_AT;
        lab.expect(format_args!("{what}: SPSR_EL2"), spsr, FLAGS | MASKS | mode);
    }
}

fn is_illegal(lab: &mut Lab, what: impl core::fmt::Display, world: &World, state: u64) {
    lab.left(&what, world, FROM_EL2H, class::ILLEGAL << 26 | IL, 0);
    let spsr = world.pstate & LOOKED_AT;
    lab.expect(format_args!("{what}: SPSR_EL2"), spsr, state | ILLEGAL);
}

/// An SPSR that says IL: legal, and its target raises the exception at once.
fn illegal_by_spsr(lab: &mut Lab) {
    let esr = class::ILLEGAL << 26 | IL;
    let mut world = lab.world(Where::El2, &[]);
    world.pstate |= ILLEGAL;
    world.run();
    is_illegal(lab, "IL to EL2", &world, MASKS | 9);
    for (level, vector) in [(Where::El1, 4), (Where::El0, 8)] {
        let mut world = lab.world(level, &[]);
        world.pstate |= ILLEGAL;
        world.run();
        lab.at_el1(format_args!("IL to {level:?}"), &world, vector, esr);
        lab.expect("IL in SPSR_EL1", el2::spsr_el1() & ILLEGAL, ILLEGAL);
    }
}
