//! Reads a recorded trace and reports where it breaks the architecture's rules for changing live tables.
//!
//! It knows descriptors and TLBI operands as raw bits from DDI 0487 and uses nothing of the code that it judges but
//! the event types. It keeps its own copy of memory, follows which tables the root reaches, and for every entry that
//! was made invalid how far its invalidation has come in every VMID that can have cached it.

use std::collections::{BTreeSet, HashMap};

use droste_arm64::tlbi::Tlbi;
use droste_stage2::Dsb;

use crate::recorder::Event;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Violation {
    /// A valid entry was replaced by another valid one.
    ValidToValid { at: u64 },
    /// An entry became valid before what was there is gone from all TLBs.
    MadeTooEarly { at: u64 },
    /// A table's page was reused while walks can still reach it.
    ReusedTooEarly { page: u64 },
    /// A table was linked before its contents were visible to walks.
    LinkedUnseen { page: u64 },
    /// A trace ended with an invalidation incomplete.
    Unfinished { ipa: u64 },
}

/// How far one VMID's invalidation of one entry has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Progress {
    Written,
    Visible,
    /// Stage-2 entries: TLBI issued, and complete.
    AddressIssued,
    AddressDone,
    CombinedIssued,
    /// One TLBI took everything.
    AllIssued,
    Done,
}

/// Something that TLBs may hold of a broken entry: a leaf, or a table on the way.
#[derive(Clone, Copy, Debug)]
struct Cached {
    start: u64,
    end: u64,
    /// `None` for a table.
    leaf: Option<u32>,
}

#[derive(Clone, Debug)]
struct Broken {
    start: u64,
    end: u64,
    /// Pages of tables that hung below.
    pages: Vec<u64>,
    vmids: Vec<(u64, Progress, Vec<Cached>)>,
}

impl Broken {
    fn is_done(&self) -> bool {
        self.vmids.iter().all(|vmid| vmid.1 == Progress::Done)
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    level: u32,
    ipa: u64,
    entries: u64,
}

#[derive(Clone)]
pub(crate) struct Checker {
    page_shift: u32,
    memory: HashMap<u64, u64>,
    /// Tables that the root reaches, by address.
    reachable: HashMap<u64, Node>,
    broken: Vec<Broken>,
    /// VMIDs that have been entered.
    live: BTreeSet<u64>,
    /// Descriptors written since the last DSB for stores.
    unseen: BTreeSet<u64>,
}

impl Checker {
    /// For a table of `root_entries` descriptors at `root`, with pages of `1 << page_shift` bytes.
    pub(crate) fn new(page_shift: u32, root: u64, start_level: u32, root_entries: u64) -> Self {
        let node = Node {
            level: start_level,
            ipa: 0,
            entries: root_entries,
        };
        Self {
            page_shift,
            memory: HashMap::new(),
            reachable: HashMap::from([(root, node)]),
            broken: Vec::new(),
            live: BTreeSet::new(),
            unseen: BTreeSet::new(),
        }
    }

    pub(crate) fn feed(&mut self, trace: &[Event]) -> Result<(), Violation> {
        trace.iter().try_for_each(|event| self.event(*event))
    }

    /// Everything owed has been done.
    pub(crate) fn finish(&self) -> Result<(), Violation> {
        match self.broken.iter().find(|broken| !broken.is_done()) {
            Some(broken) => Err(Violation::Unfinished { ipa: broken.start }),
            None => Ok(()),
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Write(at, value) => self.write(at, value)?,
            Event::Zero(from, bytes) => {
                for page in (from..from + bytes).step_by(1 << self.page_shift) {
                    if self.is_cached(page) {
                        return Err(Violation::ReusedTooEarly { page });
                    }
                    self.memory
                        .retain(|at, _| at >> self.page_shift != page >> self.page_shift);
                }
                self.unseen.insert(from);
            }
            Event::Give(page) => {
                if self.is_cached(page) || self.reachable.contains_key(&page) {
                    return Err(Violation::ReusedTooEarly { page });
                }
            }
            Event::Dsb(domain) => self.dsb(domain),
            Event::Tlbi(operation, vttbr) => self.tlbi(operation, vttbr >> 48),
            Event::Enter(vttbr) => {
                self.live.insert(vttbr >> 48);
            }
            Event::Isb | Event::Ic(_) | Event::Clean(..) | Event::SetVttbr(_) | Event::Take(_) => {}
        }
        self.broken.retain(|broken| !broken.is_done());
        Ok(())
    }

