//! The machine, the virtual machine whose guest is a hypervisor, and the guests of that.

use std::fmt;

use droste_arm64::{Granule, IdRegisters, IpaBits, Pa, Vtcr, Vttbr, hcr};
use droste_mmu_model::{Config, Features, Stage1};
use droste_nested::{Advertised, StageTwoRegisters};
use droste_stage2::Geometry;

use crate::nested::layout::{Room, SHAPES, TableShape, rooms};
use crate::nested::operation::Order;
use crate::stage2::world::{Feature, MAX_CPUS, World as Machine};
use crate::text::{Fields, ParseError, name_of};

/// Bits of an address that L1 takes for physical.
pub(crate) const PHYSICAL_BITS: u32 = 40;
/// A fill takes as many pages at most: fewer are not enough for anything.
const MIN_PAGES: u64 = 4;
/// Pages for the canonical table, which is no shadow's.
pub(crate) const CANONICAL_PAGES: u64 = 64;
/// The root of any table of ours, in bytes.
pub(crate) const ROOT_BYTES: u64 = 0x2000;
/// Where memory of tables begins.
const TABLES: Pa = Pa(0x4000_0000);

/// What L1 lets hardware write into its table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Updates {
    /// Nothing.
    Nothing,
    /// Access flags: VTCR_EL2.HA.
    AccessFlag,
    /// Access flags and dirty state: VTCR_EL2.HD as well.
    Dirty,
}

const UPDATES: [(Updates, &str); 3] = [
    (Updates::Nothing, "nothing"),
    (Updates::AccessFlag, "af"),
    (Updates::Dirty, "dirty"),
];

/// Registers by which L1 runs a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// L1's VMID; of more than 8 bits where L1 has those.
    pub vmid: u16,
    /// The number of its table; with `None` its stage 2 is off.
    pub table: Option<u8>,
    /// What hardware may write into it.
    pub updates: Updates,
}

/// A machine, the memory that its hypervisor has for one virtual machine, and the guests that run in that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct World {
    /// The machine, as for programs of `droste-stage2`, without their virtual machines.
    pub machine: Machine,
    /// Features that L1 is shown.
    pub shown: Vec<Feature>,
    /// Pages for the tables of all shadows.
    pub pages: u64,
    /// Contexts that there may be at once.
    pub places: u8,
    /// Records of the reverse map.
    pub records: u16,
    /// Shapes of L1's tables, one or two.
    pub tables: Vec<TableShape>,
    /// L1's guests, one to four.
    pub spaces: Vec<Space>,
}

impl World {
    /// Whether L1 is shown a feature. Those that need hardware, only where that is there.
    pub fn shows(&self, feature: Feature) -> bool {
        let needs_hardware = matches!(feature, Feature::Xnx | Feature::Fwb);
        self.shown.contains(&feature) && (!needs_hardware || self.machine.has(feature))
    }

    /// What L1 reads of its CPU.
    ///
    /// # Panics
    /// Never: 40 bits are a width.
    pub fn advertised(&self) -> Advertised {
        let virtual_machine = Machine {
            features: self.shown_features(),
            bbm: 0,
            ..self.machine.clone()
        };
        let ids = virtual_machine.ids();
        Advertised {
            ids: IdRegisters { clidr: 0, ..ids },
            // FEAT_XS.
            isar1: 1 << 56,
            ipa_bits: IpaBits::new(PHYSICAL_BITS).expect("a width"),
        }
    }

    fn shown_features(&self) -> Vec<Feature> {
        let all = Feature::ALL.iter().map(|&(feature, _)| feature);
        all.filter(|&feature| self.shows(feature)).collect()
    }

    /// The shape of the canonical table and of every shadow.
    ///
    /// # Panics
    /// Never: all machines have 4 KiB pages and 40 bits.
    pub(crate) fn geometry(&self) -> Geometry {
        let bits = IpaBits::new(PHYSICAL_BITS).expect("a width");
        Geometry::new(Granule::Kib4, bits, &self.machine.ids()).expect("every machine has it")
    }

