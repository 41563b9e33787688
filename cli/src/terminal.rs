//! The user's terminal, which QEMU switches to raw keys and may leave so when it dies.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::error::{Context, Result};

/// A terminal's settings as they were; dropping this puts them back.
#[derive(Debug)]
pub(crate) struct Saved<Fd: AsFd> {
    terminal: Fd,
    termios: Option<Termios>,
    flags: Option<OFlags>,
}

/// Remembers the settings of a terminal. Of anything else there is nothing to remember.
pub(crate) fn save<Fd: AsFd>(terminal: Fd) -> Saved<Fd> {
    let termios = tcgetattr(&terminal).ok();
    let flags = fcntl_getfl(&terminal).ok();
    Saved {
        terminal,
        termios,
        flags,
    }
}

impl<Fd: AsFd> Drop for Saved<Fd> {
    fn drop(&mut self) {
        // The terminal may be gone by now; then there is nothing to put back.
        if let Some(termios) = &self.termios {
            let _ = tcsetattr(&self.terminal, OptionalActions::Now, termios);
        }
        if let Some(flags) = self.flags {
            let _ = fcntl_setfl(&self.terminal, flags);
        }
    }
}

/// A new terminal of this size that controls no process: the side that a user has, and the side that a program has.
///
/// # Errors
/// If the system has none to give.
pub(crate) fn open(rows: u16, columns: u16) -> Result<(File, File)> {
    let open = || {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&user)?;
        unlockpt(&user)?;
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&user, size)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let program = ioctl_tiocgptpeer(&user, flags)?;
        Ok::<_, Errno>((user.into(), program.into()))
    };
    open().context(|| "cannot open a terminal".into())
}

/// Writes at once, without a buffer. QEMU makes stdin non-blocking, and with it stdout where both are the same terminal;
/// then this waits until there is room.
///
/// # Errors
/// If nobody reads any more.
pub(crate) fn write(to: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&to, PollFlags::OUT)], None)?;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::termios::LocalModes;
    use std::io::Read as _;

    #[test]
    fn a_terminal_that_was_made_raw_is_put_back() {
        let (_user, program) = open(24, 80).expect("a terminal");
        let before = tcgetattr(&program).expect("settings").local_modes;
        assert!(before.contains(LocalModes::ECHO | LocalModes::ICANON));
        let saved = save(&program);
        let mut raw = tcgetattr(&program).expect("settings");
        raw.make_raw();
        tcsetattr(&program, OptionalActions::Now, &raw).expect("set");
        fcntl_setfl(&program, OFlags::RDWR | OFlags::NONBLOCK).expect("set");
        drop(saved);
        assert_eq!(tcgetattr(&program).expect("settings").local_modes, before);
        assert!(
            !fcntl_getfl(&program)
                .expect("flags")
                .contains(OFlags::NONBLOCK)
        );
    }

    #[test]
    fn a_pipe_has_no_settings_to_put_back() {
        let (reader, _writer) = io::pipe().expect("a pipe");
        assert!(save(&reader).termios.is_none());
    }

    #[test]
    fn writing_waits_for_a_slow_reader() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        fcntl_setfl(&writer, OFlags::NONBLOCK).expect("set");
        let bytes = vec![7; 1 << 20];
        let received = std::thread::spawn(move || {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).map(|_| received)
        });
        write(&writer, &bytes).expect("written");
        drop(writer);
        assert_eq!(received.join().expect("joined").expect("read"), bytes);
    }

    #[test]
    fn writing_to_nobody_fails() {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        assert!(write(&writer, b"x").is_err());
    }
}
