//! What hardware tells EL2 of a fault that a model gives.

use droste_arm64::esr::Esr;
use droste_mmu_model::{AccessKind, FaultKind};

/// ESR_EL2 as hardware would write it (DDI 0487, D24.2): class, status code, and WnR for a write.
pub(crate) fn esr(kind: AccessKind, fault: FaultKind, level: i8) -> Option<Esr> {
    let status = match (fault, level) {
        (FaultKind::Translation, -1) => 0x2b,
        (FaultKind::Translation, level) => 0x04 | level.unsigned_abs(),
        (FaultKind::AccessFlag, level) => 0x08 | level.unsigned_abs(),
        (FaultKind::Permission, level) => 0x0c | level.unsigned_abs(),
        _ => return None,
    };
    Some(abort(kind, status.into()))
}

/// ESR_EL2 for an abort of this status.
pub(crate) const fn abort(kind: AccessKind, status: u64) -> Esr {
    Esr(match kind {
        AccessKind::Read => 0x24 << 26,
        AccessKind::Write => 0x24 << 26 | 1 << 6,
        AccessKind::ExecuteEl1 | AccessKind::ExecuteEl0 => 0x20 << 26,
    } | status)
}

/// The conflict abort's status code.
pub(crate) const CONFLICT: u64 = 0x30;
