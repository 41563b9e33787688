//! What a table knows of the SMMUs that walk it; [`devices`](crate::devices) tells the rules.

use droste_arm64::{Bbm, Vmid};

/// What a table knows of the SMMUs that walk it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walkers {
    /// The sum of the marks of the attachments.
    pub(crate) marks: u64,
    pub(crate) count: u32,
    pub(crate) vmid: Vmid,
    pub(crate) bbm: Bbm,
}

impl Walkers {
    pub(crate) const NONE: Self = Self {
        marks: 0,
        count: 0,
        vmid: Vmid(0),
        bbm: Bbm::Level2,
    };

    pub(crate) const fn are_attached(&self) -> bool {
        self.count != 0
    }

    /// Whether blocks and tables with the same translations may replace one another directly.
    pub(crate) const fn permit_resizing(&self) -> bool {
        matches!(self.bbm, Bbm::Level2)
    }
}
