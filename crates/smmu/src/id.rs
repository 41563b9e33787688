//! What an SMMU can do (IHI 0070, 6.3.1 to 6.3.8), and why it may be of no use.

use core::fmt;

use droste_arm64::{Bbm, Granule, PaRange, Vtcr};

use crate::board::Board;
use crate::registers::Register;

/// The identification registers that matter here, as they were read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub struct Ids {
    pub idr0: u32,
    pub idr1: u32,
    pub idr3: u32,
    pub idr5: u32,
    pub iidr: u32,
    pub aidr: u32,
}

/// The widest that a stream table of two levels is made: what lies above in StreamIDs aborts.
pub const MAX_STREAM_BITS: u32 = 20;

const fn bits(register: u32, shift: u32, width: u32) -> u32 {
    register >> shift & ((1 << width) - 1)
}

/// What is missing, or in the way, for an SMMU to translate by a CPU's stage-2 tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// AIDR says SMMUv3.0, or not version 3.
    Version {
        /// ArchMajorRev, where 0 is version 3.
        major: u32,
        /// ArchMinorRev.
        minor: u32,
    },
    /// IDR0.S2P: no stage 2.
    Stage2,
    /// IDR0.TTF: no tables of AArch64.
    Aarch64Tables,
    /// IDR0.TTENDIAN: no little-endian tables.
    LittleEndian,
    /// IDR0.COHACC: it does not look into the CPUs' caches.
    Coherency,
    /// IDR0.STALL_MODEL: faulting devices cannot be terminated.
    Termination,
    /// IDR0.ST_LEVEL: no stream table of two levels.
    TwoLevels,
    /// IDR1.QUEUES_PRESET or TABLES_PRESET: its queues or tables are where they are.
    OwnMemory,
    /// GERROR.SFM_ERR: it has failed.
    Service,
    /// Of a table: IDR5 has not its granule.
    Granule(Granule),
    /// Of a table: its addresses are wider than IDR5.OAS.
    Width {
        /// The table's, in bits.
        table: u32,
        /// The SMMU's, in bits.
        smmu: u32,
    },
    /// Of a table: it is in a format for 52-bit addresses (VTCR_EL2.DS, or PS of 52 bits).
    WideTable,
    /// Of a table: its leaves are written for FEAT_S2FWB, and IDR3.FWB is 0.
    ForcedWriteBack,
    /// Of a table: its VMID has 16 bits, and IDR0.VMID16 is 0.
    WideVmid,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version { major, minor } => {
                return write!(
                    f,
                    "the SMMU is of version 3.{minor} (AIDR.ArchMajorRev {major}): 3.1 is needed"
                );
            }
            Self::Granule(granule) => {
                return write!(
                    f,
                    "the SMMU has no tables of {} KiB pages (IDR5): use another granule",
                    granule.page_bytes() >> 10
                );
            }
            Self::Width { table, smmu } => {
                return write!(
                    f,
                    "the table has addresses of {table} bits and the SMMU of {smmu} (IDR5.OAS): make the table narrower"
                );
            }
            Self::Stage2 => "the SMMU has no stage 2 (IDR0.S2P): devices cannot be confined",
            Self::Aarch64Tables => "the SMMU has no tables of AArch64 (IDR0.TTF)",
            Self::LittleEndian => "the SMMU reads big-endian tables alone (IDR0.TTENDIAN)",
            Self::Coherency => "the SMMU does not see what CPUs have in caches (IDR0.COHACC)",
            Self::Termination => {
                "the SMMU stalls every access that faults (IDR0.STALL_MODEL): none can be terminated"
            }
            Self::TwoLevels => "the SMMU has no stream table of two levels (IDR0.ST_LEVEL)",
            Self::OwnMemory => {
                "the SMMU's queues or stream table cannot be placed (IDR1.QUEUES_PRESET, TABLES_PRESET)"
            }
            Self::Service => "the SMMU is in Service Failure Mode (GERROR.SFM_ERR): reset the machine",
            Self::WideTable => {
                "the table has a format for 52-bit addresses: use 48 bits for a table that devices reach"
            }
            Self::ForcedWriteBack => {
                "the table's leaves are for FEAT_S2FWB and the SMMU has none (IDR3.FWB): do without on the CPUs"
            }
            Self::WideVmid => "the SMMU's VMIDs have 8 bits (IDR0.VMID16): use a number below 256",
        })
    }
}

impl core::error::Error for Missing {}

/// Whether invalidations can name a range (IDR3.RIL).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ranges {
    /// By address or by VMID only.
    No,
    /// With NUM, SCALE, TTL and TG.
    Yes,
}

