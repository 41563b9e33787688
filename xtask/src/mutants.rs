//! `cargo xtask mutants`: takes safeguards of stage 2, of nested guests, of their interrupts, of the lives of virtual
//! machines, of locks and of what they share of a machine away one by one, and sees whether tests notice.

mod console;
mod life;
mod locks;
mod nested;
mod resources;
mod smmu;
mod stage2;
mod table;
mod vdev;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::workspace::{self, Failure};
use table::{Mutant, Subject};

/// What the mutants are tested with.
const CRATES: [&str; 10] = [
    "arm64",
    "smmu",
    "stage2",
    "nested",
    "mmu-model",
    "trials",
    "vdev",
    "life",
    "locks",
    "resources",
];
/// In percent: what a mutant breaks shows early or not at all.
const TRIALS: &str = "4";
/// A mutant that has not ended by then has made something endless.
const DEADLINE: Duration = Duration::from_mins(5);
/// Address space of any process of a test, in KiB: an endless list takes all that there is before the deadline.
const MEMORY: &str = "8388608";

const OF_STAGE_2: &[&[&str]] = &[
    &["--package", "droste-trials", "--tests"],
    &["--package", "droste-stage2", "--tests"],
];

/// The crates that have some.
const SUBJECTS: [Subject; 8] = [
    Subject {
        name: "arm64",
        mutants: &[stage2::OF_THE_SEAM],
        tests: OF_STAGE_2,
    },
    Subject {
        name: "stage2",
        mutants: &[stage2::MUTANTS, stage2::OF_MEANING, smmu::OF_STAGE_2],
        tests: OF_STAGE_2,
    },
    Subject {
        name: "smmu",
        mutants: &[smmu::MUTANTS],
        tests: &[
            &["--package", "droste-smmu", "--tests"],
            &["--package", "droste-trials", "--test", "devices"],
        ],
    },
    Subject {
        name: "nested",
        mutants: &[nested::MUTANTS, nested::OF_READING],
        tests: &[
            &["--package", "droste-trials", "--test", "nested*"],
            &["--package", "droste-nested", "--tests"],
        ],
    },
    Subject {
        name: "vdev",
        mutants: &[vdev::MUTANTS, vdev::OF_QUIET, vdev::OF_RTC],
        tests: &[&["--package", "droste-vdev", "--lib"]],
    },
    Subject {
        name: "life",
        mutants: &[life::MUTANTS],
        tests: &[
            &["--package", "droste-life", "--lib"],
            &["--package", "droste-life", "--test", "interleavings"],
        ],
    },
    Subject {
        name: "locks",
        mutants: &[locks::MUTANTS],
        tests: &[
            &["--package", "droste-locks", "--lib"],
            &["--package", "droste-locks", "--test", "interleavings"],
        ],
    },
    Subject {
        name: "resources",
        mutants: &[console::MUTANTS, resources::MUTANTS],
        tests: &[&["--package", "droste-resources", "--lib", "--tests"]],
    },
];

/// Which mutants are run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print their names and what they change, and run none
    #[arg(long)]
    list: bool,
    /// Run those whose name holds this; may be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Run those of this crate: arm64, stage2, smmu, nested, vdev, life, locks or resources
    #[arg(long, value_name = "CRATE")]
    of: Option<String>,
}

/// What became of a mutant.
#[derive(Debug)]
enum End {
    /// By this test.
    Caught(String),
    Survived,
}

/// Runs the mutants, and prints what caught each.
///
/// # Errors
/// If one survives that has no reason to, does not compile, or the crates fail without any.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let only = |name: &str| {
        let mut parts = options.only.iter();
        parts.len() == 0 || parts.any(|part| name.contains(part))
    };
    let subjects = SUBJECTS.iter().filter(|subject| {
        let of = options.of.as_ref();
        of.is_none_or(|of| subject.name.contains(of))
    });
    let chosen: Vec<(&Subject, Vec<&Mutant>)> = subjects
        .map(|subject| {
            let mutants = subject.mutants.iter().copied().flatten();
            let mutants = mutants.filter(|mutant| only(mutant.name));
            (subject, mutants.collect())
        })
        .filter(|(_, mutants): &(_, Vec<_>)| !mutants.is_empty())
        .collect();
    if options.list {
        for (subject, mutants) in &chosen {
            for mutant in mutants {
                println!("{:40} {}", mutant.name, subject.path(mutant));
            }
        }
        return Ok(());
    }
    let folder = copy()?;
    let mut survivors = Vec::new();
    for (subject, mutants) in &chosen {
        if let End::Caught(test) = judge(&folder, subject)? {
            return Err(Failure::new(format!(
                "{test} fails without any mutant: mend that first"
            )));
        }
        for mutant in mutants {
            let start = Instant::now();
            let end = try_one(&folder, subject, mutant)?;
            let seconds = start.elapsed().as_secs();
            match (&end, mutant.harmless) {
                (End::Caught(test), _) => println!("{:40} {seconds:4} s  {test}", mutant.name),
                (End::Survived, Some(reason)) => {
                    println!("{:40} {seconds:4} s  harmless: {reason}", mutant.name);
                }
                (End::Survived, None) => {
                    println!("{:40} {seconds:4} s  SURVIVED", mutant.name);
                    survivors.push(mutant.name);
                }
            }
        }
    }
    if survivors.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "no test notices {}",
        survivors.join(", ")
    )))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot {what} {}: {error}", path.display()))
}

