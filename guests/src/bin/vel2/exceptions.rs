//! Exceptions to EL2: from EL2 with either stack pointer, from its own EL0, from the EL1 under it and that one's EL0.

use crate::lab::{FROM_BELOW, FROM_EL2H, FROM_EL2T, IL, Lab, NOTHING_AT, Where};
use crate::names::{ID_AA64PFR0_EL1, ISB, SCTLR_EL1};
use droste_guests::el2::{self, World, class, hcr, mode};
use droste_guests::encode::{hvc, load, smc, store};

const NOP: u32 = 0xd503201f;
const WFI: u32 = 0xd503207f;
const UDF: u32 = 0x00000000;
/// `BR x0`.
const BR_X0: u32 = 0xd61f0000;

/// A virtual address of EL2's that no table translates, from level 1 on.
const UNMAPPED: u64 = 500 << 30;
/// Fault status: translation fault and permission fault at level 1 (DDI 0487, D24.2, "ESR_EL2", DFSC).
const TRANSLATION_LEVEL_1: u64 = 0b00_0101;
const PERMISSION_LEVEL_1: u64 = 0b00_1101;
/// SCTLR_EL1.A.
const CHECK_ALIGNMENT: u64 = 1 << 1;
/// Fault status: alignment fault.
const ALIGNMENT: u64 = 0b10_0001;
const WNR: u64 = 1 << 6;
const PC_ALIGNMENT: u64 = 0x22;
const FETCH_SAME: u64 = 0x21;
/// COND of a trapped WFI (D24.2, "ISS encoding for an exception from a WF* instruction"): valid, always.
const ALWAYS: u64 = 1 << 24 | 0xe << 20;

/// All of it.
pub(crate) fn check(lab: &mut Lab) {
    for (level, vector) in [(Where::El2, FROM_EL2H), (Where::El2t, FROM_EL2T)] {
        calls_and_traps(lab, level, vector);
        aborts_of_el2(lab, level, vector);
    }
    if el2::is_vhe() {
        own_el0(lab);
    } else {
        el0_under_tge(lab);
    }
    el1_and_el0(lab);
    states(lab);
}

const fn svc(imm: u16) -> u32 {
    0xd4000001 | (imm as u32) << 5
}

const fn brk(imm: u16) -> u32 {
    0xd4200000 | (imm as u32) << 5
}

/// What EL2 raises, and EL0 under it as far as it may.
fn calls_and_traps(lab: &mut Lab, level: Where, vector: u64) {
    let cases = [
        ("SVC", svc(0x1234), class::SVC << 26 | IL | 0x1234, 2),
        ("HVC", hvc(0x4321), class::HVC << 26 | IL | 0x4321, 2),
        ("BRK", brk(0x55aa), class::BRK << 26 | IL | 0x55aa, 1),
        ("UDF", UDF, class::UNKNOWN << 26 | IL, 1),
    ];
    for (what, instruction, esr, word) in cases {
        let world = lab.run(level, &[NOP, instruction], [0; 4]);
        let what = format_args!("{what} at {level:?}");
        lab.left(what, &world, vector, esr, word);
    }
}

fn aborts_of_el2(lab: &mut Lab, level: Where, vector: u64) {
    let mut abort = |what: &str, code: &[u32], esr: u64, far: u64, word: u64| {
        let world = lab.run(level, code, [far, 0, 0, 0]);
        let what = format_args!("{what} at {level:?}");
        lab.left(what, &world, vector, esr, word);
        lab.expect(format_args!("{what}: FAR_EL2"), world.far, far);
    };
    let data = class::DATA_SAME << 26 | IL | TRANSLATION_LEVEL_1;
    abort("load", &[NOP, load(3, 1, 0)], data, UNMAPPED + 0x123, 1);
    abort("store", &[store(0, 1, 0)], data | WNR, UNMAPPED + 0x456, 0);
    let fetch = lab.run(level, &[BR_X0], [UNMAPPED, 0, 0, 0]);
    let what = format_args!("fetch at {level:?}");
    lab.expect(what, fetch.esr, FETCH_SAME << 26 | IL | TRANSLATION_LEVEL_1);
    lab.expect(format_args!("{what}: FAR_EL2"), fetch.far, UNMAPPED);
    lab.expect(format_args!("{what}: ELR_EL2"), fetch.pc, UNMAPPED);
    let address = lab.memory + 2;
    let odd = lab.run(level, &[BR_X0], [address, 0, 0, 0]);
    let what = format_args!("odd fetch at {level:?}");
    lab.expect(what, odd.esr, PC_ALIGNMENT << 26 | IL);
    lab.expect(format_args!("{what}: FAR_EL2"), odd.far, address);
}

fn own_el0(lab: &mut Lab) {
    calls_and_undefined_of_el0(lab, Where::HostEl0);
    // SCTLR_EL2.nTWI is 0.
    let world = lab.run(Where::HostEl0, &[NOP, WFI], [0; 4]);
    let wfi = class::WFX << 26 | IL | ALWAYS;
    lab.left("WFI at HostEl0", &world, FROM_BELOW, wfi, 1);
    let own = lab.memory;
    let world = lab.run(Where::HostEl0, &[store(2, 1, 0)], [own, 0, 0, 0]);
    let esr = class::DATA_LOWER << 26 | IL | PERMISSION_LEVEL_1 | WNR;
    lab.left("store to EL2's page at HostEl0", &world, FROM_BELOW, esr, 0);
    lab.expect("store to EL2's page at HostEl0: FAR_EL2", world.far, own);
}

