//! Says on a terminal how far a judge has come: every few seconds a line, for below it is the console of what is judged.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use droste_judge::{Judge, Kind};

use crate::say;

/// How long it says nothing.
const PERIOD: Duration = Duration::from_secs(5);
/// Events between two looks at the clock.
const STRIDE: u64 = 256;

/// Counts while a judge works.
pub(super) struct Meter {
    /// When there is something to say; never where nobody looks.
    due: Option<Instant>,
}

impl Meter {
    /// One for this process.
    pub(super) fn new() -> Self {
        let is_seen = std::io::stderr().is_terminal();
        Self {
            due: is_seen.then(|| Instant::now() + PERIOD),
        }
    }

    /// The judge has taken an event.
    pub(super) fn look(&mut self, judge: &Judge) {
        if judge.events().is_multiple_of(STRIDE)
            && let Some(due) = &mut self.due
        {
            let now = Instant::now();
            if now >= *due {
                *due = now + PERIOD;
                say::aside(&line(judge));
            }
        }
    }
}

fn line(judge: &Judge) -> String {
    format!(
        "droste: judged {} events: {} stores to tables, {} TLBIs, {} entries; {} kinds of findings so far",
        judge.events(),
        judge.count(Kind::Write),
        judge.count(Kind::Tlbi),
        judge.count(Kind::Enter),
        judge.kinds(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use droste_judge::{Event, Machine};

    fn judge() -> Judge {
        let mut judge = Judge::new(&Machine {
            cpus: 1,
            base: 0x4000_0000,
            bytes: 4096,
            ids: [0; 5],
        });
        for _ in 0..STRIDE {
            judge.take(Event {
                kind: Kind::Isb,
                cpu: 0,
                stack: 0,
                pc: 0,
                a: 0,
                b: 0,
            });
        }
        judge
    }

    #[test]
    fn a_line_says_what_was_counted() {
        let said = line(&judge());
        assert!(
            said.starts_with("droste: judged 256 events: 0 stores"),
            "{said}"
        );
        assert!(said.ends_with("; 0 kinds of findings so far"), "{said}");
    }

    #[test]
    fn it_is_silent_for_a_while_after_it_spoke_and_where_nobody_looks() {
        let judge = judge();
        let past = Instant::now();
        let mut meter = Meter { due: Some(past) };
        meter.look(&judge);
        assert!(meter.due.expect("seen") > past);
        let mut unseen = Meter { due: None };
        unseen.look(&judge);
        assert_eq!(unseen.due, None);
    }
}
