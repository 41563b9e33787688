//! `cargo xtask soak`: random programs on all CPUs, for as long as asked; or guests that are hypervisors.

mod hypervisors;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use droste_trials::{Choices, End, Program, Report, Setting, Stopwatch, nested, shrink, stage2};

use crate::differ;
use crate::workspace::{self, Failure};

/// Steps of a program.
const LENGTH: usize = 300;
/// How long programs for EL2 are compared with the bare machine before guests are run.
const DIFFER: Duration = Duration::from_mins(5);
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
    /// Run guests that are hypervisors in QEMU, with guests of their own, in place of programs on the model
    #[arg(long, conflicts_with = "replay")]
    qemu: bool,
}

/// A kind of programs.
struct Kind {
    name: &'static str,
    /// Runs the program of a seed, and says what its world is like.
    run: fn(u64) -> (String, Result<Report, Finding>),
}

/// What a program broke.
struct Finding {
    problem: String,
    /// Makes the program small, and gives its text.
    shrunk: Box<dyn FnOnce() -> String + Send>,
}

/// Seeds go to them in turn.
const KINDS: [Kind; 2] = [
    Kind {
        name: "stage2",
        run: |seed| {
            let program = stage2::generate(&mut Choices::seeded(seed), LENGTH);
            (kind(&program.world), found(&program, stage2::run))
        },
    },
    Kind {
        name: "nested",
        run: |seed| {
            let program = nested::generate(&mut Choices::seeded(seed), LENGTH);
            (kind(&program.world), found(&program, nested::run))
        },
    },
];

fn found<W: Setting<Step: Send> + Send + 'static>(
    program: &Program<W>,
    run: fn(&Program<W>) -> End<W>,
) -> Result<Report, Finding> {
    run(program).map_err(|broken| Finding {
        problem: broken.problem.to_string(),
        shrunk: Box::new(move || shrink(&broken, run).to_string()),
    })
}

/// What all threads have done so far.
#[derive(Default)]
struct Sum {
    of: [OfKind; KINDS.len()],
    broken: Option<Finding>,
}

/// And with programs of one kind.
#[derive(Default)]
struct OfKind {
    report: Report,
    programs: u64,
    worlds: BTreeSet<String>,
    /// CPU time of all threads.
    time: Duration,
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
    let wrong = |e| Failure::new(format!("{}: {e}", file.display()));
    // L1 has a line of its own.
    let result = if text.lines().any(|line| line.starts_with("l1 ")) {
        let program: nested::Program = text.parse().map_err(wrong)?;
        nested::run(&program).map_err(|broken| broken.to_string())
    } else {
        let program: stage2::Program = text.parse().map_err(wrong)?;
        stage2::run(&program).map_err(|broken| broken.to_string())
    };
    match result {
        Ok(report) => {
            println!("nothing is broken: {} operations", report.operations);
            Ok(())
        }
        Err(broken) => Err(Failure::new(broken)),
    }
}

fn soak(options: &Options) -> Result<(), Failure> {
    let minutes = options.minutes.unwrap_or(1.0).clamp(0.0, 1e6);
    let time = Duration::from_secs_f64(minutes * 60.0);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let first = options
        .seed
        .unwrap_or(clock.map_or(0, |time| time.as_secs() << 20));
    if options.qemu {
        let start = Instant::now();
        differ::run_for(time.min(DIFFER), first)?;
        return hypervisors::run(first, || start.elapsed() < time);
    }
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
        Some(broken) => Err(report(broken)),
    }
}

/// Runs the program of a seed, and says whether to go on.
fn work(seed: u64, sum: &Mutex<Sum>) -> bool {
    let which = (seed % KINDS.len() as u64) as usize;
    let watch = Stopwatch::start();
    let (world, result) = (KINDS[which].run)(seed);
    let time = watch.elapsed();
    let Ok(mut sum) = sum.lock() else {
        return false;
    };
    let of = &mut sum.of[which];
    of.programs += 1;
    of.time += time;
    of.worlds.insert(world);
    match result {
        Ok(report) => of.report = of.report.plus(report),
        Err(broken) => {
            println!("seed {seed} fails: {}", broken.problem);
            sum.broken.get_or_insert(broken);
        }
    }
    sum.broken.is_none()
}

/// What a program's world is like, but for its seed and sizes.
fn kind(world: &impl Setting) -> String {
    const SIZES: [&str; 6] = ["seed=", "quota=", "vcpus=", "pages=", "records=", "vmid="];
    let text = world.to_string();
    let words = text.split_whitespace();
    let told = words.filter(|word| !SIZES.iter().any(|size| word.starts_with(size)));
    told.collect::<Vec<_>>().join(" ")
}

fn say(sum: &Sum) {
    for (kind, of) in KINDS.iter().zip(&sum.of) {
        let Report {
            operations,
            accesses,
            faults,
            rollovers,
            verbs,
        } = of.report;
        let rate = of.report.rate(of.time);
        println!(
            "{}: {} programs in {} kinds of worlds: {operations} operations, {rate} per second and core of CPU time; \
             {faults} faults, {accesses} accesses judged, {rollovers} rollovers, {verbs} verbs",
            kind.name,
            of.programs,
            of.worlds.len()
        );
    }
}

fn report(broken: Finding) -> Failure {
    println!("shrinking");
    let small = (broken.shrunk)();
    println!("{small}");
    let path = workspace::root().join(FILE);
    match fs::write(&path, small) {
        Ok(()) => Failure::new(format!(
            "a rule is broken: cargo xtask soak --replay {FILE}"
        )),
        Err(e) => Failure::new(format!("cannot write {}: {e}", path.display())),
    }
}
