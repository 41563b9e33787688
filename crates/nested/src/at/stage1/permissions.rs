//! Which loads and stores a leaf permits, and the tables on the way to it (DDI 0487, D8.4 "Memory access control"; J1.1,
//! AArch64.S1DirectBasePermissions).

use droste_arm64::HardwareUpdates;
use droste_arm64::desc::RawDescriptor;
use droste_arm64::esr::Direction;

use super::control::Control;
use crate::at::{Pan, StageOneRequest};

/// AP\[1\]: EL0 has access too.
const AP_EL0: u64 = 1 << 6;
/// AP\[2\]: no stores.
const AP_READ_ONLY: u64 = 1 << 7;
const UXN: u64 = 1 << 54;
const UXN_TABLE: u64 = 1 << 60;
/// APTable\[0\]: EL0 has no access.
const AP_TABLE_NO_EL0: u64 = 1 << 61;
/// APTable\[1\]: no stores.
const AP_TABLE_READ_ONLY: u64 = 1 << 62;

/// What tables take away from the leaves below them: the fields of their descriptors, together.
#[derive(Clone, Copy, Default)]
pub(super) struct Limits(u64);

impl Limits {
    /// With those of one more table.
    pub(super) const fn narrowed(self, table: RawDescriptor) -> Self {
        Self(self.0 | table.0)
    }

    const fn has(self, field: u64) -> bool {
        self.0 & field != 0
    }
}

/// Whether a leaf permits what is asked. EL2 with E2H = 0 has no EL0: no request of it is EL0's or heeds PAN.
pub(super) const fn permits(
    control: &Control,
    leaf: RawDescriptor,
    limits: Limits,
    request: &StageOneRequest,
) -> bool {
    match request.direction {
        Direction::Write if !is_writable(control, leaf, limits) => return false,
        Direction::Read | Direction::Write => {}
    }
    let is_el0s = leaf.0 & AP_EL0 != 0 && !limits.has(AP_TABLE_NO_EL0);
    if request.is_of_el0() {
        return is_el0s;
    }
    let is_executable = leaf.0 & UXN == 0 && !limits.has(UXN_TABLE);
    let is_shielded = is_el0s || control.has_epan && is_executable;
    !(matches!(request.pan, Pan::Honoured) && is_shielded)
}

/// A leaf that hardware makes writable at a store is.
const fn is_writable(control: &Control, leaf: RawDescriptor, limits: Limits) -> bool {
    let is_managed =
        matches!(control.updates, HardwareUpdates::AccessFlagAndDirty) && leaf.is_dirty_managed();
    (leaf.0 & AP_READ_ONLY == 0 || is_managed) && !limits.has(AP_TABLE_READ_ONLY)
}
