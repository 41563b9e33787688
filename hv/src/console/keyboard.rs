//! The physical UART's interrupt, and what comes of a key.

use droste_resources::{Event, INPUT_BYTES};

use super::report::{self, Moment};
use super::terminal;
use crate::vm::{Vm, all};

/// The physical UART's interrupt: input arrived, or output has gone.
pub(crate) fn interrupt() {
    let name = |vm: usize| all::vms()[vm].name();
    while let Some(event) = terminal::serve() {
        match event {
            Event::Quiet | Event::Focus(_) => {}
            Event::Report => report::print(Moment::OnTheWay),
            Event::Help(vm) => {
                log::info!(
                    "Ctrl-] s: report; Ctrl-] n: the keyboard goes to the next virtual machine; Ctrl-] Ctrl-]: sends a Ctrl-]"
                );
                log::info!("what else is typed goes to {}", name(vm));
            }
            Event::Lost(vm) => log::warn!(
                "{} does not read its input: of what is typed ahead, more than {INPUT_BYTES} bytes are lost",
                name(vm)
            ),
        }
    }
}

/// `vm` has ended, and others have not: whoever types at it learns how to go on.
pub(crate) fn tell_end(vm: &Vm) {
    if terminal::focus() == Some(vm.id) {
        log::info!("any key gives the keyboard to the next virtual machine");
    }
}
