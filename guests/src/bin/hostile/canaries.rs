//! State of the guest that no probe touches, looked at after each stage: memory, and system registers.
//!
//! Before anything else the guest shows that it would see a change: [`rehearse`] makes changes of every kind and wants
//! each reported.

use crate::probe::{NOTHING, Prober};
use core::cell::UnsafeCell;
use core::fmt;
use droste_guests::encode::Name;
use droste_guests::map;
use droste_guests::tree::Machine;

const PAGE_BYTES: u64 = 0x1000;
const CANARY_BYTES: usize = 0x4000;

/// Registers that hold patterns of the guest's: nothing else in it uses them.
const PATTERNED: [Name; 6] = [
    TPIDR_EL0,
    Name::new(3, 3, 13, 0, 3), // TPIDRRO_EL0
    Name::new(3, 0, 13, 0, 4), // TPIDR_EL1
    Name::new(3, 0, 13, 0, 1), // CONTEXTIDR_EL1
    Name::new(3, 0, 4, 1, 0),  // SP_EL0
    Name::new(3, 0, 2, 0, 1),  // TTBR1_EL1, whose walks are off
];
/// Registers that the guest runs by.
const AS_FOUND: [Name; 9] = [
    Name::new(3, 0, 1, 0, 0),  // SCTLR_EL1
    Name::new(3, 0, 1, 0, 2),  // CPACR_EL1
    Name::new(3, 0, 2, 0, 0),  // TTBR0_EL1
    Name::new(3, 0, 2, 0, 2),  // TCR_EL1
    Name::new(3, 0, 10, 2, 0), // MAIR_EL1
    Name::new(3, 0, 10, 3, 0), // AMAIR_EL1
    Name::new(3, 0, 12, 0, 0), // VBAR_EL1
    Name::new(3, 0, 14, 1, 0), // CNTKCTL_EL1
    Name::new(3, 2, 0, 0, 0),  // CSSELR_EL1
];
const TPIDR_EL0: Name = Name::new(3, 3, 13, 0, 2);
const REGISTERS: usize = PATTERNED.len() + AS_FOUND.len();

#[repr(C, align(4096))]
struct Page(UnsafeCell<[u8; CANARY_BYTES]>);

// SAFETY: this guest has one vCPU, which reaches the bytes by `Canaries::words` alone.
unsafe impl Sync for Page {}

static PAGES: Page = Page(UnsafeCell::new([0; CANARY_BYTES]));

/// Two pieces of memory and a set of registers with known values.
pub(crate) struct Canaries {
    last_page: u64,
    registers: [u64; REGISTERS],
}

impl Canaries {
    /// Writes the values; one of the pieces of memory is the last page of RAM.
    pub(crate) fn plant(prober: &mut Prober, machine: &Machine) -> Self {
        let mut canaries = Self {
            last_page: machine.ram_end() - PAGE_BYTES,
            registers: [0; REGISTERS],
        };
        for word in canaries.words() {
            // SAFETY: `words` gives memory that is nobody else's.
            unsafe { word.write_volatile(pattern(word as u64)) };
        }
        for (n, name) in PATTERNED.into_iter().enumerate() {
            let value = pattern(n as u64 + 1);
            prober.run(&"canary", &[name.write(1)], [0, value, 0, 0], NOTHING);
        }
        canaries.registers = read_all(prober);
        canaries
    }

    /// Looks whether all is as it was planted, and says that the stage is over.
    pub(crate) fn check(&self, prober: &mut Prober, stage: &str) {
        // SAFETY: `words` gives memory that is nobody else's.
        let changed = self
            .words()
            .find(|word| unsafe { word.read_volatile() } != pattern(*word as u64));
        if let Some(word) = changed {
            prober.fail(
                &stage,
                format_args!("changed memory that nothing wrote, at {word:?}"),
            );
        }
        let names = PATTERNED.into_iter().chain(AS_FOUND);
        let values = self.registers.into_iter().zip(read_all(prober));
        for (name, (old, new)) in names.zip(values).filter(|(_, (old, new))| old != new) {
            prober.fail(
                &stage,
                format_args!("changed {name:?} from {old:#x} to {new:#x}"),
            );
        }
    }

    fn words(&self) -> impl Iterator<Item = *mut u64> {
        let own = map::address_of(PAGES.0.get());
        let addresses =
            (own..own + CANARY_BYTES as u64).chain(self.last_page..self.last_page + PAGE_BYTES);
        addresses.step_by(8).map(|address| address as *mut u64)
    }
}

fn pattern(seed: u64) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn read_all(prober: &mut Prober) -> [u64; REGISTERS] {
    let mut names = PATTERNED.into_iter().chain(AS_FOUND);
    core::array::from_fn(|_| {
        let name = names.next().expect("as many names as registers");
        prober.run(&"canary", &[name.read(0)], [0; 4], 1).x[0]
    })
}

/// A change that a probe makes and must be caught at.
struct Tampering {
    what: &'static str,
    code: &'static [u32],
    may_change: u32,
}

const TAMPERINGS: [Tampering; 6] = [
    // movz x20, #0
    Tampering {
        what: "a general register",
        code: &[0xd2800014],
        may_change: NOTHING,
    },
    // movi v31.2d, #0
    Tampering {
        what: "a vector register",
        code: &[0x6f00e41f],
        may_change: NOTHING,
    },
    // mrs x1, fpsr; mvn x1, x1; msr fpsr, x1
    Tampering {
        what: "FPSR",
        code: &[0xd53b4421, 0xaa2103e1, 0xd51b4421],
        may_change: 1 << 1,
    },
    // mrs x1, fpcr; eor x1, x1, #1 << 22; msr fpcr, x1
    Tampering {
        what: "FPCR",
        code: &[0xd53b4401, 0xd26a0021, 0xd51b4401],
        may_change: 1 << 1,
    },
    // mrs x1, nzcv; mvn x1, x1; msr nzcv, x1
    Tampering {
        what: "the flags",
        code: &[0xd53b4201, 0xaa2103e1, 0xd51b4201],
        may_change: 1 << 1,
    },
    // udf #0; movz x0, #1: an instruction skipped is fine, what follows it is not.
    Tampering {
        what: "a register after a fault",
        code: &[0x00000000, 0xd2800020],
        may_change: NOTHING,
    },
];

impl fmt::Display for Tampering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

/// Changes one thing after the other, and fails unless each change is reported.
pub(crate) fn rehearse(prober: &mut Prober, canaries: &Canaries) {
    for tampering in TAMPERINGS {
        let is_seen = prober.rehearse(|p| {
            p.run(&tampering, tampering.code, [0; 4], tampering.may_change);
        });
        if !is_seen {
            prober.fail(&tampering, format_args!("can change without being seen"));
        }
    }
    let word = canaries.last_page as *mut u64;
    let write = |value| {
        // SAFETY: the first word of a canary page, which is nobody else's.
        unsafe { word.write_volatile(value) };
    };
    write(0);
    let is_memory_seen = prober.rehearse(|p| canaries.check(p, "rehearsal"));
    write(pattern(word as u64));
    let set =
        |p: &mut Prober, value| p.run(&"canary", &[TPIDR_EL0.write(1)], [0, value, 0, 0], NOTHING);
    set(prober, 0);
    let is_register_seen = prober.rehearse(|p| canaries.check(p, "rehearsal"));
    set(prober, canaries.registers[0]);
    if !is_memory_seen || !is_register_seen {
        prober.fail(&"a canary", format_args!("can change without being seen"));
    }
    canaries.check(prober, "rehearsal");
}
