//! Machines, by the optional features that they have.

use droste_arm64::IdRegisters;

/// 48 physical address bits, all granules, no cache before any point, instruction caches coherent: nothing optional.
pub(crate) fn plain() -> IdRegisters {
    IdRegisters {
        mmfr0: 5 | 1 << 20,
        ctr: 3 << 28,
        ..IdRegisters::default()
    }
}

/// With 52 address bits for each granule: FEAT_LPA and FEAT_LPA2.
pub(crate) fn wide() -> IdRegisters {
    IdRegisters {
        mmfr0: 6 | 2 << 20 | 1 << 28,
        ..plain()
    }
}

/// With FEAT_TTL.
pub(crate) fn with_ttl(ids: IdRegisters) -> IdRegisters {
    IdRegisters {
        mmfr2: ids.mmfr2 | 1 << 48,
        ..ids
    }
}

/// With FEAT_TTL and FEAT_TLBIRANGE.
pub(crate) fn with_ranges(ids: IdRegisters) -> IdRegisters {
    IdRegisters {
        isar0: 2 << 56,
        ..with_ttl(ids)
    }
}

/// With FEAT_BBM at this level.
pub(crate) fn with_bbm(ids: IdRegisters, level: u64) -> IdRegisters {
    IdRegisters {
        mmfr2: ids.mmfr2 | level << 52,
        ..ids
    }
}

/// With FEAT_HAFDBS: hardware sets the access flag and, where DBM is set, makes leaves writable.
pub(crate) fn with_hardware_dirty(ids: IdRegisters) -> IdRegisters {
    IdRegisters {
        mmfr1: ids.mmfr1 | 2,
        ..ids
    }
}

/// With FEAT_XNX.
pub(crate) fn with_xnx(ids: IdRegisters) -> IdRegisters {
    IdRegisters {
        mmfr1: ids.mmfr1 | 1 << 28,
        ..ids
    }
}

/// With FEAT_S2FWB.
pub(crate) fn with_fwb(ids: IdRegisters) -> IdRegisters {
    IdRegisters {
        mmfr2: ids.mmfr2 | 1 << 40,
        ..ids
    }
}

/// With caches before the Point of Coherency, and instruction caches that see nothing of themselves.
pub(crate) fn with_caches(ids: IdRegisters) -> IdRegisters {
    IdRegisters {
        ctr: 0,
        clidr: 1 << 27 | 2 << 24 | 1 << 21,
        ..ids
    }
}
