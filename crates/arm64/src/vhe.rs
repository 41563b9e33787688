//! The two ways in which EL2 can have its registers: with HCR_EL2.E2H as 0, and as 1 (FEAT_VHE).
//!
//! With 1, two registers of traps are laid out as EL1's are, and the name of a register of EL1 means, at EL2, the one of EL2
//! that is like it: EL1's has the name that ends in `_EL12` or `_EL02` (DDI 0487, "System register redirection", D8.1.2 and
//! the accessibility of each register in D24). On some CPUs E2H is 1 for good.

use crate::hcr;
use crate::sysreg::SysReg;

/// How EL2 has its registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// HCR_EL2.E2H is 0.
    E2h0,
    /// HCR_EL2.E2H is 1.
    E2h1,
}

impl Layout {
    /// That of an EL2 whose HCR_EL2 is `hcr`.
    #[inline]
    pub const fn of(hcr: u64) -> Self {
        if hcr & hcr::E2H == 0 {
            Self::E2h0
        } else {
            Self::E2h1
        }
    }

    /// HCR_EL2.E2H.
    #[inline]
    pub const fn hcr(self) -> u64 {
        match self {
            Self::E2h0 => 0,
            Self::E2h1 => hcr::E2H,
        }
    }

    /// CPTR_EL2 in this layout, from the traps that `e2h0` has in the other (D24.2, CPTR_EL2): TFP, TZ, TSM, TTA, TAM and
    /// TCPAC.
    ///
    /// ```
    /// use droste_arm64::vhe::Layout;
    /// let traps_sve_and_sme = 0x33ff;
    /// assert_eq!(Layout::E2h0.cptr(traps_sve_and_sme), traps_sve_and_sme);
    /// assert_eq!(Layout::E2h1.cptr(traps_sve_and_sme), 0b11 << 20);
    /// ```
    pub const fn cptr(self, e2h0: u64) -> u64 {
        const TZ: u64 = 1 << 8;
        const TFP: u64 = 1 << 10;
        const TSM: u64 = 1 << 12;
        const TTA: u64 = 1 << 20;
        const TAM_TCPAC: u64 = 3 << 30;
        /// ZEN, FPEN and SMEN: 0b11 traps nothing, 0b00 at every level.
        const fn open(e2h0: u64, trap: u64, shift: u32) -> u64 {
            if e2h0 & trap == 0 { 0b11 << shift } else { 0 }
        }
        match self {
            Self::E2h0 => e2h0,
            Self::E2h1 => {
                open(e2h0, TZ, 16)
                    | open(e2h0, TFP, 20)
                    | open(e2h0, TSM, 24)
                    | (e2h0 & TTA) << 8
                    | e2h0 & TAM_TCPAC
            }
        }
    }

    /// `cptr`, a CPTR_EL2 in this layout, without its trap of floating-point and vector registers.
    #[inline]
    pub const fn with_vectors_open(self, cptr: u64) -> u64 {
        match self {
            Self::E2h0 => cptr & !(1 << 10),
            Self::E2h1 => cptr | 0b11 << 20,
        }
    }

    /// `cptr`, a CPTR_EL2 in this layout, with its trap of floating-point and vector registers.
    #[inline]
    pub const fn with_vectors_trapped(self, cptr: u64) -> u64 {
        match self {
            Self::E2h0 => cptr | 1 << 10,
            Self::E2h1 => cptr & !(0b11 << 20),
        }
    }

    /// The lower one of two bits of CNTHCTL_EL2 which say that EL1 has its physical counter and timer: EL1PCTEN and, with
    /// E2H = 0, EL1PCEN, or else EL1PTEN (D24.10, CNTHCTL_EL2). All other bits for EL1 are where they are.
    #[inline]
    pub const fn physical_timer_shift(self) -> u32 {
        match self {
            Self::E2h0 => 0,
            Self::E2h1 => 10,
        }
    }
}

