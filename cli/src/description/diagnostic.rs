//! What is wrong, where, and what to do about it.

use std::fmt;
use std::ops::Range;

use crate::error::Error;

/// A location in a description: a file, and in it a line and a column, both counted from 1. A flag of the command line
/// stands as a file without lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    file: String,
    position: Option<(usize, usize)>,
}

impl Location {
    /// A file as a whole, or a flag.
    pub fn whole(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            position: None,
        }
    }

    /// Whether it is a flag of the command line.
    pub(super) fn is_flag(&self) -> bool {
        self.position.is_none() && self.file.starts_with("--")
    }

    /// The start of a range of bytes in the text of a file.
    pub fn in_text(file: &str, text: &str, span: &Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        Self {
            file: file.to_owned(),
            position: Some((line, column)),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match self.position {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

/// A value and its location.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands; for a value that was not given, where it would.
    pub location: Location,
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Where.
    pub location: Location,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}\n  help: {}",
            self.location, self.message, self.help
        )
    }
}

/// All findings as one error, file by file in the order in which the files first appear, each from its first line on.
///
/// # Errors
/// If there are any.
pub fn report(diagnostics: &[Diagnostic]) -> Result<(), Error> {
    if diagnostics.is_empty() {
        return Ok(());
    }
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|found| {
        let file = &found.location.file;
        (
            diagnostics
                .iter()
                .position(|other| other.location.file == *file),
            found.location.position,
        )
    });
    let lines: Vec<String> = sorted.iter().map(ToString::to_string).collect();
    Err(Error::new(lines.join("\nerror: ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let text = "a = 1\n# ü\nü = 2\n";
        let at = |needle| {
            let start = text.find(needle).expect("there");
            Location::in_text("f", text, &(start..start + 1)).to_string()
        };
        assert_eq!(at("a"), "f:1:1");
        assert_eq!(at("2"), "f:3:5");
        assert_eq!(Location::in_text("f", text, &(99..99)).to_string(), "f:4:1");
    }

    #[test]
    fn a_report_holds_every_finding_in_the_order_of_the_lines() {
        let finding = |line| Diagnostic {
            location: Location {
                file: "f".into(),
                position: Some((line, 1)),
            },
            message: "wrong".into(),
            help: "right it".into(),
        };
        let error = report(&[finding(2), finding(1)]).expect_err("two");
        assert_eq!(
            error.to_string(),
            "f:1:1: wrong\n  help: right it\nerror: f:2:1: wrong\n  help: right it"
        );
        assert_eq!(report(&[]), Ok(()));
    }
}
