//! From the boot loader's first instruction to `main`, for the boot CPU and for the secondaries.
//!
//! `boot.s` relocates the image and gives each CPU its stack: 32 KiB of bss a CPU, of which stage 1 maps pages 1–2
//! (the emergency stack, used to report a bug) and 4–7 (the stack). Pages 0 and 3 are never mapped, so an overflow
//! of either faults instead of corrupting what lies below.

use core::ops::Range;

use droste_arm64::Pa;

use super::mmu::MmuRegisters;
use super::vcpu::VectorTable;
use super::{MAX_CPUS, cache, mmu, mrs};

core::arch::global_asm!(include_str!("boot.s"));

const STACK_STRIDE: u64 = 0x8000;
const GUARD_PAGES: [u64; 2] = [0, 3];
const PAGE: u64 = 4096;

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __file_end: u8;
    static __stacks_start: u8;
    static __image_end: u8;
    fn secondary_entry();
}

macro_rules! symbol {
    ($name:ident) => {
        (&raw const $name) as u64
    };
}

/// The parts of the image in memory, in address order.
pub(crate) struct Layout {
    /// Instructions.
    pub(crate) text: Range<u64>,
    /// Constants.
    pub(crate) rodata: Range<u64>,
    /// Variables, the heap among them.
    pub(crate) data: Range<u64>,
    /// Stacks of all CPUs, guard pages included.
    pub(crate) stacks: Range<u64>,
    /// Bytes that the boot loader loads.
    pub(crate) file_bytes: u64,
}

/// Where the image is.
pub(crate) fn layout() -> Layout {
    Layout {
        text: symbol!(__image_start)..symbol!(__text_end),
        rodata: symbol!(__text_end)..symbol!(__rodata_end),
        data: symbol!(__rodata_end)..symbol!(__stacks_start),
        stacks: symbol!(__stacks_start)..symbol!(__image_end),
        file_bytes: symbol!(__file_end) - symbol!(__image_start),
    }
}

impl Layout {
    /// The whole image: text to stacks.
    pub(crate) fn all(&self) -> Range<u64> {
        self.text.start..self.stacks.end
    }

    /// The mapped pages of the stacks.
    pub(crate) fn stack_pages(&self) -> impl Iterator<Item = Range<u64>> {
        self.stacks
            .clone()
            .step_by(PAGE as usize)
            .filter(|page| !is_stack_guard(*page))
            .map(|page| page..page + PAGE)
    }
}

/// End of the mapped stack, of a CPU or for its emergencies, that `sp` points into.
pub(crate) fn stack_end(sp: u64) -> Option<u64> {
    let stacks = layout().stacks;
    let offset = sp.checked_sub(stacks.start)? % STACK_STRIDE;
    let top = if offset < GUARD_PAGES[1] * PAGE {
        GUARD_PAGES[1] * PAGE
    } else {
        STACK_STRIDE
    };
    (sp < stacks.end && !is_stack_guard(sp)).then(|| sp - offset + top)
}

/// Whether `address` lies in a page that keeps two stacks apart.
pub(crate) fn is_stack_guard(address: u64) -> bool {
    let stacks = layout().stacks;
    stacks.contains(&address)
        && GUARD_PAGES.contains(&((address - stacks.start) % STACK_STRIDE / PAGE))
}

/// Builds the first stage-1 map. Runs with the MMU off: no atomic read-modify-write, no unaligned access.
#[unsafe(no_mangle)]
extern "C" fn boot_tables(device_tree: u64) -> *const MmuRegisters {
    mmu::build(&layout(), Pa(device_tree))
}

/// The boot CPU under its own stage 1.
#[unsafe(no_mangle)]
extern "C" fn primary_main(device_tree: u64) -> ! {
    VectorTable::Plain.load();
    crate::boot::primary(Pa(device_tree))
}

/// A secondary CPU under stage 1. `cpu` is the index that [`start_secondary`] was given.
#[unsafe(no_mangle)]
extern "C" fn secondary_main(cpu: u64) -> ! {
    VectorTable::Plain.load();
    crate::boot::secondary(cpu as usize)
}

/// What `secondary_entry` reads with the MMU off. Field offsets are fixed there.
#[repr(C)]
struct SecondaryBoot {
    mmu: MmuRegisters,
    cpu: u64,
}

// What boot.s, vectors.s and link.ld were written for.
const _: () = {
    assert!(core::mem::offset_of!(SecondaryBoot, cpu) == 32 && size_of::<MmuRegisters>() == 32);
    assert!(MAX_CPUS == 32 && STACK_STRIDE == 1 << 15 && GUARD_PAGES[1] * PAGE == 0x3000);
};

/// The address and context argument for PSCI CPU_ON that bring CPU `cpu` to [`secondary_main`].
pub(crate) fn secondary_start(cpu: usize) -> (u64, u64) {
    assert!(cpu < MAX_CPUS, "CPU {cpu} has no stack");
    let boot = alloc::boxed::Box::leak(alloc::boxed::Box::new(SecondaryBoot {
        mmu: mmu::registers(),
        cpu: cpu as u64,
    }));
    let address = (&raw const *boot) as u64;
    cache::clean_invalidate(Pa(address), size_of::<SecondaryBoot>() as u64);
    (secondary_entry as *const () as u64, address)
}

/// Whether the CPU lets EL2 run without the Virtualization Host Extensions' register layout (E2H = 0), as Droste does:
/// ID_AA64MMFR4_EL1.E2H0 is not negative. CPUs from before that field may have E2H as 1 for good, and show it in HCR_EL2;
/// a virtual EL2 by FEAT_NV2 has HCR_EL2 in memory, where it is what was written.
pub(crate) fn has_e2h0() -> bool {
    const E2H0_SIGN: u64 = 1 << 27;
    const E2H: u64 = 1 << 34;
    mrs!("S3_0_C0_C7_4") & E2H0_SIGN == 0 && mrs!("hcr_el2") & E2H == 0
}
