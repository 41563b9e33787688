//! The identification registers that memory management reads.

use crate::granule::Granule;
use crate::size::PaRange;
use crate::vtcr::HardwareUpdates;
use crate::vttbr::VmidBits;

/// Raw values of the identification registers that decide how stage 2 is programmed.
///
/// Read once at boot, each value the one that holds on *every* CPU of the machine (the weakest where they differ). To
/// leave a feature unused, clear its field. All zeros describe the plainest machine: 32-bit physical addresses, the 4
/// KiB granule, 8-bit VMIDs and no optional feature.
///
/// ```
/// use droste_arm64::{Granule, IdRegisters, PaRange, VmidBits};
/// let ids = IdRegisters { mmfr0: 0x5, mmfr1: 0x20, mmfr2: 1 << 40, ..IdRegisters::default() };
/// assert_eq!(ids, IdRegisters::new(PaRange::Bits48).with_vmid_bits(VmidBits::Sixteen).with_fwb());
/// assert_eq!(ids.pa_range(), PaRange::Bits48);
/// assert_eq!(ids.vmid_bits(), VmidBits::Sixteen);
/// assert!(ids.has_fwb());
/// assert!(ids.has_stage2_granule(Granule::Kib4));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct IdRegisters {
    /// ID_AA64ISAR0_EL1.
    pub isar0: u64,
    /// ID_AA64MMFR0_EL1.
    pub mmfr0: u64,
    /// ID_AA64MMFR1_EL1.
    pub mmfr1: u64,
    /// ID_AA64MMFR2_EL1.
    pub mmfr2: u64,
    /// CTR_EL0.
    pub ctr: u64,
    /// CLIDR_EL1.
    pub clidr: u64,
}

/// What may be changed in a valid entry without break-before-make (FEAT_BBM, DDI 0487, D8 "TLB maintenance").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bbm {
    /// Level 0: a change of block size or contiguity needs break-before-make.
    Level0,
    /// Level 1: a change of block size is possible through the nT bit.
    Level1,
    /// Level 2: a change of block size needs no more than invalidation afterwards.
    Level2,
}

const fn field(register: u64, low_bit: u32) -> u64 {
    register >> low_bit & 15
}

const fn with_field(register: u64, low_bit: u32, value: u64) -> u64 {
    register & !(15 << low_bit) | value << low_bit
}

/// A machine of one's own, for tests and tools: at EL2 the registers are read.
impl IdRegisters {
    /// The plainest machine with physical addresses of this width.
    pub const fn new(pa: PaRange) -> Self {
        Self {
            isar0: 0,
            mmfr0: pa.field(),
            mmfr1: 0,
            mmfr2: 0,
            ctr: 0,
            clidr: 0,
        }
    }

    /// With VMIDs of this width.
    #[must_use]
    pub const fn with_vmid_bits(mut self, bits: VmidBits) -> Self {
        self.mmfr1 = with_field(self.mmfr1, 4, bits as u64 * 2);
        self
    }

    /// With FEAT_HAFDBS: these updates of leaves by hardware.
    #[must_use]
    pub const fn with_hardware_updates(mut self, updates: HardwareUpdates) -> Self {
        self.mmfr1 = with_field(self.mmfr1, 0, updates as u64);
        self
    }

    /// With FEAT_XNX: stage 2 has separate execute permissions for EL1 and EL0.
    #[must_use]
    pub const fn with_xnx(mut self) -> Self {
        self.mmfr1 = with_field(self.mmfr1, 28, 1);
        self
    }

    /// With FEAT_S2FWB: stage 2 can force memory attributes.
    #[must_use]
    pub const fn with_fwb(mut self) -> Self {
        self.mmfr2 = with_field(self.mmfr2, 40, 1);
        self
    }

    /// With FEAT_TTL: TLBI operands take a level hint.
    #[must_use]
    pub const fn with_ttl(mut self) -> Self {
        self.mmfr2 = with_field(self.mmfr2, 48, 1);
        self
    }

