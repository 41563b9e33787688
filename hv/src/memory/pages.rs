//! Pages for tables of stage 2.

use core::ops::Range;

use droste_arm64::Pa;
use droste_stage2::{Geometry, PageSupply, Trees};

use crate::arch::locks::{Mutex, MutexGuard};
use crate::arch::memory::Region;
use crate::arch::stage2::Hardware;

/// Bytes of a page of a table.
pub(crate) const PAGE: u64 = 4096;

/// Tables below the root that map `bytes` bytes by pages, wherever they begin.
pub(crate) fn tables_for(bytes: u64) -> u64 {
    let spanned = |entry: u64| bytes.div_ceil(entry) + 1;
    spanned(2 << 20) + spanned(1 << 30) + spanned(512 << 30)
}

/// Tables that are taken apart before interrupts are looked for: each may lead to as many as it has entries.
const AT_ONCE: usize = 8;

/// A VM's pages for tables: a stretch of fresh ones, freed ones, linked through their first bytes, and tables that came
/// free with all below them, which are taken apart when pages are wanted and none is freed. So nobody waits for that
/// however much a guest had mapped, and a page takes no longer than a look at one table's entries.
pub(crate) struct Pages {
    area: Region,
    fresh: Range<u64>,
    freed: Option<Pa>,
    trees: Trees,
    taken: u64,
}

impl Pages {
    /// The pages of `fresh`, a part of `area`, for tables of this shape.
    pub(crate) fn new(area: Region, fresh: Range<u64>, geometry: Geometry) -> Self {
        Self {
            area,
            fresh,
            freed: None,
            trees: Trees::new(geometry),
            taken: 0,
        }
    }

    /// How many are taken: parts of tables, those taken ahead, and those of tables that are not taken apart yet.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// How many tables of those that no tree reaches were taken apart so far.
    pub(crate) fn taken_apart(&self) -> u64 {
        self.trees.taken()
    }

    /// Takes some tables apart that no tree reaches; whether there were as many.
    pub(crate) fn reclaim(&mut self) -> bool {
        (0..AT_ONCE).all(|_| {
            let page = self.trees.take(&Hardware);
            page.map(|page| self.give(page)).is_some()
        })
    }

    /// Bytes set aside for them, and for the roots beside them.
    pub(crate) fn area_bytes(&self) -> u64 {
        let range = self.area.range();
        range.end - range.start
    }
}

/// Pages under a lock that is taken with the first of them, and then kept. What an invalidation frees it gives back at
/// its end, all at once: so whoever wants pages does not wait for invalidations.
pub(crate) struct Late<'a> {
    pages: &'a Mutex<Pages>,
    locked: Option<MutexGuard<'a, Pages>>,
}

impl<'a> Late<'a> {
    /// These, not locked yet.
    pub(crate) const fn new(pages: &'a Mutex<Pages>) -> Self {
        Self {
            pages,
            locked: None,
        }
    }

    fn locked(&mut self) -> &mut Pages {
        self.locked.get_or_insert_with(|| self.pages.lock())
    }
}

impl PageSupply for Late<'_> {
    fn take(&mut self) -> Option<Pa> {
        self.locked().take()
    }

    fn give(&mut self, page: Pa) {
        self.locked().give(page);
    }

    fn trees(&mut self) -> Option<&mut Trees> {
        self.locked().trees()
    }
}

impl PageSupply for Pages {
    fn take(&mut self) -> Option<Pa> {
        if let Some(page) = self.freed {
            let next = self.area.read_u64(page);
            self.freed = (next != 0).then_some(Pa(next));
            self.taken += 1;
            return Some(page);
        }
        // Before fresh ones, so that what is taken does not grow for ever.
        if let Some(page) = self.trees.take(&Hardware) {
            return Some(page);
        }
        if self.fresh.is_empty() {
            return None;
        }
        let page = Pa(self.fresh.start);
        self.fresh.start += PAGE;
        self.taken += 1;
        Some(page)
    }

    fn give(&mut self, page: Pa) {
        self.area
            .write_u64(page, self.freed.map_or(0, |next| next.0));
        self.freed = Some(page);
        self.taken -= 1;
    }

    fn trees(&mut self) -> Option<&mut Trees> {
        Some(&mut self.trees)
    }
}
