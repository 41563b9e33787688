//! The cases of the crate `page_table_multiarch`.
//!
//! The crate has no stage-2 descriptors; its users bring their own, and so does this module. What it does about TLBs
//! is compiled for bare metal alone, so it is not in the counts: at EL2 a cursor that is dropped would issue up to 32
//! invalidations by address, each with its own barriers, or past that one of everything.

use std::cell::RefCell;
use std::hint::black_box;

use memory_addr::{PhysAddr, VirtAddr};
use page_table_multiarch::{
    GenericPTE, MappingFlags, PageSize, PageTable64, PagingHandler, PagingMetaData,
};

use crate::case::{BLOCK, Case, Done, MEMORY, MEMORY_BYTES, OFFSET, PAGE, SPARSE, measured};

/// All cases.
pub(crate) const CASES: &[Case] = &[
    ("page_table_multiarch/map-pages", || map(PAGE)),
    ("page_table_multiarch/map-blocks", || map(BLOCK)),
    ("page_table_multiarch/unmap-pages", || {
        unmap(PAGE, MEMORY_BYTES)
    }),
    ("page_table_multiarch/unmap-parts", unmap_parts),
    ("page_table_multiarch/unmap-page-by-page", || {
        unmap(PAGE, PAGE)
    }),
    ("page_table_multiarch/unmap-blocks", || {
        unmap(BLOCK, MEMORY_BYTES)
    }),
    ("page_table_multiarch/fault-page", || fault(PAGE)),
    ("page_table_multiarch/fault-block", || fault(BLOCK)),
    ("page_table_multiarch/protect-blocks", || protect(BLOCK)),
    ("page_table_multiarch/protect-pages", || protect(PAGE)),
    ("page_table_multiarch/walk", walk),
    ("page_table_multiarch/free", free),
    ("page_table_multiarch/free-sparse", free_sparse),
];

/// Faults, and walks, of one case.
const FAULTS: u64 = 512;

const RAM: MappingFlags = MappingFlags::READ
    .union(MappingFlags::WRITE)
    .union(MappingFlags::EXECUTE);

type Table = PageTable64<Shape, Entry, Frames>;

/// 39 bits from level 1 on, as ours.
struct Shape;

impl PagingMetaData for Shape {
    const LEVELS: usize = 3;
    const PA_MAX_BITS: usize = 48;
    const VA_MAX_BITS: usize = 39;

    type VirtAddr = VirtAddr;

    fn flush_tlb(_: Option<VirtAddr>) {}
}

/// A stage-2 descriptor of Write-Back memory, with FEAT_S2FWB.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
struct Entry(u64);

impl Entry {
    const VALID: u64 = 1;
    const TABLE_OR_PAGE: u64 = 2;
    /// MemAttr 0b0110, Inner Shareable, accessed.
    const MEMORY: u64 = 6 << 2 | 3 << 8 | 1 << 10;
    const READ: u64 = 1 << 6;
    const WRITE: u64 = 2 << 6;
    const EXECUTE_NEVER: u64 = 2 << 53;
    const ADDRESS: u64 = 0xffff_ffff_f000;

    fn attributes(flags: MappingFlags, is_huge: bool) -> u64 {
        let mut bits = Self::MEMORY;
        for (flag, bit) in [
            (flags.contains(MappingFlags::READ), Self::VALID | Self::READ),
            (flags.contains(MappingFlags::WRITE), Self::WRITE),
            (!flags.contains(MappingFlags::EXECUTE), Self::EXECUTE_NEVER),
            (!is_huge, Self::TABLE_OR_PAGE),
        ] {
            if flag {
                bits |= bit;
            }
        }
        bits
    }
}

impl GenericPTE for Entry {
    fn new_page(paddr: PhysAddr, flags: MappingFlags, is_huge: bool) -> Self {
        Self(paddr.as_usize() as u64 & Self::ADDRESS | Self::attributes(flags, is_huge))
    }

