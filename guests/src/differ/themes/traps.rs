//! Traps, and what registers keep.

use super::{SCTLR_ODD, offset, under};
use crate::differ::generate::{Maker, SCTLR_OFF, STAGE2_IDENTITY, TGE, UNDER, VTCR_IDENTITY};
use crate::differ::instructions::{CACHES, FMOV, MAINTENANCE, PSTATE, RAISING, SMC, WFE, WFI};
use crate::differ::program::{DATA, Level, Operand};
use crate::differ::registers::{
    ACTLR_EL1, CLIDR_EL1, CNTHCTL_EL2, CNTKCTL_EL1, CNTPCT_EL0, CNTVCT_EL0, CPACR_EL1, CPTR_EL2,
    CTR_EL0, DCZID_EL0, HSTR_EL2, ICH_HCR_EL2, ID_AA64ISAR0_EL1, MDCR_EL2, MDSCR_EL1, MIDR_EL1,
    MPIDR_EL1, OF_EL2, OF_REGIME, OF_VHE, PLAIN, Register, SCTLR_EL1, TOUCHED, VTCR_EL2, VTTBR_EL2,
};

/// A value that a register may get whose effects must not reach how the code goes on.
fn harmless(maker: &mut Maker, register: Register) -> u64 {
    let name = register.name;
    let value = maker.value() & register.bits;
    if name == SCTLR_EL1.name {
        SCTLR_OFF | value & (SCTLR_ODD & !(1 << 24))
    } else if name == MDSCR_EL1.name {
        value & 1 << 12
    } else {
        value
    }
}

/// Whether what a register reads is not the same on all machines, or is a time.
fn is_hidden(register: Register) -> bool {
    const HIDDEN: [Register; 9] = [
        MIDR_EL1,
        MPIDR_EL1,
        ID_AA64ISAR0_EL1,
        CTR_EL0,
        DCZID_EL0,
        CLIDR_EL1,
        ACTLR_EL1,
        CNTPCT_EL0,
        CNTVCT_EL0,
    ];
    HIDDEN.iter().any(|hidden| hidden.name == register.name)
}

fn touch(maker: &mut Maker) {
    let register = match maker.random.below(10) {
        0 => CNTPCT_EL0,
        1 => CNTVCT_EL0,
        _ => maker.random.one_of(&TOUCHED),
    };
    if is_hidden(register) {
        maker.touch(register);
    } else if maker.once_in(2) && register.bits != 0 {
        let value = harmless(maker, register);
        maker.set(register, value);
    } else {
        maker.get(register);
    }
}

/// HCR_EL2: SWIO, FB, BSU, TWI, TWE, TID0 to TID3, TIDCP to TTLB, TVM, TDZ, HCD, TRVM, TID4, TICAB, TOCU, TTLBIS, TTLBOS.
const TRAPS: u64 = 1 << 1
    | 1 << 9
    | 3 << 10
    | 3 << 13
    | 0xf << 15
    | 1 << 20
    | 0x1f << 21
    | 1 << 26
    | 3 << 28
    | 1 << 30
    | 1 << 49
    | 1 << 50
    | 1 << 52
    | 3 << 54;

/// Every trap that EL2 can set, and instructions that they may be for.
pub(super) fn traps(maker: &mut Maker) {
    maker.host_phase();
    // nTWI, nTWE, UMA, DZE, UCT, UCI.
    let sctlr = SCTLR_OFF | maker.some_of(1 << 16 | 1 << 18 | 1 << 9 | 3 << 14 | 1 << 26);
    maker.set(SCTLR_EL1, sctlr);
    let is_vhe = maker.shape.is_vhe();
    let open = if is_vhe { 3 << 20 } else { 0x33ff };
    let odd = maker.few_of(1 << 31 | if is_vhe { 3 << 20 } else { 1 << 10 });
    maker.set(CPTR_EL2, open ^ odd);
    let odd = maker.few_of(0xf << 8);
    // TDE needs TDRA, TDOSA and TDA no more than they need it.
    maker.set(MDCR_EL2, odd);
    let (open, bits) = if is_vhe { (0xc00, 0xf03) } else { (3, 3) };
    let odd = maker.few_of(bits);
    maker.set(CNTHCTL_EL2, open ^ odd);
    let odd = maker.few_of(0x1f << 10);
    maker.set(ICH_HCR_EL2, odd & (0xf << 10 | 1 << 14));
    let value = maker.some_of(0x3ff);
    maker.set(CNTKCTL_EL1, value & 0x303);
    let value = maker.some_of(3 << 20);
    maker.set(CPACR_EL1, value);
    maker.set(HSTR_EL2, 0);
    let level = under(maker);
    maker.phase(level, UNDER);
    // With TGE and E2H = 0 what EL1's controls trap of EL0 is EL2's.
    let tge = if level == Level::El0 && !is_vhe && maker.once_in(2) {
        TGE
    } else {
        0
    };
    let more = maker.few_of(TRAPS) | tge;
    maker.last().more_hcr = more;
    for _ in 0..6 + maker.random.below(8) {
        match maker.random.below(12) {
            0 => {
                let raising = maker.random.one_of(&RAISING);
                maker.push(raising, Operand::Kept);
            }
            1 => maker.push(SMC, Operand::Value(0x1234)),
            2 => {
                let instruction = maker.random.one_of(&MAINTENANCE);
                maker.push(instruction, Operand::Value(0));
            }
            3 => {
                let instruction = maker.random.one_of(&CACHES);
                let address = DATA + offset(maker);
                maker.push(instruction, Operand::Value(address));
            }
            4 => maker.push(FMOV, Operand::Kept),
            5 if more >> 13 & 1 != 0 => maker.push(WFI, Operand::Kept),
            5 if more >> 14 & 1 != 0 => maker.push(WFE, Operand::Kept),
            6 => {
                let instruction = maker.random.one_of(&PSTATE);
                maker.push(instruction, Operand::Kept);
            }
            _ => touch(maker),
        }
    }
}

/// What registers keep of what is written.
pub(super) fn registers(maker: &mut Maker) {
    maker.host_phase();
    for _ in 0..4 + maker.random.below(8) {
        let register = match maker.random.below(5) {
            0 | 1 => maker.random.one_of(&OF_EL2),
            2 if maker.shape.is_vhe() => maker.random.one_of(&OF_VHE),
            2 | 3 => maker.random.one_of(&PLAIN),
            _ => maker.random.one_of(&OF_REGIME),
        };
        let value = maker.value() & register.bits;
        maker.set(register, value);
        if maker.once_in(3) {
            let other = maker.random.one_of(&PLAIN);
            maker.get(other);
        }
        maker.get(register);
    }
    // And what EL1 sees of them, with what it depends on as it must be.
    maker.set_up(VTCR_EL2, VTCR_IDENTITY);
    maker.set_up(VTTBR_EL2, STAGE2_IDENTITY);
    maker.set_up(SCTLR_EL1, SCTLR_OFF);
    maker.set_up(
        crate::differ::registers::VBAR_EL1,
        crate::differ::program::VECTORS,
    );
    maker.phase(Level::El1, UNDER);
    for _ in 0..4 {
        let register = maker.random.one_of(&PLAIN);
        maker.get(register);
    }
    maker.get(crate::differ::registers::TTBR1_EL1);
    maker.get(crate::differ::registers::MAIR_EL1);
}