/// The name by which EL2 reaches `register`, one of EL1 or EL0, while E2H is 1: `None` where that is its own.
///
/// ```
/// use droste_arm64::sysreg::{CNTV_CTL_EL0, SP_EL1, SysReg, VBAR_EL1};
/// use droste_arm64::vhe::el12;
/// assert_eq!(el12(VBAR_EL1), Some(SysReg::new(3, 5, 12, 0, 0))); // VBAR_EL12
/// assert_eq!(el12(CNTV_CTL_EL0), Some(SysReg::new(3, 5, 14, 3, 1))); // CNTV_CTL_EL02
/// assert_eq!(el12(SP_EL1), None);
/// ```
pub const fn el12(register: SysReg) -> Option<SysReg> {
    let (crn, crm, op2) = (register.crn(), register.crm(), register.op2());
    let is_redirected = match (register.op0(), register.op1()) {
        (3, 0) => matches!(
            (crn, crm, op2),
            (1, 0, 0 | 2 | 3)       // SCTLR, CPACR, SCTLR2
                | (1, 2, 0 | 1 | 3 | 6) // ZCR, TRFCR, TRCITECR, SMCR
                | (2, 0, 0..=3)     // TTBR0, TTBR1, TCR, TCR2
                | (2, 5, 0 | 1)     // GCSCR, GCSPR
                | (4, 0, 0 | 1)     // SPSR, ELR
                | (5, 1, 0 | 1)     // AFSR0, AFSR1
                | (5, 2 | 6, 0)     // ESR, TFSR
                | (6, 0, 0 | 5)     // FAR, PFAR
                | (9, 9, 0)         // PMSCR
                | (10, 2, 0..=4)    // MAIR, MAIR2, PIRE0, PIR, POR
                | (10, 3, 0 | 1)    // AMAIR, AMAIR2
                | (10, 5, 0)        // MPAM1
                | (12, 0, 0)        // VBAR
                | (13, 0, 1 | 7)    // CONTEXTIDR, SCXTNUM
                | (14, 1, 0) // CNTKCTL
        ),
        (3, 3) => matches!((crn, crm, op2), (14, 2 | 3, 0..=2)), // CNTP and CNTV: TVAL, CTL, CVAL
        (2, 1) => matches!((crn, crm, op2), (9, 0, 0)),          // BRBCR
        (2, 0) => matches!((crn, crm, op2), (9, 13, 3)),         // SPMACCESSR
        _ => false,
    };
    if is_redirected {
        Some(SysReg::new(register.op0(), 5, crn, crm, op2))
    } else {
        None
    }
}

