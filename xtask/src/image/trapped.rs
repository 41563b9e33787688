//! Instructions that a control bit takes from EL2 itself, where a guest hypervisor's value reaches that bit.
//!
//! The controls that are merged while a guest hypervisor's guest is loaded (`droste_nested::forward`), as their fields are
//! told in DDI 0487, D24.2:
//! - CPTR_EL2: TFP, TZ, TSM and TTA, or FPEN, ZEN, SMEN and TTA with E2H = 1, trap at EL2 as well; they are below. TCPAC and TAM trap EL1 and EL0.
//! - HCR_EL2: HCD makes HVC UNDEFINED at EL2 as well, where there is no EL3; it is below. All other traps and enables
//!   (TID0 to TID5, TSC, TIDCP, TACR, TSW, TPCP, TPU, TTLB, TTLBIS, TTLBOS, TVM, TRVM, TDZ, TWI, TWE, TLOR, TERR, TEA,
//!   APK, API, NV, NV1, NV2, AT, FIEN, ATA, DCT, EnSCXT, TICAB, TOCU, AMVOFFEN) act at EL1 and EL0.
//! - HCRX_EL2: MSCEn, EnALS, EnAS0, EnASR, TALLINT, SMPME, CMOW, MCE2, TCR2En, SCTLR2En, D128En, EnIDCP128, GCSEn and the
//!   rest act at EL1 and EL0.
//! - MDCR_EL2: TDA, TDOSA, TDRA, TPM, TPMCR, TPMS, TTRF, TDCC, E2PB, E2TB and TDE act at EL1 and EL0; HPMN, HPMD, HCCD and
//!   HLP say what counters count.
//! - CNTHCTL_EL2: EL1PCTEN, EL1PCEN, EL1TVT, EL1TVCT, EL1NVPCT and EL1NVVCT act at EL1 and EL0.
//! - ICH_HCR_EL2: TC, TALL0, TALL1, TSEI and TDIR act at EL1 (IHI 0069, 12.4, "ICH_HCR_EL2").
//!
//! The encodings are those of DDI 0487, C4.1, read here by masks of their own.

/// An instruction, the control that traps it at EL2, and where it may stand.
#[derive(Debug)]
pub(super) struct Trapped {
    pub(super) control: &'static str,
    pub(super) what: &'static str,
    pub(super) is: fn(u32) -> bool,
    /// The section whose code opens the control; without one, EL2 has no such instruction.
    pub(super) section: Option<&'static str>,
}

/// Code that lifts CPTR_EL2.TFP (`hv/src/arch/simd.rs`).
const SIMD: Option<&str> = Some(".simd");

pub(super) const TRAPPED: [Trapped; 6] = [
    Trapped {
        control: "CPTR_EL2.TFP",
        what: "one on vector or floating-point registers",
        is: is_vector,
        section: SIMD,
    },
    Trapped {
        control: "CPTR_EL2.TFP",
        what: "an access to FPCR, FPSR, FPMR or FPEXC32_EL2",
        is: |word| {
            const REGISTERS: [u32; 4] = [
                register(3, 3, 4, 4, 0),
                register(3, 3, 4, 4, 1),
                register(3, 3, 4, 4, 2),
                register(3, 4, 5, 3, 0),
            ];
            accesses(word, &REGISTERS)
        },
        section: SIMD,
    },
    Trapped {
        control: "CPTR_EL2.TZ",
        what: "one of SVE, or an access to ZCR_EL1 or ZCR_EL2",
        is: |word| {
            const REGISTERS: [u32; 2] = [register(3, 0, 1, 2, 0), register(3, 4, 1, 2, 0)];
            is_sve(word) || accesses(word, &REGISTERS)
        },
        section: None,
    },
    Trapped {
        control: "CPTR_EL2.TSM",
        what: "one of SME, or an access to SVCR, SMCR_EL1 or SMCR_EL2",
        is: |word| {
            const REGISTERS: [u32; 3] = [
                register(3, 3, 4, 2, 2),
                register(3, 0, 1, 2, 6),
                register(3, 4, 1, 2, 6),
            ];
            is_sme(word) || is_sme_state(word) || accesses(word, &REGISTERS)
        },
        section: None,
    },
    Trapped {
        control: "CPTR_EL2.TTA",
        what: "an access to a trace register",
        is: |word| moves(word) && word >> 16 & 0x1f == 0b10_001,
        section: None,
    },
    Trapped {
        control: "HCR_EL2.HCD",
        what: "HVC",
        is: |word| word & 0xffe0_001f == 0xd400_0002,
        section: None,
    },
];

/// "Data Processing -- Scalar Floating-Point and Advanced SIMD", and loads and stores with V = 1, which MOPS's are not
/// that have the same bit.
fn is_vector(word: u32) -> bool {
    const MEMORY_COPY_AND_SET: (u32, u32) = (0x3b20_0c00, 0x1900_0400);
    word >> 26 & 3 == 3 && word & MEMORY_COPY_AND_SET.0 != MEMORY_COPY_AND_SET.1
}

/// op0 = 0b0010.
fn is_sve(word: u32) -> bool {
    word >> 25 & 0xf == 0b0010
}

