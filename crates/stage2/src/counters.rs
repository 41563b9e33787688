//! What a table has cost, counted by many CPUs at once.

use crate::sync::{AtomicU64, Ordering};

/// Counts of a table's maintenance so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Faults that changed the table.
    pub faults: u64,
    /// Pages that hold tables now, the root not among them; and those that came free in [`Trees`](crate::Trees), since
    /// those are not counted before they are [taken](crate::Trees::taken), and not here.
    pub table_pages: u64,
    /// Invalidations of a single address, IPAS2E1IS.
    pub tlbi_address: u64,
    /// Invalidations of a range, RIPAS2E1IS.
    pub tlbi_range: u64,
    /// Invalidations of combined entries, VMALLE1IS.
    pub tlbi_combined: u64,
    /// Invalidations of a whole VMID, VMALLS12E1IS.
    pub tlbi_vmid: u64,
    /// Invalidations on one CPU alone, after a permission was widened there.
    pub tlbi_local: u64,
}

/// A count that many CPUs add to.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn take(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// [`Counters`] as they are kept.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) faults: Count,
    pub(crate) table_pages: Count,
    pub(crate) tlbi_address: Count,
    pub(crate) tlbi_range: Count,
    pub(crate) tlbi_combined: Count,
    pub(crate) tlbi_vmid: Count,
    pub(crate) tlbi_local: Count,
}

impl Counts {
    /// Each by itself: while others count, they may be of different moments.
    pub(crate) fn now(&self) -> Counters {
        Counters {
            faults: self.faults.get(),
            table_pages: self.table_pages.get(),
            tlbi_address: self.tlbi_address.get(),
            tlbi_range: self.tlbi_range.get(),
            tlbi_combined: self.tlbi_combined.get(),
            tlbi_vmid: self.tlbi_vmid.get(),
            tlbi_local: self.tlbi_local.get(),
        }
    }
}
