//! Processor states that no kernel asks for: odd exception returns, single steps and breakpoints, and sleep.

use crate::probe::{ANYTHING, NOTHING, Prober};
use core::fmt;
use droste_guests::encode::{ISB, Name, hvc};
use droste_guests::time::Timer;
use droste_guests::tree::Machine;
use droste_guests::{gic, psci};

const SPSR_EL1: Name = Name::new(3, 0, 4, 0, 0);
const ELR_EL1: Name = Name::new(3, 0, 4, 0, 1);
const MDSCR_EL1: Name = Name::new(2, 0, 0, 2, 2);
const DBGBVR0_EL1: Name = Name::new(2, 0, 0, 0, 4);
const DBGBCR0_EL1: Name = Name::new(2, 0, 0, 0, 5);
const ERET: u32 = 0xd69f03e0;
const NOP: u32 = 0xd503201f;
const SVC: u32 = 0xd4000001;
const BRK: u32 = 0xd4200000;
const WFI: u32 = 0xd503207f;
const WFE: u32 = 0xd503205f;
const SEVL: u32 = 0xd50320bf;
/// `ADR x1, #16`.
const ADR_X1_16: u32 = 0x10000081;

/// PSTATE bits 5 to 31 that an exception return may carry along, one set at a time and together: SS, IL, DAIF masks,
/// BTYPE, SSBS, ALLINT, DIT, TCO, UAO, PAN, NZCV.
const EXTRAS: [u64; 8] = [
    0x3c0,
    0x1c0,
    0x10_03c0,
    0x20_03c0,
    0x30_03c0,
    0x0fc0_3fc0,
    0xffff_ffc0,
    0x200,
];

/// MDSCR_EL1: SS, KDE, MDE.
const STEP_AND_BREAK: u64 = 1 | 1 << 13 | 1 << 15;
/// DBGBCR_EL1: enabled, EL1 and EL0, all bytes.
const BREAKPOINT_ON: u64 = 1 | 3 << 1 | 0xf << 5;

/// When a timer ends a sleep, in nanoseconds; if that is before the sleep begins, there is none.
const AWAKE_AFTER_NS: u64 = 10_000;

/// What a failure is about.
struct Subject(&'static str, u64);

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:#x}", self.0, self.1)
    }
}

/// All of it; ends with debug off and the timer off.
pub(crate) fn probe(prober: &mut Prober, _machine: &Machine) {
    for mode in 0..32 {
        for extra in EXTRAS {
            exception_return(prober, mode | extra);
        }
    }
    debug(prober);
    sleep(prober);
}

/// ERET with `spsr` to an SVC: whatever state that is, an exception comes back from it.
fn exception_return(prober: &mut Prober, spsr: u64) {
    let subject = Subject("eret with SPSR", spsr);
    let code = [ADR_X1_16, ELR_EL1.write(1), SPSR_EL1.write(2), ERET, SVC];
    // An AArch32 EL0 may leave the upper halves of the general registers zero (DDI 0487, D1, "Exception entry").
    let outcome = prober.run(&subject, &code, [0, 0, spsr, 0], ANYTHING);
    if outcome.caught.is_none() {
        prober.fail(&subject, format_args!("raised nothing"));
    }
}

/// A step or a breakpoint, or nothing but the SVC where a hypervisor keeps debug to itself.
fn debug(prober: &mut Prober) {
    let subject = Subject("step with MDSCR", STEP_AND_BREAK);
    let code = [
        MDSCR_EL1.write(3),
        ISB,
        ADR_X1_16,
        ELR_EL1.write(1),
        SPSR_EL1.write(2),
        ERET,
        NOP,
        SVC,
    ];
    let spsr = 0x20_01c5;
    expect_exception(prober, &subject, &code, [0, 0, spsr, STEP_AND_BREAK]);

    let subject = Subject("breakpoint with control", BREAKPOINT_ON);
    let code = [
        ADR_X1_16 + (4 << 5), // eight instructions on: the NOP
        DBGBVR0_EL1.write(1),
        DBGBCR0_EL1.write(0),
        MDSCR_EL1.write(3),
        ISB,
        ELR_EL1.write(1),
        SPSR_EL1.write(2),
        ERET,
        NOP,
        SVC,
    ];
    expect_exception(
        prober,
        &subject,
        &code,
        [BREAKPOINT_ON, 0, 0x1c5, STEP_AND_BREAK & !1],
    );
    prober.run(
        &Subject("debug off", 0),
        &[MDSCR_EL1.write(0), DBGBCR0_EL1.write(0), ISB],
        [0; 4],
        NOTHING,
    );

    let subject = Subject("brk", 0);
    expect_exception(prober, &subject, &[BRK], [0; 4]);
}

fn expect_exception(prober: &mut Prober, subject: &Subject, code: &[u32], x: [u64; 4]) {
    // The returns to the code under test set flags of their own.
    let outcome = prober.run(subject, code, x, ANYTHING);
    let is_expected = |class| matches!(class, 0x15 | 0x31 | 0x33 | 0x3c);
    if !outcome.caught.is_some_and(|c| is_expected(c.class())) {
        prober.fail(subject, format_args!("raised {:x?}", outcome.caught));
    }
}

/// WFI, WFE and standby with a timer armed and its interrupt masked: each must return.
fn sleep(prober: &mut Prober) {
    gic::enable_distributor();
    gic::enable_cpu(0, 1 << gic::VIRTUAL_TIMER);
    for round in 0..100 {
        for (name, code) in [
            ("wfi", &[WFI][..]),
            ("wfe", &[SEVL, WFE]),
            ("cpu_suspend", &[hvc(0)]),
        ] {
            Timer::Virtual.arm_in(AWAKE_AFTER_NS);
            let subject = Subject(name, round);
            let outcome = prober.run(&subject, code, [psci::CPU_SUSPEND, 0, 0, 0], 0b1111);
            if let Some(caught) = outcome.caught {
                prober.fail(&subject, format_args!("raised {caught:x?}"));
            }
            Timer::Virtual.disarm();
        }
    }
    gic::silence_cpu(0);
}
