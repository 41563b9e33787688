//! A child process whose output is awaited piece by piece under one deadline, and whose input can be typed.
//!
//! A test that waits for a guest ends by what the guest says, by its death, or by the deadline; never by silence. The
//! child dies with the value that holds it.
//!
//! One reader reads both streams. Two would hand on in any order what the child said first on stdout and then on stderr.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::child::Mortal;
use crate::error::{Context, Error, Result};
use crate::qemu::transcript::{Piece, Transcript};
use crate::terminal;

/// How much of the output an error shows, in bytes.
const TAIL: usize = 2000;
/// How long what is said on stderr waits for the end of a line on stdout.
const HELD: Duration = Duration::from_millis(200);
/// How much is read at once, in bytes.
const PIECE: usize = 4096;
const UNREAD: &str = "cannot read what a child process says";

/// The size of the terminal at which somebody is believed to sit.
const ROWS: u16 = 31;
const COLUMNS: u16 = 101;

/// A running child, and all that it has said.
///
/// ```
/// use std::{process::Command, time::Duration};
/// use droste::qemu::Session;
///
/// let mut shell = Command::new("sh");
/// shell.args(["-c", "echo name?; read name; echo hello $name"]);
/// let mut session = Session::start(shell, Duration::from_secs(10))?;
/// session.wait_for("name?")?;
/// session.send("droste\n")?;
/// session.wait_for("hello droste")?;
/// assert!(session.finish()?.contains("hello droste"));
/// # Ok::<(), droste::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    child: Mortal,
    stdin: Option<File>,
    /// The other ends of its streams, until it closes them.
    stdout: Option<File>,
    stderr: Option<File>,
    deadline: Instant,
    limit: Duration,
    transcript: Transcript,
    /// Where the search for the next marker starts in the transcript.
    seen: usize,
}

