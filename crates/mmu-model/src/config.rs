//! The machine that is modelled: its CPUs, its memory for tables and its optional features.

use core::ops::BitOr;

use droste_arm64::Pa;

/// The number of a stage-1 map.
pub type Space = u32;

/// A set of CPUs, one bit each.
pub(crate) type CpuSet = u32;

/// The most CPUs of a model: the width of a set of CPUs.
pub const MAX_CPUS: usize = 32;

/// What may be changed in a valid entry without break-before-make (ID_AA64MMFR2_EL1.BBM; DDI 0487, D8 "Support
/// levels for changing table or block size").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Bbm {
    /// A change of size or contiguity needs break-before-make.
    #[default]
    Level0,
    /// A change between block and table is possible while the block has nT set.
    Level1,
    /// A change of size or contiguity is possible directly; a TLB conflict abort may follow until invalidation.
    Level2,
}

/// Optional features without levels, as a set.
///
/// ```
/// use droste_mmu_model::Features;
/// let features = Features::TTL | Features::TLBI_RANGE;
/// assert!(features.has(Features::TTL));
/// assert!(!features.has(Features::VMID16));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Features(u32);

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);
    /// FEAT_TTL: level hints in TLBI operands.
    pub const TTL: Self = Self(1);
    /// FEAT_TLBIRANGE: invalidation by range.
    pub const TLBI_RANGE: Self = Self(1 << 1);
    /// FEAT_TLBIOS: Outer Shareable invalidation.
    pub const TLBI_OS: Self = Self(1 << 2);
    /// FEAT_XS: the nXS qualifier and the FnXS bit.
    pub const XS: Self = Self(1 << 3);
    /// FEAT_XNX: separate execute permissions for EL1 and EL0.
    pub const XNX: Self = Self(1 << 4);
    /// FEAT_S2FWB, and guests run with HCR_EL2.FWB set.
    pub const FWB: Self = Self(1 << 5);
    /// FEAT_VMID16.
    pub const VMID16: Self = Self(1 << 6);
    /// FEAT_LPA2: VTCR_EL2.DS.
    pub const LPA2: Self = Self(1 << 7);
    /// FEAT_HAFDBS: hardware sets the access flag.
    pub const HARDWARE_AF: Self = Self(1 << 8);
    /// FEAT_HAFDBS: hardware marks what is written.
    pub const HARDWARE_DIRTY: Self = Self(1 << 9);
    /// FEAT_TTCNP: CPUs may share entries.
    pub const CNP: Self = Self(1 << 10);
    /// FEAT_TTST: small translation tables.
    pub const TTST: Self = Self(1 << 11);
    /// All features.
    pub const ALL: Self = Self((1 << 12) - 1);

    /// Whether all of `other` are in the set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set without the features in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The set as a number, for traces.
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// The set from its number; unknown bits are dropped.
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }
}

impl BitOr for Features {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What the model assumes of the guests' stage 1.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Stage1 {
    /// Nothing: two vCPUs may use one ASID for different tables. So it is a violation if entries of one are left when
    /// another enters.
    #[default]
    Unknown,
    /// Exactly what [`stage1_map`](crate::Model::stage1_map) says. The violation is the first access that could use an
    /// entry that it must not.
    Known,
    /// The same; and what TLBs may still hold of entries that a guest has changed, whether or not it has invalidated
    /// them, is an outcome of an access: for who judges the invalidations that reach the guest's stage 1 from outside.
    /// An entry is made only where stage 2 has a valid descriptor at its root or a TLB what was there, for without them
    /// there is no walk of stage 1; and by who enters, makes an access or speculates since.
    Held,
}

/// When table walks may fill a CPU's TLBs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Speculation {
    /// While the CPU is in the guest (DDI 0487, D8: a walk happens for a context that is in use).
    #[default]
    InGuest,
    /// Also at EL2, for whatever VTTBR_EL2 and VTCR_EL2 hold: CPUs that walk for a speculated AT instruction.
    AlsoAtEl2,
}

/// Whether operations are recorded for replay.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Recording {
    /// No.
    #[default]
    Off,
    /// All of them, in memory.
    On,
}

/// The machine that a model stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The number of CPUs, 1 to [`MAX_CPUS`].
    pub cpus: usize,
    /// Where the memory for tables begins, a multiple of 4 KiB.
    pub base: Pa,
    /// Size of that memory in units of 4 KiB.
    pub pages: u64,
    /// Physical address bits that are implemented: 32 to 52.
    pub pa_bits: u32,
    /// FEAT_BBM.
    pub bbm: Bbm,
    /// Other features.
    pub features: Features,
    /// The guests' stage 1.
    pub stage1: Stage1,
    /// When walks happen.
    pub speculation: Speculation,
    /// Whether a trace is kept.
    pub recording: Recording,
}

impl Config {
    /// Four CPUs with 48 physical address bits and no optional feature.
    pub const fn new(base: Pa, pages: u64) -> Self {
        Self {
            cpus: 4,
            base,
            pages,
            pa_bits: 48,
            bbm: Bbm::Level0,
            features: Features::NONE,
            stage1: Stage1::Unknown,
            speculation: Speculation::InGuest,
            recording: Recording::Off,
        }
    }

    /// The set of all CPUs.
    pub(crate) const fn all_cpus(&self) -> CpuSet {
        CpuSet::MAX >> (MAX_CPUS - self.cpus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_a_set() {
        assert!(Features::ALL.has(Features::TTL | Features::TTST));
        assert!(!Features::ALL.without(Features::TTL).has(Features::TTL));
        assert_eq!(Features::from_bits(u32::MAX), Features::ALL);
    }

    #[test]
    fn the_set_of_all_cpus_has_one_bit_each() {
        let mut config = Config::new(Pa(0), 1);
        assert_eq!(config.all_cpus(), 0b1111);
        config.cpus = MAX_CPUS;
        assert_eq!(config.all_cpus(), CpuSet::MAX);
    }
}
