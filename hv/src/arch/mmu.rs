//! EL2's own stage 1: an identity map with W^X.
//!
//! Text is executable and read-only, constants read-only, everything else writable and never executable. RAM is mapped
//! whole, guests' included, since kernels are loaded and caches maintained by address. Entries are only ever added, so
//! no break-before-make is owed; guard pages are holes from the start.

use core::cell::UnsafeCell;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use droste_arm64::Pa;
use droste_arm64::vhe::Layout;

use super::layout::layout;
use super::memory::DEVICE_TREE_MAX;
use super::{image, mrs};

const PAGE: u64 = 4096;
const ENTRIES: usize = 512;
const TABLES: usize = 48;

/// What may be done with a range of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Instructions: read and execute.
    Execute,
    /// Constants: read.
    Read,
    /// Variables and RAM: read and write.
    Write,
    /// Registers of devices: read and write, nGnRE.
    Device,
}

impl Access {
    /// Lower and upper attributes of a stage-1 EL2 descriptor: AttrIndx, AP, SH, AF, and XN, or UXN and PXN (DDI 0487, D8.3).
    /// With E2H = 1 the translation is EL0's as well, to which nothing is open.
    fn bits(self, layout: Layout) -> u64 {
        const NORMAL: u64 = 1 << 2 | 3 << 8;
        const ACCESSED: u64 = 1 << 10;
        const READ_ONLY: u64 = 1 << 7;
        const XN: u64 = 1 << 54;
        const PXN: u64 = 1 << 53;
        let (always, execute, execute_never) = match layout {
            Layout::E2h0 => (1 << 6, 0, XN), // AP[1] is RES1
            Layout::E2h1 => (0, XN, XN | PXN),
        };
        ACCESSED
            | always
            | match self {
                Self::Execute => NORMAL | READ_ONLY | execute,
                Self::Read => NORMAL | READ_ONLY | execute_never,
                Self::Write => NORMAL | execute_never,
                Self::Device => execute_never,
            }
    }
}

/// Values of the registers that turn the MMU on; `boot.s` knows the order.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct MmuRegisters {
    mair: u64,
    tcr: u64,
    ttbr0: u64,
    sctlr: u64,
    hcr: u64,
}

#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; ENTRIES]>);

/// The pool that tables come from; the first is the root.
struct Pool {
    tables: [Table; TABLES],
    used: AtomicUsize,
    registers: UnsafeCell<MmuRegisters>,
}

// SAFETY: only the boot CPU writes, before any other CPU is started.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool {
    tables: [const { Table(UnsafeCell::new([0; ENTRIES])) }; TABLES],
    used: AtomicUsize::new(0),
    registers: UnsafeCell::new(MmuRegisters {
        mair: 0,
        tcr: 0,
        ttbr0: 0,
        sctlr: 0,
        hcr: 0,
    }),
};

/// There are no tables left for a range: memory and devices are in too many pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OutOfTables;

impl core::fmt::Display for OutOfTables {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "the device tree has memory and devices in more pieces than Droste's {TABLES} tables of its own stage 1 map"
        )
    }
}

fn take_table() -> Result<&'static Table, OutOfTables> {
    let n = POOL.used.load(Ordering::Relaxed);
    let table = POOL.tables.get(n).ok_or(OutOfTables)?;
    POOL.used.store(n + 1, Ordering::Relaxed);
    Ok(table)
}

