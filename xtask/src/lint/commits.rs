//! Commits: a subject that a list of commits shows whole.

use super::Finding;
use crate::workspace::{self, Failure};
use std::process::Command;

/// A subject's most characters.
const SUBJECT: usize = 72;

/// Judges the commits that `base` does not have, merges left out.
///
/// # Errors
/// If git does not know `base`.
pub(crate) fn judge(base: &str) -> Result<Vec<Finding>, Failure> {
    let mut git = Command::new("git");
    git.args(["log", "--no-merges", "--format=%h %s"]);
    git.args(["--end-of-options", &format!("{base}..HEAD")]);
    Ok(findings(&workspace::output(&mut git)?))
}

fn findings(log: &str) -> Vec<Finding> {
    let commits = log.lines().filter_map(|line| line.split_once(' '));
    commits
        .map(|(commit, subject)| (commit, subject.chars().count()))
        .filter(|(_, length)| *length > SUBJECT)
        .map(|(commit, length)| {
            let message =
                format!("{length} characters: at most {SUBJECT}, the reason goes into the body");
            Finding::whole(commit, "commit subjects", message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_72_characters_at_most() {
        let log = format!("abc hv: {}\nabd hv: {}\n", "é".repeat(68), "e".repeat(69));
        let found: Vec<String> = findings(&log).into_iter().map(|f| f.path).collect();
        assert_eq!(found, ["abd"]);
    }
}
