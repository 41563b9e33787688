//! Makes up programs. They come back to few addresses, near the edges where tables change shape: of blocks, of
//! Contiguous runs, of the address space.

use droste_arm64::desc::{Device, S2ap, Xn};
use droste_arm64::{Granule, Ipa, Level, Pa, PaRange};
use droste_mmu_model::AccessKind;
use droste_stage2::{Attributes, DirtyLog, Geometry, Mapping, Memory, Runs, Slot};

use crate::choices::Choices;
use crate::stage2::operation::{Area, GuestTlbi, Operation, Step};
use crate::stage2::program::Program;
use crate::stage2::world::{Feature, VmShape, World};

/// A program of at most `length` steps. Bytes end it when they end.
pub fn generate(choices: &mut Choices<'_>, length: usize) -> Program {
    let world = world(choices);
    let ids = world.ids();
    let terrains: Vec<Terrain> = world
        .vms
        .iter()
        .filter_map(|vm| vm.geometry(&ids).ok())
        .map(|geometry| Terrain::new(choices, geometry))
        .collect();
    let mut steps = Vec::with_capacity(length);
    while steps.len() < length && !choices.is_exhausted() {
        let vm = choices.below(terrains.len() as u64) as u8;
        let Some(terrain) = terrains.get(usize::from(vm)) else {
            break;
        };
        let cpu = choices.below(world.cpus.into()) as u8;
        let operation = terrain.operation(choices, world.vms[usize::from(vm)].quota);
        steps.push(Step { cpu, vm, operation });
    }
    Program { world, steps }
}

/// Tries for a world that can be, before the plainest is taken.
const TRIES: usize = 40;

fn world(choices: &mut Choices<'_>) -> World {
    for _ in 0..TRIES {
        let world = any_world(choices);
        if world.check().is_ok() {
            return world;
        }
    }
    World {
        cpus: 2,
        bbm: 0,
        pa: PaRange::Bits48,
        features: Vec::new(),
        seed: 0,
        vms: vec![VmShape {
            granule: Granule::Kib4,
            ipa_bits: 39,
            output_bits: 48,
            start: None,
            contexts: 1,
            vcpus: 2,
            quota: 16,
        }],
    }
}

fn any_world(choices: &mut Choices<'_>) -> World {
    let features = Feature::ALL
        .iter()
        .map(|&(feature, _)| feature)
        .filter(|feature| match feature {
            Feature::Lpa2 | Feature::Stage1 | Feature::Caches => choices.once_in(4),
            Feature::Vmid16 => choices.once_in(3),
            _ => choices.once_in(2),
        })
        .collect();
    let pa = choices.pick(&[
        PaRange::Bits48,
        PaRange::Bits40,
        PaRange::Bits44,
        PaRange::Bits52,
        PaRange::Bits36,
        PaRange::Bits42,
    ]);
    let count = 1 + u64::from(choices.once_in(4));
    World {
        cpus: choices.pick(&[2, 1, 2, 3, 4]),
        bbm: choices.below(3) as u8,
        pa,
        features,
        seed: choices.word(),
        vms: (0..count).map(|_| any_vm(choices, pa)).collect(),
    }
}

fn any_vm(choices: &mut Choices<'_>, pa: PaRange) -> VmShape {
    let granule = choices.pick(&[
        Granule::Kib4,
        Granule::Kib4,
        Granule::Kib4,
        Granule::Kib4,
        Granule::Kib16,
        Granule::Kib64,
    ]);
    let widths = [39, 32, 33, 36, 40, 42, 43, 47, 48, 49, 51, 52];
    let quotas: &[u64] = if granule == Granule::Kib64 {
        &[24, 2, 8]
    } else {
        &[40, 1, 2, 3, 6, 12, 100]
    };
    VmShape {
        granule,
        ipa_bits: choices.pick(&widths).min(pa.bits()),
        output_bits: if choices.once_in(4) { 52 } else { 48 },
        start: if choices.once_in(3) {
            Some(choices.below(5) as i8 - 1)
        } else {
            None
        },
        contexts: choices.pick(&[1, 2, 1, 3]),
        vcpus: choices.pick(&[2, 1, 3, 4]),
        quota: choices.pick(quotas),
    }
}

/// Where a virtual machine's operations take place.
struct Terrain {
    geometry: Geometry,
    /// Where ranges begin, more or less.
    homes: [u64; 3],
    /// Output less address.
    deltas: [u64; 3],
    page: u64,
    run: u64,
    block: u64,
    large: u64,
}

