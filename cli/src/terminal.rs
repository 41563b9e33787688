//! The user's terminal, which QEMU switches to raw keys and may leave so when it dies.

use std::io;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// The terminal's settings as they were; dropping this puts them back.
#[derive(Debug)]
pub(crate) struct Saved {
    termios: Option<Termios>,
    flags: Option<OFlags>,
}

/// Remembers the settings of the terminal on stdin, if there is one.
pub(crate) fn save() -> Saved {
    Saved {
        termios: tcgetattr(stdin()).ok(),
        flags: fcntl_getfl(stdin()).ok(),
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        // The terminal may be gone by now; then there is nothing to put back.
        if let Some(termios) = &self.termios {
            let _ = tcsetattr(stdin(), OptionalActions::Now, termios);
        }
        if let Some(flags) = self.flags {
            let _ = fcntl_setfl(stdin(), flags);
        }
    }
}

/// Writes to stdout at once, without a buffer. QEMU makes stdin non-blocking, and with it stdout where both are the same
/// terminal; then this waits until there is room.
///
/// # Errors
/// If nobody reads stdout any more.
pub(crate) fn write_stdout(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(stdout(), bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::AGAIN) => {
                let mut ready = [PollFd::from_borrowed_fd(stdout(), PollFlags::OUT)];
                poll(&mut ready, None)?;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
