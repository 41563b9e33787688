//! `cargo xtask ci`: everything that judges the source without running it. The tests are `cargo test`.

use crate::image;
use crate::lint;
use crate::workspace::{self, Failure};
use serde_json::Value;
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
    lint::run(&lint::Options::default())?;
    workspace::run(&mut package(&workspace::metadata()?))?;
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

/// Packages each library crate as its users get it. They are not built from there: cargo keeps what it has unpacked of a
/// version, so that a second run would build some of them with others as they were in the first.
fn package(metadata: &Value) -> Command {
    let mut command = workspace::cargo();
    command.args(["package", "--quiet", "--allow-dirty", "--no-verify"]);
    let packages = metadata["packages"].as_array();
    for package in packages.into_iter().flatten() {
        // Not published at all is an empty list of registries.
        let is_published = package["publish"].is_null();
        let mut targets = package["targets"].as_array().into_iter().flatten();
        let is_library = targets.all(|target| target["kind"][0] != "bin");
        if let (true, true, Some(name)) = (is_published, is_library, package["name"].as_str()) {
            command.args(["--package", name]);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_take_is_packaged_and_nothing_else() {
        let package = package(&serde_json::json!({"packages": [
            {"name": "a", "publish": null, "targets": [{"kind": ["lib"]}, {"kind": ["test"]}]},
            {"name": "b", "publish": [], "targets": [{"kind": ["lib"]}]},
            {"name": "c", "publish": null, "targets": [{"kind": ["lib"]}, {"kind": ["bin"]}]},
        ]}));
        let words: Vec<_> = package.get_args().map(|a| a.to_string_lossy()).collect();
        assert_eq!(words[4..], ["--package", "a"]);
    }

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
