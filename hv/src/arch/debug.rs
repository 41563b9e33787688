//! The hardware's breakpoints and watchpoints (DDI 0487, D2.8 and D2.9). They match below EL2 alone, and only while
//! MDSCR_EL1.MDE is 1, which it is for guests that have one on.

use droste_vdev::sysreg::{DebugRegisters, Point, Points};

use super::{mrs, msr};

/// Writes register `n` of a kind, whose names carry numbers.
macro_rules! write_numbered {
    ($before:literal, $after:literal, $n:expr, $value:expr; $($number:literal)*) => {
        match $n {
            // SAFETY: breakpoints and watchpoints have no effect at EL2, and none below it that its caller does not want.
            $($number => unsafe { msr!(concat!($before, $number, $after), $value) },)*
            _ => {}
        }
    };
    ($before:literal, $after:literal, $n:expr, $value:expr) => {
        write_numbered!($before, $after, $n, $value; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
}

/// How many breakpoints and how many watchpoints the CPU has.
fn counts() -> (u64, u64) {
    let dfr0 = mrs!("id_aa64dfr0_el1");
    ((dfr0 >> 12 & 0xf) + 1, (dfr0 >> 20 & 0xf) + 1)
}

/// All of them off: a reset leaves them unknown. Once a CPU, with the OS lock open.
pub(super) fn init_cpu() {
    let (breakpoints, watchpoints) = counts();
    for n in 0..breakpoints {
        write_numbered!("dbgbcr", "_el1", n, 0u64);
    }
    for n in 0..watchpoints {
        write_numbered!("dbgwcr", "_el1", n, 0u64);
    }
}

/// Gives the hardware what it needs of a guest's debug registers. Where the guest has no breakpoint and no watchpoint on,
/// the hardware's stay as they are, since none matches.
pub(crate) fn load(debug: &DebugRegisters) {
    let mut mdscr = debug.hardware_mdscr();
    if let Some((mde, points)) = debug.hardware_points(counts().0) {
        load_points(&points);
        mdscr |= mde;
    }
    // SAFETY: MDSCR_EL1 enables debug exceptions of EL1 and EL0 alone; EL2 routes none to itself.
    unsafe { msr!("mdscr_el1", mdscr) }
}

/// As [`load`], with none that matches.
pub(crate) fn load_without_points(debug: &DebugRegisters) {
    // SAFETY: as in `load`.
    unsafe { msr!("mdscr_el1", debug.hardware_mdscr()) }
}

#[cold]
fn load_points(points: &Points) {
    let first = counts().0 - points.breakpoints.len() as u64;
    for (n, Point { value, control }) in (first..).zip(points.breakpoints) {
        write_numbered!("dbgbvr", "_el1", n, value);
        write_numbered!("dbgbcr", "_el1", n, control);
    }
    for (n, Point { value, control }) in (0u64..).zip(points.watchpoints) {
        write_numbered!("dbgwvr", "_el1", n, value);
        write_numbered!("dbgwcr", "_el1", n, control);
    }
}
