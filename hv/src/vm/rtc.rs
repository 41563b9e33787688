//! The clock of a VM.

use droste_vdev::Line;
use droste_vdev::pl031::Pl031;

use crate::arch::timer;
use crate::machine::machine;

/// A VM's clock, and what its GIC was last told of its interrupt line.
pub(crate) struct GuestRtc {
    /// The device.
    pub(crate) model: Pl031,
    /// The level that the GIC was told last.
    pub(crate) told: Line,
    /// The index of the CPU that watches for the alarm: the one on which the clock was used last.
    pub(crate) watcher: usize,
}

impl GuestRtc {
    /// One that shows the machine's time.
    pub(crate) const fn new() -> Self {
        Self {
            model: Pl031::new(),
            told: Line::Low,
            watcher: 0,
        }
    }

    /// The same after a reset of its VM, for a GIC that is new: it keeps its time.
    pub(crate) fn renew(&mut self) {
        if let Some(clock) = &machine().clock {
            self.model.reset(clock.seconds(timer::now()));
        }
        self.told = Line::Low;
    }
}
