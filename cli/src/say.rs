//! What `droste` itself says. Its results go to stdout, and that they did not get there is an error like any other. What
//! it says beside that goes to stderr; where nobody hears it, there is nobody to be told.

use rustix::stdio::{stderr, stdout};

use crate::error::{Context, Result};
use crate::terminal;

/// A line of a result.
///
/// # Errors
/// If it cannot be written.
pub fn result(line: &str) -> Result<()> {
    terminal::write(stdout(), format!("{line}\n").as_bytes())
        .context(|| "cannot write to stdout".into())
}

/// A line beside the result.
pub fn aside(line: &str) {
    raw(format!("{line}\n").as_bytes());
}

/// What another said beside the result, as it came.
pub(crate) fn raw(bytes: &[u8]) {
    let _ = terminal::write(stderr(), bytes);
}
