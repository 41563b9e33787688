//! Makes programs: what a theme has to hand.

use super::instructions::{
    AT_OF_EL2, AT_OF_EL2_TO_WRITE, DSB, Instruction, MAINTENANCE_OF_EL2, MOV_X1, STORE,
};
use super::program::{
    BASE, DATA, Entry, Level, Operand, Phase, Program, Step, TABLE_BYTES, TABLES,
};
use super::registers::{MAIR_EL1, PAR_EL1, Register, SCTLR_EL1, TCR_EL1, TTBR0_EL1, TTBR1_EL1};
use super::registers::{VTCR_EL2, VTTBR_EL2};
pub use super::shape::Shape;
use super::tree::{Granule, Placed, Tree};
use crate::random::Random;

/// HCR_EL2 of levels under EL2: VM, FMO, IMO, AMO, TSC.
pub const UNDER: u64 = 1 | 7 << 3 | TSC;
const TSC: u64 = 1 << 19;
/// TGE.
pub const TGE: u64 = 1 << 27;

/// The first table of EL1's lower half: what programs are made of, where it is, to read and execute.
pub const LOWER_ROOT: u64 = BASE + 0xc000;
/// The same for an EL1 whose tables are big-endian.
pub const LOWER_ROOT_BIG: u64 = BASE + 0xe000;
/// The first table of a stage 2 that maps the same, for programs that make none; and its VTCR_EL2: 39 bits, 4 KiB.
pub const STAGE2_IDENTITY: u64 = BASE + 0xd000;
/// See [`STAGE2_IDENTITY`].
pub const VTCR_IDENTITY: u64 = 1 << 31 | PS_40 << 16 | 0x3500 | 1 << 6 | 0x19;
/// TTBR0_EL1's half of TCR_EL1: 39 bits, 4 KiB, inner shareable write-back.
const TCR_LOWER: u64 = 0x3519;
/// Tables of stage 1 begin here, those of stage 2 there.
const STAGE1_ROOT: u64 = TABLES;
const STAGE2_ROOT: u64 = TABLES + 8 * TABLE_BYTES;
/// Bits of outputs: 40.
const PS_40: u64 = 2;
/// SCTLR_EL1 with everything off: RES1 of Armv8.0.
pub const SCTLR_OFF: u64 = 0x30d0_0800;

/// SCTLR_EL1.EE.
pub const SCTLR_EE: u64 = 1 << 25;
/// SCTLR_EL1 of a guest without EL2: `start.s`.
pub const SCTLR_OF_EL1: u64 = 0x30d0_180d;

/// A program in the making.
pub struct Maker {
    /// Where everything is chosen from.
    pub random: Random,
    /// For which machine.
    pub shape: Shape,
    /// What there is of it.
    pub program: Program,
    /// Whether it will look by AT, which may set access flags or not, and so meet faults of their own or not.
    pub looks: bool,
    filled: u32,
}

/// Stage 2 that a program has made.
#[derive(Clone, Copy, Debug)]
pub struct Stage2 {
    vtcr: u64,
    vttbr: u64,
    /// IPAs of data.
    pub data: [u64; 2],
    /// Where their descriptors are, and what stands there when nothing is odd.
    pub leaves: [Option<(u64, u64)>; 2],
    /// Bytes of a page.
    pub page: u64,
    /// IPA of the second table of stage 1.
    pub table: Option<u64>,
    /// HCR_EL2 for it: FWB or nothing, which says what its memory types mean.
    pub hcr: u64,
    /// Whether everything may be read.
    pub lets_read: bool,
    /// Whether everything may be written.
    pub lets_write: bool,
}

/// Stage 1 of EL1 that a program has made.
#[derive(Clone, Copy, Debug)]
pub struct Stage1 {
    tcr: u64,
    /// Virtual addresses of data.
    pub data: [u64; 2],
    /// Whether its descriptors, and EL1's data, are big-endian.
    is_big: bool,
}

