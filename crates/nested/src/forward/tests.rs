//! Every bit that the table names forwards something; with all of them idle, nothing is forwarded.

mod judged;
mod table;
mod with_tge;

use std::collections::HashSet;
use std::vec::Vec;

use super::*;
use droste_arm64::sysreg::{
    CNTP_CTL_EL0, CNTV_CVAL_EL0, CPACR_EL1, ICC_SGI1R_EL1, ID_AA64PFR0_EL1, SCTLR_EL1, VBAR_EL1,
};

const KINDS: [VirtualEl2; 2] = [VirtualEl2::Vhe, VirtualEl2::Nvhe];
const INSTRUCTIONS: [Instruction; 10] = [
    Instruction::Wfi,
    Instruction::Wfe,
    Instruction::Hvc,
    Instruction::Smc,
    Instruction::FloatingPoint,
    Instruction::PointerAuthentication,
    Instruction::Debug,
    Instruction::Sve,
    Instruction::Sme,
    Instruction::Eret,
];
const CONTROLS: [Control; 5] = [
    Control::Hcr,
    Control::Cptr,
    Control::Mdcr,
    Control::Cnthctl,
    Control::IchHcr,
];

fn traps() -> impl Iterator<Item = Trap> {
    let of_rows = rows().iter().flat_map(|row| row.traps);
    let of_instructions = INSTRUCTIONS.into_iter().flat_map(instructions);
    of_rows.chain(of_instructions).copied()
}

/// The bits of `control` that trap in this sense.
fn bits(control: Control, el2: VirtualEl2, sense: Sense) -> u64 {
    traps()
        .filter(|trap| trap.control == control && trap.sense == sense)
        .filter_map(|trap| trap.bit(el2))
        .fold(0, |bits, bit| bits | 1 << bit)
}

/// Controls with every bit that traps when clear set, and nothing else but what the kind of EL2 has.
fn idle(el2: VirtualEl2) -> Controls {
    let clear = |control| bits(control, el2, Sense::Clear);
    let e2h = if el2 == VirtualEl2::Vhe { hcr::E2H } else { 0 };
    Controls {
        el2,
        hcr: clear(Control::Hcr) | hcr::RW | e2h,
        cptr: clear(Control::Cptr),
        mdcr: 0,
        cnthctl: clear(Control::Cnthctl),
        ich_hcr: 0,
    }
}

/// `controls` with one bit turned over.
fn flipped(mut controls: Controls, control: Control, bit: u8) -> Controls {
    let register = match control {
        Control::Hcr => &mut controls.hcr,
        Control::Cptr => &mut controls.cptr,
        Control::Mdcr => &mut controls.mdcr,
        Control::Cnthctl => &mut controls.cnthctl,
        Control::IchHcr => &mut controls.ich_hcr,
    };
    *register ^= 1 << bit;
    controls
}

fn access(register: SysReg, direction: Direction) -> Event {
    Event::System(SysRegAccess {
        register,
        direction,
        rt: 0,
    })
}

/// One register of each row, in both directions, and each instruction.
fn events() -> Vec<Event> {
    let directions = [Direction::Read, Direction::Write];
    let firsts = rows().iter().map(|row| {
        let first = SysReg::all().find(|&register| row.matches(register));
        first.expect("a row means something")
    });
    let accesses = firsts.flat_map(|register| directions.map(|d| access(register, d)));
    accesses
        .chain(INSTRUCTIONS.map(Event::Instruction))
        .collect()
}

fn is_forwarded(event: Event, level: Level, controls: &Controls) -> bool {
    evaluate(event, level, controls) == Route::VirtualEl2
}
