//! `cargo xtask differ MINUTES`: random programs, on the bare machine and on Droste, whose sights are compared.
//!
//! The guest `differ` makes the programs and runs them. What it says of each on the bare emulated machine, at EL2, it
//! must say at a virtual EL2; and what it says at EL1 of a machine without EL2, in a guest without. Where it does not, the
//! program is made small and told with all that either saw.
//!
//! A small program is kept in the corpus, a file that the guest carries: what it saw once is compared ever after, whatever
//! the generator makes by then.

mod corpus;
mod runs;
mod shrink;

use crate::workspace::Failure;
use runs::{Kind, Pair};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Programs of one start of the machines.
const BATCH: u64 = 4096;
/// Differences that are made small; more are only counted.
const SHOWN: usize = 8;

/// For how long, and from where.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long, in minutes
    #[arg(required_unless_present_any = ["program", "corpus"])]
    minutes: Option<f64>,
    /// Where to begin; by default at a seed that the clock gives
    #[arg(long)]
    seed: Option<u64>,
    /// The kind of EL2, of machine and neighbour; by default all in turn
    #[arg(long)]
    kind: Option<String>,
    /// This program of the seed alone
    #[arg(long)]
    program: Option<u64>,
    /// Make that program small and keep it in the corpus, for this reason: what is right, and where it stands
    #[arg(long, value_name = "WHY", requires = "program")]
    keep: Option<String>,
    /// The programs of the corpus alone
    #[arg(long, conflicts_with = "program")]
    corpus: bool,
    /// QEMU's `-cpu`
    #[arg(long, default_value = droste::qemu::CPU)]
    cpu: String,
    /// Differences that are made small before it ends
    #[arg(long, default_value_t = SHOWN)]
    most: usize,
}

/// Runs programs until the time is up.
///
/// # Errors
/// If a machine does not come to its end, or something differs.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let pair = Pair::gather(&options.cpu)?;
    let seed = options.seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(1, |since| since.as_secs())
    });
    let kinds: Vec<&Kind> = runs::KINDS
        .iter()
        .filter(|kind| options.kind.as_ref().is_none_or(|name| name == kind.name))
        .collect();
    if kinds.is_empty() {
        let names: Vec<_> = runs::KINDS.iter().map(|kind| kind.name).collect();
        return Err(Failure::new(format!(
            "no such kind; there are {}",
            names.join(", ")
        )));
    }
    if let Some(program) = options.program {
        for kind in &kinds {
            let text = shrink::explain(&pair, kind, seed, program)?;
            if let (Some(text), Some(why)) = (text, &options.keep) {
                corpus::keep(&options.cpu, kind, why, &text)?;
            }
        }
        return Ok(());
    }
    if options.corpus {
        return corpus::run(&pair, &kinds);
    }
    let minutes = options.minutes.unwrap_or(0.0);
    let end = Instant::now() + Duration::from_secs_f64(60.0 * minutes);
    soak(&pair, &kinds, seed, options.most, end)
}

/// A part of `soak`: programs from `seed` on for as long as this.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_for(time: Duration, seed: u64) -> Result<(), Failure> {
    let pair = Pair::gather(droste::qemu::CPU)?;
    let kinds: Vec<&Kind> = runs::KINDS.iter().collect();
    soak(&pair, &kinds, seed, SHOWN, Instant::now() + time)
}

fn soak(pair: &Pair, kinds: &[&Kind], seed: u64, most: usize, end: Instant) -> Result<(), Failure> {
    let batch = |kind: &Kind, seed, different: &mut Vec<u64>| {
        let found = pair.compare(kind, seed, 0, BATCH)?;
        println!("{}: seed {seed}: {found}", kind.name);
        different.extend(&found.different);
        found.broken.map_or(Ok(()), Err)
    };
    let explain = |found: &Found<'_>| {
        let &Found {
            kind,
            seed,
            program,
        } = found;
        let text = shrink::explain(pair, kind, seed, program)?;
        if text.is_some() {
            println!(
                "kept by: cargo xtask differ --seed {seed} --kind {} --program {program} --keep WHY",
                kind.name
            );
        }
        Ok(())
    };
    let rounds = kinds
        .iter()
        .cycle()
        .zip(seed..)
        .map(|(kind, seed)| (*kind, seed));
    search(rounds, most, || Instant::now() >= end, batch, explain)
}

