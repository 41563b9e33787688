//! Names of public types: one noun for one thing. A name that two packages have stands in a table that says why.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::source::Source;

const MODEL: &str = "who judges has its own words for what the architecture has";
const LAYERS: &str =
    "one thing, described for QEMU or by the user, and then by the boot image or for a guest";
const IDS: &str = "ID registers of EL1 and of virtual EL2, each in its module `id`";
const OWN: &str = "each its own, and its module or package says of what";
const ARM: &str = "Arm's word for both, each in the module of what it belongs to";

/// Names that several packages have, these packages, and why.
const SHARED: [(&str, &[&str], &str); 56] = [
    ("Abort", &["arm64", "nested"], ARM),
    ("Access", &["cli", "mmu-model", "stage2", "vdev"], OWN),
    ("Attributes", &["nested", "stage2"], ARM),
    ("Bbm", &["arm64", "mmu-model"], MODEL),
    ("Cause", &["nested", "stage2"], OWN),
    ("Completion", &["mmu-model", "nested"], MODEL),
    ("Console", &["image", "resources"], LAYERS),
    ("Context", &["cli", "stage2"], OWN),
    ("Counters", &["resources", "stage2"], OWN),
    (
        "Cpu",
        &["life", "mmu-model"],
        "a CPU, as a scheduler and as a table sees it",
    ),
    ("Device", &["arm64", "cli", "platform"], LAYERS),
    ("Dom0", &["cli", "image"], LAYERS),
    ("El2", &["cli", "image"], LAYERS),
    ("End", &["cli", "trials"], OWN),
    ("Entry", &["arm64", "mmu-model", "nested"], OWN),
    ("Error", &["cli", "smmu", "stage2"], OWN),
    ("Event", &["judge", "nested", "resources", "smmu"], OWN),
    ("FaultKind", &["mmu-model", "nested"], MODEL),
    ("Field", &["nested", "vdev"], IDS),
    ("Form", &["mmu-model", "nested"], MODEL),
    ("Format", &["arm64", "cli"], OWN),
    ("Gic", &["platform", "vdev"], LAYERS),
    ("Kind", &["arm64", "judge"], OWN),
    ("Layout", &["arm64", "nested"], OWN),
    ("Leaves", &["smmu", "stage2"], OWN),
    (
        "Level",
        &["arm64", "nested"],
        "a lookup level, an exception level: Arm says level for both",
    ),
    ("Loaded", &["judge", "nested"], OWN),
    (
        "Machine",
        &["arm64", "cli", "judge", "resources"],
        "the machine, as each of them knows it",
    ),
    ("Memory", &["judge", "stage2"], OWN),
    ("Missing", &["mmu-model", "smmu"], OWN),
    ("Order", &["judge", "trials"], OWN),
    ("Origin", &["nested", "stage2"], OWN),
    ("ParseError", &["mmu-model", "trials"], OWN),
    ("Pattern", &["arm64", "vdev"], OWN),
    ("Policy", &["nested", "vdev"], IDS),
    ("Pool", &["nested", "trials"], OWN),
    ("Privilege", &["nested", "stage2"], ARM),
    ("Program", &["cli", "trials"], OWN),
    ("Ram", &["judge", "resources"], OWN),
    ("Range", &["nested", "smmu"], OWN),
    ("Record", &["cli", "judge", "nested"], OWN),
    ("Regime", &["arm64", "nested"], ARM),
    ("Register", &["nested", "smmu", "vdev"], OWN),
    ("Registers", &["nested", "vdev"], OWN),
    ("Report", &["judge", "trials"], OWN),
    (
        "Row",
        &["arm64", "mmu-model", "nested", "vdev"],
        "a row of the table in its module",
    ),
    ("Rule", &["mmu-model", "nested"], OWN),
    ("Scope", &["arm64", "mmu-model", "nested"], MODEL),
    (
        "Slot",
        &["arm64", "stage2"],
        "of registers in memory, of memory in a space",
    ),
    (
        "Smmu",
        &["mmu-model", "smmu"],
        "the SMMU, as each of them knows it",
    ),
    ("Source", &["cli", "mmu-model"], OWN),
    ("Space", &["mmu-model", "trials"], MODEL),
    ("Stage2", &["resources", "smmu"], OWN),
    ("Step", &["cli", "trials"], OWN),
    ("Tlbi", &["arm64", "mmu-model"], MODEL),
    ("Told", &["judge", "smmu"], OWN),
];
/// What makes a type.
const KEYWORDS: [&str; 5] = ["struct", "enum", "trait", "type", "union"];

