//! What is read before the code: Markdown pages, whose links lead somewhere and whose first ones stay short, and manifests,
//! which say why they ask for a crate of others.

use super::Finding;

/// Pages that a newcomer reads first, with the lines and words that they have at most.
const SHORT: [(&str, usize, usize); 2] =
    [("README.md", 180, 1_400), ("ARCHITECTURE.md", 200, 2_500)];

/// Judges the Markdown page at `path`. `exists` tells whether a path from the workspace's root leads to a file or folder.
pub(crate) fn page(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some((_, lines, words)) = SHORT.iter().find(|(short, ..)| *short == path) {
        let has = (text.lines().count(), text.split_whitespace().count());
        if has.0 > *lines || has.1 > *words {
            let message = format!(
                "{} lines and {} words, where newcomers get {lines} and {words} at most: move some to docs/",
                has.0, has.1
            );
            findings.push(Finding::whole(path, "page length", message));
        }
    }
    for (number, line) in (1..).zip(text.lines()) {
        for target in targets(line).filter(|target| !exists(&beside(path, target))) {
            let message = format!("{target} is not there");
            findings.push(Finding {
                line: number,
                ..Finding::whole(path, "links", message)
            });
        }
    }
    findings
}

/// What the links of `line` name within the repository, without the place in the page.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://"))
        .filter_map(|target| target.split('#').next())
        .filter(|target| !target.is_empty())
}

/// The path from the workspace's root of what the page at `path` calls `target`.
fn beside(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Judges the manifest at `path`: each dependency on a crate of others has a comment above it, or above its table.
pub(crate) fn manifest(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut asks, mut is_told, mut before) = (false, false, "");
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('[') {
            asks = line.trim_end_matches(']').ends_with("dependencies");
            is_told = before.starts_with('#');
        } else if asks && line.contains('=') && !line.starts_with(['#', ' ', ']']) {
            let is_ours = line.contains("path =") || line.contains("workspace");
            if !is_ours && !is_told && !before.starts_with('#') {
                let name = line.split('=').next().unwrap_or(line).trim();
                let message = format!("{name} without a comment above it that says why it is here");
                findings.push(Finding {
                    line: number,
                    ..Finding::whole(path, "dependencies", message)
                });
            }
        }
        before = line;
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_lead_to_what_is_there() {
        let text = "# A\n[one](../README.md#top), [two](gone.md)\n[web](https://example.org/x) [here](#a) [out](../../x)\n";
        let found = page("docs/a.md", text, |path| path == "README.md");
        assert_eq!(
            shown(&found),
            [
                "error: docs/a.md:2: links: gone.md is not there",
                "error: docs/a.md:3: links: ../../x is not there"
            ]
        );
    }

    #[test]
    fn the_first_pages_stay_short() {
        let long = "word\n".repeat(181);
        let found = page("README.md", &long, |_| true);
        assert_eq!(
            shown(&found),
            [
                "error: README.md: page length: 181 lines and 181 words, where newcomers get 180 and 1400 at most: move some \
                 to docs/"
            ]
        );
        assert!(page("docs/use.md", &long, |_| true).is_empty());
        let wide = "word ".repeat(2_501);
        assert_eq!(page("ARCHITECTURE.md", &wide, |_| true).len(), 1);
    }

    #[test]
    fn a_dependency_says_why() {
        let text = "[package]\nname = \"a\"\n\n[dependencies]\nours.workspace = true\nnear = { path = \"x\" }\n# Why.\n\
                    good = \"1\"\nbad = \"1\"\n\n# Why all.\n[dev-dependencies]\ntold = \"1\"\n";
        assert_eq!(
            shown(&manifest("a/Cargo.toml", text)),
            [
                "error: a/Cargo.toml:9: dependencies: bad without a comment above it that says why it is here"
            ]
        );
    }
}
