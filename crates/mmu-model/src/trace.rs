//! Traces: a run as a program, in text, to be replayed and cut down.

use core::fmt;
use core::str::FromStr;

use droste_arm64::barrier::Dsb;
use droste_arm64::{Pa, Va};

use crate::access::{Access, Allowed};
use crate::config::{Config, Recording};
use crate::cpu::Vcpu;
use crate::model::Model;
use crate::stage1::{Space, Stage1Entry};
use crate::text::Words;
use crate::tlbi::Tlbi;
use crate::violation::{Rule, Violation};

/// One call of the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    Read {
        cpu: usize,
        at: Pa,
    },
    Write {
        cpu: usize,
        at: Pa,
        value: u64,
    },
    CompareExchange {
        cpu: usize,
        at: Pa,
        expected: u64,
        new: u64,
    },
    Zero {
        cpu: usize,
        from: Pa,
        bytes: u64,
    },
    Dsb {
        cpu: usize,
        domain: Dsb,
    },
    Isb {
        cpu: usize,
    },
    Tlbi {
        cpu: usize,
        tlbi: Tlbi,
    },
    SetVttbr {
        cpu: usize,
        value: u64,
    },
    SetVtcr {
        cpu: usize,
        value: u64,
    },
    SetHcr {
        cpu: usize,
        value: u64,
    },
    Claim {
        page: Pa,
        bytes: u64,
    },
    Release {
        page: Pa,
        bytes: u64,
    },
    Enter {
        cpu: usize,
        vcpu: Vcpu,
    },
    Exit {
        cpu: usize,
    },
    GuestTlbi {
        cpu: usize,
        tlbi: Tlbi,
    },
    GuestDsb {
        cpu: usize,
        domain: Dsb,
    },
    Stage1Map {
        space: Space,
        va: Va,
        entry: Stage1Entry,
    },
    Stage1Unmap {
        space: Space,
        va: Va,
    },
    Access {
        cpu: usize,
        access: Access,
    },
    Speculate {
        cpu: usize,
        va: Va,
    },
    Expect {
        cpu: usize,
        access: Access,
        allowed: Allowed,
    },
}

/// A machine and what was done to it. As text it has one line for the machine and one for each verb.
///
/// ```
/// use droste_mmu_model::{Trace, replay};
/// let text = "machine 1 0x40000000 16 48 0 0 unknown in-guest\nwrite 0 0x40000000 0x1\nisb 0\n";
/// let trace: Trace = text.parse()?;
/// assert_eq!(trace.to_string(), text);
/// assert!(replay(&trace).is_ok());
/// # Ok::<(), droste_mmu_model::ParseError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    config: Config,
    verbs: Vec<Verb>,
}

/// A line that is no verb.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Its number, from 1.
    pub line: usize,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {} of the trace is no verb with its operands",
            self.line
        )
    }
}

impl core::error::Error for ParseError {}

impl Trace {
    pub(crate) const fn new(config: Config) -> Self {
        Self {
            config,
            verbs: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, verb: Verb) {
        self.verbs.push(verb);
    }

    pub(crate) const fn with_verbs(&self, verbs: Vec<Verb>) -> Self {
        Self {
            config: self.config,
            verbs,
        }
    }

    pub(crate) fn verbs(&self) -> &[Verb] {
        &self.verbs
    }

    /// The machine that it is for.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// How many verbs it has.
    pub fn len(&self) -> usize {
        self.verbs.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.verbs.is_empty()
    }

    /// Reads a trace from text.
    ///
    /// # Errors
    /// The first line that is no verb.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty());
        let (number, first) = lines.next().unwrap_or((0, ""));
        let mut words = Words(first.split_whitespace());
        let config = words.machine().ok_or(ParseError { line: number + 1 })?;
        let verbs = lines
            .map(|(number, line)| {
                let mut words = Words(line.split_whitespace());
                let verb = words.verb().filter(|_| words.0.next().is_none());
                verb.ok_or(ParseError { line: number + 1 })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { config, verbs })
    }
}

impl FromStr for Trace {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

/// Runs a trace on a machine of its own.
///
/// # Errors
/// The first rule that it breaks.
pub fn replay(trace: &Trace) -> Result<(), Violation> {
    replay_verbs(trace.config, &trace.verbs)
}

pub(crate) fn replay_verbs(config: Config, verbs: &[Verb]) -> Result<(), Violation> {
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

/// Cuts a trace that breaks `rule` down to verbs of which each is needed to break it. A trace that does not break
/// it comes back as it is.
///
/// Parts of half the length and then less are left out as long as the same rule is broken first (delta debugging);
/// calls of the model's own misuse never count.
#[must_use]
pub fn shrink(trace: &Trace, rule: Rule) -> Trace {
    let breaks = |verbs: &[Verb]| {
        replay_verbs(trace.config, verbs).is_err_and(|violation| violation.rule == rule)
    };
    if !breaks(trace.verbs()) {
        return trace.clone();
    }
    let mut verbs = trace.verbs.clone();
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
            } => self.expect(cpu, access, allowed),
        }
    }
}
