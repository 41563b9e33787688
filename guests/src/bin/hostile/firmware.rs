//! HVC and SMC with what no firmware expects.

use crate::probe::Prober;
use core::fmt;
use droste_guests::encode::{hvc, smc};
use droste_guests::psci;
use droste_guests::tree::Machine;

/// SMCCC 1.1 results come in x0 to x3, everything else is preserved (DEN0028, "Register use in AArch64 calls").
const RESULTS: u32 = 0b1111;
const NOT_SUPPORTED: u32 = u32::MAX;

/// The last byte of PSCI functions that end or stop this vCPU when they succeed (DEN0022, 5), which is their right.
const ENDS_THE_CALLER: [u64; 9] = [
    0x02, // CPU_OFF
    0x08, // SYSTEM_OFF
    0x09, // SYSTEM_RESET
    0x0b, // CPU_FREEZE
    0x0c, // CPU_DEFAULT_SUSPEND
    0x0e, // SYSTEM_SUSPEND
    0x12, // SYSTEM_RESET2
    0x15, // SYSTEM_OFF2
    0x01, // CPU_SUSPEND: `states` tries it with a timer armed
];

/// What a failure is about.
struct Call {
    instruction: &'static str,
    immediate: u16,
    x: [u64; 4],
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} #{:#x} with {:x?}",
            self.instruction, self.immediate, self.x
        )
    }
}

/// Every PSCI function with arguments that make no sense, every owner of the convention, every bit of an immediate.
pub(crate) fn probe(prober: &mut Prober, machine: &Machine) {
    for base in [0x8400_0000, 0xc400_0000] {
        for function in (0..0x20).filter(|f| !ENDS_THE_CALLER.contains(f)) {
            for argument in [0, 1, 0xff, 0x100, 0xff_ffff, 1 << 32, 0x8000_0000, u64::MAX] {
                call(prober, 0, [base + function, argument, 3, argument]);
            }
        }
    }
    probe_cpu_on(prober, machine);
    for owner in (0x80..=0xbf).chain(0xc0..=0xff).chain(0x00..=0x7f_u64) {
        for number in [0, 1, 0x20, 0x3fff, 0xfeff, 0xff01, 0xffff] {
            let function = owner << 24 | number;
            if !is_psci(function) {
                call(prober, 0, [function, u64::MAX, u64::MAX, u64::MAX]);
                call(prober, 0, [function | 0xdead << 32, 0, 0, 0]);
            }
        }
    }
    for bit in 0..16 {
        for immediate in [1 << bit, !(1 << bit), (1u32 << bit).wrapping_sub(1) as u16] {
            call(prober, immediate, [0xc300_ffff, 1, 2, 3]);
        }
    }
}

fn is_psci(function: u64) -> bool {
    function & 0xbfff_ffe0 == 0x8400_0000
}

/// HVC must answer; SMC may answer or be undefined.
fn call(prober: &mut Prober, immediate: u16, x: [u64; 4]) {
    let subject = Call {
        instruction: "hvc",
        immediate,
        x,
    };
    let outcome = prober.run(&subject, &[hvc(immediate)], x, RESULTS);
    match outcome.caught {
        Some(caught) if immediate == 0 || !caught.is_undefined() => {
            prober.fail(&subject, format_args!("raised {caught:x?}"));
        }
        None if immediate == 0 && x[0] == 0xc400_001f && outcome.x[0] as u32 != NOT_SUPPORTED => {
            prober.fail(
                &subject,
                format_args!("an unknown function answers {:#x}", outcome.x[0]),
            );
        }
        _ => {}
    }
    let subject = Call {
        instruction: "smc",
        ..subject
    };
    let outcome = prober.run(&subject, &[smc(immediate)], x, RESULTS);
    if let Some(caught) = outcome.caught.filter(|c| !c.is_undefined()) {
        prober.fail(&subject, format_args!("raised {caught:x?}"));
    }
}

/// CPU_ON of itself, and of vCPUs that are not there, with entries that are not memory.
fn probe_cpu_on(prober: &mut Prober, machine: &Machine) {
    let above = machine.vcpus as u64;
    let nobody = [
        above,
        0xff,
        0x100,
        0xff_ffff,
        0xff << 32,
        1 << 24,
        1 << 31,
        1 << 40,
        u64::MAX,
    ];
    for target in nobody {
        expect_error(prober, [psci::AFFINITY_INFO, target, 0, 0]);
    }
    for entry in [
        0,
        1,
        0x0900_0000,
        machine.ram_end(),
        machine.ram_end() - 4,
        1 << 47,
        u64::MAX,
    ] {
        for target in nobody {
            expect_error(prober, [psci::CPU_ON, target, entry, 0]);
        }
        expect_error(prober, [psci::CPU_ON, 0, entry, 0]);
    }
}

fn expect_error(prober: &mut Prober, x: [u64; 4]) {
    let subject = Call {
        instruction: "hvc",
        immediate: 0,
        x,
    };
    let outcome = prober.run(&subject, &[hvc(0)], x, RESULTS);
    if outcome.caught.is_some() || outcome.x[0].cast_signed() >= 0 {
        prober.fail(
            &subject,
            format_args!("answers {:#x}, raised {:x?}", outcome.x[0], outcome.caught),
        );
    }
}
