//! An SMMU beside the CPUs: one more TLB, and a cache of its stream table, that hear commands alone.
//!
//! As for CPUs, the model holds the set of everything that the SMMU is permitted to hold. Here that is simple, because
//! there are few ways to end anything: every word of memory keeps the values that it had, each with the step from which
//! no fetch can see it any more. A value can be used in a translation until a command that covers it, and that was
//! issued after that step, is complete. Commands are complete when a CMD_SYNC behind them is consumed, and not when
//! they are: CMDQ_CONS passes them at once, and a CMD_SYNC late (IHI 0070, 4.7.3). No TLBI of a CPU ends anything.
//!
//! A driver makes its accesses to registers and memory here; tables of stage 2 are written through [`Beside`], which
//! tells a machine and the SMMU. [`Smmu::dma`] gives all that a device's access can come to, [`Smmu::expect`] says what
//! it may, and [`Smmu::violation`] has the first [`SmmuRule`] that was broken.
//!
//! Left out: stage 1, events (an access that is terminated is [`Reach::Abort`]), stalls, errors of commands (an illegal
//! one breaks a rule), hardware updates of descriptors, traces.
//!
//! Sources: IHI 0070, 3.21, 4, 5.2 and 6.3.

mod beside;
mod command;
mod entries;
mod rule;
mod walk;

use std::collections::BTreeMap;

use droste_arm64::Pa;

use crate::config::Config;
use crate::descriptor::AccessKind;
use crate::smmu::command::{Ends, Issued, decode};

pub use beside::Beside;
pub use rule::{SmmuRule, SmmuViolation};

/// No end yet: fetches may see the value.
const ALIVE: u64 = u64::MAX;

const CR0: u32 = 0x20;
const CR0ACK: u32 = 0x24;
const GBPA: u32 = 0x44;
const STRTAB_BASE: u32 = 0x80;
const STRTAB_BASE_CFG: u32 = 0x88;
const CMDQ_BASE: u32 = 0x90;
const CMDQ_PROD: u32 = 0x98;
const CMDQ_CONS: u32 = 0x9c;
const IRQ_CTRL: u32 = 0x50;
const IRQ_CTRLACK: u32 = 0x54;

const SMMUEN: u64 = 1;
const GBPA_ABORT: u64 = 1 << 20;
const GBPA_UPDATE: u64 = 1 << 31;

/// A value that a word had.
#[derive(Clone, Copy, Debug)]
struct Version {
    value: u64,
    from: u64,
    /// The step from which no fetch sees it.
    until: u64,
    /// Who has written over it, and has executed no DSB since.
    by: Option<usize>,
}

/// A stream table entry that led to a table.
#[derive(Clone, Copy, Debug)]
struct Record {
    stream: u32,
    vmid: u16,
    vtcr: u64,
    root: u64,
    ignores_access_flag: bool,
    from: u64,
    /// The step from which no fetch goes by it.
    until: u64,
}

/// A part of the second level of the stream table.
#[derive(Clone, Copy, Debug)]
struct Part {
    first: u32,
    count: u32,
    base: u64,
}

/// What an access of a device comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// It reaches memory.
    Memory(Pa),
    /// It is terminated.
    Abort,
}

/// An SMMU that holds whatever it may. See the [crate](crate#devices) for the idea.
#[derive(Clone, Debug)]
pub struct Smmu {
    config: Config,
    /// How many reads of a register show the old state after a write.
    late: u32,
    waits: u32,
    step: u64,
    words: BTreeMap<u64, Vec<Version>>,
    registers: BTreeMap<u32, u64>,
    consumed: u32,
    queue: Vec<Issued>,
    /// Consumed, and not complete before the next CMD_SYNC.
    loose: Vec<Issued>,
    done: Vec<Issued>,
    parts: Vec<Part>,
    records: Vec<Record>,
    /// Whether both caches may still hold what the firmware left.
    has_leftovers: bool,
    violation: Option<SmmuViolation>,
}

