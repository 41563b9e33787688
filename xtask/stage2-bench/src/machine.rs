//! A machine whose memory is an array: what it is asked to do costs as little as at EL2, and is counted.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use droste_arm64::desc::RawDescriptor;
use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Pa, Vtcr, Vttbr};
use droste_stage2::{Dsb, Ic, Machine, PageSupply};

use crate::case::PAGE;

/// Words of memory for tables, a power of two: 16 MiB.
const WORDS: usize = 1 << 21;

/// Memory for tables from address 0 on, and counters.
pub(crate) struct Host {
    words: Box<[AtomicU64; WORDS]>,
    registers: Box<Registers>,
}

/// What changes. It stands apart, so that the compiler knows that the memory stays where it is: at EL2 that goes
/// without saying.
#[derive(Default)]
struct Registers {
    vttbr: Cell<u64>,
    vtcr: Cell<u64>,
    barriers: Cell<u64>,
    invalidations: Cell<u64>,
}

impl Host {
    pub(crate) fn new() -> Self {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let words = words.into_boxed_slice().try_into();
        Self {
            words: words.expect("as many as were collected"),
            registers: Box::default(),
        }
    }

    /// DSBs and TLBIs since the last call.
    pub(crate) fn take_counts(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("dsb", self.registers.barriers.take()),
            ("tlbi", self.registers.invalidations.take()),
        ]
    }

    /// The size is a power of two, so the remainder needs no division and the index no check.
    #[inline]
    fn word(&self, at: Pa) -> &AtomicU64 {
        &self.words[at.0 as usize / 8 % WORDS]
    }
}

impl Machine for Host {
    #[inline]
    fn read(&self, descriptor: Pa) -> RawDescriptor {
        RawDescriptor(self.word(descriptor).load(Ordering::Relaxed))
    }

    #[inline]
    fn write(&self, descriptor: Pa, value: RawDescriptor) {
        self.word(descriptor).store(value.0, Ordering::Relaxed);
    }

    #[inline]
    fn compare_exchange(
        &self,
        descriptor: Pa,
        expected: RawDescriptor,
        new: RawDescriptor,
    ) -> Result<(), RawDescriptor> {
        self.word(descriptor)
            .compare_exchange(expected.0, new.0, Ordering::Relaxed, Ordering::Relaxed)
            .map(|_| ())
            .map_err(RawDescriptor)
    }

    fn zero(&self, page: Pa, bytes: u64) {
        let first = page.0 as usize / 8 % WORDS;
        for word in &self.words[first..first + bytes as usize / 8] {
            word.store(0, Ordering::Relaxed);
        }
    }

    #[inline]
    fn dsb(&self, _: Dsb) {
        let count = &self.registers.barriers;
        count.set(count.get() + 1);
    }

    #[inline]
    fn isb(&self) {}

    #[inline]
    fn tlbi(&self, _: Tlbi) {
        let count = &self.registers.invalidations;
        count.set(count.get() + 1);
    }

    fn ic(&self, _: Ic) {}

    fn clean_invalidate_data(&self, _: Pa, _: u64) {}

    #[inline]
    fn vttbr(&self) -> Vttbr {
        Vttbr(self.registers.vttbr.get())
    }

    #[inline]
    fn set_vttbr(&self, value: Vttbr) {
        self.registers.vttbr.set(value.0);
    }

    #[inline]
    fn vtcr(&self) -> Vtcr {
        Vtcr(self.registers.vtcr.get())
    }

    #[inline]
    fn set_vtcr(&self, value: Vtcr) {
        self.registers.vtcr.set(value.0);
    }
}

/// As many pages as that memory has.
const PAGES: usize = WORDS * 8 / PAGE as usize;

/// Pages of that memory but the first, which is the root's: a stack that never grows.
pub(crate) struct Pool {
    pages: Box<[Pa; PAGES]>,
    count: usize,
}

impl Pool {
    pub(crate) fn new() -> Self {
        let pages: Vec<Pa> = (0..PAGES as u64).rev().map(|n| Pa(n * PAGE)).collect();
        let pages = pages.into_boxed_slice().try_into();
        Self {
            pages: pages.expect("as many as were collected"),
            count: PAGES - 1,
        }
    }

    /// How many are left.
    pub(crate) fn left(&self) -> u64 {
        self.count as u64
    }
}

impl PageSupply for Pool {
    #[inline]
    fn take(&mut self) -> Option<Pa> {
        self.count = self.count.checked_sub(1)?;
        Some(self.pages[self.count % PAGES])
    }

    #[inline]
    fn give(&mut self, page: Pa) {
        self.pages[self.count % PAGES] = page;
        self.count += 1;
    }
}