impl Session {
    /// Starts a command with its input and output in our hands. It must end within `limit`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(mut command: Command, limit: Duration) -> Result<Self> {
        command.stdin(Stdio::piped());
        Self::spawn(command, None, limit)
    }

    /// The same for a child that is to believe that somebody sits there: its input is a terminal.
    ///
    /// # Errors
    /// If it cannot be started, or the system has no terminal to give.
    pub fn start_on_terminal(mut command: Command, limit: Duration) -> Result<Self> {
        let (user, program) = terminal::open(ROWS, COLUMNS)?;
        command.stdin(program);
        Self::spawn(command, Some(user), limit)
    }

    /// Starts a command whose input comes from `keyboard`, or from its own pipe.
    fn spawn(mut command: Command, keyboard: Option<File>, limit: Duration) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context(|| format!("cannot start {name}"))?;
        Ok(Self {
            stdin: keyboard.or_else(|| Some(OwnedFd::from(child.stdin.take()?).into())),
            stdout: child.stdout.take().map(|pipe| OwnedFd::from(pipe).into()),
            stderr: child.stderr.take().map(|pipe| OwnedFd::from(pipe).into()),
            child: Mortal(child),
            deadline: Instant::now() + limit,
            limit,
            transcript: Transcript::default(),
            seen: 0,
        })
    }

    /// Waits until the output, after the last marker that was found, holds `marker`.
    ///
    /// # Errors
    /// If the child ends or the deadline passes first; with the end of what it said.
    pub fn wait_for(&mut self, marker: &str) -> Result<()> {
        self.wait_until(self.seen, marker, |said| {
            said.find(marker).map(|at| at + marker.len())
        })
    }

    /// Waits until the output from byte `from` on holds what `end_of` finds the end of; `marker` is its name.
    ///
    /// # Errors
    /// As [`wait_for`](Self::wait_for).
    pub fn wait_until(
        &mut self,
        from: usize,
        marker: &str,
        end_of: impl Fn(&str) -> Option<usize>,
    ) -> Result<()> {
        loop {
            let said = self.transcript().get(from..).unwrap_or_default();
            if let Some(end) = end_of(said) {
                self.seen = self.seen.max(from + end);
                return Ok(());
            }
            if !self.receive()? {
                return Err(self.error(&format!("the output ended without {marker:?}")));
            }
        }
    }

    /// Where the last marker that was found ends in the transcript; 0 before any.
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// Types text.
    ///
    /// # Errors
    /// If the child no longer reads.
    pub fn send(&mut self, text: &str) -> Result<()> {
        let sent = match &mut self.stdin {
            Some(stdin) => stdin
                .write_all(text.as_bytes())
                .and_then(|()| stdin.flush()),
            None => Ok(()),
        };
        sent.map_err(|error| self.error(&format!("cannot type {text:?} ({error})")))
    }

    /// Waits for the child's own end and returns all that it said.
    ///
    /// # Errors
    /// If the deadline passes first, or the child fails.
    pub fn finish(mut self) -> Result<String> {
        let status = self.end()?;
        if status.success() {
            Ok(self.transcript.into_text())
        } else {
            Err(self.error(&format!("it ended with {status}")))
        }
    }

    /// Waits for the child's own end, good or not. All that it said is in the transcript then.
    ///
    /// # Errors
    /// If the deadline passes first.
    pub fn end(&mut self) -> Result<ExitStatus> {
        while self.receive()? {}
        self.wait()
    }

    /// All that it has said so far.
    pub fn transcript(&self) -> &str {
        self.transcript.text()
    }

    /// Adds one piece of output to the transcript; `false` at its end.
    fn receive(&mut self) -> Result<bool> {
        if self.stdout.is_none() && self.stderr.is_none() {
            self.transcript.release();
            return Ok(false);
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let is_held = self.transcript.is_held();
        match self.read(if is_held { left.min(HELD) } else { left })? {
            // A child that talks on and on is late as well.
            Some(piece) if !left.is_zero() => self.transcript.add(piece),
            None if is_held && !left.is_zero() => self.transcript.release(),
            _ => {
                self.transcript.release();
                return Err(self.error(&format!("it took longer than {} s", self.limit.as_secs())));
            }
        }
        Ok(true)
    }

    /// The next piece of output, an empty one at the end of a stream; `None` if none comes within `timeout`.
    fn read(&mut self, timeout: Duration) -> Result<Option<Piece>> {
        if !is_ready(&[&self.stdout, &self.stderr], timeout)? {
            return Ok(None);
        }
        // Asked last: what the child said there before it said anything on stderr has come by now.
        let is_stdout = is_ready(&[&self.stdout], Duration::ZERO)?;
        let (stream, wrap): (_, fn(Vec<u8>) -> Piece) = if is_stdout {
            (&mut self.stdout, Piece::Stdout)
        } else {
            (&mut self.stderr, Piece::Stderr)
        };
        let mut buffer = vec![0; PIECE];
        let count = match stream {
            Some(pipe) => pipe.read(&mut buffer).context(|| UNREAD.into())?,
            None => 0,
        };
        if count == 0 {
            *stream = None;
        }
        buffer.truncate(count);
        Ok(Some(wrap(buffer)))
    }

    /// The child has closed its output; it may take a moment to die.
    fn wait(&mut self) -> Result<ExitStatus> {
        drop(self.stdin.take());
        let status = self.child.ended_by(self.deadline)?;
        let late = format!("it did not end within {} s", self.limit.as_secs());
        status.ok_or_else(|| self.error(&late))
    }

    fn error(&self, what: &str) -> Error {
        let said = self.transcript();
        let tail = (said.len().saturating_sub(TAIL)..=said.len())
            .find_map(|start| said.get(start..))
            .unwrap_or_default();
        Error::new(what).because(format!("the output's end was\n{tail}"))
    }
}

/// Whether one of these streams can be read, or is at its end, within `timeout`.
fn is_ready(streams: &[&Option<File>], timeout: Duration) -> Result<bool> {
    let streams = streams.iter().filter_map(|stream| stream.as_ref());
    let mut streams: Vec<_> = streams.map(|s| PollFd::new(s, PollFlags::IN)).collect();
    let timeout = Timespec::try_from(timeout).ok();
    loop {
        match poll(&mut streams, timeout.as_ref()) {
            Err(Errno::INTR) => {}
            ready => return ready.map(|count| count > 0).context(|| UNREAD.into()),
        }
    }
}