    /// With FEAT_BBM at this level.
    #[must_use]
    pub const fn with_bbm(mut self, level: Bbm) -> Self {
        self.mmfr2 = with_field(self.mmfr2, 52, level as u64);
        self
    }

    /// With FEAT_TLBIRANGE: range TLBIs.
    #[must_use]
    pub const fn with_tlbi_range(mut self) -> Self {
        self.isar0 = with_field(self.isar0, 56, 2);
        self
    }

    /// With instruction fetches that see new data without cache maintenance (CTR_EL0.IDC and DIC).
    #[must_use]
    pub const fn with_coherent_instructions(mut self) -> Self {
        self.ctr |= 3 << 28;
        self
    }
}

// Sources: DDI 0487, D24.2, the entry of each register.
impl IdRegisters {
    /// Physical address width (MMFR0.PARange).
    pub const fn pa_range(&self) -> PaRange {
        PaRange::decode(field(self.mmfr0, 0))
    }

    /// Whether stage 2 supports `granule` (MMFR0.TGranN_2, which may refer to stage 1's TGranN).
    pub const fn has_stage2_granule(&self, granule: Granule) -> bool {
        let (stage2, stage1) = match granule {
            Granule::Kib4 => (field(self.mmfr0, 40), field(self.mmfr0, 28)),
            Granule::Kib16 => (field(self.mmfr0, 32), field(self.mmfr0, 20)),
            Granule::Kib64 => (field(self.mmfr0, 36), field(self.mmfr0, 24)),
        };
        match (stage2, granule) {
            // As stage 1. TGran4 and TGran64 are signed with 15 for "no"; TGran16 counts up from 0 for "no".
            (0, Granule::Kib16) => stage1 != 0,
            (0, _) => stage1 != 15,
            (1, _) => false,
            _ => true,
        }
    }

    /// Whether stage 2 supports 52-bit addresses with `granule`: FEAT_LPA2 for 4 and 16 KiB (MMFR0.TGranN_2 = 3, or 0
    /// with stage 1's TGran4 = 1 or TGran16 = 2), FEAT_LPA for 64 KiB (MMFR0.PARange of 52 bits or more).
    pub const fn has_wide_stage2(&self, granule: Granule) -> bool {
        let (stage2, stage1, stage1_wide) = match granule {
            Granule::Kib4 => (field(self.mmfr0, 40), field(self.mmfr0, 28), 1),
            Granule::Kib16 => (field(self.mmfr0, 32), field(self.mmfr0, 20), 2),
            Granule::Kib64 => {
                return self.has_stage2_granule(granule) && self.pa_range().bits() >= 52;
            }
        };
        stage2 == 3 || stage2 == 0 && stage1 == stage1_wide
    }

    /// VMID width (MMFR1.VMIDBits).
    pub const fn vmid_bits(&self) -> VmidBits {
        if field(self.mmfr1, 4) == 2 {
            VmidBits::Sixteen
        } else {
            VmidBits::Eight
        }
    }

    /// Whether hardware sets the access flag (MMFR1.HAFDBS).
    pub const fn has_hardware_af(&self) -> bool {
        field(self.mmfr1, 0) != 0
    }

    /// Whether hardware makes leaves with DBM set writable (MMFR1.HAFDBS).
    pub const fn has_hardware_dirty(&self) -> bool {
        field(self.mmfr1, 0) >= 2
    }

    /// Whether stage 2 has separate execute permissions for EL1 and EL0 (MMFR1.XNX).
    pub const fn has_xnx(&self) -> bool {
        field(self.mmfr1, 28) != 0
    }

    /// Whether stage 2 can force memory attributes (MMFR2.FWB).
    pub const fn has_fwb(&self) -> bool {
        field(self.mmfr2, 40) != 0
    }

    /// Whether TLBI operands take a level hint (MMFR2.TTL).
    pub const fn has_ttl(&self) -> bool {
        field(self.mmfr2, 48) != 0
    }

