//! The seam between the logic and the machine: one SMMU's registers, and the memory that it reads.

use droste_arm64::Pa;

use crate::registers::Register;

/// Whether there is time for another look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// Look again.
    Left,
    /// Waiting any longer would be for ever.
    Over,
}

/// An SMMU and the memory that is shared with it. No verb hides a barrier.
///
/// # Duties of an implementation
/// - Registers are accessed with one access of their width, as Device-nGnRE memory at least.
/// - Memory is accessed 64 bits at a time, little-endian, single-copy atomic, as Normal Inner Shareable Write-Back memory:
///   IDR0.COHACC is a condition of this crate.
pub trait Board {
    /// Reads a register of 32 bits.
    fn read(&self, register: Register) -> u32;

    /// Writes a register of 32 bits.
    fn write(&self, register: Register, value: u32);

    /// Writes a register of 64 bits.
    fn write_wide(&self, register: Register, value: u64);

    /// Reads a word of memory.
    fn load(&self, at: Pa) -> u64;

    /// Writes a word of memory.
    fn store(&self, at: Pa, value: u64);

    /// `DSB SY`: what was stored is there before whatever comes next.
    fn dsb(&self);

    /// Waits a moment. `turn` counts from 0 for what is being waited for; each wait has a bound that the implementation
    /// knows, because it has the clock.
    fn pause(&self, turn: u32) -> Patience;

    /// Takes memory for a part of the stream table: `bytes`, a power of two, aligned to their number, for as long as the
    /// SMMU is used. `None` if there is none.
    fn take(&self, bytes: u64) -> Option<Pa>;
}
