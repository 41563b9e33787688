//! Runs a program, from a state that is always the same, and catches everything that it raises.

use crate::el1;
use crate::seen::Seen;
use crate::sight::{Sight, What};
use crate::state::{self, VECTOR_CALL};
use droste_guests::differ::generate::Shape;
use droste_guests::differ::program::{
    CODE, DATA, DATA_BYTES, EL0_ALIAS, PHASE_BYTES, Phase, Program, SLOT_BYTES,
};
use droste_guests::el2::{self, World, class};
use droste_guests::fpu::State;
use droste_guests::time::{PATIENCE_NS, Timer};
use droste_guests::trap::Kind;
use droste_guests::tree::Machine;
use droste_guests::{cpu, gic, map};

/// What programs store: as instructions, UDF.
const STORED: u64 = 0x5a5a_0000_1234;
/// What an SPSR holds that counts: all but what features have that are hidden.
const SPSR_COUNTS: u64 = 0xf << 28 | 0x1f << 20 | 7 << 10 | 0x3c0 | 0x1f;

/// The equipment.
pub(crate) struct Lab {
    pub(crate) seen: Seen,
    shape: Shape,
}

/// How a phase goes on.
enum Next {
    /// At this address, with interrupts as they were or masked.
    At(u64, u64),
    /// Not at all.
    End,
}

impl Lab {
    /// Makes what every program finds.
    ///
    /// # Panics
    /// If the memory of programs is not free.
    pub(crate) fn new(machine: &Machine, shape: Shape) -> Self {
        assert!(
            machine.unused() <= CODE && machine.ram_end() >= CODE + droste_guests::BLOCK,
            "programs need 128 MiB"
        );
        if shape != Shape::Nvhe {
            map::open_to_el0();
        }
        if shape != Shape::El1 {
            el2::set_icc_sre(0xf);
        }
        gic::enable_distributor();
        state::prepare();
        state::reset_gic(shape);
        Self {
            seen: Seen::new(),
            shape,
        }
    }

    /// Runs a program, and gives the number of what it saw.
    pub(crate) fn run(&mut self, program: &Program) -> u16 {
        self.seen.begin();
        if self.shape == Shape::El1 {
            el1::reset();
            state::reset_gic(self.shape);
        } else {
            state::reset();
        }
        State::pattern(1).load();
        for entry in program.entries.iter() {
            state::put(entry.at, entry.value);
        }
        cpu::dsb();
        // A program that has not come back by then will not, however busy the host is. EL1 has no timer to spare.
        let has_timer = self.shape != Shape::El1;
        if has_timer {
            Timer::Hypervisor.arm_in(PATIENCE_NS);
        }
        for (n, phase) in program.phases.iter().enumerate() {
            self.run_phase(program, n, phase);
        }
        if has_timer {
            Timer::Hypervisor.disarm();
        }
        self.look_at_memory(program);
        if self.shape != Shape::El1 && program.stores_to_gic() {
            state::reset_interrupts();
        }
        self.seen.end()
    }

    fn run_phase(&mut self, program: &Program, n: usize, phase: &Phase) {
        let code = CODE + PHASE_BYTES * n as u64;
        let alias = phase.level.alias();
        let words = phase.words(code + alias);
        for (k, word) in words.iter().enumerate() {
            // SAFETY: the memory of programs.
            unsafe { (code as *mut u32).add(k).write_volatile(*word) };
        }
        cpu::sync_instructions(code as *const u32, size_of_val(&words[..]));
        let steps = phase.steps.len();
        let mut see = See {
            seen: &mut self.seen,
            program,
            phase: n,
            slot: 0,
            steps,
            base: code,
            is_el1: self.shape == Shape::El1,
        };
        let state = phase.level.pstate() ^ phase.pstate;
        let is_el1 = self.shape == Shape::El1;
        let mut world = if is_el1 {
            World::of_el1(code + alias, state)
        } else {
            World::new(code + alias, state, phase.hcr | phase.more_hcr)
        };
        world.x = core::array::from_fn(|n| STORED + n as u64);
        world.x[1] = STORED;
        // Each step may raise one, and lead to another.
        for _ in 0..3 * steps + 4 {
            if is_el1 {
                world.run_at_el1();
            } else {
                world.run();
                world.hcr = world.left_hcr();
            }
            match see.exit(&world) {
                Next::End => break,
                Next::At(pc, masks) => {
                    world.pc = pc + alias;
                    world.pstate = state | masks;
                }
            }
        }
        for x in 2..27 {
            if world.x[x] != STORED + x as u64 {
                let filled = phase
                    .steps
                    .iter()
                    .rposition(|step| usize::from(step.fills) == x);
                see.slot = filled.unwrap_or(steps);
                see.saw(What::X(x as u8), world.x[x]);
            }
        }
    }

    /// What is stored, and the descriptors, which hardware may have changed; all is as it was then.
    fn look_at_memory(&mut self, program: &Program) {
        let mut see = See {
            seen: &mut self.seen,
            program,
            phase: program.phases.len(),
            slot: 0,
            steps: 0,
            base: CODE,
            is_el1: self.shape == Shape::El1,
        };
        for offset in (0..DATA_BYTES).step_by(8) {
            let word = state::get(DATA + offset);
            if word != state::pattern(offset) {
                see.saw(What::Data, offset);
                see.saw(What::Word, word);
                state::put(DATA + offset, state::pattern(offset));
            }
        }
        for entry in program.entries.iter() {
            see.saw(What::Entry, state::get(entry.at));
            state::put(entry.at, 0);
        }
    }
}

