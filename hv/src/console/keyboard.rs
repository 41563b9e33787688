//! What is typed, and the interrupt that tells of it.

use super::report::{self, Moment};
use super::terminal::{self, INPUT_BYTES, Key};
use crate::vm::{Outcome, Vm, all};

/// The physical UART's interrupt: input arrived, or output has gone.
pub(crate) fn interrupt() {
    while let Some(key) = terminal::next_key() {
        match key {
            Key::Guest(byte) => input(byte),
            Key::Report => report::print(Moment::OnTheWay),
            Key::NextVm => terminal::switch_focus(all::vms()),
            Key::Help => tell_keys(),
            Key::None => {}
        }
    }
}

/// Queues a byte for the VM in focus, and offers it. Where that one has ended, the byte gives the keyboard to the next
/// one that runs: only then, so that what lines look like does not change under those who only read.
fn input(byte: u8) {
    let Some(focus) = terminal::focus() else {
        return;
    };
    let vm = all::vms().get(focus);
    let Some(vm) = vm.filter(|vm| vm.outcome() == Outcome::Running) else {
        return terminal::switch_focus(all::vms());
    };
    if terminal::queue(vm, byte) {
        log::warn!(
            "{} does not read its input: of what is typed ahead, more than {INPUT_BYTES} bytes are lost",
            vm.name()
        );
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
