//! A hypervisor that means harm to the one under it: tables, controls, returns, instructions and registers of every
//! kind, at random. Whatever it does ends in an exception to it, or in nothing; and afterwards it runs its own guest as
//! before.
//!
//! Prints what it has done, and in the end `hostile-el2: ok`. Words on the command line: `nvhe` as for the other guests
//! at EL2; `bare` for the machine that QEMU calls `virt`, leaves out what QEMU does not come back from.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod controls;
#[cfg(target_os = "none")]
mod instructions;
#[cfg(target_os = "none")]
mod prowler;
#[cfg(target_os = "none")]
mod tables;

#[cfg(target_os = "none")]
mod guest {
    use crate::prowler::Prowler;
    use crate::{controls, instructions, tables};
    use droste_guests::tree::Machine;
    use droste_guests::{el2, println, trap};

    droste_guests::guest!(main: main, secondary: tables::change_for_ever, exception: trap::unexpected_always);

    type Stage = fn(&mut Prowler);

    const STAGES: [(&str, Stage); 8] = [
        ("tables of every kind", tables::random),
        ("tables that change", tables::changing),
        ("VTTBR_EL2, VTCR_EL2, HCR_EL2", controls::random),
        ("thousands of VTTBR_EL2", controls::many),
        ("returns to everywhere", controls::returns),
        ("TLB maintenance and AT", instructions::maintenance),
        ("registers", instructions::registers),
        ("tables of every kind", tables::random),
    ];

    fn main(machine: Machine) {
        el2::begin("hostile-el2", &machine);
        let mut prowler = Prowler::new(&machine);
        for (name, stage) in STAGES {
            prowler.calm();
            stage(&mut prowler);
            prowler.calm();
            prowler.prove_alive(name);
        }
        println!("hostile-el2: ok");
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
