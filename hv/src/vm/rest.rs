//! How far the home of a VM that rests is with its end, or with its next life.

use droste_resources::Budget;

use crate::arch::memory::Use;
use crate::arch::timer;
use crate::memory::loader::{Done, Plan};

/// What comes next.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// To see why it rests, and whether a life follows.
    Judge,
    /// To empty its stage 2.
    Tables,
    /// To empty those of its guests, from this one on.
    Shadows(usize),
    /// To take apart what those held.
    Pages,
    /// To make its interrupts, its console and its firmware new.
    Devices,
    /// To copy its image, into memory that was used so.
    Copy(Done, Use),
    /// To begin the life.
    Begin,
}

/// What the home knows of a VM's lives. It alone locks this.
pub(crate) struct Rest {
    /// What is in its memory when a life begins.
    pub(crate) plan: Plan,
    /// What comes next.
    pub(crate) next: Step,
    /// How often it may start anew.
    pub(crate) starts: Budget,
}

impl Rest {
    /// Of a VM whose lives begin as `plan` says.
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            plan,
            next: Step::Judge,
            starts: Budget::of_starts(timer::frequency()),
        }
    }
}