impl Terrain {
    fn new(choices: &mut Choices<'_>, geometry: Geometry) -> Self {
        let space = geometry.ipa_bits().bytes();
        let page = geometry.page_bytes();
        let block = geometry.entry_bytes(Level::L2).min(space / 2);
        let large = geometry
            .granule()
            .entry_bytes(Level::L1)
            .map_or(block, |bytes| bytes.min(space / 2));
        let run = page * geometry.format().contiguous_entries(Level::L3);
        let mut home = || {
            choices.pick(&[
                0,
                block,
                large.wrapping_sub(block),
                large,
                space.wrapping_sub(block),
                space.wrapping_sub(large),
                space / 2,
            ])
        };
        let homes = [home(), home(), home()];
        let near = geometry.output_limit() / 2;
        let deltas = [near, near + choices.pick(&[page, run, block]), 0];
        Self {
            geometry,
            homes,
            deltas,
            page,
            run,
            block,
            large,
        }
    }

    fn clamp(&self, ipa: u64) -> Ipa {
        let space = self.geometry.ipa_bits().bytes();
        Ipa((ipa % space) & !(self.page - 1))
    }

    fn ipa(&self, choices: &mut Choices<'_>) -> Ipa {
        let Self {
            page, run, block, ..
        } = *self;
        let offset = match choices.below(10) {
            0..=2 => 0,
            3 => page,
            4 => run,
            5 => block - page,
            6 => block,
            7 => choices.below(32) * page,
            8 => choices.below(block / page) * page,
            _ => choices.below(4) * block,
        };
        let back = choices.pick(&[0, 0, 0, page]);
        self.clamp(
            choices
                .pick(&self.homes)
                .wrapping_add(offset)
                .wrapping_sub(back),
        )
    }

    fn bytes(&self, choices: &mut Choices<'_>) -> u64 {
        let Self {
            page,
            run,
            block,
            large,
            ..
        } = *self;
        // Tables of the larger granules have thousands of entries, and their blocks take as long.
        let kinds = if block / page > 512 && !choices.once_in(12) {
            11
        } else {
            20
        };
        match choices.below(kinds) {
            0..=5 => page,
            6 => 2 * page,
            7 => 3 * page,
            8 => 16 * page,
            9 => run,
            10 => run + page,
            11 => block / 2,
            12 => block - page,
            13..=15 => block,
            16 => block + page,
            17 => 2 * block,
            18 => choices.pick(&[4 * block, large, 16 * block]),
            _ => choices.below(64) * page,
        }
    }

    fn area(&self, choices: &mut Choices<'_>) -> Area {
        let ipa = self.ipa(choices);
        let bytes = self.bytes(choices);
        if choices.once_in(60) {
            // Sometimes it is wrong.
            let bytes = choices.pick(&[0, 1, !(self.page - 1), bytes | 0x800]);
            return Area { ipa, bytes };
        }
        // Mostly it stays inside.
        let room = self.geometry.ipa_bits().bytes() - ipa.0;
        Area {
            ipa,
            bytes: bytes.clamp(self.page, room),
        }
    }

    fn pa(&self, choices: &mut Choices<'_>, ipa: Ipa) -> Pa {
        let delta = choices.pick(&[
            self.deltas[0],
            self.deltas[0],
            self.deltas[0],
            self.deltas[1],
            self.deltas[2],
        ]);
        Pa(ipa.0.wrapping_add(delta) % self.geometry.output_limit())
    }

    fn operation(&self, choices: &mut Choices<'_>, quota: u64) -> Operation {
        let ipa = self.ipa(choices);
        match choices.below(64) {
            0..=5 => Operation::AddSlot(self.slot(choices)),
            6 => Operation::RemoveSlot(ipa),
            7 => Operation::Relocate(ipa, self.ipa(choices)),
            8 => Operation::SetAttributes(ipa, attributes(choices)),
            9 | 10 => {
                let log = if choices.once_in(3) {
                    DirtyLog::Off
                } else {
                    DirtyLog::On
                };
                Operation::SetLog(ipa, log)
            }
            11..=14 => Operation::Map(self.mapping(choices, quota)),
            15..=19 => Operation::Unmap(self.area(choices)),
            20 | 21 => Operation::WriteProtect(self.area(choices)),
            22 | 23 => Operation::Dirty(self.area(choices)),
            24 | 25 => Operation::Age(self.area(choices)),
            26 => {
                if choices.once_in(8) {
                    Operation::Flush(self.area(choices))
                } else {
                    Operation::Leave
                }
            }
            27 | 28 => Operation::Split(self.area(choices), level(choices)),
            29 | 30 => Operation::Collapse(self.area(choices), level(choices)),
            31 | 32 => Operation::Resolve(self.inside(choices, ipa), kind(choices)),
            33 | 34 => Operation::Install,
            35..=38 => Operation::Enter {
                context: choices.below(4) as u8,
                vcpu: choices.below(4) as u8,
            },
            39 => Operation::Stage1(ipa, self.ipa(choices), guest_tlbi(choices)),
            40 => rarely(choices),
            _ => Operation::Access(self.inside(choices, ipa), kind(choices)),
        }
    }

