//! Errors of requests.

use core::fmt;

use droste_arm64::desc::Xn;
use droste_arm64::smmu::Stuck;
use droste_arm64::{Granule, Ipa, IpaBits, Level, Pa, PaRange, StartFault, Vmid};

/// Why an operation was not done. The table stays consistent in every case.
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
    /// The outputs asked for have more bits than the CPU's physical addresses.
    OutputTooWide {
        /// Width asked for.
        output: PaRange,
        /// ID_AA64MMFR0_EL1.PARange in bits.
        pa_bits: u32,
    },
    /// Addresses of more than 48 bits need FEAT_LPA2 with the 4 and 16 KiB granules, FEAT_LPA with 64 KiB (DDI 0487,
    /// D24.2, ID_AA64MMFR0_EL1.TGran4_2, TGran16_2 and PARange).
    WideUnsupported(Granule),
    /// A walk cannot start at the level (DDI 0487, D24.2, VTCR_EL2.SL0).
    StartLevel {
        /// Level asked for.
        start: Level,
        /// The guest's address width.
        ipa_bits: IpaBits,
        /// The rule that it breaks.
        fault: StartFault,
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
    /// A fault's address is mapped, but not to the memory of its slot: the slot was changed and not yet unmapped.
    AlreadyMapped {
        /// The faulting address.
        ipa: Ipa,
    },
    /// The supply has no page for a table.
    NoTablePage {
        /// Address whose table is missing.
        ipa: Ipa,
    },
    /// Execution for EL0 or EL1 alone needs FEAT_XNX (DDI 0487, D8 "Stage 2 instruction execution").
    XnxUnsupported(Xn),
    /// No memory slot holds the address.
    NoSlot {
        /// The address.
        ipa: Ipa,
    },
    /// A memory slot covers part of the range already.
    SlotOverlap {
        /// First address of the slot that was there first.
        ipa: Ipa,
    },
    /// All memory slots are taken.
    SlotsFull,
    /// Devices reach the table's memory, and [do not retry](crate::devices): what was asked for would take a translation
    /// or a permission from them for a while, or for good without saying so.
    DevicesAttached {
        /// Guest address where that would be.
        ipa: Ipa,
    },
    /// SMMUs cache what the table maps under another VMID.
    OtherVmid {
        /// The VMID asked for.
        vmid: Vmid,
        /// The table's.
        of_table: Vmid,
    },
    /// An SMMU did not complete what it was told.
    SmmuStuck,
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
            Self::OutputTooWide { output, pa_bits } => write!(
                f,
                "outputs of {} bits exceed the CPU's {pa_bits} physical address bits: use at most {pa_bits}",
                output.bits()
            ),
            Self::WideUnsupported(granule) => write!(
                f,
                "stage 2 of this CPU has no addresses of more than 48 bits with the {} KiB granule: use fewer bits or \
                 another granule",
                granule.page_bytes() >> 10
            ),
            Self::StartLevel {
                start,
                ipa_bits,
                fault,
            } => write!(
                f,
                "a walk of {ipa_bits} bits cannot start at level {}, {fault}: start at another level",
                start.number()
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
                "guest address {ipa} is mapped to other memory than its slot's: unmap what a changed slot was, then \
                 enter the guest again"
            ),
            Self::NoTablePage { ipa } => write!(
                f,
                "no page left for the table of guest address {ipa}: raise the quota and repeat"
            ),
            Self::XnxUnsupported(execute) => write!(
                f,
                "execution as {execute:?} needs FEAT_XNX, which this CPU has not: permit it everywhere or nowhere"
            ),
            Self::NoSlot { ipa } => {
                write!(f, "no memory slot holds guest address {ipa}: add one first")
            }
            Self::SlotOverlap { ipa } => write!(
                f,
                "the memory slot at guest address {ipa} covers part of the range: remove it first"
            ),
            Self::SlotsFull => write!(f, "all memory slots are taken: remove one first"),
            Self::DevicesAttached { ipa } => write!(
                f,
                "guest address {ipa} cannot change so while devices reach it, which do not retry: do it before they are \
                 attached, or unmap it"
            ),
            Self::OtherVmid { vmid, of_table } => write!(
                f,
                "SMMUs cache the table under VMID {of_table}, not {vmid}: attach all its devices under one"
            ),
            Self::SmmuStuck => Stuck.fmt(f),
        }
    }
}

impl core::error::Error for Error {}
