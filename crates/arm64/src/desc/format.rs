//! Where a descriptor keeps its address, and which levels have leaves.

use crate::Pa;
use crate::granule::{Granule, LeafKind, Level};

/// How descriptors hold addresses of more than 48 bits (DDI 0487, D8 "VMSAv8-64 descriptor formats").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OutputFormat {
    /// Addresses of up to 48 bits, where they stand.
    Bits48,
    /// FEAT_LPA, 64 KiB granule with VTCR_EL2.PS = 52 bits: address bits \[51:48\] at descriptor bits \[15:12\].
    Lpa,
    /// FEAT_LPA2, 4 and 16 KiB granules with VTCR_EL2.DS = 1: address bits \[49:48\] where they stand, bits \[51:50\]
    /// at descriptor bits \[9:8\]. Leaves have no SH field then; VTCR_EL2.SH0 serves all of them.
    Lpa2,
}

/// A granule together with an output format that it has: all that a descriptor's layout depends on.
///
/// ```
/// use droste_arm64::desc::{Format, OutputFormat};
/// use droste_arm64::{Granule, LeafKind, Level};
///
/// let format = Format::wide(Granule::Kib4);
/// assert_eq!(format.output(), OutputFormat::Lpa2);
/// assert_eq!(format.leaf_at(Level::L0), Some(LeafKind::Block));
/// assert_eq!(Format::narrow(Granule::Kib4).leaf_at(Level::L0), None);
/// assert_eq!(Format::new(Granule::Kib64, OutputFormat::Lpa2), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Format {
    granule: Granule,
    output: OutputFormat,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] = [
        Self::narrow(Granule::Kib4),
        Self::narrow(Granule::Kib16),
        Self::narrow(Granule::Kib64),
        Self::wide(Granule::Kib4),
        Self::wide(Granule::Kib16),
        Self::wide(Granule::Kib64),
    ];

    /// The format; `None` for FEAT_LPA without the 64 KiB granule, and for FEAT_LPA2 with it.
    pub const fn new(granule: Granule, output: OutputFormat) -> Option<Self> {
        match (granule, output) {
            (_, OutputFormat::Bits48)
            | (Granule::Kib64, OutputFormat::Lpa)
            | (Granule::Kib4 | Granule::Kib16, OutputFormat::Lpa2) => {
                Some(Self { granule, output })
            }
            _ => None,
        }
    }

    /// The granule's format for addresses of up to 48 bits.
    pub const fn narrow(granule: Granule) -> Self {
        Self {
            granule,
            output: OutputFormat::Bits48,
        }
    }

    /// The granule's format for addresses of up to 52 bits.
    pub const fn wide(granule: Granule) -> Self {
        let output = match granule {
            Granule::Kib4 | Granule::Kib16 => OutputFormat::Lpa2,
            Granule::Kib64 => OutputFormat::Lpa,
        };
        Self { granule, output }
    }

    /// The granule.
    #[inline]
    pub const fn granule(self) -> Granule {
        self.granule
    }

    /// How descriptors hold wide addresses.
    #[inline]
    pub const fn output(self) -> OutputFormat {
        self.output
    }

    /// The number of address bits that descriptors hold: 48 or 52.
    pub const fn address_bits(self) -> u32 {
        match self.output {
            OutputFormat::Bits48 => 48,
            OutputFormat::Lpa | OutputFormat::Lpa2 => 52,
        }
    }

    /// The kind of leaf at `level`; `None` if the level has no leaves.
    ///
    /// Pages at level 3 and blocks at level 2; at level 1 with the 4 KiB granule, and with the others in their
    /// 52-bit formats; at level 0 with the 4 KiB granule in FEAT_LPA2's (DDI 0487, D8 "VMSAv8-64 Block descriptor and
    /// Page descriptor formats").
    #[inline]
    pub const fn leaf_at(self, level: Level) -> Option<LeafKind> {
        let is_small = matches!(self.granule, Granule::Kib4);
        let is_wide = !matches!(self.output, OutputFormat::Bits48);
        let first = 2 - is_small as i8 - is_wide as i8;
        if matches!(level, Level::L3) {
            Some(LeafKind::Page)
        } else if level.number() >= first {
            Some(LeafKind::Block)
        } else {
            None
        }
    }

    /// The number of adjacent leaves of `level` in one run with the Contiguous bit; 1 if there are no leaves, or if
    /// they have no such bit. The bit is RES0 in the blocks that only the 52-bit formats have (DDI 0487, D8.7.1
    /// "Contiguous bit", R_CBXXM).
    ///
    /// The run's first leaf maps a multiple of the run's size, to an output that is a multiple of it.
    pub const fn contiguous_entries(self, level: Level) -> u64 {
        match (self.granule, level) {
            (Granule::Kib4, Level::L1 | Level::L2 | Level::L3) => 16,
            (Granule::Kib16, Level::L3) => 128,
            (Granule::Kib16, Level::L2) | (Granule::Kib64, Level::L2 | Level::L3) => 32,
            _ => 1,
        }
    }

    /// The descriptor bits of an address that is a multiple of 2^`shift`; `None` for any other, and for one too wide.
    #[inline]
    pub(super) const fn pack(self, pa: Pa, shift: u32) -> Option<u64> {
        if pa.0 & !self.held(shift) != 0 {
            return None;
        }
        Some(self.spread(pa.0))
    }

    /// The bits of an address that the descriptor of a multiple of 2^`shift` holds, `shift` at least the page's.
    #[inline]
    pub(super) const fn held(self, shift: u32) -> u64 {
        bits_from(shift, self.address_bits())
    }

    /// Address bits where descriptors hold them. Those of an offset in a page, and those beyond the format's width,
    /// would overlap others.
    #[inline]
    pub(super) const fn spread(self, bits: u64) -> u64 {
        match self.output {
            OutputFormat::Bits48 => bits,
            OutputFormat::Lpa => bits & bits_from(0, 48) | bits >> 48 << 12,
            OutputFormat::Lpa2 => bits & bits_from(0, 50) | bits >> 50 << 8,
        }
    }

    /// The address in a descriptor that points to a multiple of 2^`shift`, `shift` at least the page's.
    #[inline]
    pub(super) const fn unpack(self, raw: u64, shift: u32) -> Pa {
        Pa(match self.output {
            OutputFormat::Bits48 => raw & bits_from(shift, 48),
            OutputFormat::Lpa => raw & bits_from(shift, 48) | (raw >> 12 & 15) << 48,
            OutputFormat::Lpa2 => raw & bits_from(shift, 50) | (raw >> 8 & 3) << 50,
        })
    }
}

/// Bits \[top − 1:low\], `top` below 64; none where `low` is not below `top`.
#[inline]
const fn bits_from(low: u32, top: u32) -> u64 {
    if low < top {
        (1 << top) - (1 << low)
    } else {
        0
    }
}