/// Judges the public types of the libraries and of the command.
pub(super) fn judge(sources: &[Source]) -> Vec<Finding> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in sources {
        let Some(package) = package(&source.path) else {
            continue;
        };
        for name in source.code.lines().filter_map(public_type) {
            found.entry(name).or_default().insert(package);
        }
    }
    let mut findings = Vec::new();
    for (name, packages) in &found {
        let known = SHARED.iter().find(|(shared, ..)| shared == name);
        let known = known.map_or(&[][..], |(_, packages, _)| packages);
        if packages.len() > 1 && !packages.iter().copied().eq(known.iter().copied()) {
            let all: Vec<_> = packages.iter().copied().collect();
            let message = format!(
                "{} have a public type of this name: give one another noun, or say in xtask/src/lint/names.rs why",
                all.join(" and ")
            );
            findings.push(Finding::whole(name, "type names", message));
        }
    }
    let is_shared = |name| found.get(name).is_some_and(|packages| packages.len() > 1);
    let idle = SHARED.iter().filter(|(name, ..)| !is_shared(name));
    findings.extend(idle.map(|(name, ..)| {
        let message = "one package has it: take its row out of xtask/src/lint/names.rs";
        Finding::whole(name, "type names", message.to_owned())
    }));
    findings
}

/// The package whose interface a file belongs to: a library of `crates`, or `cli`.
fn package(path: &str) -> Option<&str> {
    let (package, within) = match path.strip_prefix("crates/") {
        Some(rest) => rest.split_once('/')?,
        None => path
            .split_once('/')
            .filter(|(package, _)| *package == "cli")?,
    };
    within.starts_with("src/").then_some(package)
}

/// The name of the type that a line makes, if anybody may use it.
fn public_type(line: &str) -> Option<&str> {
    let (keyword, rest) = line.strip_prefix("pub ")?.split_once(' ')?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    KEYWORDS
        .contains(&keyword)
        .then(|| &rest[..end.unwrap_or(rest.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of these files, beside the rows for what is not in them.
    fn said(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = files
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect();
        let found = judge(&sources).into_iter();
        let found = found.filter(|finding| !finding.message.contains("its row"));
        found.map(|finding| finding.path).collect()
    }

    #[test]
    fn a_name_of_two_packages_is_refused_unless_the_table_has_these_packages() {
        let two = |first, second| {
            said(&[
                (first, "pub enum Verdict {"),
                (second, "pub struct Verdict;"),
            ])
        };
        assert_eq!(two("crates/a/src/lib.rs", "crates/b/src/x.rs"), ["Verdict"]);
        assert_eq!(two("crates/a/src/lib.rs", "cli/src/x.rs"), ["Verdict"]);
        assert!(two("crates/a/src/lib.rs", "crates/a/src/x.rs").is_empty());
        assert!(two("crates/a/src/lib.rs", "crates/b/tests/x.rs").is_empty());
        assert!(two("crates/a/src/lib.rs", "guests/src/x.rs").is_empty());
        let form = "pub enum Form {";
        let known = [
            ("crates/mmu-model/src/a.rs", form),
            ("crates/nested/src/a.rs", form),
        ];
        assert!(said(&known).is_empty());
        let third = [known[0], known[1], ("crates/vdev/src/a.rs", form)];
        assert_eq!(said(&third), ["Form"]);
    }

    #[test]
    fn only_what_everybody_may_use_has_a_name_to_share() {
        assert_eq!(public_type("pub struct Place<'a> {"), Some("Place"));
        assert_eq!(public_type("pub type Place = u64;"), Some("Place"));
        for line in [
            "pub(crate) struct Place;",
            "    pub struct Place;",
            "pub fn place() {",
            "pub const enum",
        ] {
            assert_eq!(public_type(line), None, "{line}");
        }
    }

    #[test]
    fn a_row_for_a_name_that_one_package_has_is_refused() {
        let all = judge(&[]);
        assert_eq!(all.len(), SHARED.len());
    }
}
