//! Where the image is in memory, and the stacks in it.
//!
//! Each CPU has 32 KiB of bss, of which stage 1 maps pages 1–2 (the emergency stack, used to report a bug) and 4–7 (the
//! stack). Pages 0 and 3 are never mapped, so an overflow of either faults instead of corrupting what lies below.

use core::ops::Range;

use super::MAX_CPUS;

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

// What boot.s, vectors.s and link.ld were written for.
const _: () = assert!(MAX_CPUS == 32 && STACK_STRIDE == 1 << 15 && GUARD_PAGES[1] * PAGE == 0x3000);
