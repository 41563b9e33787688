//! Traces: a run as text, which can be replayed and shrunk.

use core::fmt;

use droste_arm64::barrier::Dsb;
use droste_arm64::{Pa, Va};

use crate::config::{Config, Space};
use crate::cpu::Vcpu;
use crate::outcome::{Access, Allowed};
use crate::stage1::Stage1Entry;
use crate::tlbi::Tlbi;

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

/// A machine and the operations on it. As text it has one line for the machine and one for each operation.
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

/// A line that is not an operation.
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

    /// The number of operations.
    pub fn len(&self) -> usize {
        self.verbs.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.verbs.is_empty()
    }
}
