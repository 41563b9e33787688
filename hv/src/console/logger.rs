//! Droste's own messages: lines on the console that begin with `droste: `.

use core::fmt;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::terminal;

struct Logger;

static LOGGER: Logger = Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        terminal::with_line(|line| {
            let _ = match record.level() {
                Level::Error => write!(line, "droste: error: {}", record.args()),
                Level::Warn => write!(line, "droste: warning: {}", record.args()),
                _ => write!(line, "droste: {}", record.args()),
            };
        });
    }

    fn flush(&self) {}
}

/// Sends the `log` macros to the console. Called once, when there is one.
pub(crate) fn init() {
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Warns of what a guest did, where that need not wait for room on the console. Whether it did.
pub(super) fn warn_if_room(what: fmt::Arguments<'_>) -> bool {
    terminal::line_if_room(format_args!("droste: warning: {what}"))
}