/// `instruction`, of EL2's code, as it is to be while E2H is 1, where that is another: an MRS or MSR that names a register of
/// EL1 and means it (C6.2, MRS and MSR (register)).
///
/// ```
/// use droste_arm64::vhe::el12_instruction;
/// let mrs_x3_spsr_el1 = 0xd538_4003;
/// let mrs_x3_spsr_el12 = 0xd53d_4003;
/// assert_eq!(el12_instruction(mrs_x3_spsr_el1), Some(mrs_x3_spsr_el12));
/// assert_eq!(el12_instruction(mrs_x3_spsr_el12), None);
/// ```
#[inline]
pub fn el12_instruction(instruction: u32) -> Option<u32> {
    const MRS_OR_MSR: u32 = 0xd510_0000;
    const KIND: u32 = 0xffd0_0000;
    const OP1: u32 = 7 << 16;
    if instruction & KIND != MRS_OR_MSR {
        return None;
    }
    let field = |shift: u32, bits: u32| (instruction >> shift & bits) as u8;
    let register = SysReg::new(
        field(19, 1) | 2,
        field(16, 7),
        field(12, 15),
        field(8, 15),
        field(5, 7),
    );
    el12(register).map(|name| instruction & !OP1 | u32::from(name.op1()) << 16)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    /// The names that end in `_EL12` and `_EL02` in DDI 0487, C5, but for those of FEAT_SRMASK.
    const NAMES: [(u8, u8, u8, u8); 42] = [
        (3, 1, 0, 0),  // SCTLR_EL12
        (3, 1, 0, 2),  // CPACR_EL12
        (3, 1, 0, 3),  // SCTLR2_EL12
        (3, 1, 2, 0),  // ZCR_EL12
        (3, 1, 2, 1),  // TRFCR_EL12
        (3, 1, 2, 3),  // TRCITECR_EL12
        (3, 1, 2, 6),  // SMCR_EL12
        (3, 2, 0, 0),  // TTBR0_EL12
        (3, 2, 0, 1),  // TTBR1_EL12
        (3, 2, 0, 2),  // TCR_EL12
        (3, 2, 0, 3),  // TCR2_EL12
        (3, 2, 5, 0),  // GCSCR_EL12
        (3, 2, 5, 1),  // GCSPR_EL12
        (3, 4, 0, 0),  // SPSR_EL12
        (3, 4, 0, 1),  // ELR_EL12
        (3, 5, 1, 0),  // AFSR0_EL12
        (3, 5, 1, 1),  // AFSR1_EL12
        (3, 5, 2, 0),  // ESR_EL12
        (3, 5, 6, 0),  // TFSR_EL12
        (3, 6, 0, 0),  // FAR_EL12
        (3, 6, 0, 5),  // PFAR_EL12
        (3, 9, 9, 0),  // PMSCR_EL12
        (3, 10, 2, 0), // MAIR_EL12
        (3, 10, 2, 1), // MAIR2_EL12
        (3, 10, 2, 2), // PIRE0_EL12
        (3, 10, 2, 3), // PIR_EL12
        (3, 10, 2, 4), // POR_EL12
        (3, 10, 3, 0), // AMAIR_EL12
        (3, 10, 3, 1), // AMAIR2_EL12
        (3, 10, 5, 0), // MPAM1_EL12
        (3, 12, 0, 0), // VBAR_EL12
        (3, 13, 0, 1), // CONTEXTIDR_EL12
        (3, 13, 0, 7), // SCXTNUM_EL12
        (3, 14, 1, 0), // CNTKCTL_EL12
        (3, 14, 2, 0), // CNTP_TVAL_EL02
        (3, 14, 2, 1), // CNTP_CTL_EL02
        (3, 14, 2, 2), // CNTP_CVAL_EL02
        (3, 14, 3, 0), // CNTV_TVAL_EL02
        (3, 14, 3, 1), // CNTV_CTL_EL02
        (3, 14, 3, 2), // CNTV_CVAL_EL02
        (2, 9, 0, 0),  // BRBCR_EL12
        (2, 9, 13, 3), // SPMACCESSR_EL12
    ];

    #[test]
    fn every_register_with_another_name_is_reached_by_it() {
        let mut names = Vec::new();
        for register in SysReg::all() {
            if let Some(name) = el12(register) {
                assert_eq!(name.op1(), 5);
                assert!(el12(name).is_none());
                names.push((name.op0(), name.crn(), name.crm(), name.op2()));
            }
        }
        let mut expected = NAMES.to_vec();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected);
    }

    #[test]
    fn an_instruction_changes_by_its_register_alone() {
        for register in SysReg::all().filter(|r| r.op0() >= 2) {
            for (load, rt) in [(0, 0), (1 << 21, 30), (1 << 21, 31), (0, 17)] {
                let encode = |r: SysReg| {
                    let fields = [
                        (r.op0() - 2, 19),
                        (r.op1(), 16),
                        (r.crn(), 12),
                        (r.crm(), 8),
                        (r.op2(), 5),
                    ];
                    let bits: u32 = fields.map(|(f, shift)| u32::from(f) << shift).iter().sum();
                    0xd510_0000 | load | bits | rt
                };
                let expected = el12(register).map(encode);
                assert_eq!(el12_instruction(encode(register)), expected, "{register}");
            }
        }
        // NOP, ISB, SYS (TLBI VMALLE1IS), MSR (immediate), LDR, RET, and what is none.
        for other in [
            0xd503_201f,
            0xd503_3fdf,
            0xd508_831f,
            0xd503_4fdf,
            0xf940_0000,
            0xd65f_03c0,
            0,
            !0,
        ] {
            assert_eq!(el12_instruction(other), None, "{other:#x}");
        }
    }

    #[test]
    fn traps_are_the_same_in_either_layout() {
        let e2h0 = Layout::E2h0.cptr(0x33ff | 1 << 20 | 1 << 30 | 1 << 31);
        let e2h1 = Layout::E2h1.cptr(e2h0);
        assert_eq!(e2h1, 0b11 << 20 | 1 << 28 | 1 << 30 | 1 << 31);
        for layout in [Layout::E2h0, Layout::E2h1] {
            let open = layout.cptr(e2h0);
            let trapped = layout.cptr(e2h0 | 1 << 10);
            assert_eq!(layout.with_vectors_trapped(open), trapped);
            assert_eq!(layout.with_vectors_open(trapped), open);
            assert_eq!(layout.with_vectors_open(open), open);
        }
        assert_eq!(Layout::E2h1.cptr(0), 0b11 << 16 | 0b11 << 20 | 0b11 << 24);
        assert_eq!(Layout::of(Layout::E2h1.hcr() | hcr::RW), Layout::E2h1);
        assert_eq!(Layout::of(Layout::E2h0.hcr() | hcr::RW), Layout::E2h0);
    }
}
