//! What EL2 does by the architecture, looked at from EL2: exceptions to it, returns from it, its registers and those of
//! the EL1 under it, its traps, translations, timers and interrupts. It holds on the bare machine, and must hold for a
//! guest at a virtual EL2.
//!
//! Prints each failure, then `vel2: N checks` and `vel2: ok` when none failed. With E2H = 1 where there is FEAT_VHE; the
//! word `nvhe` on the command line takes it to E2H = 0 first. `no-ecv` says that a hypervisor under it has no FEAT_ECV.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod debug;
#[cfg(target_os = "none")]
mod exceptions;
#[cfg(target_os = "none")]
mod faults;
#[cfg(target_os = "none")]
mod interrupts;
#[cfg(target_os = "none")]
mod lab;
#[cfg(target_os = "none")]
mod maintenance;
#[cfg(target_os = "none")]
mod names;
#[cfg(target_os = "none")]
mod parked;
#[cfg(target_os = "none")]
mod registers;
#[cfg(target_os = "none")]
mod returns;
#[cfg(target_os = "none")]
mod routing;
#[cfg(target_os = "none")]
mod stage1;
#[cfg(target_os = "none")]
mod timers;
#[cfg(target_os = "none")]
mod translations;
#[cfg(target_os = "none")]
mod traps;

#[cfg(target_os = "none")]
mod guest {
    use crate::lab::Lab;
    use crate::{
        debug, exceptions, faults, interrupts, maintenance, parked, registers, returns, routing,
        timers, translations, traps,
    };
    use droste_guests::tree::Machine;
    use droste_guests::{el2, println, smp, trap};

    droste_guests::guest!(main: main, secondary: smp::none, exception: trap::unexpected_always);

    type Stage = fn(&mut Lab);

    const STAGES: [(&str, Stage); 12] = [
        ("exceptions", exceptions::check),
        ("returns", returns::check),
        ("registers", registers::check),
        ("traps", traps::check),
        ("faults", faults::check),
        ("translations", translations::check),
        ("timers", timers::check),
        ("parked timers", parked::check),
        ("interrupts", interrupts::check),
        ("routing", routing::check),
        ("maintenance", maintenance::check),
        ("debug", debug::check),
    ];

    fn main(machine: Machine) {
        el2::begin("vel2", &machine);
        let mut lab = Lab::new(&machine);
        for (name, check) in STAGES {
            println!("vel2: {name}");
            lab.reset();
            check(&mut lab);
        }
        lab.checks.report();
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
