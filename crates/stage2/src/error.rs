//! What can be wrong with a request.

use core::fmt;

use droste_arm64::{Granule, Ipa, IpaBits, Pa};

/// Why an operation did not happen. The table stays consistent in every case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Stage 2 of this CPU does not support the granule (DDI 0487, D24.2, ID_AA64MMFR0_EL1.TGranN_2).
    GranuleUnsupported(Granule),
    /// The guest's address space is wider than the CPU's physical one, which VTCR_EL2.T0SZ cannot express.
    IpaTooWide {
        /// Width asked for.
        ipa_bits: IpaBits,
        /// ID_AA64MMFR0_EL1.PARange in bits.
        pa_bits: u32,
    },
    /// A root table is aligned to its size and within the physical address space (DDI 0487, D24.2, VTTBR_EL2.BADDR).
    RootMisplaced {
        /// Address offered.
        root: Pa,
        /// Alignment needed, in bytes.
        align: u64,
    },
    /// An address or size is not a multiple of the page, or the size is zero.
    Misaligned {
        /// Guest address.
        ipa: Ipa,
        /// Output address; equal to zero for operations without one.
        pa: Pa,
        /// Size in bytes.
        bytes: u64,
    },
    /// The range is not within the guest's address space.
    OutsideIpaSpace {
        /// First address.
        ipa: Ipa,
        /// Size in bytes.
        bytes: u64,
    },
    /// The output is not within the CPU's physical address space.
    OutsidePaSpace {
        /// First address.
        pa: Pa,
        /// Size in bytes.
        bytes: u64,
    },
    /// Something else is mapped here: another output or other attributes. Everything before it is mapped as asked.
    AlreadyMapped {
        /// First address that differs.
        ipa: Ipa,
    },
    /// The supply has no page for a table. A mapping is done up to this address; an unmapping or a split has changed
    /// nothing.
    NoTablePage {
        /// Address whose table is missing.
        ipa: Ipa,
    },
    /// Another CPU changed the entry in the meantime.
    Raced {
        /// Address of the entry.
        ipa: Ipa,
    },
    /// A memory slot covers part of the range already.
    SlotOverlap {
        /// First address of the slot that was there first.
        ipa: Ipa,
    },
    /// All memory slots are taken.
    SlotsFull,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::GranuleUnsupported(granule) => write!(
                f,
                "stage 2 of this CPU has no {} KiB granule: use another",
                granule.page_bytes() >> 10
            ),
            Self::IpaTooWide { ipa_bits, pa_bits } => write!(
                f,
                "a guest address space of {ipa_bits} bits exceeds the CPU's {pa_bits} physical address bits: \
                 use at most {pa_bits}"
            ),
            Self::RootMisplaced { root, align } => write!(
                f,
                "a root table at {root} is not a multiple of its size, {align:#x}, within the physical address \
                 space: place it so"
            ),
            Self::Misaligned { ipa, pa, bytes } => write!(
                f,
                "guest address {ipa}, output {pa} and size {bytes:#x} must be multiples of the page, the size not \
                 zero"
            ),
            Self::OutsideIpaSpace { ipa, bytes } => write!(
                f,
                "{bytes:#x} bytes at guest address {ipa} leave the guest's address space: choose a lower address \
                 or a wider space"
            ),
            Self::OutsidePaSpace { pa, bytes } => write!(
                f,
                "{bytes:#x} bytes at {pa} leave the CPU's physical address space: choose a lower address"
            ),
            Self::AlreadyMapped { ipa } => write!(
                f,
                "guest address {ipa} is mapped to something else: unmap it first"
            ),
            Self::NoTablePage { ipa } => write!(
                f,
                "no page left for the table of guest address {ipa}: raise the quota and repeat"
            ),
            Self::Raced { ipa } => write!(
                f,
                "another CPU changed the entry of guest address {ipa}: enter the guest again"
            ),
            Self::SlotOverlap { ipa } => write!(
                f,
                "the memory slot at guest address {ipa} covers part of the range: remove it first"
            ),
            Self::SlotsFull => write!(f, "all memory slots are taken: remove one first"),
        }
    }
}

impl core::error::Error for Error {}
