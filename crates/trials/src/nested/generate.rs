//! Makes up nested programs. They come back to few addresses, and L1 mostly does what it should: break, invalidate,
//! make. A step that is missing makes it forget.

use droste_arm64::{Ipa, Pa, Va};
use droste_mmu_model::AccessKind;
use droste_stage2::{Attributes, Slot};

use crate::choices::Choices;
use crate::nested::layout::LEAF_TABLES;
use crate::nested::operation::{Operation, Order, Step, Write};
use crate::nested::program::Program;
use crate::nested::world::World;
use crate::stage2::operation::{Area, Operation as OfMemory};
use crate::stage2::world::Feature;

mod host;
mod invalidations;
mod worlds;

use worlds::world;

/// L1's memory: a large slot, one that fits no block, one that is read-only, and a device that L1 was given.
const RAM: u64 = 0x8000_0000;
const ODD: u64 = 0xe000_0000;
const ROM: u64 = 0xf000_0000;
const DEVICE: u64 = 0xf800_0000;
/// Nothing is there.
const HOLE: u64 = 0x1_4000_0000;
/// No table is there, and no memory for one.
const NO_TABLE: u64 = 0x6000_0000;

const SLOTS: [Slot; 4] = [
    Slot::new(Ipa(RAM), Pa(0x9_0000_0000), 0x4000_0000, Attributes::RAM),
    Slot::new(Ipa(ODD), Pa(0xa_0000_3000), 0x40_0000, Attributes::RAM),
    Slot::new(Ipa(ROM), Pa(0xb_0000_0000), 0x40_0000, Attributes::ROM),
    Slot::new(
        Ipa(DEVICE),
        Pa(0xc_0000_0000),
        0x20_0000,
        Attributes::DEVICE,
    ),
];

/// A program of at most about `length` steps. Bytes end it when they end.
pub fn generate(choices: &mut Choices<'_>, length: usize) -> Program {
    let world = world(choices);
    let mut author = Author {
        is_scarce: !world.machine.has(Feature::Vmid16) && choices.once_in(2),
        choices,
        world: &world,
        spaces: [0; 4],
        order: Order::Little,
        steps: Vec::with_capacity(length + 16),
    };
    author.begin();
    while author.steps.len() < length && !author.choices.is_exhausted() {
        author.go_on();
    }
    let steps = author.steps;
    Program { world, steps }
}

/// Where in L1's tables something stands, and what of L2's addresses it translates.
#[derive(Clone, Copy)]
struct At {
    table: u8,
    level: u8,
    index: u16,
    count: u16,
    ipa: u64,
    bytes: u64,
}

/// Writes the steps.
struct Author<'c, 'a, 'w> {
    choices: &'c mut Choices<'a>,
    world: &'w World,
    /// Who runs on each CPU, as far as the steps say.
    spaces: [u8; 4],
    /// How L1's tables are read, as far as the steps say.
    order: Order,
    /// Whether VMIDs run out, again and again.
    is_scarce: bool,
    steps: Vec<Step>,
}