impl Smmu {
    /// An SMMU that the firmware left on, and that takes `late` reads of a register to do as it is told. Of `config` the
    /// address bits and features count.
    pub fn new(config: Config, late: u32) -> Self {
        let mut registers = BTreeMap::new();
        registers.insert(CR0, SMMUEN | 8);
        registers.insert(CR0ACK, SMMUEN | 8);
        Self {
            config,
            late,
            waits: 0,
            step: 0,
            words: BTreeMap::new(),
            registers,
            consumed: 0,
            queue: Vec::new(),
            loose: Vec::new(),
            done: Vec::new(),
            parts: Vec::new(),
            records: Vec::new(),
            has_leftovers: true,
            violation: None,
        }
    }

    /// The first rule that was broken.
    pub const fn violation(&self) -> Option<&SmmuViolation> {
        self.violation.as_ref()
    }

    fn report(&mut self, rule: SmmuRule, stream: Option<u32>, address: u64) {
        let step = self.step;
        self.violation.get_or_insert(SmmuViolation {
            rule,
            step,
            stream,
            address,
        });
    }

    /// What a CPU reads.
    pub fn read(&self, at: Pa) -> u64 {
        let versions = self.words.get(&at.0);
        versions
            .and_then(|versions| versions.last())
            .map_or(0, |version| version.value)
    }

    /// A CPU writes a word that the SMMU may read. It need not see it before that CPU's next DSB.
    pub fn write(&mut self, cpu: usize, at: Pa, value: u64) {
        self.step += 1;
        let step = self.step;
        if self.read(at) == value {
            return;
        }
        self.check_entry(at.0, value);
        let zero = Version {
            value: 0,
            from: 0,
            until: ALIVE,
            by: None,
        };
        let versions = self.words.entry(at.0).or_insert_with(|| vec![zero]);
        if let Some(last) = versions.last_mut() {
            last.by = Some(cpu);
        }
        versions.push(Version {
            value,
            from: step,
            ..zero
        });
        self.note_table(at.0, value);
    }

    /// A CPU executes a DSB: what it has written is what fetches see.
    pub fn dsb(&mut self, cpu: usize) {
        self.step += 1;
        let step = self.step;
        for versions in self.words.values_mut() {
            for version in versions
                .iter_mut()
                .filter(|version| version.by == Some(cpu))
            {
                (version.by, version.until) = (None, step);
            }
        }
    }

    /// A word's value, if fetches see one alone.
    fn visible(&self, at: u64) -> Option<u64> {
        let Some(versions) = self.words.get(&at) else {
            return Some(0);
        };
        let mut alive = versions.iter().filter(|version| version.until == ALIVE);
        let first = alive.next()?.value;
        alive.next().is_none().then_some(first)
    }

    /// Writes a register, of 32 or of 64 bits.
    pub fn set_register(&mut self, offset: u32, value: u64) {
        self.step += 1;
        let is_on = self.get(CR0ACK) & SMMUEN != 0;
        match offset {
            STRTAB_BASE | STRTAB_BASE_CFG if is_on => {
                self.report(SmmuRule::TableWhileOn, None, offset.into());
            }
            CMDQ_PROD if self.get(CR0) & 8 != 0 => self.publish(value as u32),
            CMDQ_CONS => self.consumed = value as u32,
            CR0 if value & SMMUEN != 0 && self.has_leftovers => {
                self.report(SmmuRule::Leftovers, None, offset.into());
            }
            CR0 if value & SMMUEN == 0 && is_on && self.get(GBPA) & GBPA_ABORT == 0 => {
                self.report(SmmuRule::OpenGate, None, offset.into());
            }
            _ => {}
        }
        self.registers.insert(offset, value);
        self.waits = self.late;
    }

    fn get(&self, offset: u32) -> u64 {
        self.registers.get(&offset).copied().unwrap_or(0)
    }

    /// Reads a register of 32 bits.
    pub fn register(&mut self, offset: u32) -> u32 {
        let is_late = self.waits > 0;
        match offset {
            CR0ACK | IRQ_CTRLACK | GBPA | CMDQ_CONS => self.waits = self.waits.saturating_sub(1),
            _ => {}
        }
        if !is_late {
            match offset {
                CR0ACK => drop(self.registers.insert(CR0ACK, self.get(CR0))),
                IRQ_CTRLACK => drop(self.registers.insert(IRQ_CTRLACK, self.get(IRQ_CTRL))),
                GBPA => drop(self.registers.insert(GBPA, self.get(GBPA) & !GBPA_UPDATE)),
                _ => {}
            }
        }
        if offset == CMDQ_CONS {
            self.consume(is_late);
            return self.consumed;
        }
        self.get(offset) as u32
    }

