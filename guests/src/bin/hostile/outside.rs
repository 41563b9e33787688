//! Every kind of access to addresses that are not this virtual machine's: each must end in an abort of its own.

use crate::probe::{Caught, NOTHING, Prober, VECTORS};
use core::fmt;
use droste_guests::RAM_BASE;
use droste_guests::encode::{load, store};
use droste_guests::map::{self, Window};
use droste_guests::mmio::{Device, GICD, RTC, UART};
use droste_guests::tree::Machine;

/// An access, as one instruction on the address in x1 that may change x0, x2 and x3.
struct Access {
    name: &'static str,
    code: u32,
    /// Whether it changes what it reaches.
    is_write: bool,
    /// Whether the CPU may leave it out: prefetches, cache maintenance, a store-exclusive without its load.
    is_optional: bool,
}

const fn read(name: &'static str, code: u32) -> Access {
    Access {
        name,
        code,
        is_write: false,
        is_optional: false,
    }
}

const fn write(name: &'static str, code: u32) -> Access {
    Access {
        name,
        code,
        is_write: true,
        is_optional: false,
    }
}

const fn optional(name: &'static str, code: u32) -> Access {
    Access {
        name,
        code,
        is_write: true,
        is_optional: true,
    }
}

/// DDI 0487, C4.1: registers 0, 2 and 3 transfer, register 1 is the address.
const ACCESSES: [Access; 26] = [
    read("ldrb", load(0, 0, 1)),
    read("ldrh", load(1, 0, 1)),
    read("ldr w", load(2, 0, 1)),
    read("ldr x", load(3, 0, 1)),
    read("ldrsb", 0x39800020),
    read("ldrsw", 0xb9800020),
    write("strb", store(0, 0, 1)),
    write("strh", store(1, 0, 1)),
    write("str w", store(2, 0, 1)),
    write("str x", store(3, 0, 1)),
    read("ldp", 0xa9400820),
    write("stp", 0xa9000820),
    read("ldr post-index", 0xf8408420),
    write("str pre-index", 0xf8008c20),
    read("ldr q", 0x3dc00020),
    write("str q", 0x3d800020),
    read("ldp q", 0xad400820),
    write("stp q", 0xad000820),
    read("ld1 four", 0x4c402020),
    read("ldar", 0xc8dffc20),
    write("stlr", 0xc89ffc20),
    read("ldxr", 0xc85f7c20),
    optional("stxr", 0xc8027c20),
    optional("prfm", 0xf9800020),
    optional("dc cvac", 0xd50b7a21),
    write("dc zva", 0xd50b7421),
];

/// Of FEAT_LSE.
const ATOMICS: [Access; 4] = [
    write("ldadd", 0xf8200022),
    write("swpb", 0x38208022),
    write("cas", 0xc8a07c22),
    write("casp", 0x48207c22),
];

/// Places between the virtual machine's own, where the machine that QEMU calls `virt` has devices of its own.
const DEVICES_OF_OTHERS: [u64; 19] = [
    0x0000_0000,
    0x0000_1000,
    0x0400_0000,
    0x07ff_f000,
    0x0801_0000,
    0x0802_0000,
    0x0808_0000,
    0x0900_1000,
    CLOCK,
    0x0901_1000,
    0x0902_0000,
    0x0903_0000,
    0x0904_0000,
    0x0a00_0000,
    0x0b00_0000,
    0x0c00_0000,
    0x1000_0000,
    0x3eff_0000,
    0x3fff_f000,
];

/// The one of these that the virtual machine has itself where the machine below has a clock.
const CLOCK: u64 = RTC.base();

/// The one of these whose data register answers part of a wide load and aborts the rest: left out where it is.
const CONFIGURATION_DEVICE: u64 = 0x0902_0000;

/// Extent of the widest access, LD1 of four registers.
const WIDEST_BYTES: u64 = 64;

/// Spacing of the sweep above RAM, which passes over the hypervisor's own memory wherever that lies.
const SWEEP_BYTES: u64 = 0x0100_0000;
const SWEEP_END: u64 = 0x1_4000_0000;

#[derive(Clone, Copy)]
struct Target {
    ipa: u64,
    /// Whether nothing may answer there. On the bare machine some places have a device; they are only read.
    must_abort: bool,
}

/// What a failure is about.
struct Subject<'a> {
    access: &'a str,
    window: Window,
    ipa: u64,
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {:#x} as {:?} memory",
            self.access, self.ipa, self.window
        )
    }
}

