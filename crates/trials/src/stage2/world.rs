//! The machine and the virtual machines of a program.

use std::fmt;
use std::str::FromStr;

use droste_arm64::{Granule, IdRegisters, IpaBits, Level, Pa, PaRange};
use droste_mmu_model::{Bbm, Config, Features, Stage1};
use droste_stage2::Geometry;

use crate::text::{Fields, ParseError};

/// The most CPUs of a world.
pub const MAX_CPUS: usize = 4;
/// HCR_EL2.FB and BSU = Inner Shareable, as [`droste_stage2::context`] asks.
pub(crate) const HCR: u64 = 1 << 9 | 1 << 10;
/// Where table memory begins.
const TABLES: Pa = Pa(0x4000_0000);

/// An optional feature of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(
    missing_docs,
    reason = "the names are the architecture's; the groups are told"
)]
pub enum Feature {
    // Of TLB invalidations: FEAT_TTL, FEAT_TLBIRANGE.
    Ttl,
    TlbiRange,
    // Of descriptors: FEAT_XNX, FEAT_S2FWB, FEAT_LPA2, FEAT_HAFDBS for the access flag and for dirty state.
    Xnx,
    Fwb,
    Lpa2,
    AccessFlag,
    DirtyState,
    // FEAT_VMID16.
    Vmid16,
    // Caches stand before the Point of Coherency, so that large blocks cost a fault too much.
    Caches,
    // Some vCPUs have a stage 1 of their own.
    Stage1,
}

impl Feature {
    /// All, with their names in programs.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Ttl, "ttl"),
        (Self::TlbiRange, "range"),
        (Self::Xnx, "xnx"),
        (Self::Fwb, "fwb"),
        (Self::Lpa2, "lpa2"),
        (Self::AccessFlag, "af"),
        (Self::DirtyState, "dirty"),
        (Self::Vmid16, "vmid16"),
        (Self::Caches, "caches"),
        (Self::Stage1, "stage1"),
    ];
}

/// A virtual machine: the shape of its table, and who uses it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VmShape {
    /// The granule.
    pub granule: Granule,
    /// Guest address bits, 32 to 52.
    pub ipa_bits: u32,
    /// Output bits that the table must be able to hold: 48 or 52.
    pub output_bits: u32,
    /// The start level; `None` for the deepest.
    pub start: Option<i8>,
    /// Contexts that it has from the beginning, 1 to 4.
    pub contexts: u8,
    /// vCPUs, 1 to 4.
    pub vcpus: u8,
    /// Pages that its tables may take, at most 512.
    pub quota: u64,
}

/// A machine and its virtual machines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct World {
    /// CPUs, 1 to [`MAX_CPUS`].
    pub cpus: u8,
    /// The level of FEAT_BBM, 0 to 2.
    pub bbm: u8,
    /// Physical address bits.
    pub pa: PaRange,
    /// Optional features, each once.
    pub features: Vec<Feature>,
    /// Decides what hardware makes of an access where it has a choice, and where is looked.
    pub seed: u64,
    /// One to three virtual machines.
    pub vms: Vec<VmShape>,
}

/// A world as memory: where its tables stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) root: Pa,
    pub(crate) pages: Pa,
}

impl World {
    /// Whether the machine has a feature.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// What the machine's identification registers say (DDI 0487, D24.2).
    pub fn ids(&self) -> IdRegisters {
        let bit = |feature, value: u64| if self.has(feature) { value } else { 0 };
        let granules = if self.has(Feature::Lpa2) {
            3 << 40 | 3 << 32
        } else {
            2 << 40 | 2 << 32
        };
        let updates = match (self.has(Feature::AccessFlag), self.has(Feature::DirtyState)) {
            (_, true) => 2,
            (true, false) => 1,
            (false, false) => 0,
        };
        IdRegisters {
            isar0: bit(Feature::TlbiRange, 2 << 56),
            mmfr0: self.pa.field() | granules | 2 << 36,
            mmfr1: updates | bit(Feature::Vmid16, 2 << 4) | bit(Feature::Xnx, 1 << 28),
            mmfr2: bit(Feature::Fwb, 1 << 40)
                | bit(Feature::Ttl, 1 << 48)
                | u64::from(self.bbm) << 52,
            ctr: 0,
            // LoUU, LoC and LoUIS are 1.
            clidr: bit(Feature::Caches, 1 << 27 | 1 << 24 | 1 << 21),
        }
    }

    /// The model that plays it.
    pub(crate) fn config(&self) -> Config {
        let features = [
            (Feature::Ttl, Features::TTL),
            (Feature::TlbiRange, Features::TLBI_RANGE),
            (Feature::Xnx, Features::XNX),
            (Feature::Fwb, Features::FWB),
            (Feature::Lpa2, Features::LPA2),
            (Feature::AccessFlag, Features::HARDWARE_AF),
            (
                Feature::DirtyState,
                Features::HARDWARE_AF | Features::HARDWARE_DIRTY,
            ),
            (Feature::Vmid16, Features::VMID16),
        ];
        let bytes = self.rooms().1;
        Config {
            cpus: usize::from(self.cpus),
            pa_bits: self.pa.bits().min(52),
            bbm: match self.bbm {
                0 => Bbm::Level0,
                1 => Bbm::Level1,
                _ => Bbm::Level2,
            },
            features: features
                .iter()
                .filter(|(feature, _)| self.has(*feature))
                .fold(Features::NONE, |all, &(_, feature)| all | feature),
            stage1: if self.has(Feature::Stage1) {
                Stage1::Known
            } else {
                Stage1::Unknown
            },
            ..Config::new(TABLES, bytes >> 12)
        }
    }

