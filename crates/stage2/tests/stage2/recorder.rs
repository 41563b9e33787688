//! A machine that remembers what it was told.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use droste_arm64::desc::RawDescriptor;
use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Granule, IdRegisters, IpaBits, Pa, Vttbr};
use droste_stage2::{Context, Dsb, Geometry, Ic, Machine, PageSupply, Table};

/// Where roots and pages for tables lie in the tests.
pub(crate) const ROOT: u64 = 0x1000_0000;
pub(crate) const POOL: u64 = 0x2000_0000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    Write(u64, u64),
    Zero(u64, u64),
    Dsb(Dsb),
    Isb,
    /// With what was in VTTBR_EL2.
    Tlbi(Tlbi, u64),
    Ic(Ic),
    Clean(u64, u64),
    SetVttbr(u64),
    Take(u64),
    Give(u64),
    /// Not a verb: a guest is entered under this VTTBR_EL2.
    Enter(u64),
}

pub(crate) struct Recorder {
    page_bytes: u64,
    /// Pages whose contents are known. To read any other is an error: it was never written, or given back.
    memory: RefCell<HashMap<u64, Vec<u64>>>,
    vttbr: Cell<u64>,
    trace: RefCell<Vec<Event>>,
    /// Another CPU writes this just before the next compare-exchange of that address.
    pub(crate) interference: Cell<Option<(u64, u64)>>,
}

impl Recorder {
    pub(crate) fn new(granule: Granule) -> Self {
        Self {
            page_bytes: granule.page_bytes(),
            memory: RefCell::default(),
            vttbr: Cell::new(0),
            trace: RefCell::default(),
            interference: Cell::new(None),
        }
    }

    pub(crate) fn record(&self, event: Event) {
        self.trace.borrow_mut().push(event);
    }

    /// What happened since the last call.
    pub(crate) fn take_trace(&self) -> Vec<Event> {
        self.trace.take()
    }

    pub(crate) fn peek(&self, at: u64) -> u64 {
        let (page, word) = self.place(at);
        let memory = self.memory.borrow();
        let words = memory.get(&page);
        words.unwrap_or_else(|| panic!("{at:#x} is read and was never written"))[word]
    }

    fn poke(&self, at: u64, value: u64) {
        let (page, word) = self.place(at);
        let mut memory = self.memory.borrow_mut();
        let words = memory.get_mut(&page);
        words.unwrap_or_else(|| panic!("{at:#x} is written before its page is cleared"))[word] =
            value;
    }

    fn place(&self, at: u64) -> (u64, usize) {
        assert_eq!(at % 8, 0);
        let word = usize::try_from(at % self.page_bytes / 8).expect("fits");
        (at / self.page_bytes, word)
    }

    fn forget(&self, page: u64) {
        self.memory.borrow_mut().remove(&(page / self.page_bytes));
    }
}

impl Machine for Recorder {
    fn read(&self, descriptor: Pa) -> RawDescriptor {
        RawDescriptor(self.peek(descriptor.0))
    }

    fn write(&self, descriptor: Pa, value: RawDescriptor) {
        self.record(Event::Write(descriptor.0, value.0));
        self.poke(descriptor.0, value.0);
    }

    fn compare_exchange(
        &self,
        descriptor: Pa,
        expected: RawDescriptor,
        new: RawDescriptor,
    ) -> Result<(), RawDescriptor> {
        if let Some((at, value)) = self.interference.get().filter(|i| i.0 == descriptor.0) {
            self.interference.set(None);
            self.poke(at, value);
        }
        let found = self.read(descriptor);
        if found != expected {
            return Err(found);
        }
        self.write(descriptor, new);
        Ok(())
    }

    fn zero(&self, page: Pa, bytes: u64) {
        self.record(Event::Zero(page.0, bytes));
        assert_eq!((page.0 | bytes) % self.page_bytes, 0);
        let words = usize::try_from(self.page_bytes / 8).expect("fits");
        let mut memory = self.memory.borrow_mut();
        for number in page.0 / self.page_bytes..(page.0 + bytes) / self.page_bytes {
            memory.insert(number, vec![0; words]);
        }
    }

