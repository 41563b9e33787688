//! Runs QEMU for a user: passes the console on, takes the hypervisor's records out, and keeps the time.

use std::io::Read as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::stdio::{stdin, stdout};

use crate::error::{Context, Error, Result};
use crate::record::{Filter, Nonce, Record};
use crate::terminal;

/// How long a byte may be held back that could be the start of a record.
const HELD: Duration = Duration::from_millis(20);
/// How long QEMU may take to end after the hypervisor's last word.
const GRACE: Duration = Duration::from_secs(10);

/// Who types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keyboard {
    /// The terminal on stdin, which QEMU reads itself: `Ctrl-A x` ends it.
    Terminal,
    /// Nobody.
    None,
}

/// Runs a machine until it ends and returns the hypervisor's last record.
///
/// # Errors
/// If QEMU cannot be started, the limit passes, stdout is closed, or the machine ends without a record. The child is dead
/// then, and the terminal as it was.
pub fn run(
    mut command: Command,
    nonce: &Nonce,
    keyboard: Keyboard,
    limit: Option<Duration>,
) -> Result<Record> {
    let _terminal = (keyboard == Keyboard::Terminal).then(|| terminal::save(stdin()));
    let input = if keyboard == Keyboard::Terminal {
        Stdio::inherit()
    } else {
        Stdio::null()
    };
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command
        .stdin(input)
        .stdout(Stdio::piped())
        .spawn()
        .context(|| format!("cannot start {name}"))?;
    let mut child = Killed(child);
    let output = output(&mut child.0);
    let mut filter = Filter::new(nonce);
    let end = pump(
        &output,
        &mut filter,
        limit.map(|limit| Instant::now() + limit),
    )?;
    let status = child.end(if end == End::Closed {
        GRACE
    } else {
        Duration::ZERO
    })?;
    match (filter.into_record(), end, limit) {
        (Some(record), ..) => Ok(record),
        (None, End::Late, Some(limit)) => {
            Err(Error::new(format!("no end after {} s", limit.as_secs()))
                .help("give it longer with --timeout SECONDS, or look at what it said last"))
        }
        (None, ..) => Err(Error::new(format!(
            "QEMU ended ({status}) before the hypervisor's final report"
        ))
        .help("if you left it with Ctrl-A x, this is no mistake")
        .help("otherwise look at what it said last; -v shows QEMU's command line")),
    }
}

/// Why the output is no longer read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// QEMU closed it.
    Closed,
    /// The deadline passed, or QEMU stayed after the hypervisor's last word.
    Late,
}

/// Passes output on until it ends.
fn pump(output: &Receiver<Vec<u8>>, filter: &mut Filter, deadline: Option<Instant>) -> Result<End> {
    let mut deadline = deadline;
    let mut is_final = false;
    let mut shown = Vec::new();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let piece = output.recv_timeout(left.map_or(HELD, |left| left.min(HELD)));
        let is_closed = matches!(piece, Err(RecvTimeoutError::Disconnected));
        match piece {
            Ok(bytes) => filter.push(&bytes, &mut shown),
            Err(_) => filter.idle(&mut shown),
        }
        terminal::write(stdout(), &shown).context(|| "cannot write to stdout".into())?;
        shown.clear();
        if is_closed {
            return Ok(End::Closed);
        }
        if filter.has_record() && !is_final {
            is_final = true;
            deadline = Some(Instant::now() + GRACE);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(End::Late);
        }
    }
}

/// The child's stdout, piece by piece as it comes.
fn output(child: &mut Child) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(mut stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

/// A child that dies with this.
struct Killed(Child);

impl Killed {
    /// Waits for the child's own end, and kills it if that takes longer than `grace`.
    fn end(&mut self, grace: Duration) -> Result<ExitStatus> {
        let describe = || "cannot wait for QEMU".into();
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait().context(describe)? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        // It fails only if the child has just ended by itself.
        let _ = self.0.kill();
        self.0.wait().context(describe)
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Option<Duration> = Some(Duration::from_secs(20));

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn nonce() -> Nonce {
        Nonce::new(0x0123_4567_89ab_cdef)
    }

    fn reporting(outcome: &str, then: &str) -> Command {
        shell(&format!(
            r#"printf '%s\r\n' '{} {{"final":true,"outcome":"{outcome}"}}'; {then}"#,
            nonce()
        ))
    }

    #[test]
    fn a_final_record_is_the_result() {
        let record = run(reporting("ok", ""), &nonce(), Keyboard::None, LATE).expect("a record");
        assert_eq!(record.verdict(), Ok(()));
        let record =
            run(reporting("failed", ""), &nonce(), Keyboard::None, LATE).expect("a record");
        assert!(record.verdict().is_err());
    }

    #[test]
    fn an_end_without_a_record_fails() {
        let error = run(shell("exit 1"), &nonce(), Keyboard::None, LATE).expect_err("no record");
        assert!(
            error
                .to_string()
                .starts_with("QEMU ended (exit status: 1) before"),
            "{error}"
        );
    }

    #[test]
    fn silence_ends_at_the_limit() {
        let start = Instant::now();
        let limit = Some(Duration::from_millis(1200));
        let error =
            run(shell("exec sleep 60"), &nonce(), Keyboard::None, limit).expect_err("silent");
        assert!(error.to_string().starts_with("no end after 1 s"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(
            Command::new("/nonexistent/qemu"),
            &nonce(),
            Keyboard::None,
            LATE,
        )
        .expect_err("not there");
        assert!(
            error
                .to_string()
                .starts_with("cannot start /nonexistent/qemu"),
            "{error}"
        );
    }
}
