//! Log lines about a guest's odd doings, at a bounded rate, and none that waits for room on the console.

use core::fmt;

use droste_resources::Complaint;

use super::logger;
use crate::arch::timer;
use crate::vm::Vm;

/// Says what odd thing the guest of `vm` did, unless it has done a lot of them lately.
pub(crate) fn add(vm: &Vm, what: fmt::Arguments<'_>) {
    let name = vm.name();
    let Complaint { hidden, is_shown } = vm.complaints.add(timer::now(), timer::frequency());
    let more = format_args!("{name}: {hidden} more of the kind were not shown");
    if hidden > 0 && !logger::warn_if_room(more) {
        vm.complaints.hide(hidden);
    }
    if is_shown && !logger::warn_if_room(format_args!("{name}: {what}")) {
        vm.complaints.hide(1);
    }
}
