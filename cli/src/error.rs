//! Errors that say what failed, why, and what to try.

use std::fmt;

/// A result whose error is meant for the user.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed, on what, why, and what to do about it.
///
/// ```
/// let error = droste::Error::new("cannot read vm.toml").because("permission denied").help("make it readable");
/// assert_eq!(error.to_string(), "cannot read vm.toml: permission denied\n  help: make it readable");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    what: String,
    help: Vec<String>,
}

impl Error {
    /// An error that names what failed and on what.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            help: Vec::new(),
        }
    }

    /// What failed and why, without what to try.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.what = format!("{}: {cause}", self.what);
        self
    }

    /// Adds what to try; each call adds a line.
    #[must_use]
    pub fn help(mut self, remedy: impl Into<String>) -> Self {
        self.help.push(remedy.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for (index, line) in self.help.iter().enumerate() {
            let label = if index == 0 { "  help: " } else { "        " };
            write!(f, "\n{label}{line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Says what was being done when something failed.
pub trait Context<T> {
    /// Turns a foreign error into one that names what failed; `what` is asked only then.
    ///
    /// # Errors
    /// The given one, named.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::new(what()).because(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_remedies_stand_below_each_other() {
        let error = Error::new("a").help("b").help("c");
        assert_eq!(error.to_string(), "a\n  help: b\n        c");
    }

    #[test]
    fn a_foreign_error_gets_a_name() {
        let error = "x".parse::<u8>().context(|| "cannot count x".into());
        assert_eq!(
            error.expect_err("no number").to_string(),
            "cannot count x: invalid digit found in string"
        );
    }
}