fn calls_and_undefined_of_el0(lab: &mut Lab, level: Where) {
    let undefined = class::UNKNOWN << 26 | IL;
    let cases = [
        ("SVC", svc(0x1234), class::SVC << 26 | IL | 0x1234, 2),
        ("BRK", brk(0x55aa), class::BRK << 26 | IL | 0x55aa, 1),
        ("UDF", UDF, undefined, 1),
        ("HVC", hvc(1), undefined, 1),
        ("SMC", smc(1), undefined, 1),
        ("SCTLR_EL1 read", SCTLR_EL1.read(1), undefined, 1),
    ];
    for (what, instruction, esr, word) in cases {
        let world = lab.run(level, &[NOP, instruction], [0; 4]);
        let what = format_args!("{what} at {level:?}");
        lab.left(what, &world, FROM_BELOW, esr, word);
        lab.expect(format_args!("{what}: SPSR_EL2"), world.pstate & 0x1f, 0);
    }
}

/// With TGE and E2H = 0, EL0 is without stage 1 and its exceptions are EL2's.
fn el0_under_tge(lab: &mut Lab) {
    let hcr = core::mem::replace(&mut lab.hcr, hcr::TGE);
    calls_and_undefined_of_el0(lab, Where::El0);
    // Told to check alignment, for not every emulator does so unasked where stage 1 is off and all is Device memory.
    let sctlr = lab.read(Where::El2, SCTLR_EL1);
    lab.write(Where::El2, SCTLR_EL1, sctlr | CHECK_ALIGNMENT);
    let far = lab.memory + 1;
    let world = lab.run(Where::El0, &[NOP, load(3, 1, 0)], [far, 0, 0, 0]);
    let esr = class::DATA_LOWER << 26 | IL | ALIGNMENT;
    lab.left("odd load at EL0 under TGE", &world, FROM_BELOW, esr, 1);
    lab.expect("odd load at EL0 under TGE: FAR_EL2", world.far, far);
    lab.write(Where::El2, SCTLR_EL1, sctlr);
    // Beyond what any processor has for physical addresses.
    let far = 1 << 53;
    let world = lab.run(Where::El0, &[NOP, load(3, 1, 0)], [far, 0, 0, 0]);
    let esr = class::DATA_LOWER << 26 | IL;
    lab.left("far load at EL0 under TGE", &world, FROM_BELOW, esr, 1);
    lab.expect("far load at EL0 under TGE: FAR_EL2", world.far, far);
    let world = lab.run(Where::El0, &[BR_X0], [far, 0, 0, 0]);
    let esr = class::FETCH_LOWER << 26 | IL;
    lab.expect("far fetch at EL0 under TGE: ESR_EL2", world.esr, esr);
    lab.expect("far fetch at EL0 under TGE: FAR_EL2", world.far, far);
    lab.hcr = hcr;
}

fn el1_and_el0(lab: &mut Lab) {
    for m in [mode::EL1H, mode::EL1T] {
        let mut world = lab.world(Where::El1, &[NOP, hvc(0x777)]);
        world.pstate = m | 0xa << 28;
        world.run();
        lab.left(
            "HVC at EL1",
            &world,
            FROM_BELOW,
            class::HVC << 26 | IL | 0x777,
            2,
        );
        lab.expect(
            "HVC at EL1: SPSR_EL2",
            world.pstate & !(1 << 12),
            m | 0xa << 28,
        );
    }
    let cases = [
        ("SVC", svc(9), class::SVC << 26 | IL | 9),
        ("BRK", brk(8), class::BRK << 26 | IL | 8),
        ("UDF", UDF, IL),
    ];
    for (level, vector) in [(Where::El1, 4), (Where::El0, 8)] {
        for (what, instruction, esr) in cases {
            let world = lab.run(level, &[instruction], [0; 4]);
            lab.at_el1(format_args!("{what} at {level:?}"), &world, vector, esr);
        }
    }
    let world = lab.run(Where::El0, &[load(3, 1, 0)], [NOTHING_AT, 0, 0, 0]);
    let esr = class::DATA_LOWER << 26 | IL | TRANSLATION_LEVEL_1;
    let syndrome = 1 << 24 | 3 << 22 | 1 << 16 | 1 << 15;
    lab.left(
        "abort of El0 at stage 2",
        &world,
        FROM_BELOW,
        esr | syndrome,
        0,
    );
    lab.expect("abort of El0 at stage 2: SPSR_EL2", world.pstate & 0x1f, 0);
    let world = lab.run(Where::El0, &[hvc(1)], [0; 4]);
    lab.at_el1("HVC at El0", &world, 8, IL);
}

/// What an exception makes of the state: masks, the stack pointer, and the general registers.
fn states(lab: &mut Lab) {
    let mut world = lab.world(Where::El1, &[ID_AA64PFR0_EL1.read(30), ISB]);
    world.x = core::array::from_fn(|n| 0x0101_0101_0101_0101 * (n as u64 + 1));
    let before = world.x;
    world.run();
    for (n, (old, new)) in before.iter().zip(&world.x).enumerate().take(30) {
        lab.expect(format_args!("x{n} over EL1"), *new, *old);
    }
    for daif in [0u64, 0x40, 0x80, 0x100, 0x200, 0x3c0] {
        let mut world: World = lab.world(Where::El1, &[]);
        world.pstate = daif | 5 | 0x5 << 28;
        world.run();
        lab.expect(
            "masks and flags of EL1",
            world.pstate & 0xf000_03cf,
            daif | 5 | 0x5 << 28,
        );
    }
}
