//! Programs that once differed, or that must not: kept as they are, whatever the generator makes by now.
//!
//! `corpus.txt` has them, separated by empty lines, each as [`text`](super::text) has it behind lines that say of which
//! kind it is, on which processor it differed if not on the usual one, and why it stands there. `cargo xtask differ
//! --keep` adds them.

use super::generate::Shape;
use super::program::Program;

const TEXT: &str = include_str!("corpus.txt");

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// For which machine.
    pub shape: Shape,
    /// What is right, or was wrong.
    pub why: &'static str,
    /// What runs.
    pub program: Program,
}

/// All of them.
///
/// # Panics
/// If a line of the text means nothing.
pub fn all() -> impl Iterator<Item = Kept> {
    let texts = TEXT.split("\n\n").map(str::trim);
    let programs = texts.filter(|text| text.starts_with("kind "));
    programs.map(|text| read(text).unwrap_or_else(|line| panic!("corpus: {line:?}")))
}

fn read(text: &'static str) -> Result<Kept, &'static str> {
    let (kind, rest) = text.split_once('\n').ok_or(text)?;
    let rest = match rest.split_once('\n') {
        Some((cpu, rest)) if cpu.starts_with("cpu ") => rest,
        _ => rest,
    };
    let (why, program) = rest.split_once('\n').ok_or(rest)?;
    Ok(Kept {
        shape: kind
            .strip_prefix("kind ")
            .and_then(Shape::of_kind)
            .ok_or(kind)?,
        why: why.strip_prefix("why ").ok_or(why)?,
        program: Program::read(program)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_can_be_read_and_says_why() {
        let texts = TEXT.split("\n\n").filter(|text| !text.starts_with('#'));
        assert_eq!(all().count(), texts.count());
        for kept in all() {
            assert!(!kept.why.is_empty());
            assert!(!kept.program.phases.is_empty());
        }
    }

    #[test]
    fn a_header_that_lacks_a_line_is_named() {
        let line = "kind EL7\nwhy x\nabout x";
        assert_eq!(read(line).err(), Some("kind EL7"));
        assert_eq!(read("kind vhe\nabout x\n").err(), Some("about x"));
        assert!(read("kind vhe-neighbour\ncpu max\nwhy x\nabout x").is_ok());
    }
}