impl Maker {
    /// With nothing made yet.
    pub(super) fn new(random: Random, shape: Shape) -> Self {
        Self {
            random,
            shape,
            program: Program::default(),
            looks: false,
            filled: 0,
        }
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.random.below(n) == 0
    }

    /// Some of these bits; few of them.
    pub fn few_of(&mut self, bits: u64) -> u64 {
        bits & self.random.next() & self.random.next() & self.random.next()
    }

    /// Half of these bits.
    pub fn some_of(&mut self, bits: u64) -> u64 {
        bits & self.random.next()
    }

    /// A value with this many bits that is likely to be at an edge.
    pub fn value(&mut self) -> u64 {
        match self.random.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.random.below(64),
            3 => self.random.next() & 0xffff,
            4 => DATA + self.random.below(0x1_0000),
            _ => self.random.next(),
        }
    }

    /// An empty phase at the end. Where there is EL2, SMC traps whatever else does: EL1's vectors call by it.
    pub fn phase(&mut self, level: Level, hcr: u64) {
        let always = if self.shape == Shape::El1 { 0 } else { TSC };
        self.program.phases.push(Phase {
            level,
            hcr: hcr | always,
            ..Phase::default()
        });
    }

    /// A phase at EL2, as its own host.
    pub fn host_phase(&mut self) {
        let hcr = if self.shape.is_vhe() { TGE } else { 7 << 3 };
        self.phase(Level::El2, hcr);
    }

    /// The phase that is being made.
    ///
    /// # Panics
    /// If there is none.
    pub fn last(&mut self) -> &mut Phase {
        self.program.phases.last_mut().expect("a phase has begun")
    }

    /// Adds a step, unless the phase is full.
    pub fn step(&mut self, step: Step) {
        let phase = self.last();
        if !phase.steps.is_full() {
            phase.steps.push(step);
        }
    }

    /// Adds an instruction.
    pub fn push(&mut self, instruction: Instruction, operand: Operand) {
        let filled = if instruction.fills {
            self.next_filled()
        } else {
            0
        };
        self.step(Step {
            what: instruction.name,
            word: instruction.word | filled,
            operand,
            is_fixed: false,
            fills: filled as u8,
        });
    }

    /// Registers that are filled: x2 to x25 in turn.
    fn next_filled(&mut self) -> u32 {
        self.filled += 1;
        2 + self.filled % 24
    }

    /// How the level of the phase that is being made names a register.
    fn name(&mut self, register: Register) -> crate::encode::Name {
        let is_vhe = self.shape.is_vhe() && self.last().level.is_of_el2();
        register.at_el2(is_vhe)
    }

    /// Writes a register.
    pub fn set(&mut self, register: Register, value: u64) {
        self.set_as(register, Operand::Value(value), false);
    }

    /// Writes a register that the program makes no sense without.
    pub fn set_up(&mut self, register: Register, value: u64) {
        self.set_as(register, Operand::Value(value), true);
    }

    /// Writes a register.
    pub fn set_as(&mut self, register: Register, operand: Operand, is_fixed: bool) {
        let word = self.name(register).write(0);
        self.step(Step {
            what: register.name,
            word,
            operand,
            is_fixed,
            fills: 0,
        });
    }

    /// Reads a register.
    pub fn get(&mut self, register: Register) {
        let filled = self.next_filled();
        self.get_into(register, filled);
    }

    /// Reads a register whose value is not to be seen.
    pub fn touch(&mut self, register: Register) {
        self.get_into(register, 31);
    }

    /// Reads a register into x0, for the step behind.
    pub fn get_for_next(&mut self, register: Register) {
        let word = self.name(register).read(0);
        self.step(Step {
            what: register.name,
            word,
            operand: Operand::Kept,
            is_fixed: true,
            fills: 0,
        });
    }

    fn get_into(&mut self, register: Register, t: u32) {
        let word = self.name(register).read(t);
        self.step(Step {
            what: register.name,
            word,
            operand: Operand::Kept,
            is_fixed: false,
            fills: (t & 0x1f) as u8 % 31,
        });
    }

    /// AT, and PAR_EL1 behind it.
    pub fn translate(&mut self, at: Instruction, address: u64) {
        self.push(at, Operand::Value(address));
        self.get(PAR_EL1);
    }

    /// AT of both stages, of what stage 2 permits: where it does not, QEMU 10.0.2 ends by an assertion, or never comes
    /// back.
    pub fn at_both(&mut self, stage2: &Stage2) -> Option<Instruction> {
        if !stage2.lets_read {
            return None;
        }
        Some(if stage2.lets_write && self.once_in(2) {
            self.random.one_of(&AT_OF_EL2_TO_WRITE)
        } else {
            self.random.one_of(&AT_OF_EL2)
        })
    }

    /// Bits of a leaf of stage 2 beside its address.
    fn leaf2(&mut self, forced: bool) -> u64 {
        const MEMORY: [u64; 12] = [0xf, 0xf, 0xf, 0xf, 5, 0, 1, 2, 7, 0xd, 0xe, 0xb];
        const FORCED: [u64; 8] = [6, 6, 7, 5, 0, 1, 2, 3];
        let memory = if forced {
            self.random.one_of(&FORCED)
        } else {
            self.random.one_of(&MEMORY)
        };
        let access = self.random.one_of(&[3, 3, 3, 3, 1, 2, 0]);
        let share = self.random.one_of(&[3, 3, 2, 0]);
        let accessed = u64::from(!self.once_in(8));
        let never = self.random.one_of(&[0, 0, 0, 0, 1, 2, 3]);
        let dirty = u64::from(self.once_in(4));
        memory << 2 | access << 6 | share << 8 | accessed << 10 | dirty << 51 | never << 53
    }

    /// Bits of a leaf of EL1's stage 1 beside its address.
    fn leaf1(&mut self) -> u64 {
        let attribute = self.random.one_of(&[1, 1, 1, 0, 2, 3, 4]);
        let access = self.random.one_of(&[0, 0, 1, 1, 2, 3]);
        let share = self.random.one_of(&[3, 3, 2, 0]);
        let accessed = u64::from(!self.once_in(8));
        let global = self.random.below(2);
        let dirty = u64::from(self.once_in(4));
        let never = self.random.one_of(&[0, 0, 1, 2, 3]);
        attribute << 2
            | access << 6
            | share << 8
            | accessed << 10
            | global << 11
            | dirty << 51
            | never << 53
    }

    /// Maps `physical` in a tree at an address of its choice, whose value it gives. `None` if no place was free.
    fn place(&mut self, tree: &mut Tree, to: Mapped, leaf: (u64, u64)) -> Option<u64> {
        let shift = to.granule.shift(to.level);
        let inside = (1u64 << shift) - 1;
        for _ in 0..4 {
            let above = self.random.next() & ((1 << to.bits) - 1) & !inside;
            let address = above | to.physical & inside;
            let mut grown = *tree;
            let mut added = super::program::List::<Placed, 8>::new();
            let kind = if to.level == 3 { 3 } else { 1 };
            let output = to.physical & !inside;
            grown.map(address, to.level, output | leaf.0 | kind, |placed| {
                added.push(placed);
            });
            let entries = &self.program.entries;
            if added.iter().any(|p| entries.iter().any(|e| e.at == p.at)) {
                continue;
            }
            for placed in added.iter() {
                let plain = if placed.is_leaf {
                    output | leaf.1 | kind
                } else {
                    placed.value
                };
                let value = self.odd(placed);
                self.program.entries.push(Entry {
                    at: placed.at,
                    value,
                    plain,
                });
            }
            *tree = grown;
            return Some(address);
        }
        None
    }

    /// The descriptor, or an odd one in its place.
    fn odd(&mut self, placed: &Placed) -> u64 {
        match self.random.below(48) {
            0 => placed.value & !1,
            1 => placed.value | 1 << 44,
            // A page's, reserved. A block's would be a table in memory that is not the program's.
            2 if placed.level == 3 => placed.value ^ 2,
            _ => placed.value,
        }
    }

    /// Makes a stage 2.
    pub fn stage2(&mut self) -> Stage2 {
        // FWB: 6 is write-back whatever stage 1 says.
        let forced = self.once_in(6);
        let normal = if forced { 6 << 2 } else { 0xf << 2 } | 3 << 6 | 3 << 8 | 1 << 10;
        let granule = self.random.one_of(&[
            Granule::Kib4,
            Granule::Kib4,
            Granule::Kib4,
            Granule::Kib16,
            Granule::Kib64,
        ]);
        let start = match granule {
            Granule::Kib4 => self.random.one_of(&[1, 1, 1, 2]),
            // Level 1 asks for more than 40 bits of physical addresses.
            Granule::Kib16 | Granule::Kib64 => 2,
        };
        // As many bits as the first level, or up to sixteen of its tables side by side, can resolve.
        let bits = match (granule, start) {
            (Granule::Kib4, 2) => self.random.one_of(&[31, 32, 33, 34]),
            _ => self.random.one_of(&[32, 34, 36, 38, 39, 40]),
        };
        let sl0 = match granule {
            Granule::Kib4 => 2 - start,
            _ => 3 - start,
        };
        let mut tree = Tree::new(granule, start, bits, STAGE2_ROOT);
        let code = BASE & !((1 << granule.shift(2)) - 1);
        tree.map(BASE, 2, code | normal | 1, |placed| {
            self.program.entries.push(super::tree::fixed(placed));
        });
        let (mut lets_read, mut lets_write) = (true, true);
        let mut map = |maker: &mut Self, physical: u64, level: u32| {
            let leaf = if maker.once_in(3) {
                normal
            } else {
                maker.leaf2(forced)
            };
            lets_read &= leaf & 1 << 6 != 0;
            lets_write &= leaf & 1 << 7 != 0;
            let to = Mapped {
                granule,
                bits,
                level,
                physical,
            };
            maker.place(&mut tree, to, (leaf, normal))
        };
        let data = [(); 2].map(|()| {
            let lowest = if granule == Granule::Kib4 {
                start.max(1)
            } else {
                2
            };
            let level = (lowest + self.random.below(u64::from(4 - lowest)) as u32).max(start);
            let page = DATA + 0x1000 * self.random.below(16);
            let ipa = map(self, page, level);
            let leaf = self.program.entries.last().filter(|_| ipa.is_some());
            (ipa.unwrap_or(page), leaf.map(|leaf| (leaf.at, leaf.plain)))
        });
        let second = STAGE1_ROOT + TABLE_BYTES;
        let table = map(self, second, 3);
        let updates = self.random.one_of(&[0, 0, 1, 3]);
        let vtcr = 1 << 31
            | updates << 21
            | PS_40 << 16
            | granule.tg0() << 14
            | 0x3500
            | u64::from(sl0) << 6
            | u64::from(64 - bits);
        Stage2 {
            vtcr,
            vttbr: (1 + self.random.below(3)) << 48 | STAGE2_ROOT,
            data: data.map(|(ipa, _)| ipa),
            leaves: data.map(|(_, leaf)| leaf),
            page: 1 << granule.page_shift(),
            table,
            hcr: u64::from(forced) << 46,
            lets_read,
            lets_write,
        }
    }

    /// Makes a stage 1 for EL1's upper half that leads to these IPAs; `table` is an IPA of its second table, by which it
    /// may be named.
    pub fn stage1(&mut self, ipas: [u64; 2], table: Option<u64>) -> Stage1 {
        const NORMAL: u64 = 1 << 2 | 3 << 8 | 1 << 10;
        let granule = self.random.one_of(&[
            Granule::Kib4,
            Granule::Kib4,
            Granule::Kib4,
            Granule::Kib16,
            Granule::Kib64,
        ]);
        let bits = match granule {
            Granule::Kib4 => self.random.one_of(&[48, 42, 39, 39, 36, 32]),
            Granule::Kib16 => self.random.one_of(&[48, 47, 40, 36, 32]),
            Granule::Kib64 => self.random.one_of(&[48, 42, 36, 32]),
        };
        let start = granule.start(bits);
        let lowest = if granule == Granule::Kib4 {
            start.max(1)
        } else {
            2
        };
        let updates = self.random.one_of(&[0, 0, 1, 3]);
        let through = if self.once_in(4) && !(self.looks && updates != 0) {
            table
        } else {
            None
        };
        let through = through.unwrap_or(STAGE1_ROOT + TABLE_BYTES);
        let before = self.program.entries.len();
        let mut tree = Tree::new(granule, start, bits, STAGE1_ROOT);
        let top = u64::MAX << bits;
        let data = ipas.map(|ipa| {
            let level = lowest + self.random.below(u64::from(4 - lowest)) as u32;
            let leaf = if self.once_in(3) {
                NORMAL
            } else {
                self.leaf1()
            };
            let to = Mapped {
                granule,
                bits,
                level,
                physical: ipa & !0xfff,
            };
            let found = self.place(&mut tree, to, (leaf, NORMAL));
            top | found.unwrap_or(ipa & !0xfff)
        });
        let second = (STAGE1_ROOT + TABLE_BYTES) | 3;
        for n in before..self.program.entries.len() {
            let hierarchical = if self.once_in(6) {
                self.some_of(0xf << 59)
            } else {
                0
            };
            let entry = &mut self.program.entries[n];
            if entry.plain == second {
                entry.value = entry.value & !0xffff_ffff_f000 | through & !0xfff;
            }
            // Leaves have their access flag.
            if entry.plain & 0xfff == 3 {
                entry.value |= hierarchical;
            }
        }
        // Without EL2 the laboratory has the same SCTLR_EL1.
        let is_big = self.shape != Shape::El1 && self.once_in(8);
        if is_big {
            for entry in &mut self.program.entries[before..] {
                entry.value = entry.value.swap_bytes();
                entry.plain = entry.plain.swap_bytes();
            }
        }
        let more = self.few_of(1 << 22 | 1 << 23 | 1 << 38 | 1 << 42);
        let tcr = TCR_LOWER
            | u64::from(64 - bits) << 16
            | 0x35 << 24
            | granule.tg1() << 30
            | PS_40 << 32
            | 1 << 36
            | updates << 39
            | more;
        Stage1 { tcr, data, is_big }
    }

    /// Gives both stages to EL1, from a phase of EL2's. What `sctlr` has more is odd.
    pub fn turn_on(&mut self, stage1: &Stage1, stage2: &Stage2, sctlr: u64) {
        self.set_up(VTCR_EL2, stage2.vtcr);
        self.set_up(VTTBR_EL2, stage2.vttbr);
        self.turn_stage1_on(stage1, sctlr);
        self.fixed(MAINTENANCE_OF_EL2[0]);
        self.fixed(DSB);
    }

    /// Gives stage 1 to EL1.
    pub fn turn_stage1_on(&mut self, stage1: &Stage1, sctlr: u64) {
        self.set_up(TCR_EL1, stage1.tcr);
        let asid = self.random.below(3) << 48;
        let (lower, endian) = if stage1.is_big {
            (LOWER_ROOT_BIG, SCTLR_EE)
        } else {
            (LOWER_ROOT, 0)
        };
        if self.shape != Shape::El1 {
            self.set_up(TTBR0_EL1, lower | asid);
        }
        self.set_up(TTBR1_EL1, STAGE1_ROOT | asid);
        self.set_up(MAIR_EL1, 0x4ff4_bb0c_0044_ff04);
        let off = if self.shape == Shape::El1 {
            SCTLR_OF_EL1
        } else {
            SCTLR_OFF
        };
        self.set_up(SCTLR_EL1, off ^ sctlr | endian);
    }

    /// A step that is no part.
    pub fn fixed(&mut self, instruction: Instruction) {
        self.fixed_with(instruction, 0);
    }

    /// The same with a value in x0.
    pub fn fixed_with(&mut self, instruction: Instruction, value: u64) {
        self.step(Step {
            what: instruction.name,
            word: instruction.word,
            operand: Operand::Value(value),
            is_fixed: true,
            fills: 0,
        });
    }

    /// Writes a descriptor, from a phase of EL2's.
    pub fn store(&mut self, at: u64, descriptor: u64) {
        self.fixed_with(MOV_X1, descriptor);
        self.fixed_with(STORE, at);
        self.fixed(DSB);
    }
}

