//! `cargo xtask lint`: what a program can check of STYLE.md. Each rule says what it wants where it is broken.

mod circles;
mod commits;
mod documents;
mod edges;
mod figures;
mod floors;
mod imports;
mod names;
mod rules;
mod source;

use crate::workspace::{self, Failure};
use source::Source;
use std::fmt;
use std::process::Command;

/// Whether a finding ends the run with an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Severity {
    Error,
    Warning,
}

/// One place where a rule is broken.
#[derive(Debug)]
struct Finding {
    /// File from the workspace's root, or what else it is of.
    path: String,
    /// Line from 1; 0 is no line.
    line: usize,
    rule: &'static str,
    message: String,
    severity: Severity,
}

impl Finding {
    fn error(source: &Source, line: usize, rule: &'static str, message: String) -> Self {
        Self {
            path: source.path.clone(),
            line,
            rule,
            message,
            severity: Severity::Error,
        }
    }

    /// An error of something as a whole: a package, a crate, a commit.
    fn whole(path: &str, rule: &'static str, message: String) -> Self {
        Self {
            path: path.to_owned(),
            line: 0,
            rule,
            message,
            severity: Severity::Error,
        }
    }

    /// An error at byte `at` of one of the views of a file.
    fn at(source: &Source, view: &str, at: usize, rule: &'static str, message: String) -> Self {
        Self::error(source, source::line_of(view, at), rule, message)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.path)?;
        if self.line != 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}: {}", self.rule, self.message)
    }
}

/// What is looked at besides the source.
#[derive(Default, clap::Args)]
pub(crate) struct Options {
    /// Also judge the commits since BASE: any revision that git knows, such as `origin/main`
    #[arg(long, value_name = "BASE")]
    commits: Option<String>,
    /// Also print how much there is: lines of product, and long functions
    #[arg(long)]
    figures: bool,
}

/// Judges the whole workspace; findings go to standard output.
///
/// # Errors
/// If a rule is broken, or git, cargo or a file cannot be read.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut findings = edges::judge(&workspace::metadata()?);
    if let Some(base) = &options.commits {
        findings.extend(commits::judge(base)?);
    }
    let files = texts("*.rs")?;
    let sources: Vec<_> = files
        .iter()
        .map(|(path, text)| Source::new(path, text))
        .collect();
    for source in &sources {
        findings.extend(rules::RULES.iter().flat_map(|rule| rule(source)));
    }
    findings.extend(names::judge(&sources));
    if options.figures {
        println!("{}", figures::of(&sources));
    }
    let crates = imports::crates(&files).map_err(Failure::new)?;
    findings.extend(circles::judge(&crates));
    findings.extend(floors::judge(&crates));
    let exists = |path: &str| workspace::root().join(path).exists();
    for (path, text) in texts("*.md")? {
        findings.extend(documents::page(&path, &text, exists));
    }
    for (path, text) in texts("*Cargo.toml")? {
        findings.extend(documents::manifest(&path, &text));
    }
    for finding in &findings {
        println!("{finding}");
    }
    match findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .count()
    {
        0 => Ok(()),
        errors => Err(Failure::new(format!("{errors} broken rules of STYLE.md"))),
    }
}

/// The files of this pattern that git knows or would add: paths from the workspace's root, and what they hold.
fn texts(pattern: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    git.args(["--deduplicate", "--", pattern]);
    let listed = workspace::output(&mut git)?;
    let exists = |path: &&str| workspace::root().join(path).is_file();
    listed
        .lines()
        .filter(exists)
        .map(|path| workspace::read(path).map(|text| (path.to_owned(), text)))
        .collect()
}