    fn dsb(&self, domain: Dsb) {
        self.record(Event::Dsb(domain));
    }

    fn isb(&self) {
        self.record(Event::Isb);
    }

    fn tlbi(&self, operation: Tlbi) {
        self.record(Event::Tlbi(operation, self.vttbr.get()));
    }

    fn ic(&self, operation: Ic) {
        self.record(Event::Ic(operation));
    }

    fn clean_invalidate_data(&self, from: Pa, bytes: u64) {
        self.record(Event::Clean(from.0, bytes));
    }

    fn vttbr(&self) -> Vttbr {
        Vttbr(self.vttbr.get())
    }

    fn set_vttbr(&self, value: Vttbr) {
        self.record(Event::SetVttbr(value.0));
        self.vttbr.set(value.0);
    }
}

/// A pool of pages that notes what it gives and gets. The page that came last goes first.
pub(crate) struct Pool<'r> {
    recorder: &'r Recorder,
    free: Vec<u64>,
}

impl<'r> Pool<'r> {
    pub(crate) fn new(recorder: &'r Recorder, pages: u64) -> Self {
        let free = (0..pages).rev().map(|n| POOL + n * recorder.page_bytes);
        Self {
            recorder,
            free: free.collect(),
        }
    }

    /// Leaves the first pages out: they are in use.
    pub(crate) fn skip(&mut self, pages: usize) {
        self.free.truncate(self.free.len() - pages);
    }

    pub(crate) fn left(&self) -> usize {
        self.free.len()
    }
}

impl PageSupply for Pool<'_> {
    fn take(&mut self) -> Option<Pa> {
        let page = self.free.pop()?;
        self.recorder.record(Event::Take(page));
        Some(Pa(page))
    }

    fn give(&mut self, page: Pa) {
        self.recorder.record(Event::Give(page.0));
        self.recorder.forget(page.0);
        assert!(!self.free.contains(&page.0), "{page} is given twice");
        self.free.push(page.0);
    }
}

/// 48 physical address bits, all granules, no cache before any point, instruction caches coherent: nothing optional.
pub(crate) fn plain() -> IdRegisters {
    IdRegisters {
        mmfr0: 5 | 1 << 20,
        ctr: 3 << 28,
        ..IdRegisters::default()
    }
}

/// With FEAT_TTL.
pub(crate) fn with_ttl(ids: IdRegisters) -> IdRegisters {
    IdRegisters {
        mmfr2: ids.mmfr2 | 1 << 48,
        ..ids
    }
}

/// With FEAT_TTL and FEAT_TLBIRANGE.
pub(crate) fn with_ranges(ids: IdRegisters) -> IdRegisters {
    IdRegisters {
        isar0: 2 << 56,
        ..with_ttl(ids)
    }
}

pub(crate) fn geometry(granule: Granule, bits: u32, ids: &IdRegisters) -> Geometry {
    let bits = IpaBits::new(bits).expect("32 to 48");
    Geometry::new(granule, bits, ids).expect("the machine has it")
}

pub(crate) fn table(recorder: &Recorder, granule: Granule, bits: u32, ids: &IdRegisters) -> Table {
    let geometry = geometry(granule, bits, ids);
    Table::new(recorder, Pa(ROOT), geometry, ids).expect("the root is aligned")
}

/// Enters a guest on CPU 0 as virtual CPU 0, which gives the context a VMID.
pub(crate) fn enter(
    recorder: &Recorder,
    vmids: &droste_stage2::VmidAllocator<4>,
    context: &Context<4>,
) -> Vttbr {
    let vttbr = context.enter(recorder, vmids, 0, droste_stage2::VcpuId(0));
    recorder.record(Event::Enter(vttbr.0));
    vttbr
}