impl Author<'_, '_, '_> {
    fn push(&mut self, cpu: u8, operation: Operation) {
        self.steps.push(Step { cpu, operation });
    }

    fn cpu(&mut self) -> u8 {
        self.choices.below(self.world.machine.cpus.into()) as u8
    }

    /// Slots and tables.
    fn begin(&mut self) {
        for slot in SLOTS {
            self.push(0, Operation::Memory(OfMemory::AddSlot(slot)));
        }
        if self.choices.once_in(4) {
            self.set_order(0, Order::Big);
        }
        self.link();
    }

    /// The tables above the places that are used.
    fn link(&mut self) {
        let (rooms, ..) = self.world.rooms();
        for (number, shape) in self.world.tables.iter().enumerate() {
            for level in shape.start..2 {
                let value = rooms[number].table(level + 1, 0) | 3;
                self.write(number as u8, level, 0, value);
            }
            if shape.start < 3 {
                for block in 0..2 {
                    self.write(
                        number as u8,
                        2,
                        block,
                        rooms[number].table(3, block.into()) | 3,
                    );
                }
            }
        }
    }

    fn write(&mut self, table: u8, level: u32, index: u16, value: u64) {
        let write = Write {
            table,
            level: level as u8,
            index,
            count: 1,
            value,
        };
        self.push(0, Operation::Write(write));
    }

    fn go_on(&mut self) {
        match self.choices.below(20) {
            0..=6 => self.access(),
            7..=9 => self.change_well(),
            10 => self.change_badly(),
            11 => self.invalidate_anything(),
            12..=13 => self.enter(),
            14..=16 if self.world.machine.has(Feature::Stage1) && self.choices.once_in(3) => {
                self.change_stage1();
            }
            14..=16 => self.disturb(),
            17..=18 => self.interleave(),
            _ if self.choices.once_in(3) => self.swap_order(),
            _ => self.relink(),
        }
    }

    fn spot(&mut self, cpu: u8) -> Va {
        let space = self.spaces[usize::from(cpu) % 4];
        let spots = self.world.spots(space.into());
        Va(self.choices.pick(&spots) | self.choices.below(0x200) << 3)
    }

    fn kind(&mut self) -> AccessKind {
        self.choices.pick(&[
            AccessKind::Read,
            AccessKind::Write,
            AccessKind::Write,
            AccessKind::ExecuteEl1,
            AccessKind::ExecuteEl0,
        ])
    }

    fn access(&mut self) {
        if self.is_scarce && self.choices.once_in(4) {
            self.enter();
        }
        let cpu = self.cpu();
        let (va, kind) = (self.spot(cpu), self.kind());
        self.push(cpu, Operation::Access(va, kind));
    }

    fn enter(&mut self) {
        let cpu = self.cpu();
        if self.choices.once_in(8) {
            return self.push(cpu, Operation::Leave);
        }
        let space = self.choices.below(self.world.spaces.len() as u64) as u8;
        self.spaces[usize::from(cpu) % 4] = space;
        if self.is_scarce && self.choices.once_in(2) {
            self.use_up();
        }
        let vcpu = if self.choices.once_in(4) {
            self.cpu()
        } else {
            cpu
        };
        self.push(cpu, Operation::Enter { space, vcpu });
    }

    /// A place for leaves: a page, a run of pages, a block, a run of blocks.
    /// Mostly in the table of who is on the CPU.
    fn place(&mut self, cpu: u8) -> At {
        let tables = self.world.tables.len() as u8;
        let space = self.spaces[usize::from(cpu) % 4];
        let own = self.world.spaces[usize::from(space)].table;
        let table = match own {
            Some(table) if !self.choices.once_in(4) => table % tables,
            _ => self.choices.below(tables.into()) as u8,
        };
        let shape = self.world.tables[usize::from(table)];
        let level = match (shape.start, self.choices.below(6)) {
            (3, _) | (_, 0..=3) => 3,
            (0 | 1, 5) if shape.page_shift == 12 => 1,
            _ => 2,
        };
        let run = shape.run(level);
        let index = match level {
            3 => {
                let page = self
                    .choices
                    .pick(&[0, 1, 2, run - 1, run, shape.entries() - 1]);
                let tables = if shape.start == 3 { 1 } else { LEAF_TABLES - 1 };
                self.choices.below(tables) * shape.entries() + page
            }
            2 => 1 + self.choices.below(3),
            _ => 1,
        };
        let is_run = level == 3 && self.choices.once_in(4);
        let (index, count) = if is_run {
            (index & !(run - 1), run)
        } else {
            (index, 1)
        };
        let bytes = shape.bytes(level);
        let number = if level == 3 {
            index / shape.entries()
        } else {
            0
        };
        let inside = if level == 3 {
            index % shape.entries()
        } else {
            index
        };
        At {
            table,
            level: level as u8,
            index: index as u16,
            count: count as u16,
            ipa: shape.base() + number * shape.bytes(2) + inside * bytes,
            bytes,
        }
    }

    /// A descriptor of a leaf, or of nothing that is one.
    fn leaf(&mut self, at: At) -> u64 {
        let size = at.bytes * u64::from(at.count);
        let slot = self
            .choices
            .pick(&[RAM, RAM, RAM, RAM, ODD, ROM, DEVICE, HOLE]);
        let offset = if slot == RAM { 0x4000_0000 } else { 0x40_0000 };
        let few = self
            .choices
            .pick(&[0, 1, 2, 3, 5, 0x10, 0x1ff, 0x200, 0x3f0, 0x1fff]);
        let wrong = if self.choices.once_in(40) { 1 << 42 } else { 0 };
        let output = (slot + few * 0x1000 % offset) & !(size - 1) | wrong;
        let s2ap = self.choices.pick(&[3, 3, 3, 1, 2, 0]) << 6;
        let xn = self.choices.pick(&[0, 0, 1, 2, 3]) << 53;
        let accessed = u64::from(!self.choices.once_in(6)) << 10;
        let dbm = u64::from(self.choices.once_in(3)) << 51;
        // Alone it is an error of L1's.
        let contiguous = u64::from(at.count > 1) << 52;
        let kind = if at.level == 3 { 3 } else { 1 };
        output | contiguous | dbm | xn | accessed | 3 << 8 | s2ap | 0b1111 << 2 | kind
    }

    fn write_at(&mut self, cpu: u8, at: At, value: u64) {
        let write = Write {
            table: at.table,
            level: at.level,
            index: at.index,
            count: at.count,
            value,
        };
        self.push(cpu, Operation::Write(write));
    }

    /// Break, invalidate, make. In between somebody may look.
    fn change_well(&mut self) {
        let cpu = self.cpu();
        let at = self.place(cpu);
        self.write_at(cpu, at, 0);
        self.invalidate(cpu, at);
        if self.choices.once_in(3) {
            self.access();
        }
        let leaf = self.leaf(at);
        self.write_at(cpu, at, leaf);
        self.access_to(cpu, at);
    }

    fn access_to(&mut self, cpu: u8, at: At) {
        let cpu = if self.choices.once_in(2) {
            self.cpu()
        } else {
            cpu
        };
        let inside = self.choices.below(at.bytes * u64::from(at.count) / 8) * 8;
        let ipa = self.choices.pick(&[at.ipa, at.ipa, at.ipa + inside]);
        let kind = self.kind();
        self.push(cpu, Operation::Access(Va(ipa), kind));
    }

    /// A change of which no TLB is told.
    fn change_badly(&mut self) {
        let cpu = self.cpu();
        let at = self.place(cpu);
        let value = match self.choices.below(4) {
            0 => 0,
            1 => self.choices.word() << 2,
            _ => self.leaf(at),
        };
        self.write_at(cpu, at, value);
        self.access_to(cpu, at);
    }

    /// The entries of level 2 lead to another table, or to none.
    fn relink(&mut self) {
        let cpu = self.cpu();
        let at = self.place(cpu);
        let shape = self.world.tables[usize::from(at.table)];
        if shape.start == 3 {
            return self.access();
        }
        let (rooms, ..) = self.world.rooms();
        let table = rooms[usize::from(at.table)].table(3, self.choices.below(LEAF_TABLES));
        let table = if self.choices.once_in(12) {
            NO_TABLE
        } else {
            table
        };
        let block = self.choices.below(4);
        let at = At {
            level: 2,
            index: block as u16,
            count: 1,
            ipa: shape.base() + block * shape.bytes(2),
            bytes: shape.bytes(2),
            ..at
        };
        self.write_at(cpu, at, 0);
        if !self.choices.once_in(8) {
            self.invalidate(cpu, at);
        }
        self.write_at(cpu, at, table | 3);
        self.access_to(cpu, at);
    }

    fn set_order(&mut self, cpu: u8, order: Order) {
        self.order = order;
        self.push(cpu, Operation::Order(order));
    }

    /// All of L1's tables become others: their order is swapped, and mostly L1 invalidates. Then they are written anew,
    /// or swapped back, so that what was there before is there again.
    fn swap_order(&mut self) {
        let cpu = self.cpu();
        self.set_order(cpu, self.order.other());
        if !self.choices.once_in(3) {
            self.invalidate_all(cpu);
        }
        self.access();
        if self.choices.once_in(2) {
            self.set_order(cpu, self.order.other());
        } else {
            self.link();
        }
    }

    /// A fault is decided, something happens to what was found, and then it is done.
    fn interleave(&mut self) {
        let (cpu, by) = (self.cpu(), self.cpu());
        let at = self.place(cpu);
        let kind = self.kind();
        let leaf = self.leaf(at);
        self.write_at(cpu, at, 0);
        self.invalidate(cpu, at);
        self.write_at(cpu, at, leaf);
        if self.choices.once_in(2) {
            self.push(cpu, Operation::Access(Va(at.ipa), AccessKind::Read));
        }
        self.push(cpu, Operation::Resolve(Va(at.ipa), kind));
        match self.choices.below(4) {
            0 => self.disturb(),
            1 => {
                self.write_at(by, at, 0);
                self.invalidate(by, at);
            }
            2 => {
                let from = Ipa(leaf & 0xff_ffff_f000);
                self.push(
                    by,
                    Operation::Memory(OfMemory::Unmap(Area {
                        ipa: from,
                        bytes: 0x1000,
                    })),
                );
            }
            _ => {}
        }
        self.push(cpu, Operation::Install);
        self.push(cpu, Operation::Access(Va(at.ipa), kind));
    }
}