/// Copies the crates into a workspace of their own.
fn copy() -> Result<PathBuf, Failure> {
    let root = workspace::root();
    let folder = root.join("target/mutants");
    for name in CRATES {
        copy_folder(
            &root.join("crates").join(name),
            &folder.join("crates").join(name),
        )?;
    }
    for file in ["Cargo.lock", "rust-toolchain.toml"] {
        write(&folder.join(file), &workspace::read(file)?)?;
    }
    let manifest = workspace::read("Cargo.toml")?;
    let lines = manifest
        .lines()
        .filter(|line| !line.starts_with("default-members"));
    let members = format!(
        "members = {:?}",
        CRATES.map(|name| format!("crates/{name}"))
    );
    let lines = lines.map(|line| {
        if line.starts_with("members") {
            &members
        } else {
            line
        }
    });
    write(
        &folder.join("Cargo.toml"),
        &lines.collect::<Vec<_>>().join("\n"),
    )?;
    Ok(folder)
}

/// Copies a folder over what an earlier run left.
fn copy_folder(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::create_dir_all(to).map_err(|e| cannot("make", to, &e))?;
    for entry in fs::read_dir(to).map_err(|e| cannot("read", to, &e))? {
        let path = entry.map_err(|e| cannot("read", to, &e))?.path();
        let source = path.file_name().map(|name| from.join(name));
        let is_stale =
            source.is_none_or(|source| source.is_dir() != path.is_dir() || !source.exists());
        match (is_stale, path.is_dir()) {
            (false, _) => Ok(()),
            (true, true) => fs::remove_dir_all(&path),
            (true, false) => fs::remove_file(&path),
        }
        .map_err(|e| cannot("remove", &path, &e))?;
    }
    for entry in fs::read_dir(from).map_err(|e| cannot("read", from, &e))? {
        let path = entry.map_err(|e| cannot("read", from, &e))?.path();
        // The fuzzer is a workspace of its own, and its corpus no text.
        let Some(name) = path.file_name().filter(|&name| name != "fuzz") else {
            continue;
        };
        let target = to.join(name);
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            write(&target, &workspace::read(&path)?)?;
        }
    }
    Ok(())
}

/// Writes a file, unless it is so already: cargo looks at times.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if fs::read_to_string(path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    fs::write(path, text).map_err(|e| cannot("write", path, &e))
}

fn try_one(folder: &Path, subject: &Subject, mutant: &Mutant) -> Result<End, Failure> {
    let path = folder.join(subject.path(mutant));
    let source = workspace::read(&path)?;
    if source.matches(mutant.old).count() != 1 {
        return Err(Failure::new(format!(
            "{} fits no longer: adapt its text",
            mutant.name
        )));
    }
    write(&path, &source.replacen(mutant.old, mutant.new, 1))?;
    let end = judge(folder, subject);
    write(&path, &source)?;
    end
}

/// Tests the copy.
fn judge(folder: &Path, subject: &Subject) -> Result<End, Failure> {
    for tests in subject.tests {
        if let End::Caught(test) = test(folder, tests)? {
            return Ok(End::Caught(test));
        }
    }
    Ok(End::Survived)
}

/// Runs tests until something fails.
fn test(folder: &Path, tests: &[&str]) -> Result<End, Failure> {
    let log = folder.join("log");
    let file = fs::File::create(&log).map_err(|e| cannot("write", &log, &e))?;
    let both = file.try_clone().map_err(|e| cannot("write", &log, &e))?;
    let cargo = workspace::cargo();
    let mut child = Command::new("sh");
    child
        .args(["-c", "ulimit -v \"$0\" && exec \"$@\"", MEMORY])
        .arg(cargo.get_program())
        .arg("test")
        .args(tests)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("build"))
        .env("DROSTE_TRIALS", TRIALS)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(both);
    let is_passed = wait(child)?;
    let output = workspace::read(&log)?;
    match is_passed {
        Some(true) => Ok(End::Survived),
        None => Ok(End::Caught("the deadline".to_owned())),
        Some(false) => named(&output),
    }
}

/// What failed, and the rule that it names.
fn named(output: &str) -> Result<End, Failure> {
    if output.contains("could not compile") {
        return Err(Failure::new(format!(
            "a mutant does not compile:\n{output}"
        )));
    }
    let test = output
        .lines()
        .find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .unwrap_or("a test that ended early");
    let rule = output.lines().find_map(|line| line.strip_prefix("# "));
    Ok(End::Caught(match rule {
        Some(rule) => format!("{test}: {rule}"),
        None => test.to_owned(),
    }))
}

/// Whether the command passes; `None` if it does not end.
fn wait(mut command: Command) -> Result<Option<bool>, Failure> {
    let cannot = |e| Failure::new(format!("cannot run cargo: {e}"));
    let mut child = command.process_group(0).spawn().map_err(cannot)?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(cannot)? {
            return Ok(Some(status.success()));
        }
        if start.elapsed() > DEADLINE {
            // Cargo's children are the endless ones: the group is ended, which is this child's own.
            let group = format!("-{}", child.id());
            let ended = Command::new("kill").args(["--", &group]).status();
            ended.map_err(|e| Failure::new(format!("cannot end {group}: {e}")))?;
            child.wait().map_err(cannot)?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_changes_one_place_and_has_a_name_of_its_own() {
        let all = SUBJECTS.iter().flat_map(|subject| {
            let mutants = subject.mutants.iter().copied().flatten();
            mutants.map(move |mutant| (subject, mutant))
        });
        for (index, (subject, mutant)) in all.clone().enumerate() {
            let path = subject.path(mutant);
            let source = workspace::read(&path).expect("a file of the crate");
            let count = source.matches(mutant.old).count();
            assert_eq!(
                count, 1,
                "{}: its text occurs {count} times in {path}",
                mutant.name
            );
            assert_ne!(mutant.old, mutant.new, "{}", mutant.name);
            let mut before = all.clone().take(index);
            let is_known = before.any(|(_, other)| other.name == mutant.name);
            assert!(!is_known, "{} is there twice", mutant.name);
        }
    }
}
