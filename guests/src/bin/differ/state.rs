//! The state that every program finds: registers, list registers, timers, interrupts, tables and data.

use core::arch::asm;
use droste_guests::differ::generate::{
    LOWER_ROOT, LOWER_ROOT_BIG, SCTLR_OFF, STAGE2_IDENTITY, Shape, VTCR_IDENTITY,
};
use droste_guests::differ::program::{BASE, DATA, DATA_BYTES, VECTORS};
use droste_guests::{cpu, el2, gic};

/// `SMC #0`, to which the vector's number is added. Behind it stands UDF, which nobody reaches.
const SMC: u32 = 0xd4000003;
/// The immediate of vector 0.
pub(crate) const VECTOR_CALL: u64 = 0x100;

/// Where programs are, as a block of level 1.
const GIB_OF_RAM: u64 = BASE & !((1 << 30) - 1);

/// Zeroes registers, by name.
macro_rules! clear {
    ($($register:literal),*) => {
        $(
            // SAFETY: a register that what runs under EL2 uses, and the lab does not.
            unsafe { asm!(concat!("msr ", $register, ", xzr"), options(nostack, preserves_flags)) };
        )*
    };
}

pub(crate) use clear;

/// Writes what programs find and do not change: EL1's vectors, and the first table of its lower half.
pub(crate) fn prepare() {
    for vector in 0..16u64 {
        let at = VECTORS + 0x80 * vector;
        let call = SMC | ((VECTOR_CALL + vector) as u32) << 5;
        put(at, call.into());
    }
    cpu::sync_instructions(VECTORS as *const u32, 0x800);
    for n in 0..512 {
        put(LOWER_ROOT + 8 * n, 0);
        put(LOWER_ROOT_BIG + 8 * n, 0);
        put(STAGE2_IDENTITY + 8 * n, 0);
    }
    put(STAGE2_IDENTITY + 8, GIB_OF_RAM | 0x7fd);
    // Level 1, the GiB of RAM: write-back, read-only to both, accessed, inner shareable.
    put(LOWER_ROOT + 8, GIB_OF_RAM | 0x7c5);
    put(LOWER_ROOT_BIG + 8, (GIB_OF_RAM | 0x7c5).swap_bytes());
    for offset in (0..DATA_BYTES).step_by(8) {
        put(DATA + offset, pattern(offset));
    }
    cpu::dsb();
}

/// What stands in a word of data: as instructions, UDF.
pub(crate) fn pattern(offset: u64) -> u64 {
    let n = offset >> 3;
    ((n * 7) & 0xffff) << 32 | (n * 3) & 0xffff
}

/// Writes a word of memory.
pub(crate) fn put(at: u64, value: u64) {
    // SAFETY: memory that programs are made of; nothing of Rust's is there.
    unsafe { (at as *mut u64).write_volatile(value) };
}

/// Reads a word of memory.
pub(crate) fn get(at: u64) -> u64 {
    // SAFETY: as in `put`.
    unsafe { (at as *const u64).read_volatile() }
}

/// Registers as every program finds them.
pub(crate) fn reset() {
    el2::open();
    el2::reset_el1();
    el2::set_sctlr_el1(SCTLR_OFF);
    el2::set_vbar_el1(VECTORS);
    el2::set_esr_el1(0);
    el2::set_far_el1(0);
    el2::set_elr_el1(0);
    el2::set_spsr_el1(0);
    el2::set_cntp_cval(0);
    el2::set_cntv_cval(0);
    el2::set_par(0);
    clear!(
        "tpidr_el1",
        "tpidr_el0",
        "tpidrro_el0",
        "sp_el0",
        "sp_el1",
        "csselr_el1",
        "mdscr_el1",
        "S3_3_C4_C4_0",
        "nzcv",
        "hstr_el2",
        "esr_el2",
        "far_el2",
        "hpfar_el2",
        "dbgbcr0_el1",
        "dbgwcr0_el1",
        "dbgbvr0_el1",
        "dbgwvr0_el1"
    );
    if el2::is_vhe() {
        // CNTKCTL_EL12, TTBR1_EL12, CONTEXTIDR_EL12, CONTEXTIDR_EL2.
        clear!(
            "S3_5_C14_C1_0",
            "S3_5_C2_C0_1",
            "S3_5_C13_C0_1",
            "S3_4_C13_C0_1"
        );
    } else {
        clear!("cntkctl_el1", "ttbr1_el1", "contextidr_el1");
    }
    // The list registers and what goes with them.
    clear!(
        "S3_4_C12_C11_0",
        "S3_4_C12_C11_7",
        "S3_4_C12_C8_0",
        "S3_4_C12_C9_0",
        "S3_4_C12_C12_0",
        "S3_4_C12_C12_1",
        "S3_4_C12_C12_2",
        "S3_4_C12_C12_3"
    );
    // SAFETY: what EL1 reads of its processor, and the OS lock, which is open.
    unsafe {
        asm!(
            "mrs {scratch}, midr_el1",
            "msr vpidr_el2, {scratch}",
            "mov {scratch}, #0x80000000",
            "msr vmpidr_el2, {scratch}",
            "msr oslar_el1, xzr",
            "msr daifset, #0xf",
            "msr spsel, #1",
            scratch = out(reg) _,
            options(nostack, preserves_flags)
        );
    }
    el2::set_vtcr(VTCR_IDENTITY);
    el2::set_vttbr(1 << 48 | STAGE2_IDENTITY);
    el2::tlbi_alle1is();
    el2::tlbi_alle2is();
    cpu::dsb();
    cpu::isb();
}

/// All of EL2's interrupts as every program finds them, for those behind one that has changed more than list registers.
pub(crate) fn reset_interrupts() {
    gic::enable_distributor();
    // ICC_AP0R0_EL1, ICC_AP1R0_EL1, ICC_BPR0_EL1, ICC_IGRPEN0_EL1.
    clear!(
        "S3_0_C12_C8_4",
        "S3_0_C12_C9_0",
        "S3_0_C12_C8_3",
        "S3_0_C12_C12_6"
    );
    reset_gic(Shape::Nvhe);
}

/// The GIC as every program finds it: of this vCPU's own, the interrupt of the lab's timer alone, if it has one.
pub(crate) fn reset_gic(shape: Shape) {
    let enabled = match shape {
        Shape::El1 => 0,
        Shape::Vhe | Shape::Nvhe => 1 << gic::HYPERVISOR_TIMER,
    };
    gic::enable_cpu(0, enabled);
}
