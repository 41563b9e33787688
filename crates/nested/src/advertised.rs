//! What L1's hypervisor sees of the virtual hardware, as far as memory management goes.

use droste_arm64::desc::Format;
use droste_arm64::{Granule, IdRegisters, IpaBits};

/// The identification registers *as L1 reads them*, and the width of its physical addresses.
///
/// Walks of L1's tables and invalidations by L1 behave as on hardware with just these features. Whoever fills this in
/// keeps two rules. No granule is advertised that is smaller than that of the shadow tables, because a shadow cannot
/// map part of one of its pages. FEAT_XNX and FEAT_S2FWB are advertised only where the real hardware has them, because
/// a shadow entry needs them to say the same as L1's leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advertised {
    /// The identification registers of memory management.
    pub ids: IdRegisters,
    /// ID_AA64ISAR1_EL1.
    pub isar1: u64,
    /// The width of the virtual machine's physical addresses, and with it of every shadow's input.
    pub ipa_bits: IpaBits,
}

// Sources: DDI 0487, D24.2, the entry of each register.
impl Advertised {
    /// Width in bits of the addresses that L1 takes for physical: PARange or `ipa_bits`, whichever is narrower.
    pub const fn physical_bits(&self) -> u32 {
        let advertised = self.ids.pa_range().bits();
        if advertised < self.ipa_bits.bits() {
            advertised
        } else {
            self.ipa_bits.bits()
        }
    }

    /// Whether an address is wider than [`physical_bits`](Self::physical_bits).
    pub const fn exceeds_physical(&self, address: u64) -> bool {
        address >> self.physical_bits() != 0
    }

    /// The granule that hardware uses where L1 asks for `asked` in TG0: that one, if it is advertised. For any other
    /// value, hardware makes an IMPLEMENTATION DEFINED choice among the sizes that it has (DDI 0487, D24.2,
    /// VTCR_EL2.TG0): here the smallest. `None` if no granule is advertised at all.
    pub fn effective_granule(&self, asked: Option<Granule>) -> Option<Granule> {
        let is_advertised = |granule: &Granule| self.ids.has_stage2_granule(*granule);
        asked
            .filter(is_advertised)
            .or_else(|| Granule::ALL.into_iter().find(is_advertised))
    }

    /// The granule that hardware uses where L1 asks for `asked` in TG0 or TG1 of stage 1, `None` being a reserved
    /// encoding: chosen as [`effective_granule`](Self::effective_granule) chooses for stage 2 (DDI 0487, D24.2,
    /// TCR_EL1.TG0).
    pub(crate) fn effective_stage1_granule(&self, asked: Option<Granule>) -> Option<Granule> {
        let is_advertised = |granule: &Granule| self.has_stage1_granule(*granule);
        asked
            .filter(is_advertised)
            .or_else(|| Granule::ALL.into_iter().find(is_advertised))
    }

    /// Whether stage 1 supports `granule` (ID_AA64MMFR0_EL1.TGranN).
    pub const fn has_stage1_granule(&self, granule: Granule) -> bool {
        const NO: u64 = 15;
        match granule {
            Granule::Kib4 => self.ids.mmfr0 >> 28 & 15 != NO,
            Granule::Kib16 => self.ids.mmfr0 >> 20 & 15 != 0,
            Granule::Kib64 => self.ids.mmfr0 >> 24 & 15 != NO,
        }
    }

    /// Whether virtual addresses can have 52 bits with the 64 KiB granule (ID_AA64MMFR2_EL1.VARange, FEAT_LVA).
    pub const fn has_wide_virtual_addresses(&self) -> bool {
        self.ids.mmfr2 >> 16 & 15 != 0
    }

    /// Whether the permissions in stage-1 table descriptors can be disabled (ID_AA64MMFR1_EL1.HPDS, FEAT_HPDS).
    pub const fn has_hpds(&self) -> bool {
        self.ids.mmfr1 >> 12 & 15 != 0
    }

    /// Whether PAN can also apply to what EL0 may execute (ID_AA64MMFR1_EL1.PAN, FEAT_PAN3).
    pub const fn has_epan(&self) -> bool {
        self.ids.mmfr1 >> 20 & 15 >= 3
    }

    /// Whether EL0 can be denied one half of the addresses (ID_AA64MMFR2_EL1.E0PD, FEAT_E0PD).
    pub const fn has_e0pd(&self) -> bool {
        self.ids.mmfr2 >> 60 & 15 != 0
    }

    /// The descriptors' layout at a granule, where VTCR_EL2.DS is `ds`.
    ///
    /// At 64 KiB bits \[15:12\] are read as an address wherever FEAT_LPA is advertised, whatever VTCR_EL2.PS: an output
    /// wider than PS is an address size fault (DDI 0487, J1.1, AArch64.LeafBase and AArch64.S2OAOutOfRange).
    pub(crate) const fn format(&self, granule: Granule, ds: Ds) -> Format {
        let is_wide = self.ids.has_wide_stage2(granule)
            && match granule {
                Granule::Kib64 => true,
                Granule::Kib4 | Granule::Kib16 => matches!(ds, Ds::Wide),
            };
        if is_wide {
            Format::wide(granule)
        } else {
            Format::narrow(granule)
        }
    }

