//! Every verb and every duty around `droste-nested` is there for a reason: without it some nested program fails.

use droste_trials::nested::{Failure, Lapse, Sabotage, generate, run_with};
use droste_trials::{Choices, Problem, Sabotage as OfMachine, Verb};

const SEEDS: u64 = 400;
const LENGTH: usize = 200;

/// The first failure among random programs.
fn found(sabotage: Sabotage) -> Option<Box<Failure>> {
    (0..SEEDS).find_map(|seed| {
        let program = generate(&mut Choices::seeded(seed), LENGTH);
        run_with(&program, sabotage).err()
    })
}

#[test]
fn no_duty_of_the_hypervisor_can_be_left_out() {
    for lapse in [
        Lapse::Tlbi,
        Lapse::Stage1,
        Lapse::OneContext,
        Lapse::Insert,
        Lapse::Note,
        Lapse::Visit,
        Lapse::Ticket,
        Lapse::Number,
    ] {
        let failure = found(Sabotage::Hypervisor(lapse));
        let failure = failure.unwrap_or_else(|| panic!("nobody misses {lapse:?}"));
        println!("{lapse:?}: {}", failure.problem);
        // A number that is another's breaks a rule of the architecture.
        let is_as_expected = match lapse {
            Lapse::Number => matches!(failure.problem, Problem::Violation(_)),
            _ => matches!(failure.problem, Problem::Oracle { .. }),
        };
        assert!(is_as_expected, "{failure}");
    }
}

/// They answer what hardware may, or leave a fault that comes again: see `sabotage.rs`.
const NOT_MISSED: [Verb; 2] = [Verb::Vmalls12e1, Verb::Ipas2e1];

#[test]
fn no_verb_can_be_left_out_under_a_shadow() {
    for verb in Verb::ALL
        .into_iter()
        .filter(|verb| !NOT_MISSED.contains(verb))
    {
        for sabotage in [OfMachine::Without(verb), OfMachine::WithoutEvery(verb, 3)] {
            let failure = found(Sabotage::Machine(sabotage));
            let failure = failure.unwrap_or_else(|| panic!("nobody misses {sabotage:?}"));
            println!("{sabotage:?}: {}", failure.problem);
        }
    }
}
