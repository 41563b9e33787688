//! `cargo xtask ci`: everything that judges the source without running it. The tests are `cargo test`.

use crate::lint;
use crate::workspace::{self, Failure};
use std::process::Command;

/// The target of the EL2 binary and the bare-metal guests, and the packages that build for nothing else.
const EL2_TARGET: &str = "aarch64-unknown-none-softfloat";
const EL2_PACKAGES: [&str; 2] = ["droste-hv", "droste-guests"];

/// Runs each step, and stops at the first that fails.
///
/// # Errors
/// If a step fails.
pub(crate) fn run() -> Result<(), Failure> {
    for mut step in steps() {
        workspace::run(&mut step)?;
    }
    lint::run()
}

/// Formatting; clippy for the host's crates and for EL2's; documentation.
fn steps() -> Vec<Command> {
    let command = |arguments: &[&str]| {
        let mut command = workspace::cargo();
        command.args(arguments);
        command
    };
    // One at a time: together, features that one asks of a dependency would be the other's as well.
    let clippy_el2 = EL2_PACKAGES.map(|package| {
        let mut step = command(&["clippy", "--target", EL2_TARGET, "--profile", "el2"]);
        step.args(["--package", package, "--", "-D", "warnings"]);
        step
    });
    let mut doc = command(&["doc", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    let mut steps = vec![
        command(&["fmt", "--all", "--check"]),
        command(&["clippy", "--all-targets", "--", "-D", "warnings"]),
    ];
    steps.extend(clippy_el2);
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
