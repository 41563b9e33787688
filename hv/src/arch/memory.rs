//! Physical memory by address: tables and guests' RAM, all identity-mapped.

use core::ops::Range;

use droste_arm64::Pa;

use super::simd;

/// The bytes of a physical range that the boot loader filled and nobody writes: device tree and boot image.
///
/// The range is mapped by the caller beforehand and outlives the hypervisor.
pub(crate) fn read_only(range: Range<u64>) -> &'static [u8] {
    // SAFETY: the platform keeps these ranges out of every allocator of memory, so no one writes them.
    unsafe {
        core::slice::from_raw_parts(range.start as *const u8, (range.end - range.start) as usize)
    }
}

/// Bytes of a device tree at most: the boot protocol's limit.
pub(super) const DEVICE_TREE_MAX: u64 = 2 << 20;

/// The device tree at `address`, or no bytes where there is none. Stage 1 maps [`DEVICE_TREE_MAX`] bytes there.
pub(crate) fn device_tree(address: Pa) -> &'static [u8] {
    const HEADER: u64 = 40;
    const MAGIC: [u8; 4] = [0xd0, 0x0d, 0xfe, 0xed];
    if address.0 == 0 {
        return &[];
    }
    let header = read_only(address.0..address.0 + HEADER);
    let [magic, total] = [0, 4].map(|i| [header[i], header[i + 1], header[i + 2], header[i + 3]]);
    let total = u64::from(u32::from_be_bytes(total));
    if magic != MAGIC || total > DEVICE_TREE_MAX {
        return &[];
    }
    read_only(address.0..address.0 + total)
}

/// Forgets what the boot loader left in a range that [`read_only`] gave before, and that nobody reads any more.
///
/// As there, the range is mapped and is given to nobody else.
pub(crate) fn wipe(range: Range<u64>) {
    for at in range {
        // SAFETY: the byte is in memory that stage 1 maps as writable and no allocator gives out; whoever read it is done.
        unsafe { core::ptr::write_volatile(at as *mut u8, 0) }
    }
}

/// The 32-bit words of a range of the image.
///
/// # Safety
///
/// Nobody else reads or writes them, as code or as data, while they are borrowed, and the MMU is off, so that they can be
/// written.
pub(super) unsafe fn words(range: Range<u64>) -> &'static mut [u32] {
    // SAFETY: the image's own memory, which begins and ends with pages; the rest is the caller's.
    unsafe {
        core::slice::from_raw_parts_mut(
            range.start as *mut u32,
            ((range.end - range.start) / 4) as usize,
        )
    }
}

/// A stretch of RAM that its holder alone owns: one VM's RAM, or the pages for its tables.
///
/// Made by who gives out RAM, alone, and nothing twice; it is mapped, and is never given back.
#[derive(Debug)]
pub(crate) struct Region(Range<u64>);

impl Region {
    /// The region of `range`, which is RAM that nobody else uses or will.
    pub(crate) const fn claim(range: Range<u64>) -> Self {
        Self(range)
    }

    /// Physical addresses.
    pub(crate) fn range(&self) -> Range<u64> {
        self.0.clone()
    }

    /// Address of the `bytes` bytes at `at`, which are in the region.
    fn check(&self, at: Pa, bytes: u64) -> u64 {
        let is_inside = at.0 >= self.0.start
            && self
                .0
                .end
                .checked_sub(bytes)
                .is_some_and(|last| at.0 <= last);
        assert!(is_inside, "{bytes} bytes at {at} are not in {:#x?}", self.0);
        at.0
    }

    /// Reads the 8 bytes at `at`, 8-byte aligned.
    pub(crate) fn read_u64(&self, at: Pa) -> u64 {
        self.check(at, 8);
        read_u64(at)
    }

    /// Writes the 8 bytes at `at`, 8-byte aligned.
    pub(crate) fn write_u64(&self, at: Pa, value: u64) {
        self.check(at, 8);
        write_u64(at, value);
    }

