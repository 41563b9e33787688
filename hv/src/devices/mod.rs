//! What guests' loads, stores and timers meet, and where the machine's interrupts go.

pub(crate) mod interrupts;
pub(crate) mod mmio;
mod rtc;
pub(crate) mod timers;
mod uart;
pub(crate) mod vgic;
