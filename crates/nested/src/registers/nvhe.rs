//! With E2H = 0: EL2's stage 1, as the EL1 registers that virtual EL2 runs with.
//!
//! EL2 without FEAT_VHE has a translation regime of its own form: one table, no ASIDs, no EL0 (DDI 0487, D8.1). The
//! hardware runs it as an EL1&0 regime with HCR_EL2.NV1 set, which makes its descriptors mean what they mean at EL2
//! (D8.14.3). So the EL1 registers follow from EL2's and are loaded afresh whenever one of those changes.

/// The EL1 registers that stand for EL2's stage 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostStage1 {
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// TCR_EL1.
    pub tcr: u64,
    /// TTBR0_EL1; TTBR1_EL1 is not walked.
    pub ttbr0: u64,
    /// CPACR_EL1.
    pub cpacr: u64,
}

/// Bits that SCTLR_EL2 with E2H = 0 and SCTLR_EL1 have in the same place: M, A, C, SA, nAA, EOS, I, EnDB, WXN, IESB,
/// EIS, EE, EnDA, EnIB, EnIA, BT (EL1's BT1) and DSSBS.
pub(super) const SCTLR_COMMON: u64 = 0xf
    | 1 << 6
    | 3 << 11
    | 1 << 13
    | 1 << 19
    | 3 << 21
    | 1 << 25
    | 1 << 27
    | 3 << 30
    | 1 << 36
    | 1 << 44;
/// LSMAOE, nTLSMD, SPAN and what is RES1 at EL1 without AArch32. SPAN, because EL2 has no PAN without FEAT_VHE.
const SCTLR_EL1_ONES: u64 = 1 << 29 | 1 << 28 | 1 << 23 | 1 << 20 | 1 << 8 | 1 << 7;

/// EPD1: addresses of the upper half have no table. TG1 is the 4 KiB granule and T1SZ a size that is valid with it.
const TCR_EL1_UPPER: u64 = 1 << 23 | 2 << 30 | 25 << 16;

/// The EL1 registers that stand for `sctlr`, `tcr`, `ttbr0` and `cptr`, EL2's registers as E2H = 0 lays them out and as
/// their rules keep them.
///
/// ```
/// use droste_nested::registers::host_stage1;
/// // 39-bit addresses, 4 KiB granule, 40-bit physical addresses; the MMU on.
/// let el1 = host_stage1(1, 2 << 16 | 25, 0x8000_0000, 0x33ff);
/// assert_eq!(el1.tcr & 0x3f, 25);
/// assert_eq!(el1.tcr >> 32 & 7, 2);
/// assert_eq!(el1.cpacr >> 20 & 3, 3);
/// ```
pub const fn host_stage1(sctlr: u64, tcr: u64, ttbr0: u64, cptr: u64) -> HostStage1 {
    const TFP: u64 = 1 << 10;
    /// SMEN and ZEN trap nothing: what is hidden is L0's to make UNDEFINED.
    const SMEN_ZEN: u64 = 3 << 24 | 3 << 16;
    // Nothing traps, or everything at EL1 and EL0: it is EL1 that traps, which is virtual EL2.
    let fpen = if cptr & TFP != 0 { 0 } else { 3 };
    HostStage1 {
        sctlr: sctlr & SCTLR_COMMON | SCTLR_EL1_ONES,
        tcr: tcr_el1(tcr),
        ttbr0: ttbr0 & 0xffff_ffff_ffff,
        cpacr: fpen << 20 | SMEN_ZEN,
    }
}

/// TCR_EL1 for TCR_EL2 with E2H = 0 (DDI 0487, D24.2, both registers).
const fn tcr_el1(tcr: u64) -> u64 {
    // T0SZ, IRGN0, ORGN0, SH0 and TG0 stand in the same place.
    const COMMON: u64 = 0xff3f;
    const fn moved(value: u64, from: u32, to: u32, mask: u64) -> u64 {
        (value >> from & mask) << to
    }
    tcr & COMMON
        | TCR_EL1_UPPER
        | moved(tcr, 16, 32, 7) // PS
        | moved(tcr, 20, 37, 1) // TBI
        | moved(tcr, 21, 39, 3) // HA, HD
        | moved(tcr, 24, 41, 1) // HPD
        | moved(tcr, 25, 43, 15) // HWU59 to HWU62
        | moved(tcr, 29, 51, 1) // TBID
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registers::{VirtualEl2, rule};
    use droste_arm64::sysreg::TCR_EL2;

    #[test]
    fn each_bit_of_tcr_goes_to_its_own_place() {
        let base = tcr_el1(0);
        let mut seen = base;
        let kept = rule(TCR_EL2)
            .expect("a register")
            .layout(VirtualEl2::Nvhe)
            .writable;
        for bit in 0..64 {
            let moved = tcr_el1(1 << bit) ^ base;
            assert_eq!(moved.count_ones(), u32::from(kept >> bit & 1 != 0), "{bit}");
            assert_eq!(seen & moved, 0, "{bit}");
            seen |= moved;
        }
        // Named bit by bit: T0SZ, TG0, PS, TBI, HA, HD, HPD, HWU59, TBID.
        for (from, to) in [
            (0, 0),
            (14, 14),
            (16, 32),
            (20, 37),
            (21, 39),
            (22, 40),
            (24, 41),
            (25, 43),
            (29, 51),
        ] {
            assert_eq!(tcr_el1(1 << from) ^ base, 1 << to);
        }
    }

    #[test]
    fn the_upper_half_is_never_walked_and_pan_never_set() {
        for value in [0, u64::MAX] {
            let el1 = host_stage1(value, value, value, value);
            assert_eq!(el1.tcr >> 23 & 1, 1, "EPD1");
            assert_eq!(el1.sctlr >> 23 & 1, 1, "SPAN");
            assert_eq!(el1.ttbr0 >> 48, 0, "no ASID");
        }
    }

    #[test]
    fn floating_point_traps_at_both_levels_or_at_none() {
        assert_eq!(host_stage1(0, 0, 0, !(1 << 10)).cpacr, 0x333_0000);
        assert_eq!(host_stage1(0, 0, 0, 1 << 10).cpacr, 0x303_0000);
    }
}
