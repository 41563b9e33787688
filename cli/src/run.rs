//! Runs QEMU for a user: passes the console on, takes the hypervisor's records out, and keeps the time.

use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::stdio::{stderr, stdin, stdout};

use crate::child::{Mortal, forward};
use crate::error::{Context, Error, Result};
use crate::record::{Filter, Nonce, Record};
use crate::silence::Silence;
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

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The hypervisor's last record, if it came.
    pub record: Option<Record>,
    /// What was wrong with the machine's end, whatever the record says.
    pub fault: Option<Error>,
}

impl Ended {
    /// Whether all went well.
    ///
    /// # Errors
    /// What the hypervisor reported, else what was wrong with the machine's end.
    pub fn verdict(&self) -> Result<()> {
        if let Some(record) = &self.record {
            record.verdict()?;
        }
        self.fault.clone().map_or(Ok(()), Err)
    }
}

/// Runs a machine until it ends, or until the limit. The child is dead then, and the terminal as it was. `known` is what
/// may be the reason if no guest says anything.
///
/// # Errors
/// If QEMU cannot be started, or nobody reads stdout any more.
pub fn run(
    mut command: Command,
    nonce: &Nonce,
    keyboard: Keyboard,
    limit: Option<Duration>,
    known: Vec<String>,
) -> Result<Ended> {
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
    let mut child = Mortal(child);
    let (sender, output) = mpsc::channel();
    if let Some(stdout) = child.0.stdout.take() {
        forward(stdout, sender, |piece| piece);
    }
    let mut filter = Filter::new(nonce);
    let end = pump(
        &output,
        &mut filter,
        limit.map(|limit| Instant::now() + limit),
        Silence::new(known),
    )?;
    let grace = if end == End::Closed {
        GRACE
    } else {
        Duration::ZERO
    };
    let status = child.ended_by(Instant::now() + grace)?;
    let record = filter.into_record();
    let fault = fault(record.is_some(), status, limit);
    Ok(Ended { record, fault })
}

/// What is wrong with an end: with or without the final record, by itself with this status or not at all.
fn fault(has_record: bool, status: Option<ExitStatus>, limit: Option<Duration>) -> Option<Error> {
    let error = match (has_record, status) {
        (true, Some(status)) if status.success() => return None,
        (true, Some(status)) => Error::new(format!(
            "QEMU failed ({status}) after the hypervisor's final report"
        )),
        (true, None) => Error::new("the machine stayed on after the hypervisor's final report"),
        (false, Some(status)) => {
            return Some(
                Error::new(format!(
                    "QEMU ended ({status}) before the hypervisor's final report"
                ))
                .help("if you left it with Ctrl-A x, this is no mistake")
                .help("otherwise look at what it said last; -v shows QEMU's command line"),
            );
        }
        (false, None) => {
            let limit = limit.unwrap_or(GRACE).as_secs();
            return Some(
                Error::new(format!("no end after {limit} s"))
                    .help("give it longer with --timeout SECONDS, or look at what it said last"),
            );
        }
    };
    Some(error.help("look at what it said last; -v shows QEMU's command line"))
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
fn pump(
    output: &Receiver<Vec<u8>>,
    filter: &mut Filter,
    deadline: Option<Instant>,
    mut silence: Silence,
) -> Result<End> {
    let mut deadline = deadline;
    let mut is_final = false;
    let mut shown = Vec::new();
    let start = Instant::now();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let piece = output.recv_timeout(left.map_or(HELD, |left| left.min(HELD)));
        let is_closed = matches!(piece, Err(RecvTimeoutError::Disconnected));
        match piece {
            Ok(bytes) => filter.push(&bytes, &mut shown),
            Err(_) => filter.idle(&mut shown),
        }
        terminal::write(stdout(), &shown).context(|| "cannot write to stdout".into())?;
        silence.hear(start.elapsed(), &shown);
        shown.clear();
        if let Some(told) = silence.tell(start.elapsed()) {
            let line = format!("droste: {told}\r\n");
            terminal::write(stderr(), line.as_bytes())
                .context(|| "cannot write to stderr".into())?;
        }
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

    fn verdict(command: Command, limit: Option<Duration>) -> Result<()> {
        run(command, &nonce(), Keyboard::None, limit, Vec::new())?.verdict()
    }

    #[test]
    fn a_good_record_does_not_hide_a_bad_end() {
        let error = verdict(reporting("ok", "exit 2"), LATE).expect_err("QEMU failed");
        assert!(
            error
                .to_string()
                .starts_with("QEMU failed (exit status: 2)"),
            "{error}"
        );
        let ended = fault(true, None, LATE).expect("stayed on");
        assert!(
            ended.to_string().starts_with("the machine stayed on"),
            "{ended}"
        );
    }

    #[test]
    fn a_final_record_is_the_result() {
        assert_eq!(verdict(reporting("ok", ""), LATE), Ok(()));
        assert!(verdict(reporting("failed", ""), LATE).is_err());
    }

    #[test]
    fn an_end_without_a_record_fails() {
        let error = verdict(shell("exit 1"), LATE).expect_err("no record");
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
        let error = verdict(shell("exec sleep 60"), limit).expect_err("silent");
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
            Vec::new(),
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
