//! Every verb is there for a reason: with it left out, now and then or always, some program fails.

use droste_trials::{Choices, Failure, Sabotage, Verb, generate, run_with};

/// The first failure among random programs.
fn found(sabotage: Sabotage) -> Option<Box<Failure>> {
    let programs = (0..SEEDS).map(|seed| generate(&mut Choices::seeded(seed), 120));
    programs
        .into_iter()
        .find_map(|program| run_with(&program, sabotage).err())
}

const SEEDS: u64 = 400;

#[test]
fn no_verb_can_be_left_out() {
    for verb in Verb::ALL {
        let failure = found(Sabotage::Without(verb));
        let failure = failure.unwrap_or_else(|| panic!("nobody misses {verb:?}"));
        println!("{verb:?}: {}", failure.problem);
    }
}

#[test]
fn no_verb_can_be_left_out_now_and_then() {
    for verb in Verb::ALL {
        for every in [2, 3, 7] {
            let failure = found(Sabotage::WithoutEvery(verb, every));
            assert!(failure.is_some(), "nobody misses {verb:?}, once in {every}");
        }
    }
}

#[test]
fn operands_that_say_something_else_are_noticed() {
    for sabotage in [
        Sabotage::Unshifted,
        Sabotage::ShortRanges,
        Sabotage::WrongHints,
        Sabotage::NoBroadcast,
    ] {
        let failure = found(sabotage).unwrap_or_else(|| panic!("nobody notices {sabotage:?}"));
        println!("{sabotage:?}: {}", failure.problem);
    }
}