    /// The model that plays the machine: its guests' CPUs, and one that only looks.
    pub(crate) fn config(&self) -> Config {
        let pages = self.pages + CANONICAL_PAGES + (ROOT_BYTES >> 12) * self.roots();
        Config {
            cpus: self.looker() + 1,
            base: TABLES,
            pages,
            stage1: self.stage1(),
            ..self.machine.config()
        }
    }

    /// The number of the CPU that looks, and runs no guest of this virtual machine.
    pub(crate) fn looker(&self) -> usize {
        usize::from(self.machine.cpus)
    }

    /// The canonical table's, those of all places, and that of another virtual machine.
    const fn roots(&self) -> u64 {
        self.places as u64 + 2
    }

    /// Where the root of another virtual machine's table is.
    pub(crate) fn neighbours_root(&self) -> Pa {
        TABLES + ROOT_BYTES * (self.roots() - 1)
    }

    /// Where the canonical table's root is, and after it those of all places.
    pub(crate) fn root(place: Option<usize>) -> Pa {
        TABLES + ROOT_BYTES * place.map_or(0, |place| place as u64 + 1)
    }

    /// Where pages for the canonical table are, and where those for shadows.
    pub(crate) fn supplies(&self) -> (Pa, Pa) {
        let canonical = TABLES + ROOT_BYTES * self.roots();
        (canonical, canonical + (CANONICAL_PAGES << 12))
    }

    /// The model that plays the hardware that L1 believes to run on. All of L1's CPUs are one there: a shadow serves
    /// them all, and so L2 may find what another of them left.
    pub(crate) fn virtual_config(&self) -> Config {
        let virtual_machine = Machine {
            features: self.shown_features(),
            bbm: 0,
            ..self.machine.clone()
        };
        let plain = virtual_machine.config();
        let (_, base, pages) = self.rooms();
        Config {
            cpus: 1,
            features: plain.features | Features::XS | also(self, Feature::TlbiRange),
            stage1: self.stage1(),
            ..Config::new(base, pages)
        }
    }

    /// Stage 1 of L2, as both models have it.
    fn stage1(&self) -> Stage1 {
        if self.machine.has(Feature::Stage1) {
            Stage1::Held
        } else {
            Stage1::Unknown
        }
    }

    /// The ASID that a guest of L1's has.
    pub(crate) const fn asid(space: usize) -> u16 {
        space as u16 / 2 + 1
    }

    /// Where L1's tables are, where its memory for them begins, and how many pages of 4 KiB that has.
    pub(crate) fn rooms(&self) -> (Vec<Room>, Pa, u64) {
        rooms(&self.tables)
    }

    /// What L1 has in its registers for a guest.
    pub(crate) fn registers(&self, space: Space, order: Order) -> StageTwoRegisters {
        let table = space
            .table
            .map(|table| usize::from(table) % self.tables.len());
        let vs = u64::from(self.shows(Feature::Vmid16)) << 19;
        let shape = self.tables[table.unwrap_or(0)];
        let (has_af, has_dirty) = (
            self.shows(Feature::AccessFlag),
            self.shows(Feature::DirtyState),
        );
        let updates = match space.updates {
            Updates::Dirty if has_dirty => 3 << 21,
            Updates::Dirty | Updates::AccessFlag if has_af || has_dirty => 1 << 21,
            _ => 0,
        };
        let fwb = if self.shows(Feature::Fwb) {
            hcr::FWB
        } else {
            0
        };
        let (rooms, ..) = self.rooms();
        let root = rooms[table.unwrap_or(0)].root.0;
        StageTwoRegisters {
            hcr: fwb | if table.is_some() { hcr::VM } else { 0 },
            sctlr: order.sctlr(),
            vtcr: Vtcr(shape.vtcr() | vs | updates),
            vttbr: Vttbr(u64::from(space.vmid) << 48 | root),
        }
    }