/// Looks at exceptions of a phase.
struct See<'a> {
    seen: &'a mut Seen,
    program: &'a Program,
    phase: usize,
    slot: usize,
    steps: usize,
    base: u64,
    is_el1: bool,
}

impl See<'_> {
    fn saw(&mut self, what: What, value: u64) {
        self.seen.saw(Sight {
            what,
            value,
            phase: self.phase,
            slot: self.slot,
            program: self.program,
        });
    }

    /// An exception to EL2.
    fn exit(&mut self, world: &World) -> Next {
        self.find_slot(world.pc, world.x[30]);
        self.saw(What::Vector, world.vector());
        match world.kind() {
            Kind::Synchronous => self.synchronous(world),
            Kind::Irq | Kind::Fiq => self.interrupt(world),
            Kind::SError => {
                self.saw(What::Spsr, world.pstate & SPSR_COUNTS);
                Next::At(world.pc, 0x3c0)
            }
        }
    }

    /// The slot of an address, if it is one of the code's. If not, the code may have branched there, and `link` is behind
    /// the branch; an older one is behind an older slot.
    fn find_slot(&mut self, pc: u64, link: u64) {
        let slot = |at: u64| {
            let offset = self.place(at);
            (offset < PHASE_BYTES).then_some((offset / SLOT_BYTES) as usize)
        };
        let branched = || slot(link).filter(|slot| *slot > self.slot);
        if let Some(slot) = slot(pc).or_else(branched) {
            self.slot = slot;
        }
    }

    /// An address as it is told: within the code, wherever that is seen, or as it is.
    fn place(&self, pc: u64) -> u64 {
        for base in [self.base, self.base + EL0_ALIAS] {
            let offset = pc.wrapping_sub(base);
            if offset < PHASE_BYTES {
                return offset;
            }
        }
        pc
    }

    fn synchronous(&mut self, world: &World) -> Next {
        let call = world.iss().wrapping_sub(VECTOR_CALL);
        if !self.is_el1 && world.class() == class::SMC && call < 16 {
            return self.taken_to_el1(call, world.x[30]);
        }
        self.saw(What::Esr, world.esr);
        self.saw(What::Elr, self.place(world.pc));
        self.saw(What::Spsr, world.pstate & SPSR_COUNTS);
        if has_address(world.esr) {
            self.saw(What::Far, world.far);
        }
        if !self.is_el1 && has_ipa(world.esr) {
            self.saw(What::Hpfar, el2::hpfar());
        }
        self.behind()
    }

    /// EL1 took it, by this vector, and told.
    fn taken_to_el1(&mut self, vector: u64, link: u64) -> Next {
        let elr = el2::elr_el1();
        self.find_slot(elr, link);
        self.saw(What::Vector, VECTOR_CALL + vector);
        self.saw(What::Elr1, self.place(elr));
        self.saw(What::Spsr1, el2::spsr_el1() & SPSR_COUNTS);
        if Kind::of(vector) != Kind::Synchronous {
            return self.at(elr, 0x3c0);
        }
        let esr = el2::esr_el1();
        self.saw(What::Esr1, esr);
        if has_address(esr) {
            self.saw(What::Far1, el2::far_el1());
        }
        self.behind()
    }

    fn interrupt(&mut self, world: &World) -> Next {
        let intid = gic::take().unwrap_or(gic::SPURIOUS);
        if !self.is_el1 && intid == gic::HYPERVISOR_TIMER {
            Timer::Hypervisor.disarm();
            gic::end(intid);
            self.slot = 0;
            self.saw(What::Stuck, 1);
            return Next::End;
        }
        self.saw(What::Intid, intid.into());
        if intid != gic::SPURIOUS {
            gic::end(intid);
        }
        self.at(world.pc, 0x3c0)
    }

    /// Goes on at the slot behind the one that was left.
    fn behind(&self) -> Next {
        if self.slot >= self.steps {
            return Next::End;
        }
        Next::At(self.base + SLOT_BYTES * (self.slot as u64 + 1), 0)
    }

    /// Goes on at this place of the code.
    fn at(&self, pc: u64, masks: u64) -> Next {
        let offset = self.place(pc);
        if offset < PHASE_BYTES {
            Next::At(self.base + offset, masks)
        } else {
            self.behind()
        }
    }
}

/// Whether FAR_ELx says something with this syndrome: aborts that have an address, PC alignment, watchpoints (DDI 0487,
/// D24.2, "FAR_EL2").
fn has_address(esr: u64) -> bool {
    match esr >> 26 & 0x3f {
        // FnV.
        0x20 | 0x21 | 0x24 | 0x25 => esr >> 10 & 1 == 0,
        0x22 | 0x34 | 0x35 => true,
        _ => false,
    }
}

/// Whether HPFAR_EL2 says something: stage-2 faults of translation, access flag and address size, and those of a walk
/// of stage 1 (D24.2, "HPFAR_EL2").
fn has_ipa(esr: u64) -> bool {
    let is_lower = matches!(esr >> 26 & 0x3f, 0x20 | 0x24);
    let is_permission = esr & 0x3c == 0xc;
    let is_walk = esr >> 7 & 1 != 0;
    is_lower && esr & 0x3f < 0x10 && (is_walk || !is_permission)
}