    /// New commands up to `producer`.
    fn publish(&mut self, producer: u32) {
        let base = self.get(CMDQ_BASE);
        let places = 1_u32 << (base & 0x1f);
        let base = base & 0x000f_ffff_ffff_ffe0;
        let mut next = self.consumed.wrapping_add(self.queue.len() as u32) & (2 * places - 1);
        while next != producer & (2 * places - 1) {
            let at = base + u64::from(next & (places - 1)) * 16;
            let (Some(first), Some(second)) = (self.visible(at), self.visible(at + 8)) else {
                return self.report(SmmuRule::CommandNotVisible, None, at);
            };
            let step = self.step;
            let Some(ends) = decode(first, second) else {
                return self.report(SmmuRule::IllegalCommand, None, first);
            };
            self.queue.push(Issued { step, ends });
            next = (next + 1) & (2 * places - 1);
        }
    }

    /// Commands are consumed, up to the first CMD_SYNC if that is late.
    fn consume(&mut self, is_late: bool) {
        let mask = (2 << (self.get(CMDQ_BASE) & 0x1f)) - 1;
        while let Some(&issued) = self.queue.first() {
            if issued.ends.is_none() {
                if is_late {
                    return;
                }
                let complete = std::mem::take(&mut self.loose);
                for issued in &complete {
                    self.end(issued);
                }
                self.done.extend(complete);
            } else {
                self.loose.push(issued);
            }
            self.queue.remove(0);
            self.consumed = (self.consumed + 1) & mask;
        }
        let is_all = |issued: &Issued, streams: bool| match issued.ends {
            Some(Ends::Streams(0, u32::MAX)) => streams,
            Some(Ends::Translations {
                vmid: None,
                range: None,
                ..
            }) => !streams,
            _ => false,
        };
        if [true, false]
            .iter()
            .all(|&streams| self.done.iter().any(|d| is_all(d, streams)))
        {
            self.has_leftovers = false;
        }
    }

    /// All that a device's access may come to now.
    pub fn dma(&self, stream: u32, address: u64, kind: AccessKind) -> Vec<Reach> {
        if self.get(CR0ACK) & SMMUEN == 0 {
            let is_shut = self.get(GBPA) & GBPA_ABORT != 0;
            return vec![if is_shut {
                Reach::Abort
            } else {
                Reach::Memory(Pa(address))
            }];
        }
        let mut all = Vec::new();
        let Some(entry) = self.entry_of(stream) else {
            return vec![Reach::Abort];
        };
        let versions = self.usable(stream, entry);
        if versions.is_empty() {
            all.push(Reach::Abort);
        }
        for version in versions {
            match (version.value & 1, version.value >> 1 & 7) {
                (1, 4) => all.push(Reach::Memory(Pa(address))),
                (1, 6) => self.translate(&version, stream, (address, kind), &mut all),
                _ => all.push(Reach::Abort),
            }
        }
        all
    }

    /// Checks that a device's access comes to nothing but this, whatever the SMMU holds.
    pub fn expect(&mut self, stream: u32, address: u64, kind: AccessKind, allowed: Reach) {
        self.step += 1;
        let all = self.dma(stream, address, kind);
        if let Some(&other) = all.iter().find(|&&reach| reach != allowed) {
            let rule = match other {
                Reach::Memory(_) if all.contains(&allowed) => SmmuRule::StaleTranslation,
                Reach::Memory(_) => SmmuRule::WrongTranslation,
                Reach::Abort => SmmuRule::Cut,
            };
            self.report(rule, Some(stream), address);
        }
    }

    /// A page supply has taken a page back: no walk of the SMMU may reach it.
    pub fn release(&mut self, page: Pa, bytes: u64) {
        self.step += 1;
        if let Some(stream) = self.reaches(page.0..page.0 + bytes) {
            self.report(SmmuRule::PageReachable, Some(stream), page.0);
        }
    }
}
