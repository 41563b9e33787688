//! Every system register name and every system instruction name, read and written.

use crate::probe::{NOTHING, Prober};
use core::fmt;
use droste_guests::encode::{ISB, Name};
use droste_guests::map::{self, Window};
use droste_guests::tree::Machine;

/// Registers that are read but not written, each with what the write would do to this guest by right.
const KEPT: [(Name, &str); 13] = [
    (
        Name::new(3, 0, 1, 0, 0),
        "SCTLR_EL1: ends the translation that the guest runs under",
    ),
    (Name::new(3, 0, 1, 0, 3), "SCTLR2_EL1: extends SCTLR_EL1"),
    (
        Name::new(3, 0, 2, 0, 0),
        "TTBR0_EL1: the translation itself",
    ),
    (Name::new(3, 0, 2, 0, 2), "TCR_EL1: the translation's shape"),
    (Name::new(3, 0, 2, 0, 3), "TCR2_EL1: extends TCR_EL1"),
    (
        Name::new(3, 0, 2, 5, 0),
        "GCSCR_EL1: returns would need a guarded stack",
    ),
    (Name::new(3, 0, 4, 2, 0), "SPSel: chooses another stack"),
    (
        Name::new(3, 0, 10, 2, 0),
        "MAIR_EL1: the memory types the guest runs in",
    ),
    (Name::new(3, 0, 10, 2, 1), "MAIR2_EL1: extends MAIR_EL1"),
    (
        Name::new(3, 0, 12, 0, 0),
        "VBAR_EL1: where exceptions are caught",
    ),
    (Name::new(3, 0, 12, 0, 2), "RMR_EL1: asks for a reset"),
    (
        Name::new(3, 3, 4, 2, 1),
        "DAIF: lets the interrupts in that other writes raise",
    ),
    (
        Name::new(3, 3, 4, 2, 2),
        "SVCR: entering streaming mode clears the vector registers",
    ),
];

/// NZCV and the random numbers, whose reads report success in NZCV (DDI 0487, D24, "RNDR"): the flags change by right.
const CHANGES_FLAGS: [Name; 3] = [
    Name::new(3, 3, 4, 2, 0),
    Name::new(3, 3, 2, 4, 0),
    Name::new(3, 3, 2, 4, 1),
];

const OSLAR: Name = Name::new(2, 0, 1, 0, 4);

/// What a failure is about.
struct Subject(Name, &'static str);

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name {
            op0,
            op1,
            crn,
            crm,
            op2,
        } = self.0;
        write!(f, "{} S{op0}_{op1}_C{crn}_C{crm}_{op2}", self.1)
    }
}

/// Reads every register name; writes zeros and ones to all but [`KEPT`], putting the old value back at once.
pub(crate) fn probe_registers(prober: &mut Prober, _machine: &Machine) {
    for name in [2, 3]
        .into_iter()
        .flat_map(Name::all)
        .filter(|n| !CHANGES_FLAGS.contains(n))
    {
        let subject = Subject(name, "read of");
        let read = prober.run(&subject, &[name.read(0)], [0x4ead, 0, 0, 0], 1);
        expect_undefined(prober, &subject, read.caught);
        if KEPT.iter().any(|(kept, _)| *kept == name) {
            continue;
        }
        let old = read.caught.is_none().then_some(read.x[0]);
        for value in [0, u64::MAX] {
            write(prober, name, value, old);
        }
    }
    prober.run(
        &Subject(OSLAR, "write of"),
        &[OSLAR.write(1)],
        [0; 4],
        NOTHING,
    );
}

/// x1 is the value, x2 what comes back, x3 the old value.
fn write(prober: &mut Prober, name: Name, value: u64, old: Option<u64>) {
    let subject = Subject(name, "write of");
    let outcome = match old {
        Some(old) => {
            let code = [name.write(1), ISB, name.read(2), name.write(3), ISB];
            prober.run(&subject, &code, [0, value, 0, old], 1 << 2)
        }
        None => prober.run(&subject, &[name.write(1), ISB], [0, value, 0, 0], NOTHING),
    };
    expect_undefined(prober, &subject, outcome.caught);
}

fn expect_undefined(prober: &mut Prober, subject: &Subject, caught: Option<crate::probe::Caught>) {
    if let Some(caught) = caught.filter(|c| !c.is_undefined()) {
        prober.fail(subject, format_args!("raised {caught:x?}"));
    }
}

/// Every system instruction name, with arguments that are nothing, everything, own memory and someone else's.
pub(crate) fn probe_instructions(prober: &mut Prober, machine: &Machine) {
    let scratch = machine.ram_end() - 0x20_0000;
    let outside = map::open(Window::Normal, machine.ram_end());
    for name in Name::all(1) {
        for argument in [0, u64::MAX, scratch, outside] {
            let subject = Subject(name, "sys");
            let outcome = prober.run(&subject, &[name.write(1)], [0, argument, 0, 0], NOTHING);
            if let Some(caught) = outcome
                .caught
                .filter(|c| !c.is_undefined() && !c.is_abort())
            {
                prober.fail(
                    &subject,
                    format_args!("with {argument:#x} raised {caught:x?}"),
                );
            }
        }
        let subject = Subject(name, "sysl");
        let outcome = prober.run(&subject, &[name.read(0)], [0x4ead, 0, 0, 0], 1);
        expect_undefined(prober, &subject, outcome.caught);
    }
}
