//! A machine whose stores an SMMU sees too.

use std::cell::RefCell;

use droste_arm64::barrier::{Dsb, Ic};
use droste_arm64::desc::RawDescriptor;
use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Machine, Pa, Vtcr, Vttbr};

use crate::smmu::Smmu;

/// A CPU of any machine, and the SMMU that walks the tables that it writes. The SMMU learns of stores and of barriers;
/// of invalidations it does not hear.
#[derive(Debug)]
pub struct Beside<'a, M> {
    machine: M,
    smmu: &'a RefCell<Smmu>,
    cpu: usize,
}

impl<'a, M> Beside<'a, M> {
    /// CPU `cpu`, which is `machine`.
    pub const fn new(machine: M, cpu: usize, smmu: &'a RefCell<Smmu>) -> Self {
        Self { machine, smmu, cpu }
    }
}

impl<M: Machine> Machine for Beside<'_, M> {
    fn read(&self, descriptor: Pa) -> RawDescriptor {
        self.machine.read(descriptor)
    }

    fn write(&self, descriptor: Pa, value: RawDescriptor) {
        self.machine.write(descriptor, value);
        self.smmu.borrow_mut().write(self.cpu, descriptor, value.0);
    }

    fn compare_exchange(
        &self,
        descriptor: Pa,
        expected: RawDescriptor,
        new: RawDescriptor,
    ) -> Result<(), RawDescriptor> {
        self.machine.compare_exchange(descriptor, expected, new)?;
        self.smmu.borrow_mut().write(self.cpu, descriptor, new.0);
        Ok(())
    }

    fn zero(&self, page: Pa, bytes: u64) {
        self.machine.zero(page, bytes);
        for at in (page.0..page.0 + bytes).step_by(8) {
            self.smmu.borrow_mut().write(self.cpu, Pa(at), 0);
        }
    }

    fn dsb(&self, domain: Dsb) {
        self.machine.dsb(domain);
        if domain != Dsb::Nsh {
            self.smmu.borrow_mut().dsb(self.cpu);
        }
    }

    fn isb(&self) {
        self.machine.isb();
    }

    fn tlbi(&self, operation: Tlbi) {
        self.machine.tlbi(operation);
    }

    fn ic(&self, operation: Ic) {
        self.machine.ic(operation);
    }

    fn clean_invalidate_data(&self, from: Pa, bytes: u64) {
        self.machine.clean_invalidate_data(from, bytes);
    }

    fn vttbr(&self) -> Vttbr {
        self.machine.vttbr()
    }

    fn set_vttbr(&self, value: Vttbr) {
        self.machine.set_vttbr(value);
    }

    fn vtcr(&self) -> Vtcr {
        self.machine.vtcr()
    }

    fn set_vtcr(&self, value: Vtcr) {
        self.machine.set_vtcr(value);
    }
}
