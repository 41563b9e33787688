//! The package sources that this machine's own apt has, read from its files.
//!
//! Their address is the user's choice (a mirror nearby, a proxy), so ours come from there: no package host stands in
//! this project. Both of apt's formats are read: one line per source, and stanzas of fields (`sources.list(5)`).

use std::fs;
use std::path::Path;

/// One source of binary packages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// Where the archive is.
    pub uris: Vec<String>,
    /// Releases of the archive, by name.
    pub suites: Vec<String>,
    /// Parts of a release.
    pub components: Vec<String>,
    /// As it stands in the file, in its own format.
    pub text: Text,
}

/// The text of a source, so that it can be handed to apt again with every option that it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Text {
    /// One line, for a file that ends in `.list`.
    Line(String),
    /// A stanza, for a file that ends in `.sources`.
    Stanza(String),
}

/// All sources below apt's directory, `/etc/apt`. What cannot be read is no source.
pub fn read(apt_dir: &Path) -> Vec<Source> {
    let mut files = vec![apt_dir.join("sources.list")];
    let parts = fs::read_dir(apt_dir.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten();
    files.extend(parts.map(|entry| entry.path()));
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(parse_line)),
            Some("sources") => sources.extend(
                stanzas(&text)
                    .iter()
                    .filter_map(|stanza| parse_stanza(stanza)),
            ),
            _ => {}
        }
    }
    sources
}

/// The address of the archive that this release of Debian comes from.
pub fn debian_mirror<'a>(sources: &'a [Source], codename: &str) -> Option<&'a str> {
    let suites = [
        codename,
        "stable",
        "oldstable",
        "testing",
        "unstable",
        "sid",
    ];
    let is_release = |source: &&Source| {
        source
            .suites
            .iter()
            .any(|suite| suites.contains(&suite.as_str()))
            && source.components.iter().any(|c| c == "main")
    };
    sources
        .iter()
        .find(is_release)?
        .uris
        .first()
        .map(String::as_str)
}

/// Those of the sources that are Debian's own for a release: a source of somebody else that is down, or wants a key
/// that is missing, must not stop a set-up that does not need it.
pub fn of_debian(sources: &[Source], codename: &str) -> Vec<Source> {
    let is_own = |suite: &String| {
        let family = suite
            .strip_prefix(codename)
            .or_else(|| suite.strip_prefix("stable"));
        let family = family
            .or_else(|| suite.strip_prefix("oldstable"))
            .unwrap_or("foreign");
        matches!(
            family.trim_start_matches(['-', '/']),
            "" | "updates" | "security" | "backports"
        )
    };
    sources
        .iter()
        .filter(|source| !source.suites.is_empty() && source.suites.iter().all(is_own))
        .cloned()
        .collect()
}

/// `deb [options] uri suite component…`; anything else is `None`.
fn parse_line(line: &str) -> Option<Source> {
    let code = line.split('#').next()?.trim();
    let rest = code.strip_prefix("deb")?;
    if !rest.starts_with(char::is_whitespace) {
        return None;
    }
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_whitespace().map(String::from);
    Some(Source {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        text: Text::Line(code.to_owned()),
    })
}

/// The stanzas of a file, without comments.
fn stanzas(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines
        .split(|line| line.trim().is_empty())
        .filter(|stanza| !stanza.is_empty())
        .map(|stanza| stanza.join("\n") + "\n")
        .collect()
}

fn parse_stanza(stanza: &str) -> Option<Source> {
    let words = |name: &str| -> Vec<String> {
        field(stanza, name)
            .map(|value| value.split_whitespace().map(String::from).collect())
            .unwrap_or_default()
    };
    let is_enabled = !words("Enabled")
        .iter()
        .any(|word| matches!(word.to_lowercase().as_str(), "no" | "false"));
    if !is_enabled || !words("Types").iter().any(|kind| kind == "deb") {
        return None;
    }
    let source = Source {
        uris: words("URIs"),
        suites: words("Suites"),
        components: words("Components"),
        text: Text::Stanza(stanza.to_owned()),
    };
    (!source.uris.is_empty() && !source.suites.is_empty()).then_some(source)
}

/// The value of a field, its continuation lines included. Names of fields ignore case.
fn field(stanza: &str, name: &str) -> Option<String> {
    let mut lines = stanza.lines();
    let first = lines.find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })?;
    let more = lines.take_while(|line| line.starts_with(char::is_whitespace));
    Some(
        std::iter::once(first)
            .chain(more)
            .collect::<Vec<_>>()
            .join(" "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZAS: &str = "\
# the archive
Types: deb deb-src
# a comment inside
URIs: mirror+file:/etc/apt/mirrors.list
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

types: deb
uris: http://security.example/debian-security
suites: bookworm-security
components: main

Types: deb
Enabled: no
URIs: http://off.example
Suites: off
";

    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("sources.list.d")).expect("made");
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        put(
            "sources.list",
            "# nothing\ndeb [arch=amd64 signed-by=/k.gpg] https://vendor.example/apt bookworm-tool main\n",
        );
        put("sources.list.d/debian.sources", STANZAS);
        put(
            "sources.list.d/old.list.save",
            "deb http://saved.example bookworm main\n",
        );
        dir
    }

    #[test]
    fn both_formats_are_read_and_other_files_are_not() {
        let sources = read(directory().path());
        let uris: Vec<&str> = sources
            .iter()
            .flat_map(|source| &source.uris)
            .map(String::as_str)
            .collect();
        assert_eq!(
            uris,
            [
                "https://vendor.example/apt",
                "mirror+file:/etc/apt/mirrors.list",
                "http://security.example/debian-security"
            ]
        );
        assert_eq!(sources[1].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(sources[1].components, ["main", "contrib"]);
    }

    #[test]
    fn a_stanza_keeps_its_options() {
        let sources = read(directory().path());
        let Text::Stanza(text) = &sources[1].text else {
            panic!("a stanza")
        };
        assert!(
            text.contains("Signed-By:\n -----BEGIN") && !text.contains('#'),
            "{text}"
        );
    }

    #[test]
    fn the_mirror_is_that_of_the_release() {
        let sources = read(directory().path());
        assert_eq!(
            debian_mirror(&sources, "bookworm"),
            Some("mirror+file:/etc/apt/mirrors.list")
        );
        assert_eq!(
            debian_mirror(&sources[..1], "bookworm"),
            None,
            "a vendor's archive is not Debian's"
        );
    }

    #[test]
    fn sources_of_others_are_left_out() {
        let sources = read(directory().path());
        let own: Vec<Vec<String>> = of_debian(&sources, "bookworm")
            .into_iter()
            .map(|s| s.suites)
            .collect();
        assert_eq!(
            own,
            [
                vec!["bookworm".to_owned(), "bookworm-updates".into()],
                vec!["bookworm-security".into()]
            ]
        );
    }

    #[test]
    fn a_line_that_is_no_binary_source_is_none() {
        for line in [
            "",
            "# deb http://a b c",
            "deb-src http://a b c",
            "deb",
            "deb [x http://a b",
            "deb http://a",
        ] {
            assert_eq!(parse_line(line), None, "{line:?}");
        }
        let source = parse_line("deb http://a b c d # e").expect("a source");
        assert_eq!(
            (source.suites, source.components),
            (vec!["b".into()], vec!["c".into(), "d".into()])
        );
    }

    #[test]
    fn a_machine_without_apt_has_no_sources() {
        assert_eq!(read(Path::new("/nonexistent")), []);
    }
}
