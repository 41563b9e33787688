//! Runs QEMU for a user: passes the console on, takes the hypervisor's records out, and keeps the time.

use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::stdio::{stdin, stdout};

use crate::child::{Mortal, forward};
use crate::error::{Context, Error, Result};
use crate::last_words::LastWords;
use crate::log::Log;
use crate::record::{Filter, Nonce, Record};
use crate::silence::Silence;
use crate::{say, terminal};

/// How long a byte may be held back that could be the start of a record.
const HELD: Duration = Duration::from_millis(20);
/// How long QEMU may take to end after the hypervisor's last word.
const GRACE: Duration = Duration::from_secs(10);

/// What is said of a run that somebody left.
pub const LEFT: &str =
    "QEMU was left by its keys Ctrl-A x; the virtual machines were not switched off";

/// Who types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keyboard {
    /// The terminal on stdin, which QEMU reads itself: `Ctrl-A x` ends it.
    Terminal,
    /// Nobody.
    None,
}

/// What is to be known of a run before it starts.
#[derive(Debug)]
pub struct Terms<'a> {
    /// What marks the hypervisor's records.
    pub nonce: &'a Nonce,
    /// Who types.
    pub keyboard: Keyboard,
    /// How long it may take.
    pub limit: Option<Duration>,
    /// What may be the reason if no guest says anything.
    pub known: Vec<String>,
    /// Where what each says is kept as well.
    pub log: Option<Log>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The hypervisor's last record, final or not, if one came.
    pub record: Option<Record>,
    /// How the machine ended.
    pub end: End,
}

/// How a machine ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// By itself, after the hypervisor's final record.
    Reported,
    /// Somebody left it by QEMU's keys.
    Left,
    /// It had not ended when its time was over.
    Late(Error),
    /// In another way, which is wrong.
    Failed(Error),
}

impl Ended {
    /// Whether all went well.
    ///
    /// # Errors
    /// What the hypervisor reported, else what was wrong with the machine's end.
    pub fn verdict(&self) -> Result<()> {
        if let Some(record) = self.record.as_ref().filter(|record| record.is_final()) {
            record.verdict()?;
        }
        match &self.end {
            End::Reported | End::Left => Ok(()),
            End::Late(error) | End::Failed(error) => Err(error.clone()),
        }
    }

    /// The record for programs, of virtual machines with these names: there is always one.
    pub fn report<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Record {
        let record = self.record.clone();
        let record = record.unwrap_or_else(|| Record::of_nothing(names));
        match &self.end {
            End::Reported => record,
            End::Left => record.ended("left", LEFT),
            End::Late(error) => record.ended("timeout", error.what()),
            End::Failed(error) => record.ended("failed", error.what()),
        }
    }
}

/// Runs a machine until it ends, or until the limit. The child is dead then, and the terminal as it was.
///
/// # Errors
/// If QEMU cannot be started, or nobody reads stdout any more.
pub fn run(mut command: Command, terms: Terms<'_>) -> Result<Ended> {
    let keyboard = terms.keyboard;
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
        .stderr(Stdio::piped())
        .spawn()
        .context(|| format!("cannot start {name}"))?;
    let mut child = Mortal(child);
    let (sender, output) = mpsc::channel();
    if let Some(stdout) = child.0.stdout.take() {
        forward(stdout, sender.clone(), Piece::Console);
    }
    if let Some(stderr) = child.0.stderr.take() {
        forward(stderr, sender, Piece::Complaint);
    }
    let mut console = Console {
        filter: Filter::new(terms.nonce),
        silence: Silence::new(terms.known),
        last: LastWords::default(),
        log: terms.log,
    };
    // A limit beyond all time is none.
    let deadline = terms
        .limit
        .and_then(|limit| Instant::now().checked_add(limit));
    let stop = pump(&output, &mut console, deadline)?;
    let grace = if stop == Stop::Closed {
        GRACE
    } else {
        Duration::ZERO
    };
    let status = child.ended_by(Instant::now() + grace)?;
    if let Some(log) = console.log {
        log.finish()?;
    }
    let has_record = console.filter.has_record();
    Ok(Ended {
        record: console.filter.into_last(),
        end: end(has_record, status, &console.last, keyboard, terms.limit),
    })
}

