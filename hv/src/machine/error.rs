//! What the machine lacks for what the boot image asks of it.

use alloc::string::String;

/// Why a VM could not be built.
pub(crate) struct BuildError(pub(crate) String);