    /// Whether stage 2 may start at level 3 with the 4 KiB granule, and inputs be narrower than 25 bits
    /// (ID_AA64MMFR2_EL1.ST, FEAT_TTST).
    pub const fn has_small_tables(&self) -> bool {
        self.ids.mmfr2 >> 28 & 15 != 0
    }

    /// Whether TLBI has Outer Shareable forms (ID_AA64ISAR0_EL1.TLB, FEAT_TLBIOS).
    pub const fn has_outer_tlbi(&self) -> bool {
        self.ids.isar0 >> 56 & 15 != 0
    }

    /// Whether TLBI has nXS forms (ID_AA64ISAR1_EL1.XS, FEAT_XS).
    pub const fn has_nxs_tlbi(&self) -> bool {
        self.has_xs()
    }

    /// Whether memory types have the XS attribute (ID_AA64ISAR1_EL1.XS, FEAT_XS).
    pub const fn has_xs(&self) -> bool {
        self.isar1 >> 56 & 15 != 0
    }
}

/// VTCR_EL2.DS as L1 wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ds {
    Narrow,
    Wide,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// 48 address bits, every granule, FEAT_HAFDBS, FEAT_XNX, FEAT_S2FWB, FEAT_TTL, FEAT_TTST, ranges and nXS.
    pub(crate) fn rich() -> Advertised {
        Advertised {
            ids: IdRegisters {
                isar0: 2 << 56,
                mmfr0: 5 | 1 << 20,
                mmfr1: 2 | 2 << 4 | 1 << 28,
                mmfr2: 1 << 28 | 1 << 40 | 1 << 48,
                ..IdRegisters::default()
            },
            isar1: 1 << 56,
            ipa_bits: IpaBits::new(48).expect("a width"),
        }
    }

    /// 40 address bits, the 4 KiB granule alone, and nothing optional.
    pub(crate) fn plain() -> Advertised {
        Advertised {
            ids: IdRegisters {
                mmfr0: 2 | 15 << 24,
                ..IdRegisters::default()
            },
            isar1: 0,
            ipa_bits: IpaBits::new(40).expect("a width"),
        }
    }

    #[test]
    fn a_granule_that_is_not_there_is_one_that_is() {
        for granule in Granule::ALL {
            assert_eq!(rich().effective_granule(Some(granule)), Some(granule));
            assert_eq!(
                plain().effective_granule(Some(granule)),
                Some(Granule::Kib4)
            );
        }
        assert_eq!(rich().effective_granule(None), Some(Granule::Kib4));
        let mut none = plain();
        none.ids.mmfr0 |= 15 << 28;
        assert_eq!(none.effective_granule(Some(Granule::Kib4)), None);
    }

    #[test]
    fn stage_1_has_granules_of_its_own() {
        let mut shown = plain();
        // 16 KiB at stage 2 alone.
        shown.ids.mmfr0 |= 2 << 32;
        assert!(shown.has_stage1_granule(Granule::Kib4));
        for granule in [Granule::Kib16, Granule::Kib64] {
            assert!(rich().has_stage1_granule(granule) && !shown.has_stage1_granule(granule));
            let effective = shown.effective_stage1_granule(Some(granule));
            assert_eq!(effective, Some(Granule::Kib4));
        }
        shown.ids.mmfr0 |= 15 << 28;
        assert_eq!(shown.effective_stage1_granule(None), None);
    }

    #[test]
    fn each_feature_of_stage_1_has_its_own_field() {
        let with = |mmfr1, mmfr2| {
            let mut shown = plain();
            (shown.ids.mmfr1, shown.ids.mmfr2) = (mmfr1, mmfr2);
            [
                shown.has_hpds(),
                shown.has_epan(),
                shown.has_wide_virtual_addresses(),
                shown.has_e0pd(),
            ]
        };
        assert_eq!(with(2 << 20, 0), [false; 4]);
        assert_eq!(with(1 << 12, 0), [true, false, false, false]);
        assert_eq!(with(3 << 20, 0), [false, true, false, false]);
        assert_eq!(with(0, 1 << 16), [false, false, true, false]);
        assert_eq!(with(0, 1 << 60), [false, false, false, true]);
    }

    #[test]
    fn each_feature_has_its_own_field() {
        assert!(rich().has_small_tables() && !plain().has_small_tables());
        assert!(rich().has_outer_tlbi() && !plain().has_outer_tlbi());
        assert!(rich().has_nxs_tlbi() && !plain().has_nxs_tlbi());
        assert_eq!((rich().physical_bits(), plain().physical_bits()), (48, 40));
        let narrow = Advertised {
            ipa_bits: IpaBits::new(39).expect("a width"),
            ..plain()
        };
        assert_eq!(narrow.physical_bits(), 39);
    }
}
