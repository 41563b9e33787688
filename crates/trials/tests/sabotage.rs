//! Every verb is there for a reason: with it left out, now and then or always, some program fails.

use droste_trials::stage2::{Failure, generate, run_with};
use droste_trials::{Choices, Sabotage, Verb};

/// The first failure among random programs.
fn found(sabotage: Sabotage) -> Option<Box<Failure>> {
    let programs = (0..SEEDS).map(|seed| generate(&mut Choices::seeded(seed), 120));
    programs
        .into_iter()
        .find_map(|program| run_with(&program, sabotage).err())
}

const SEEDS: u64 = 400;

/// It answers TLB conflict aborts, which here only an access beside a split can take; `mistakes.rs` shows what it is for.
const ANSWERS_CONFLICTS: Verb = Verb::Vmalls12e1;

/// It takes what this CPU's TLB holds of a leaf whose permissions were widened. Left out once, the guest faults again,
/// and the answer to that fault takes it.
const REPEATED_BY_THE_NEXT_FAULT: Verb = Verb::Ipas2e1;

#[test]
fn no_verb_can_be_left_out() {
    for verb in Verb::ALL {
        if verb == ANSWERS_CONFLICTS {
            continue;
        }
        let failure = found(Sabotage::Without(verb));
        let failure = failure.unwrap_or_else(|| panic!("nobody misses {verb:?}"));
        println!("{verb:?}: {}", failure.problem);
    }
}

#[test]
fn no_verb_can_be_left_out_now_and_then() {
    for verb in Verb::ALL {
        if [ANSWERS_CONFLICTS, REPEATED_BY_THE_NEXT_FAULT].contains(&verb) {
            continue;
        }
        // VMIDs run out twice in a program at most.
        let rates: &[u64] = if verb == Verb::Alle1is {
            &[2]
        } else {
            &[2, 3, 7]
        };
        for &every in rates {
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
