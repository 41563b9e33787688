//! Function identifiers (DEN0028, 2; DEN0022, 5.1).

pub(super) const ARCH_WORKAROUND_1: u32 = 0x8000_8000;
pub(super) const ARCH_WORKAROUND_2: u32 = 0x8000_7fff;
pub(super) const ARCH_WORKAROUND_3: u32 = 0x8000_3fff;

/// Bit 30 of a function identifier: the call's arguments have 64 bits.
const SMC64: u32 = 1 << 30;

/// A call that is implemented, in either width where it has two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Function {
    PsciVersion,
    CpuSuspend,
    CpuOff,
    CpuOn,
    AffinityInfo,
    MigrateInfoType,
    SystemOff,
    SystemReset,
    SystemReset2,
    PsciFeatures,
    SmcccVersion,
    ArchFeatures,
    ArchWorkaround(u32),
    VendorUid,
}

impl Function {
    pub(super) const fn decode(id: u32) -> Option<Self> {
        Some(match id {
            0x8400_0000 => Self::PsciVersion,
            0x8400_0001 | 0xc400_0001 => Self::CpuSuspend,
            0x8400_0002 => Self::CpuOff,
            0x8400_0003 | 0xc400_0003 => Self::CpuOn,
            0x8400_0004 | 0xc400_0004 => Self::AffinityInfo,
            0x8400_0006 => Self::MigrateInfoType,
            0x8400_0008 => Self::SystemOff,
            0x8400_0009 => Self::SystemReset,
            0x8400_000a => Self::PsciFeatures,
            0x8400_0012 | 0xc400_0012 => Self::SystemReset2,
            0x8000_0000 => Self::SmcccVersion,
            0x8000_0001 => Self::ArchFeatures,
            ARCH_WORKAROUND_1 | ARCH_WORKAROUND_2 | ARCH_WORKAROUND_3 => Self::ArchWorkaround(id),
            0x8600_ff01 => Self::VendorUid,
            _ => return None,
        })
    }

    /// Whether PSCI defines it.
    pub(super) const fn is_psci(self) -> bool {
        !matches!(
            self,
            Self::SmcccVersion | Self::ArchFeatures | Self::ArchWorkaround(_) | Self::VendorUid
        )
    }
}

/// Whether a call's arguments have 64 bits.
pub(super) const fn is_64_bit(id: u32) -> bool {
    id & SMC64 != 0
}
