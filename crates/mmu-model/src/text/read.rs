//! Reading it.

use core::str::{FromStr, SplitWhitespace};

use droste_arm64::{Ipa, Pa, Va};

use super::{BBM, DOMAINS, KINDS, SCOPES, SPECULATION, STAGE1, TAGGING};
use crate::config::{Config, Features, MAX_CPUS, Recording};
use crate::cpu::Vcpu;
use crate::outcome::{Access, Allowed};
use crate::stage1::Stage1Entry;
use crate::tlbi::{Completion, Form, Tlbi};
use crate::trace::{ParseError, Trace, Verb};

impl Trace {
    /// Reads a trace from text.
    ///
    /// # Errors
    /// The first line that is not an operation.
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
        Ok(Self::new(config).with_verbs(verbs))
    }
}

impl FromStr for Trace {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

/// The words of a line that are not read yet.
pub(super) struct Words<'a>(pub(super) SplitWhitespace<'a>);

impl Words<'_> {
    fn number(&mut self) -> Option<u64> {
        let word = self.0.next()?;
        match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        }
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.number()?).ok()
    }

    fn pa(&mut self) -> Option<Pa> {
        self.number().map(Pa)
    }

    fn va(&mut self) -> Option<Va> {
        self.number().map(Va)
    }

    fn named<T: Copy>(&mut self, names: &[(T, &'static str)]) -> Option<T> {
        named(names, self.0.next()?)
    }

    /// The first line.
    fn machine(&mut self) -> Option<Config> {
        if self.0.next()? != "machine" {
            return None;
        }
        let config = Config {
            cpus: self.small()?,
            base: self.pa()?,
            pages: self.number()?,
            pa_bits: self.small()?,
            bbm: self.named(&BBM)?,
            features: Features::from_bits(self.small()?),
            stage1: self.named(&STAGE1)?,
            speculation: self.named(&SPECULATION)?,
            recording: Recording::Off,
        };
        let is_sound = (1..=MAX_CPUS).contains(&config.cpus)
            && config.base.is_aligned(4096)
            && config.pages <= MAX_PAGES
            && self.0.next().is_none();
        is_sound.then_some(config)
    }

    /// Any other line.
    pub(super) fn verb(&mut self) -> Option<Verb> {
        let verb = self.0.next()?;
        Some(match verb {
            "claim" => Verb::Claim {
                page: self.pa()?,
                bytes: self.number()?,
            },
            "release" => Verb::Release {
                page: self.pa()?,
                bytes: self.number()?,
            },
            "stage1-map" => Verb::Stage1Map {
                space: self.small()?,
                va: self.va()?,
                entry: Stage1Entry {
                    ipa: Ipa(self.number()?),
                    tagging: self.named(&TAGGING)?,
                },
            },
            "stage1-unmap" => Verb::Stage1Unmap {
                space: self.small()?,
                va: self.va()?,
            },
            _ => {
                let cpu = self.small()?;
                return self.verb_of(verb, cpu);
            }
        })
    }

    /// The verbs of one CPU.
    fn verb_of(&mut self, verb: &str, cpu: usize) -> Option<Verb> {
        Some(match verb {
            "read" => Verb::Read {
                cpu,
                at: self.pa()?,
            },
            "write" => Verb::Write {
                cpu,
                at: self.pa()?,
                value: self.number()?,
            },
            "compare-exchange" => Verb::CompareExchange {
                cpu,
                at: self.pa()?,
                expected: self.number()?,
                new: self.number()?,
            },
            "zero" => Verb::Zero {
                cpu,
                from: self.pa()?,
                bytes: self.number()?,
            },
            "dsb" => Verb::Dsb {
                cpu,
                domain: self.named(&DOMAINS)?,
            },
            "isb" => Verb::Isb { cpu },
            "tlbi" => Verb::Tlbi {
                cpu,
                tlbi: self.tlbi()?,
            },
            "set-vttbr" => Verb::SetVttbr {
                cpu,
                value: self.number()?,
            },
            "set-vtcr" => Verb::SetVtcr {
                cpu,
                value: self.number()?,
            },
            "set-hcr" => Verb::SetHcr {
                cpu,
                value: self.number()?,
            },
            "enter" => Verb::Enter {
                cpu,
                vcpu: self.vcpu()?,
            },
            "exit" => Verb::Exit { cpu },
            "guest-tlbi" => Verb::GuestTlbi {
                cpu,
                tlbi: self.tlbi()?,
            },
            "guest-dsb" => Verb::GuestDsb {
                cpu,
                domain: self.named(&DOMAINS)?,
            },
            "access" => Verb::Access {
                cpu,
                access: self.access()?,
            },
            "speculate" => Verb::Speculate {
                cpu,
                va: self.va()?,
            },
            "expect" => Verb::Expect {
                cpu,
                access: self.access()?,
                allowed: self.allowed()?,
            },
            _ => return None,
        })
    }

    fn tlbi(&mut self) -> Option<Tlbi> {
        let word = self.0.next()?;
        let (mnemonic, completion) = match word.strip_suffix("nxs") {
            Some(mnemonic) => (mnemonic, Completion::ExceptXs),
            None => (word, Completion::Full),
        };
        let form = named(&Form::ALL, mnemonic)?;
        Some(Tlbi {
            form,
            completion,
            scope: self.named(&SCOPES)?,
            operand: self.number()?,
        })
    }

    fn vcpu(&mut self) -> Option<Vcpu> {
        let (number, asid) = (self.small()?, self.small()?);
        let space = match self.0.clone().next()? {
            "off" => {
                self.0.next();
                None
            }
            _ => Some(self.small()?),
        };
        Some(Vcpu {
            number,
            asid,
            space,
        })
    }

    fn access(&mut self) -> Option<Access> {
        Some(Access {
            va: self.va()?,
            kind: self.named(&KINDS)?,
        })
    }

    fn allowed(&mut self) -> Option<Allowed> {
        Some(match self.0.next()? {
            "access" => Allowed::Access(self.pa()?),
            "tracked" => Allowed::Tracked(self.pa()?),
            "fault" => Allowed::Fault,
            "either" => Allowed::Either(self.pa()?),
            "one-of" => Allowed::OneOf(self.pa()?, self.pa()?),
            _ => return None,
        })
    }
}

/// 16 GiB of table memory: more than a trace can mean.
const MAX_PAGES: u64 = 1 << 22;

fn named<T: Copy>(names: &[(T, &'static str)], word: &str) -> Option<T> {
    names
        .iter()
        .find(|(_, name)| *name == word)
        .map(|&(value, _)| value)
}
