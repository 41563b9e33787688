//! What the stages share: a guest of this EL2's that loads and stores where it is told, a clock that ends it, and the
//! account of what it was left by.

use droste_guests::code::Code;
use droste_guests::mmio::{GICD, UART};
use droste_guests::random::Random;
use droste_guests::stage2::{self, Leaf, Root, Size, Tables};
use droste_guests::time::Timer;
use droste_guests::trap::Kind;
use droste_guests::tree::Machine;
use droste_guests::{BLOCK, console, cpu, el2, gic, println, programs};
use el2::{World, class, hcr, mode};

/// HCR_EL2 while the guest runs, whatever else: interrupts end it, and firmware is not its to call.
pub(crate) const KEPT: u64 = hcr::IMO | hcr::FMO | hcr::AMO | hcr::TSC | hcr::RW;
/// How long the guest may run at a time, in nanoseconds.
const SLICE_NS: u64 = 500_000;
/// Instructions of the guest that are passed over in one probe.
const SKIPS: u32 = 12;
/// IPA of a block of the scratch memory in a sane table.
pub(crate) const SANE_AT: u64 = 0x2_0000_0000;

/// The first vCPU's.
static CODE: Code<16> = Code::empty();

/// The equipment.
pub(crate) struct Prowler {
    pub(crate) random: Random,
    pub(crate) tables: Tables,
    /// A sane stage 2.
    pub(crate) sane: Root,
    /// Memory that may be spoilt: blocks, to the end of RAM.
    pub(crate) scratch: core::ops::Range<u64>,
    pub(crate) vcpus: usize,
    /// Whether QEMU is right under this guest.
    pub(crate) is_bare: bool,
    probes: u64,
    exceptions: u64,
    interrupts: u64,
}

impl Prowler {
    /// Nothing spoilt yet.
    pub(crate) fn new(machine: &Machine) -> Self {
        let mut tables = Tables::take();
        let sane = tables.root();
        let scratch = machine.unused()..machine.ram_end() & !(BLOCK - 1);
        tables.map(sane, own_block(), own_block(), Size::Block, Leaf::ReadOnly);
        tables.map(sane, SANE_AT, scratch.start, Size::Block, Leaf::Memory);
        Self {
            random: Random::new(0xd705_7e00),
            tables,
            sane,
            scratch,
            vcpus: machine.vcpus,
            is_bare: machine.has_argument("bare"),
            probes: 0,
            exceptions: 0,
            interrupts: 0,
        }
    }

    /// Sane controls and an EL1 as after a reset.
    pub(crate) fn calm(&mut self) {
        el2::reset_el1();
        el2::set_vbar_el1(programs::vectors());
        el2::set_vtcr(stage2::vtcr());
        el2::set_vttbr(self.sane.vttbr(1));
        el2::open();
        el2::set_icc_sre(0xf);
        el2::set_ich_hcr(0);
        console::reset();
        gic::enable_distributor();
        gic::enable_cpu(0, 1 << gic::HYPERVISOR_TIMER);
        el2::tlbi_alle1is();
        cpu::dsb();
    }

    /// The guest in the sane stage 2 must do what it always did.
    pub(crate) fn prove_alive(&mut self, stage: &str) {
        let mut world = World::new(programs::touch(), mode::EL1H, KEPT | hcr::VM);
        world.x[..3].copy_from_slice(&[SANE_AT, 8, 4]);
        world.run();
        assert!(
            world.kind() == Kind::Synchronous && world.class() == class::HVC,
            "after {stage} the guest is left by vector {} with ESR_EL2 {:#x}, FAR_EL2 {:#x}",
            world.vector(),
            world.esr,
            world.far
        );
        // SAFETY: the scratch memory is nobody else's.
        let seen = unsafe { core::ptr::read_volatile((self.scratch.start + 8) as *const u64) };
        assert!(
            seen == SANE_AT + 8,
            "after {stage} the guest stored {seen:#x}"
        );
        println!(
            "hostile-el2: {stage}: {} probes, {} exceptions, {} interrupts so far",
            self.probes, self.exceptions, self.interrupts
        );
    }

    /// The guest loads from and stores to `from` and `to`, from its sane code on; what faults is passed over.
    pub(crate) fn prowl(&mut self, controls: u64, from: u64, to: u64) {
        let mut world = World::new(programs::prowl(), mode::EL1H, controls);
        world.x[..3].copy_from_slice(&[from, to, 8]);
        for _ in 0..SKIPS {
            if !self.run_slice(&mut world)
                || world.kind() != Kind::Synchronous
                || world.class() == class::HVC
            {
                return;
            }
            world.skip();
        }
    }

    /// Runs a world for a time slice. Returns whether an exception of its own ended it.
    pub(crate) fn run_slice(&mut self, world: &mut World) -> bool {
        self.probes += 1;
        Timer::Hypervisor.arm_in(SLICE_NS);
        world.run();
        Timer::Hypervisor.disarm();
        if world.kind() == Kind::Irq {
            self.interrupts += 1;
            if let Some(intid) = gic::take() {
                gic::end(intid);
            }
            return false;
        }
        self.exceptions += 1;
        true
    }

    /// Runs `code` at EL2, then SVC.
    pub(crate) fn at_el2(&mut self, code: &[u32], x: [u64; 4]) -> World {
        const SVC: u32 = 0xd4000001;
        let mut world = World::new(CODE.write(code, SVC), mode::EL2H, el2::current_hcr());
        world.x[..4].copy_from_slice(&x);
        self.probes += 1;
        world.run();
        self.exceptions += 1;
        world
    }

    /// An IPA or address of interest: sane, at the ends of widths, a device's, or any.
    pub(crate) fn address(&mut self) -> u64 {
        const ENDS: [u64; 8] = [
            0,
            1 << 30,
            1 << 32,
            (1 << 36) - 8,
            (1 << 39) - 8,
            1 << 40,
            (1 << 48) - 8,
            u64::MAX - 7,
        ];
        match self.random.below(6) {
            0 => SANE_AT + self.random.below(BLOCK),
            1 => self.random.one_of(&ENDS),
            2 => self.random.one_of(&[GICD.base(), UART.base()]) + 4 * self.random.below(256),
            3 => self.random.next() & 0xff_ffff_fff8,
            4 => self.random.next() & 0xffff_ffff_fff8,
            _ => self.random.next(),
        }
    }

    /// An address that a store with stage 2 off cannot hurt this guest at.
    pub(crate) fn harmless(&mut self) -> u64 {
        if self.random.below(2) == 0 {
            self.scratch.start + self.random.below(BLOCK)
        } else {
            1 << 36 | self.random.next() & 0xffff_ffff_fff8
        }
    }
}

/// The block that holds this guest's image.
pub(crate) fn own_block() -> u64 {
    CODE.address() & !(BLOCK - 1)
}
