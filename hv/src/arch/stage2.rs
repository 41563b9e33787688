//! The hardware behind the seam of `droste-stage2`: one instruction a verb.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use droste_arm64::desc::RawDescriptor;
use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Pa, Vtcr, Vttbr};
use droste_stage2::{Dsb, Ic, Machine};

use super::{cache, isb, memory, mrs, msr};

/// This CPU and its memory.
pub(crate) struct Hardware;

macro_rules! instruction {
    ($text:literal) => {
        // SAFETY: barriers and invalidations lose no state: what they drop from TLBs and caches is fetched anew.
        unsafe { asm!($text, options(nostack, preserves_flags)) }
    };
    ($text:literal, $operand:expr) => {
        // SAFETY: as above; the operand names an address, no memory that is accessed.
        unsafe { asm!(concat!($text, ", {}"), in(reg) $operand, options(nostack, preserves_flags)) }
    };
}

impl Machine for Hardware {
    #[inline]
    fn read(&self, descriptor: Pa) -> RawDescriptor {
        RawDescriptor(memory::read_u64(descriptor))
    }

    #[inline]
    fn write(&self, descriptor: Pa, value: RawDescriptor) {
        memory::write_u64(descriptor, value.0);
    }

    #[inline]
    fn compare_exchange(
        &self,
        descriptor: Pa,
        expected: RawDescriptor,
        new: RawDescriptor,
    ) -> Result<(), RawDescriptor> {
        // SAFETY: callers pass descriptors in mapped RAM, 8-byte aligned, of tables they own, which walkers may change
        // at any time. No guest can store to them and keep this from its end; its own words are for `guest_word`.
        let cell = unsafe { AtomicU64::from_ptr(descriptor.0 as *mut u64) };
        match cell.compare_exchange(expected.0, new.0, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(found) => Err(RawDescriptor(found)),
        }
    }

    fn zero(&self, page: Pa, bytes: u64) {
        memory::zero(page, bytes);
    }

    #[inline]
    fn dsb(&self, domain: Dsb) {
        match domain {
            Dsb::Ish => instruction!("dsb ish"),
            Dsb::Ishst => instruction!("dsb ishst"),
            Dsb::Nsh => instruction!("dsb nsh"),
        }
    }

    #[inline]
    fn isb(&self) {
        isb();
    }

    #[inline]
    fn tlbi(&self, operation: Tlbi) {
        match operation {
            Tlbi::Ipas2e1is(operand) => instruction!("tlbi ipas2e1is", operand.0),
            Tlbi::Ipas2e1(operand) => instruction!("tlbi ipas2e1", operand.0),
            // TLBI RIPAS2E1IS, by its encoding: the base architecture's assembler does not know the name.
            Tlbi::Ripas2e1is(operand) => instruction!("sys #4, c8, c0, #2", operand.0),
            Tlbi::Vmalle1is => instruction!("tlbi vmalle1is"),
            Tlbi::Vmalls12e1is => instruction!("tlbi vmalls12e1is"),
            Tlbi::Vmalle1 => instruction!("tlbi vmalle1"),
            Tlbi::Vmalls12e1 => instruction!("tlbi vmalls12e1"),
            Tlbi::Alle1is => instruction!("tlbi alle1is"),
        }
    }

    fn ic(&self, operation: Ic) {
        match operation {
            Ic::Iallu => instruction!("ic iallu"),
            Ic::Ialluis => instruction!("ic ialluis"),
        }
    }

    fn clean_invalidate_data(&self, from: Pa, bytes: u64) {
        cache::clean_invalidate(from, bytes);
    }

    #[inline]
    fn vttbr(&self) -> Vttbr {
        Vttbr(mrs!("vttbr_el2"))
    }

    #[inline]
    fn set_vttbr(&self, value: Vttbr) {
        // SAFETY: a root of a live table; EL2 does not translate by it.
        unsafe { msr!("vttbr_el2", value.0) }
    }

    #[inline]
    fn vtcr(&self) -> Vtcr {
        Vtcr(mrs!("vtcr_el2"))
    }

    #[inline]
    fn set_vtcr(&self, value: Vtcr) {
        // SAFETY: the shape of a live table; EL2 does not translate by it.
        unsafe { msr!("vtcr_el2", value.0) }
    }
}
