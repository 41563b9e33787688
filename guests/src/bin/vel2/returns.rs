//! Returns from EL2 with every mode that an SPSR can hold (DDI 0487, D1.4.4, "Illegal exception returns from AArch64
//! state").

use crate::lab::{FROM_BELOW, FROM_EL2H, IL, IRQ_FROM_BELOW, Lab, Where};
use crate::names::{ELR_EL1, ISB, SPSR_EL1};
use droste_guests::time::Timer;
use droste_guests::{cpu, el2, gic};
use el2::{World, class, hcr};

/// PSTATE.IL.
const ILLEGAL: u64 = 1 << 20;
const FLAGS: u64 = 0xf << 28;
const MASKS: u64 = 0x3c0;
/// Bits of an SPSR that are looked at: flags, IL, masks and mode.
const LOOKED_AT: u64 = FLAGS | ILLEGAL | MASKS | 0x1f;
/// AArch32's User mode.
const USER_32: u64 = 0x10;
/// An intermediate physical address of 32 bits where nothing is.
const UNMAPPED: u64 = 0x2000_0000;
/// How often the timer may be due before EL1 has come to AArch32.
const INTERRUPTS_MAX: u64 = 100;

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
    if !has_32 {
        el1_to_aarch32(lab);
    }
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

/// EL1 returns to AArch32 at EL0, which there is not: an Illegal State exception of EL1's own, at the latest where what
/// runs there would come to EL2. EL2 never sees the mode.
fn el1_to_aarch32(lab: &mut Lab) {
    /// In A32: WFI, `VADD.F32 s0, s0, s0`, `LDR r0, [r0]`, and a branch to itself.
    const CASES: [(&str, u32); 4] = [
        ("WFI", 0xe320f003),
        ("VADD", 0xee300a00),
        ("LDR", 0xe5900000),
        ("branch", 0xeafffffe),
    ];
    const ERET: u32 = 0xd69f03e0;
    // SCTLR_EL1.nTWI: a WFI of EL0 is no affair of EL1's.
    const EL0_MAY_WAIT: u64 = 1 << 16;
    el2::set_sctlr_el1(el2::sctlr_el1() | EL0_MAY_WAIT);
    let base = lab.hcr;
    lab.hcr = base | hcr::TWI;
    gic::enable_cpu(0, 1 << gic::HYPERVISOR_TIMER);
    el2::set_cptr(if el2::is_vhe() { 0 } else { 0x33ff | 1 << 10 });
    for (what, code) in CASES {
        let what = format_args!("EL1 to AArch32, {what}");
        let code = [SPSR_EL1.write(1), ELR_EL1.write(2), ISB, ERET, code];
        let mut world = lab.world(Where::El1, &code);
        let target = world.pc + 16;
        world.x[..3].copy_from_slice(&[UNMAPPED, 0x1d0, target]);
        // What calls for nobody is left by an interrupt. One that is due before EL1 has come that far is taken at once, and
        // the next comes later.
        for nth in 0..INTERRUPTS_MAX {
            Timer::Hypervisor.arm_in(nth * 1_000_000);
            world.run();
            Timer::Hypervisor.disarm();
            // It may have come after the world was left for something else.
            while let Some(intid) = gic::take() {
                gic::end(intid);
            }
            if world.vector() != IRQ_FROM_BELOW {
                break;
            }
            lab.expect(what, world.pstate & USER_32, 0);
        }
        lab.at_el1(what, &world, 4, class::ILLEGAL << 26 | IL);
        lab.expect(what, el2::spsr_el1() & (ILLEGAL | 0x1f), ILLEGAL | 5);
        lab.expect(what, el2::elr_el1(), target);
    }
    lab.hcr = base;
    lab.reset();
}
