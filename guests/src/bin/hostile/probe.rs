//! Executes one made-up piece of code at a time, catches what it raises, and looks whether anything changed that it
//! must not change: general registers, flags, floating point.

use core::arch::global_asm;
use core::fmt::Display;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use droste_guests::code::Code;
use droste_guests::encode::RET;
use droste_guests::fpu::State;
use droste_guests::trap::{self, Frame, Kind, Vector};
use droste_guests::{cpu, println};

global_asm!(include_str!("../../registers.s"), include_str!("probe.s"));

/// More failures than this are only counted.
const SHOWN_FAILURES: u32 = 20;
/// Exceptions after which a probe is taken for a loop.
const MOST_EXCEPTIONS: u64 = 16;
/// PSTATE after a caught exception: EL1 with its own stack pointer, everything masked.
const EL1H_MASKED: u64 = 0x3c5;
const PSTATE_MODE: u64 = 0x1f;
/// PSTATE.SS and PSTATE.IL: an exception that they caused would only repeat.
const PSTATE_STEP_OR_ILLEGAL: u64 = 1 << 21 | 1 << 20;
/// ESR_EL1.EC of SVC.
const SVC_CLASS: u64 = 0x15;

/// What `probe.s` loads and stores: x0 to x29, the code's address, NZCV.
#[repr(C)]
struct Block {
    x: [u64; 30],
    target: u64,
    nzcv: u64,
}

unsafe extern "C" {
    fn probe_run(block: *mut Block);
}

static CODE: Code<16> = Code::empty();

static IS_PROBING: AtomicBool = AtomicBool::new(false);
static EXCEPTIONS: AtomicU64 = AtomicU64::new(0);
static FIRST_ESR: AtomicU64 = AtomicU64::new(0);
static FIRST_FAR: AtomicU64 = AtomicU64::new(0);

/// The registers a probe may change, bit n for xn: none.
pub(crate) const NOTHING: u32 = 0;
/// Every general register and the flags: for code whose effect on them the architecture leaves open.
pub(crate) const ANYTHING: u32 = (1 << 30) - 1;
/// Floating-point registers as well, unless the probe faults.
pub(crate) const VECTORS: u32 = 1 << 31;

/// An exception that a probe raised first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Caught {
    /// ESR_EL1.
    pub(crate) esr: u64,
    /// FAR_EL1, which only an abort sets.
    pub(crate) far: u64,
}

impl Caught {
    /// The exception class.
    pub(crate) fn class(self) -> u64 {
        self.esr >> 26 & 0x3f
    }

    /// Instruction or data abort, from EL1 or (by an odd ERET) EL0.
    pub(crate) fn is_abort(self) -> bool {
        matches!(self.class(), 0x20 | 0x21 | 0x24 | 0x25)
    }

    /// UNDEFINED, or a trap that an EL1 sets for itself: floating point, SVE, SME, system registers.
    pub(crate) fn is_undefined(self) -> bool {
        matches!(self.class(), 0x00 | 0x07 | 0x18 | 0x19 | 0x1d)
    }

    /// Of an abort, whether it says that nothing answers at the address: external abort, address size fault, or
    /// unsupported exclusive or atomic (DDI 0487, D24, "ESR_EL1", DFSC).
    pub(crate) fn is_outside(self) -> bool {
        self.is_abort() && matches!(self.esr & 0x3f, 0x00..=0x03 | 0x10 | 0x13..=0x17 | 0x29 | 0x35)
    }

    /// Of an abort, whether stage 1 found the access misaligned.
    pub(crate) fn is_alignment(self) -> bool {
        self.is_abort() && self.esr & 0x3f == 0x21
    }
}

/// What became of a probe.
pub(crate) struct Outcome {
    /// x0 to x3 afterwards.
    pub(crate) x: [u64; 4],
    /// The first exception, if there was one.
    pub(crate) caught: Option<Caught>,
}

/// Runs probes and keeps the account.
pub(crate) struct Prober {
    probes: u64,
    aborts: u64,
    undefined: u64,
    failures: u32,
    floating: State,
    is_rehearsal: bool,
}

impl Prober {
    /// Fills the floating-point registers.
    pub(crate) fn new() -> Self {
        let floating = State::pattern(0x5eed);
        floating.load();
        Self {
            probes: 0,
            aborts: 0,
            undefined: 0,
            failures: 0,
            floating,
            is_rehearsal: false,
        }
    }

    /// Runs `code` with x0 to x3 from `x`. It may change the general registers of the bit mask `may_change`, unless
    /// its one instruction faults: then none.
    pub(crate) fn run(
        &mut self,
        what: &dyn Display,
        code: &[u32],
        x: [u64; 4],
        may_change: u32,
    ) -> Outcome {
        let outcome = self.run_at(what, CODE.write(code, RET), x, may_change);
        if code.len() == 1 && outcome.caught.is_some() && may_change != ANYTHING && outcome.x != x {
            self.fail(
                what,
                format_args!(
                    "faulted and changed x0 to x3 from {x:x?} to {:x?}",
                    outcome.x
                ),
            );
        }
        outcome
    }

