//! The text of traces: one line for the machine, one for each verb.

use core::fmt;

use droste_arm64::barrier::Dsb;

use crate::config::{Bbm, Config, Speculation, Stage1};
use crate::cpu::Vcpu;
use crate::descriptor::AccessKind;
use crate::outcome::{Access, Allowed};
use crate::stage1::Tagging;
use crate::tlbi::Scope;
use crate::trace::{Trace, Verb};

mod read;

const DOMAINS: [(Dsb, &str); 3] = [(Dsb::Ish, "ish"), (Dsb::Ishst, "ishst"), (Dsb::Nsh, "nsh")];

const KINDS: [(AccessKind, &str); 4] = [
    (AccessKind::Read, "read"),
    (AccessKind::Write, "write"),
    (AccessKind::ExecuteEl1, "execute-el1"),
    (AccessKind::ExecuteEl0, "execute-el0"),
];

const STAGE1: [(Stage1, &str); 3] = [
    (Stage1::Unknown, "unknown"),
    (Stage1::Known, "known"),
    (Stage1::Held, "held"),
];

const SPECULATION: [(Speculation, &str); 2] = [
    (Speculation::InGuest, "in-guest"),
    (Speculation::AlsoAtEl2, "also-at-el2"),
];

const BBM: [(Bbm, &str); 3] = [(Bbm::Level0, "0"), (Bbm::Level1, "1"), (Bbm::Level2, "2")];

const TAGGING: [(Tagging, &str); 2] = [(Tagging::Global, "global"), (Tagging::PerAsid, "per-asid")];

const SCOPES: [(Scope, &str); 3] = [
    (Scope::Local, "local"),
    (Scope::Inner, "is"),
    (Scope::Outer, "os"),
];

