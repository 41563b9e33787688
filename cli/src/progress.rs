//! Says what takes long: a moving line on a terminal, one quiet line per step in a pipe. Always on stderr, so that
//! stdout carries the guest alone. A step that is done at once says nothing.

use std::io::IsTerminal as _;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::say;

/// How long a step takes before anybody hears of it.
const PATIENCE: Duration = Duration::from_millis(700);
/// How often the line on a terminal moves.
const TICK: Duration = Duration::from_millis(120);

/// A step under way; dropping it ends the step.
#[derive(Debug)]
pub struct Step {
    /// Closed when the step ends.
    done: Option<Sender<()>>,
    line: Option<thread::JoinHandle<()>>,
}

/// Announces a step.
pub fn step(what: &str) -> Step {
    let what = what.to_owned();
    let (done, ended) = mpsc::channel::<()>();
    let line = thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let bar = std::io::stderr().is_terminal().then(|| moving_line(&what));
        if bar.is_none() {
            say::aside(&format!("droste: {what}"));
        }
        // Nothing is ever sent: this waits for the other end to be dropped.
        let _ = ended.recv();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    });
    Step {
        done: Some(done),
        line: Some(line),
    }
}

fn moving_line(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    let bar = ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        .with_message(what.to_owned())
        .with_elapsed(PATIENCE);
    bar.enable_steady_tick(TICK);
    bar
}

impl Drop for Step {
    fn drop(&mut self) {
        drop(self.done.take());
        // The line is gone before anything else is printed. A thread that panicked has printed why.
        if let Some(line) = self.line.take() {
            let _ = line.join();
        }
    }
}
