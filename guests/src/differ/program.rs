//! A program: descriptors in memory, and phases of code at levels of choice.
//!
//! A step of code has a slot of its own: four instructions that put the step's operand into x0, the step's instruction,
//! and an ISB. So where a step raises an exception the next one is known, nothing branches backwards, and an interrupt
//! that is pending is taken behind a step that is known.
//!
//! Its *parts* are what can be left out: a descriptor that is odd, a phase's bits of HCR_EL2 and of PSTATE, a step.

use super::instructions::STORE_WORD;
use crate::encode::{self, ISB};

/// Physical address, and IPA where stage 2 is on, of what programs are made of. Nothing of a machine of 128 MiB is there.
pub const BASE: u64 = 0x4400_0000;
/// The code of the phases, one behind another.
pub const CODE: u64 = BASE;
/// Bytes of one phase's code.
pub const PHASE_BYTES: u64 = 0x1000;
/// The vectors of EL1.
pub const VECTORS: u64 = BASE + 0x8000;
/// The data that programs read and write.
pub const DATA: u64 = BASE + 0x1_0000;
/// Bytes of it.
pub const DATA_BYTES: u64 = 0x1_0000;
/// Tables, each as large as the largest granule.
pub const TABLES: u64 = BASE + 0x10_0000;
/// Bytes of one.
pub const TABLE_BYTES: u64 = 0x1_0000;

/// The distributor.
pub const GICD: u64 = 0x0800_0000;
/// The frame of SGIs and PPIs of the vCPU's redistributor.
pub const GICR: u64 = 0x080b_0000;
const GIC_END: u64 = GICR + 0x1_0000;

/// How far behind its physical address EL0 of the guest's own level finds RAM: `map::open_to_el0`.
pub const EL0_ALIAS: u64 = (509 << 30) - crate::RAM_BASE;

/// Words of a slot.
pub const SLOT_WORDS: usize = 6;
/// Bytes of a slot.
pub const SLOT_BYTES: u64 = 4 * SLOT_WORDS as u64;
/// Most steps of a phase.
pub const STEPS: usize = 40;
/// Most phases.
pub const PHASES: usize = 4;
/// Most descriptors.
pub const ENTRIES: usize = 40;
/// Words of a phase with its end.
pub const WORDS: usize = (STEPS + 1) * SLOT_WORDS;

/// The immediate of the call that ends a phase.
pub const END: u16 = 0x7fff;
/// `NOP`.
pub(super) const NOP: u32 = 0xd503201f;

/// A few things, no more than `N`.
#[derive(Clone, Copy, Debug)]
pub struct List<T, const N: usize> {
    items: [T; N],
    used: usize,
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    /// None.
    pub fn new() -> Self {
        Self {
            items: [T::default(); N],
            used: 0,
        }
    }

    /// Adds one.
    ///
    /// # Panics
    /// If there is no room: who fills the list knows its length.
    pub fn push(&mut self, item: T) {
        assert!(self.add(item).is_some(), "the list is full");
    }

    /// Adds one if there is room.
    pub fn add(&mut self, item: T) -> Option<()> {
        *self.items.get_mut(self.used)? = item;
        self.used += 1;
        Some(())
    }

    /// Whether no more fits.
    pub fn is_full(&self) -> bool {
        self.used == N
    }
}

impl<T: Copy + Default, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> core::ops::Deref for List<T, N> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.items[..self.used]
    }
}

impl<T, const N: usize> core::ops::DerefMut for List<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items[..self.used]
    }
}

