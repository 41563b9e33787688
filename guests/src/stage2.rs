//! Stage-2 tables of a guest that is a hypervisor: 4 KiB granule, walks from level 1, 39 bits or what the machine has.

use crate::map::address_of;
use crate::mmio::{GICD, UART};
use crate::tree::Machine;
use crate::{BLOCK, RAM_BASE};
use core::arch::asm;
use core::cell::UnsafeCell;

/// Tables that there are for all of a guest's stage 2.
const PAGES: usize = 24;
/// Entries of one.
const ENTRIES: usize = 512;

/// What a leaf permits, and of what kind its memory is (DDI 0487, D8.3, "Stage 2 block and page descriptors"; S2AP,
/// MemAttr, SH, AF).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaf {
    /// Normal write-back memory to read, write and execute.
    Memory,
    /// The same, to read and execute.
    ReadOnly,
    /// The same, to write alone.
    WriteOnly,
    /// Device-nGnRE, to read and write.
    Device,
    /// As [`Memory`](Self::Memory) with the access flag clear.
    Old,
}

impl Leaf {
    /// The bits of a page's descriptor, its output address aside.
    pub const fn page(self) -> u64 {
        self.bits() | 3
    }

    const fn bits(self) -> u64 {
        const AF: u64 = 1 << 10;
        const SH_INNER: u64 = 3 << 8;
        const WRITE_BACK: u64 = 0xf << 2;
        const DEVICE_NGNRE: u64 = 1 << 2;
        match self {
            Self::Memory => AF | SH_INNER | 3 << 6 | WRITE_BACK,
            Self::ReadOnly => AF | SH_INNER | 1 << 6 | WRITE_BACK,
            Self::WriteOnly => AF | SH_INNER | 2 << 6 | WRITE_BACK | 2 << 53,
            Self::Device => AF | 3 << 6 | DEVICE_NGNRE | 1 << 54,
            Self::Old => SH_INNER | 3 << 6 | WRITE_BACK,
        }
    }
}

/// Bytes of a leaf, by its level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// Level 1: 1 GiB.
    Gib,
    /// Level 2: 2 MiB.
    Block,
    /// Level 3: 4 KiB.
    Page,
}

impl Size {
    const fn bytes(self) -> usize {
        1 << (39 - 9 * self.level())
    }

    const fn level(self) -> u32 {
        match self {
            Self::Gib => 1,
            Self::Block => 2,
            Self::Page => 3,
        }
    }
}

#[repr(C, align(4096))]
struct Pages(UnsafeCell<[[u64; ENTRIES]; PAGES]>);

// SAFETY: reached by `Tables` alone, of which one vCPU has the only one.
unsafe impl Sync for Pages {}

static POOL: Pages = Pages(UnsafeCell::new([[0; ENTRIES]; PAGES]));

/// All tables of a guest; [`Tables::take`] is called once.
pub struct Tables {
    used: usize,
}

/// The first table of one stage 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Root(usize);

impl Tables {
    /// The pool, all of it free.
    pub fn take() -> Self {
        Self { used: 0 }
    }

    /// An empty stage 2.
    pub fn root(&mut self) -> Root {
        Root(self.page())
    }

    fn page(&mut self) -> usize {
        let page = self.used;
        assert!(page < PAGES, "the pool of stage-2 tables is used up");
        self.used += 1;
        page
    }

    /// The descriptor that translates `ipa` at the level of `size`; tables above it are made if there are none.
    pub fn entry(&mut self, root: Root, ipa: u64, size: Size) -> *mut u64 {
        let mut page = root.0;
        for level in 1..size.level() {
            let entry = slot(page, ipa, level);
            // SAFETY: a word of the pool.
            let descriptor = unsafe { entry.read_volatile() };
            page = if descriptor & 3 == 3 {
                ((descriptor & 0xffff_ffff_f000) - address_of(POOL.0.get())) as usize / 0x1000
            } else {
                let fresh = self.page();
                write(entry, address_of(slot(fresh, 0, 3)) | 3);
                fresh
            };
        }
        slot(page, ipa, size.level())
    }

    /// Maps one leaf over nothing.
    pub fn map(&mut self, root: Root, ipa: u64, output: u64, size: Size, leaf: Leaf) {
        let kind = if size == Size::Page { 3 } else { 1 };
        let entry = self.entry(root, ipa, size);
        write(entry, output | leaf.bits() | kind);
    }

    /// Maps the guest's own RAM, or the first GiB of it, and the devices, at the addresses where they are.
    pub fn map_own(&mut self, root: Root, machine: &Machine) {
        let bytes = machine.ram_bytes.min(1 << 30) & !(BLOCK - 1);
        self.map_all(root, RAM_BASE, RAM_BASE, bytes, Size::Block, Leaf::Memory);
        for at in [GICD.base(), UART.base()] {
            self.map(root, at, at, Size::Block, Leaf::Device);
        }
    }

    /// Maps `bytes` bytes by leaves of one size.
    pub fn map_all(
        &mut self,
        root: Root,
        ipa: u64,
        output: u64,
        bytes: u64,
        size: Size,
        leaf: Leaf,
    ) {
        for offset in (0..bytes).step_by(size.bytes()) {
            self.map(root, ipa + offset, output + offset, size, leaf);
        }
    }
}

impl Root {
    /// Physical address.
    pub fn address(self) -> u64 {
        address_of(slot(self.0, 0, 1))
    }

    /// VTTBR_EL2 with this VMID.
    pub fn vttbr(self, vmid: u64) -> u64 {
        vmid << 48 | self.address()
    }
}

fn slot(page: usize, ipa: u64, level: u32) -> *mut u64 {
    let index = (ipa >> (39 - 9 * level) & 0x1ff) as usize;
    // SAFETY: inside the pool: `page` comes from it, and the index has nine bits.
    unsafe { POOL.0.get().cast::<u64>().add(page * ENTRIES + index) }
}

/// Writes a descriptor, for walks to see.
pub fn write(entry: *mut u64, descriptor: u64) {
    // SAFETY: callers have entries from `Tables::entry`; a barrier orders the walks behind it.
    unsafe {
        asm!("str {}, [{}]", "dsb ishst", "isb", in(reg) descriptor, in(reg) entry, options(nostack, preserves_flags));
    }
}

/// VTCR_EL2 for these tables (DDI 0487, D24.2): RES1, PS, inner shareable write-back, SL0 level 1, T0SZ.
pub fn vtcr() -> u64 {
    const BITS: [u64; 6] = [32, 36, 40, 42, 44, 48];
    let range = (crate::cpu::id_aa64mmfr0() & 0xf).min(5);
    let bits = BITS[range as usize].min(39);
    1 << 31 | range << 16 | 0x3500 | 1 << 6 | (64 - bits)
}
