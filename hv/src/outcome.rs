//! How a virtual machine's run ended.

use core::fmt;

/// How a VM's run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Outcome {
    /// It has not.
    Running,
    /// The guest powered it off.
    Off,
    /// The guest asked for a reset, which its description or the tool turned into a stop.
    Reset,
    /// All its virtual CPUs were switched off, so nothing could ever happen again.
    Idle,
    /// Droste could not go on with it.
    Failed,
}

impl Outcome {
    /// The record's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Off => "off",
            Self::Reset => "reset",
            Self::Idle => "idle",
            Self::Failed => "failed",
        }
    }

    /// The outcome that was stored as `bits`.
    pub(crate) fn from_bits(bits: u8) -> Self {
        [
            Self::Running,
            Self::Off,
            Self::Reset,
            Self::Idle,
            Self::Failed,
        ][usize::from(bits)]
    }
}

impl fmt::Display for Outcome {
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