/// A program that differs.
struct Found<'a> {
    kind: &'a Kind,
    seed: u64,
    program: u64,
}

/// Runs batches until it is over, and explains what differs, though a batch may come to no end.
fn search<'a>(
    rounds: impl Iterator<Item = (&'a Kind, u64)>,
    most: usize,
    is_over: impl Fn() -> bool,
    mut batch: impl FnMut(&Kind, u64, &mut Vec<u64>) -> Result<(), Failure>,
    mut explain: impl FnMut(&Found<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut programs, mut found, mut broken) = (0, Vec::new(), None);
    for (kind, seed) in rounds {
        let mut different = Vec::new();
        let ended = batch(kind, seed, &mut different);
        found.extend(different.into_iter().map(|program| Found {
            kind,
            seed,
            program,
        }));
        if let Err(error) = ended {
            broken = Some(format!("{}, seed {seed}: {error}", kind.name));
            break;
        }
        programs += BATCH;
        if is_over() || found.len() >= most {
            break;
        }
    }
    for one in found.iter().take(most) {
        if let Err(error) = explain(one) {
            let Found {
                kind,
                seed,
                program,
            } = one;
            println!("--- {}: seed {seed}, program {program}: {error}", kind.name);
        }
    }
    match (found.len(), broken) {
        (0, None) => {
            println!("{programs} programs, no difference");
            Ok(())
        }
        (0, Some(broken)) => Err(Failure::new(broken)),
        (found, None) => Err(Failure::new(format!(
            "{found} of {programs} programs differ"
        ))),
        (found, Some(broken)) => Err(Failure::new(format!(
            "{found} of {programs} programs differ; and {broken}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs three batches that differ as they say; the programs that are explained, and how it ends.
    fn tried(
        batches: [(&[u64], Result<(), &str>); 3],
        explains: Result<(), &str>,
    ) -> (Vec<(u64, u64)>, String) {
        let mut batches = batches.into_iter();
        let mut explained = Vec::new();
        let ended = search(
            std::iter::repeat(&runs::KINDS[0]).zip(7..10),
            SHOWN,
            || false,
            |_, _, different| {
                let (programs, ended) = batches.next().expect("three batches");
                different.extend(programs);
                ended.map_err(Failure::new)
            },
            |found| {
                explained.push((found.seed, found.program));
                explains.map_err(Failure::new)
            },
        );
        (
            explained,
            ended.map_or_else(|error| error.to_string(), |()| String::new()),
        )
    }

    #[test]
    fn what_differs_is_told_though_a_machine_hangs_later() {
        let batches: [(&[u64], _); 3] = [(&[], Ok(())), (&[5, 9], Ok(())), (&[3], Err("it hangs"))];
        let (explained, said) = tried(batches, Ok(()));
        assert_eq!(explained, [(8, 5), (8, 9), (9, 3)]);
        assert!(said.starts_with("3 of 8192 programs differ"), "{said}");
        assert!(said.contains("vhe, seed 9: it hangs"), "{said}");
    }

    #[test]
    fn what_differs_is_told_though_another_cannot_be_explained() {
        let batches: [(&[u64], _); 3] = [(&[5], Ok(())), (&[9], Ok(())), (&[], Ok(()))];
        let (explained, said) = tried(batches, Err("it hangs"));
        assert_eq!(explained, [(7, 5), (8, 9)]);
        assert_eq!(said, "2 of 12288 programs differ");
    }

    #[test]
    fn a_machine_that_hangs_is_a_failure_without_a_difference() {
        let none: &[u64] = &[];
        let (explained, said) = tried(
            [(none, Err("it hangs")), (none, Ok(())), (none, Ok(()))],
            Ok(()),
        );
        assert!(explained.is_empty());
        assert_eq!(said, "vhe, seed 7: it hangs");
    }
}
