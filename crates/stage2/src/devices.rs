//! Devices that reach a table's memory, through SMMUs.
//!
//! An SMMU that walks a table is one more TLB. It hears no TLBI, only commands, so a change of the table owes it an
//! invalidation beside those of the contexts; [`Owed::discharge`](crate::Owed::discharge) gives all of them, with one
//! CMD_SYNC for each SMMU, and gives no page back before that is complete. What the SMMU caches is tagged with a VMID as
//! well. It is the table's: an SMMU has no last vCPU and no second regime, so the table is what it can tell apart, and
//! contexts' VMIDs come and go.
//!
//! # A device does not retry
//! A CPU that meets an entry which is being replaced faults, waits, and comes back. A device's access is terminated, and
//! the device is told of an error that there is none. So while devices are attached, what they may reach stays reachable:
//!
//! - Memory for them is mapped before the first is attached, with all that its slot permits. A fault of a vCPU would map it
//!   later, one of a device does not.
//! - No leaf is split or put together with others, unless FEAT_BBM and SMMU_IDR3.BBML are both at level 2: there the new
//!   shape replaces the old one without a break. Contiguous runs stay runs at every level.
//! - Nothing is write-protected, so there is no dirty log. No mapping is replaced by another one, or by one that permits
//!   less. What would do so is refused with [`Error::DevicesAttached`].
//! - Whole leaves can be unmapped: that takes the memory away, and a device that goes on faults as it should.
//! - Ageing goes on: entries of a stream table have S2AFFD set, so that devices do not look at the access flag.
//! - What a fault widens is owed to SMMUs too: a device that met the narrower permission would not fault again for it.

use core::fmt;

use droste_arm64::smmu::{DeviceTlb, Scope, Stuck};
use droste_arm64::{Bbm, Ipa, Pa, Vmid};

use crate::context::mark;
use crate::entry::Span;
use crate::walkers::Walkers;
use crate::{Error, Table};

/// One SMMU's part in a table: devices behind it reach the table's memory. Like a context, it counts among the users of the
/// table, and every discharge has to name it.
#[must_use = "dropped, the table has a user that no discharge can name"]
#[derive(Debug)]
pub struct Attachment {
    root: Pa,
    mark: u64,
}

/// An attachment with the SMMU that it is of, for [`Contexts::smmus`](crate::Contexts::smmus).
#[derive(Clone, Copy)]
pub struct Attached<'a> {
    /// The SMMU's part in the table.
    pub attachment: &'a Attachment,
    /// The SMMU.
    pub tlb: &'a dyn DeviceTlb,
}

impl fmt::Debug for Attached<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.attachment.fmt(f)
    }
}

impl Attachment {
    /// Lets an SMMU walk `table` under `vmid`. Only then do stream table entries lead to the table. `bbm` is what the
    /// SMMU says in IDR3.BBML.
    ///
    /// The VMID is no other table's, in any SMMU, and no SMMU holds anything under it: that is so at the beginning and
    /// after [`retire`](Self::retire).
    ///
    /// # Errors
    /// [`Error::OtherVmid`] if the table has attachments under another VMID.
    pub fn new(table: &mut Table, vmid: Vmid, bbm: Bbm) -> Result<Self, Error> {
        table.expect_settled();
        let devices = &mut table.devices;
        if devices.are_attached() && devices.vmid != vmid {
            return Err(Error::OtherVmid {
                vmid,
                of_table: devices.vmid,
            });
        }
        let mark = mark();
        *devices = Walkers {
            marks: devices.marks.wrapping_add(mark),
            count: devices.count + 1,
            vmid,
            bbm: devices.bbm.min(bbm),
        };
        Ok(Self {
            root: table.root,
            mark,
        })
    }

    /// Ends the SMMU's part. No entry of its stream table leads to the table any more. On return it holds nothing under the
    /// table's VMID, which another table may have once its last attachment is retired.
    ///
    /// # Errors
    /// [`Error::SmmuStuck`]: the attachment has ended, and the VMID must not be used again.
    ///
    /// # Panics
    /// If `table` is not the one that it was made for.
    pub fn retire(self, table: &mut Table, tlb: &dyn DeviceTlb) -> Result<(), Error> {
        assert!(self.root == table.root, "an attachment of another table");
        let devices = &mut table.devices;
        let vmid = devices.vmid;
        devices.marks = devices.marks.wrapping_sub(self.mark);
        devices.count -= 1;
        if !devices.are_attached() {
            *devices = Walkers::NONE;
        }
        tlb.invalidate(vmid, Scope::All);
        tlb.sync().map_err(|_| Error::SmmuStuck)
    }
}

impl Table {
    /// The VMID under which SMMUs cache what the table maps, while devices are attached.
    pub const fn device_vmid(&self) -> Option<Vmid> {
        if self.devices.are_attached() {
            Some(self.devices.vmid)
        } else {
            None
        }
    }

    /// Refuses what breaks an entry that devices may be using.
    pub(crate) const fn check_break(&self, ipa: Ipa) -> Result<(), Error> {
        if self.devices.are_attached() {
            return Err(Error::DevicesAttached { ipa });
        }
        Ok(())
    }

    /// Refuses what changes the size of a leaf that devices may be using, where that needs a break.
    pub(crate) const fn check_resize(&self, ipa: Ipa) -> Result<(), Error> {
        if self.can_resize_live() {
            return Ok(());
        }
        self.check_break(ipa)
    }

    /// Makes every SMMU of the table forget a scope, and waits until all have. A DSB came before.
    #[cold]
    pub(crate) fn settle_devices(&self, smmus: &[Attached<'_>], scope: Scope) -> Result<(), Stuck> {
        let mut marks = 0_u64;
        for smmu in smmus {
            assert!(
                smmu.attachment.root == self.root,
                "an attachment of another table"
            );
            marks = marks.wrapping_add(smmu.attachment.mark);
            smmu.tlb.invalidate(self.devices.vmid, scope);
        }
        assert!(
            marks == self.devices.marks,
            "some attachment of the table is missing, or another's is there"
        );
        let mut result = Ok(());
        for smmu in smmus {
            result = result.and(smmu.tlb.sync());
        }
        result
    }

    /// The scope of a span, whose leaves are all of one level, if that is known.
    pub(crate) const fn scope(&self, span: Span, leaf: Option<droste_arm64::Level>) -> Scope {
        let granule = self.geometry.granule();
        Scope::Range {
            from: span.start,
            pages: span.bytes() >> granule.page_shift(),
            granule,
            leaf,
        }
    }
}
