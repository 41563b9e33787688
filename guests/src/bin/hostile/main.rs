//! A guest that means harm: it touches everything that is not its own, asks for everything that nobody grants, and
//! looks after each attempt whether anything of its own changed.
//!
//! Prints each failure, then `hostile: N probes, N aborts, N undefined` and `hostile: ok` when none failed. On the
//! bare machine that QEMU calls `virt` the argument `bare` leaves the devices in peace that Droste's machine lacks.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod canaries;
#[cfg(target_os = "none")]
mod devices;
#[cfg(target_os = "none")]
mod firmware;
#[cfg(target_os = "none")]
mod outside;
#[cfg(target_os = "none")]
mod probe;
#[cfg(target_os = "none")]
mod registers;
#[cfg(target_os = "none")]
mod states;

#[cfg(target_os = "none")]
mod guest {
    use crate::canaries::{self, Canaries};
    use crate::probe::{self, Prober};
    use crate::{devices, firmware, outside, registers, states};
    use droste_guests::tree::Machine;
    use droste_guests::{fpu, smp};

    droste_guests::guest!(main: main, secondary: smp::none, exception: probe::exception);

    type Stage = fn(&mut Prober, &Machine);

    const STAGES: [(&str, Stage); 6] = [
        ("addresses of others", outside::probe),
        ("system registers", registers::probe_registers),
        ("system instructions", registers::probe_instructions),
        ("firmware calls", firmware::probe),
        ("devices", devices::probe),
        ("processor states", states::probe),
    ];

    fn main(machine: Machine) {
        fpu::enable();
        let mut prober = Prober::new();
        let canaries = Canaries::plant(&mut prober, &machine);
        canaries::rehearse(&mut prober, &canaries);
        for (name, stage) in STAGES {
            stage(&mut prober, &machine);
            canaries.check(&mut prober, name);
            prober.stage_over(name);
        }
        prober.report();
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
