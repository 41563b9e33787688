//! The machine's UART.

use core::ops::Range;

/// Which registers a UART has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UartModel {
    /// Arm's PrimeCell UART (DDI 0183).
    Pl011,
}

/// A UART, whose interrupt nobody needs before it receives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uart {
    /// Its registers' model.
    pub model: UartModel,
    /// Where they are.
    pub registers: Range<u64>,
}
