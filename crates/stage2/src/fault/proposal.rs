//! What a fault is to be answered with.

use crate::Fault;
use crate::slots::{Sequence, Slot};

/// What answers a fault, if the slots have not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proposal {
    pub(crate) fault: Fault,
    pub(crate) slot: Slot,
    pub(super) sequence: Sequence,
}