/// Where a phase starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Level {
    /// EL2 with its own stack pointer.
    #[default]
    El2,
    /// EL2 with SP_EL0.
    El2t,
    /// EL0 under EL2, with E2H = 1.
    HostEl0,
    /// EL1 with its own stack pointer.
    El1,
    /// EL1 with SP_EL0.
    El1t,
    /// EL0 under EL1.
    El0,
    /// EL1 in a guest without EL2, with its own stack pointer.
    OwnEl1,
    /// The same with SP_EL0.
    OwnEl1t,
    /// EL0 under it.
    OwnEl0,
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::El2,
        Self::El2t,
        Self::HostEl0,
        Self::El1,
        Self::El1t,
        Self::El0,
        Self::OwnEl1,
        Self::OwnEl1t,
        Self::OwnEl0,
    ];

    /// PSTATE there, with everything masked.
    pub const fn pstate(self) -> u64 {
        const MASKED: u64 = 0x3c0;
        MASKED
            | match self {
                Self::El2 => 9,
                Self::El2t => 8,
                Self::El1 | Self::OwnEl1 => 5,
                Self::El1t | Self::OwnEl1t => 4,
                Self::El0 | Self::HostEl0 | Self::OwnEl0 => 0,
            }
    }

    /// How far behind its physical address the code is there.
    pub const fn alias(self) -> u64 {
        match self {
            Self::HostEl0 | Self::OwnEl0 => EL0_ALIAS,
            _ => 0,
        }
    }

    /// Whether EL2's own translations are used there.
    pub const fn is_of_el2(self) -> bool {
        matches!(self, Self::El2 | Self::El2t | Self::HostEl0)
    }
}

/// What a step finds in x0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Operand {
    /// Whatever the step before left there.
    #[default]
    Kept,
    /// This.
    Value(u64),
    /// The address of the slot that is so many behind this one.
    Ahead(u8),
}

/// One instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Step {
    /// What it is, for people.
    pub what: &'static str,
    /// The instruction.
    pub word: u32,
    /// What it finds in x0.
    pub operand: Operand,
    /// Whether the program makes no sense without it, so that it is no part.
    pub is_fixed: bool,
    /// The register that it fills; 0 for none.
    pub fills: u8,
}

impl Step {
    /// A slot in which nothing is done.
    pub const NONE: Self = Self {
        what: "",
        word: NOP,
        operand: Operand::Kept,
        is_fixed: true,
        fills: 0,
    };
}

/// A descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// Its physical address.
    pub at: u64,
    /// What stands there.
    pub value: u64,
    /// What stands there if this part is left out; the same if it is no part.
    pub plain: u64,
}

/// Steps at one level.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phase {
    /// Where it starts.
    pub level: Level,
    /// HCR_EL2 beside RW and E2H.
    pub hcr: u64,
    /// More of it, as a part.
    pub more_hcr: u64,
    /// Bits of PSTATE that are the other way round, as a part.
    pub pstate: u64,
    /// What it does.
    pub steps: List<Step, STEPS>,
}

impl Phase {
    /// Its instructions at `at`, with the end behind them.
    pub fn words(&self, at: u64) -> List<u32, WORDS> {
        let mut words = List::new();
        for (n, step) in self.steps.iter().enumerate() {
            let here = at + SLOT_BYTES * n as u64;
            let operand = match step.operand {
                Operand::Kept => [NOP; 4],
                Operand::Value(value) => encode::set(0, value),
                Operand::Ahead(slots) => encode::set(0, here + SLOT_BYTES * u64::from(slots)),
            };
            for word in operand.into_iter().chain([step.word, ISB]) {
                words.push(word);
            }
        }
        let end = match self.level {
            Level::El1 | Level::El1t => encode::hvc(END),
            _ => encode::svc(END),
        };
        for _ in 0..SLOT_WORDS {
            words.push(end);
        }
        words
    }
}

/// A program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Program {
    /// What it is about.
    pub theme: &'static str,
    /// Descriptors that are written before it runs.
    pub entries: List<Entry, ENTRIES>,
    /// What runs, in this order.
    pub phases: List<Phase, PHASES>,
}

/// Something that can be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// A descriptor, by its number.
    Entry(usize),
    /// HCR_EL2's bits of a phase.
    Hcr(usize),
    /// PSTATE's bits of a phase.
    Pstate(usize),
    /// A step of a phase.
    Step(usize, usize),
}

