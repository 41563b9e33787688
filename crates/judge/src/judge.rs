//! From events to findings.

use std::collections::{BTreeMap, HashMap, VecDeque};

use droste_arm64::barrier::Dsb;
use droste_arm64::{Pa, hcr};
use droste_mmu_model::{Finding, Malformed, Row, Rule, Vcpu, Watch};

use crate::decode;
use crate::event::{Event, Kind};
use crate::machine::Machine;
use crate::stack;

/// Events that are remembered, to be told around a finding.
const REMEMBERED: usize = 1 << 16;
/// Events that are kept around a finding: before what set it up, the first after that, and the last.
const BEFORE: usize = 16;
const FIRST: usize = 100;
const LAST: usize = 200;
/// Findings with which the tree of tables is kept; each may be some hundred KiB.
const TREES: usize = 64;

/// An event, and which of all it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbered {
    /// From 1 on.
    pub number: u64,
    /// It.
    pub event: Event,
    /// The model's step after it.
    step: u64,
}

/// What was seen around a finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// The finding.
    pub finding: Finding,
    /// The event that broke the rule.
    pub broken: Numbered,
    /// The one that set it up, if it is remembered.
    pub set_up: Option<Numbered>,
    /// What came between the two, or before the one; the middle may be left out.
    pub between: Vec<Numbered>,
    /// What came before both.
    pub before: Vec<Numbered>,
    /// The tree that it is about, as memory had it then; nothing where too many were kept before.
    pub tree: Vec<Row>,
}

/// The same, without the finding.
#[derive(Clone, Debug)]
struct Around {
    broken: Numbered,
    set_up: Option<Numbered>,
    between: Vec<Numbered>,
    before: Vec<Numbered>,
    tree: Vec<Row>,
}

/// Holds a hypervisor to the architecture, event by event.
#[derive(Debug)]
pub struct Judge {
    watch: Watch,
    /// HCR_EL2 of each CPU.
    hcr: Vec<u64>,
    /// Whether FEAT_S2FWB is there.
    has_fwb: bool,
    recent: VecDeque<Numbered>,
    seen: HashMap<u64, Around>,
    counts: BTreeMap<Kind, u64>,
    /// Places that call: who called there, and the address.
    frames: Vec<(u32, u64)>,
    number: u64,
    is_ended: bool,
}

impl Judge {
    /// One for this machine.
    pub fn new(machine: &Machine) -> Self {
        let config = machine.config();
        Self {
            watch: Watch::new(config),
            hcr: vec![0; config.cpus],
            has_fwb: config.features.has(droste_mmu_model::Features::FWB),
            recent: VecDeque::new(),
            seen: HashMap::new(),
            counts: BTreeMap::new(),
            frames: Vec::new(),
            number: 0,
            is_ended: false,
        }
    }

    /// Takes the next event.
    pub fn take(&mut self, event: Event) {
        if event.kind == Kind::Frame {
            if self.frames.len() < stack::MOST {
                self.frames.push((event.a as u32, event.b));
            }
            return;
        }
        self.number += 1;
        *self.counts.entry(event.kind).or_default() += 1;
        self.watch.at(event.pc);
        self.make(&event);
        let now = Numbered {
            number: self.number,
            event,
            step: self.watch.steps(),
        };
        if event.kind != Kind::Learn {
            if self.recent.len() == REMEMBERED {
                self.recent.pop_front();
            }
            self.recent.push_back(now);
        }
        for finding in self.watch.noted() {
            let around = self.around(&finding, now);
            self.seen.insert(finding.number, around);
        }
    }

