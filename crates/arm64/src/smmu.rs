//! What whoever changes a stage-2 table says to the SMMUs that translate by it.
//!
//! An SMMU hears no TLBI of a CPU, unless it takes part in broadcasts, which nothing here relies on. It is told by
//! commands (IHI 0070, 4.4), and has done as it was told when a CMD_SYNC behind them is complete.

use core::fmt;

use crate::{Granule, Ipa, Level, Vmid};

/// What an SMMU is to forget of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// All that it holds under the VMID.
    All,
    /// All that it holds for a range.
    Range {
        /// The first address, a multiple of the page.
        from: Ipa,
        /// How many pages of the granule, not zero.
        pages: u64,
        /// The table's granule.
        granule: Granule,
        /// The level of the leaves that were changed, where all are of one and nothing above them was changed. The
        /// range begins and ends on multiples of such a leaf then.
        leaf: Option<Level>,
    },
}

/// An SMMU that did not complete what it was told. Until it is stopped, devices may use what it was to forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stuck;

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an SMMU does not complete its commands: stop it, then reuse the memory")
    }
}

impl core::error::Error for Stuck {}

/// The TLB of an SMMU, as stage 2 needs it.
///
/// The implementation at EL2 puts commands into the SMMU's queue; a recorder writes a trace; a model answers as adversely
/// as the architecture permits. Several CPUs may call at once.
pub trait DeviceTlb: fmt::Debug {
    /// Tells the SMMU what to forget under a VMID. Nothing is complete on return. The caller has executed a DSB since it
    /// changed the table.
    fn invalidate(&self, vmid: Vmid, scope: Scope);

    /// CMD_SYNC: returns when all that this CPU told the SMMU before is done, and no access of a device goes on by what
    /// the SMMU held.
    ///
    /// # Errors
    /// [`Stuck`], after a wait with a bound.
    fn sync(&self) -> Result<(), Stuck>;
}
