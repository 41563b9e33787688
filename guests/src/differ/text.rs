//! Programs as text: what is told of one that differs, and what stands in the corpus.
//!
//! ```text
//! about timers
//! [0x44100000] = 0x44000711
//! phase El2, HCR_EL2 0x8080000, PSTATE ^ 0x0
//! 0: CNTV_CTL_EL0 (d51de320), x0 0x3
//! 2: CNTV_CTL_EL0 (d53de324) to x4
//! ```
//!
//! A step begins with its slot. Slots that are not told are NOPs.

use super::program::{Entry, Level, NOP, Operand, Phase, Program, STEPS, Step};
use core::fmt;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "about {}", self.theme)?;
        for Entry { at, value, .. } in self.entries.iter() {
            writeln!(f, "[{at:#x}] = {value:#x}")?;
        }
        for phase in self.phases.iter() {
            let hcr = phase.hcr | phase.more_hcr;
            let Phase { level, pstate, .. } = phase;
            writeln!(f, "phase {level:?}, HCR_EL2 {hcr:#x}, PSTATE ^ {pstate:#x}")?;
            let steps = phase.steps.iter().enumerate();
            for (slot, step) in steps.filter(|(_, step)| step.word != NOP) {
                write!(f, "{slot}: {} ({:08x})", step.what, step.word)?;
                match step.operand {
                    Operand::Kept => {}
                    Operand::Value(value) => write!(f, ", x0 {value:#x}")?,
                    Operand::Ahead(slots) => write!(f, ", x0 the slot {slots} behind")?,
                }
                if step.fills != 0 {
                    write!(f, " to x{}", step.fills)?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

impl Program {
    /// Reads one, of which nothing is a part.
    ///
    /// # Errors
    /// The line that means nothing.
    pub fn read(text: &'static str) -> Result<Self, &'static str> {
        let mut program = Self::default();
        for line in text.lines() {
            program.read_line(line).ok_or(line)?;
        }
        Ok(program)
    }

    fn read_line(&mut self, line: &'static str) -> Option<()> {
        if let Some(theme) = line.strip_prefix("about ") {
            self.theme = theme;
        } else if let Some(entry) = line.strip_prefix('[') {
            let (at, value) = entry.split_once("] = ")?;
            let (at, value) = (number(at)?, number(value)?);
            self.entries.add(Entry {
                at,
                value,
                plain: value,
            })?;
        } else if let Some(phase) = line.strip_prefix("phase ") {
            let (level, rest) = phase.split_once(", HCR_EL2 ")?;
            let (hcr, pstate) = rest.split_once(", PSTATE ^ ")?;
            self.phases.add(Phase {
                level: self::level(level)?,
                hcr: number(hcr)?,
                pstate: number(pstate)?,
                ..Phase::default()
            })?;
        } else {
            let (slot, rest) = line.split_once(": ")?;
            let slot = slot.parse().ok()?;
            let steps = &mut self.phases.last_mut()?.steps;
            if slot < steps.len() || slot >= STEPS {
                return None;
            }
            while steps.len() < slot {
                steps.push(Step::NONE);
            }
            steps.push(step(rest)?);
        }
        Some(())
    }
}

fn step(text: &'static str) -> Option<Step> {
    let (what, rest) = text.split_once(" (")?;
    let (word, rest) = rest.split_once(')')?;
    let (rest, fills) = match rest.split_once(" to x") {
        Some((rest, register)) => (rest, register.parse().ok()?),
        None => (rest, 0),
    };
    let operand = match rest.strip_prefix(", x0 ") {
        None if rest.is_empty() => Operand::Kept,
        None => return None,
        Some(value) => match value.strip_prefix("the slot ") {
            Some(slots) => Operand::Ahead(slots.strip_suffix(" behind")?.parse().ok()?),
            None => Operand::Value(number(value)?),
        },
    };
    Some(Step {
        what,
        word: u32::from_str_radix(word, 16).ok()?,
        operand,
        is_fixed: true,
        fills,
    })
}

fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// Levels go by the names that Debug gives them.
fn level(name: &str) -> Option<Level> {
    struct Is<'a>(&'a str);
    impl fmt::Write for Is<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    Level::ALL.into_iter().find(|level| {
        let mut is = Is(name);
        fmt::write(&mut is, format_args!("{level:?}")).is_ok() && is.0.is_empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::differ::generate::Shape;
    use crate::differ::themes::program;
    use std::string::ToString;

    #[test]
    fn what_is_told_can_be_read() {
        for shape in [Shape::Vhe, Shape::Nvhe, Shape::El1] {
            for number in 0..500 {
                let made = program(3, number, shape);
                for mask in [u64::MAX, 0x5555_5555_5555_5555, 0] {
                    let told = made.with(mask).to_string();
                    let read = Program::read(told.clone().leak()).map(|read| read.to_string());
                    assert_eq!(read.as_ref(), Ok(&told));
                }
            }
        }
    }

    #[test]
    fn what_is_read_runs_as_what_was_told() {
        let made = program(3, 14, Shape::Vhe).with(0x0f0f);
        let read = Program::read(made.to_string().leak()).expect("it is a program");
        for (made, read) in made.phases.iter().zip(read.phases.iter()) {
            let (made, read) = (made.words(0), read.words(0));
            let (made, read) = (made.iter(), read.iter());
            // What is left out at the end does not stay.
            let differ = made.zip(read).find(|(made, read)| made != read);
            assert!(differ.is_none_or(|(made, _)| *made == NOP), "{differ:x?}");
        }
    }

    #[test]
    fn a_line_that_means_nothing_is_named() {
        for line in [
            "phase El3, HCR_EL2 0x0, PSTATE ^ 0x0",
            "[44100000] = 0x1",
            "0: nop (d503201f)",
            "words",
        ] {
            assert_eq!(Program::read(line).err(), Some(line));
        }
        let twice = "phase El2, HCR_EL2 0x0, PSTATE ^ 0x0\n1: eret (d69f03e0)\n1: eret (d69f03e0)";
        assert_eq!(Program::read(twice).err(), Some("1: eret (d69f03e0)"));
    }
}
