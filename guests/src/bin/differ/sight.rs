//! What is seen of a program.

use droste_guests::differ::program::{Operand, Program};

/// What it is that was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// Vector of an exception to EL2.
    Vector,
    /// ESR_EL2.
    Esr,
    /// FAR_EL2.
    Far,
    /// HPFAR_EL2.
    Hpfar,
    /// ELR_EL2: the slot and the word in it, or an address.
    Elr,
    /// SPSR_EL2.
    Spsr,
    /// ESR_EL1 of an exception to EL1.
    Esr1,
    /// FAR_EL1.
    Far1,
    /// ELR_EL1.
    Elr1,
    /// SPSR_EL1.
    Spsr1,
    /// INTID of an interrupt.
    Intid,
    /// A general register at the end of a phase.
    X(u8),
    /// A word of data that was stored to: its offset.
    Data,
    /// And what it is.
    Word,
    /// A descriptor at the end.
    Entry,
    /// The program did not come back.
    Stuck,
}

/// Something seen, and in which program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'a> {
    pub(crate) what: What,
    pub(crate) value: u64,
    /// The phase.
    pub(crate) phase: usize,
    /// The slot that was left, or that filled a register.
    pub(crate) slot: usize,
    pub(crate) program: &'a Program,
}

impl Sight<'_> {
    /// Whether it is what a step of this name left in a register.
    pub(crate) fn is_of(&self, what: &str) -> bool {
        let step = self
            .program
            .phases
            .get(self.phase)
            .and_then(|phase| phase.steps.get(self.slot));
        matches!(self.what, What::X(_)) && step.is_some_and(|step| step.what == what)
    }

    /// What the program writes to a register, one value after another, by the register's name.
    pub(crate) fn written(&self, what: &str) -> impl DoubleEndedIterator<Item = u64> {
        let steps = self
            .program
            .phases
            .iter()
            .flat_map(|phase| phase.steps.iter());
        steps.filter_map(move |step| match step.operand {
            Operand::Value(value) if step.what == what && step.fills == 0 => Some(value),
            _ => None,
        })
    }

    /// Whether one of the program's steps has a name that begins so.
    pub(crate) fn has_step(&self, begin: &str) -> bool {
        let mut steps = self
            .program
            .phases
            .iter()
            .flat_map(|phase| phase.steps.iter());
        steps.any(|step| step.what.starts_with(begin))
    }

    /// HCR_EL2 in the phase.
    pub(crate) fn hcr(&self) -> u64 {
        let phase = self.program.phases.get(self.phase);
        phase.map_or(0, |phase| phase.hcr | phase.more_hcr)
    }
}
