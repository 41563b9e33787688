//! What an SMMU did not do.

use core::fmt;

use crate::id::Missing;
use crate::registers::Register;
use crate::streams::StreamId;

/// Why the SMMU stopped at a command: CMDQ_CONS.ERR (IHI 0070, 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// CERROR_ILL: it does not know the command.
    Illegal,
    /// CERROR_ABT: it could not read it.
    Abort,
    /// CERROR_ATC_INV_SYNC: an invalidation of a device's own cache timed out.
    DeviceCache,
    /// Another number.
    Other(u32),
}

impl CommandError {
    pub(crate) const fn decode(consumer: u32) -> Self {
        match consumer >> 24 & 0x7f {
            1 => Self::Illegal,
            2 => Self::Abort,
            3 => Self::DeviceCache,
            other => Self::Other(other),
        }
    }
}

/// What an SMMU did not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// It is of no use.
    Missing(Missing),
    /// There is no memory for its queues or its stream table.
    NoMemory,
    /// A register did not follow what was written.
    NoAnswer(Register),
    /// It stopped at a command, and does not go on.
    Command(CommandError),
    /// Commands are not consumed.
    Stuck,
    /// The stream table does not reach so far.
    NoSuchStream(StreamId),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::NoMemory => {
                f.write_str("there is no memory for an SMMU's queues and stream table")
            }
            Self::NoAnswer(register) => write!(
                f,
                "the SMMU's register at {:#x} does not follow what is written: reset the machine",
                register.0
            ),
            Self::Command(error) => write!(
                f,
                "the SMMU stops at a command ({error:?}): stop its devices"
            ),
            Self::Stuck => f.write_str("the SMMU does not consume commands: stop its devices"),
            Self::NoSuchStream(stream) => {
                write!(
                    f,
                    "the stream table has no entry for device {stream}: it stays terminated"
                )
            }
        }
    }
}

impl core::error::Error for Error {}
