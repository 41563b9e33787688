//! A machine that remembers what it was told.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use droste_arm64::desc::RawDescriptor;
use droste_arm64::smmu::{Scope, Stuck};
use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Granule, Pa, Vmid, Vtcr, Vttbr};
use droste_stage2::{DeviceTlb, Dsb, Ic, Machine, PageSupply};

/// Where pages for tables lie in the tests.
pub(crate) const POOL: u64 = 0x2000_0000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    Write(u64, u64),
    /// A compare-exchange that changed the descriptor to this.
    Swap(u64, u64),
    /// A compare-exchange that did not.
    Lost(u64),
    Zero(u64, u64),
    Dsb(Dsb),
    Isb,
    /// With what was in VTTBR_EL2.
    Tlbi(Tlbi, u64),
    Ic(Ic),
    Clean(u64, u64),
    SetVttbr(u64),
    SetVtcr(u64),
    /// What an SMMU is told, by number, and that it is waited for.
    Smmu(usize, Vmid, Scope),
    SmmuSync(usize),
    Take(u64),
    Give(u64),
}

/// What is done to the machine from outside: by default just before a compare-exchange of the descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interference {
    /// The descriptor's address.
    pub(crate) at: u64,
    /// What it holds then.
    pub(crate) value: u64,
}

pub(crate) struct Recorder {
    page_bytes: u64,
    /// Descriptors whose contents are known. To read any other is an error: it was never written, or its page was
    /// given back.
    memory: RefCell<HashMap<u64, u64>>,
    vttbr: Cell<u64>,
    vtcr: Cell<u64>,
    trace: RefCell<Vec<Event>>,
    pub(crate) interference: Cell<Option<Interference>>,
    /// What is done just after this descriptor was written with this value.
    pub(crate) after_write: Cell<Option<((u64, u64), Interference)>>,
}

impl Recorder {
    pub(crate) fn new(granule: Granule) -> Self {
        Self {
            page_bytes: granule.page_bytes(),
            memory: RefCell::default(),
            vttbr: Cell::new(0),
            vtcr: Cell::new(0),
            trace: RefCell::default(),
            interference: Cell::new(None),
            after_write: Cell::new(None),
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
        let known = self.memory.borrow().get(&at).copied();
        known.unwrap_or_else(|| panic!("{at:#x} is read and was never written"))
    }

    /// Changes a descriptor without a trace, as hardware or another CPU does.
    pub(crate) fn poke(&self, at: u64, value: u64) {
        assert_eq!(at % 8, 0);
        self.memory.borrow_mut().insert(at, value);
    }

    fn forget(&self, page: u64) {
        let mut memory = self.memory.borrow_mut();
        for at in (page..page + self.page_bytes).step_by(8) {
            memory.remove(&at);
        }
    }
}

/// An SMMU that remembers the same.
pub(crate) struct Smmu<'r> {
    pub(crate) recorder: &'r Recorder,
    pub(crate) number: usize,
    pub(crate) is_stuck: Cell<bool>,
}

impl std::fmt::Debug for Smmu<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SMMU {}", self.number)
    }
}

impl DeviceTlb for Smmu<'_> {
    fn invalidate(&self, vmid: Vmid, scope: Scope) {
        self.recorder.record(Event::Smmu(self.number, vmid, scope));
    }

    fn sync(&self) -> Result<(), Stuck> {
        self.recorder.record(Event::SmmuSync(self.number));
        if self.is_stuck.get() {
            Err(Stuck)
        } else {
            Ok(())
        }
    }
}

impl Machine for Recorder {
    fn read(&self, descriptor: Pa) -> RawDescriptor {
        RawDescriptor(self.peek(descriptor.0))
    }

    fn write(&self, descriptor: Pa, value: RawDescriptor) {
        self.record(Event::Write(descriptor.0, value.0));
        self.poke(descriptor.0, value.0);
        if let Some((written, Interference { at, value: theirs })) = self.after_write.get()
            && written == (descriptor.0, value.0)
        {
            self.after_write.set(None);
            self.poke(at, theirs);
        }
    }

    fn compare_exchange(
        &self,
        descriptor: Pa,
        expected: RawDescriptor,
        new: RawDescriptor,
    ) -> Result<(), RawDescriptor> {
        let here = |other: &Interference| other.at == descriptor.0;
        if let Some(Interference { at, value }) = self.interference.get().filter(here) {
            self.interference.set(None);
            self.poke(at, value);
        }
        let found = self.read(descriptor);
        if found != expected {
            self.record(Event::Lost(descriptor.0));
            return Err(found);
        }
        self.record(Event::Swap(descriptor.0, new.0));
        self.poke(descriptor.0, new.0);
        Ok(())
    }

    fn zero(&self, page: Pa, bytes: u64) {
        self.record(Event::Zero(page.0, bytes));
        assert_eq!((page.0 | bytes) % self.page_bytes, 0);
        for at in (page.0..page.0 + bytes).step_by(8) {
            self.poke(at, 0);
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

    fn vtcr(&self) -> Vtcr {
        Vtcr(self.vtcr.get())
    }

    fn set_vtcr(&self, value: Vtcr) {
        self.record(Event::SetVtcr(value.0));
        self.vtcr.set(value.0);
    }
}

/// A pool of pages that notes what it gives and gets. The page that came last goes first.
pub(crate) struct Pool<'r> {
    recorder: &'r Recorder,
    free: Vec<u64>,
}

impl<'r> Pool<'r> {
    pub(crate) fn new(recorder: &'r Recorder, pages: u64) -> Self {
        Self::at(recorder, POOL, pages)
    }

    pub(crate) fn at(recorder: &'r Recorder, base: u64, pages: u64) -> Self {
        let free = (0..pages).rev().map(|n| base + n * recorder.page_bytes);
        Self {
            recorder,
            free: free.collect(),
        }
    }

    /// Keeps `pages` of those that are left, and says which others there were.
    pub(crate) fn keep(&mut self, pages: usize) -> Vec<u64> {
        let rest = self.free.len() - pages;
        self.free.drain(..rest).collect()
    }

    /// Adds pages, to be taken after those that are there.
    pub(crate) fn refill(&mut self, mut pages: Vec<u64>) {
        pages.append(&mut self.free);
        self.free = pages;
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
