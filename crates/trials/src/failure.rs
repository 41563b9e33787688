//! How a program fails, and what is reported of one that does not.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use droste_mmu_model::{Rule, Violation};

use crate::program::{Program, Setting};

/// What a program did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Operations on tables, slots and contexts, guest accesses that took a fault among them.
    pub operations: u64,
    /// Accesses of guests that were judged.
    pub accesses: u64,
    /// Stage-2 faults that were answered.
    pub faults: u64,
    /// How often VMIDs ran out.
    pub rollovers: u64,
    /// Verbs that the model executed.
    pub verbs: u64,
}

impl Report {
    /// Operations per second of the time that they took.
    pub fn rate(self, time: Duration) -> u64 {
        let rate = u128::from(self.operations) * 1_000_000 / time.as_micros().max(1);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            operations: self.operations + other.operations,
            accesses: self.accesses + other.accesses,
            faults: self.faults + other.faults,
            rollovers: self.rollovers + other.rollovers,
            verbs: self.verbs + other.verbs,
        }
    }
}

/// What was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// A rule of the architecture.
    Violation(Violation),
    /// A rule of the oracle.
    Oracle {
        /// Which, in a few words.
        rule: &'static str,
        /// What happened instead.
        detail: String,
    },
    /// The library, which stopped with this message.
    Panic(String),
    /// The program itself: its world cannot be.
    World(String),
}

impl Problem {
    /// Whether both are the same mistake, as far as one can tell.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Violation(one), Self::Violation(other)) => one.rule == other.rule,
            (Self::Oracle { rule: one, .. }, Self::Oracle { rule: other, .. }) => one == other,
            (Self::Panic(one), Self::Panic(other)) => one == other,
            (Self::World(_), Self::World(_)) => true,
            _ => false,
        }
    }

    /// The rule of the architecture, if it is one.
    pub const fn rule(&self) -> Option<Rule> {
        match self {
            Self::Violation(violation) => Some(violation.rule),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(violation) => violation.fmt(f),
            Self::Oracle { rule, detail } => write!(f, "{rule}: {detail}"),
            Self::Panic(message) => write!(f, "the library panicked: {message}"),
            Self::World(message) => write!(f, "the world cannot be: {message}"),
        }
    }
}

/// A program that failed. Displayed it can be saved, read and run again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure<W: Setting> {
    /// What was broken.
    pub problem: Problem,
    /// The step at which it showed, from 0; as many as there are steps when it was after the last.
    pub step: usize,
    /// The program.
    pub program: Program<W>,
}

/// What became of a program.
pub type End<W> = Result<Report, Box<Failure<W>>>;

impl<W: Setting> fmt::Display for Failure<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.problem.to_string().lines() {
            writeln!(f, "# {line}")?;
        }
        match self.program.steps.get(self.step) {
            Some(step) => writeln!(f, "# at step {}: {step}", self.step)?,
            None => writeln!(f, "# after the last step")?,
        }
        fmt::Display::fmt(&self.program, f)
    }
}

impl<W: Setting> std::error::Error for Failure<W> {}

/// Executes a program if its world can be, and makes a failure of what goes wrong, panics too. The execution says
/// at which step it is.
pub(crate) fn guarded<W: Setting>(
    program: &Program<W>,
    execute: impl FnOnce(&Cell<usize>) -> Result<Report, Problem>,
) -> End<W> {
    let at = Cell::new(0);
    let ran = match program.world.check() {
        Err(message) => Err(Problem::World(message)),
        Ok(()) => catch_unwind(AssertUnwindSafe(|| execute(&at)))
            .unwrap_or_else(|payload| Err(Problem::Panic(message(payload.as_ref())))),
    };
    ran.map_err(|problem| {
        Box::new(Failure {
            problem,
            step: at.get(),
            program: program.clone(),
        })
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message").to_owned()
}
