//! A virtual machine on the recorder: table, contexts, slots, pages.

use droste_arm64::desc::RawDescriptor;
use droste_arm64::esr::Esr;
use droste_arm64::tlbi::{IpaOperand, Tlbi};
use droste_arm64::{Granule, IdRegisters, Ipa, IpaBits, Level, Pa};
use droste_stage2::{
    Answer, Attributes, Context, Contexts, Dsb, Error, Fault, Geometry, Machine, Mapping, Owed,
    PageCache, Privilege, Runs, Slot, Slots, Table, VcpuId, VmidAllocator, Walk, handle,
};

use crate::recorder::Event::{self, Dsb as Barrier, Isb, Write};
use crate::recorder::{Pool, Recorder};

pub(crate) const PAGE: u64 = 0x1000;
pub(crate) const MIB2: u64 = 2 << 20;
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const ROOT: u64 = 0x1000_0000;
/// Valid page and block of RAM, without their addresses.
pub(crate) const RAM_PAGE: u64 = 0x7ff;
pub(crate) const RAM_BLOCK: u64 = 0x7fd;
/// The same, read-only.
pub(crate) const READ_PAGE: u64 = 0x77f;
pub(crate) const READ_BLOCK: u64 = 0x77d;
pub(crate) const TABLE: u64 = 3;
/// Bits of a leaf.
pub(crate) const VALID: u64 = 1;
pub(crate) const AF: u64 = 1 << 10;
pub(crate) const DBM: u64 = 1 << 51;
pub(crate) const RUN: u64 = 1 << 52;
/// What a locked entry has in place of the valid bit.
pub(crate) const MARK: u64 = 1 << 63;

pub(crate) const ISH: Event = Barrier(Dsb::Ish);
pub(crate) const ISHST: Event = Barrier(Dsb::Ishst);
pub(crate) const NSH: Event = Barrier(Dsb::Nsh);

/// Syndromes of translation faults; the permission and access flag faults beside them.
pub(crate) const READ: u64 = 0x24 << 26 | 0x07;
pub(crate) const WRITE: u64 = READ | 1 << 6;
pub(crate) const FETCH: u64 = 0x20 << 26 | 0x07;
pub(crate) const PERMISSION: u64 = 0x08;
pub(crate) const ACCESS_FLAG: u64 = 0x0c;
pub(crate) const S1PTW: u64 = 1 << 7;

/// The access flag fault beside a translation fault.
pub(crate) const fn access_flag(esr: u64) -> u64 {
    esr ^ ACCESS_FLAG
}

pub(crate) const fn locked(raw: u64) -> u64 {
    raw & !VALID | MARK
}

pub(crate) fn ram(ipa: u64, pa: u64, bytes: u64) -> Mapping {
    Mapping::new(Ipa(ipa), Pa(pa), bytes, Attributes::RAM)
}

/// The same by runs of leaves, where it can be.
pub(crate) fn runs(mapping: Mapping) -> Mapping {
    Mapping {
        runs: Runs::Contiguous,
        ..mapping
    }
}

pub(crate) fn read_only(mapping: Mapping) -> Mapping {
    Mapping {
        attributes: Attributes::ROM,
        ..mapping
    }
}

/// A TLBI under the VMID of the context with this number, from 1.
pub(crate) fn tlbi(operation: Tlbi, vmid: u64) -> Event {
    Event::Tlbi(operation, vmid << 48 | ROOT)
}

/// The operand of an invalidation by address, with the hint of a level of 4 KiB pages.
pub(crate) const fn operand(level: u64, ipa: u64) -> u64 {
    (4 | level) << 44 | ipa >> 12
}

pub(crate) fn by_address(operand: u64, vmid: u64) -> Event {
    tlbi(Tlbi::Ipas2e1is(IpaOperand(operand)), vmid)
}

/// What a discharge does in the loaded context for these operations by address.
pub(crate) fn invalidated(operations: &[Event]) -> Vec<Event> {
    let mut all = vec![ISH];
    all.extend(operations);
    all.extend([ISH, tlbi(Tlbi::Vmalle1is, 1), ISH, Isb]);
    all
}

