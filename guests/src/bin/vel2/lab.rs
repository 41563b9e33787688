//! Code that is put together on the spot and runs at a level of choice, until an exception comes to EL2.

use crate::names::{CNTPCT_EL0, ISB};
use core::fmt::Display;
use droste_guests::checks::Checks;
use droste_guests::code::Code;
use droste_guests::encode::{Name, hvc};
use droste_guests::stage2::{self, Leaf, Root, Size, Tables};
use droste_guests::trap::Kind;
use droste_guests::tree::Machine;
use droste_guests::{BLOCK, cpu, el2, gic, map, programs, time};
use el2::{World, class, hcr, mode};

/// `SVC #0`.
const SVC: u32 = 0xd4000001;

/// IPA of memory by a block, which is at [`Lab::memory`].
pub(crate) const MEMORY_AT: u64 = 0x2_0000_0000;
/// IPA of the same to read only.
pub(crate) const READ_ONLY_AT: u64 = MEMORY_AT + BLOCK;
/// IPA of the same with the access flag clear.
pub(crate) const OLD_AT: u64 = MEMORY_AT + 2 * BLOCK;
/// IPA in a block of pages, none of them there.
pub(crate) const NO_PAGE_AT: u64 = MEMORY_AT + 3 * BLOCK + 0x5000;
/// IPA of a page to read only in that block.
pub(crate) const READ_ONLY_PAGE_AT: u64 = MEMORY_AT + 3 * BLOCK + 0x6000;
/// IPA of the same to write only.
pub(crate) const WRITE_ONLY_AT: u64 = MEMORY_AT + 7 * BLOCK;
/// IPA of the same as Device memory.
pub(crate) const DEVICE_AT: u64 = MEMORY_AT + 6 * BLOCK;
/// IPA of an output address above 4 GiB, where there is nothing.
pub(crate) const FAR_AT: u64 = MEMORY_AT + 5 * BLOCK;
/// An output address above 4 GiB where no machine of the tests has anything.
pub(crate) const FAR_OUTPUT: u64 = 0xc_0000_0000;
/// IPA that nothing is mapped at from level 1 on.
pub(crate) const NOTHING_AT: u64 = 0x2_8000_0000;

/// Vectors of EL2 (DDI 0487, D1, "Exception vectors"), synchronous: from EL2 with SP_EL0, from EL2 with its own stack
/// pointer, from below.
pub(crate) const FROM_EL2T: u64 = 0;
pub(crate) const FROM_EL2H: u64 = 4;
pub(crate) const FROM_BELOW: u64 = 8;
/// An interrupt from below.
pub(crate) const IRQ_FROM_BELOW: u64 = 9;
/// ESR.IL: an instruction of 32 bits.
pub(crate) const IL: u64 = 1 << 25;

/// Words of code, with its end.
const WORDS: usize = 32;
static CODE: Code<WORDS> = Code::empty();

/// Until the physical counter is what x28 says: `MRS x27, CNTPCT_EL0`, `CMP x27, x28`, `B.LO .-8`.
const WAIT: [u32; 3] = [CNTPCT_EL0.read(27), 0xeb1c037f, 0x54ffffc3];

/// The name by which EL2 reaches a timer's register of EL1, given by its name at EL1.
pub(crate) fn under(name: Name) -> Name {
    if el2::is_vhe() {
        Name { op1: 5, ..name }
    } else {
        name
    }
}

/// Where code runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Where {
    /// EL2, with its own stack pointer.
    El2,
    /// EL2, with SP_EL0.
    El2t,
    /// EL1 under stage 2.
    El1,
    /// EL0 under that EL1.
    El0,
    /// EL0 under EL2, which there is with E2H = 1 alone.
    HostEl0,
}

