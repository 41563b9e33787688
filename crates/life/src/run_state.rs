//! Whether a virtual machine runs, and how its run ended.

use core::fmt;

/// The state of a virtual machine: it runs, or its run ended in one of these ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum RunState {
    /// Its run has not ended.
    Running,
    /// The guest powered it off.
    Off,
    /// The guest asked for a reset, and its description or the tool makes that a stop.
    Reset,
    /// All its vCPUs were switched off, so nothing could happen any more.
    Idle,
    /// The hypervisor could not go on with it.
    Failed,
}

impl RunState {
    /// The word for it in the record.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Off => "off",
            Self::Reset => "reset",
            Self::Idle => "idle",
            Self::Failed => "failed",
        }
    }

    /// The state that was stored as `bits`.
    pub(crate) const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Running,
            1 => Self::Off,
            2 => Self::Reset,
            3 => Self::Idle,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Off => "powered off",
            Self::Reset => "stopped at a reset",
            Self::Idle => "stopped, all its CPUs were off",
            Self::Failed => "stopped by Droste",
        })
    }
}