/// An SMMU that can be used, and how far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Whether invalidations can name a range.
    pub ranges: Ranges,
    /// IDR3.BBML: what may replace a valid entry without a break.
    pub bbm: Bbm,
    /// The width of StreamIDs that a table of ours covers.
    pub stream_bits: u32,
    /// log2 of the most commands that the queue can hold.
    pub commands_log2: u32,
    /// log2 of the most events that the queue can hold.
    pub events_log2: u32,
    /// Whether it has StreamWorlds of EL2, whose TLB entries the firmware may have left (IDR0.HYP).
    pub(crate) has_hyp: bool,
    has_vmid16: bool,
    has_fwb: bool,
    oas: PaRange,
    granules: u32,
}

impl Ids {
    /// Reads them.
    pub fn read(board: &impl Board) -> Self {
        Self {
            idr0: board.read(Register::IDR0),
            idr1: board.read(Register::IDR1),
            idr3: board.read(Register::IDR3),
            idr5: board.read(Register::IDR5),
            iidr: board.read(Register::IIDR),
            aidr: board.read(Register::AIDR),
        }
    }

    /// What the SMMU can do.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn decode(&self) -> Result<Capabilities, Missing> {
        let (major, minor) = (bits(self.aidr, 4, 4), bits(self.aidr, 0, 4));
        let offers = [
            (major == 0 && minor >= 1, Missing::Version { major, minor }),
            (bits(self.idr0, 0, 1) == 1, Missing::Stage2),
            (bits(self.idr0, 2, 2) >= 2, Missing::Aarch64Tables),
            // 0b00 is both ways, 0b10 little-endian, 0b11 big-endian.
            (
                matches!(bits(self.idr0, 21, 2), 0 | 2),
                Missing::LittleEndian,
            ),
            (bits(self.idr0, 4, 1) == 1, Missing::Coherency),
            // 0b00 leaves the choice, 0b01 never stalls.
            (bits(self.idr0, 24, 2) < 2, Missing::Termination),
            (bits(self.idr0, 27, 2) == 1, Missing::TwoLevels),
            (bits(self.idr1, 29, 2) == 0, Missing::OwnMemory),
        ];
        if let Some(&(_, missing)) = offers.iter().find(|(is_there, _)| !is_there) {
            return Err(missing);
        }
        Ok(Capabilities {
            ranges: if bits(self.idr3, 10, 1) == 1 {
                Ranges::Yes
            } else {
                Ranges::No
            },
            bbm: match bits(self.idr3, 11, 2) {
                0 => Bbm::Level0,
                1 => Bbm::Level1,
                _ => Bbm::Level2,
            },
            stream_bits: bits(self.idr1, 0, 6).min(MAX_STREAM_BITS),
            commands_log2: bits(self.idr1, 21, 5).min(19),
            events_log2: bits(self.idr1, 16, 5).min(19),
            has_hyp: bits(self.idr0, 9, 1) == 1,
            has_vmid16: bits(self.idr0, 18, 1) == 1,
            has_fwb: bits(self.idr3, 8, 1) == 1,
            oas: PaRange::decode(u64::from(bits(self.idr5, 0, 3))),
            granules: bits(self.idr5, 4, 3),
        })
    }
}

/// How the leaves of a table tell the memory type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaves {
    /// As a CPU without FEAT_S2FWB reads them.
    Combined,
    /// As one with HCR_EL2.FWB set does.
    Forced,
}

impl Capabilities {
    /// Whether the SMMU can translate by a table of this shape, cached under this VMID.
    ///
    /// # Errors
    /// What it lacks.
    pub fn check(
        &self,
        vtcr: Vtcr,
        leaves: Leaves,
        vmid: droste_arm64::Vmid,
    ) -> Result<(), Missing> {
        const DS: u64 = 1 << 32;
        let output = vtcr.output();
        if vtcr.0 & DS != 0 || output > PaRange::Bits48 {
            return Err(Missing::WideTable);
        }
        let bit = match vtcr.granule() {
            Some(Granule::Kib16) => 1,
            Some(Granule::Kib64) => 2,
            Some(Granule::Kib4) | None => 0,
        };
        if self.granules >> bit & 1 == 0 {
            return Err(Missing::Granule(vtcr.granule().unwrap_or(Granule::Kib4)));
        }
        let table = output.bits().max(vtcr.input_bits());
        if table > self.oas.bits() {
            let smmu = self.oas.bits();
            return Err(Missing::Width { table, smmu });
        }
        if leaves == Leaves::Forced && !self.has_fwb {
            return Err(Missing::ForcedWriteBack);
        }
        if vmid.0 > 0xff && !self.has_vmid16 {
            return Err(Missing::WideVmid);
        }
        Ok(())
    }

    /// The widest output of a table.
    pub const fn output(&self) -> PaRange {
        self.oas
    }

    /// Whether leaves can be written for FEAT_S2FWB.
    pub const fn has_forced_leaves(&self) -> bool {
        self.has_fwb
    }
}
