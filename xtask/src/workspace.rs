//! The workspace on disk and the programs run in it.

use serde_json::Value;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why a chore failed, as a sentence.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure that says `sentence`.
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl From<droste::Error> for Failure {
    fn from(error: droste::Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The workspace's root: the folder above this package's.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Reads a text file, by its path from the root or absolute.
///
/// # Errors
/// If it cannot be read or is no UTF-8.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<String, Failure> {
    let path = root().join(path);
    std::fs::read_to_string(&path)
        .map_err(|e| Failure::new(format!("cannot read {}: {e}", path.display())))
}

/// The cargo that runs this program, at the workspace's root.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Runs `command` at the root, its output passed through.
///
/// # Errors
/// If it cannot start or ends with another status than 0.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command
        .current_dir(root())
        .status()
        .map_err(|e| cannot_start(command, &e))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "{} ended with {status}",
            shown(command)
        )))
    }
}

/// Runs `command` at the root and returns what it printed.
///
/// # Errors
/// If it cannot start, ends with another status than 0, or prints no UTF-8.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command
        .current_dir(root())
        .output()
        .map_err(|e| cannot_start(command, &e))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!(
            "{} ended with {}: {}",
            shown(command),
            output.status,
            told.trim()
        )));
    }
    String::from_utf8(output.stdout)
        .map_err(|e| Failure::new(format!("{} printed no text: {e}", shown(command))))
}

/// What cargo knows of the workspace's own packages.
///
/// # Errors
/// If cargo fails or answers something else than JSON.
pub(crate) fn metadata() -> Result<Value, Failure> {
    let answer = output(cargo().args([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--offline",
    ]))?;
    serde_json::from_str(&answer)
        .map_err(|e| Failure::new(format!("cargo metadata answers no JSON: {e}")))
}

/// Where cargo puts what it builds.
///
/// # Errors
/// If cargo does not say.
pub(crate) fn target_folder() -> Result<PathBuf, Failure> {
    let metadata = metadata()?;
    let folder = metadata["target_directory"].as_str();
    folder
        .map(PathBuf::from)
        .ok_or_else(|| Failure::new("cargo metadata names no target directory"))
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!(
        "cannot start {}: {error}; is it installed?",
        command.get_program().display()
    ))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|w| w.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// More words for Droste's own command line, in every run: `DROSTE_WORDS`, as the tests have it.
pub(crate) fn droste_words() -> String {
    std::env::var("DROSTE_WORDS").unwrap_or_default()
}
