//! The physical UART's interrupt, and what comes of a key.

use droste_resources::{Event, INPUT_BYTES};

use super::report::{self, Moment};
use super::terminal;
use crate::vm::{Vm, all};

/// Bytes of input that one interrupt brings, as many as a PL011 holds. It interrupts again for more.
const AT_ONCE: usize = 32;

/// The physical UART's interrupt: input arrived, or output has gone.
pub(crate) fn interrupt() {
    let name = |vm: usize| all::vms()[vm].name();
    for _ in 0..AT_ONCE {
        let Some(event) = terminal::serve() else {
            return;
        };
        match event {
            Event::Quiet => {}
            Event::Report => report::print(Moment::OnTheWay),
            Event::Help => tell_keys(),
            Event::Focus(vm) => {
                log::info!("input goes to {}", name(vm));
                terminal::give(vm);
            }
            Event::Lost(vm) => log::warn!(
                "{} does not read its input: of what is typed ahead, more than {INPUT_BYTES} bytes are lost",
                name(vm)
            ),
        }
    }
}

/// Says what can be typed behind the escape key, and who hears everything else.
fn tell_keys() {
    log::info!(
        "Ctrl-] s: report; Ctrl-] n: the keyboard goes to the next virtual machine; Ctrl-] Ctrl-]: sends a Ctrl-]"
    );
    let focus = terminal::focus().and_then(|focus| all::vms().get(focus));
    if let Some(vm) = focus {
        log::info!("what else is typed goes to {}", vm.name());
    }
}

/// `vm` has ended, and others have not: whoever types at it learns how to go on.
pub(crate) fn tell_end(vm: &Vm) {
    if terminal::focus() == Some(vm.id) {
        log::info!("any key gives the keyboard to the next virtual machine");
    }
}