    /// Branches to `target`, as [`run`](Self::run) does to code of its own.
    pub(crate) fn run_at(
        &mut self,
        what: &dyn Display,
        target: u64,
        x: [u64; 4],
        may_change: u32,
    ) -> Outcome {
        self.probes += 1;
        let before: [u64; 30] = core::array::from_fn(|n| match x.get(n) {
            Some(value) => *value,
            None => (self.probes << 32).wrapping_mul(0x9e37_79b9) ^ n as u64,
        });
        let nzcv = (self.probes & 0xf) << 28;
        let mut block = Block {
            x: before,
            target,
            nzcv,
        };
        EXCEPTIONS.store(0, Ordering::Relaxed);
        IS_PROBING.store(true, Ordering::SeqCst);
        // SAFETY: the code may do anything that EL1 can; that this breaks nothing is what the guest is there to find
        // out. What it must not do to itself, its callers leave out.
        unsafe { probe_run(&raw mut block) };
        IS_PROBING.store(false, Ordering::SeqCst);
        let caught = (EXCEPTIONS.load(Ordering::Relaxed) != 0).then(|| Caught {
            esr: FIRST_ESR.load(Ordering::Relaxed),
            far: FIRST_FAR.load(Ordering::Relaxed),
        });
        self.aborts += u64::from(caught.is_some_and(Caught::is_abort));
        self.undefined += u64::from(caught.is_some_and(Caught::is_undefined));
        let may_change = if caught.is_some() {
            may_change & !VECTORS
        } else {
            may_change
        };
        self.check_registers(what, &before, &block, nzcv, may_change);
        let [x0, x1, x2, x3, ..] = block.x;
        Outcome {
            x: [x0, x1, x2, x3],
            caught,
        }
    }

    fn check_registers(
        &mut self,
        what: &dyn Display,
        before: &[u64; 30],
        after: &Block,
        nzcv: u64,
        may_change: u32,
    ) {
        for (n, (old, new)) in before.iter().zip(&after.x).enumerate() {
            if old != new && may_change >> n & 1 == 0 {
                self.fail(what, format_args!("changed x{n} from {old:#x} to {new:#x}"));
            }
        }
        if may_change != ANYTHING && after.nzcv != nzcv {
            self.fail(
                what,
                format_args!("changed NZCV from {nzcv:#x} to {:#x}", after.nzcv),
            );
        }
        if let Some(register) = State::current().difference(&self.floating) {
            if may_change & VECTORS == 0 {
                self.fail(
                    what,
                    format_args!("changed floating-point register {register} (32 FPCR, 33 FPSR)"),
                );
            }
            self.floating.load();
        }
    }

    /// Whether `tamper` makes something fail, as it must; that failure is neither shown nor counted.
    pub(crate) fn rehearse(&mut self, tamper: impl FnOnce(&mut Self)) -> bool {
        let before = self.failures;
        self.is_rehearsal = true;
        tamper(self);
        self.is_rehearsal = false;
        core::mem::replace(&mut self.failures, before) != before
    }

    /// Records a failure.
    pub(crate) fn fail(&mut self, what: &dyn Display, why: core::fmt::Arguments<'_>) {
        self.failures += 1;
        if self.failures <= SHOWN_FAILURES && !self.is_rehearsal {
            println!("hostile: failed: {what}: {why}");
        }
    }

    /// Says that a stage is over, and how far the guest has come.
    pub(crate) fn stage_over(&self, stage: &str) {
        println!("hostile: {stage}: {} probes so far", self.probes);
    }

    /// Prints the account; the guest is well when nothing failed.
    pub(crate) fn report(&self) {
        println!(
            "hostile: {} probes, {} aborts, {} undefined",
            self.probes, self.aborts, self.undefined
        );
        if self.failures == 0 {
            println!("hostile: ok");
        } else {
            println!("hostile: {} failures", self.failures);
        }
    }
}

/// Steps over what a probe raised: to the next instruction of the probe's own code. Where the code has left that, or
/// ends with the exception (SVC, a step, an illegal state), back to its caller.
pub(crate) fn exception(vector: Vector, frame: &mut Frame) {
    let count = EXCEPTIONS.fetch_add(1, Ordering::Relaxed);
    if vector.kind() != Kind::Synchronous
        || !IS_PROBING.load(Ordering::SeqCst)
        || count > MOST_EXCEPTIONS
    {
        trap::unexpected(vector, frame);
    }
    if count == 0 {
        FIRST_ESR.store(cpu::esr(), Ordering::Relaxed);
        FIRST_FAR.store(cpu::far(), Ordering::Relaxed);
    }
    let was_el1h = frame.spsr & PSTATE_MODE == EL1H_MASKED & PSTATE_MODE;
    let is_whole = frame.spsr & PSTATE_STEP_OR_ILLEGAL == 0 && cpu::esr() >> 26 != SVC_CLASS;
    frame.elr = if CODE.contains(frame.elr) && was_el1h && is_whole {
        frame.elr + 4
    } else {
        frame.x[30]
    };
    frame.spsr = frame.spsr & !(PSTATE_MODE | PSTATE_STEP_OR_ILLEGAL) | EL1H_MASKED;
}