/// The same in the contexts with VMIDs 1 and 2, of which the second is loaded, for the leaf of this operand.
pub(crate) fn invalidated_in_both(operand: u64) -> Vec<Event> {
    let mut all = Vec::new();
    for vmid in [1, 2] {
        all.extend([
            ISH,
            Event::SetVttbr(vmid << 48 | ROOT),
            Isb,
            by_address(operand, vmid),
            ISH,
            tlbi(Tlbi::Vmalle1is, vmid),
        ]);
    }
    all.extend([ISH, Isb]);
    all
}

/// As [`invalidated`], and what becomes valid after it.
pub(crate) fn remade(operations: &[Event], made: &[(u64, u64)]) -> Vec<Event> {
    let mut all = invalidated(operations);
    all.extend(made.iter().map(|(at, value)| Write(*at, *value)));
    all.push(ISHST);
    all
}

/// What this CPU does to forget one leaf, given the operand.
pub(crate) fn forgotten_here(operand: u64) -> [Event; 5] {
    [
        tlbi(Tlbi::Ipas2e1(IpaOperand(operand)), 1),
        NSH,
        tlbi(Tlbi::Vmalle1, 1),
        NSH,
        Isb,
    ]
}

/// What an operation of the table did.
#[derive(Debug)]
pub(crate) struct Done {
    /// Before its discharge.
    pub(crate) before: Vec<Event>,
    pub(crate) discharge: Vec<Event>,
    pub(crate) result: Result<(), Error>,
    /// Whether it said that nothing was owed.
    pub(crate) was_nothing: bool,
}

pub(crate) fn geometry(granule: Granule, bits: u32, ids: &IdRegisters) -> Geometry {
    let bits = IpaBits::new(bits).expect("32 to 52");
    Geometry::new(granule, bits, ids).expect("the machine has it")
}

pub(crate) struct Bench<'r> {
    pub(crate) recorder: &'r Recorder,
    pub(crate) pool: Pool<'r>,
    pub(crate) pages: PageCache,
    pub(crate) table: Table,
    pub(crate) slots: Slots,
    pub(crate) vmids: VmidAllocator<4>,
    pub(crate) contexts: Vec<Context<4>>,
}

impl<'r> Bench<'r> {
    /// 4 KiB pages, 40 address bits, one context with VMID 1, which is loaded.
    pub(crate) fn new(recorder: &'r Recorder, ids: &IdRegisters) -> Self {
        Self::with(recorder, geometry(Granule::Kib4, 40, ids), ids, 1)
    }

    /// Another shape, and this many contexts, with VMIDs 1, 2, …; the last is loaded.
    pub(crate) fn with(
        recorder: &'r Recorder,
        geometry: Geometry,
        ids: &IdRegisters,
        contexts: usize,
    ) -> Self {
        let table = Table::new(recorder, Pa(ROOT), geometry, ids).expect("the root is aligned");
        recorder.set_vtcr(geometry.vtcr(ids));
        let mut bench = Self {
            recorder,
            pool: Pool::new(recorder, 64),
            pages: PageCache::new(),
            table,
            slots: Slots::new(geometry),
            vmids: VmidAllocator::new(),
            contexts: Vec::new(),
        };
        for _ in 0..contexts {
            bench.add_context();
            bench.enter(bench.contexts.len() - 1, 0);
        }
        recorder.take_trace();
        bench
    }

    pub(crate) fn add_context(&mut self) {
        self.contexts.push(Context::new(&mut self.table));
    }

    /// Enters a guest under a context on a CPU.
    pub(crate) fn enter(&self, context: usize, cpu: usize) {
        self.contexts[context].enter(self.recorder, &self.vmids, cpu, VcpuId(0));
    }

