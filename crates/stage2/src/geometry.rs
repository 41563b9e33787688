//! The shape of a table: where its walk starts, how large its root is, and the VTCR_EL2 that says so.
//!
//! Rule: the walk starts as deep as it can. Up to 16 tables of the start level stand side by side (DDI 0487, D8
//! "Concatenated translation tables"), which saves a level wherever the address space is at most four bits wider
//! than one table of that level maps.
//!
//! Left out: addresses beyond 48 bits (FEAT_LPA, FEAT_LPA2) and start levels of FEAT_TTST, which serve address spaces
//! below 32 bits.

use droste_arm64::desc::Format;
use droste_arm64::{
    Baddr, Granule, HardwareUpdates, IdRegisters, Ipa, IpaBits, Level, Pa, PaRange, Vtcr,
    VtcrFields,
};

use crate::Error;

/// log2 of how many root tables may be concatenated.
const CONCATENATION_BITS: u32 = 4;

/// Granule, guest address width and what follows from them. A constant of the virtual machine.
///
/// ```
/// use droste_arm64::{Granule, IdRegisters, IpaBits, Level};
/// use droste_stage2::Geometry;
///
/// let ids = IdRegisters { mmfr0: 0x2, ..IdRegisters::default() }; // 40 physical address bits
/// let geometry = Geometry::new(Granule::Kib4, IpaBits::new(40).unwrap(), &ids)?;
/// assert_eq!(geometry.start(), Level::L1); // level 0 would have had two entries
/// assert_eq!(geometry.root_bytes(), 8192); // two concatenated tables instead
/// assert_eq!(geometry.vtcr(&ids).0, 0x8002_3558);
/// # Ok::<(), droste_stage2::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    format: Format,
    ipa_bits: IpaBits,
    start: Level,
    output: PaRange,
}

impl Geometry {
    /// The shape for this granule and guest address width on this hardware.
    ///
    /// # Errors
    /// [`Error::GranuleUnsupported`]; [`Error::IpaTooWide`] where the CPU has fewer physical address bits.
    pub const fn new(
        granule: Granule,
        ipa_bits: IpaBits,
        ids: &IdRegisters,
    ) -> Result<Self, Error> {
        if !ids.has_stage2_granule(granule) {
            return Err(Error::GranuleUnsupported(granule));
        }
        let pa_bits = match ids.pa_range() {
            PaRange::Bits52 | PaRange::Bits56 => 48,
            narrower => narrower.bits(),
        };
        if ipa_bits.bits() > pa_bits {
            return Err(Error::IpaTooWide { ipa_bits, pa_bits });
        }
        Ok(Self {
            format: Format::narrow(granule),
            ipa_bits,
            start: start_level(granule, ipa_bits),
            output: match ids.pa_range() {
                PaRange::Bits52 | PaRange::Bits56 => PaRange::Bits48,
                narrower => narrower,
            },
        })
    }

    /// The granule.
    pub const fn granule(self) -> Granule {
        self.format.granule()
    }

    /// The layout of descriptors.
    #[inline]
    pub const fn format(self) -> Format {
        self.format
    }

    /// A root of this shape as VTTBR_EL2 holds it; `None` where the address is wider than the format's, or not a
    /// multiple of 64 bytes in a wide one.
    pub const fn baddr(self, root: Pa) -> Option<Baddr> {
        Baddr::new(root, self.format.output())
    }

    /// The guest's address width.
    pub const fn ipa_bits(self) -> IpaBits {
        self.ipa_bits
    }

    /// The level of the root.
    pub const fn start(self) -> Level {
        self.start
    }

    /// Bytes of a page, and of a table below the root.
    pub const fn page_bytes(self) -> u64 {
        self.granule().page_bytes()
    }

    /// Descriptors of the root, all concatenated tables together.
    pub const fn root_entries(self) -> u64 {
        1 << (self.ipa_bits.bits() - self.granule().entry_shift(self.start))
    }

    /// Bytes of the root and its alignment, at least a page.
    ///
    /// The hardware wants a root smaller than a page aligned to its own size only; a whole page is taken, so that
    /// pages are the one unit of supply.
    pub const fn root_bytes(self) -> u64 {
        let bytes = self.root_entries() * 8;
        if bytes < self.page_bytes() {
            self.page_bytes()
        } else {
            bytes
        }
    }

    /// VTCR_EL2 for a virtual machine of this shape.
    ///
    /// # Panics
    /// Never: [`new`](Self::new) starts only at levels that SL0 encodes.
    pub const fn vtcr(self, ids: &IdRegisters) -> Vtcr {
        let vtcr = Vtcr::new(VtcrFields {
            format: self.format,
            ipa_bits: self.ipa_bits,
            start: self.start,
            output: self.output,
            vmid_bits: ids.vmid_bits(),
            updates: if ids.has_hardware_af() {
                HardwareUpdates::AccessFlag
            } else {
                HardwareUpdates::Nothing
            },
        });
        vtcr.expect("the start level has an SL0 encoding")
    }

    /// One past the highest output address.
    pub const fn output_limit(self) -> u64 {
        1 << self.output.bits()
    }

    /// Bytes that one descriptor at `level` maps, for levels that this shape walks.
    pub const fn entry_bytes(self, level: Level) -> u64 {
        1 << self.granule().entry_shift(level)
    }

    /// Where the descriptor of `ipa` stands in a table of `level` at `table`.
    #[inline]
    pub const fn entry(self, table: Pa, level: Level, ipa: Ipa) -> Pa {
        let number = ipa.0 >> self.granule().entry_shift(level);
        Pa(table.0 + (number & (self.entries(level) - 1)) * 8)
    }

    /// Descriptors of a table of `level`.
    pub const fn entries(self, level: Level) -> u64 {
        if level as i8 == self.start as i8 {
            self.root_entries()
        } else {
            self.granule().entries()
        }
    }

    /// Checks that a range is made of pages of the guest's address space.
    pub(crate) const fn check(self, ipa: Ipa, bytes: u64) -> Result<(), Error> {
        if bytes == 0 || (ipa.0 | bytes) & (self.page_bytes() - 1) != 0 {
            let pa = Pa(0);
            return Err(Error::Misaligned { ipa, pa, bytes });
        }
        match ipa.0.checked_add(bytes) {
            Some(end) if end <= self.ipa_bits.bytes() => Ok(()),
            _ => Err(Error::OutsideIpaSpace { ipa, bytes }),
        }
    }

    /// Checks that a range of the guest's address space can map to an output.
    pub(crate) const fn check_output(self, ipa: Ipa, pa: Pa, bytes: u64) -> Result<(), Error> {
        if pa.0 & (self.page_bytes() - 1) != 0 {
            return Err(Error::Misaligned { ipa, pa, bytes });
        }
        match pa.0.checked_add(bytes) {
            Some(end) if end <= self.output_limit() => Ok(()),
            _ => Err(Error::OutsidePaSpace { pa, bytes }),
        }
    }
}

/// The deepest level whose tables, at most 16 concatenated, map the whole space.
const fn start_level(granule: Granule, ipa_bits: IpaBits) -> Level {
    let mut start = Level::L3;
    loop {
        let reach = granule.entry_shift(start) + granule.index_bits() + CONCATENATION_BITS;
        start = match Level::new(start.number() - 1) {
            Some(above) if ipa_bits.bits() > reach => above,
            _ => return start,
        };
    }
}

#[cfg(test)]
mod tests;