/// Tries everything everywhere. On a bare machine (argument `bare`) the devices there are left in peace.
pub(crate) fn probe(prober: &mut Prober, machine: &Machine) {
    let is_bare = machine.has_argument("bare");
    let has_atomics = droste_guests::cpu::id_aa64isar0() >> 20 & 0xf >= 2;
    let atomics = if has_atomics { &ATOMICS[..] } else { &[] };
    each_target(machine, is_bare, |target| {
        for window in [Window::Device, Window::Normal] {
            for access in ACCESSES
                .iter()
                .chain(atomics)
                .filter(|a| target.must_abort || !a.is_write)
            {
                touch(prober, access, window, target, 0);
            }
            touch(
                prober,
                &read("unaligned ldr", load(3, 0, 1)),
                window,
                target,
                1,
            );
            if target.must_abort {
                fetch(prober, window, target.ipa);
            }
        }
    });
    let clock = machine.has_rtc.then_some(RTC);
    for device in [GICD, Device::gicr(0), UART].into_iter().chain(clock) {
        for window in [Window::Device, Window::Normal] {
            fetch(prober, window, device.base());
        }
    }
    across_the_end(prober, machine);
}

fn each_target(machine: &Machine, is_bare: bool, mut f: impl FnMut(Target)) {
    for ipa in DEVICES_OF_OTHERS
        .into_iter()
        .filter(|ipa| !is_bare || *ipa != CONFIGURATION_DEVICE)
        .filter(|ipa| !machine.has_rtc || *ipa != CLOCK)
        .filter(|ipa| machine.serial != Some(*ipa))
    {
        f(Target {
            ipa,
            must_abort: !is_bare,
        });
    }
    let after_redistributors = Device::gicr(machine.vcpus).base();
    f(Target {
        ipa: after_redistributors,
        must_abort: !is_bare,
    });
    f(Target {
        ipa: RAM_BASE - WIDEST_BYTES,
        must_abort: !is_bare,
    });
    let above = machine.ram_end();
    for ipa in [above, above + 0x1000]
        .into_iter()
        .chain((above..SWEEP_END).step_by(SWEEP_BYTES as usize))
    {
        f(Target {
            ipa,
            must_abort: true,
        });
    }
    // QEMU puts PCI windows at 2^38 and 2^39.
    for bits in 33..=map::OUTPUT_BITS {
        for ipa in [1 << bits, (1 << bits) - 0x1000] {
            if ipa >> map::OUTPUT_BITS == 0 && ipa >= SWEEP_END {
                f(Target {
                    ipa,
                    must_abort: !is_bare || bits > 40,
                });
            }
        }
    }
}

fn touch(prober: &mut Prober, access: &Access, window: Window, target: Target, skew: u64) {
    let ipa = target.ipa + skew;
    let subject = Subject {
        access: access.name,
        window,
        ipa,
    };
    let address = map::open(window, ipa);
    let outcome = prober.run(
        &subject,
        &[access.code],
        [0x1111, address, 0x2222, 0x3333],
        VECTORS | 0b1111,
    );
    // Device memory lets stage 1 refuse what is misaligned, and DC ZVA.
    let is_refused = |c: Caught| c.is_outside() || window == Window::Device && c.is_alignment();
    match outcome.caught {
        Some(caught) if target.must_abort && !(is_refused(caught) && is_about(caught, address)) => {
            prober.fail(
                &subject,
                format_args!("raised {caught:x?} for {address:#x}"),
            );
        }
        None if target.must_abort && !access.is_optional => {
            prober.fail(
                &subject,
                format_args!("went through, x0 is {:#x}", outcome.x[0]),
            );
        }
        _ => {}
    }
}

/// Whether FAR_EL1 names the access.
fn is_about(caught: Caught, address: u64) -> bool {
    caught.far.wrapping_sub(address) < WIDEST_BYTES
}

/// Branches there. Devices that answer hold no code either, so that some exception must come back.
fn fetch(prober: &mut Prober, window: Window, ipa: u64) {
    let subject = Subject {
        access: "fetch",
        window,
        ipa,
    };
    let outcome = prober.run_at(&subject, map::open(window, ipa), [0; 4], NOTHING);
    if !outcome
        .caught
        .is_some_and(|c| c.is_abort() || c.is_undefined())
    {
        prober.fail(&subject, format_args!("raised {:x?}", outcome.caught));
    }
}

/// A load of which half is RAM and half is not.
fn across_the_end(prober: &mut Prober, machine: &Machine) {
    for (name, code) in [
        ("ldr x across the end", load(3, 0, 1)),
        ("ldr q across the end", 0x3dc00020),
    ] {
        let ipa = machine.ram_end() - 4;
        let subject = Subject {
            access: name,
            window: Window::Normal,
            ipa,
        };
        let outcome = prober.run(
            &subject,
            &[code],
            [0, map::open(Window::Normal, ipa), 0, 0],
            1,
        );
        if !outcome.caught.is_some_and(Caught::is_outside) {
            prober.fail(&subject, format_args!("raised {:x?}", outcome.caught));
        }
    }
}