    fn write(&mut self, at: u64, value: u64) -> Result<(), Violation> {
        let old = self.memory.insert(at, value).unwrap_or(0);
        self.unseen.insert(at);
        let Some((node, index)) = self.node_of(at) else {
            let page = at >> self.page_shift << self.page_shift;
            return if value & 1 != 0 && self.is_cached(page) {
                Err(Violation::ReusedTooEarly { page })
            } else {
                Ok(())
            };
        };
        let size = self.size(node.level);
        let start = node.ipa + index * size;
        match (old & 1 != 0, value & 1 != 0) {
            (true, true) if old != value => Err(Violation::ValidToValid { at }),
            (true, false) => {
                self.break_entry(old, node.level, start);
                Ok(())
            }
            (false, true) => {
                let is_early = |b: &Broken| b.start < start + size && start < b.end;
                if self.broken.iter().any(is_early) {
                    return Err(Violation::MadeTooEarly { at });
                }
                self.link(value, node.level, start)
            }
            _ => Ok(()),
        }
    }

    /// Something invalid became this valid entry.
    fn link(&mut self, value: u64, level: u32, ipa: u64) -> Result<(), Violation> {
        if !is_table(value, level) {
            return Ok(());
        }
        let page = self.output(value);
        if self.is_cached(page) {
            return Err(Violation::ReusedTooEarly { page });
        }
        let end = page + (1 << self.page_shift);
        if self.unseen.range(page..end).next().is_some() {
            return Err(Violation::LinkedUnseen { page });
        }
        let node = Node {
            level: level + 1,
            ipa,
            entries: 1 << (self.page_shift - 3),
        };
        self.reachable.insert(page, node);
        for (index, entry) in self.entries(page, node) {
            let below = ipa + index * self.size(level + 1);
            self.link(entry, level + 1, below)?;
        }
        Ok(())
    }

    /// This valid entry became invalid.
    fn break_entry(&mut self, value: u64, level: u32, ipa: u64) {
        let mut cached = Vec::new();
        let mut pages = Vec::new();
        self.collect(value, level, ipa, &mut cached, &mut pages);
        for page in &pages {
            self.reachable.remove(page);
        }
        let vmids = self.live.iter();
        self.broken.push(Broken {
            start: ipa,
            end: ipa + self.size(level),
            pages,
            vmids: vmids
                .map(|&vmid| (vmid, Progress::Written, cached.clone()))
                .collect(),
        });
    }

    fn collect(
        &self,
        value: u64,
        level: u32,
        ipa: u64,
        cached: &mut Vec<Cached>,
        pages: &mut Vec<u64>,
    ) {
        let table = is_table(value, level);
        cached.push(Cached {
            start: ipa,
            end: ipa + self.size(level),
            leaf: (!table).then_some(level),
        });
        if !table {
            return;
        }
        let page = self.output(value);
        pages.push(page);
        let node = self.reachable[&page];
        for (index, entry) in self.entries(page, node) {
            if entry & 1 != 0 {
                let below = ipa + index * self.size(level + 1);
                self.collect(entry, level + 1, below, cached, pages);
            }
        }
    }