    fn new_table(paddr: PhysAddr) -> Self {
        Self(paddr.as_usize() as u64 & Self::ADDRESS | Self::TABLE_OR_PAGE | Self::VALID)
    }

    fn paddr(&self) -> PhysAddr {
        PhysAddr::from((self.0 & Self::ADDRESS) as usize)
    }

    fn flags(&self) -> MappingFlags {
        let mut flags = MappingFlags::empty();
        flags.set(MappingFlags::READ, self.0 & Self::READ != 0);
        flags.set(MappingFlags::WRITE, self.0 & Self::WRITE != 0);
        flags.set(MappingFlags::EXECUTE, self.0 & Self::EXECUTE_NEVER == 0);
        flags
    }

    fn set_paddr(&mut self, paddr: PhysAddr) {
        self.0 = self.0 & !Self::ADDRESS | paddr.as_usize() as u64 & Self::ADDRESS;
    }

    fn set_flags(&mut self, flags: MappingFlags, is_huge: bool) {
        self.0 = self.0 & Self::ADDRESS | Self::attributes(flags, is_huge);
    }

    fn bits(self) -> usize {
        self.0 as usize
    }

    fn is_unused(&self) -> bool {
        self.0 == 0
    }

    fn is_present(&self) -> bool {
        self.0 & Self::VALID != 0
    }

    fn is_huge(&self) -> bool {
        self.0 & Self::TABLE_OR_PAGE == 0
    }

    fn clear(&mut self) {
        self.0 = 0;
    }
}

/// A page of memory.
#[derive(Clone)]
#[repr(align(4096))]
struct Frame {
    _bytes: [u8; PAGE as usize],
}

/// Pages from a list that is filled ahead, so that the allocator of the host costs as little as ours.
struct Frames;

thread_local! {
    static FREE: RefCell<Vec<PhysAddr>> = const { RefCell::new(Vec::new()) };
}

impl Frames {
    /// Puts `count` pages on the list, which are the program's until its end.
    fn prepare(count: u64) {
        let frames = vec![
            Frame {
                _bytes: [0; PAGE as usize]
            };
            count as usize
        ];
        let addresses = Box::leak(frames.into_boxed_slice())
            .iter_mut()
            .map(|frame| PhysAddr::from(&raw mut *frame as usize));
        FREE.with_borrow_mut(|free| free.extend(addresses));
    }
}

impl PagingHandler for Frames {
    fn alloc_frames(count: usize, _: usize) -> Option<PhysAddr> {
        assert_eq!(count, 1, "tables are single pages");
        FREE.with_borrow_mut(Vec::pop)
    }

    fn dealloc_frames(first: PhysAddr, _: usize) {
        FREE.with_borrow_mut(|free| free.push(first));
    }

    fn phys_to_virt(address: PhysAddr) -> VirtAddr {
        VirtAddr::from(address.as_usize())
    }
}

fn table() -> Table {
    Frames::prepare(2 * MEMORY_BYTES / BLOCK + 8);
    Table::try_new().expect("there are pages")
}

fn address(at: u64) -> VirtAddr {
    VirtAddr::from(at as usize)
}

fn output(of: VirtAddr) -> PhysAddr {
    PhysAddr::from(of.as_usize() + OFFSET as usize)
}

fn size(leaf: u64) -> PageSize {
    black_box(if leaf == PAGE {
        PageSize::Size4K
    } else {
        PageSize::Size2M
    })
}

/// Maps the memory by pages, or by 2 MiB blocks, one call a block: the crate would take 1 GiB for all of it.
fn fill(table: &mut Table, leaf: u64) {
    let flags = black_box(RAM);
    let (step, is_huge) = if leaf == PAGE {
        (MEMORY_BYTES, false)
    } else {
        (BLOCK, true)
    };
    let is_huge = black_box(is_huge);
    for start in (MEMORY..MEMORY + MEMORY_BYTES).step_by(step as usize) {
        table
            .cursor()
            .map_region(address(start), output, step as usize, flags, is_huge)
            .expect("the memory is empty");
    }
}

