//! Random programs over random worlds: all granules, formats and features. `DROSTE_TRIALS` is how many percent of the
//! usual number are run.

use std::ops::Range;
use std::time::Duration;

use droste_trials::stage2::{generate, run};
use droste_trials::{Choices, Report, Stopwatch, shrink};

const LENGTH: usize = 200;
const PROGRAMS: u64 = 920;

/// Runs the programs of one part in eight, and says how it went.
fn part(number: u64) {
    let percent = std::env::var("DROSTE_TRIALS")
        .ok()
        .and_then(|text| text.parse().ok());
    let count = PROGRAMS * percent.unwrap_or(100) / 100;
    let first = number * PROGRAMS;
    let (report, time) = programs(first..first + count);
    let rate = report.rate(time);
    println!(
        "{count} programs from seed {first}: {} operations, {rate} per second of CPU time; {} faults, {} accesses \
         judged, {} rollovers, {} verbs",
        report.operations, report.faults, report.accesses, report.rollovers, report.verbs
    );
    let expected = count * LENGTH as u64;
    assert!(report.operations > expected, "most steps do something");
}

fn programs(seeds: Range<u64>) -> (Report, Duration) {
    let watch = Stopwatch::start();
    let mut all = Report::default();
    for seed in seeds {
        match run(&generate(&mut Choices::seeded(seed), LENGTH)) {
            Ok(report) => all = all.plus(report),
            Err(failure) => panic!("seed {seed}:\n{}", shrink(&failure, run)),
        }
    }
    (all, watch.elapsed())
}

#[test]
fn random_programs_of_part_0_break_no_rule() {
    part(0);
}

#[test]
fn random_programs_of_part_1_break_no_rule() {
    part(1);
}

#[test]
fn random_programs_of_part_2_break_no_rule() {
    part(2);
}

#[test]
fn random_programs_of_part_3_break_no_rule() {
    part(3);
}

#[test]
fn random_programs_of_part_4_break_no_rule() {
    part(4);
}

#[test]
fn random_programs_of_part_5_break_no_rule() {
    part(5);
}

#[test]
fn random_programs_of_part_6_break_no_rule() {
    part(6);
}

#[test]
fn random_programs_of_part_7_break_no_rule() {
    part(7);
}

#[test]
fn bytes_make_programs_that_end_with_them() {
    for seed in 0..40 {
        let mut random = Choices::seeded(seed);
        let bytes: Vec<u8> = (0..400).map(|_| random.below(256) as u8).collect();
        let program = generate(&mut Choices::bytes(&bytes), LENGTH);
        assert!((20..LENGTH).contains(&program.steps.len()));
        if let Err(failure) = run(&program) {
            panic!("{}", shrink(&failure, run));
        }
    }
}

#[test]
fn every_program_is_read_as_it_was_written() {
    for seed in 0..50 {
        let program = generate(&mut Choices::seeded(seed), LENGTH);
        assert_eq!(program.to_string().parse(), Ok(program));
    }
}
