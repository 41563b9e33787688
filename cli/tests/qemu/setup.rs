//! What `droste setup` prepares is all that the same run needs.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::stage::{DROSTE, parts};

/// A network that is cut off: nobody serves packages, neither Debian's nor Rust's.
const CUT_OFF: [(&str, &str); 2] = [
    ("DROSTE_DEBIAN_MIRROR", "http://127.0.0.1:9"),
    ("CARGO_NET_OFFLINE", "true"),
];

fn droste(words: &[&str]) -> Command {
    let mut command = Command::new(DROSTE);
    command.args(words).arg("--qemu").arg(&parts().qemu);
    command
}

/// What `droste` says with these words, which go well.
fn said(words: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = droste(words);
    command.envs(environment.iter().copied());
    let output = command.output().expect("started");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn setup_brings_every_file_that_the_run_is_given() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let examples = fs::read_dir(examples).expect("listed");
    let examples = examples.map(|entry| entry.expect("an entry").path().display().to_string());
    // Without a description it is that of the default run.
    let mut runs = vec![Vec::new()];
    runs.extend(examples.map(|file| vec![file]));
    for files in &runs {
        let with = |verb: &[&'static str], environment: &[(&str, &str)]| {
            let files = files.iter().map(String::as_str);
            let words: Vec<_> = verb.iter().copied().chain(files).collect();
            said(&words, environment)
        };
        let brought = with(&["setup"], &[]);
        let line = with(&["run", "--dry-run"], &CUT_OFF);
        let disks = line.split("file=").skip(1);
        let mut given: Vec<&str> = disks
            .filter_map(|rest| rest.split_whitespace().next())
            .collect();
        given.extend(
            line.split(" -kernel ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next()),
        );
        assert!(!given.is_empty(), "{line}");
        for file in given {
            let is_brought = brought
                .lines()
                .any(|line| line.ends_with(&format!(" {file}")));
            assert!(is_brought, "{files:?}: {file} is not in\n{brought}");
        }
    }
}

#[test]
fn a_run_that_nobody_prepared_needs_the_network() {
    let empty = tempfile::tempdir().expect("a directory");
    let mut command = droste(&["run", "--dry-run"]);
    command.envs(CUT_OFF).env("DROSTE_CACHE", empty.path());
    let output = command.output().expect("started");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{complaint}");
    assert!(complaint.contains("error: "), "{complaint}");
}
