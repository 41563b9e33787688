//! Instructions and registers of EL2, with every operand.

use crate::prowler::Prowler;
use droste_guests::cpu;
use droste_guests::encode::{ISB, Name};

/// Operands that each is tried with.
const OPERANDS: u64 = 6;
const DSB: u32 = 0xd5033f9f;

/// TLBI of every encoding, allocated or not, and AT.
pub(crate) fn maintenance(prowler: &mut Prowler) {
    let is_tlbi = |name: &Name| matches!(name.crn, 8 | 9) && matches!(name.op1, 0 | 4);
    // AT, whose S12E1W and S12E0W QEMU does not always come back from.
    let is_at =
        |name: &Name| name.crn == 7 && matches!(name.crm, 8 | 9) && matches!(name.op1, 0 | 4);
    let is_bare = prowler.is_bare;
    let is_left_out =
        |name: &Name| is_bare && is_at(name) && name.op1 == 4 && matches!(name.op2, 5 | 7);
    let names = Name::all(1).filter(|n| (is_tlbi(n) || is_at(n)) && !is_left_out(n));
    for name in names {
        for n in 0..OPERANDS {
            let operand = match n {
                0 => 0,
                1 => u64::MAX,
                2 => prowler.address() >> 12,
                3 => prowler.address(),
                _ => prowler.random.next(),
            };
            prowler.at_el2(&[name.write(1), DSB, ISB], [0, operand, 0, 0]);
        }
    }
}

/// Registers of EL2 and aliases of EL1's: read, written, and as they were again.
pub(crate) fn registers(prowler: &mut Prowler) {
    for name in Name::all(3).filter(|name| matches!(name.op1, 4 | 5) && !is_this_guests(*name)) {
        for n in 0..OPERANDS {
            let value = match n {
                0 => 0,
                1 => u64::MAX,
                _ => prowler.random.next(),
            };
            let code = [
                name.read(2),
                name.write(1),
                ISB,
                name.read(3),
                name.write(2),
                ISB,
            ];
            prowler.at_el2(&code, [0, value, 0, 0]);
        }
    }
    for name in Name::all(3).filter(|name| matches!(name.op1, 6 | 7)) {
        prowler.at_el2(&[name.read(1)], [0; 4]);
    }
    cpu::isb();
}

/// Whether this guest cannot go on when it holds anything else: stage 1, vectors, HCR_EL2, the world's pointer, and a
/// request for a reset.
fn is_this_guests(name: Name) -> bool {
    matches!(
        (name.op1, name.crn, name.crm, name.op2),
        (4, 1 | 2 | 12, 0, _) | (4, 10, ..) | (4, 1, 1, 0) | (4, 13, 0, 2) | (_, 11 | 15, ..)
    )
}