    fn dsb(&mut self, domain: Dsb) {
        if domain == Dsb::Nsh {
            return;
        }
        self.unseen.clear();
        for (_, progress, _) in self.broken.iter_mut().flat_map(|b| &mut b.vmids) {
            *progress = match (*progress, domain) {
                (Progress::Written, _) => Progress::Visible,
                (Progress::AddressIssued, Dsb::Ish) => Progress::AddressDone,
                (Progress::CombinedIssued | Progress::AllIssued, Dsb::Ish) => Progress::Done,
                (other, _) => other,
            };
        }
    }

    fn tlbi(&mut self, operation: Tlbi, current: u64) {
        let page_shift = self.page_shift;
        let all = self.broken.iter_mut().flat_map(|b| &mut b.vmids);
        for (_, progress, cached) in all.filter(|v| v.0 == current || operation == Tlbi::Alle1is) {
            match (operation, *progress) {
                (Tlbi::Ipas2e1is(operand), Progress::Visible) => {
                    let ipa = (operand.0 & 0xff_ffff_ffff) << 12;
                    let ttl = operand.0 >> 44 & 15;
                    let level = hinted_level(ttl >> 2, ttl & 3, page_shift);
                    remove(cached, ipa, ipa + 1, level);
                    if cached.is_empty() {
                        *progress = Progress::AddressIssued;
                    }
                }
                (Tlbi::Ripas2e1is(operand), Progress::Visible) => {
                    let start = (operand.0 & 0x1f_ffff_ffff) << page_shift;
                    let scale = operand.0 >> 44 & 3;
                    let pages = ((operand.0 >> 39 & 31) + 1) << (5 * scale + 1);
                    let level = hinted_level(operand.0 >> 46, operand.0 >> 37 & 3, page_shift);
                    remove(cached, start, start + (pages << page_shift), level);
                    if cached.is_empty() {
                        *progress = Progress::AddressIssued;
                    }
                }
                (Tlbi::Vmalle1is, Progress::AddressDone) => *progress = Progress::CombinedIssued,
                (Tlbi::Vmalls12e1is | Tlbi::Alle1is, Progress::Visible) => {
                    *progress = Progress::AllIssued;
                }
                _ => {}
            }
        }
    }

    fn node_of(&self, at: u64) -> Option<(Node, u64)> {
        self.reachable.iter().find_map(|(&table, node)| {
            let index = at.checked_sub(table)? / 8;
            (index < node.entries).then_some((*node, index))
        })
    }

    fn is_cached(&self, page: u64) -> bool {
        self.broken
            .iter()
            .any(|broken| broken.pages.contains(&page))
    }

    fn entries(&self, table: u64, node: Node) -> Vec<(u64, u64)> {
        let value = |index| self.memory.get(&(table + index * 8)).copied();
        (0..node.entries)
            .filter_map(|index| Some((index, value(index)?)))
            .collect()
    }

    fn size(&self, level: u32) -> u64 {
        1 << (self.page_shift + (self.page_shift - 3) * (3 - level))
    }

    fn output(&self, value: u64) -> u64 {
        (value & 0xffff_ffff_ffff) >> self.page_shift << self.page_shift
    }
}

fn is_table(value: u64, level: u32) -> bool {
    value & 3 == 3 && level < 3
}

/// What a hint says: `None` without one, a level that no leaf has if it is for another granule.
fn hinted_level(tg: u64, level: u64, page_shift: u32) -> Option<u32> {
    let granule = [u32::MAX, 12, 14, 16][usize::try_from(tg).expect("two bits")];
    match u32::try_from(level).expect("two bits") {
        0 => None,
        level if granule == page_shift => Some(level),
        _ => Some(u32::MAX),
    }
}

/// Drops what an invalidation of `start..end` reaches. A hint that is not the leaf's level reaches nothing, and one
/// of any kind no table.
fn remove(cached: &mut Vec<Cached>, start: u64, end: u64, hint: Option<u32>) {
    cached.retain(|entry| {
        let is_hit = entry.start < end && start < entry.end;
        let is_level = hint.is_none() || entry.leaf == hint;
        !(is_hit && is_level)
    });
}
