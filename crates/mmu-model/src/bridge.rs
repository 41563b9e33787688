//! The model behind the interface of `droste-arm64`: one CPU of the model is a [`Machine`].

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use droste_arm64::barrier::{Dsb, Ic};
use droste_arm64::desc::RawDescriptor;
use droste_arm64::machine::{Machine, Regime};
use droste_arm64::tlbi::Tlbi as Operation;
use droste_arm64::{Pa, Vtcr, Vttbr};

use crate::cpu::Vcpu;
use crate::model::Model;
use crate::outcome::{Access, Allowed, Outcomes};
use crate::tlbi::{Form, Scope, Tlbi};
use crate::violation::Violation;

/// A model that several CPUs share.
pub trait Share {
    /// Runs one operation on the model.
    fn with<R>(&self, verb: impl FnOnce(&mut Model) -> R) -> R;

    /// Cleans and invalidates data caches. The model has none; an implementation that counts such maintenance does it
    /// here.
    fn clean_invalidate_data(&self, _from: Pa, _bytes: u64) {}
}

impl Share for RefCell<Model> {
    fn with<R>(&self, verb: impl FnOnce(&mut Model) -> R) -> R {
        verb(&mut self.borrow_mut())
    }
}

impl Share for Mutex<Model> {
    fn with<R>(&self, verb: impl FnOnce(&mut Model) -> R) -> R {
        verb(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One CPU of a model, at EL2. Code that is written for a [`Machine`] runs on it.
///
/// ```
/// use std::cell::RefCell;
/// use droste_arm64::{Machine, Pa, Vttbr};
/// use droste_mmu_model::{Config, Cpu, Model};
///
/// let model = RefCell::new(Model::new(Config::new(Pa(0x4000_0000), 16)));
/// let cpu = Cpu::new(&model, 0);
/// cpu.set_vttbr(Vttbr(1 << 48 | 0x4000_0000));
/// let seen = model.borrow().vttbr(0);
/// assert_eq!(cpu.vttbr().0, seen);
/// ```
#[derive(Debug)]
pub struct Cpu<'m, S = RefCell<Model>> {
    model: &'m S,
    number: usize,
}

impl<'m, S> Cpu<'m, S> {
    /// CPU `number` of the model.
    pub const fn new(model: &'m S, number: usize) -> Self {
        Self { model, number }
    }
}

impl<S: Share> Cpu<'_, S> {
    /// Writes VTCR_EL2 and VTTBR_EL2, and synchronizes.
    pub fn load(&self, regime: Regime) {
        self.set_vtcr(regime.vtcr);
        self.set_vttbr(regime.vttbr);
        self.isb();
    }

    /// [`Model::enter`].
    pub fn enter(&self, vcpu: Vcpu) {
        self.model.with(|model| model.enter(self.number, vcpu));
    }

    /// [`Model::exit`].
    pub fn exit(&self) {
        self.model.with(|model| model.exit(self.number));
    }

    /// [`Model::access`].
    pub fn access(&self, access: Access) -> Outcomes {
        self.model.with(|model| model.access(self.number, access))
    }

    /// [`Model::expect`].
    pub fn expect(&self, access: Access, allowed: Allowed) -> Option<Violation> {
        self.model
            .with(|model| model.expect(self.number, access, allowed))
    }
}

impl<S> Clone for Cpu<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Cpu<'_, S> {}

/// The instruction with the operand that its register would hold.
impl From<Operation> for Tlbi {
    fn from(operation: Operation) -> Self {
        let (form, scope, operand) = match operation {
            Operation::Ipas2e1is(operand) => (Form::Ipas2e1, Scope::Inner, operand.0),
            Operation::Ipas2e1(operand) => (Form::Ipas2e1, Scope::Local, operand.0),
            Operation::Ripas2e1is(operand) => (Form::Ripas2e1, Scope::Inner, operand.0),
            Operation::Vmalle1is => (Form::Vmalle1, Scope::Inner, 0),
            Operation::Vmalle1 => (Form::Vmalle1, Scope::Local, 0),
            Operation::Vmalls12e1is => (Form::Vmalls12e1, Scope::Inner, 0),
            Operation::Vmalls12e1 => (Form::Vmalls12e1, Scope::Local, 0),
            Operation::Alle1is => (Form::Alle1, Scope::Inner, 0),
        };
        Self::new(form, scope, operand)
    }
}

impl<S: Share> Machine for Cpu<'_, S> {
    fn read(&self, descriptor: Pa) -> RawDescriptor {
        RawDescriptor(self.model.with(|model| model.read(self.number, descriptor)))
    }

    fn write(&self, descriptor: Pa, value: RawDescriptor) {
        self.model
            .with(|model| model.write(self.number, descriptor, value.0));
    }

    fn compare_exchange(
        &self,
        descriptor: Pa,
        expected: RawDescriptor,
        new: RawDescriptor,
    ) -> Result<(), RawDescriptor> {
        self.model
            .with(|model| model.compare_exchange(self.number, descriptor, expected.0, new.0))
            .map_err(RawDescriptor)
    }

    fn zero(&self, page: Pa, bytes: u64) {
        self.model
            .with(|model| model.zero(self.number, page, bytes));
    }

    fn dsb(&self, domain: Dsb) {
        self.model.with(|model| model.dsb(self.number, domain));
    }

    fn isb(&self) {
        self.model.with(|model| model.isb(self.number));
    }

    fn tlbi(&self, operation: Operation) {
        self.model
            .with(|model| model.tlbi(self.number, operation.into()));
    }

    fn ic(&self, _: Ic) {}

    fn clean_invalidate_data(&self, from: Pa, bytes: u64) {
        self.model.clean_invalidate_data(from, bytes);
    }

    fn vttbr(&self) -> Vttbr {
        Vttbr(self.model.with(|model| model.vttbr(self.number)))
    }

    fn set_vttbr(&self, value: Vttbr) {
        self.model
            .with(|model| model.set_vttbr(self.number, value.0));
    }

    fn vtcr(&self) -> Vtcr {
        Vtcr(self.model.with(|model| model.vtcr(self.number)))
    }

    fn set_vtcr(&self, value: Vtcr) {
        self.model
            .with(|model| model.set_vtcr(self.number, value.0));
    }
}
