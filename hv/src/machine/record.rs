//! The last record for the tool that started the machine, where nothing else is known.

use core::fmt::{self, Display, Write};

/// Such a record: the machine's nonce, what became of it, and why.
pub(crate) struct End<'a>(
    pub(crate) &'a str,
    pub(crate) &'a str,
    pub(crate) fmt::Arguments<'a>,
);

impl Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(nonce, outcome, why) = *self;
        write!(
            f,
            "{nonce} {{\"final\":true,\"outcome\":\"{outcome}\",\"message\":\"{}\"}}",
            Escaped(why)
        )
    }
}

/// Text as the inside of a JSON string.
struct Escaped<'a>(fmt::Arguments<'a>);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Escape<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.chars().try_for_each(|c| match c {
                    '"' | '\\' => write!(self.0, "\\{c}"),
                    c if c.is_control() => self.0.write_char(' '),
                    c => self.0.write_char(c),
                })
            }
        }
        write!(Escape(f), "{}", self.0)
    }
}
