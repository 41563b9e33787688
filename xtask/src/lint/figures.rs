//! How much there is: what `cargo xtask lint --figures` prints beside its findings.

use super::source::Source;

/// What users take: the libraries, the hypervisor and the command, without what proves them.
const PRODUCT: [&str; 5] = [
    "crates/",
    "hv/src/",
    "cli/src/",
    "plugin/src/",
    "guests/vmm/src/",
];
const PROOFS: [&str; 2] = ["crates/trials/", "crates/mmu-model/"];
/// Longer functions than this are counted.
const LONG_LINES: usize = 50;

/// Figures of these sources, one a line.
pub(super) fn of(sources: &[Source]) -> String {
    let mut lines = 0;
    let (mut functions, mut long) = (0, 0);
    for source in sources {
        let begins =
            |folders: &[&str]| folders.iter().any(|folder| source.path.starts_with(folder));
        if !begins(&PRODUCT) && !begins(&PROOFS) || source.path.contains("/examples/") {
            continue;
        }
        let code: Vec<_> = source
            .code
            .lines()
            .take(source.lines_before_tests())
            .collect();
        if !begins(&PROOFS) {
            lines += code.iter().filter(|line| !line.trim().is_empty()).count();
        }
        let lengths = lengths(&code);
        functions += lengths.len();
        long += lengths.iter().filter(|lines| **lines > LONG_LINES).count();
    }
    format!(
        "{lines} lines of product, without comments and tests\n{long} of {functions} functions of it and of what proves it are longer than {LONG_LINES} lines"
    )
}

/// How many lines each function has that a file's code says in full.
fn lengths(code: &[&str]) -> Vec<usize> {
    let starts = code
        .iter()
        .enumerate()
        .filter(|(_, line)| is_function(line));
    starts
        .filter_map(|(start, line)| {
            let indent = &line[..line.len() - line.trim_start().len()];
            let rest = code.get(start..)?;
            // A declaration ends before any body begins.
            let opens = rest
                .iter()
                .position(|line| line.ends_with(['{', '}', ';']))?;
            if !rest[opens].ends_with('{') {
                return None;
            }
            let is_end = |line: &&str| line.strip_prefix(indent) == Some("}");
            Some(1 + rest.iter().position(is_end)?)
        })
        .collect()
}

/// Whether a line begins a function.
fn is_function(line: &str) -> bool {
    let before = line.split("fn ").next().filter(|before| *before != line);
    let is_qualifier = |word: &str| {
        matches!(word, "const" | "unsafe" | "extern" | "\" \"") || word.starts_with("pub")
    };
    before.is_some_and(|words| words.split_whitespace().all(is_qualifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_as_long_as_their_bodies_and_declarations_have_none() {
        let text = "pub(crate) const fn a(\n    b: u64,\n) -> u64 {\n    b\n}\ntrait T {\n    fn c(&self);\n    fn d() {\n    }\n}\n";
        let code: Vec<_> = text.lines().collect();
        assert_eq!(lengths(&code), [5, 2]);
        assert_eq!(
            lengths(&["let fn_name = 1;", "// fn x {"]),
            Vec::<usize>::new()
        );
    }

    #[test]
    fn lines_are_counted_without_tests_comments_and_proofs() {
        let text = "//! A.\n\nfn a() {\n}\n#[cfg(test)]\nmod tests {\n}\n";
        let sources = [
            "crates/a/src/lib.rs",
            "crates/trials/src/lib.rs",
            "guests/src/a.rs",
        ]
        .map(|path| Source::new(path, text));
        assert_eq!(
            of(&sources),
            "2 lines of product, without comments and tests\n0 of 2 functions of it and of what proves it are longer than 50 lines"
        );
    }
}
