//! Random programs for EL2: what each sees at EL2 of the bare machine it must see at a virtual EL2. `cargo xtask differ`
//! runs others, and makes small what differs.

use crate::stage::{DROSTE, Stage, Turn, parts};
use droste::qemu::{Machine, run_with_deadline, tied};
use std::collections::BTreeMap;
use std::time::Duration;

/// Always the same programs, which take about half a minute on an idle host.
const WORDS: &str = "differ.seed=1 differ.count=4096";
/// The kinds of EL2, and the word by which the guest makes its own so.
const KINDS: [(&str, &str); 2] = [("vhe", ""), ("nvhe", "nvhe")];
const OK: &str = "differ: ok";
/// A run takes a tenth of this, in seconds, on an idle host.
const LIMIT: u64 = 300;

/// Runs the programs at EL2 of a machine without Droste.
fn on_the_bare_machine(word: &str) -> String {
    let machine = Machine {
        cpus: 1,
        memory_mib: 128,
        append: format!("{word} {WORDS}"),
        ..Machine::new(&parts().qemu, parts().at_el2("differ"))
    };
    let _turn = Turn::wait(1);
    let limit = Duration::from_secs(LIMIT);
    run_with_deadline(tied(&machine.command(), DROSTE), &[OK], limit)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Lines of programs, each with the number of its first and what they saw.
fn saw(output: &str) -> Vec<&str> {
    let lines = output
        .lines()
        .filter_map(|line| line.strip_prefix("differ: "));
    let of_programs = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    of_programs.map(str::trim_end).collect()
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

#[test]
fn random_programs_see_at_a_virtual_el2_what_they_see_at_el2() {
    let mut times = BTreeMap::new();
    for (kind, word) in KINDS {
        let bare = on_the_bare_machine(word);
        let mut stage = Stage::new();
        stage.at_el2_with("differ", kind, 1, WORDS);
        let ended = stage.run_on(1).within(LIMIT).succeeds(&[OK]);
        let (bare_saw, saw) = (saw(&bare), saw(&ended.output));
        assert_eq!(bare_saw.len(), 4096 / 16, "{kind}: programs are missing");
        assert_eq!(bare_saw.len(), saw.len(), "{kind}: programs are missing");
        for (bare, here) in bare_saw.iter().zip(&saw) {
            assert_eq!(
                bare, here,
                "{kind}: cargo xtask differ 0 --seed 1 --kind {kind} says more"
            );
        }
        met(&bare, &mut times);
    }
    let never: Vec<_> = times.iter().filter(|(_, count)| **count == 0).collect();
    assert!(
        !times.is_empty() && never.is_empty(),
        "known, and never met: {never:?}"
    );
}
