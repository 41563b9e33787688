//! A guest that means harm: it touches everything that is not its own, asks for everything that nobody grants, and
//! looks after each attempt whether anything of its own changed.
//!
//! Prints each failure, then `hostile: N probes, N aborts, N undefined` and `hostile: ok` when none failed. On the
//! bare machine that QEMU calls `virt` the argument `bare` leaves the devices in peace that Droste's machine lacks.

#![cfg_attr(target_os = "none", no_std, no_main)]

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
    use crate::{devices, firmware, outside, probe, registers, states};
    use droste_guests::tree::Machine;
    use droste_guests::{fpu, smp};

    droste_guests::guest!(main: main, secondary: smp::none, exception: probe::exception);

    fn main(machine: Machine) {
        fpu::enable();
        let is_bare = machine.has_argument("bare");
        let mut prober = probe::Prober::new(&machine);
        outside::probe(&mut prober, &machine, is_bare);
        prober.stage_over("addresses of others");
        registers::probe_registers(&mut prober);
        prober.stage_over("system registers");
        registers::probe_instructions(&mut prober, &machine);
        prober.stage_over("system instructions");
        firmware::probe(&mut prober, &machine);
        prober.stage_over("firmware calls");
        devices::probe(&mut prober, &machine);
        prober.stage_over("devices");
        states::probe(&mut prober);
        prober.stage_over("processor states");
        prober.report();
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
