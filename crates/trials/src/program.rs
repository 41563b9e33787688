//! A program: a world and what happens in it, as a value that can be written down, read, run and shrunk.

use std::fmt;
use std::str::FromStr;

use crate::text::{Fields, ParseError};

/// A world, and with it a kind of programs.
pub trait Setting: Clone + Eq + fmt::Debug + fmt::Display {
    /// What happens in it, one after the other.
    type Step: Copy + Eq + fmt::Debug + fmt::Display;

    /// The world of the line that begins a program.
    ///
    /// # Errors
    /// What is wrong with the line.
    fn begin(fields: &Fields<'_>) -> Result<Self, ParseError>;

    /// Takes in what a further line says; false if that is a step.
    ///
    /// # Errors
    /// What is wrong with the line.
    fn take_in(&mut self, fields: &Fields<'_>) -> Result<bool, ParseError>;

    /// The step of a line.
    ///
    /// # Errors
    /// What is wrong with the line.
    fn step(fields: &Fields<'_>) -> Result<Self::Step, ParseError>;

    /// Whether such a world can be.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self) -> Result<(), String>;

    /// This with less, each time of one thing.
    fn plainer(&self) -> Vec<Self>;

    /// A step made smaller, each time in one respect.
    fn smaller(step: Self::Step) -> Vec<Self::Step>;
}

/// A program: [`stage2::Program`](crate::stage2::Program) or [`nested::Program`](crate::nested::Program).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program<W: Setting> {
    /// The machine, and who is on it.
    pub world: W,
    /// What happens, in order.
    pub steps: Vec<W::Step>,
}

impl<W: Setting> fmt::Display for Program<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.world)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl<W: Setting> FromStr for Program<W> {
    type Err = ParseError;

    /// Reads what [`Display`](fmt::Display) writes; empty lines and lines that begin with `#` count for nothing.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut world: Option<W> = None;
        let mut steps = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fields = Fields::new(index + 1, line);
            match &mut world {
                _ if fields.verb == "world" => world = Some(W::begin(&fields)?),
                None => return Err(fields.error("a program begins with a world".to_owned())),
                Some(world) => {
                    if !world.take_in(&fields)? {
                        steps.push(W::step(&fields)?);
                    }
                }
            }
        }
        let line = text.lines().count();
        let error = |message| ParseError { line, message };
        let world = world.ok_or_else(|| error("a program begins with a world".to_owned()))?;
        world.check().map_err(error)?;
        Ok(Self { world, steps })
    }
}
