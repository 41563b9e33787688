//! The model as a machine of the stage-2 crate, and a page supply that tells the model who owns what.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use droste_arm64::desc::RawDescriptor;
use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Pa, Vtcr, Vttbr};
use droste_mmu_model::{Form, Model, Scope, Tlbi as Instruction};
use droste_stage2::{Dsb, Geometry, Ic, Machine, PageSupply, Quota, Trees};

/// A model that several CPUs share.
pub trait Share {
    /// Does one verb.
    fn with<R>(&self, verb: impl FnOnce(&mut Model) -> R) -> R;
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

/// One CPU of a model, at EL2.
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

impl<S> Clone for Cpu<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Cpu<'_, S> {}

/// The instruction with the operand that its register would hold.
pub(crate) const fn instruction(operation: Tlbi) -> Instruction {
    match operation {
        Tlbi::Ipas2e1is(operand) => Instruction::new(Form::Ipas2e1, Scope::Inner, operand.0),
        Tlbi::Ipas2e1(operand) => Instruction::new(Form::Ipas2e1, Scope::Local, operand.0),
        Tlbi::Ripas2e1is(operand) => Instruction::new(Form::Ripas2e1, Scope::Inner, operand.0),
        Tlbi::Vmalle1is => Instruction::new(Form::Vmalle1, Scope::Inner, 0),
        Tlbi::Vmalls12e1is => Instruction::new(Form::Vmalls12e1, Scope::Inner, 0),
        Tlbi::Vmalle1 => Instruction::new(Form::Vmalle1, Scope::Local, 0),
        Tlbi::Vmalls12e1 => Instruction::new(Form::Vmalls12e1, Scope::Local, 0),
        Tlbi::Alle1is => Instruction::new(Form::Alle1, Scope::Inner, 0),
    }
}

/// Caches are not the model's affair: what is to be cleaned is pinned by the stage-2 crate's own tests.
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

    fn tlbi(&self, operation: Tlbi) {
        self.model
            .with(|model| model.tlbi(self.number, instruction(operation)));
    }

    fn ic(&self, _: Ic) {}

    fn clean_invalidate_data(&self, _: Pa, _: u64) {}

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

/// Pages for tables. The last to come back is the first to go out again: whoever still reaches it finds another's.
#[derive(Debug)]
pub struct Pool<'m, S = RefCell<Model>> {
    model: &'m S,
    free: Vec<Pa>,
    count: u64,
    page_bytes: u64,
}

impl<'m, S: Share> Pool<'m, S> {
    /// `count` pages of `page_bytes` from `first` on.
    pub fn new(model: &'m S, first: Pa, count: u64, page_bytes: u64) -> Self {
        let free = (0..count).rev().map(|n| first + n * page_bytes).collect();
        Self {
            model,
            free,
            count,
            page_bytes,
        }
    }

    /// How many pages are here.
    pub fn left(&self) -> usize {
        self.free.len()
    }
}

impl<S: Share> PageSupply for Pool<'_, S> {
    fn take(&mut self) -> Option<Pa> {
        let page = self.free.pop()?;
        self.model.with(|model| model.claim(page, self.page_bytes));
        Some(page)
    }

    /// # Panics
    /// If more pages come back than went out: a list of them that is a ring has no end.
    fn give(&mut self, page: Pa) {
        let is_out = (self.free.len() as u64) < self.count;
        assert!(is_out, "no more pages come back than were taken");
        self.model
            .with(|model| model.release(page, self.page_bytes));
        self.free.push(page);
    }
}

/// A virtual machine's share of pages, which takes trees apart as it needs them, or gets each page at once.
#[derive(Debug)]
pub(crate) struct Stock<'m> {
    quota: Quota<Pool<'m>>,
    trees: Option<Trees>,
    model: &'m RefCell<Model>,
    /// The CPU that asks.
    pub(crate) cpu: usize,
}

impl<'m> Stock<'m> {
    /// `count` pages from `first` on, for tables of this shape.
    pub(crate) fn new(
        model: &'m RefCell<Model>,
        first: Pa,
        count: u64,
        geometry: Geometry,
        apart: Apart,
    ) -> Self {
        let pool = Pool::new(model, first, count, geometry.page_bytes());
        Self {
            quota: Quota::new(count, pool),
            trees: (apart == Apart::Late).then(|| Trees::new(geometry)),
            model,
            cpu: 0,
        }
    }

    /// Takes all trees apart, and says how many pages there are.
    pub(crate) fn left(&mut self) -> u64 {
        while let Some(page) = self.take_apart() {
            self.quota.give(page);
        }
        self.quota.left()
    }

    /// How many may be taken without taking trees apart.
    pub(crate) const fn at_hand(&self) -> u64 {
        self.quota.left()
    }

    /// How many pages came back out of trees.
    pub(crate) fn taken_apart(&self) -> u64 {
        self.trees.as_ref().map_or(0, Trees::taken)
    }

    fn take_apart(&mut self) -> Option<Pa> {
        self.trees.as_mut()?.take(&Cpu::new(self.model, self.cpu))
    }
}

/// When tables that came free are taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Apart {
    AtOnce,
    Late,
}

impl Apart {
    /// By a world's seed.
    pub(crate) const fn of(seed: u64) -> Self {
        if seed.is_multiple_of(2) {
            Self::Late
        } else {
            Self::AtOnce
        }
    }
}

impl PageSupply for Stock<'_> {
    fn take(&mut self) -> Option<Pa> {
        if self.quota.left() == 0
            && let Some(page) = self.take_apart()
        {
            self.quota.give(page);
        }
        self.quota.take()
    }

    fn give(&mut self, page: Pa) {
        self.quota.give(page);
    }

    fn trees(&mut self) -> Option<&mut Trees> {
        self.trees.as_mut()
    }
}