    fn inside(&self, choices: &mut Choices<'_>, ipa: Ipa) -> Ipa {
        Ipa(ipa.0 + choices.below(self.page / 8) * 8)
    }

    fn slot(&self, choices: &mut Choices<'_>) -> Slot {
        let ipa = self.ipa(choices);
        let bytes = choices.pick(&[
            self.block,
            self.page * 20,
            2 * self.block,
            self.run,
            self.large,
        ]);
        let room = self.geometry.ipa_bits().bytes() - ipa.0;
        Slot {
            log: if choices.once_in(6) {
                DirtyLog::On
            } else {
                DirtyLog::Off
            },
            ..Slot::new(
                ipa,
                self.pa(choices, ipa),
                bytes.min(room),
                attributes(choices),
            )
        }
    }

    fn mapping(&self, choices: &mut Choices<'_>, quota: u64) -> Mapping {
        let Area { ipa, bytes } = self.area(choices);
        let largest = choices.pick(&[Level::Minus1, Level::L2, Level::L3]);
        let pa = self.pa(choices, ipa);
        // What would only fill the quota with pages is of no interest.
        let limit = if choices.once_in(12) {
            self.block * quota.min(2)
        } else {
            80 * self.page
        };
        let is_by_pages = largest == Level::L3 || (pa.0 ^ ipa.0) & (self.block - 1) != 0;
        Mapping {
            largest,
            runs: choices.pick(&[Runs::Single, Runs::Contiguous]),
            ..Mapping::new(
                ipa,
                pa,
                if is_by_pages && bytes < u64::MAX / 2 {
                    bytes.min(limit)
                } else {
                    bytes
                },
                attributes(choices),
            )
        }
    }
}

fn rarely(choices: &mut Choices<'_>) -> Operation {
    match choices.below(8) {
        0 => Operation::Free,
        1..=3 => Operation::NewContext,
        4 | 5 => Operation::Retire(choices.below(4) as u8),
        _ => Operation::Pressure(choices.pick(&[3, 60, 200, 260])),
    }
}

fn attributes(choices: &mut Choices<'_>) -> Attributes {
    let plain = choices.pick(&[
        Attributes::RAM,
        Attributes::RAM,
        Attributes::RAM,
        Attributes::RAM,
        Attributes::ROM,
        Attributes::DATA,
        Attributes::READ_ONLY,
        Attributes::DEVICE,
    ]);
    if !choices.once_in(6) {
        return plain;
    }
    Attributes {
        memory: choices.pick(&[
            Memory::WriteBack,
            Memory::NonCacheable,
            Memory::Device(Device::NGnRnE),
            Memory::Device(Device::GRE),
        ]),
        access: choices.pick(&[S2ap::ReadWrite, S2ap::ReadOnly, S2ap::WriteOnly, S2ap::None]),
        execute: choices.pick(&[Xn::Everywhere, Xn::Nowhere, Xn::OnlyEl0, Xn::OnlyEl1]),
        software: choices.pick(&[0, 5, 15]),
    }
}

fn level(choices: &mut Choices<'_>) -> Level {
    choices.pick(&[Level::L3, Level::L2, Level::L1, Level::Minus1])
}

fn kind(choices: &mut Choices<'_>) -> AccessKind {
    choices.pick(&[
        AccessKind::Read,
        AccessKind::Write,
        AccessKind::Write,
        AccessKind::ExecuteEl1,
        AccessKind::ExecuteEl0,
    ])
}

fn guest_tlbi(choices: &mut Choices<'_>) -> GuestTlbi {
    choices.pick(&[
        GuestTlbi::LocalAddress,
        GuestTlbi::Address,
        GuestTlbi::Asid,
        GuestTlbi::All,
    ])
}
