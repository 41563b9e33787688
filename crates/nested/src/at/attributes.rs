//! Memory attributes of both stages as PAR_EL1 reports them (DDI 0487, D8.6; J1.3, S2CombineS1MemAttrs; J1.1,
//! AArch64.S2ApplyFWBMemAttrs).

use droste_arm64::desc::{Cacheability, Device, MemoryType, Shareability};

/// Memory type and shareability of a translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// The memory type, encoded as a field of MAIR_EL1.
    pub memory: u8,
    /// The shareability.
    pub shareability: Shareability,
}

/// Normal, Inner and Outer Non-cacheable.
const NON_CACHEABLE: u8 = 0x44;
/// Write-Back, Read- and Write-Allocate, non-transient: one half of a field.
const WRITE_BACK_ALLOCATE: u8 = 0b1111;
/// Non-cacheable: one half of a field.
const HALF_NON_CACHEABLE: u8 = 0b0100;

impl Attributes {
    /// Device-nGnRnE, as memory is without stage 1 (J1.1, AArch64.S1DisabledOutput).
    pub(super) const STRONGLY_ORDERED: Self = Self {
        memory: 0,
        shareability: Shareability::Outer,
    };

    /// Normal Write-Back, as memory is without stage 1 under HCR_EL2.DC.
    pub(super) const DEFAULT_CACHEABLE: Self = Self {
        memory: joined((WRITE_BACK_ALLOCATE, WRITE_BACK_ALLOCATE)),
        shareability: Shareability::Non,
    };

    /// With caches off: Normal memory is Non-cacheable, Device stays.
    pub(super) const fn uncached(self) -> Self {
        if is_device(self.memory) {
            return self;
        }
        Self {
            memory: NON_CACHEABLE,
            ..self
        }
    }

    /// PAR_EL1.SH: Device memory, and Normal memory that is Inner and Outer Non-cacheable, are Outer Shareable (J1.3,
    /// PAREncodeShareability).
    pub const fn reported_shareability(self) -> u8 {
        let is_uncached = is_device(self.memory)
            || matches!(
                halves(self.memory),
                (HALF_NON_CACHEABLE, HALF_NON_CACHEABLE)
            );
        let shareability = if is_uncached {
            Shareability::Outer
        } else {
            wider(self.shareability, Shareability::Non)
        };
        shareability as u8
    }
}

/// The field of MAIR that `memory` stands for: itself, or for a reserved one, which may be any other, the strictest of
/// its kind (D24.2, MAIR_EL1; J1.3, S1DecodeMemAttrs). Tagged memory is of FEAT_MTE2, which L1 is not shown.
pub(super) const fn defined(memory: u8, has_xs: bool) -> u8 {
    match memory {
        0x40 | 0xa0 if has_xs => memory,
        _ if is_device(memory) => match memory & 3 {
            0 => memory,
            1 if has_xs => memory,
            _ => memory & 0xc,
        },
        _ => match memory & 0xf {
            0 => NON_CACHEABLE,
            _ => memory,
        },
    }
}

const fn is_device(memory: u8) -> bool {
    memory & 0xf0 == 0
}

/// Outer and inner half. Three whole-byte encodings stand for halves: 0x40 is Non-cacheable and 0xa0 Write-Through with
/// XS = 0, and 0xf0 is Tagged Write-Back. Reserved ones count as Non-cacheable in the half that has no meaning.
const fn halves(memory: u8) -> (u8, u8) {
    match memory {
        0x40 => (HALF_NON_CACHEABLE, HALF_NON_CACHEABLE),
        0xa0 => (0b1010, 0b1010),
        0xf0 => (WRITE_BACK_ALLOCATE, WRITE_BACK_ALLOCATE),
        _ => match (memory >> 4, memory & 0xf) {
            (outer, 0) => (outer, HALF_NON_CACHEABLE),
            halves => halves,
        },
    }
}

const fn joined((outer, inner): (u8, u8)) -> u8 {
    outer << 4 | inner
}

/// The attributes of both stages combined: `one` has stage 1's, `memory` and `shareability` are stage 2's.
///
/// ```
/// use droste_arm64::desc::{Cacheability, MemoryType, Shareability};
/// use droste_nested::at::{Attributes, combine};
/// let write_back = Attributes { memory: 0xff, shareability: Shareability::Inner };
/// let through = MemoryType::Normal {
///     inner: Cacheability::WriteThrough,
///     outer: Cacheability::WriteThrough,
/// };
/// assert_eq!(combine(write_back, through, Shareability::Non).memory, 0xbb);
/// ```
pub fn combine(one: Attributes, memory: MemoryType, shareability: Shareability) -> Attributes {
    let is_one_device = is_device(one.memory);
    let memory = match memory {
        MemoryType::Device(device) if is_one_device => device_of(one.memory, device),
        MemoryType::Device(device) => (device as u8) << 2,
        MemoryType::ForceWriteBack if is_one_device => {
            joined((WRITE_BACK_ALLOCATE, WRITE_BACK_ALLOCATE))
        }
        MemoryType::ForceWriteBack => {
            let (outer, inner) = halves(one.memory);
            joined((forced(outer), forced(inner)))
        }
        _ if is_one_device => one.memory,
        MemoryType::StageOne => one.memory,
        MemoryType::Normal { inner, outer } => {
            let halves = halves(one.memory);
            joined((weaker(halves.0, outer), weaker(halves.1, inner)))
        }
        // A reserved encoding is an UNPREDICTABLE one of the others.
        MemoryType::NonCacheable | MemoryType::Reserved(_) => NON_CACHEABLE,
    };
    Attributes {
        memory,
        shareability: wider(one.shareability, shareability),
    }
}

/// Both are Device: the stricter. XS goes with stage 1's field.
const fn device_of(one: u8, two: Device) -> u8 {
    let (one_kind, two_kind) = (one >> 2 & 3, two as u8);
    let kind = if one_kind < two_kind {
        one_kind
    } else {
        two_kind
    };
    kind << 2 | one & 1
}

/// One half under a stage 2 that forces Write-Back: stage 1's hints if it is cacheable.
const fn forced(half: u8) -> u8 {
    const WRITE_BACK: u8 = 0b0100;
    if half == HALF_NON_CACHEABLE {
        WRITE_BACK_ALLOCATE
    } else {
        half | WRITE_BACK
    }
}

/// One half under stage 2's cacheability: the weaker, with stage 1's hints.
const fn weaker(half: u8, two: Cacheability) -> u8 {
    const WRITE_BACK: u8 = 0b0100;
    match two {
        _ if half == HALF_NON_CACHEABLE => HALF_NON_CACHEABLE,
        Cacheability::NonCacheable => HALF_NON_CACHEABLE,
        Cacheability::WriteThrough => half & !WRITE_BACK,
        Cacheability::WriteBack => half,
    }
}

/// The wider of two: Outer, Inner, none (J1.3, S2CombineS1Shareability). The reserved encoding counts as Outer.
const fn wider(one: Shareability, two: Shareability) -> Shareability {
    match (one, two) {
        (Shareability::Outer | Shareability::Reserved, _)
        | (_, Shareability::Outer | Shareability::Reserved) => Shareability::Outer,
        (Shareability::Inner, _) | (_, Shareability::Inner) => Shareability::Inner,
        (Shareability::Non, Shareability::Non) => Shareability::Non,
    }
}