/// Runs a command that must end by itself within `limit`, having said each marker in this order; returns all its output.
///
/// # Errors
/// If a marker is missing, the command fails, or the deadline passes; with the end of what it said.
pub fn run_with_deadline(command: Command, markers: &[&str], limit: Duration) -> Result<String> {
    let mut session = Session::start(command, limit)?;
    for marker in markers {
        session.wait_for(marker)?;
    }
    session.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    const SOON: Duration = Duration::from_secs(1);
    const LATE: Duration = Duration::from_secs(20);

    #[test]
    fn markers_are_found_in_their_order() {
        let output = run_with_deadline(shell("echo one; echo two"), &["one", "two"], LATE);
        assert_eq!(output, Ok("one\ntwo\n".into()));
        assert!(run_with_deadline(shell("echo two; echo one"), &["one", "two"], LATE).is_err());
    }

    #[test]
    fn what_was_said_on_stdout_first_stays_first() {
        // Both are there before either is read.
        for _ in 0..50 {
            let both = shell("echo one; echo two >&2; echo three >&2");
            let mut session = Session::start(both, LATE).expect("started");
            session.child.ended().expect("ended");
            session.wait_for("two\n").expect("said");
            assert_eq!(session.transcript(), "one\ntwo\nthree\n");
        }
    }

    #[test]
    fn a_marker_that_came_before_another_is_found_and_what_was_found_stays_so() {
        let script = "echo prompt; echo done; read line; echo done again";
        let mut session = Session::start(shell(script), LATE).expect("started");
        session.wait_for("done").expect("said");
        let seen = session.seen();
        let prompt = session.wait_until(0, "prompt", |said| said.find("prompt"));
        prompt.expect("said before");
        assert_eq!(session.seen(), seen);
        session.send("\n").expect("typed");
        session.wait_for("done").expect("said again");
        assert_eq!(session.transcript().matches("done").count(), 2);
    }

    #[test]
    fn what_is_said_on_stderr_does_not_wait_for_the_end_of_a_line_for_ever() {
        let script = "printf one; echo aside >&2; read line";
        let mut session = Session::start(shell(script), LATE).expect("started");
        session.wait_for("aside").expect("said");
    }

    #[test]
    fn a_child_on_a_terminal_reads_what_is_typed_there() {
        let script = shell("test -t 0 && echo ready; read line; echo got $line");
        let mut session = Session::start_on_terminal(script, LATE).expect("started");
        session.wait_for("ready").expect("a terminal");
        session.send("keys\n").expect("typed");
        session.wait_for("got keys").expect("read");
        session.finish().expect("ended");
        let output = run_with_deadline(shell("test -t 0 || echo no terminal"), &["no"], LATE);
        assert!(output.is_ok(), "a pipe is none");
    }

    #[test]
    fn silence_fails_at_the_deadline() {
        let error = run_with_deadline(shell("sleep 60"), &["done"], SOON).expect_err("silent");
        assert!(
            error.to_string().starts_with("it took longer than"),
            "{error}"
        );
    }

    #[test]
    fn talking_on_and_on_fails_at_the_deadline() {
        let error = run_with_deadline(shell("yes"), &["done"], SOON).expect_err("late");
        assert!(
            error.to_string().starts_with("it took longer than"),
            "{error}"
        );
    }

    #[test]
    fn a_child_that_ends_too_soon_is_told() {
        let error = run_with_deadline(shell("echo panic"), &["done"], LATE).expect_err("no marker");
        let error = error.to_string();
        assert!(
            error.starts_with("the output ended without \"done\"") && error.contains("panic"),
            "{error}"
        );
    }

    #[test]
    fn a_child_that_fails_is_told_though_its_markers_came() {
        let error =
            run_with_deadline(shell("echo done; exit 3"), &["done"], LATE).expect_err("failed");
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_child_that_closes_its_output_but_lives_on_is_stopped() {
        let closed = Duration::from_secs(5);
        let error =
            run_with_deadline(shell("exec >&- 2>&-; sleep 60"), &[], closed).expect_err("lives on");
        assert!(error.to_string().contains("did not end"), "{error}");
    }

    #[test]
    fn the_child_dies_with_its_session() {
        let mut session = Session::start(shell("echo $$; sleep 60"), LATE).expect("started");
        session.wait_for("\n").expect("its number");
        let status = std::path::PathBuf::from(format!("/proc/{}", session.transcript().trim()));
        assert!(status.exists());
        drop(session);
        assert!(!status.exists());
    }
}
