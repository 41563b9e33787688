//! Timers of a vCPU with EL2 that are not in the hardware.
//!
//! The hardware's timers of EL1 are in turn those of virtual EL2 and those of its guest. The pair that is not in the
//! hardware drives its lines as values; its next deadline is kept for the CPU's own timer.

use droste_arm64::sysreg::{
    CNTHP_CTL_EL2, CNTHP_CVAL_EL2, CNTHV_CTL_EL2, CNTHV_CVAL_EL2, CNTP_CTL_EL0, CNTP_CVAL_EL0,
    CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVOFF_EL2,
};
use droste_arm64::vncr::{RegisterPage, Slot};
use droste_nested::registers::{Known, Loaded};
use droste_vdev::Line;
use droste_vdev::timer::{Pair, Parked, Registers, control};

use crate::arch::timer;
use crate::arch::traps::has_ecv;
use crate::vm::virtual_el2::{El2, in_page};

const CNTP_CTL: Slot = in_page(CNTP_CTL_EL0);
const CNTP_CVAL: Slot = in_page(CNTP_CVAL_EL0);
const CNTV_CTL: Slot = in_page(CNTV_CTL_EL0);
const CNTV_CVAL: Slot = in_page(CNTV_CVAL_EL0);
const CNTVOFF: Slot = in_page(CNTVOFF_EL2);
const CNTHP_CTL: Known = Known::new(CNTHP_CTL_EL2);
const CNTHP_CVAL: Known = Known::new(CNTHP_CVAL_EL2);
const CNTHV_CTL: Known = Known::new(CNTHV_CTL_EL2);
const CNTHV_CVAL: Known = Known::new(CNTHV_CVAL_EL2);

/// What the timers drive that are not in the hardware; that and their deadline are noted.
#[inline]
pub(crate) fn timers(el2: &mut El2) -> [Line; 2] {
    let timer = |control, compare, offset| Registers {
        control,
        compare,
        offset,
    };
    let registers = match el2.loaded {
        Loaded::El2 => {
            refresh_status(el2.page);
            let read = |slot| el2.page.read(slot);
            let physical = timer(read(CNTP_CTL), read(CNTP_CVAL), 0);
            let offset = read(CNTVOFF);
            el2.interrupts.offset = offset;
            [physical, timer(read(CNTV_CTL), read(CNTV_CVAL), offset)]
        }
        Loaded::El1 => {
            // Each by its name: in an array the table of rules would be looked at.
            let physical = timer(el2.get(CNTHP_CTL), el2.get(CNTHP_CVAL), 0);
            let virt = timer(el2.get(CNTHV_CTL), el2.get(CNTHV_CVAL), 0);
            [physical, virt]
        }
    };
    let parked = Parked::now(&registers, timer::now);
    el2.interrupts.deadline = parked.deadline;
    el2.interrupts.timers = parked.lines;
    parked.lines
}

/// Whose timers those are.
#[inline]
pub(crate) fn pair(el2: &El2) -> Pair {
    match el2.loaded {
        Loaded::El2 => Pair::El1,
        Loaded::El1 => Pair::El2,
    }
}

/// Whether virtual EL2 has changed something that they follow from, in memory, where nobody sees it; it is loaded.
pub(super) fn may_have_changed(el2: &El2) -> bool {
    el2.interrupts.timers != [Line::Low; 2] || el2.interrupts.offset != el2.page.read(CNTVOFF)
}

/// What the counter of a timer of L1's EL1 stands at, whose compare value is in `compare`.
pub(crate) fn count_of(page: RegisterPage<'_>, compare: Slot) -> u64 {
    if compare == CNTV_CVAL {
        virtual_count(page)
    } else {
        timer::now()
    }
}

/// The virtual count of L1's EL1.
pub(crate) fn virtual_count(page: RegisterPage<'_>) -> u64 {
    timer::now().wrapping_sub(page.read(CNTVOFF))
}

/// What virtual EL2 reads of a register in the page, which may be one of the timers of its EL1.
pub(crate) fn read(page: RegisterPage<'_>, slot: Slot) -> u64 {
    let compare = match slot {
        CNTP_CTL => CNTP_CVAL,
        CNTV_CTL => CNTV_CVAL,
        other => return page.read(other),
    };
    control(page.read(slot), page.read(compare), count_of(page, compare))
}

/// Whether `slot` is the compare value of a timer of L1's EL1 that is off.
pub(crate) fn is_compare_of_one_off(page: RegisterPage<'_>, slot: Slot) -> bool {
    const ENABLE: u64 = 1;
    let control = match slot {
        CNTP_CVAL => CNTP_CTL,
        CNTV_CVAL => CNTV_CTL,
        _ => return false,
    };
    page.read(control) & ENABLE == 0
}

/// Which of the two timers of L1's EL1 has its control register in `slot`.
pub(crate) fn of_control(slot: Slot) -> Option<usize> {
    match slot {
        CNTP_CTL => Some(0),
        CNTV_CTL => Some(1),
        _ => None,
    }
}

/// Puts ISTATUS of the timers of L1's EL1 into the page as it is now, where virtual EL2 reads it there. Where its accesses
/// trap, [`read`] has it.
fn refresh_status(page: RegisterPage<'_>) {
    if !has_ecv() {
        for slot in [CNTP_CTL, CNTV_CTL] {
            page.write(slot, read(page, slot));
        }
    }
}
