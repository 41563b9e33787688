//! The fault that a syndrome describes.

use droste_arm64::Ipa;
use droste_arm64::desc::S2ap;
use droste_arm64::esr::{Ec, Esr, FaultStatus, MmioAccess};

use crate::{Access, Privilege};

/// Who made the access that faulted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The guest's program.
    Program,
    /// A stage-1 table walk on its behalf.
    TableWalk,
    /// A cache maintenance instruction of the program.
    Maintenance,
}

/// Why the access faulted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// No valid descriptor.
    Translation,
    /// The descriptor forbids it.
    Permission,
    /// The access flag is clear, and hardware does not set it.
    AccessFlag,
    /// The TLB holds two entries for the address: how FEAT_BBM level 2 may show that a block became a table. The
    /// fault's address is not needed.
    Conflict,
}

/// A stage-2 fault that the table may answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The faulting guest address.
    pub ipa: Ipa,
    /// Why it faulted.
    pub cause: Cause,
    /// What is needed there.
    pub access: Access,
    /// Who needs it.
    pub origin: Origin,
    /// The access as a device would see it, where the syndrome describes one.
    pub mmio: Option<MmioAccess>,
}

impl Fault {
    /// The fault that ESR_EL2 describes. `None` for anything but a translation, permission or access flag fault or a
    /// TLB conflict of a lower exception level: those no table answers.
    ///
    /// `ipa` comes from [`fault_ipa`](droste_arm64::esr::fault_ipa) of HPFAR_EL2 and FAR_EL2 or, where
    /// [`Esr::is_hpfar_valid`] denies that, from translating FAR_EL2. `privilege` is the exception level that
    /// SPSR_EL2 names.
    ///
    /// Two kinds of access are not what the syndrome's WnR says (DDI 0487, D24.2, ESR_EL2 for data aborts):
    /// a stage-1 walk reads, and writes only to update a descriptor, which shows as a permission fault where it can read;
    /// and cache maintenance counts as a write, but needs no more than a mapping unless permission is what it lacks.
    pub fn new(esr: Esr, ipa: Ipa, privilege: Privilege) -> Option<Self> {
        let cause = match esr.fault_status() {
            FaultStatus::Translation { .. } => Cause::Translation,
            FaultStatus::Permission { .. } => Cause::Permission,
            FaultStatus::AccessFlag { .. } => Cause::AccessFlag,
            FaultStatus::TlbConflict => Cause::Conflict,
            _ => return None,
        };
        let is_permission = cause == Cause::Permission;
        let is_data = match esr.ec() {
            Ec::DATA_ABORT_LOWER => true,
            Ec::INSTRUCTION_ABORT_LOWER => false,
            _ => return None,
        };
        let origin = if esr.is_s1_walk() {
            Origin::TableWalk
        } else if is_data && esr.is_cache_maintenance() {
            Origin::Maintenance
        } else {
            Origin::Program
        };
        let access = match origin {
            Origin::TableWalk | Origin::Maintenance if is_permission => Access::Write,
            Origin::Program if !is_data => Access::Execute(privilege),
            Origin::Program if esr.is_write() => Access::Write,
            Origin::TableWalk | Origin::Maintenance | Origin::Program => Access::Read,
        };
        let is_device_access = is_data && origin == Origin::Program;
        Some(Self {
            ipa,
            cause,
            access,
            origin,
            mmio: esr.mmio_access().filter(|_| is_device_access),
        })
    }

    /// Whether the syndrome does not tell if permission to read or to write was lacking: of walks and of maintenance.
    pub fn is_either(&self) -> bool {
        self.cause == Cause::Permission && self.origin != Origin::Program
    }

    /// Whether any mapping satisfies it, whatever that permits.
    pub fn is_content_with_any(&self) -> bool {
        self.cause != Cause::Permission && self.origin == Origin::Maintenance
    }

    /// What a leaf lacks that permits these loads and stores: where it could be [either](Self::is_either), permission to
    /// read before that to write.
    #[must_use]
    pub fn lacking(&self, leaf: S2ap) -> Access {
        if self.is_either() && !leaf.can_read() {
            Access::Read
        } else {
            self.access
        }
    }
}

#[cfg(test)]
mod tests;
