//! Stage 1: an identity map that `start.s` sets up, and two windows of 1 GiB that reach any other guest physical
//! address, one as Device and one as Normal memory.
//!
//! The windows are how a guest touches what is not its own: a Device window lets every alignment mistake be stage
//! 1's, a Normal window carries unaligned, exclusive, atomic and vector accesses to stage 2.

use crate::RAM_BASE;
use core::arch::asm;
use core::cell::UnsafeCell;

const GIB: u64 = 1 << 30;
/// Level 1 entries 510 and 511 of a walk that starts there, so 39-bit addresses.
const FIRST_WINDOW: usize = 510;
/// The entry before them.
const EL0_ALIAS: usize = 509;
/// The widest output address of a descriptor with 4 KiB granules and no FEAT_LPA2 (DDI 0487, D8.3).
pub const OUTPUT_BITS: u32 = 48;

/// How a window sees what lies behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    /// Device-nGnRE.
    Device = 0,
    /// Normal, inner and outer write-back.
    Normal = 1,
}

#[repr(C)]
struct Level1(UnsafeCell<[u64; 512]>);

unsafe extern "C" {
    // `start.s` defines it: 512 descriptors.
    #[link_name = "level1_table"]
    static LEVEL1: Level1;
}

// SAFETY: only the first vCPU changes it, and only entries that no other vCPU uses.
unsafe impl Sync for Level1 {}

/// Turns a window to the GiB that holds `ipa` (below 2^[`OUTPUT_BITS`]), and gives the virtual address of `ipa` in it.
///
/// The pages behind it may be read, written and executed at EL1. Nothing of Rust's lives there: an access that
/// reaches this guest's RAM is the caller's to answer for.
pub fn open(window: Window, ipa: u64) -> u64 {
    let index = FIRST_WINDOW + window as usize;
    let attributes = match window {
        Window::Device => 0x401,
        Window::Normal => 0x705,
    };
    let output = ipa & ((1 << OUTPUT_BITS) - 1) & !(GIB - 1);
    let address = (index as u64) * GIB;
    // SAFETY: the entry is a window's, which no reference of Rust's uses; the break-before-make sequence (DDI 0487, D8,
    // "Using break-before-make") stands between the old translation and the new.
    unsafe {
        let entry = LEVEL1.0.get().cast::<u64>().add(index);
        asm!(
            "str xzr, [{entry}]",
            "dsb ish",
            "tlbi vaae1is, {page}",
            "dsb ish",
            "str {descriptor}, [{entry}]",
            "dsb ish",
            "isb",
            entry = in(reg) entry,
            page = in(reg) address >> 12,
            descriptor = in(reg) output | attributes | UNPRIVILEGED_NEVER,
            options(nostack, preserves_flags),
        );
    }
    address + (ipa & (GIB - 1))
}

/// Makes the first GiB of RAM readable, writable and executable to EL0, and gives the distance of those addresses from
/// the guest physical ones. What EL0 can write EL1 and EL2 do not execute (DDI 0487, D8.4).
pub fn open_to_el0() -> u64 {
    const FOR_ALL: u64 = 0x705 | 1 << 6;
    // SAFETY: the entry was never valid, so that nothing is to be forgotten.
    unsafe {
        let entry = LEVEL1.0.get().cast::<u64>().add(EL0_ALIAS);
        asm!(
            "str {descriptor}, [{entry}]",
            "dsb ish",
            "isb",
            entry = in(reg) entry,
            descriptor = in(reg) RAM_BASE | FOR_ALL,
            options(nostack, preserves_flags),
        );
    }
    EL0_ALIAS as u64 * GIB - RAM_BASE
}

/// UXN: EL0 executes nothing here.
const UNPRIVILEGED_NEVER: u64 = 1 << 54;

/// Guest physical address of something of the guest's own: the map is the identity.
pub fn address_of<T: ?Sized>(thing: *const T) -> u64 {
    thing.cast::<()>() as u64
}
