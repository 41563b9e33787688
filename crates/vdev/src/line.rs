//! The level of an interrupt line.

/// What a device drives on its interrupt line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// The device requests no interrupt.
    Low,
    /// The device requests an interrupt.
    High,
}

impl Line {
    /// High if `is_asserted`, else low.
    pub const fn from_asserted(is_asserted: bool) -> Self {
        if is_asserted { Self::High } else { Self::Low }
    }

    /// Whether the line is high.
    pub const fn is_high(self) -> bool {
        matches!(self, Self::High)
    }
}
