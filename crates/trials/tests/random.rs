//! Random programs.

use droste_trials::{Choices, Report, generate, run, shrink};

fn trial(seeds: std::ops::Range<u64>) {
    let start = std::time::Instant::now();
    let mut all = Report::default();
    for seed in seeds {
        let program = generate(&mut Choices::seeded(seed), 200);
        match run(&program) {
            Ok(report) => all = all.plus(report),
            Err(failure) => panic!("seed {seed}:\n{}", shrink(&failure, run)),
        }
    }
    println!("{all:?} {:?}", start.elapsed());
}

#[test]
fn random_programs_break_no_rule() {
    trial(0..400);
}
