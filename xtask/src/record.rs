//! `cargo xtask record`: a session at Droste's terminal, recorded for README.
//!
//! It types what a newcomer would into the default run, and replays all that was said as a picture that scrolls, line by
//! line and without the times, which are those of whatever host recorded it.

use crate::svg::Svg;
use crate::workspace::{self, Failure};
use droste::qemu::{SELF, Session, tied};
use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Where it stands.
const FILE: &str = "docs/session.svg";
/// A run at a terminal with its L2 takes a tenth of it on an idle host.
const LIMIT: Duration = Duration::from_mins(10);
/// What is typed, each once this was said.
const TYPED: [(&str, &str); 6] = [
    (
        "hypervisor:~# ",
        "dmesg | grep -i -e 'CPU features: detected: Virt' -e 'kvm.*init'\n",
    ),
    ("hypervisor:~# ", "l2\n"),
    ("l2:~# ", "echo I am a guest of a guest on $(uname -sm)\n"),
    ("l2:~# ", "poweroff\n"),
    ("hypervisor:~# ", "echo and back at the first one\n"),
    ("hypervisor:~# ", "poweroff\n"),
];
/// Lines and columns that show at once.
const ROWS: usize = 24;
const COLUMNS: usize = 104;
const LINE: usize = 18;
const MARGIN: usize = 12;
/// How long a line stays the last one, and the last line of all; in milliseconds.
const PACE: usize = 350;
const REST: usize = 6000;
const STYLE: &str = "text{font-family:monospace;font-size:14px;fill:#d7dde4}.typed{fill:#8fd6a6}.ground{fill:#16202b}";

/// Runs the session and writes the recording.
///
/// # Errors
/// If the session does not go as it should, or the file cannot be written.
pub(crate) fn run() -> Result<(), Failure> {
    let mut cargo = workspace::cargo();
    workspace::run(cargo.args(["build", "--quiet", "--package", "droste"]))?;
    let mut droste = Command::new(workspace::target_folder()?.join("debug/droste"));
    droste = tied(droste.arg("run"), SELF);
    droste.current_dir(workspace::root());
    let mut session = Session::start_on_terminal(droste, LIMIT)?;
    for (said, typed) in TYPED {
        session.wait_for(said)?;
        session.send(typed)?;
    }
    let recording = drawn(&lines(&session.finish()?));
    let path = workspace::root().join(FILE);
    fs::write(&path, recording).map_err(|e| Failure::new(format!("cannot write {FILE}: {e}")))?;
    println!("{FILE}");
    Ok(())
}

/// What was said as lines that fit, without what steers a terminal.
fn lines(said: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in said.lines() {
        let line = plain(line);
        let line = line.trim_end();
        let is_twice_empty = line.is_empty() && lines.last().is_none_or(String::is_empty);
        if !is_twice_empty {
            lines.push(line.chars().take(COLUMNS).collect());
        }
    }
    lines
}

/// A line without escape sequences and other control characters.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        if c == '\u{1b}' && characters.clone().next() == Some('[') {
            // Up to the letter that ends it.
            let _ = characters.by_ref().skip(1).find(char::is_ascii_alphabetic);
        } else if !c.is_control() {
            plain.push(c);
        }
    }
    plain
}

fn drawn(lines: &[String]) -> String {
    let (width, height) = (COLUMNS * 17 / 2 + 2 * MARGIN, ROWS * LINE + 2 * MARGIN);
    let total = lines.len() * PACE + REST;
    let mut style = format!(
        "{STYLE}.all{{animation:scroll {total}ms step-end infinite}}@media(prefers-reduced-motion:reduce){{.all{{animation:none;\
         transform:translateY({}px)}}}}@keyframes scroll{{",
        offset(lines.len()),
    );
    for shown in 1..=lines.len() {
        // In thousandths of a percent.
        let at = (shown - 1) * PACE * 100_000 / total;
        let (whole, part) = (at / 1000, at % 1000);
        let offset = offset(shown);
        let _ = write!(
            style,
            "{whole}.{part:03}%{{transform:translateY({offset}px)}}"
        );
    }
    style.push('}');
    let size = [width, height].map(|pixels| u32::try_from(pixels).unwrap_or(u32::MAX));
    let mut svg = Svg::new(size.into(), "A session at Droste's terminal", &style);
    svg.line(r#"<g class="all">"#);
    for (number, line) in lines.iter().enumerate() {
        let at = [MARGIN, MARGIN + LINE * (number + 1) - 4];
        let at = at.map(|pixels| u32::try_from(pixels).unwrap_or(u32::MAX));
        let is_typed = line.starts_with("hypervisor:~#") || line.starts_with("l2:~#");
        svg.words(at.into(), if is_typed { "typed" } else { "" }, line);
    }
    svg.line("</g>");
    svg.finish()
}

/// How far the lines are moved down when as many have been said: the last one of them is at the bottom, and what was not said
/// yet below it.
fn offset(shown: usize) -> i64 {
    let line = |number: usize| i64::try_from(number * LINE).unwrap_or(i64::MAX);
    line(ROWS) - line(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminals_own_signs_are_no_part_of_a_line() {
        let said = "a\u{1b}[0;1mb\u{1b}[6n\r\n\r\n\r\nc\u{7}\n";
        assert_eq!(lines(said), ["ab", "", "c"]);
    }

    #[test]
    fn lines_come_in_from_below_one_by_one() {
        let lines: Vec<String> = (0..ROWS + 2).map(|n| n.to_string()).collect();
        let text = drawn(&lines);
        assert!(text.contains(&format!(
            "0.000%{{transform:translateY({}px)}}",
            (ROWS - 1) * LINE
        )));
        assert!(text.contains(&format!("translateY(-{}px)}}}}</style>", 2 * LINE)));
    }
}