/// Most parts: a mask of them is 64 bits.
pub const PARTS: usize = 64;

impl Program {
    /// Whether it changes the GIC beside its system registers.
    pub fn stores_to_gic(&self) -> bool {
        let mut steps = self.phases.iter().flat_map(|phase| phase.steps.iter());
        steps.any(|step| {
            let is_store = step.word == STORE_WORD.word;
            is_store && matches!(step.operand, Operand::Value(GICD..GIC_END))
        })
    }

    /// All parts, in the order of the bits of a mask.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let entries = self.entries.iter().enumerate();
        let entries = entries.filter(|(_, entry)| entry.value != entry.plain);
        let phases = self.phases.iter().enumerate();
        let of_phases = phases.flat_map(|(n, phase)| {
            let hcr = (phase.more_hcr != 0).then_some(Part::Hcr(n));
            let pstate = (phase.pstate != 0).then_some(Part::Pstate(n));
            let steps = phase.steps.iter().enumerate();
            let steps = steps.filter(|(_, step)| !step.is_fixed);
            hcr.into_iter()
                .chain(pstate)
                .chain(steps.map(move |(k, _)| Part::Step(n, k)))
        });
        entries
            .map(|(n, _)| Part::Entry(n))
            .chain(of_phases)
            .take(PARTS)
    }

    /// The program with those parts alone whose bits are set. A step that is left out stays as a NOP, so that no slot
    /// moves.
    #[must_use]
    pub fn with(&self, mask: u64) -> Self {
        let mut program = *self;
        for (bit, part) in self.parts().enumerate() {
            if mask >> bit & 1 == 0 {
                program.leave_out(part);
            }
        }
        program
    }

    fn leave_out(&mut self, part: Part) {
        match part {
            Part::Entry(n) => self.entries[n].value = self.entries[n].plain,
            Part::Hcr(phase) => self.phases[phase].more_hcr = 0,
            Part::Pstate(phase) => self.phases[phase].pstate = 0,
            Part::Step(phase, n) => self.phases[phase].steps[n] = Step::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(word: u32, is_fixed: bool) -> Step {
        Step {
            what: "step",
            word,
            operand: Operand::Value(5),
            is_fixed,
            fills: 0,
        }
    }

    fn sample() -> Program {
        let mut program = Program::default();
        for (value, plain) in [(1, 1), (3, 2)] {
            program.entries.push(Entry {
                at: TABLES,
                value,
                plain,
            });
        }
        let mut phase = Phase {
            more_hcr: 4,
            ..Phase::default()
        };
        phase.steps.push(step(0x11, true));
        phase.steps.push(step(0x22, false));
        program.phases.push(phase);
        program
    }

    #[test]
    fn what_is_fixed_is_no_part() {
        let program = sample();
        assert_eq!(program.parts().count(), 3);
        let none = program.with(0);
        assert_eq!(none.entries[1].value, 2);
        assert_eq!(none.phases[0].more_hcr, 0);
        assert_eq!(none.phases[0].steps[0].word, 0x11);
        assert_eq!(none.phases[0].steps[1].word, NOP);
    }

    #[test]
    fn a_mask_keeps_the_parts_that_it_names() {
        let one = sample().with(0b100);
        assert_eq!(one.entries[1].value, 2);
        assert_eq!(one.phases[0].more_hcr, 0);
        assert_eq!(one.phases[0].steps[1].word, 0x22);
    }

    #[test]
    fn slots_are_alike_and_know_where_others_are() {
        let mut phase = sample().phases[0];
        phase.steps[1].operand = Operand::Ahead(1);
        let words = phase.words(0x1000);
        assert_eq!(words.len(), 3 * SLOT_WORDS);
        assert_eq!(words[4..6], [0x11, ISB]);
        assert_eq!(words[6..10], encode::set(0, 0x1000 + 2 * SLOT_BYTES));
        assert_eq!(words[12], encode::svc(END));
    }
}
