//! Stage 1 of the EL1 under this EL2: one level 1 table of blocks of 1 GiB.

use crate::lab;
use core::cell::UnsafeCell;
use droste_guests::{RAM_BASE, cpu, el2, map};

/// Virtual address of the IPAs from [`lab::MEMORY_AT`] on.
pub(crate) const MEMORY_AT: u64 = 20 << 30;
/// Of those from [`lab::NOTHING_AT`] on.
pub(crate) const NOTHING_AT: u64 = 21 << 30;
/// Behind a table at [`lab::NOTHING_AT`].
pub(crate) const NO_TABLE_AT: u64 = 22 << 30;
/// Of memory to read only, by stage 1.
pub(crate) const READ_ONLY_AT: u64 = 23 << 30;
/// Behind a table at [`lab::WRITE_ONLY_AT`].
pub(crate) const WRITE_ONLY_TABLE_AT: u64 = 25 << 30;
/// Behind a table at [`lab::DEVICE_AT`].
pub(crate) const DEVICE_TABLE_AT: u64 = 26 << 30;
/// Behind a table at [`lab::FAR_AT`].
pub(crate) const FAR_TABLE_AT: u64 = 27 << 30;
/// Behind a table where nothing is, which stage 2 does not translate.
pub(crate) const OUTSIDE_TABLE_AT: u64 = 28 << 30;
/// Of an output of more than 44 bits.
pub(crate) const WIDE_AT: u64 = 29 << 30;
/// Behind a table there.
pub(crate) const WIDE_TABLE_AT: u64 = 30 << 30;
/// Nothing is mapped there.
pub(crate) const UNMAPPED: u64 = 24 << 30;

/// Normal write-back by MAIR's attribute 1, inner shareable, accessed, for EL1 only.
const BLOCK: u64 = 0x705;
const AP_READ_ONLY: u64 = 1 << 7;
const WIDE_OUTPUT: u64 = 1 << 44;
const ENTRIES: usize = 512;
const GIB: u64 = 1 << 30;

#[repr(C, align(4096))]
struct Page(UnsafeCell<[u64; ENTRIES]>);

// SAFETY: this guest has one vCPU, which writes it before anybody walks it.
unsafe impl Sync for Page {}

static TABLE: Page = Page(UnsafeCell::new([0; ENTRIES]));

/// The table, filled.
pub(crate) struct Stage1 {
    ttbr: u64,
}

impl Stage1 {
    /// Fills the table.
    pub(crate) fn set_up() -> Self {
        let entries = [
            (RAM_BASE, RAM_BASE | BLOCK),
            (MEMORY_AT, lab::MEMORY_AT | BLOCK),
            (NOTHING_AT, lab::NOTHING_AT & !(GIB - 1) | BLOCK),
            (NO_TABLE_AT, lab::NOTHING_AT | 3),
            (READ_ONLY_AT, lab::MEMORY_AT | BLOCK | AP_READ_ONLY),
            (WRITE_ONLY_TABLE_AT, lab::WRITE_ONLY_AT | 3),
            (DEVICE_TABLE_AT, lab::DEVICE_AT | 3),
            (FAR_TABLE_AT, lab::FAR_AT | 3),
            (OUTSIDE_TABLE_AT, lab::FAR_OUTPUT | 3),
            (WIDE_AT, WIDE_OUTPUT | BLOCK),
            (WIDE_TABLE_AT, WIDE_OUTPUT | 3),
        ];
        for (va, descriptor) in entries {
            // SAFETY: inside the table, which no reference points to.
            unsafe {
                TABLE
                    .0
                    .get()
                    .cast::<u64>()
                    .add((va / GIB) as usize)
                    .write_volatile(descriptor);
            }
        }
        cpu::dsb();
        Self {
            ttbr: map::address_of(TABLE.0.get()),
        }
    }

    /// Gives it to EL1: 39 bits, outputs of 40.
    pub(crate) fn turn_on(&self) {
        self.turn_on_with(2);
    }

    /// The same with outputs as wide as TCR_EL1.IPS says.
    pub(crate) fn turn_on_with(&self, ips: u64) {
        el2::set_ttbr0_el1(self.ttbr);
        el2::set_tcr_el1(ips << 32 | 0x8099_3519);
        el2::set_mair_el1(0xff04);
        el2::set_sctlr_el1(0x30d0_1805);
        el2::tlbi_alle1is();
        cpu::dsb();
        cpu::isb();
    }
}
