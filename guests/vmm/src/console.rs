//! The terminal or pipe on stdin and stdout.

use crate::escape::{Key, Keys};
use crate::{During as _, Failure};
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::io::{self, Read as _, Stdout, Write};

/// Stdout: line by line in a pipe, byte by byte on a terminal. The serial port flushes after each byte, which would
/// make each byte a call of its own.
pub(crate) struct Output {
    stdout: Stdout,
    is_terminal: bool,
}

impl Output {
    /// This process's stdout.
    pub(crate) fn open() -> Self {
        Self {
            stdout: io::stdout(),
            is_terminal: isatty(rustix::stdio::stdout()),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stdout.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.is_terminal {
            self.stdout.flush()
        } else {
            Ok(())
        }
    }
}

/// A terminal on stdin that passes every key on at once, until this is dropped.
pub(crate) struct RawTerminal(Option<Termios>);

impl RawTerminal {
    /// Changes the terminal, if stdin is one.
    ///
    /// # Errors
    /// If it cannot be changed.
    pub(crate) fn enter() -> Result<Self, Failure> {
        if !isatty(stdin()) {
            return Ok(Self(None));
        }
        let before = tcgetattr(stdin()).during("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).during("cannot set the terminal")?;
        Ok(Self(Some(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that is gone needs no settings.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

/// Passes what comes on stdin to `receive`, until stdin ends, or somebody types the keys that end the guest: then
/// returns `true`.
///
/// # Errors
/// Those of `receive`.
pub(crate) fn pump(mut receive: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<bool, Failure> {
    let is_terminal = isatty(stdin());
    let mut keys = Keys::default();
    let mut bytes = [0; 64];
    loop {
        // An input that fails is as good as one that ended: the guest goes on without.
        let count = io::stdin().lock().read(&mut bytes).unwrap_or(0);
        if count == 0 {
            return Ok(false);
        }
        let mut typed = Vec::new();
        for &byte in &bytes[..count] {
            match if is_terminal {
                keys.push(byte)
            } else {
                Key::Guest(byte)
            } {
                Key::Guest(byte) => typed.push(byte),
                Key::Nothing => {}
                Key::End => return Ok(true),
            }
        }
        receive(&typed)?;
    }
}