/// Bit 31 set, op0 = 0b0000.
fn is_sme(word: u32) -> bool {
    word & 0x9e00_0000 == 0x8000_0000
}

/// MSR (immediate) to SVCR: SMSTART and SMSTOP.
fn is_sme_state(word: u32) -> bool {
    word & 0xffff_f0ff == 0xd503_407f && word >> 9 & 3 != 0
}

/// MRS or MSR (register).
fn moves(word: u32) -> bool {
    word & 0xffd0_0000 == 0xd510_0000
}

/// The bits that name a system register in MRS and MSR.
const fn register(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5
}

fn accesses(word: u32, registers: &[u32]) -> bool {
    moves(word) && registers.contains(&(word & 0x1f_ffe0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The controls that take an instruction from EL2.
    fn controls(word: u32) -> Vec<&'static str> {
        let rules = TRAPPED.iter().filter(|rule| (rule.is)(word));
        rules.map(|rule| rule.control).collect()
    }

    #[test]
    fn each_kind_of_instruction_is_known_by_its_encoding() {
        let known = [
            (0xad00_07e0, "CPTR_EL2.TFP", "stp q0, q1, [sp]"),
            (0x3dc0_0020, "CPTR_EL2.TFP", "ldr q0, [x1]"),
            (0xfd40_0020, "CPTR_EL2.TFP", "ldr d0, [x1]"),
            (0x1c00_0000, "CPTR_EL2.TFP", "ldr s0, label"),
            (0x4c40_7020, "CPTR_EL2.TFP", "ld1 {v0.16b}, [x1]"),
            (0x1e62_2820, "CPTR_EL2.TFP", "fadd d0, d1, d2"),
            (0x4ea1_1c20, "CPTR_EL2.TFP", "mov v0.16b, v1.16b"),
            (0x9e66_0020, "CPTR_EL2.TFP", "fmov x0, d1"),
            (0x4e28_4820, "CPTR_EL2.TFP", "aese v0.16b, v1.16b"),
            (0xd53b_4400, "CPTR_EL2.TFP", "mrs x0, fpcr"),
            (0xd51b_4420, "CPTR_EL2.TFP", "msr fpsr, x0"),
            (0xd53c_5300, "CPTR_EL2.TFP", "mrs x0, fpexc32_el2"),
            (0x0420_0000, "CPTR_EL2.TZ", "add z0.b, z0.b, z0.b"),
            (0x04bf_5020, "CPTR_EL2.TZ", "rdvl x0, #1"),
            (0xd51c_1200, "CPTR_EL2.TZ", "msr zcr_el2, x0"),
            (0x8080_0000, "CPTR_EL2.TSM", "fmopa"),
            (0xc008_00ff, "CPTR_EL2.TSM", "zero {za}"),
            (0xd503_477f, "CPTR_EL2.TSM", "smstart"),
            (0xd503_437f, "CPTR_EL2.TSM", "smstart sm"),
            (0xd503_467f, "CPTR_EL2.TSM", "smstop"),
            (0xd53b_4240, "CPTR_EL2.TSM", "mrs x0, svcr"),
            (0xd531_0000, "CPTR_EL2.TTA", "mrs x0, trctraceidr"),
            (0xd511_0100, "CPTR_EL2.TTA", "msr trcprgctlr, x0"),
            (0xd400_0002, "HCR_EL2.HCD", "hvc #0"),
            (0xd41f_ffe2, "HCR_EL2.HCD", "hvc #0xffff"),
        ];
        for (word, control, text) in known {
            assert!(controls(word).contains(&control), "{text}");
        }
    }

    #[test]
    fn what_no_guest_takes_from_el2_is_passed() {
        let passed = [
            (0xd503_201f, "nop"),
            (0x0000_0000, "udf #0"),
            (0xa9bf_7bfd, "stp x29, x30, [sp, #-16]!"),
            (0xf940_0020, "ldr x0, [x1]"),
            (0x5800_0000, "ldr x0, label"),
            (0xd800_0000, "prfm label"),
            (0x1901_0440, "cpyfp [x0]!, [x1]!, x2!"),
            (0x1d01_0440, "cpyp [x0]!, [x1]!, x2!"),
            (0x1dc2_0420, "setgp [x0]!, x1!, x2"),
            (0x9b02_7c20, "mul x0, x1, x2"),
            (0x8b02_0020, "add x0, x1, x2"),
            (0xd400_0003, "smc #0"),
            (0xd400_0001, "svc #0"),
            (0xd420_0000, "brk #0"),
            (0xd69f_03e0, "eret"),
            (0xd51c_1140, "msr cptr_el2, x0"),
            (0xd51c_1100, "msr hcr_el2, x0"),
            (0xd538_d080, "mrs x0, tpidr_el1"),
            (0xd50c_83df, "tlbi vmalls12e1is"),
            (0xc85f_7c20, "ldxr x0, [x1]"),
            (0xc8a0_7c41, "cas x0, x1, [x2]"),
            (0xf8e0_0020, "ldaddal x0, x0, [x1]"),
            (0xb400_0000, "cbz x0, here"),
        ];
        for (word, text) in passed {
            assert_eq!(controls(word), [""; 0], "{text}");
        }
    }
}
