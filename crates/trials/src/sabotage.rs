//! Machines that do not do what they are told: to see that the model notices.

use std::cell::Cell;

use droste_arm64::desc::RawDescriptor;
use droste_arm64::tlbi::{IpaOperand, RangeOperand, Tlbi};
use droste_arm64::{Pa, Vtcr, Vttbr};
use droste_stage2::{Dsb, Ic, Machine};

/// A verb that can fail to happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub enum Verb {
    DsbIsh,
    DsbIshst,
    DsbNsh,
    Isb,
    Ipas2e1is,
    Ipas2e1,
    Ripas2e1is,
    Vmalle1is,
    Vmalls12e1is,
    Vmalle1,
    Vmalls12e1,
    Alle1is,
    Zero,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::DsbIsh,
        Self::DsbIshst,
        Self::DsbNsh,
        Self::Isb,
        Self::Ipas2e1is,
        Self::Ipas2e1,
        Self::Ripas2e1is,
        Self::Vmalle1is,
        Self::Vmalls12e1is,
        Self::Vmalle1,
        Self::Vmalls12e1,
        Self::Alle1is,
        Self::Zero,
    ];

    const fn of(operation: Tlbi) -> Self {
        match operation {
            Tlbi::Ipas2e1is(_) => Self::Ipas2e1is,
            Tlbi::Ipas2e1(_) => Self::Ipas2e1,
            Tlbi::Ripas2e1is(_) => Self::Ripas2e1is,
            Tlbi::Vmalle1is => Self::Vmalle1is,
            Tlbi::Vmalls12e1is => Self::Vmalls12e1is,
            Tlbi::Vmalle1 => Self::Vmalle1,
            Tlbi::Vmalls12e1 => Self::Vmalls12e1,
            Tlbi::Alle1is => Self::Alle1is,
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// A verb never happens.
    Without(Verb),
    /// Of a verb, every `n`-th does not happen.
    WithoutEvery(Verb, u64),
    /// An address goes into its TLBI without being shifted.
    Unshifted,
    /// A range ends after two pages, whatever NUM and SCALE are to say.
    ShortRanges,
    /// Every level hint says 3.
    WrongHints,
    /// What is broadcast stays on the CPU.
    NoBroadcast,
    /// A compare-exchange does not compare.
    NoCompare,
}

/// A machine under sabotage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hindered<'a, M> {
    inner: M,
    sabotage: Sabotage,
    /// How often the verb was told so far, all CPUs together.
    count: &'a Cell<u64>,
}

impl<'a, M> Hindered<'a, M> {
    pub(crate) const fn new(inner: M, sabotage: Sabotage, count: &'a Cell<u64>) -> Self {
        Self {
            inner,
            sabotage,
            count,
        }
    }

    fn is_skipped(&self, verb: Verb) -> bool {
        match self.sabotage {
            Sabotage::Without(which) => which == verb,
            Sabotage::WithoutEvery(which, n) if which == verb => {
                self.count.set(self.count.get() + 1);
                self.count.get().is_multiple_of(n)
            }
            _ => false,
        }
    }

    fn altered(&self, operation: Tlbi) -> Tlbi {
        let hinted = |operand: u64| operand | ((operand >> 46 & 3).min(1) * (3 << 44));
        match (self.sabotage, operation) {
            (Sabotage::Unshifted, Tlbi::Ipas2e1is(IpaOperand(operand))) => {
                Tlbi::Ipas2e1is(IpaOperand(operand << 12 & 0xff_ffff_ffff))
            }
            (Sabotage::ShortRanges, Tlbi::Ripas2e1is(RangeOperand(operand))) => {
                Tlbi::Ripas2e1is(RangeOperand(operand & !(0x7f << 39)))
            }
            (Sabotage::WrongHints, Tlbi::Ipas2e1is(IpaOperand(operand))) => {
                Tlbi::Ipas2e1is(IpaOperand(hinted(operand)))
            }
            (Sabotage::WrongHints, Tlbi::Ripas2e1is(RangeOperand(operand))) => Tlbi::Ripas2e1is(
                RangeOperand(operand | ((operand >> 37 & 3).min(1) * (3 << 37))),
            ),
            (Sabotage::NoBroadcast, Tlbi::Ipas2e1is(operand)) => Tlbi::Ipas2e1(operand),
            (Sabotage::NoBroadcast, Tlbi::Vmalle1is) => Tlbi::Vmalle1,
            (Sabotage::NoBroadcast, Tlbi::Vmalls12e1is) => Tlbi::Vmalls12e1,
            _ => operation,
        }
    }
}

impl<M: Machine> Machine for Hindered<'_, M> {
    fn read(&self, descriptor: Pa) -> RawDescriptor {
        self.inner.read(descriptor)
    }

    fn write(&self, descriptor: Pa, value: RawDescriptor) {
        self.inner.write(descriptor, value);
    }

    fn compare_exchange(
        &self,
        descriptor: Pa,
        expected: RawDescriptor,
        new: RawDescriptor,
    ) -> Result<(), RawDescriptor> {
        if self.sabotage == Sabotage::NoCompare {
            self.inner.write(descriptor, new);
            return Ok(());
        }
        self.inner.compare_exchange(descriptor, expected, new)
    }

    fn zero(&self, page: Pa, bytes: u64) {
        if !self.is_skipped(Verb::Zero) {
            self.inner.zero(page, bytes);
        }
    }

    fn dsb(&self, domain: Dsb) {
        let verb = match domain {
            Dsb::Ish => Verb::DsbIsh,
            Dsb::Ishst => Verb::DsbIshst,
            Dsb::Nsh => Verb::DsbNsh,
        };
        if !self.is_skipped(verb) {
            self.inner.dsb(domain);
        }
    }

    fn isb(&self) {
        if !self.is_skipped(Verb::Isb) {
            self.inner.isb();
        }
    }

    fn tlbi(&self, operation: Tlbi) {
        if !self.is_skipped(Verb::of(operation)) {
            self.inner.tlbi(self.altered(operation));
        }
    }

    fn ic(&self, operation: Ic) {
        self.inner.ic(operation);
    }

    fn clean_invalidate_data(&self, from: Pa, bytes: u64) {
        self.inner.clean_invalidate_data(from, bytes);
    }

    fn vttbr(&self) -> Vttbr {
        self.inner.vttbr()
    }

    fn set_vttbr(&self, value: Vttbr) {
        self.inner.set_vttbr(value);
    }

    fn vtcr(&self) -> Vtcr {
        self.inner.vtcr()
    }

    fn set_vtcr(&self, value: Vtcr) {
        self.inner.set_vtcr(value);
    }
}
