//! The vector and floating-point registers: the only code of EL2 that executes their instructions.
//!
//! What a guest hypervisor traps of its own guest is merged into CPTR_EL2 (TFP, or FPEN with E2H = 1), and that takes these instructions
//! from EL2 as well (DDI 0487, D24.2, CPTR_EL2). So each function here lets EL2 have them, and leaves the trap as it
//! found it, whoever is loaded. All of it stands in a section of its own, `.simd`, and `cargo xtask image` looks that
//! no such instruction stands elsewhere. The compiler makes none (target `aarch64-unknown-none-softfloat`).

use super::layout::layout;
use super::{isb, mrs, msr};

/// Bytes that [`copy`] moves at a time.
pub(super) const BLOCK: usize = 128;

/// A guest's vector and floating-point registers.
#[repr(C, align(16))]
#[derive(Default)]
pub(super) struct Vectors {
    v: [u128; 32],
    fpcr: u64,
    fpsr: u64,
}

/// The trap of these registers as it was, which comes back when this is dropped. It takes effect with the next exception
/// return at the latest.
struct Open(u64);

impl Open {
    #[inline]
    fn new() -> Self {
        let traps = mrs!("cptr_el2");
        // SAFETY: EL2's and a guest's traps, less one, while EL2 runs.
        unsafe { msr!("cptr_el2", layout().with_vectors_open(traps)) }
        isb();
        Self(traps)
    }
}

impl Drop for Open {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as they were.
        unsafe { msr!("cptr_el2", self.0) }
    }
}

macro_rules! vector_registers {
    ($instruction:literal, $base:expr) => {
        core::arch::asm!(
            ".arch_extension fp",
            concat!($instruction, " q0, q1, [{b}]"), concat!($instruction, " q2, q3, [{b}, #32]"),
            concat!($instruction, " q4, q5, [{b}, #64]"), concat!($instruction, " q6, q7, [{b}, #96]"),
            concat!($instruction, " q8, q9, [{b}, #128]"), concat!($instruction, " q10, q11, [{b}, #160]"),
            concat!($instruction, " q12, q13, [{b}, #192]"), concat!($instruction, " q14, q15, [{b}, #224]"),
            concat!($instruction, " q16, q17, [{b}, #256]"), concat!($instruction, " q18, q19, [{b}, #288]"),
            concat!($instruction, " q20, q21, [{b}, #320]"), concat!($instruction, " q22, q23, [{b}, #352]"),
            concat!($instruction, " q24, q25, [{b}, #384]"), concat!($instruction, " q26, q27, [{b}, #416]"),
            concat!($instruction, " q28, q29, [{b}, #448]"), concat!($instruction, " q30, q31, [{b}, #480]"),
            ".arch_extension nofp",
            b = in(reg) $base, options(nostack, preserves_flags)
        )
    };
}

impl Vectors {
    /// Takes them out of the hardware, which keeps them.
    #[unsafe(link_section = ".simd")]
    #[inline(never)]
    pub(super) fn save(&mut self) {
        let _open = Open::new();
        // SAFETY: stores 32 registers into `v`, which holds as many.
        unsafe { vector_registers!("stp", self.v.as_mut_ptr()) }
        self.fpcr = mrs!("S3_3_C4_C4_0");
        self.fpsr = mrs!("S3_3_C4_C4_1");
    }

    /// Puts them into the hardware.
    #[unsafe(link_section = ".simd")]
    #[inline(never)]
    pub(super) fn load(&self) {
        let _open = Open::new();
        // SAFETY: this code is compiled without vector registers, so all are a guest's, whose are saved.
        unsafe {
            vector_registers!("ldp", self.v.as_ptr());
            msr!("S3_3_C4_C4_0", self.fpcr);
            msr!("S3_3_C4_C4_1", self.fpsr);
        }
    }
}

/// Copies with four vector registers, which hold a guest's values and are put back.
///
/// # Safety
///
/// `to` begins as many bytes of writable memory as `from` has, elsewhere.
#[unsafe(link_section = ".simd")]
#[inline(never)]
pub(super) unsafe fn copy(to: u64, from: &[[u8; BLOCK]]) {
    let _open = Open::new();
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!(
            ".arch_extension fp",
            "sub sp, sp, #64",
            "stp q0, q1, [sp]",
            "stp q2, q3, [sp, #32]",
            "cbz {n}, 1f",
            "0:",
            "ldp q0, q1, [{from}], #32",
            "ldp q2, q3, [{from}], #32",
            "stp q0, q1, [{to}], #32",
            "stp q2, q3, [{to}], #32",
            "ldp q0, q1, [{from}], #32",
            "ldp q2, q3, [{from}], #32",
            "subs {n}, {n}, #1",
            "stp q0, q1, [{to}], #32",
            "stp q2, q3, [{to}], #32",
            "b.ne 0b",
            "1:",
            "ldp q0, q1, [sp]",
            "ldp q2, q3, [sp, #32]",
            "add sp, sp, #64",
            ".arch_extension nofp",
            n = inout(reg) from.len() => _,
            from = inout(reg) from.as_ptr() => _,
            to = inout(reg) to => _,
        );
    }
}
