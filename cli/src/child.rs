//! Child processes: what they print, piece by piece or at once, and that they do not outlive us.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};

/// How many of a failed command's last lines an error shows.
const LAST_LINES: usize = 5;
/// No answer is longer, in bytes.
const ANSWER_MAX: usize = 64 << 10;
/// How often a child is asked whether it has ended.
const POLL: Duration = Duration::from_millis(5);

/// What a command printed.
///
/// # Errors
/// If it cannot be started or fails; then with what it said last.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().context(|| format!("cannot run {name}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines
        .get(lines.len().saturating_sub(LAST_LINES)..)
        .unwrap_or_default();
    Err(Error::new(format!("{name} failed ({})", output.status)).because(last.join("\n  ")))
}

/// What a command answers that does so at once: one that takes longer than `limit`, or says more than an answer, is ended.
///
/// # Errors
/// As [`output`], and if it is ended.
pub(crate) fn answer(command: &mut Command, limit: Duration) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context(|| format!("cannot run {name}"))?;
    let deadline = Instant::now() + limit;
    let mut child = Mortal(child);
    let (sender, pieces) = mpsc::channel();
    if let Some(stdout) = child.0.stdout.take() {
        forward(stdout, sender, |piece| piece);
    }
    let mut said = Vec::new();
    while said.len() <= ANSWER_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        match pieces.recv_timeout(left) {
            Ok(piece) => said.extend(piece),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                return Err(Error::new(format!(
                    "{name} does not answer within {} s",
                    limit.as_secs()
                )));
            }
        }
    }
    if said.len() > ANSWER_MAX {
        return Err(Error::new(format!("{name} does not stop to talk")));
    }
    match child.ended_by(deadline)? {
        Some(status) if status.success() => Ok(String::from_utf8_lossy(&said).into_owned()),
        Some(status) => Err(Error::new(format!("{name} failed ({status})"))),
        None => Err(Error::new(format!("{name} does not end"))),
    }
}

/// Passes a stream on piece by piece, each as `wrap` makes it, in a thread of its own, until it ends or nobody listens.
pub(crate) fn forward<T: Send + 'static>(
    mut stream: impl Read + Send + 'static,
    sender: Sender<T>,
    wrap: fn(Vec<u8>) -> T,
) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let piece = buffer.get(..count).unwrap_or_default().to_vec();
            if sender.send(wrap(piece)).is_err() {
                return;
            }
        }
    });
}

/// The program that runs.
pub const SELF: &str = "/proc/self/exe";

/// The program and the arguments of a command, to be started by `program`, which has a [`Tie`](crate::Tie), so that the
/// kernel kills it when the thread that started it has ended, even if by a signal that nobody can catch. What else the
/// command has (its environment, its streams) is left out, so it is the caller's to add.
pub fn tied(command: &Command, program: impl AsRef<OsStr>) -> Command {
    let mut tied = Command::new(program);
    tied.arg("tie").arg(std::process::id().to_string());
    tied.arg(command.get_program()).args(command.get_args());
    tied
}

/// A child that dies with this value. Unless it is [`tied`], it lives on where there is no time to drop values.
#[derive(Debug)]
pub(crate) struct Mortal(pub(crate) Child);

impl Mortal {
    /// Waits for the child's own end.
    ///
    /// # Errors
    /// If the system cannot say.
    pub(crate) fn ended(&mut self) -> Result<ExitStatus> {
        let status = self.0.wait();
        status.context(|| "cannot wait for a child process".into())
    }

    /// Waits for the child's own end until `deadline`; `None` if it lives on.
    ///
    /// # Errors
    /// If the system cannot say.
    pub(crate) fn ended_by(&mut self, deadline: Instant) -> Result<Option<ExitStatus>> {
        loop {
            let status = self
                .0
                .try_wait()
                .context(|| "cannot wait for a child process".into())?;
            if status.is_some() || Instant::now() >= deadline {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        // Either may fail only because the child is dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_says_what_it_said_last() {
        let script = "for i in 1 2 3 4 5 6; do echo line $i >&2; done; exit 3";
        let error = output(Command::new("sh").args(["-c", script])).expect_err("fails");
        assert_eq!(
            error.to_string(),
            "sh failed (exit status: 3): line 2\n  line 3\n  line 4\n  line 5\n  line 6"
        );
    }

    #[test]
    fn a_command_that_is_not_there_is_named() {
        let error = output(&mut Command::new("/nonexistent/apt-get")).expect_err("is not there");
        assert!(
            error
                .to_string()
                .starts_with("cannot run /nonexistent/apt-get"),
            "{error}"
        );
    }

    #[test]
    fn a_command_that_does_not_answer_is_not_waited_for() {
        let ask = |script: &str, seconds: u64| {
            let limit = Duration::from_secs(seconds);
            answer(Command::new("sh").args(["-c", script]), limit).map_err(|e| e.to_string())
        };
        assert_eq!(ask("echo yes", 60), Ok("yes\n".into()));
        assert_eq!(
            ask("exec sleep 600", 1),
            Err("sh does not answer within 1 s".into())
        );
        assert_eq!(ask("exec yes", 60), Err("sh does not stop to talk".into()));
        assert_eq!(
            ask("exec >&-; exec sleep 600", 5),
            Err("sh does not end".into())
        );
        assert_eq!(ask("exit 3", 60), Err("sh failed (exit status: 3)".into()));
    }

    #[test]
    fn a_child_that_lives_on_is_told_from_one_that_ended() {
        let spawn =
            |seconds: &str| Mortal(Command::new("sleep").arg(seconds).spawn().expect("started"));
        let soon = Instant::now() + Duration::from_millis(50);
        assert_eq!(spawn("60").ended_by(soon), Ok(None));
        let late = Instant::now() + Duration::from_secs(20);
        assert!(
            spawn("0")
                .ended_by(late)
                .expect("asked")
                .is_some_and(|status| status.success())
        );
    }
}