    /// Makes it on the model.
    fn make(&mut self, event: &Event) {
        let cpu = usize::from(event.cpu);
        let (a, b) = (event.a, event.b);
        let watch = &mut self.watch;
        match event.kind {
            Kind::Write => watch.write(cpu, Pa(a), b),
            Kind::Learn => watch.learn(cpu, Pa(a), b),
            Kind::Order => watch.order(cpu),
            // CRm: the domain above, and below it which accesses. What waits for loads alone completes nothing.
            Kind::Dsb => match (a >> 2 & 3, a & 3) {
                (1, 3) => watch.dsb(cpu, Dsb::Nsh),
                (1, 2) => watch.dsb_nshst(cpu),
                (_, 3) => watch.dsb(cpu, Dsb::Ish),
                (_, 2) => watch.dsb(cpu, Dsb::Ishst),
                _ => {}
            },
            Kind::Isb => watch.isb(cpu),
            Kind::Tlbi => {
                if let Some(tlbi) = decode::tlbi(a as u32, b) {
                    watch.tlbi(cpu, tlbi);
                }
            }
            Kind::Vttbr => watch.set_vttbr(cpu, b),
            Kind::Vtcr => watch.set_vtcr(cpu, b),
            Kind::Hcr => {
                if let Some(hcr) = self.hcr.get_mut(cpu) {
                    *hcr = b;
                }
                watch.set_hcr(cpu, b);
            }
            // Aff3 to Aff0 tell vCPUs apart.
            Kind::Enter => watch.enter(
                cpu,
                Vcpu::new(a as u32 & 0xff_ffff | (a >> 8) as u32 & 0xff << 24),
            ),
            Kind::Exit => watch.exit(cpu),
            Kind::Done => watch.done(cpu),
            Kind::End => self.is_ended = true,
            Kind::Frame => {}
        }
    }

    /// What is to be told with a finding, as long as it is remembered.
    fn around(&self, finding: &Finding, now: Numbered) -> Around {
        let set_up = finding.violation.earlier.and_then(|step| {
            let at = self.recent.partition_point(|seen| seen.step < step);
            // What is older than all that is remembered is not the oldest of that.
            let is_forgotten = at == 0 && self.recent.len() == REMEMBERED;
            self.recent.get(at).filter(|_| !is_forgotten).copied()
        });
        let from = set_up.map_or(self.number.saturating_sub(LAST as u64), |seen| {
            seen.number + 1
        });
        let first = self.recent.partition_point(|seen| seen.number < from);
        let between = self
            .recent
            .range(first..)
            .filter(|seen| seen.number < now.number);
        let mut between: Vec<_> = between.copied().collect();
        if between.len() > FIRST + LAST {
            between.drain(FIRST..between.len() - LAST);
        }
        let end = first.saturating_sub(usize::from(set_up.is_some()));
        let before = self.recent.range(end.saturating_sub(BEFORE)..end);
        Around {
            broken: now,
            set_up,
            between,
            before: before.copied().collect(),
            tree: if self.seen.len() < TREES {
                self.watch.tree(finding)
            } else {
                Vec::new()
            },
        }
    }

    /// Who called the code of an event, the innermost first, as far as it is known: return addresses.
    pub fn callers(&self, event: &Event) -> Vec<u64> {
        let mut number = event.stack;
        let next = || {
            let &(above, place) = self.frames.get(number.checked_sub(1)? as usize)?;
            number = above;
            Some(place)
        };
        // A trace may have anything in it, circles too.
        std::iter::from_fn(next).take(stack::DEEPEST).collect()
    }

    /// What was found so far.
    pub fn told(&self) -> Vec<Told> {
        let findings = self.watch.findings();
        let is_judged = findings.filter(|finding| self.has_meaning(finding));
        is_judged
            .filter_map(|finding| {
                let around = self.seen.get(&finding.number)?.clone();
                Some(Told {
                    finding: *finding,
                    broken: around.broken,
                    set_up: around.set_up,
                    between: around.between,
                    before: around.before,
                    tree: around.tree,
                })
            })
            .collect()
    }

    /// MemAttr means something else where FEAT_S2FWB is there and HCR_EL2.FWB is clear: then it is not judged.
    fn has_meaning(&self, finding: &Finding) -> bool {
        let is_memory_type = finding.violation.rule == Rule::Descriptor(Malformed::MemoryType);
        let is_fwb = self.hcr.iter().any(|hcr| hcr & hcr::FWB != 0);
        !is_memory_type || is_fwb == self.has_fwb
    }

    /// How many kinds of findings there were so far.
    pub fn kinds(&self) -> usize {
        let findings = self.watch.findings();
        findings.filter(|finding| self.has_meaning(finding)).count()
    }

    /// How many events there were.
    pub const fn events(&self) -> u64 {
        self.number
    }

    /// How many there were of a kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// How many violations were in tables that nobody entered again.
    pub fn held(&self) -> u64 {
        self.watch.held()
    }

    /// Whether the recorder ended well.
    pub const fn is_ended(&self) -> bool {
        self.is_ended
    }
}

#[cfg(test)]
mod tests;
