//! Stream table entries: what becomes of a device's transactions (IHI 0070, 5.2).

use droste_arm64::{Pa, Vmid, Vtcr};

use crate::id::Leaves;

/// Words of 64 bits in an entry.
pub const WORDS: usize = 8;
/// Bytes of an entry.
pub const BYTES: u64 = 64;

const VALID: u64 = 1 << 0;
const CONFIG_SHIFT: u32 = 1;
const CONFIG_BYPASS: u64 = 0b100;
const CONFIG_STAGE2: u64 = 0b110;
// Of word 1.
const S2FWB: u64 = 1 << 25;
const SHCFG_INCOMING: u64 = 1 << 44;
// Of word 2. S2T0SZ, S2SL0, S2IR0, S2OR0, S2SH0, S2TG and S2PS are bits [18:0] of VTCR_EL2, in this order.
const S2VTCR_SHIFT: u32 = 32;
const S2VTCR_MASK: u64 = 0x7_ffff;
const S2AA64: u64 = 1 << 51;
const S2AFFD: u64 = 1 << 53;
const S2R: u64 = 1 << 58;
// Of word 3.
const S2TTB: u64 = 0x000f_ffff_ffff_fff0;

/// An entry as it is in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ste(pub [u64; WORDS]);

/// A table that a stream's transactions are translated by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stage2 {
    /// What the SMMU's TLB entries are tagged with. It is the table's: one number never means two tables.
    pub vmid: Vmid,
    /// VTCR_EL2 of the table.
    pub vtcr: Vtcr,
    /// Its root.
    pub root: Pa,
    /// How its leaves tell the memory type.
    pub leaves: Leaves,
}

impl Ste {
    /// V = 0: transactions are terminated, and each is an event.
    pub const INVALID: Self = Self([0; WORDS]);

    /// Transactions are terminated without an event: for a device that is known and not given to anybody.
    pub const ABORT: Self = Self([VALID, 0, 0, 0, 0, 0, 0, 0]);

    /// Transactions go to memory as they are, with the shareability that they come with.
    pub const BYPASS: Self = Self([
        VALID | CONFIG_BYPASS << CONFIG_SHIFT,
        SHCFG_INCOMING,
        0,
        0,
        0,
        0,
        0,
        0,
    ]);

    /// Transactions are translated by a stage-2 table, or terminated.
    ///
    /// A fault is an event (S2R) and is not stalled (S2S = 0): a device never waits for the hypervisor. The access flag is
    /// not looked at (S2AFFD): who ages memory clears it, and a device does not come back for it. Hardware sets neither
    /// access flag nor dirty state (S2HA, S2HD). ATS is off (EATS = 0): no device caches translations itself.
    pub const fn stage2(of: &Stage2) -> Self {
        let forced = match of.leaves {
            Leaves::Combined => 0,
            Leaves::Forced => S2FWB,
        };
        Self([
            VALID | CONFIG_STAGE2 << CONFIG_SHIFT,
            forced | SHCFG_INCOMING,
            of.vmid.0 as u64 | (of.vtcr.0 & S2VTCR_MASK) << S2VTCR_SHIFT | S2AA64 | S2AFFD | S2R,
            of.root.0 & S2TTB,
            0,
            0,
            0,
            0,
        ])
    }

    /// Whether the first word of an entry makes it valid.
    pub const fn is_valid(first: u64) -> bool {
        first & VALID != 0
    }
}