    /// Copies `bytes` to `offset` in the region, while no CPU of its VM runs.
    ///
    /// Memory that the VM has executed from is copied to by plain stores: there QEMU's copy instructions go byte by byte.
    pub(crate) fn copy_in(&self, offset: u64, bytes: &[u8], so_far: Use) {
        let to = self.check(Pa(self.0.start + offset), bytes.len() as u64);
        // SAFETY: `bytes.len()` bytes from `to` are in the region, which is the caller's and mapped; `bytes` is
        // elsewhere, in the boot image or the heap, which no region overlaps.
        unsafe {
            if so_far == Use::Fresh && has_copy_instructions() {
                copy_by_instruction(to, bytes);
            } else {
                copy_by_vectors(to, bytes);
            }
        }
    }
}

/// What a VM's memory was used for so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    /// Nothing.
    Fresh,
    /// The VM ran in it.
    Used,
}

/// Copies with the instructions of FEAT_MOPS (DDI 0487, C6.2 "CPYFP").
///
/// # Safety
///
/// The CPU has them; `to` begins as many bytes of writable memory as `bytes` has, elsewhere.
unsafe fn copy_by_instruction(to: u64, bytes: &[u8]) {
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!(
            ".arch_extension mops",
            "cpyfp [{to}]!, [{from}]!, {n}!",
            "cpyfm [{to}]!, [{from}]!, {n}!",
            "cpyfe [{to}]!, [{from}]!, {n}!",
            ".arch_extension nomops",
            to = inout(reg) to => _,
            from = inout(reg) bytes.as_ptr() => _,
            n = inout(reg) bytes.len() => _,
            options(nostack),
        );
    }
}

/// Copies by vector registers.
///
/// # Safety
///
/// `to` begins as many bytes of writable memory as `bytes` has, elsewhere.
unsafe fn copy_by_vectors(to: u64, bytes: &[u8]) {
    let (blocks, tail) = bytes.as_chunks::<{ simd::BLOCK }>();
    let end = to + (bytes.len() - tail.len()) as u64;
    // SAFETY: the caller's.
    unsafe {
        simd::copy(to, blocks);
        core::ptr::copy_nonoverlapping(tail.as_ptr(), end as *mut u8, tail.len());
    }
}

/// Whether the CPU copies memory by instruction (ID_AA64ISAR2_EL1.MOPS).
fn has_copy_instructions() -> bool {
    super::mrs!("S3_0_C0_C6_2") >> 16 & 0xf != 0
}

/// Zeroes a page for a table, `bytes` a multiple of 64, in memory that the caller owns.
pub(super) fn zero(page: Pa, bytes: u64) {
    // SAFETY: the page was taken from its VM's pool and is in no table yet.
    unsafe { core::ptr::write_bytes(page.0 as *mut u64, 0, bytes as usize / 8) }
}

/// Resets the virtio device whose virtio-mmio registers are at `base`: it lets go of all memory (Virtio 1.2, 4.2.2).
///
/// The page is mapped for its VM alone; EL2 reaches it once [`mmu::add`](super::mmu::add) has mapped it as a device.
pub(crate) fn reset_virtio(base: u64) {
    const STATUS: u64 = 0x70;
    // SAFETY: the device tree says that a virtio-mmio transport is here; its VM has stopped.
    unsafe { core::ptr::write_volatile((base + STATUS) as *mut u32, 0) }
}

/// Reads the 8 bytes at `at`, 8-byte aligned.
#[inline]
pub(super) fn read_u64(at: Pa) -> u64 {
    debug_assert!(at.is_aligned(8));
    // SAFETY: callers pass addresses in mapped RAM: of table pages that they own, or of a guest's RAM. The volatile access
    // tolerates the hardware walker and the guest beside it.
    unsafe { core::ptr::read_volatile(at.0 as *const u64) }
}

/// Writes the 8 bytes at `at`, 8-byte aligned.
#[inline]
pub(super) fn write_u64(at: Pa, value: u64) {
    debug_assert!(at.is_aligned(8));
    // SAFETY: as for `read_u64`.
    unsafe { core::ptr::write_volatile(at.0 as *mut u64, value) }
}
