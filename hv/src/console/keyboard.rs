//! The physical UART's interrupt, and what comes of a key.

use droste_resources::{Event, INPUT_BYTES};

use super::report::{self, Moment};
use super::terminal;
use crate::vm::all;

/// The physical UART's interrupt: input arrived, or output has gone.
pub(crate) fn interrupt() {
    let name = |vm: usize| all::vms()[vm].name();
    while let Some(event) = terminal::serve() {
        match event {
            Event::Quiet => {}
            Event::Report => report::print(Moment::OnTheWay),
            Event::Focus(vm) => log::info!("input goes to {}", name(vm)),
            Event::Lost(vm) => log::warn!(
                "{} does not read its input: of what is typed ahead, more than {INPUT_BYTES} bytes are lost",
                name(vm)
            ),
        }
    }
}
