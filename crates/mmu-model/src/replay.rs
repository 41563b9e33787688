//! Replays traces, and shrinks them.

use crate::config::{Config, Recording};
use crate::model::Model;
use crate::trace::{Trace, Verb};
use crate::violation::{Rule, Violation};

/// Replays a trace on a new machine.
///
/// # Errors
/// The first rule that it breaks.
pub fn replay(trace: &Trace) -> Result<(), Violation> {
    replay_verbs(*trace.config(), trace.verbs())
}

fn replay_verbs(config: Config, verbs: &[Verb]) -> Result<(), Violation> {
    let mut model = Model::new(Config {
        recording: Recording::Off,
        ..config
    });
    for verb in verbs {
        model.run(verb);
        if let Some(violation) = model.violation() {
            return Err(*violation);
        }
    }
    Ok(())
}

/// Shrinks a trace that breaks `rule` to operations of which each is needed to break it. A trace that does not break it
/// is returned as it is.
///
/// Parts of half the length and then less are left out as long as the same rule is broken first (delta debugging);
/// calls of the model's own misuse never count.
#[must_use]
pub fn shrink(trace: &Trace, rule: Rule) -> Trace {
    let breaks = |verbs: &[Verb]| {
        replay_verbs(*trace.config(), verbs).is_err_and(|violation| violation.rule == rule)
    };
    if !breaks(trace.verbs()) {
        return trace.clone();
    }
    let mut verbs = trace.verbs().to_vec();
    let mut chunk = verbs.len().div_ceil(2);
    loop {
        let mut from = 0;
        let before = verbs.len();
        while from < verbs.len() {
            let to = (from + chunk).min(verbs.len());
            let mut fewer = verbs.clone();
            fewer.drain(from..to);
            if breaks(&fewer) {
                verbs = fewer;
            } else {
                from = to;
            }
        }
        if chunk == 1 && verbs.len() == before {
            return trace.with_verbs(verbs);
        }
        chunk = chunk.div_ceil(2).max(1);
    }
}

impl Model {
    /// Makes one call again; what it gives is dropped.
    fn run(&mut self, verb: &Verb) {
        match *verb {
            Verb::Read { cpu, at } => {
                self.read(cpu, at);
            }
            Verb::Write { cpu, at, value } => self.write(cpu, at, value),
            Verb::CompareExchange {
                cpu,
                at,
                expected,
                new,
            } => {
                // Whether it succeeded is part of the machine's state; the recorded driver's answer is in what follows.
                let _ = self.compare_exchange(cpu, at, expected, new);
            }
            Verb::Zero { cpu, from, bytes } => self.zero(cpu, from, bytes),
            Verb::Dsb { cpu, domain } => self.dsb(cpu, domain),
            Verb::Isb { cpu } => self.isb(cpu),
            Verb::Tlbi { cpu, tlbi } => self.tlbi(cpu, tlbi),
            Verb::SetVttbr { cpu, value } => self.set_vttbr(cpu, value),
            Verb::SetVtcr { cpu, value } => self.set_vtcr(cpu, value),
            Verb::SetHcr { cpu, value } => self.set_hcr(cpu, value),
            Verb::Claim { page, bytes } => self.claim(page, bytes),
            Verb::Release { page, bytes } => self.release(page, bytes),
            Verb::Enter { cpu, vcpu } => self.enter(cpu, vcpu),
            Verb::Exit { cpu } => self.exit(cpu),
            Verb::GuestTlbi { cpu, tlbi } => self.guest_tlbi(cpu, tlbi),
            Verb::GuestDsb { cpu, domain } => self.guest_dsb(cpu, domain),
            Verb::Stage1Map { space, va, entry } => self.stage1_map(space, va, entry),
            Verb::Stage1Unmap { space, va } => self.stage1_unmap(space, va),
            Verb::Access { cpu, access } => {
                self.access(cpu, access);
            }
            Verb::Speculate { cpu, va } => self.speculate(cpu, va),
            Verb::Expect {
                cpu,
                access,
                allowed,
            } => {
                self.expect(cpu, access, allowed);
            }
        }
    }
}
