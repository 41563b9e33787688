//! Floors of a crate: folders in an order in which each may need those below it and none above.

use super::Finding;
use super::imports::{Crate, Edges};
use std::collections::BTreeMap;

/// Crates with floors, by the folders of their roots, and their folders from the bottom up.
const FLOORS: [(&str, &[&str]); 1] = [(
    "hv/src",
    &[
        "arch", "machine", "memory", "vm", "console", "nested", "devices", "life", "exit", "boot",
    ],
)];

/// Judges crates, each under the path of its root's folder.
pub(super) fn judge(crates: &BTreeMap<String, Crate>) -> Vec<Finding> {
    FLOORS
        .iter()
        .filter_map(|(root, floors)| Some((crates.get(*root)?, *root, *floors)))
        .flat_map(|(krate, root, floors)| of_crate(&krate.edges(), root, floors))
        .collect()
}

fn of_crate(edges: &Edges<'_>, root: &str, floors: &[&str]) -> Vec<Finding> {
    let error = |path: &str, message| Finding::whole(path, "floors", message);
    let mut findings = Vec::new();
    for (file, needed) in edges {
        let Some(own) = floor(file, root, floors) else {
            let message = format!("stands on no floor; there are {}", floors.join(", "));
            findings.push(error(file, message));
            continue;
        };
        let above = |other: &&&str| floor(other, root, floors).is_some_and(|other| other > own);
        findings.extend(needed.iter().filter(above).map(|other| {
            let message = format!(
                "needs {other}, of a floor above it; from the bottom they are {}",
                floors.join(", ")
            );
            error(file, message)
        }));
    }
    findings
}

/// How many floors are below `file`: of the root itself, all.
fn floor(file: &str, root: &str, floors: &[&str]) -> Option<usize> {
    let within = file.strip_prefix(root)?.strip_prefix('/')?;
    match within.split_once('/') {
        Some((folder, _)) => floors.iter().position(|floor| *floor == folder),
        None => Some(floors.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::imports;
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let files: Vec<(String, String)> = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect();
        let crates = imports::crates(&files).expect("they are Rust");
        let judged = judge(&crates).into_iter();
        judged
            .map(|finding| {
                let message = finding.message.split(';').next().unwrap_or_default();
                (finding.path, message.to_owned())
            })
            .collect()
    }

    #[test]
    fn arch_needs_nothing_of_hv_and_a_vm_nothing_of_what_serves_it() {
        let up = [
            ("hv/src/arch/gic.rs", "use crate::vm::Vm;"),
            (
                "hv/src/vm/state.rs",
                "fn load() { crate::devices::vgic::refresh() }",
            ),
            ("hv/src/vm/mod.rs", "mod vm; pub use vm::Vm;"),
            ("hv/src/vm/vm.rs", "pub struct Vm;"),
            ("hv/src/devices/vgic.rs", "pub fn refresh() {}"),
        ];
        let above = |file: &str, other: &str| {
            let message = format!("needs hv/src/{other}, of a floor above it");
            (format!("hv/src/{file}"), message)
        };
        let expected = [
            above("arch/gic.rs", "vm/vm.rs"),
            above("vm/state.rs", "devices/vgic.rs"),
        ];
        assert_eq!(found(&up), expected);
    }

    #[test]
    fn a_file_may_need_its_own_floor_and_those_below() {
        let down = [
            ("hv/src/main.rs", "mod exit; fn main() { exit::trap::f() }"),
            (
                "hv/src/exit/trap.rs",
                "use super::abort::g; use crate::vm::Vm; pub fn f() { g(Vm) }",
            ),
            ("hv/src/exit/abort.rs", "pub fn g() {}"),
            ("hv/src/vm/mod.rs", "pub struct Vm;"),
            ("x/src/arch/a.rs", "use crate::vm::Vm;"),
            ("x/src/vm/mod.rs", "pub struct Vm;"),
        ];
        assert_eq!(found(&down), []);
    }

    #[test]
    fn a_folder_that_is_no_floor_is_refused() {
        let attic = [("hv/src/attic/a.rs", "")];
        let expected = ("hv/src/attic/a.rs", "stands on no floor");
        assert_eq!(
            found(&attic),
            [(expected.0.to_owned(), expected.1.to_owned())]
        );
    }
}
