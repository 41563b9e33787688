//! `cargo xtask differ MINUTES`: random programs for EL2, on the bare machine and on Droste, whose sights are compared.
//!
//! The guest `differ` makes the programs and runs them. What it says of each on the bare emulated machine, at EL2, it
//! must say at a virtual EL2. Where it does not, the program is made small and told with all that either saw.
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
    let (mut programs, mut different) = (0, Vec::new());
    for (n, kind) in kinds.iter().cycle().enumerate() {
        let seed = seed + n as u64;
        let found = pair.compare(kind, seed, 0, BATCH)?;
        programs += BATCH;
        println!("{}: seed {seed}: {found}", kind.name);
        different.extend(
            found
                .different
                .iter()
                .map(|program| (*kind, seed, *program)),
        );
        if Instant::now() >= end || different.len() >= most {
            break;
        }
    }
    if different.is_empty() {
        println!("{programs} programs, no difference");
        return Ok(());
    }
    let found = different.len();
    for (kind, seed, program) in different.into_iter().take(most) {
        shrink::explain(pair, kind, seed, program)?;
        let kind = kind.name;
        println!(
            "kept by: cargo xtask differ --seed {seed} --kind {kind} --program {program} --keep WHY"
        );
    }
    Err(Failure::new(format!(
        "{found} of {programs} programs differ"
    )))
}
