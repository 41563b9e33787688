//! Random programs: what each sees at EL2 of the bare machine it must see at a virtual EL2, and what it sees at EL1 of a
//! machine without EL2 it must see in a guest without; and those of the corpus. `cargo xtask differ` runs others, makes
//! small what differs, and keeps it in the corpus.

use crate::e2h::{E2H, SAID};
use crate::stage::{DROSTE, HostCpus, Stage, must_say, parts};
use droste::qemu::{CPU, El2, Machine, run_with_deadline};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Always the same programs, which take about half a minute on an idle host.
const WORDS: &str = "differ.corpus differ.seed=3 differ.count=4096";
/// The corpus alone.
const CORPUS_WORDS: &str = "differ.corpus differ.count=0";
/// Programs with lines that say for which kind of machine and which processor.
const CORPUS: &str = include_str!("../../../guests/src/differ/corpus.txt");
/// The kinds of EL2, and the word by which the guest makes its own so; and none.
const KINDS: [(&str, &str); 3] = [("vhe", ""), ("nvhe", "nvhe"), (WITHOUT_EL2, "")];
const WITHOUT_EL2: &str = "el1";
const OK: &str = "differ: ok";
/// A run takes a tenth of this, in seconds, on an idle host.
const LIMIT: u64 = 300;

/// Runs the programs on a machine without Droste.
fn on_the_bare_machine((kind, word): (&str, &str), cpu: &str, words: &str) -> String {
    let machine = Machine {
        el2: if kind == WITHOUT_EL2 {
            El2::Absent
        } else {
            El2::Present
        },
        cpus: 1,
        cpu: cpu.to_owned(),
        memory_mib: 128,
        append: format!("{word} {words}"),
        ..Machine::new(&parts().qemu, parts().at_el2("differ"))
    };
    let _host = HostCpus::wait(1);
    let limit = Duration::from_secs(LIMIT);
    run_with_deadline(machine.command(DROSTE), &[OK], limit)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Runs them there and on Droste, compares, and gives what the bare machine said.
fn compare(kind: (&str, &str), cpu: &str, words: &str) -> String {
    compare_with(&[], kind, cpu, words)
}

/// The same where `droste run` is given more arguments.
fn compare_with(arguments: &[&str], (kind, word): (&str, &str), cpu: &str, words: &str) -> String {
    let bare = on_the_bare_machine((kind, word), cpu, words);
    let mut stage = Stage::new();
    if kind == WITHOUT_EL2 {
        stage.differ_without_el2(words);
    } else {
        stage.at_el2_with("differ", kind, 1, words);
    }
    let run = stage.run_on(1).within(LIMIT).with(&["--cpu", cpu]);
    let run = run.with(arguments);
    let marker = if arguments.is_empty() { OK } else { SAID };
    let ended = run.succeeds(&[marker]);
    must_say(&ended.output, &[OK]);
    let (bare_saw, saw) = (saw(&bare), saw(&ended.output));
    assert_eq!(bare_saw.len(), saw.len(), "{kind}: programs are missing");
    for (bare, here) in bare_saw.iter().zip(&saw) {
        assert_eq!(
            bare, here,
            "{kind}: cargo xtask differ 0 --seed 1 --kind {kind}, or cargo xtask differ --corpus, says more"
        );
    }
    bare
}

/// Lines of programs, each with the number of its first and what they saw.
fn saw(output: &str) -> Vec<&str> {
    let lines = output
        .lines()
        .filter_map(|line| line.strip_prefix("differ: "));
    let of_programs =
        lines.filter(|line| line.starts_with(|c: char| c.is_ascii_digit()) || is_kept(line));
    of_programs.map(str::trim_end).collect()
}

/// Whether a line is of a program of the corpus.
fn is_kept(line: &str) -> bool {
    line.starts_with("kept ")
}

/// How often each row of what is known to differ was met.
fn met(output: &str, times: &mut BTreeMap<String, u64>) {
    let rows = output
        .lines()
        .filter_map(|line| line.strip_prefix("differ: known "));
    for (name, count) in rows.filter_map(|row| row.trim_end().rsplit_once(": ")) {
        *times.entry(name.to_owned()).or_default() += count.parse::<u64>().unwrap_or(0);
    }
}

/// Kinds and processors of the corpus, and how many programs it has.
fn corpus() -> (BTreeSet<(String, String)>, usize) {
    let programs = CORPUS
        .split("\n\n")
        .map(str::lines)
        .filter_map(|mut lines| {
            let kind = lines.next()?.strip_prefix("kind ")?;
            let kind = kind.split_once('-').map_or(kind, |(kind, _)| kind);
            let cpu = lines.next()?.strip_prefix("cpu ").unwrap_or(CPU);
            Some((kind.to_owned(), cpu.to_owned()))
        });
    let all: Vec<_> = programs.collect();
    (all.iter().cloned().collect(), all.len())
}

#[test]
fn random_programs_see_on_droste_what_they_see_on_the_bare_machine() {
    let mut times = BTreeMap::new();
    let mut kept = 0;
    for kind in KINDS {
        let bare = compare(kind, CPU, WORDS);
        let saw = saw(&bare);
        let of_corpus = saw.iter().filter(|line| is_kept(line)).count();
        assert_eq!(saw.len() - of_corpus, 4096 / 16, "programs are missing");
        kept += of_corpus;
        met(&bare, &mut times);
    }
    let (machines, count) = corpus();
    assert_eq!(kept, count, "programs of the corpus are missing");
    for (name, cpu) in machines.into_iter().filter(|(_, cpu)| cpu != CPU) {
        let kind = KINDS.into_iter().find(|(kind, _)| *kind == name);
        let kind = kind.unwrap_or_else(|| panic!("the corpus has a kind {name:?}"));
        compare(kind, &cpu, CORPUS_WORDS);
    }
    let never: Vec<_> = times.iter().filter(|(_, count)| **count == 0).collect();
    assert!(
        !times.is_empty() && never.is_empty(),
        "known, and never met: {never:?}"
    );
}

/// The programs of the corpus, and a part of the others. Not those of an EL2 without VHE, for which HCR_EL2.TGE is without
/// effect there (docs/limits.md).
#[test]
fn programs_see_the_same_where_el2_has_vhe_itself() {
    const SOME: &str = "differ.corpus differ.seed=3 differ.count=1024";
    for kind in KINDS.into_iter().filter(|(kind, _)| *kind != "nvhe") {
        let bare = compare_with(&E2H, kind, CPU, SOME);
        assert!(saw(&bare).len() >= 1024 / 16, "programs are missing");
    }
}
