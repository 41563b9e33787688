//! Everything that takes a hypervisor long, each asked for once: at EL1 of a machine with many vCPUs, or at EL2
//! with as many contexts as there are, full.
//!
//! An instruction-counting tool sees mark 1 before each, 14 behind it, and then 15; what it takes to get ready is outside.
//! Afterwards the guest prints `longest: section NAME 1`: the n-th line belongs to the n-th mark 1. In the end it says
//! `longest: ok`. Words on the command line: `nvhe` as for the other guests at EL2; `restart` has it do nothing but ask
//! for a reset with as much to clear away as can be, and end the second time; `contend` has vCPUs ask for the same
//! at once, so that they wait for each other.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod at_el1;
#[cfg(target_os = "none")]
mod at_el2;
#[cfg(target_os = "none")]
mod contention;
#[cfg(target_os = "none")]
mod section;

#[cfg(target_os = "none")]
mod guest {
    use crate::{at_el1, at_el2, contention};
    use droste_guests::tree::Machine;
    use droste_guests::{cpu, println, trap};

    droste_guests::guest!(main: main, secondary: contention::secondary, exception: trap::unexpected_always);

    fn main(machine: Machine) {
        match (machine.has_argument("contend"), cpu::is_el2()) {
            _ if machine.has_argument("restart") => at_el1::restart(&machine),
            (true, _) => contention::all(&machine),
            (false, true) => at_el2::all(&machine),
            (false, false) => at_el1::all(&machine),
        }
        println!("longest: ok");
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
