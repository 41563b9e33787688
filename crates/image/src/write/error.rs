//! Why a boot image cannot be written.

use alloc::string::String;
use core::fmt;

use crate::vm::{VMS_MAX, VmError};

/// Why a boot image cannot be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteError {
    /// No virtual machine, or more than [`VMS_MAX`].
    VmCount(usize),
    /// Two virtual machines share this name.
    DuplicateName(String),
    /// A value of a virtual machine is outside its limits.
    Vm {
        /// Its name.
        name: String,
        /// What is wrong.
        error: VmError,
    },
    /// An empty file.
    EmptyBlob {
        /// The virtual machine's name.
        name: String,
    },
    /// A file of this many bytes, where a member of an archive can have less than 4 GiB.
    TooLarge(u64),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VmCount(0) => f.write_str("a boot image needs at least one virtual machine"),
            Self::VmCount(n) => write!(
                f,
                "a boot image holds at most {VMS_MAX} virtual machines, not {n}"
            ),
            Self::DuplicateName(name) => {
                write!(f, "two virtual machines are called {name}; rename one")
            }
            Self::Vm { name, error } => write!(f, "virtual machine {name}: {error}"),
            Self::EmptyBlob { name } => {
                write!(
                    f,
                    "virtual machine {name}: one of its files is empty; check their paths"
                )
            }
            Self::TooLarge(n) => {
                write!(
                    f,
                    "a file of {n} bytes is too large; it must be smaller than 4 GiB"
                )
            }
        }
    }
}

impl core::error::Error for WriteError {}
