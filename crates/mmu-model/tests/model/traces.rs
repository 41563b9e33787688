//! Recording, replay and shrinking.

use droste_arm64::Pa;
use droste_arm64::barrier::Dsb;
use droste_mmu_model::{Config, Missing, Recording, Rule, Trace, replay, shrink};

use crate::rig::*;

fn recorded() -> droste_mmu_model::Model {
    let mut model = running(Config {
        recording: Recording::On,
        ..config()
    });
    for index in 0..4 {
        model.write(0, Pa(T3 + index * 8), 0);
        if index != 2 {
            flush(&mut model, index * PAGE);
        }
        model.write(0, Pa(T3 + index * 8), page(MEMORY + 64 * PAGE));
        model.dsb(0, Dsb::Ishst);
    }
    model
}

const RULE: Rule = Rule::BreakBeforeMake(Missing::BarrierBeforeTlbi);

#[test]
fn a_replayed_trace_breaks_the_same_rule_at_the_same_step() {
    let model = recorded();
    let violation = *model.violation().unwrap();
    assert_eq!(violation.rule, RULE);
    assert_eq!(replay(model.trace()), Err(violation));
    let text = model.trace().to_string();
    let parsed: Trace = text.parse().unwrap();
    assert_eq!(replay(&parsed), Err(violation));
    assert_eq!(parsed.to_string(), text);
}

#[test]
fn a_shrunk_trace_has_what_is_needed_and_no_more() {
    let model = recorded();
    let shrunk = shrink(model.trace(), RULE);
    assert_eq!(replay(&shrunk).unwrap_err().rule, RULE);
    // Two registers, three descriptors, an entry, a break and a make; the links may even be of another entry.
    assert!(shrunk.len() <= 8, "{shrunk}");
    for left_out in 0..shrunk.len() {
        let lines: Vec<_> = shrunk.to_string().lines().map(String::from).collect();
        let fewer: Vec<_> = (lines.iter().enumerate())
            .filter(|(line, _)| *line != left_out + 1)
            .map(|(_, line)| line.as_str())
            .collect();
        let fewer = Trace::parse(&fewer.join("\n")).unwrap();
        assert_ne!(
            replay(&fewer).map_err(|violation| violation.rule),
            Err(RULE)
        );
    }
}

#[test]
fn a_trace_that_breaks_nothing_is_not_shrunk() {
    let model = running(Config {
        recording: Recording::On,
        ..config()
    });
    assert_eq!(shrink(model.trace(), RULE), *model.trace());
    assert_eq!(replay(model.trace()), Ok(()));
}

#[test]
fn nothing_is_recorded_unless_asked_for() {
    let model = running(config());
    assert!(model.trace().is_empty());
    assert!(model.steps() > 0);
}