fn mapped(leaf: u64) -> Table {
    let mut table = table();
    fill(&mut table, leaf);
    table
}

fn map(leaf: u64) -> Done {
    let mut table = table();
    measured(|| fill(&mut table, leaf));
    Done::new(MEMORY_BYTES / leaf)
}

fn unmap(leaf: u64, piece: u64) -> Done {
    let mut table = mapped(leaf);
    measured(|| {
        for start in (MEMORY..MEMORY + MEMORY_BYTES).step_by(piece as usize) {
            take(&mut table, start, piece);
        }
    });
    Done::new(MEMORY_BYTES / leaf)
}

fn unmap_parts() -> Done {
    let mut table = mapped(PAGE);
    measured(|| {
        for start in (MEMORY..MEMORY + MEMORY_BYTES).step_by(BLOCK as usize) {
            take(&mut table, start + PAGE, BLOCK - PAGE);
        }
    });
    Done::new(MEMORY_BYTES / BLOCK * (BLOCK / PAGE - 1))
}

fn take(table: &mut Table, start: u64, bytes: u64) {
    table
        .cursor()
        .unmap_region(address(start), bytes as usize)
        .expect("it is mapped");
}

/// Maps one leaf after another, as a hypervisor that has decided so about a fault would.
fn fault(leaf: u64) -> Done {
    let (mut table, flags, size) = (table(), black_box(RAM), size(leaf));
    let step = if leaf == PAGE { 16 * PAGE } else { BLOCK };
    measured(|| {
        for number in 0..FAULTS {
            let at = address(MEMORY + number * step);
            table
                .cursor()
                .map(at, output(at), size, flags)
                .expect("the memory is empty");
        }
    });
    Done::new(FAULTS)
}

fn protect(leaf: u64) -> Done {
    let (mut table, flags) = (mapped(leaf), black_box(MappingFlags::READ));
    measured(|| {
        table
            .cursor()
            .protect_region(address(MEMORY), MEMORY_BYTES as usize, flags)
            .expect("it is mapped");
    });
    Done::new(MEMORY_BYTES / leaf)
}

fn walk() -> Done {
    let table = mapped(PAGE);
    measured(|| {
        for number in 0..FAULTS {
            let found = black_box(table.query(address(MEMORY + number * PAGE)));
            assert!(found.is_ok());
        }
    });
    Done::new(FAULTS)
}

fn free() -> Done {
    let table = mapped(PAGE);
    // With the root, which is freed too.
    let tables = MEMORY_BYTES / BLOCK + 2;
    measured(|| drop(table));
    Done::new(tables)
}

fn free_sparse() -> Done {
    let mut table = table();
    for number in 0..SPARSE {
        let at = address(number << 30);
        table
            .cursor()
            .map(at, output(at), PageSize::Size4K, RAM)
            .expect("the memory is empty");
    }
    measured(|| drop(table));
    Done::new(2 * SPARSE + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_mapped_by_the_leaves_that_a_case_is_named_for() {
        for leaf in [PAGE, BLOCK] {
            let mut table = mapped(leaf);
            let last = address(MEMORY + MEMORY_BYTES - leaf);
            let (output, flags, found) = table.query(last).expect("it is mapped");
            assert_eq!(output, super::output(last));
            assert_eq!((flags, found), (RAM, size(leaf)));
            take(&mut table, MEMORY, MEMORY_BYTES);
            assert!(table.query(last).is_err());
        }
    }

    #[test]
    fn pages_of_a_dropped_table_come_back() {
        let before = table();
        let left = || FREE.with_borrow(Vec::len);
        let count = left();
        drop(before);
        assert_eq!(left(), count + 1);
    }
}
