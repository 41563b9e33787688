//! `cargo xtask soak`: random programs on all CPUs, for as long as asked.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use droste_trials::{
    Choices, Failure as Broken, Program, Report, Stopwatch, World, generate, shrink,
};

use crate::workspace::{self, Failure};

/// Steps of a program.
const LENGTH: usize = 300;
/// Where a failing program is written.
const FILE: &str = "target/soak-failure.txt";

/// For how long, and from where.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long, in minutes
    #[arg(required_unless_present = "replay")]
    minutes: Option<f64>,
    /// Where to begin; by default at a seed that the clock gives
    #[arg(long)]
    seed: Option<u64>,
    /// Run the program of this file, and nothing else
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// What all threads have done so far.
#[derive(Default)]
struct Sum {
    report: Report,
    programs: u64,
    worlds: BTreeSet<String>,
    /// CPU time of all threads.
    time: Duration,
    broken: Option<Box<Broken>>,
}

/// Runs programs until the time is up or one fails.
///
/// # Errors
/// If one fails. It is shrunk, printed, and written to a file that can be replayed.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    match &options.replay {
        Some(file) => replay(file),
        None => soak(options),
    }
}

fn replay(file: &PathBuf) -> Result<(), Failure> {
    let text = fs::read_to_string(file)
        .map_err(|e| Failure::new(format!("cannot read {}: {e}", file.display())))?;
    let program: Program = text
        .parse()
        .map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
    match droste_trials::run(&program) {
        Ok(report) => {
            println!("nothing is broken: {} operations", report.operations);
            Ok(())
        }
        Err(broken) => Err(Failure::new(broken.to_string())),
    }
}

fn soak(options: &Options) -> Result<(), Failure> {
    let minutes = options.minutes.unwrap_or(1.0).clamp(0.0, 1e6);
    let time = Duration::from_secs_f64(minutes * 60.0);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let first = options
        .seed
        .unwrap_or(clock.map_or(0, |time| time.as_secs() << 20));
    let next = AtomicU64::new(first);
    let sum = Mutex::new(Sum::default());
    let start = Instant::now();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    println!("programs of {LENGTH} steps from seed {first}, on {threads} threads");
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while start.elapsed() < time && work(next.fetch_add(1, Ordering::Relaxed), &sum) {}
            });
        }
    });
    let sum = sum.into_inner().map_err(|e| Failure::new(e.to_string()))?;
    say(&sum);
    match sum.broken {
        None => Ok(()),
        Some(broken) => Err(report(&broken)),
    }
}

/// Runs the program of a seed, and says whether to go on.
fn work(seed: u64, sum: &Mutex<Sum>) -> bool {
    let watch = Stopwatch::start();
    let program = generate(&mut Choices::seeded(seed), LENGTH);
    let result = droste_trials::run(&program);
    let time = watch.elapsed();
    let Ok(mut sum) = sum.lock() else {
        return false;
    };
    sum.programs += 1;
    sum.time += time;
    sum.worlds.insert(kind(&program.world));
    match result {
        Ok(report) => sum.report = sum.report.plus(report),
        Err(broken) => {
            println!("seed {seed} fails: {}", broken.problem);
            sum.broken.get_or_insert(broken);
        }
    }
    sum.broken.is_none()
}

/// What a world is like, but for its seed and sizes.
fn kind(world: &World) -> String {
    let plain = World {
        seed: 0,
        ..world.clone()
    };
    let text = plain.to_string();
    let words = text.split_whitespace();
    let told = words.filter(|word| !word.starts_with("quota=") && !word.starts_with("vcpus="));
    told.collect::<Vec<_>>().join(" ")
}

fn say(sum: &Sum) {
    let Report {
        operations,
        accesses,
        faults,
        rollovers,
        verbs,
    } = sum.report;
    let rate = sum.report.rate(sum.time);
    println!(
        "{} programs in {} kinds of worlds: {operations} operations, {rate} per second and core of CPU time; \
         {faults} faults, {accesses} accesses judged, {rollovers} rollovers, {verbs} verbs",
        sum.programs,
        sum.worlds.len()
    );
}

fn report(broken: &Broken) -> Failure {
    println!("shrinking");
    let small = shrink(broken, droste_trials::run).to_string();
    println!("{small}");
    let path = workspace::root().join(FILE);
    match fs::write(&path, small) {
        Ok(()) => Failure::new(format!(
            "a rule is broken: cargo xtask soak --replay {FILE}"
        )),
        Err(e) => Failure::new(format!("cannot write {}: {e}", path.display())),
    }
}