/// How a machine ended: with or without the final record, by itself with this status or not at all, after these words.
fn end(
    has_record: bool,
    status: Option<ExitStatus>,
    last: &LastWords,
    keyboard: Keyboard,
    limit: Option<Duration>,
) -> End {
    let look = "look at what it said last; -v shows QEMU's command line";
    let Some(status) = status else {
        return if has_record {
            let what = "the machine stayed on after the hypervisor's final report";
            End::Failed(Error::new(what).help(look))
        } else {
            let limit = limit.unwrap_or(GRACE).as_secs();
            let what = format!("no end after {limit} s");
            End::Late(
                Error::new(what)
                    .help("give it longer with --timeout SECONDS, or look at what it said last"),
            )
        };
    };
    if !status.success() {
        let when = if has_record {
            " after the hypervisor's final report"
        } else {
            ""
        };
        let error = Error::new(format!("QEMU failed ({status}){when}"));
        let error = match last.complaint() {
            Some(said) => error.because(said),
            None => error,
        };
        return End::Failed(error.help("-v shows QEMU's command line"));
    }
    if has_record {
        return End::Reported;
    }
    if keyboard == Keyboard::Terminal && last.are_qemus() {
        return End::Left;
    }
    if let Some(bug) = last.bug() {
        let error = Error::new("the hypervisor has a bug").because(format!("BUG {bug}"));
        return End::Failed(error.help("report it with all that it said"));
    }
    End::Failed(match last.refusal() {
        Some(why) => Error::new("the hypervisor can run nothing")
            .because(why)
            .help("mend what it says; -v shows QEMU's command line"),
        None => Error::new("QEMU ended before the hypervisor's final report").help(look),
    })
}

/// What QEMU says.
enum Piece {
    /// On the machine's console.
    Console(Vec<u8>),
    /// On its own account.
    Complaint(Vec<u8>),
}

/// All that looks at what is said.
struct Console {
    filter: Filter,
    silence: Silence,
    last: LastWords,
    log: Option<Log>,
}

impl Console {
    /// Shows what the console showed, and tells everybody.
    fn show(&mut self, now: Duration, shown: &[u8]) -> Result<()> {
        terminal::write(stdout(), shown).context(|| "cannot write to stdout".into())?;
        self.silence.hear(now, shown);
        self.last.hear(shown);
        if let Some(log) = &mut self.log {
            log.hear(shown);
        }
        Ok(())
    }
}

/// Why the output is no longer read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    /// QEMU closed it.
    Closed,
    /// The deadline passed, or QEMU stayed after the hypervisor's last word.
    Late,
}

/// Passes output on until it ends.
fn pump(
    output: &Receiver<Piece>,
    console: &mut Console,
    mut deadline: Option<Instant>,
) -> Result<Stop> {
    let mut is_final = false;
    let mut shown = Vec::new();
    let start = Instant::now();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let piece = output.recv_timeout(left.map_or(HELD, |left| left.min(HELD)));
        let is_closed = matches!(piece, Err(RecvTimeoutError::Disconnected));
        match piece {
            Ok(Piece::Console(bytes)) => console.filter.push(&bytes, &mut shown),
            Ok(Piece::Complaint(bytes)) => {
                let bytes = without_what_is_meant(&bytes);
                say::raw(&bytes);
                console.last.hear_complaint(&bytes);
            }
            Err(_) => console.filter.idle(&mut shown),
        }
        console.show(start.elapsed(), &shown)?;
        shown.clear();
        if let Some(told) = console.silence.tell(start.elapsed()) {
            say::raw(format!("droste: {told}\r\n").as_bytes());
        }
        if is_closed {
            return Ok(Stop::Closed);
        }
        if console.filter.has_record() && !is_final {
            is_final = true;
            deadline = Some(Instant::now() + GRACE);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(Stop::Late);
        }
    }
}

