//! Pages for tables: where they come from, a quota on them, and a cache of them that is filled in advance.
//!
//! Rule: a fault takes no page from a supply while it holds the table's lock. Each vCPU has a [`PageCache`] and fills
//! it before; then no allocation can fail midway, and a supply may have a slow lock of its own.

use droste_arm64::{Ipa, Pa};

use crate::{Error, Trees};

/// Where pages for tables come from and go back to.
///
/// A page is [`Geometry::page_bytes`](crate::Geometry::page_bytes) large and aligned to that, lies below the shape's
/// [`output_limit`](crate::Geometry::output_limit), and belongs to the table from [`take`](Self::take) to
/// [`give`](Self::give). What it holds does not matter.
pub trait PageSupply {
    /// A page, or `None` when there is none left.
    fn take(&mut self) -> Option<Pa>;

    /// Takes a page back. Nothing in the machine refers to it any more.
    fn give(&mut self, page: Pa);

    /// Where unlinked tables go, with all tables below them, if the supply takes them apart itself, as it needs pages
    /// and not before. With `None`, each of their pages is [given](Self::give) back at once, which takes longer the
    /// more was mapped.
    fn trees(&mut self) -> Option<&mut Trees> {
        None
    }
}

impl<S: PageSupply + ?Sized> PageSupply for &mut S {
    fn take(&mut self) -> Option<Pa> {
        (**self).take()
    }

    fn give(&mut self, page: Pa) {
        (**self).give(page);
    }

    fn trees(&mut self) -> Option<&mut Trees> {
        (**self).trees()
    }
}

/// A share of a supply: one virtual machine's part of a pool that several use. It has no [trees](PageSupply::trees),
/// since it counts each page that comes back.
///
/// ```
/// # extern crate std;
/// use droste_arm64::Pa;
/// use droste_stage2::{PageSupply, Quota};
/// # struct Pool(std::vec::Vec<Pa>);
/// # impl PageSupply for Pool {
/// #     fn take(&mut self) -> Option<Pa> { self.0.pop() }
/// #     fn give(&mut self, page: Pa) { self.0.push(page) }
/// # }
/// let mut pool = Pool(std::vec![Pa(0x1000), Pa(0x2000), Pa(0x3000)]);
/// let mut share = Quota::new(1, &mut pool);
/// let page = share.take().unwrap();
/// assert_eq!(share.take(), None); // the pool has more, but not for this one
/// share.give(page);
/// assert!(share.take().is_some());
/// ```
#[derive(Debug)]
pub struct Quota<S> {
    supply: S,
    left: u64,
}

impl<S: PageSupply> Quota<S> {
    /// At most `pages` pages of `supply`.
    pub const fn new(pages: u64, supply: S) -> Self {
        Self {
            supply,
            left: pages,
        }
    }

    /// Pages that may still be taken.
    pub const fn left(&self) -> u64 {
        self.left
    }
}

impl<S: PageSupply> PageSupply for Quota<S> {
    fn take(&mut self) -> Option<Pa> {
        let left = self.left.checked_sub(1)?;
        let page = self.supply.take()?;
        self.left = left;
        Some(page)
    }

    fn give(&mut self, page: Pa) {
        self.supply.give(page);
        self.left += 1;
    }
}

/// Pages that one vCPU has taken in advance.
#[derive(Debug, Default)]
pub struct PageCache {
    pages: [Pa; PageCache::CAPACITY],
    count: usize,
}

impl PageCache {
    /// The most pages that answering one fault can take: four tables below a root of level −1.
    pub const CAPACITY: usize = 4;

    /// An empty cache.
    pub const fn new() -> Self {
        Self {
            pages: [Pa(0); Self::CAPACITY],
            count: 0,
        }
    }

    /// Whether it holds what any fault can need.
    #[inline]
    pub const fn is_full(&self) -> bool {
        self.count == Self::CAPACITY
    }

    /// Fills it, so that the next fault, at `ipa`, finds what it needs.
    ///
    /// # Errors
    /// [`Error::NoTablePage`] when the supply has none left; the pages taken so far stay in the cache.
    pub fn fill(&mut self, supply: &mut impl PageSupply, ipa: Ipa) -> Result<(), Error> {
        while !self.is_full() {
            let page = supply.take().ok_or(Error::NoTablePage { ipa })?;
            self.give(page);
        }
        Ok(())
    }

    /// Gives all pages back, when the vCPU ends.
    pub fn drain(&mut self, supply: &mut impl PageSupply) {
        while let Some(page) = self.take() {
            supply.give(page);
        }
    }
}

impl PageSupply for PageCache {
    fn take(&mut self) -> Option<Pa> {
        self.count = self.count.checked_sub(1)?;
        self.pages.get(self.count).copied()
    }

    /// # Panics
    /// When the cache is full: more is given than was taken.
    fn give(&mut self, page: Pa) {
        let place = self.pages.get_mut(self.count);
        *place.expect("a cache gets back what it gave") = page;
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    impl PageSupply for Vec<Pa> {
        fn take(&mut self) -> Option<Pa> {
            self.pop()
        }

        fn give(&mut self, page: Pa) {
            self.push(page);
        }
    }

    fn pool(count: u64) -> Vec<Pa> {
        (1..=count).map(|n| Pa(n * 0x1000)).collect()
    }

    #[test]
    fn a_full_cache_answers_any_fault_without_the_supply() {
        let mut supply = pool(6);
        let mut cache = PageCache::new();
        cache.fill(&mut supply, Ipa(0)).expect("there are six");
        assert!(cache.is_full());
        let taken: Vec<_> = core::iter::from_fn(|| cache.take()).collect();
        assert_eq!(taken.len(), PageCache::CAPACITY);
        assert_eq!(supply.len(), 6 - PageCache::CAPACITY);
    }

    #[test]
    fn a_cache_keeps_what_it_got_when_the_supply_ends() {
        let mut supply = pool(2);
        let mut cache = PageCache::new();
        let ipa = Ipa(0x5000);
        assert_eq!(
            cache.fill(&mut supply, ipa),
            Err(Error::NoTablePage { ipa })
        );
        cache.drain(&mut supply);
        assert_eq!(supply.len(), 2);
    }

    #[test]
    fn a_quota_counts_what_is_out_not_what_was_taken() {
        let mut share = Quota::new(2, pool(9));
        for _ in 0..5 {
            let page = share.take().expect("two are allowed");
            share.give(page);
        }
        assert!(share.take().is_some() && share.take().is_some());
        assert_eq!((share.take(), share.left()), (None, 0));
    }
}