    /// Addresses of a guest that programs come back to: in its table's first blocks, at the edges of runs, in a block of
    /// level 1, and where nothing is ever mapped. With stage 2 off they are L1's.
    pub(crate) fn spots(&self, space: usize) -> Vec<u64> {
        let Some(table) = self.spaces[space % self.spaces.len()].table else {
            let pages = [
                0, 1, 2, 3, 0x1ff, 0x200, 0x3f0, 0x6_0000, 0x7_0000, 0xc_0000,
            ];
            return pages
                .iter()
                .map(|page| 0x8000_0000 + page * 0x1000)
                .collect();
        };
        let shape = self.tables[usize::from(table) % self.tables.len()];
        let run = shape.run(3);
        let pages = [0, 1, 2, run - 1, run, shape.entries() - 1];
        let blocks = if shape.start == 3 { 1 } else { 4 };
        let inside = (0..blocks).flat_map(|block| {
            let at = shape.base() + block * shape.bytes(2);
            pages.map(|page| at + page * shape.page())
        });
        let large = (shape.start < 2).then(|| shape.base() + shape.bytes(1) + 0x5000);
        let outside = (shape.bits < PHYSICAL_BITS).then(|| 1 << shape.bits);
        inside.chain(large).chain(outside).chain([0x1000]).collect()
    }

    /// Says what is wrong with the world, if something is.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self) -> Result<(), String> {
        // One CPU of the model is for looking.
        if !(1..MAX_CPUS).contains(&usize::from(self.machine.cpus)) || self.machine.bbm > 2 {
            return Err(format!(
                "a nested world has 1 to {} CPUs and FEAT_BBM level 0 to 2",
                MAX_CPUS - 1
            ));
        }
        if self.machine.pa.bits() < 48 || self.machine.has(Feature::Lpa2) {
            return Err("a nested world has 48 physical bits, and no lpa2".to_owned());
        }
        if !(1..=2).contains(&self.tables.len()) || !(1..=4).contains(&self.spaces.len()) {
            return Err("a nested world has 1 or 2 tables and 1 to 4 spaces".to_owned());
        }
        if self.tables.iter().any(|table| !SHAPES.contains(table)) {
            return Err("a table of L1 has no such shape".to_owned());
        }
        let is_served = (self.machine.cpus..=8).contains(&self.places);
        if !is_served || !(MIN_PAGES..=512).contains(&self.pages) || self.records == 0 {
            return Err(
                "a nested world has a place for each CPU, 4 to 512 pages, and records".to_owned(),
            );
        }
        Ok(())
    }
}

/// FEAT_TLBIOS comes with FEAT_TLBIRANGE.
fn also(world: &World, feature: Feature) -> Features {
    if world.shows(feature) {
        Features::TLBI_OS
    } else {
        Features::NONE
    }
}

fn names(features: &[Feature]) -> String {
    let known = Feature::ALL.iter();
    let names: Vec<_> = known
        .filter(|(feature, _)| features.contains(feature))
        .map(|&(_, name)| name)
        .collect();
    names.join(",")
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.machine)?;
        writeln!(
            f,
            "l1 pages={} places={} records={} shows={}",
            self.pages,
            self.places,
            self.records,
            names(&self.shown)
        )?;
        self.tables
            .iter()
            .try_for_each(|table| writeln!(f, "{table}"))?;
        self.spaces
            .iter()
            .try_for_each(|space| writeln!(f, "{space}"))
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "space vmid={} updates={}",
            self.vmid,
            name_of(&self.updates, &UPDATES)
        )?;
        match self.table {
            Some(table) => write!(f, " table={table}"),
            None => write!(f, " table=off"),
        }
    }
}

impl World {
    /// The world of its first line, without all that the others say.
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            machine: Machine::parse(fields)?,
            shown: Vec::new(),
            pages: 0,
            places: 0,
            records: 0,
            tables: Vec::new(),
            spaces: Vec::new(),
        })
    }

    /// Takes in what the line of L1 says.
    pub(crate) fn parse_l1(&mut self, fields: &Fields<'_>) -> Result<(), ParseError> {
        self.pages = fields.number("pages")?;
        self.places = fields.small("places")?;
        self.records =
            u16::try_from(fields.number("records")?).map_err(|_| fields.wrong("records"))?;
        self.shown = Machine::features(fields, "shows")?;
        Ok(())
    }
}

impl Space {
    /// The guest of a line.
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            vmid: u16::try_from(fields.number("vmid")?).map_err(|_| fields.wrong("vmid"))?,
            table: match fields.word("table")? {
                "off" => None,
                _ => Some(fields.small("table")?),
            },
            updates: fields.named("updates", &UPDATES)?,
        })
    }
}
