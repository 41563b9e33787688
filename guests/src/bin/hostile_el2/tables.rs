//! Stage-2 tables that no hypervisor should walk without care: that point to themselves, to devices, outside memory, or
//! anywhere; and such that change while they are walked.

use crate::prowler::{KEPT, Prowler, own_block};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use droste_guests::mmio::{GICD, UART};
use droste_guests::random::Random;
use droste_guests::stage2::{Leaf, Size, write};
use droste_guests::{BLOCK, cpu, el2, map, smp};
use el2::hcr;

const ENTRIES: usize = 512;
const PAGES: usize = 4;
/// Tables that are tried, and accesses through each.
const ROUNDS: u32 = 200;
const ACCESSES: u32 = 20;
/// Accesses while tables change.
const RACES: u32 = 4000;
/// The first level 1 entry of the lower half that holds nothing of this guest's.
const FREE_FROM: usize = 2;

/// Level 1, and what its entries and theirs may point to.
#[repr(C, align(4096))]
struct Pages(UnsafeCell<[[u64; ENTRIES]; PAGES]>);

// SAFETY: reached by volatile accesses alone; that two vCPUs write it at once is what it is for.
unsafe impl Sync for Pages {}

static PAGES_OF_HARM: Pages = Pages(UnsafeCell::new([[0; ENTRIES]; PAGES]));
static IS_CHANGING: AtomicBool = AtomicBool::new(false);
/// A block of memory that may be spoilt, for the vCPU that changes tables.
static SCRATCH: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

fn page(n: usize) -> u64 {
    map::address_of(PAGES_OF_HARM.0.get()) + 0x1000 * n as u64
}

fn entry(page: usize, n: usize) -> *mut u64 {
    // SAFETY: inside the pages.
    unsafe { PAGES_OF_HARM.0.get().cast::<u64>().add(page * ENTRIES + n) }
}

/// A descriptor to fear, for one of the pages. Leaves that can be stored to are of `scratch` or of no memory of this
/// guest's; so page 0, where a leaf may have level 1 and be of all memory, has none of `scratch`.
fn descriptor(random: &mut Random, in_page: usize, scratch: u64) -> u64 {
    const UPPER: u64 = 0xffff << 48;
    const READ_ONLY: u64 = 1 << 6 | 1 << 10;
    let table = page(random.below(PAGES as u64) as usize) | 3;
    let noise = random.next();
    match random.below(12) {
        0 => 0,
        1..=3 => table,
        4 => table | noise & UPPER,
        5 => GICD.base() | 3,
        6 => UART.base() | 3,
        7 => GICD.base() | READ_ONLY | noise & 2 | 1,
        8 if in_page != 0 => scratch | Leaf::Memory.page() ^ noise & 2,
        9 if in_page != 0 => scratch | 0xfff & noise | 1,
        10 => noise | 1 << 40 | 1,
        _ => noise & !0xfff & ((1 << 40) - 1) | 1 << 39 | 3,
    }
}

fn fill(random: &mut Random, scratch: u64) {
    for n in 0..PAGES * ENTRIES {
        let value = descriptor(random, n / ENTRIES, scratch);
        // SAFETY: inside the pages, which the hardware and other vCPUs may read at any time.
        unsafe { entry(n / ENTRIES, n % ENTRIES).write_volatile(value) };
    }
}

/// Where the guest's code is, the tables are sane.
fn keep_code(prowler: &mut Prowler) {
    let level1 = prowler.tables.entry(prowler.sane, own_block(), Size::Gib);
    // SAFETY: an entry of the pool.
    let sane = unsafe { level1.read_volatile() };
    write(entry(0, (own_block() >> 30) as usize), sane);
}

/// Many tables, walked by loads and stores.
pub(crate) fn random(prowler: &mut Prowler) {
    for round in 0..ROUNDS {
        fill(&mut prowler.random, prowler.scratch.start);
        keep_code(prowler);
        el2::set_vttbr(u64::from(round & 0xff) << 48 | page(0));
        el2::tlbi_vmalls12e1is();
        cpu::dsb();
        for _ in 0..ACCESSES {
            let (from, to) = (prowler.address(), address_of_free(&mut prowler.random));
            prowler.prowl(KEPT | hcr::VM, from, to);
        }
    }
}

/// An IPA behind an entry that may be anything.
fn address_of_free(random: &mut Random) -> u64 {
    let index = FREE_FROM as u64 + random.below((ENTRIES - FREE_FROM) as u64);
    index << 30 | random.below(1 << 30) & !7
}

/// The same while another vCPU changes them, and owes the invalidations that it never makes.
pub(crate) fn changing(prowler: &mut Prowler) {
    if prowler.vcpus < 2 {
        return;
    }
    fill(&mut prowler.random, prowler.scratch.start);
    keep_code(prowler);
    el2::set_vttbr(1 << 48 | page(0));
    SCRATCH.store(prowler.scratch.start, Ordering::Relaxed);
    IS_CHANGING.store(true, Ordering::Release);
    smp::start(1);
    for _ in 0..RACES {
        let (from, to) = (prowler.address(), address_of_free(&mut prowler.random));
        prowler.prowl(KEPT | hcr::VM, from, to);
        if prowler.random.below(8) == 0 {
            el2::tlbi_vmalls12e1is();
            cpu::dsb();
        }
    }
    IS_CHANGING.store(false, Ordering::Release);
}

/// What the second vCPU does as long as it shall, and then sleeps.
pub(crate) fn change_for_ever(_: usize) -> ! {
    let mut random = Random::new(0xbad);
    while IS_CHANGING.load(Ordering::Acquire) {
        let n = random.below((PAGES * ENTRIES) as u64) as usize;
        if n >= ENTRIES || n >= FREE_FROM {
            let value = descriptor(
                &mut random,
                n / ENTRIES,
                SCRATCH.load(Ordering::Relaxed) & !(BLOCK - 1),
            );
            // SAFETY: inside the pages; see `fill`.
            unsafe { entry(n / ENTRIES, n % ENTRIES).write_volatile(value) };
        }
    }
    loop {
        cpu::wfi();
    }
}
