//! `cargo xtask ci`: everything that judges the source without running it. The tests are `cargo test`.

use crate::image;
use crate::lint;
use crate::workspace::{self, Failure};
use std::process::Command;

/// The packages that are not built for the host, each with its target and its profile: the EL2 binary, and what runs in
/// guests.
const FOREIGN: [(&str, &str, &str); 3] = [
    ("droste-hv", "aarch64-unknown-none-softfloat", "el2"),
    ("droste-guests", "aarch64-unknown-none-softfloat", "el2"),
    ("droste-vmm", "aarch64-unknown-linux-musl", "guest"),
];

/// Runs each step, and stops at the first that fails.
///
/// # Errors
/// If a step fails.
pub(crate) fn run() -> Result<(), Failure> {
    for mut step in steps() {
        workspace::run(&mut step)?;
    }
    lint::run()?;
    image::run()
}

/// Formatting; clippy for the host's crates and for the others; documentation.
fn steps() -> Vec<Command> {
    let command = |arguments: &[&str]| {
        let mut command = workspace::cargo();
        command.args(arguments);
        command
    };
    // One at a time: together, features that one asks of a dependency would be the other's as well.
    let clippy_foreign = FOREIGN.map(|(package, target, profile)| {
        let mut step = command(&["clippy", "--target", target, "--profile", profile]);
        step.args(["--package", package, "--", "-D", "warnings"]);
        step
    });
    let mut doc = command(&["doc", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    let mut steps = vec![
        command(&["fmt", "--all", "--check"]),
        command(&["clippy", "--all-targets", "--", "-D", "warnings"]),
    ];
    steps.extend(clippy_foreign);
    steps.push(doc);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_fail_every_step_that_can_have_them() {
        for step in steps() {
            let words: Vec<_> = step.get_args().map(|a| a.to_string_lossy()).collect();
            let is_strict = words.ends_with(&["-D".into(), "warnings".into()])
                || step.get_envs().any(|(name, _)| name == "RUSTDOCFLAGS")
                || words.contains(&"--check".into());
            assert!(is_strict, "{words:?}");
        }
    }
}
