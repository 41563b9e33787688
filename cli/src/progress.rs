//! Says what takes long: a moving line on a terminal, one quiet line per step in a pipe. Always on stderr, so that
//! stdout carries the guest alone.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A step under way; dropping it ends the step.
#[derive(Debug)]
pub struct Step {
    bar: Option<ProgressBar>,
}

/// Announces a step. It must be something that can take a second or more.
pub fn step(what: &str) -> Step {
    if !std::io::stderr().is_terminal() {
        eprintln!("droste: {what}");
        return Step { bar: None };
    }
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    let bar = ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        .with_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    Step { bar: Some(bar) }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