fn name<T: PartialEq>(names: &[(T, &'static str)], value: &T) -> &'static str {
    names
        .iter()
        .find(|(other, _)| other == value)
        .map_or("", |&(_, name)| name)
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config {
            cpus,
            base,
            pages,
            pa_bits,
            bbm,
            features,
            stage1,
            speculation,
            ..
        } = *self.config();
        writeln!(
            f,
            "machine {cpus} {base} {pages} {pa_bits} {} {} {} {}",
            name(&BBM, &bbm),
            features.bits(),
            name(&STAGE1, &stage1),
            name(&SPECULATION, &speculation)
        )?;
        self.verbs()
            .iter()
            .try_for_each(|verb| writeln!(f, "{verb}"))
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Read { cpu, at } => write!(f, "read {cpu} {at}"),
            Self::Write { cpu, at, value } => write!(f, "write {cpu} {at} {value:#x}"),
            Self::CompareExchange {
                cpu,
                at,
                expected,
                new,
            } => {
                write!(f, "compare-exchange {cpu} {at} {expected:#x} {new:#x}")
            }
            Self::Zero { cpu, from, bytes } => write!(f, "zero {cpu} {from} {bytes:#x}"),
            Self::Dsb { cpu, domain } => write!(f, "dsb {cpu} {}", name(&DOMAINS, &domain)),
            Self::Isb { cpu } => write!(f, "isb {cpu}"),
            Self::Tlbi { cpu, tlbi } => write!(f, "tlbi {cpu} {tlbi}"),
            Self::SetVttbr { cpu, value } => write!(f, "set-vttbr {cpu} {value:#x}"),
            Self::SetVtcr { cpu, value } => write!(f, "set-vtcr {cpu} {value:#x}"),
            Self::SetHcr { cpu, value } => write!(f, "set-hcr {cpu} {value:#x}"),
            Self::Claim { page, bytes } => write!(f, "claim {page} {bytes:#x}"),
            Self::Release { page, bytes } => write!(f, "release {page} {bytes:#x}"),
            Self::Enter {
                cpu,
                vcpu:
                    Vcpu {
                        number,
                        asid,
                        space: None,
                    },
            } => {
                write!(f, "enter {cpu} {number} {asid} off")
            }
            Self::Enter {
                cpu,
                vcpu:
                    Vcpu {
                        number,
                        asid,
                        space: Some(space),
                    },
            } => {
                write!(f, "enter {cpu} {number} {asid} {space}")
            }
            Self::Exit { cpu } => write!(f, "exit {cpu}"),
            Self::GuestTlbi { cpu, tlbi } => write!(f, "guest-tlbi {cpu} {tlbi}"),
            Self::GuestDsb { cpu, domain } => {
                write!(f, "guest-dsb {cpu} {}", name(&DOMAINS, &domain))
            }
            Self::Stage1Map { space, va, entry } => {
                write!(
                    f,
                    "stage1-map {space} {va} {} {}",
                    entry.ipa,
                    name(&TAGGING, &entry.tagging)
                )
            }
            Self::Stage1Unmap { space, va } => write!(f, "stage1-unmap {space} {va}"),
            Self::Access {
                cpu,
                access: Access { va, kind },
            } => {
                write!(f, "access {cpu} {va} {}", name(&KINDS, &kind))
            }
            Self::Speculate { cpu, va } => write!(f, "speculate {cpu} {va}"),
            Self::Expect {
                cpu,
                access: Access { va, kind },
                allowed,
            } => {
                write!(f, "expect {cpu} {va} {} ", name(&KINDS, &kind))?;
                match allowed {
                    Allowed::Access(pa) => write!(f, "access {pa}"),
                    Allowed::Tracked(pa) => write!(f, "tracked {pa}"),
                    Allowed::Fault => write!(f, "fault"),
                    Allowed::Either(pa) => write!(f, "either {pa}"),
                    Allowed::OneOf(one, other) => write!(f, "one-of {one} {other}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::read::Words;
    use super::*;
    use crate::tlbi::{Form, Tlbi};

    #[test]
    fn every_verb_comes_back_from_its_text() {
        let text = "machine 3 0x40000000 16 48 2 4095 known also-at-el2
read 0 0x40000000
write 1 0x40000008 0x7ff
compare-exchange 2 0x40000010 0x0 0x1
zero 0 0x40001000 0x1000
dsb 0 ish
dsb 0 ishst
dsb 0 nsh
isb 0
tlbi 0 ipas2e1 is 0x80000
tlbi 0 ripas2le1nxs os 0x400000000000
set-vttbr 0 0x1000040000000
set-vtcr 0 0x80023558
set-hcr 0 0x200
claim 0x40001000 0x1000
release 0x40001000 0x1000
enter 0 1 7 off
enter 0 1 7 2
guest-tlbi 0 vmalle1 local 0x0
guest-dsb 0 nsh
stage1-map 1 0x1000 0x80000000 global
stage1-map 1 0x1000 0x80000000 per-asid
stage1-unmap 1 0x1000
access 0 0x1000 read
speculate 0 0x1000
expect 0 0x1000 write access 0x80000000
expect 0 0x1000 write tracked 0x80000000
expect 0 0x1000 execute-el1 fault
expect 0 0x1000 execute-el0 either 0x80000000
expect 0 0x1000 read one-of 0x80000000 0x90000000
exit 0
";
        let trace = Trace::parse(text).unwrap();
        assert_eq!(trace.to_string(), text);
    }

    #[test]
    fn every_tlbi_comes_back_from_its_text() {
        for (form, _) in Form::ALL {
            let line = format!("tlbi 0 {}", Tlbi::new(form, Scope::Local, 1));
            let verb = Words(line.split_whitespace()).verb().unwrap();
            assert_eq!(verb.to_string(), line);
        }
    }

    #[test]
    fn a_line_that_is_no_verb_is_named_by_its_number() {
        let machine = "machine 1 0x0 1 48 0 0 unknown in-guest\n";
        for wrong in [
            "jump 0",
            "isb",
            "isb 0 0",
            "write 0 0x0",
            "dsb 0 sy",
            "enter 0 1 7 on",
        ] {
            let error = Trace::parse(&format!("{machine}isb 0\n{wrong}\n")).unwrap_err();
            assert_eq!(error.line, 3, "{wrong}");
        }
        assert_eq!(Trace::parse("").unwrap_err().line, 1);
        assert_eq!(
            Trace::parse("machine 0 0x0 1 48 0 0 unknown in-guest")
                .unwrap_err()
                .line,
            1
        );
    }
}
