//! Circles of imports: files of one crate that need each other, so that none of them can be read before the others.

use super::imports::{Crate, Edges};
use super::{Finding, Severity};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Crates with circles that stand, by the folders of their roots, and how many files are in them. Others have none.
const STANDING: [(&str, usize); 1] = [("hv/src", 3)];

/// Judges crates, each under the path of its root's folder.
pub(super) fn judge(crates: &BTreeMap<String, Crate>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, krate) in crates {
        let edges = krate.edges();
        let circles = circles(&edges);
        let tied: usize = circles.iter().map(BTreeSet::len).sum();
        let standing = STANDING.iter().find(|(standing, _)| standing == folder);
        let is_allowed = standing.is_some_and(|(_, files)| tied <= *files);
        findings.extend(
            circles
                .iter()
                .map(|circle| finding(folder, &edges, circle, is_allowed)),
        );
    }
    findings
}

fn finding(folder: &str, edges: &Edges, circle: &BTreeSet<&str>, is_allowed: bool) -> Finding {
    let way = shortest(edges, circle).join(" -> ");
    let message = format!("{} files need each other: {way}", circle.len());
    let severity = if is_allowed {
        Severity::Warning
    } else {
        Severity::Error
    };
    Finding {
        severity,
        ..Finding::whole(folder, "import circles", message)
    }
}

/// The largest sets of two files or more of which each needs each other, over however many.
fn circles<'a>(edges: &Edges<'a>) -> Vec<BTreeSet<&'a str>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> = edges
        .keys()
        .map(|file| (*file, reached(edges, file)))
        .collect();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for file in edges.keys() {
        let circle: BTreeSet<&str> = reach[file]
            .iter()
            .copied()
            .filter(|other| reach[other].contains(file))
            .collect();
        if circle.len() > 1 && seen.insert(circle.clone()) {
            found.push(circle);
        }
    }
    found
}

fn reached<'a>(edges: &Edges<'a>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = edges[from].iter().copied().collect();
    while let Some(file) = open.pop() {
        if reached.insert(file) {
            open.extend(&edges[file]);
        }
    }
    reached
}

/// A shortest way around within a circle, its first file named again at the end.
fn shortest<'a>(edges: &Edges<'a>, circle: &BTreeSet<&'a str>) -> Vec<&'a str> {
    let around = |start: &'a str| {
        let mut before: HashMap<&str, &'a str> = HashMap::new();
        let mut open = VecDeque::from([start]);
        while let Some(file) = open.pop_front() {
            for next in edges[file].iter().filter(|next| circle.contains(*next)) {
                if *next == start {
                    let mut way = vec![start, file];
                    while way[way.len() - 1] != start {
                        way.push(before[way[way.len() - 1]]);
                    }
                    way.reverse();
                    return way;
                }
                if !before.contains_key(next) {
                    before.insert(next, file);
                    open.push_back(next);
                }
            }
        }
        Vec::new()
    };
    let ways = circle.iter().map(|file| around(file));
    ways.min_by_key(Vec::len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::imports;
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<(String, String)> = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect();
        let crates = imports::crates(&files).expect("they are Rust");
        judge(&crates).into_iter().map(|f| f.message).collect()
    }

    #[test]
    fn files_that_name_each_other_are_found_with_the_way() {
        let files = [
            ("hv/src/main.rs", "mod a; mod b; mod c;"),
            ("hv/src/a.rs", "use crate::b::B; pub struct A(B);"),
            ("hv/src/b.rs", "pub struct B; fn f() { super::c::run() }"),
            ("hv/src/c.rs", "use crate::a; pub fn run() { a::A::new() }"),
        ];
        let way =
            "3 files need each other: hv/src/a.rs -> hv/src/b.rs -> hv/src/c.rs -> hv/src/a.rs";
        assert_eq!(found(&files), [way]);
        assert_eq!(found(&files[..3]), [""; 0]);
    }

    #[test]
    fn a_name_is_needed_where_it_is_defined() {
        let files = [
            ("x/src/lib.rs", "mod a; mod b; pub use a::A; pub use b::*;"),
            ("x/src/a.rs", "use crate::B; pub struct A(B);"),
            ("x/src/b.rs", "pub struct B;"),
        ];
        assert_eq!(found(&files), [""; 0]);
        let taking = ("x/src/b.rs", "use super::A as Other; pub struct B(Other);");
        assert_eq!(found(&[files[0], files[1], taking]).len(), 1);
        let defining = ("x/src/lib.rs", "mod a; use a::A; pub struct B(A);");
        assert_eq!(found(&[defining, files[1]]).len(), 1);
    }

    #[test]
    fn names_in_macros_and_bodies_count_and_those_of_tests_do_not() {
        let a = (
            "x/src/a.rs",
            "pub const A: u8 = 1; fn f() { use super::b::B; g!(B) }",
        );
        let b = (
            "x/src/b.rs",
            "pub struct B; fn f() { assert!(crate::a::A == 1) }",
        );
        assert_eq!(found(&[a, b]).len(), 1);
        let b = (
            "x/src/b.rs",
            "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }",
        );
        assert_eq!(found(&[a, b]), [""; 0]);
        let tests = ("x/src/b/tests.rs", "use crate::a::A;");
        assert_eq!(found(&[a, tests]), [""; 0]);
    }

    #[test]
    fn a_part_takes_what_its_module_defines_for_it() {
        let module = ("x/src/a.rs", "mod b; pub struct A; fn f() { b::g() }");
        let part = ("x/src/a/b.rs", "use super::A; pub fn g() {}");
        assert_eq!(found(&[module, part]), [""; 0]);
        let root = ("x/src/lib.rs", "mod b; pub struct A; fn f() { b::g() }");
        assert_eq!(found(&[root, ("x/src/b.rs", part.1)]).len(), 1);
        let other = ("x/src/ab.rs", "pub fn h() -> crate::a::A { crate::a::f() }");
        let module = ("x/src/a.rs", "pub struct A; pub fn f() { super::ab::h() }");
        assert_eq!(found(&[module, other]).len(), 1);
    }

    #[test]
    fn other_crates_and_other_binaries_make_no_circle() {
        let files = [
            ("x/src/lib.rs", "pub mod a;"),
            ("x/src/a.rs", "pub fn f() {}"),
            ("x/src/main.rs", "use x::a::f; fn main() { f() }"),
            ("x/src/bin/p/main.rs", "mod a; pub fn g() { a::f() }"),
            ("x/src/bin/p/a.rs", "pub fn f() { crate::g() }"),
            ("x/src/bin/q.rs", "fn main() {}"),
        ];
        let way =
            "2 files need each other: x/src/bin/p/a.rs -> x/src/bin/p/main.rs -> x/src/bin/p/a.rs";
        assert_eq!(found(&files), [way]);
    }
}