/// The equipment.
pub(crate) struct Lab {
    pub(crate) checks: Checks,
    /// HCR_EL2 for EL1 and EL0, beside RW and E2H.
    pub(crate) hcr: u64,
    /// Stage 2 of EL1.
    pub(crate) root: Root,
    /// The tables of all stage 2.
    pub(crate) tables: Tables,
    /// Physical address of a block that nobody uses.
    pub(crate) memory: u64,
    /// Whether a hypervisor under this EL2, if there is one, can see what EL2 does with EL1's timers.
    pub(crate) has_ecv: bool,
    host_hcr: u64,
    alias: u64,
}

impl Lab {
    /// Builds the tables: RAM and devices as they are, and the addresses above.
    pub(crate) fn new(machine: &Machine) -> Self {
        let mut tables = Tables::take();
        let root = tables.root();
        tables.map_own(root, machine);
        let memory = machine.unused();
        for (ipa, leaf) in [
            (MEMORY_AT, Leaf::Memory),
            (READ_ONLY_AT, Leaf::ReadOnly),
            (OLD_AT, Leaf::Old),
            (WRITE_ONLY_AT, Leaf::WriteOnly),
            (DEVICE_AT, Leaf::Device),
        ] {
            tables.map(root, ipa, memory, Size::Block, leaf);
        }
        tables.map(root, READ_ONLY_PAGE_AT, memory, Size::Page, Leaf::ReadOnly);
        tables.map(root, FAR_AT, FAR_OUTPUT, Size::Block, Leaf::Memory);
        let host_hcr = el2::current_hcr();
        Self {
            checks: Checks::new("vel2"),
            hcr: 0,
            root,
            tables,
            memory,
            has_ecv: !machine.has_argument("no-ecv"),
            host_hcr,
            alias: if el2::is_vhe() { map::open_to_el0() } else { 0 },
        }
    }

    /// The distance of what EL2's EL0 may touch from the addresses that EL2 has for it, where there is such.
    pub(crate) fn alias(&self) -> u64 {
        self.alias
    }

    /// As [`Checks::expect`].
    pub(crate) fn expect(&mut self, what: impl Display, found: u64, wanted: u64) {
        self.checks.expect(what, found, wanted);
    }

    /// Another stage 2: RAM as it is, and at [`MEMORY_AT`] the block a page further on.
    pub(crate) fn second_root(&mut self) -> Root {
        let root = self.tables.root();
        let code = CODE.address() & !(BLOCK - 1);
        self.tables.map(root, code, code, Size::Block, Leaf::Memory);
        let output = self.memory + 0x1000;
        self.tables
            .map(root, MEMORY_AT, output, Size::Page, Leaf::Memory);
        root
    }

    /// Everything as a stage finds it: EL1 as after a reset but for its vectors, no traps, stage 2 on.
    pub(crate) fn reset(&mut self) {
        el2::reset_el1();
        el2::set_vbar_el1(programs::vectors());
        el2::set_vtcr(stage2::vtcr());
        el2::set_vttbr(self.root.vttbr(1));
        el2::open();
        self.hcr = hcr::GUEST | hcr::TSC;
        el2::set_icc_sre(0xf);
        gic::enable_distributor();
        gic::enable_cpu(0, 0);
        el2::tlbi_alle1is();
        cpu::dsb();
    }

    /// Writes `code` and an end behind it. The world starts with it; HCR_EL2 is as the level asks.
    pub(crate) fn world(&mut self, level: Where, code: &[u32]) -> World {
        let end = match level {
            Where::El1 => hvc(0),
            _ => SVC,
        };
        let pc = CODE.write(code, end);
        match level {
            Where::El2 => World::new(pc, mode::EL2H, self.host_hcr),
            Where::El2t => World::new(pc, mode::EL2T, self.host_hcr),
            Where::El1 => World::new(pc, mode::EL1H, self.hcr),
            Where::El0 => World::new(pc, mode::EL0, self.hcr),
            Where::HostEl0 => World::new(pc.wrapping_add(self.alias), mode::EL0, self.host_hcr),
        }
    }

