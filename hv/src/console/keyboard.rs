//! What is typed, and the interrupt that tells of it.

use super::report::{self, Moment};
use super::terminal::{self, INPUT_BYTES, Key};
use crate::vm::{Outcome, all};

/// The physical UART's interrupt: input arrived, or output has gone.
pub(crate) fn interrupt() {
    while let Some(key) = terminal::next_key() {
        match key {
            Key::Guest(byte) => input(byte),
            Key::Report => report::print(Moment::OnTheWay),
            Key::NextVm => switch_focus(),
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
        return switch_focus();
    };
    if terminal::queue(vm, byte) {
        log::warn!(
            "{} does not read its input: of what is typed ahead, more than {INPUT_BYTES} bytes are lost",
            vm.name()
        );
    }
}

/// Gives the keyboard to the next VM that runs.
fn switch_focus() {
    if let Some(vm) = terminal::switch_focus(all::vms()) {
        log::info!("input goes to {}", vm.name());
    }
}