/// What QEMU complains of but for a switch that leads nowhere, which is what one is for. It says a line at a time.
fn without_what_is_meant(bytes: &[u8]) -> Vec<u8> {
    const MEANT: [&str; 2] = ["warning: hub ", " is not connected to host network"];
    let is_meant = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        MEANT.iter().all(|part| line.contains(part))
    };
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| !is_meant(line))
        .collect::<Vec<_>>()
        .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_that_leads_nowhere_is_no_complaint() {
        let said =
            b"qemu: warning: hub 0 is not connected to host network\nqemu: no such cpu\nqemu: w";
        assert_eq!(without_what_is_meant(said), b"qemu: no such cpu\nqemu: w");
        assert_eq!(without_what_is_meant(b""), b"");
    }

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

    fn terms(nonce: &Nonce, limit: Option<Duration>) -> Terms<'_> {
        Terms {
            nonce,
            keyboard: Keyboard::None,
            limit,
            known: Vec::new(),
            log: None,
        }
    }

    fn verdict(command: Command, limit: Option<Duration>) -> Result<()> {
        run(command, terms(&nonce(), limit))?.verdict()
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
        let stayed = end(true, None, &LastWords::default(), Keyboard::None, LATE);
        let End::Failed(error) = stayed else {
            panic!("{stayed:?}")
        };
        assert!(error.to_string().starts_with("the machine stayed on"));
    }

    #[test]
    fn a_final_record_is_the_result() {
        assert_eq!(verdict(reporting("ok", ""), LATE), Ok(()));
        assert!(verdict(reporting("failed", ""), LATE).is_err());
    }

    #[test]
    fn an_end_without_a_record_says_what_happened() {
        for (script, said) in [
            (
                "echo no such cpu >&2; exit 1",
                "QEMU failed (exit status: 1): no such cpu\n",
            ),
            ("kill -9 $$", "QEMU failed (signal: 9 (SIGKILL))\n"),
            (
                "echo 'droste: error: no RAM'",
                "the hypervisor can run nothing: no RAM\n",
            ),
            (
                "echo 'droste: BUG on CPU 0x1: x'; echo 'droste: error: no RAM'",
                "the hypervisor has a bug: BUG on CPU 0x1: x\n",
            ),
            (
                "echo hello",
                "QEMU ended before the hypervisor's final report\n",
            ),
            // Without a terminal nobody can have typed the keys.
            ("echo 'QEMU: Terminated'", "QEMU ended before"),
        ] {
            let error = verdict(shell(script), LATE).expect_err("no record");
            let error = error.to_string();
            assert!(error.starts_with(said), "{script}: {error}");
            assert!(!error.contains("Ctrl-A"), "{script}: {error}");
        }
    }

    #[test]
    fn to_leave_qemu_by_its_keys_is_no_mistake() {
        let mut last = LastWords::default();
        last.hear(b"guest:~# QEMU: Terminated\n\r");
        let status = Some(ExitStatus::default());
        let left = end(false, status, &last, Keyboard::Terminal, None);
        assert_eq!(left, End::Left);
        let ended = Ended {
            record: None,
            end: left,
        };
        assert_eq!(ended.verdict(), Ok(()));
        assert!(
            ended
                .report(["a"])
                .to_json()
                .contains("\"outcome\": \"left\"")
        );
    }

    #[test]
    fn a_limit_beyond_all_time_is_none() {
        let limit = Some(Duration::from_secs(u64::MAX));
        assert_eq!(verdict(reporting("ok", ""), limit), Ok(()));
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
        let command = Command::new("/nonexistent/qemu");
        let error = run(command, terms(&nonce(), LATE)).expect_err("not there");
        assert!(
            error
                .to_string()
                .starts_with("cannot start /nonexistent/qemu"),
            "{error}"
        );
    }
}
