//! Makes a program that differs small, and tells what it is and what either machine saw.

use super::runs::{Kind, Pair, Said};
use crate::workspace::Failure;
use std::collections::BTreeMap;

/// Shrinks one program, and prints it. Gives its text if it differs when it is run alone.
///
/// # Errors
/// If a run does not come to its end.
pub(super) fn explain(
    pair: &Pair,
    kind: &Kind,
    seed: u64,
    program: u64,
) -> Result<Option<String>, Failure> {
    let Some(mut mask) = fewer(pair, kind, seed, program, u64::MAX)? else {
        println!(
            "--- {}: seed {seed}, program {program}: not again",
            kind.name
        );
        return Ok(None);
    };
    while let Some(less) = fewer(pair, kind, seed, program, mask)?.filter(|less| *less != mask) {
        mask = less;
    }
    println!(
        "--- {}: seed {seed}, program {program}, parts {mask:#x}",
        kind.name
    );
    let words = format!(
        "{} differ.verbose differ.count=1",
        words(seed, program, mask)
    );
    let (bare, droste) = pair.both(kind, &words)?;
    println!("all of it: {}", pair.write(&bare, &droste)?.display());
    let text = text(&bare);
    let (bare, droste) = (told(&bare), told(&droste));
    let same = bare
        .iter()
        .zip(&droste)
        .take_while(|(one, other)| one == other)
        .count();
    for line in &bare[..same] {
        println!("{line}");
    }
    for line in bare
        .iter()
        .skip(same)
        .filter(|line| !droste[same..].contains(line))
    {
        println!("bare:   {line}");
    }
    for line in droste
        .iter()
        .skip(same)
        .filter(|line| !bare[same..].contains(line))
    {
        println!("Droste: {line}");
    }
    Ok(Some(text))
}

fn words(seed: u64, program: u64, mask: u64) -> String {
    format!("differ.seed={seed} differ.from={program} differ.mask={mask:#x}")
}

/// Of the mask, and of those without some of its parts, the one with the fewest that differs.
fn fewer(
    pair: &Pair,
    kind: &Kind,
    seed: u64,
    program: u64,
    mask: u64,
) -> Result<Option<u64>, Failure> {
    let words = format!("{} differ.try", words(seed, program, mask));
    let (bare, droste) = pair.both(kind, &words)?;
    Ok(fewest(&tried(&bare), &tried(&droste)))
}

fn fewest(bare: &BTreeMap<u64, String>, droste: &BTreeMap<u64, String>) -> Option<u64> {
    let differ = bare
        .iter()
        .filter(|(tried, hash)| droste.get(tried).is_some_and(|other| other != *hash));
    let masks = differ.map(|(tried, _)| *tried);
    masks.min_by_key(|tried| tried.count_ones())
}

/// Lines `differ: without: MASK HASH`.
fn tried(said: &Said) -> BTreeMap<u64, String> {
    let lines = said
        .lines
        .iter()
        .filter_map(|line| line.strip_prefix("differ: without: 0x"));
    let pairs = lines.filter_map(|line| {
        let (mask, hash) = line.split_once(' ')?;
        Some((u64::from_str_radix(mask, 16).ok()?, hash.to_owned()))
    });
    pairs.collect()
}

/// The lines from the program on.
fn told(said: &Said) -> Vec<String> {
    let lines = said
        .lines
        .iter()
        .skip_while(|line| !line.starts_with("differ: program"));
    let lines = lines.take_while(|line| !line.starts_with("differ: known"));
    lines
        .map(|line| line.trim_start_matches("differ: ").to_owned())
        .collect()
}

/// The program alone.
fn text(said: &Said) -> String {
    let lines = said
        .lines
        .iter()
        .skip_while(|line| !line.starts_with("about "));
    let lines = lines.take_while(|line| !line.starts_with("differ: "));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_differs_is_taken() {
        let all = |hashes: [&str; 3]| -> BTreeMap<u64, String> {
            [0b111, 0b110, 0b1]
                .into_iter()
                .zip(hashes.map(str::to_owned))
                .collect()
        };
        let bare = all(["a", "b", "c"]);
        assert_eq!(fewest(&bare, &all(["x", "x", "x"])), Some(1));
        assert_eq!(fewest(&bare, &all(["x", "x", "c"])), Some(0b110));
        assert_eq!(fewest(&bare, &all(["x", "b", "c"])), Some(0b111));
        assert_eq!(fewest(&bare, &bare), None);
    }
}