    /// The level of FEAT_BBM (MMFR2.BBM).
    pub const fn bbm(&self) -> Bbm {
        match field(self.mmfr2, 52) {
            0 => Bbm::Level0,
            1 => Bbm::Level1,
            _ => Bbm::Level2,
        }
    }

    /// Whether there are range TLBIs (ISAR0.TLB, FEAT_TLBIRANGE).
    pub const fn has_tlbi_range(&self) -> bool {
        field(self.isar0, 56) >= 2
    }

    /// Whether data needs no cleaning to the Point of Unification for instruction fetches to see it (CTR_EL0.IDC,
    /// or no level of cache before that point: CLIDR_EL1.LoUIS and LoUU are 0).
    pub const fn has_coherent_instruction_fetch(&self) -> bool {
        let louis = self.clidr >> 21 & 7;
        let louu = self.clidr >> 27 & 7;
        self.ctr >> 28 & 1 != 0 || louis == 0 && louu == 0
    }

    /// Whether instruction caches need no invalidation for fetches to see new data (CTR_EL0.DIC).
    pub const fn has_coherent_instruction_cache(&self) -> bool {
        self.ctr >> 29 & 1 != 0
    }

    /// Whether some level of cache stands before the Point of Coherency (CLIDR_EL1.LoC).
    pub const fn has_cache_before_coherency(&self) -> bool {
        self.clidr >> 24 & 7 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn granules_are_read_from_stage_2_and_then_from_stage_1() {
        // (TGranN_2, TGranN, supported): every encoding that D24.2 defines.
        let signed = [
            (0, 0, true),
            (0, 1, true),
            (0, 15, false),
            (1, 0, false),
            (2, 15, true),
            (3, 15, true),
        ];
        let counted = [
            (0, 0, false),
            (0, 1, true),
            (0, 2, true),
            (1, 1, false),
            (2, 0, true),
            (3, 0, true),
        ];
        for (granule, at2, at1, cases) in [
            (Granule::Kib4, 40, 28, signed),
            (Granule::Kib64, 36, 24, signed),
            (Granule::Kib16, 32, 20, counted),
        ] {
            for (stage2, stage1, expected) in cases {
                let ids = IdRegisters {
                    mmfr0: stage2 << at2 | stage1 << at1,
                    ..IdRegisters::default()
                };
                assert_eq!(ids.has_stage2_granule(granule), expected, "{granule:?}");
            }
        }
    }

    #[test]
    fn wide_addresses_are_read_from_stage_2_and_then_from_stage_1() {
        // (TGranN_2, TGranN, wide): every encoding that D24.2 defines.
        let kib4 = [
            (0, 0, false),
            (0, 1, true),
            (0, 15, false),
            (1, 1, false),
            (2, 1, false),
            (3, 0, true),
        ];
        let kib16 = [
            (0, 0, false),
            (0, 1, false),
            (0, 2, true),
            (1, 2, false),
            (2, 2, false),
            (3, 0, true),
        ];
        for (granule, at2, at1, cases) in [
            (Granule::Kib4, 40, 28, kib4),
            (Granule::Kib16, 32, 20, kib16),
        ] {
            for (stage2, stage1, expected) in cases {
                let ids = IdRegisters {
                    mmfr0: stage2 << at2 | stage1 << at1,
                    ..IdRegisters::default()
                };
                assert_eq!(ids.has_wide_stage2(granule), expected, "{granule:?}");
            }
        }
        for (pa_range, tgran64_2, expected) in
            [(5, 0, false), (6, 0, true), (7, 2, true), (6, 1, false)]
        {
            let ids = IdRegisters {
                mmfr0: pa_range | tgran64_2 << 36,
                ..IdRegisters::default()
            };
            assert_eq!(ids.has_wide_stage2(Granule::Kib64), expected);
        }
    }

    #[test]
    fn each_feature_has_its_own_field() {
        let none = IdRegisters::default();
        let with = |change: fn(&mut IdRegisters)| {
            let mut ids = none;
            change(&mut ids);
            ids
        };
        assert!(!none.has_fwb() && with(|i| i.mmfr2 = 1 << 40).has_fwb());
        assert!(!none.has_ttl() && with(|i| i.mmfr2 = 1 << 48).has_ttl());
        assert!(!none.has_xnx() && with(|i| i.mmfr1 = 1 << 28).has_xnx());
        assert!(!none.has_hardware_af() && with(|i| i.mmfr1 = 1).has_hardware_af());
        assert!(!with(|i| i.mmfr1 = 1).has_hardware_dirty());
        assert!(with(|i| i.mmfr1 = 2).has_hardware_dirty());
        assert_eq!(none.vmid_bits(), VmidBits::Eight);
        assert_eq!(with(|i| i.mmfr1 = 2 << 4).vmid_bits(), VmidBits::Sixteen);
        assert!(!with(|i| i.isar0 = 1 << 56).has_tlbi_range());
        assert!(with(|i| i.isar0 = 2 << 56).has_tlbi_range());
        assert_eq!(none.bbm(), Bbm::Level0);
        assert_eq!(with(|i| i.mmfr2 = 1 << 52).bbm(), Bbm::Level1);
        assert_eq!(with(|i| i.mmfr2 = 2 << 52).bbm(), Bbm::Level2);
    }

    #[test]
    fn what_is_made_with_a_feature_has_it_and_no_other() {
        let plain = IdRegisters::new(PaRange::Bits40);
        assert_eq!(plain.pa_range(), PaRange::Bits40);
        let found = |ids: IdRegisters| {
            let features = [
                ids.vmid_bits() == VmidBits::Sixteen,
                ids.has_hardware_af(),
                ids.has_hardware_dirty(),
                ids.has_xnx(),
                ids.has_fwb(),
                ids.has_ttl(),
                ids.bbm() == Bbm::Level2,
                ids.has_tlbi_range(),
                ids.pa_range() != PaRange::Bits40,
            ];
            features
                .iter()
                .rev()
                .fold(0, |bits, has| bits << 1 | u32::from(*has))
        };
        let af = HardwareUpdates::AccessFlag;
        let both = HardwareUpdates::AccessFlagAndDirty;
        assert_eq!(found(plain), 0);
        assert_eq!(found(plain.with_vmid_bits(VmidBits::Sixteen)), 1);
        assert_eq!(found(plain.with_hardware_updates(af)), 1 << 1);
        assert_eq!(found(plain.with_hardware_updates(both)), 3 << 1);
        assert_eq!(found(plain.with_xnx()), 1 << 3);
        assert_eq!(found(plain.with_fwb()), 1 << 4);
        assert_eq!(found(plain.with_ttl()), 1 << 5);
        assert_eq!(found(plain.with_bbm(Bbm::Level2)), 1 << 6);
        assert_eq!(found(plain.with_tlbi_range()), 1 << 7);
        let again = plain
            .with_vmid_bits(VmidBits::Sixteen)
            .with_bbm(Bbm::Level2);
        let narrowed = again.with_vmid_bits(VmidBits::Eight).with_bbm(Bbm::Level0);
        assert_eq!(narrowed, plain);
    }

    #[test]
    fn cache_rules_follow_ctr_and_clidr() {
        // LoUIS = LoUU = 1, LoC = 2: a Cortex-A72.
        let ids = IdRegisters {
            ctr: 0x8444_c004,
            clidr: 0x0a20_0023,
            ..IdRegisters::default()
        };
        assert!(!ids.has_coherent_instruction_fetch());
        assert!(!ids.has_coherent_instruction_cache());
        assert!(ids.has_cache_before_coherency());

        let coherent = IdRegisters {
            ctr: ids.ctr | 3 << 28,
            ..ids
        };
        assert!(coherent.has_coherent_instruction_fetch());
        assert!(coherent.has_coherent_instruction_cache());

        let made = IdRegisters::default().with_coherent_instructions();
        assert!(made.has_coherent_instruction_fetch());
        assert!(made.has_coherent_instruction_cache());

        let flat = IdRegisters::default();
        assert!(flat.has_coherent_instruction_fetch());
        assert!(!flat.has_cache_before_coherency());
    }
}
