//! Identification registers that tell the truth: what a field shows works, and what it does not show is not there.
//!
//! `droste_guests::trials` has the fields and what to try. Runs at EL1, and at EL2 if it is a hypervisor. Prints each
//! difference, then `ids: N checks` and `ids: ok` when there was none. The word `nvhe` on the command line takes EL2 to
//! E2H = 0 first; `list` has each trial and what came of it printed.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod guest {
    use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use droste_guests::checks::Checks;
    use droste_guests::code::Code;
    use droste_guests::encode::{Name, RET};
    use droste_guests::trap::{self, Frame, Kind, Vector};
    use droste_guests::tree::Machine;
    use droste_guests::trials::{self, Field, How, Register, Whose};
    use droste_guests::{cpu, el2, fpu, println, smp};

    droste_guests::guest!(main: main, secondary: smp::none, exception: exception);

    /// What the routines want: bytes of memory, and their alignment.
    const MEMORY_BYTES: u64 = 4 * MEMORY_ALIGNMENT;
    const MEMORY_ALIGNMENT: u64 = 0x1_0000;
    /// Classes of ESR (DDI 0487, D24.2, "ESR_EL1"): nothing known, PSTATE.IL, a data abort of the level itself.
    const UNKNOWN: u64 = 0x00;
    const ILLEGAL: u64 = 0x0e;
    const DATA_ABORT: u64 = 0x25;
    /// DFSC: alignment.
    const ALIGNMENT: u64 = 0x21;
    /// PSTATE.M, and D, A, I and F.
    const MODE: u64 = 0x1f;
    const MASKED: u64 = 0x3c0;

    static CODE: Code<4> = Code::empty();
    static IS_TRYING: AtomicBool = AtomicBool::new(false);
    static IS_CAUGHT: AtomicBool = AtomicBool::new(false);
    static ESR: AtomicU64 = AtomicU64::new(0);
    static SPSR: AtomicU64 = AtomicU64::new(0);

    unsafe extern "C" {
        // `trials.s`: keeps what the calling convention asks for, with the exceptions that `exception` catches.
        fn try_enter(memory: u64, argument: u64, routine: unsafe extern "C" fn()) -> u64;
        fn try_state();
        fn try_mode();
        fn try_debug_off();
    }

    /// What a trial came to.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Outcome {
        /// It ended, with this in x0.
        Returned(u64),
        /// It raised an exception, with this syndrome and this state.
        Raised { esr: u64, spsr: u64 },
    }

    impl Outcome {
        fn has_class(self, class: u64) -> bool {
            matches!(self, Self::Raised { esr, .. } if esr >> 26 == class)
        }

        /// UNDEFINED, as it is without the feature.
        fn is_undefined(self) -> bool {
            self.has_class(UNKNOWN)
        }
    }

    fn main(machine: Machine) {
        fpu::enable();
        if cpu::is_el2() {
            el2::begin("ids", &machine);
            // Nothing traps: whatever is not there is UNDEFINED, and so for SVE and SME.
            el2::open();
            el2::set_cptr(if el2::is_vhe() { ALL_OF_CPACR } else { 0 });
        }
        cpu::set_cpacr(ALL_OF_CPACR);
        let memory = machine.unused().next_multiple_of(MEMORY_ALIGNMENT);
        assert!(memory + MEMORY_BYTES <= machine.ram_end().min(0x8000_0000));
        let mut bench = Bench {
            checks: Checks::new("ids"),
            memory,
            is_listed: machine.has_argument("list"),
        };
        for register in trials::registers() {
            register
                .fields
                .iter()
                .for_each(|f| bench.field(register, f));
        }
        bench.checks.report();
    }

    /// CPACR_EL1 and CPTR_EL2 with E2H = 1: ZEN, FPEN, SMEN, and E0POE for EL0.
    const ALL_OF_CPACR: u64 = 3 << 16 | 3 << 20 | 3 << 24;

    /// Where the trials are made.
    struct Bench {
        checks: Checks,
        memory: u64,
        is_listed: bool,
    }

    impl Bench {
        fn field(&mut self, register: &Register, field: &Field) {
            let own = field.of(self.register(register.register));
            let others = field.or.iter().map(|(name, shift)| {
                let value = self.register(*name);
                trials::cut(value, *shift, field.width, field.is_signed)
            });
            let value = others.fold(own, i64::max);
            let is_ours = match field.whose {
                Whose::Anyone => true,
                Whose::El1 => !cpu::is_el2(),
                Whose::Kernel => !cpu::is_el2() || el2::is_vhe(),
            };
            if !is_ours {
                return;
            }
            for (level, how) in field.levels {
                let is_shown = value >= *level;
                match how {
                    How::Grants(_) if !is_shown => continue,
                    How::RunAtEl1(..) | How::ReadsOfEl2(_) if !is_shown && cpu::is_el2() => {
                        continue;
                    }
                    How::NoMode(_) if is_shown => continue,
                    _ => {}
                }
                let name = (register.name, field.name);
                self.trial(name, value, *level, how);
            }
        }

        fn trial(&mut self, name: (&str, &str), value: i64, level: i64, how: &How) {
            let Some((works, outcome)) = self.does_work(how) else {
                return;
            };
            let (register, field) = name;
            let what = format_args!("{register}.{field} is {value}, {how:?} of level {level}");
            if self.is_listed {
                println!("ids: {what}: {works:?}, {outcome:x?}");
            }
            match works {
                Some(works) => {
                    let is_shown = value >= level;
                    self.checks.expect(what, works.into(), is_shown.into());
                }
                None => self.checks.fail(format_args!("{what}: {outcome:x?}")),
            }
        }

        /// Whether it works, or not, or neither; and what came of it.
        fn does_work(&mut self, how: &How) -> Option<(Option<bool>, Outcome)> {
            let outcome = match how {
                How::Run(routine)
                | How::RunAtEl1(routine, _)
                | How::Grants(routine)
                | How::Raises(routine, _) => self.run(0, routine.entry),
                How::Reads(name) | How::ReadsOfEl2(name) => return Some(self.read(*name)),
                How::State(bits) => self.run(*bits, try_state),
                How::Mode(mode, _) | How::NoMode(mode) => self.run(*mode, try_mode),
                How::Unseen(_) | How::Remains(_) => return None,
            };
            let works = match (how, outcome) {
                (How::Raises(_, class) | How::Mode(_, class), _) if outcome.has_class(*class) => {
                    Some(true)
                }
                (How::State(bits), Outcome::Raised { spsr, .. }) if outcome.is_undefined() => {
                    Some(spsr & bits == *bits)
                }
                (How::Mode(..) | How::NoMode(_), _) if outcome.has_class(ILLEGAL) => Some(false),
                (How::Run(_) | How::RunAtEl1(..) | How::Grants(_), Outcome::Returned(1)) => {
                    Some(true)
                }
                (_, Outcome::Returned(0)) => Some(false),
                (How::Run(_), Outcome::Raised { esr, .. })
                    if outcome.has_class(DATA_ABORT) && esr & 0x3f == ALIGNMENT =>
                {
                    Some(false)
                }
                _ if outcome.is_undefined() => Some(false),
                _ => None,
            };
            Some((works, outcome))
        }

        fn read(&mut self, name: Name) -> (Option<bool>, Outcome) {
            let outcome = self.code(&[name.read(0)]);
            let works = match outcome {
                Outcome::Returned(_) => Some(true),
                Outcome::Raised { .. } => outcome.is_undefined().then_some(false),
            };
            (works, outcome)
        }

        /// The value of a register that is there.
        fn register(&self, name: Name) -> u64 {
            match self.code(&[name.read(0)]) {
                Outcome::Returned(value) => value,
                Outcome::Raised { esr, .. } => panic!("{name:?} cannot be read: ESR {esr:#x}"),
            }
        }

        fn code(&self, code: &[u32]) -> Outcome {
            let at = CODE.write(code, RET);
            // SAFETY: the address of code.
            let entry = unsafe { core::mem::transmute::<u64, unsafe extern "C" fn()>(at) };
            self.run(0, entry)
        }

        fn run(&self, argument: u64, entry: unsafe extern "C" fn()) -> Outcome {
            for word in (self.memory..self.memory + MEMORY_BYTES).step_by(8) {
                // SAFETY: the memory is nobody else's.
                unsafe { (word as *mut u64).write_volatile(0) };
            }
            IS_CAUGHT.store(false, Ordering::SeqCst);
            IS_TRYING.store(true, Ordering::SeqCst);
            // SAFETY: the routine does what `trials.s` says, or is a read of a register.
            let value = unsafe { try_enter(self.memory, argument, entry) };
            IS_TRYING.store(false, Ordering::SeqCst);
            // SAFETY: stops what routines may have left of debug.
            unsafe { try_debug_off() };
            if !IS_CAUGHT.load(Ordering::SeqCst) {
                return Outcome::Returned(value);
            }
            Outcome::Raised {
                esr: ESR.load(Ordering::SeqCst),
                spsr: SPSR.load(Ordering::SeqCst),
            }
        }
    }

    /// Ends a trial: back to its caller, in the state of this level.
    fn exception(vector: Vector, frame: &mut Frame) {
        if vector.kind() != Kind::Synchronous
            || !IS_TRYING.load(Ordering::SeqCst)
            || IS_CAUGHT.swap(true, Ordering::SeqCst)
        {
            trap::unexpected(vector, frame);
        }
        let is_el2 = cpu::is_el2();
        ESR.store(
            if is_el2 { el2::esr() } else { cpu::esr() },
            Ordering::SeqCst,
        );
        SPSR.store(frame.spsr, Ordering::SeqCst);
        frame.elr = frame.x[30];
        let mode = if is_el2 {
            el2::mode::EL2H
        } else {
            el2::mode::EL1H
        };
        frame.spsr = mode & MODE | MASKED;
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