/// Maps `range` onto itself, in the largest blocks that fit. Pages already mapped keep their attributes.
fn map(
    table: &'static Table,
    level: u32,
    range: Range<u64>,
    attributes: u64,
) -> Result<(), OutOfTables> {
    let shift = 12 + 9 * (3 - level);
    let size = 1u64 << shift;
    let mut address = range.start;
    while address < range.end {
        let end = range.end.min((address & !(size - 1)) + size);
        // SAFETY: `Pool` is written by the boot CPU alone; the hardware walker reads concurrently, which the single
        // aligned volatile store below allows.
        let entry = unsafe {
            &mut *table
                .0
                .get()
                .cast::<u64>()
                .add((address >> shift) as usize % ENTRIES)
        };
        let is_whole = end - address == size && (1..=3).contains(&level);
        let is_free = *entry & 1 == 0;
        if is_whole && is_free {
            let kind = if level == 3 { 0b11 } else { 0b01 };
            // SAFETY: `entry` is a valid, aligned reference.
            unsafe { core::ptr::write_volatile(entry, address | attributes | kind) };
        } else if level < 3 {
            if is_free {
                let next = take_table()?;
                // SAFETY: as above.
                unsafe { core::ptr::write_volatile(entry, next.0.get() as u64 | 0b11) };
            }
            if *entry & 0b10 != 0 {
                let next = (*entry & 0x0000_ffff_ffff_f000) as *const Table;
                // SAFETY: a table entry above level 3 was written here and points into `POOL`.
                map(unsafe { &*next }, level + 1, address..end, attributes)?;
            }
        }
        address = end;
    }
    Ok(())
}

/// Adds `range`, rounded out to pages, to the map; where tables run out, a part of it. Boot CPU only, before the
/// secondaries start.
pub(crate) fn add(range: Range<u64>, access: Access) -> Result<(), OutOfTables> {
    let range = range.start & !(PAGE - 1)..(range.end + PAGE - 1) & !(PAGE - 1);
    let done = map(&POOL.tables[0], 0, range, access.bits(layout()));
    // SAFETY: barriers only; what was invalid needs no TLB invalidation to become valid.
    unsafe { core::arch::asm!("dsb ishst", "isb", options(nostack, preserves_flags)) }
    done
}

/// The first map: the image, and the device tree to read the rest from. The MMU is off, and HCR_EL2 is to be `hcr`.
pub(super) fn build(image: &image::Layout, device_tree: Pa, hcr: u64) -> *const MmuRegisters {
    let stacks = image.stack_pages().map(|page| (page, Access::Write));
    // A tree need not begin with a page.
    let tree = device_tree.align_down(PAGE).0;
    let parts = [
        (image.text.clone(), Access::Execute),
        (image.rodata.clone(), Access::Read),
        (image.data.clone(), Access::Write),
        (tree..tree + DEVICE_TREE_MAX + PAGE, Access::Write),
    ];
    let layout = Layout::of(hcr);
    let root = take_table().expect("no table is taken yet");
    for (range, access) in parts.into_iter().chain(stacks) {
        map(root, 0, range, access.bits(layout)).expect("image and tree take a few tables of many");
    }
    let registers = MmuRegisters {
        mair: 0xff04, // 0: Device-nGnRE, 1: Normal write-back
        tcr: tcr(mrs!("id_aa64mmfr0_el1"), layout),
        ttbr0: root.0.get() as u64,
        sctlr: SCTLR,
        hcr,
    };
    // SAFETY: the boot CPU alone runs.
    unsafe { *POOL.registers.get() = registers };
    POOL.registers.get()
}

/// The values the boot CPU turned its MMU on with; every CPU shares them.
pub(super) fn registers() -> MmuRegisters {
    // SAFETY: written once, in `build`, before this can be called.
    unsafe { *POOL.registers.get() }
}

/// SCTLR_EL2 in either layout: RES1 bits, MMU, caches, stack alignment check, and writable means not executable.
const SCTLR: u64 = 0x30c5_0830 | 1 | 1 << 2 | 1 << 3 | 1 << 12 | 1 << 19;

/// TCR_EL2: 48-bit addresses, 4 KiB granule, inner-shareable write-back walks (DDI 0487, D24.2.178). With E2H = 1 TTBR1_EL2
/// is not used.
fn tcr(mmfr0: u64, layout: Layout) -> u64 {
    const WALKS: u64 = 16 | 1 << 8 | 1 << 10 | 3 << 12;
    const RES1: u64 = 1 << 31 | 1 << 23;
    const EPD1: u64 = 1 << 23;
    const TTBR1: u64 = EPD1 | 16 << 16 | 2 << 30; // T1SZ, TG1
    let pa_range = (mmfr0 & 0xf).min(5);
    WALKS
        | match layout {
            Layout::E2h0 => RES1 | pa_range << 16,
            Layout::E2h1 => TTBR1 | pa_range << 32,
        }
}
