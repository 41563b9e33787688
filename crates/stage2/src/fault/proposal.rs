//! The answer to a fault, resolved against the slots.

use crate::Fault;
use crate::slots::{Sequence, Slot};

/// A fault and the slot that answers it, if the slots have not changed since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proposal {
    pub(crate) fault: Fault,
    pub(crate) slot: Slot,
    pub(super) sequence: Sequence,
}
