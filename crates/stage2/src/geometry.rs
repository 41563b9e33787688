//! The shape of a table: where its walk starts, how large its root is, and the VTCR_EL2 that says so.
//!
//! Rule: the walk starts as deep as it can, unless [`Geometry::starting_at`] is asked for another level. Up to 16
//! tables of the start level stand side by side (DDI 0487, D8.2.2 "Concatenated translation tables"), which saves a
//! level wherever the address space is at most four bits wider than one table of that level maps.
//!
//! A 52-bit format (FEAT_LPA, FEAT_LPA2) is chosen only where 48 bits do not suffice: FEAT_LPA2's costs leaves their
//! field for shareability, and makes range invalidation step by 64 KiB.
//!
//! Left out: start levels of FEAT_TTST, which serve address spaces below 32 bits, and the 128-bit descriptors and
//! 56-bit addresses of FEAT_D128.

use droste_arm64::desc::Format;
use droste_arm64::{
    Baddr, Granule, HardwareUpdates, IdRegisters, Ipa, IpaBits, Level, Pa, PaRange, Vtcr,
    VtcrFields,
};

use crate::Error;

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
    /// The shape for this granule and guest address width on this hardware, with outputs of up to 48 bits, or of 52
    /// where the guest's addresses are wider than 48.
    ///
    /// # Errors
    /// [`Error::GranuleUnsupported`]; [`Error::IpaTooWide`] where the CPU has fewer physical address bits;
    /// [`Error::WideUnsupported`] where more than 48 bits are too many for the granule on this CPU.
    pub const fn new(
        granule: Granule,
        ipa_bits: IpaBits,
        ids: &IdRegisters,
    ) -> Result<Self, Error> {
        let output = if ids.pa_range().bits() > 48 {
            PaRange::Bits48
        } else {
            ids.pa_range()
        };
        Self::with_output(granule, ipa_bits, output, ids)
    }

    /// The shape with outputs of at least this width: for a guest whose memory lies beyond 48 bits, although its own
    /// addresses do not.
    ///
    /// A 52-bit format holds outputs of 52 bits, whichever of the two widths it was needed for.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`Error::OutputTooWide`] where the CPU has fewer physical address bits.
    pub const fn with_output(
        granule: Granule,
        ipa_bits: IpaBits,
        output: PaRange,
        ids: &IdRegisters,
    ) -> Result<Self, Error> {
        if !ids.has_stage2_granule(granule) {
            return Err(Error::GranuleUnsupported(granule));
        }
        let pa_bits = match ids.pa_range() {
            PaRange::Bits56 => 52,
            narrower => narrower.bits(),
        };
        if ipa_bits.bits() > pa_bits {
            return Err(Error::IpaTooWide { ipa_bits, pa_bits });
        }
        if output.bits() > pa_bits {
            return Err(Error::OutputTooWide { output, pa_bits });
        }
        let (format, output) = if ipa_bits.bits() <= 48 && output.bits() <= 48 {
            (Format::narrow(granule), output)
        } else if ids.has_wide_stage2(granule) {
            (Format::wide(granule), PaRange::Bits52)
        } else {
            return Err(Error::WideUnsupported(granule));
        };
        Ok(Self {
            format,
            ipa_bits,
            start: format.deepest_start(ipa_bits.bits()),
            output,
        })
    }

    /// The same space with a walk that starts at another level: one level higher, the root is one table, and often a
    /// small one, in place of several that take contiguous memory.
    ///
    /// # Errors
    /// [`Error::StartLevel`] with the rule that the level breaks.
    pub const fn starting_at(self, start: Level, ids: &IdRegisters) -> Result<Self, Error> {
        let ipa_bits = self.ipa_bits;
        match self
            .format
            .check_start(start, ipa_bits.bits(), ids.pa_range())
        {
            Ok(()) => Ok(Self { start, ..self }),
            Err(fault) => Err(Error::StartLevel {
                start,
                ipa_bits,
                fault,
            }),
        }
    }

    /// The granule.
    #[inline]
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
    #[inline]
    pub const fn ipa_bits(self) -> IpaBits {
        self.ipa_bits
    }

    /// The level of the root.
    #[inline]
    pub const fn start(self) -> Level {
        self.start
    }

    /// Bytes of a page, and of a table below the root.
    #[inline]
    pub const fn page_bytes(self) -> u64 {
        self.granule().page_bytes()
    }

    /// Descriptors of the root, all concatenated tables together.
    #[inline]
    pub const fn root_entries(self) -> u64 {
        1 << (self.ipa_bits.bits() - self.granule().entry_shift(self.start))
    }

    /// Bytes of the root and its alignment, at least a page.
    ///
    /// The hardware wants a root smaller than a page aligned to its own size only (and to 64 bytes in the 52-bit
    /// formats); a whole page is taken, so that pages are the one unit of supply.
    pub const fn root_bytes(self) -> u64 {
        let bytes = self.root_entries() * 8;
        if bytes < self.page_bytes() {
            self.page_bytes()
        } else {
            bytes
        }
    }

    /// VTCR_EL2 for a virtual machine of this shape. The hardware sets access flags, and makes leaves writable that
    /// have DBM set, where it can.
    ///
    /// # Panics
    /// Never: a walk starts only at levels that SL0 and SL2 encode.
    pub const fn vtcr(self, ids: &IdRegisters) -> Vtcr {
        let vtcr = Vtcr::new(VtcrFields {
            format: self.format,
            ipa_bits: self.ipa_bits,
            start: self.start,
            output: self.output,
            vmid_bits: ids.vmid_bits(),
            updates: updates(ids),
        });
        vtcr.expect("the start level has an encoding")
    }

    /// One past the highest output address.
    pub const fn output_limit(self) -> u64 {
        1 << self.output.bits()
    }

    /// Bytes that one descriptor at `level` maps, for levels that this shape walks; for others, no meaningful number.
    #[inline]
    pub const fn entry_bytes(self, level: Level) -> u64 {
        // A level that the granule lacks may shift by more than 63 bits.
        1u64.wrapping_shl(self.granule().entry_shift(level))
    }

    /// Where the descriptor of `ipa` stands in a table of `level` at `table`, for levels that this shape walks. Bits of
    /// `ipa` that the levels above resolve are ignored.
    #[inline]
    pub const fn entry(self, table: Pa, level: Level, ipa: Ipa) -> Pa {
        // A level that the granule lacks may shift by more than 63 bits.
        let number = ipa.0.wrapping_shr(self.granule().entry_shift(level));
        Pa(table.0 + (number & (self.entries(level) - 1)) * 8)
    }

    /// Descriptors of a table of `level`, for levels that this shape walks. At the start level, those of all
    /// concatenated tables.
    #[inline]
    pub const fn entries(self, level: Level) -> u64 {
        if level.number() == self.start.number() {
            self.root_entries()
        } else {
            self.granule().entries()
        }
    }

    /// How walks go down by this shape.
    pub(crate) const fn steps(self) -> Steps {
        Steps {
            start: self.start,
            shift: self.granule().entry_shift(self.start),
            root_mask: self.root_entries() - 1,
            bits: self.granule().index_bits(),
            mask: self.granule().entries() - 1,
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

/// What a walk needs of a shape at each of its steps, worked out once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    /// The level of the root.
    pub(crate) start: Level,
    /// Address bits that an entry of the root leaves to resolve.
    pub(crate) shift: u32,
    /// The index into the root.
    pub(crate) root_mask: u64,
    /// Address bits that each further step resolves.
    pub(crate) bits: u32,
    /// The index into a table below the root.
    pub(crate) mask: u64,
}

/// All updates that the hardware can make.
const fn updates(ids: &IdRegisters) -> HardwareUpdates {
    if ids.has_hardware_dirty() {
        HardwareUpdates::AccessFlagAndDirty
    } else if ids.has_hardware_af() {
        HardwareUpdates::AccessFlag
    } else {
        HardwareUpdates::Nothing
    }
}

#[cfg(test)]
mod tests;
