//! The UART of a VM.

use droste_vdev::Line;
use droste_vdev::pl011::Pl011;

/// A VM's UART, and what its GIC was last told of its interrupt line.
pub(crate) struct GuestUart {
    /// The device.
    pub(crate) model: Pl011,
    /// The level that the GIC was told last.
    pub(crate) told: Line,
}

impl GuestUart {
    /// A UART out of reset.
    pub(crate) const fn new() -> Self {
        Self {
            model: Pl011::new(),
            told: Line::Low,
        }
    }

    /// Whether the GIC is to be told of the line.
    #[inline]
    pub(crate) fn has_changed_line(&self) -> bool {
        self.model.line() != self.told
    }
}
