//! The corpus: programs that are kept.

use super::runs::{Kind, Pair};
use crate::workspace::{self, Failure};
use std::fs;

/// Where they stand. The guest carries the file.
const FILE: &str = "guests/src/differ/corpus.txt";

/// Keeps a program.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn keep(cpu: &str, kind: &Kind, why: &str, program: &str) -> Result<(), Failure> {
    let path = workspace::root().join(FILE);
    let wrong = |e| Failure::new(format!("{FILE}: {e}"));
    let mut all = fs::read_to_string(&path).map_err(wrong)?;
    all.push('\n');
    all.push_str(&entry(cpu, kind.name, why, program));
    fs::write(&path, all).map_err(wrong)?;
    println!("kept in {FILE}: cargo xtask differ --corpus runs it");
    Ok(())
}

fn entry(cpu: &str, kind: &str, why: &str, program: &str) -> String {
    let cpu = if cpu == droste::qemu::CPU {
        String::new()
    } else {
        format!("cpu {cpu}\n")
    };
    format!(
        "kind {kind}\n{cpu}why {}\n{program}",
        why.replace('\n', " ")
    )
}

/// Runs all of these kinds.
///
/// # Errors
/// If a machine does not come to its end, or one differs.
pub(super) fn run(pair: &Pair, kinds: &[&Kind]) -> Result<(), Failure> {
    let mut found = Vec::new();
    for kind in kinds {
        let compared = pair.compare_corpus(kind)?;
        println!("{}: the corpus: {compared}", kind.name);
        let different = compared.different.iter();
        found.extend(different.map(|number| format!("{} {number}", kind.name)));
        if let Some(broken) = compared.broken {
            println!("{}: {broken}", kind.name);
            found.push(format!("{} (no end)", kind.name));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "programs of {FILE} differ, counted from 0: {}",
        found.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_kept_says_where_and_why() {
        let usual = entry(droste::qemu::CPU, "vhe", "D1\nD2", "about x\n");
        assert_eq!(usual, "kind vhe\nwhy D1 D2\nabout x\n");
        let other = entry("neoverse-n2", "nvhe", "x", "about x\n");
        assert_eq!(other, "kind nvhe\ncpu neoverse-n2\nwhy x\nabout x\n");
    }
}