    /// Where the tables of each virtual machine stand, and how many bytes they take in all. The last room is the
    /// neighbour's, whose root is one page of 64 KiB at most.
    pub(crate) fn rooms(&self) -> (Vec<Room>, u64) {
        let mut at = TABLES;
        let mut place = |root_bytes: u64, pages_bytes: u64| {
            let root = at.checked_align_up(root_bytes.max(1 << 16)).unwrap_or(at);
            let pages = (root + root_bytes)
                .checked_align_up(1 << 16)
                .unwrap_or(root);
            at = pages + pages_bytes;
            Room { root, pages }
        };
        let ids = self.ids();
        let mut rooms: Vec<Room> = self
            .vms
            .iter()
            .map(|vm| {
                let root_bytes = vm.geometry(&ids).map_or(1 << 16, Geometry::root_bytes);
                place(root_bytes, vm.quota * vm.granule.page_bytes())
            })
            .collect();
        rooms.push(place(1 << 16, 0));
        (rooms, at - TABLES)
    }

    /// Says what is wrong with the world, if something is.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self) -> Result<(), String> {
        let ids = self.ids();
        if !(1..=MAX_CPUS).contains(&usize::from(self.cpus)) || self.bbm > 2 {
            return Err(format!(
                "a world has 1 to {MAX_CPUS} CPUs and FEAT_BBM level 0 to 2"
            ));
        }
        if !(1..=3).contains(&self.vms.len()) {
            return Err("a world has one to three virtual machines".to_owned());
        }
        for vm in &self.vms {
            let is_small = (1..=4).contains(&vm.contexts) && (1..=4).contains(&vm.vcpus);
            if !is_small || vm.quota > 512 {
                return Err(
                    "a virtual machine has 1 to 4 contexts, 1 to 4 vCPUs, a quota to 512"
                        .to_owned(),
                );
            }
            vm.geometry(&ids)?;
        }
        Ok(())
    }
}

impl VmShape {
    /// The shape of its table on this machine.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn geometry(&self, ids: &IdRegisters) -> Result<Geometry, String> {
        let ipa_bits = IpaBits::new(self.ipa_bits).ok_or("guest addresses have 32 to 52 bits")?;
        let shape = if self.output_bits > 48 {
            Geometry::with_output(self.granule, ipa_bits, PaRange::Bits52, ids)
        } else {
            Geometry::new(self.granule, ipa_bits, ids)
        };
        let shape = shape.map_err(|error| error.to_string())?;
        let Some(start) = self.start else {
            return Ok(shape);
        };
        let start = Level::new(start).ok_or("there is no such level")?;
        shape
            .starting_at(start, ids)
            .map_err(|error| error.to_string())
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "world cpus={} bbm={} pa={} seed={:#x} with=",
            self.cpus,
            self.bbm,
            self.pa.bits(),
            self.seed
        )?;
        let names: Vec<_> = Feature::ALL
            .iter()
            .filter(|(feature, _)| self.has(*feature))
            .map(|&(_, name)| name)
            .collect();
        writeln!(f, "{}", names.join(","))?;
        for vm in &self.vms {
            write!(
                f,
                "vm granule={} ipa={} output={} contexts={} vcpus={} quota={}",
                vm.granule.page_bytes() >> 10,
                vm.ipa_bits,
                vm.output_bits,
                vm.contexts,
                vm.vcpus,
                vm.quota
            )?;
            match vm.start {
                Some(start) => writeln!(f, " start={start}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

impl World {
    /// The world of a line, still without virtual machines.
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, ParseError> {
        let pa_bits = fields.number("pa")?;
        let pa = PaRange::ALL
            .into_iter()
            .find(|pa| u64::from(pa.bits()) == pa_bits)
            .ok_or_else(|| fields.wrong("pa"))?;
        let features = Self::features(fields, "with")?;
        Ok(Self {
            cpus: fields.small("cpus")?,
            bbm: fields.small("bbm")?,
            pa,
            features,
            seed: fields.number("seed")?,
            vms: Vec::new(),
        })
    }

    /// The features that a field lists.
    pub(crate) fn features(fields: &Fields<'_>, name: &str) -> Result<Vec<Feature>, ParseError> {
        let listed = fields.word(name)?.split(',');
        let feature = |word| {
            let known = Feature::ALL.iter().find(|(_, known)| *known == word);
            known
                .map(|&(feature, _)| feature)
                .ok_or_else(|| fields.wrong(name))
        };
        listed
            .filter(|word| !word.is_empty())
            .map(feature)
            .collect()
    }
}

impl VmShape {
    /// The virtual machine of a line.
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, ParseError> {
        let granule = match fields.number("granule")? {
            4 => Granule::Kib4,
            16 => Granule::Kib16,
            64 => Granule::Kib64,
            _ => return Err(fields.wrong("granule")),
        };
        let start = match fields.word("start") {
            Ok(word) => Some(i8::from_str(word).map_err(|_| fields.wrong("start"))?),
            Err(_) => None,
        };
        Ok(Self {
            granule,
            ipa_bits: fields.small("ipa")?.into(),
            output_bits: fields.small("output")?.into(),
            start,
            contexts: fields.small("contexts")?,
            vcpus: fields.small("vcpus")?,
            quota: fields.number("quota")?,
        })
    }
}