    /// Runs an operation of the table and discharges what it owes.
    pub(crate) fn run(
        &mut self,
        operation: impl for<'t> FnOnce(&'t mut Table, &'r Recorder, &mut Pool<'r>) -> Owed<'t>,
    ) -> Done {
        self.recorder.take_trace();
        let owed = operation(&mut self.table, self.recorder, &mut self.pool);
        let before = self.recorder.take_trace();
        let was_nothing = owed.is_nothing();
        let contexts: Vec<_> = self.contexts.iter().collect();
        let contexts = Contexts {
            vmids: &self.vmids,
            all: &contexts,
        };
        let result = owed.discharge(self.recorder, &mut self.pool, &contexts);
        Done {
            before,
            discharge: self.recorder.take_trace(),
            result,
            was_nothing,
        }
    }

    pub(crate) fn map(&mut self, mapping: &Mapping) -> Done {
        self.run(|table, machine, pool| table.map(machine, pool, mapping))
    }

    pub(crate) fn unmap(&mut self, ipa: u64, bytes: u64) -> Done {
        self.run(|table, machine, pool| table.unmap(machine, pool, Ipa(ipa), bytes))
    }

    pub(crate) fn split(&mut self, ipa: u64, bytes: u64, to: Level) -> Done {
        self.run(|table, machine, pool| table.split(machine, pool, Ipa(ipa), bytes, to))
    }

    pub(crate) fn collapse(&mut self, ipa: u64, bytes: u64, largest: Level) -> Done {
        self.run(|table, machine, _| {
            table.collapse(machine, Ipa(ipa), bytes, largest, Attributes::RAM)
        })
    }

    pub(crate) fn write_protect(&mut self, ipa: u64, bytes: u64) -> Done {
        self.run(|table, machine, _| table.write_protect(machine, Ipa(ipa), bytes))
    }

    /// What was reported as written.
    pub(crate) fn dirty(&mut self, ipa: u64, bytes: u64) -> (Vec<(u64, u64)>, Done) {
        let mut reported = Vec::new();
        let report = |ipa: Ipa, bytes| reported.push((ipa.0, bytes));
        let done = self.run(|table, machine, _| table.dirty(machine, Ipa(ipa), bytes, report));
        (reported, done)
    }

    /// Adds a slot that leads to `pa`.
    pub(crate) fn slot(&mut self, ipa: u64, pa: u64, bytes: u64, attributes: Attributes) {
        let slot = Slot::new(Ipa(ipa), Pa(pa), bytes, attributes);
        self.slots.add(slot).expect("free");
    }

    pub(crate) fn fill_pages(&mut self) {
        self.pages.fill(&mut self.pool, Ipa(0)).expect("enough");
        self.recorder.take_trace();
    }

    /// Answers a fault, with pages at hand.
    pub(crate) fn fault(&mut self, esr: u64, ipa: u64) -> (Result<Answer, Error>, Vec<Event>) {
        self.fill_pages();
        self.fault_with_what_is_left(esr, ipa, Privilege::El1)
    }

    pub(crate) fn fault_with_what_is_left(
        &mut self,
        esr: u64,
        ipa: u64,
        privilege: Privilege,
    ) -> (Result<Answer, Error>, Vec<Event>) {
        let fault = Fault::new(Esr(esr), Ipa(ipa), privilege).expect("a fault of the table's");
        let contexts: Vec<_> = self.contexts.iter().collect();
        let contexts = Contexts {
            vmids: &self.vmids,
            all: &contexts,
        };
        let answer = handle(
            self.recorder,
            &self.table,
            &mut self.pages,
            &contexts,
            &self.slots,
            &fault,
        );
        (answer, self.recorder.take_trace())
    }

    /// The answer to a fault alone.
    pub(crate) fn answer(&mut self, esr: u64, ipa: u64) -> Answer {
        self.fault(esr, ipa).0.expect("no error")
    }

    /// Level and output of the leaf that maps an address.
    pub(crate) fn leaf(&self, ipa: u64) -> Option<(Level, u64)> {
        match self.table.walk(self.recorder, Ipa(ipa)) {
            Walk::Leaf {
                level,
                leaf,
                ipa: first,
            } => Some((level, leaf.output.0 + (ipa - first.0))),
            Walk::Hole { .. } => None,
        }
    }

    /// The descriptor that ends the walk, as it stands in memory, by way of the tables that are valid.
    pub(crate) fn raw(&self, ipa: u64) -> u64 {
        let geometry = self.table.geometry();
        let mut at = geometry.entry(self.table.root(), geometry.start(), Ipa(ipa));
        let mut level = geometry.start();
        loop {
            let raw = self.recorder.peek(at.0);
            let (3, Some(below)) = (raw & 3, level.next()) else {
                return raw;
            };
            let table = RawDescriptor(raw).table_address(geometry.format());
            at = geometry.entry(table, below, Ipa(ipa));
            level = below;
        }
    }

    /// Every page there is, in use or not.
    pub(crate) fn page_count(&mut self) -> u64 {
        self.pages.drain(&mut self.pool);
        self.pool.left() as u64 + self.table.counters().table_pages
    }
}