/// What is to be mapped, and how.
#[derive(Clone, Copy)]
struct Mapped {
    granule: Granule,
    bits: u32,
    level: u32,
    physical: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::differ::program::{CODE, DATA_BYTES, PHASE_BYTES};
    use crate::differ::themes::program;

    const SHAPES: [Shape; 3] = [Shape::Vhe, Shape::Nvhe, Shape::El1];

    fn all(mut look: impl FnMut(&Program, Shape)) {
        for shape in SHAPES {
            for number in 0..2000 {
                look(&program(7, number, shape), shape);
            }
        }
    }

    #[test]
    fn a_program_depends_on_its_seed_and_number_alone() {
        let text = |seed, number| std::format!("{}", program(seed, number, SHAPES[0]));
        assert_eq!(text(1, 40), text(1, 40));
        assert_ne!(text(1, 40), text(2, 40));
        // Not those of another seed, some numbers further on.
        assert!((0..100).all(|n| text(2, 9 * n) != text(1, 9)));
    }

    #[test]
    fn a_mask_has_a_bit_for_every_part() {
        let mut most = 0;
        all(|program, _| most = most.max(program.parts().count()));
        assert!(most < crate::differ::program::PARTS, "{most}");
    }

    #[test]
    fn code_stays_within_its_phase_and_descriptors_within_the_tables() {
        all(|program, _| {
            for phase in program.phases.iter() {
                let bytes = 4 * phase.words(CODE).len() as u64;
                assert!(bytes <= PHASE_BYTES, "{bytes} bytes of code");
            }
            for entry in program.entries.iter() {
                let tables = TABLES..STAGE2_ROOT + 8 * TABLE_BYTES;
                assert!(tables.contains(&entry.at), "{:#x}", entry.at);
                assert_eq!(entry.at % 8, 0);
            }
        });
        const { assert!(DATA + DATA_BYTES <= TABLES) };
    }

    #[test]
    fn what_leads_back_to_the_lab_is_never_off() {
        all(|program, shape| {
            for phase in program.phases.iter().filter(|_| shape != Shape::El1) {
                let hcr = phase.hcr | phase.more_hcr;
                assert_ne!(hcr & TSC, 0, "EL1's vectors call by SMC");
                // Interrupts are EL2's: the timer ends what does not come back. All comes back whose stage 1 is off.
                let is_timed = hcr & (1 << 4 | TGE) != 0;
                assert!(is_timed || program.theme == "routing");
                assert!(shape.is_vhe() || phase.level != Level::HostEl0);
            }
        });
    }

    #[test]
    fn no_two_descriptors_stand_at_the_same_place() {
        all(|program, _| {
            for (n, entry) in program.entries.iter().enumerate() {
                assert!(
                    program.entries[..n]
                        .iter()
                        .all(|other| other.at != entry.at)
                );
            }
        });
    }
}
