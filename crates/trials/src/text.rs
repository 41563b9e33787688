//! Lines of `verb name=value …`, the form in which programs are written down.

use std::fmt;

/// What is wrong with a program's text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

/// One line.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    line: usize,
    /// The words without `=`.
    pub(crate) verb: &'a str,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(line: usize, text: &'a str) -> Self {
        let mut verb = "";
        let mut named = Vec::new();
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some(field) => named.push(field),
                None => verb = word,
            }
        }
        Self { line, verb, named }
    }

    pub(crate) fn error(&self, message: String) -> ParseError {
        ParseError {
            line: self.line,
            message,
        }
    }

    /// The field is there and means nothing.
    pub(crate) fn wrong(&self, name: &str) -> ParseError {
        self.error(format!("{name} has no such value"))
    }

    pub(crate) fn word(&self, name: &str) -> Result<&'a str, ParseError> {
        let field = self.named.iter().find(|(known, _)| *known == name);
        field
            .map(|&(_, value)| value)
            .ok_or_else(|| self.error(format!("{} needs {name}=", self.verb)))
    }

    /// A number, decimal or hexadecimal with `0x`.
    pub(crate) fn number(&self, name: &str) -> Result<u64, ParseError> {
        let word = self.word(name)?;
        let number = match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => word.parse(),
        };
        number.map_err(|_| self.wrong(name))
    }

    pub(crate) fn small(&self, name: &str) -> Result<u8, ParseError> {
        u8::try_from(self.number(name)?).map_err(|_| self.wrong(name))
    }

    /// One of named values.
    pub(crate) fn named<T: Copy>(&self, name: &str, of: &[(T, &str)]) -> Result<T, ParseError> {
        let word = self.word(name)?;
        let found = of.iter().find(|(_, known)| *known == word);
        found
            .map(|&(value, _)| value)
            .ok_or_else(|| self.wrong(name))
    }
}

/// The name of a value among named ones.
pub(crate) fn name_of<'n, T: PartialEq>(value: &T, of: &[(T, &'n str)]) -> &'n str {
    of.iter()
        .find(|(known, _)| known == value)
        .map_or("?", |&(_, name)| name)
}
