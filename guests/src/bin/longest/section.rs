//! What is measured: marks around it, and its name.

use droste_guests::{cpu, println};

const BEGIN: u32 = 1;
const END: u32 = 14;
const PRINT_EXITS: u32 = 15;

/// Does `what` between marks.
pub(crate) fn section(name: &str, what: impl FnOnce()) {
    cpu::mark::<PRINT_EXITS>();
    cpu::mark::<BEGIN>();
    what();
    cpu::mark::<END>();
    cpu::mark::<PRINT_EXITS>();
    println!("longest: section {name} 1");
}
