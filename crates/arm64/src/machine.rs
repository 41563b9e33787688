//! The interface between logic and machine: the architecture's operations, and nothing else.
//!
//! No method hides a barrier. Where order matters, the barrier is a call of its own, so that a recorder or a model sees
//! what hardware would see.

use crate::barrier::{Dsb, Ic};
use crate::desc::RawDescriptor;
use crate::tlbi::Tlbi;
use crate::{Pa, Vtcr, Vttbr};

/// A CPU and its memory, as stage 2 needs them.
///
/// The implementation at EL2 gives one instruction per verb (the two that take a size loop over it); a
/// recorder writes a trace; a model answers as adversely as the architecture permits.
///
/// # Duties of an implementation
/// - Descriptors are read and written single-copy atomic, 64 bits, little-endian, through Normal Inner Shareable
///   Write-Back memory (as VTCR_EL2 tells the walker). No verb implies an order beyond the one that program order gives
///   accesses to one address.
/// - TLB invalidations execute with HCR_EL2.{E2H,TGE} other than {1,1}: with both set they would act on EL2's own
///   regime (DDI 0487, C5.5).
/// - From a call of [`set_vttbr`](Self::set_vttbr) or [`set_vtcr`](Self::set_vtcr) inside [`under`] to its end, nothing enters a guest on this CPU:
///   an interrupt taken at EL2 returns where it was taken.
pub trait Machine {
    /// Reads a descriptor.
    fn read(&self, descriptor: Pa) -> RawDescriptor;

    /// Writes a descriptor.
    fn write(&self, descriptor: Pa, value: RawDescriptor);

    /// Replaces a descriptor that holds `expected`.
    ///
    /// # Errors
    /// The value that it holds instead; nothing is written then.
    fn compare_exchange(
        &self,
        descriptor: Pa,
        expected: RawDescriptor,
        new: RawDescriptor,
    ) -> Result<(), RawDescriptor>;

    /// Writes zero over a page for a table, `bytes` a multiple of the granule.
    fn zero(&self, page: Pa, bytes: u64);

    /// `DSB`.
    fn dsb(&self, domain: Dsb);

    /// `ISB`.
    fn isb(&self);

    /// `TLBI`; the payload is the register operand.
    fn tlbi(&self, operation: Tlbi);

    /// `IC`.
    fn ic(&self, operation: Ic);

    /// `DC CIVAC` over a range of memory: cleans and invalidates data caches to the Point of Coherency.
    fn clean_invalidate_data(&self, from: Pa, bytes: u64);

    /// Reads VTTBR_EL2.
    fn vttbr(&self) -> Vttbr;

    /// Writes VTTBR_EL2.
    fn set_vttbr(&self, value: Vttbr);

    /// Reads VTCR_EL2.
    fn vtcr(&self) -> Vtcr;

    /// Writes VTCR_EL2.
    fn set_vtcr(&self, value: Vtcr);
}

/// What the hardware translates with, or invalidates for: the shape of a table, its root and a VMID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Regime {
    /// VTCR_EL2, a constant of the virtual machine.
    pub vtcr: Vtcr,
    /// VTTBR_EL2, of one context.
    pub vttbr: Vttbr,
}

/// Runs `body` with `regime` in VTCR_EL2 and VTTBR_EL2, then restores them. A register that holds its value already is
/// not written.
///
/// TLB invalidations act on the VMID in VTTBR_EL2, so maintenance of a context that is not loaded happens in here. They
/// read VTCR_EL2 too: with DS set there, the operand of an invalidation by range counts in 64 KiB, else in pages
/// (DDI 0487, C5.5, TLBI RIPAS2E1IS). EL2 makes no access through the EL1&0 regime meanwhile.
pub fn under<M: Machine, R>(machine: &M, regime: Regime, body: impl FnOnce() -> R) -> R {
    let loaded = Regime {
        vtcr: machine.vtcr(),
        vttbr: machine.vttbr(),
    };
    if loaded == regime {
        return body();
    }
    load(machine, loaded, regime);
    let result = body();
    load(machine, regime, loaded);
    result
}

fn load<M: Machine>(machine: &M, from: Regime, to: Regime) {
    if from.vtcr != to.vtcr {
        machine.set_vtcr(to.vtcr);
    }
    if from.vttbr != to.vttbr {
        machine.set_vttbr(to.vttbr);
    }
    machine.isb();
}
