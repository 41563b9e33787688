//! Walks of tables that are written descriptor by descriptor.

mod ends;
mod leaves;
mod random;
mod starts;
mod updates;

use droste_arm64::{IdRegisters, IpaBits};

use super::*;
use crate::advertised::tests::{plain, rich};
use crate::memory::tests::Sparse;

const VTCR_HA: u64 = 1 << 21;
const VTCR_HD: u64 = 1 << 22;
const VTCR_DS: u64 = 1 << 32;
const VTCR_SL2: u64 = 1 << 33;

const MEMORY: u64 = 1 << 40;
const ROOT: u64 = 0x8000_0000;
/// Valid, AF, S2AP read and write, Normal Write-Back, Inner Shareable.
const RAM: u64 = 1 | 1 << 10 | 3 << 8 | 3 << 6 | 0b1111 << 2;
const PAGE: u64 = RAM | 2;
const TABLE: u64 = 3;
const NO_AF: u64 = PAGE & !(1 << 10);

/// TG0, SL0 and T0SZ, with PS of 48 bits.
const fn vtcr(tg0: u64, sl0: u64, t0sz: u64) -> u64 {
    5 << 16 | tg0 << 14 | sl0 << 6 | t0sz
}

/// The 4 KiB granule, 40 bits in two tables at level 1.
const KIB4: u64 = vtcr(0, 1, 24);

fn registers(vtcr: u64) -> StageTwoRegisters {
    StageTwoRegisters {
        hcr: hcr::VM,
        sctlr: 0,
        vtcr: Vtcr(vtcr),
        vttbr: Vttbr(7 << 48 | ROOT | 1),
    }
}

fn walker(registers: &StageTwoRegisters, advertised: &Advertised) -> Walker {
    match StageTwo::new(registers, advertised) {
        StageTwo::On(walker) => walker,
        StageTwo::Off => panic!("HCR_EL2.VM is set"),
    }
}

fn read(vtcr: u64, memory: &Sparse, ipa: u64) -> Result<GuestLeaf, Stop> {
    walker(&registers(vtcr), &rich()).translate(memory, L2Ipa(ipa), Access::Read)
}

fn fault(kind: FaultKind, level: Level) -> Result<GuestLeaf, Stop> {
    Err(Stop::Fault(WalkFault { kind, level }))
}

/// Writes tables for `ipa`, by start shift and bits a level, down to a descriptor at `depth` lookups. Returns where it
/// is.
fn chain(memory: &Sparse, ipa: u64, shifts: &[u32], index_bits: u32, last: u64) -> u64 {
    let mut table = ROOT;
    for (number, shift) in shifts.iter().enumerate() {
        let mask = if number == 0 {
            u64::MAX
        } else {
            (1 << index_bits) - 1
        };
        let at = table + (ipa >> shift & mask) * 8;
        if number + 1 == shifts.len() {
            memory.set(at, last);
            return at;
        }
        table = ROOT + (number as u64 + 1) * 0x100_0000;
        memory.set(at, table | TABLE);
    }
    unreachable!("a walk has a lookup")
}
