//! Stage-2 memory types.

/// The four raw bits of stage-2 MemAttr, whose meaning depends on HCR_EL2.FWB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct MemAttr(u8);

/// How stage-2 memory attributes act on those of stage 1: HCR_EL2.FWB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttributeScheme {
    /// FWB = 0: the result is the weaker of both stages' types.
    Combine,
    /// FWB = 1 (FEAT_S2FWB): stage 2 can force the result.
    Force,
}

/// Cacheability of Normal memory at one level of cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Cacheability {
    /// Non-cacheable.
    NonCacheable = 1,
    /// Write-Through.
    WriteThrough = 2,
    /// Write-Back.
    WriteBack = 3,
}

/// The Device memory types, strictest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Device {
    /// No gathering, no reordering, no early write acknowledgement.
    NGnRnE = 0,
    /// No gathering, no reordering, early write acknowledgement.
    NGnRE = 1,
    /// No gathering, reordering, early write acknowledgement.
    NGRE = 2,
    /// Gathering, reordering, early write acknowledgement.
    GRE = 3,
}

/// The meaning of MemAttr (DDI 0487, D8 "Stage 2 memory type and cacheability attributes").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryType {
    /// Device memory, in both schemes.
    Device(Device),
    /// Normal memory, to be combined with stage 1's type. Only in [`AttributeScheme::Combine`].
    Normal {
        /// Cacheability in the inner caches.
        inner: Cacheability,
        /// Cacheability in the outer caches.
        outer: Cacheability,
    },
    /// Normal memory becomes Non-cacheable; Device stays. Only in [`AttributeScheme::Force`].
    NonCacheable,
    /// Normal Write-Back whatever stage 1 says. Only in [`AttributeScheme::Force`].
    ForceWriteBack,
    /// The type of stage 1. Only in [`AttributeScheme::Force`].
    StageOne,
    /// An encoding that is reserved in the scheme; carries the four bits.
    Reserved(u8),
}

impl MemAttr {
    /// Device-nGnRE, the same in both schemes.
    pub const DEVICE_NGNRE: Self = Self(0b0001);
    /// Normal, Inner and Outer Write-Back, with FWB = 0.
    pub const WRITE_BACK: Self = Self(0b1111);
    /// Normal Write-Back whatever stage 1 says, with FWB = 1.
    pub const FORCE_WRITE_BACK: Self = Self(0b0110);

    /// The low four bits of `bits`.
    pub const fn new(bits: u8) -> Self {
        Self(bits & 15)
    }

    /// The four bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The meaning under `scheme`.
    pub const fn decode(self, scheme: AttributeScheme) -> MemoryType {
        if self.0 & 0b1100 == 0 {
            return MemoryType::Device(match self.0 {
                0 => Device::NGnRnE,
                1 => Device::NGnRE,
                2 => Device::NGRE,
                _ => Device::GRE,
            });
        }
        match scheme {
            AttributeScheme::Combine => match (cacheability(self.0 >> 2), cacheability(self.0)) {
                (Some(outer), Some(inner)) => MemoryType::Normal { inner, outer },
                _ => MemoryType::Reserved(self.0),
            },
            AttributeScheme::Force => match self.0 {
                0b0101 => MemoryType::NonCacheable,
                0b0110 => MemoryType::ForceWriteBack,
                0b0111 => MemoryType::StageOne,
                _ => MemoryType::Reserved(self.0),
            },
        }
    }

    /// The bits of `memory` under `scheme`; `None` if the scheme has no encoding for it.
    pub const fn encode(memory: MemoryType, scheme: AttributeScheme) -> Option<Self> {
        Some(Self(match (memory, scheme) {
            (MemoryType::Device(device), _) => device as u8,
            (MemoryType::Normal { inner, outer }, AttributeScheme::Combine) => {
                (outer as u8) << 2 | inner as u8
            }
            (MemoryType::NonCacheable, AttributeScheme::Force) => 0b0101,
            (MemoryType::ForceWriteBack, AttributeScheme::Force) => 0b0110,
            (MemoryType::StageOne, AttributeScheme::Force) => 0b0111,
            _ => return None,
        }))
    }
}

const fn cacheability(field: u8) -> Option<Cacheability> {
    match field & 3 {
        1 => Some(Cacheability::NonCacheable),
        2 => Some(Cacheability::WriteThrough),
        3 => Some(Cacheability::WriteBack),
        _ => None,
    }
}
