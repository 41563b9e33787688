//! A hypervisor in miniature, at EL2, and what each thing that it does costs the hypervisor under it.
//!
//! Each section does one thing many times after a warm-up that looks whether it comes out right. An instruction-counting
//! tool sees mark 1 at its begin, 14 at its end, and then 15. A section prints `nested: section NAME TIMES` when it is
//! over: the n-th line belongs to the n-th mark 1. Nothing is printed between the marks. Prints each failure, and in the
//! end `nested: ok` if there was none.
//!
//! With E2H = 1 where there is FEAT_VHE; the word `nvhe` on the command line takes it to E2H = 0 first.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod instructions;
#[cfg(target_os = "none")]
mod meter;
#[cfg(target_os = "none")]
mod worlds;

#[cfg(target_os = "none")]
mod guest {
    use crate::meter::Meter;
    use crate::{instructions, worlds};
    use droste_guests::tree::Machine;
    use droste_guests::{el2, gic, smp, trap};

    droste_guests::guest!(main: main, secondary: smp::none, exception: trap::unexpected_always);

    fn main(machine: Machine) {
        el2::begin("nested", &machine);
        el2::prepare(1 << gic::HYPERVISOR_TIMER);
        el2::set_cnthctl(worlds::COUNTERS_OPEN);
        let mut meter = Meter::new();
        instructions::measure(&mut meter);
        worlds::measure(&mut meter, &machine);
        meter.report();
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
