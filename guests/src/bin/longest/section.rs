//! What is measured: marks around it, and its name.

use droste_guests::{cpu, println};

/// Does `what` between marks.
pub(crate) fn section(name: &str, what: impl FnOnce()) {
    cpu::between_marks::<1>(what);
    println!("longest: section {name} 1");
}