    /// As [`Lab::world`], and waits behind `code` for what interrupts it. When nothing has for long, it comes to its end.
    pub(crate) fn waiting(&mut self, level: Where, code: &[u32]) -> World {
        let mut words = [0; WORDS];
        let all = code.len() + WAIT.len();
        let parts = code.iter().chain(&WAIT);
        words
            .iter_mut()
            .zip(parts)
            .for_each(|(to, word)| *to = *word);
        let mut world = self.world(level, &words[..all]);
        world.x[28] = time::now() + time::ticks(time::PATIENCE_NS);
        world
    }

    /// Runs `code` with x0 to x3 from `x`.
    pub(crate) fn run(&mut self, level: Where, code: &[u32], x: [u64; 4]) -> World {
        let mut world = self.world(level, code);
        world.x[..4].copy_from_slice(&x);
        world.run();
        world
    }

    /// Reads a register at a level; the failure to do so is one of `what`.
    pub(crate) fn read(&mut self, level: Where, name: Name) -> u64 {
        let world = self.run(level, &[name.read(1)], [0; 4]);
        self.ended(format_args!("read of {name:?} at {level:?}"), level, &world);
        world.x[1]
    }

    /// Writes a register at a level.
    pub(crate) fn write(&mut self, level: Where, name: Name, value: u64) {
        let world = self.run(level, &[name.write(1), ISB], [0, value, 0, 0]);
        self.ended(
            format_args!("write of {name:?} at {level:?}"),
            level,
            &world,
        );
    }

    /// The world must have come to the end of its code.
    pub(crate) fn ended(&mut self, what: impl Display, level: Where, world: &World) {
        let class = if level == Where::El1 {
            class::HVC
        } else {
            class::SVC
        };
        if level == Where::El0 {
            // Its EL1 takes the SVC.
            self.at_el1(what, world, 8, class::SVC << 26 | IL);
        } else {
            self.expect(format_args!("{what}: ESR_EL2"), world.esr, class << 26 | IL);
        }
    }

    /// The world must have been left by this synchronous exception, at the `nth` word of its code.
    pub(crate) fn left(
        &mut self,
        what: impl Display,
        world: &World,
        vector: u64,
        esr: u64,
        nth: u64,
    ) {
        self.expect(format_args!("{what}: vector"), world.vector(), vector);
        self.expect(format_args!("{what}: ESR_EL2"), world.esr, esr);
        let offset = world.pc.wrapping_sub(CODE.address());
        let alias = if offset >= 0x1000 { self.alias } else { 0 };
        self.expect(
            format_args!("{what}: ELR_EL2, from the code's begin"),
            offset.wrapping_sub(alias),
            4 * nth,
        );
    }

    /// This interrupt, and no other, must be EL2's to take; a zero in `control` ends its cause.
    pub(crate) fn interrupted(&mut self, what: &str, intid: u32, control: Name) {
        let taken = gic::take();
        self.expect_intid(format_args!("{what}: INTID"), taken, intid);
        self.write(Where::El2, control, 0);
        if let Some(intid) = taken {
            gic::end(intid);
        }
        self.expect_intid(format_args!("{what}: after it"), gic::take(), gic::SPURIOUS);
    }

    fn expect_intid(&mut self, what: impl Display, taken: Option<u32>, wanted: u32) {
        let taken = taken.unwrap_or(gic::SPURIOUS);
        self.expect(what, taken.into(), wanted.into());
    }

    /// The world's EL1 must have taken an exception by this vector of its own, with this ESR_EL1.
    pub(crate) fn at_el1(&mut self, what: impl Display, world: &World, vector: u64, esr: u64) {
        let call = class::SMC << 26 | IL | (0x100 + vector);
        self.expect(
            format_args!("{what}: taken to EL1: ESR_EL2"),
            world.esr,
            call,
        );
        if Kind::of(vector) == Kind::Synchronous {
            self.expect(format_args!("{what}: ESR_EL1"), el2::esr_el1(), esr);
        }
    }
}
