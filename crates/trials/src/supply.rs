//! Page supplies that tell the model who owns what.

use std::cell::RefCell;

use droste_arm64::Pa;
use droste_mmu_model::{Cpu, Model, Share};
use droste_stage2::{Geometry, PageSupply, Quota, Trees};

/// Pages for tables. The last to come back is the first to go out again: whoever still reaches it finds another's.
#[derive(Debug)]
pub struct Pool<'m, S = RefCell<Model>> {
    model: &'m S,
    free: Vec<Pa>,
    count: u64,
    page_bytes: u64,
}

impl<'m, S: Share> Pool<'m, S> {
    /// `count` pages of `page_bytes` from `first` on.
    pub fn new(model: &'m S, first: Pa, count: u64, page_bytes: u64) -> Self {
        let free = (0..count).rev().map(|n| first + n * page_bytes).collect();
        Self {
            model,
            free,
            count,
            page_bytes,
        }
    }

    /// How many pages are here.
    pub fn left(&self) -> usize {
        self.free.len()
    }
}

impl<S: Share> PageSupply for Pool<'_, S> {
    fn take(&mut self) -> Option<Pa> {
        let page = self.free.pop()?;
        self.model.with(|model| model.claim(page, self.page_bytes));
        Some(page)
    }

    /// # Panics
    /// If more pages come back than went out: a list of them that is a ring has no end.
    fn give(&mut self, page: Pa) {
        let is_out = (self.free.len() as u64) < self.count;
        assert!(is_out, "no more pages come back than were taken");
        self.model
            .with(|model| model.release(page, self.page_bytes));
        self.free.push(page);
    }
}

/// A virtual machine's share of pages, which takes trees apart as it needs them, or gets each page at once.
#[derive(Debug)]
pub(crate) struct Stock<'m> {
    quota: Quota<Pool<'m>>,
    trees: Option<Trees>,
    model: &'m RefCell<Model>,
    /// The CPU that asks.
    pub(crate) cpu: usize,
}

impl<'m> Stock<'m> {
    /// `count` pages from `first` on, for tables of this shape.
    pub(crate) fn new(
        model: &'m RefCell<Model>,
        first: Pa,
        count: u64,
        geometry: Geometry,
        apart: Apart,
    ) -> Self {
        let pool = Pool::new(model, first, count, geometry.page_bytes());
        Self {
            quota: Quota::new(count, pool),
            trees: (apart == Apart::Late).then(|| Trees::new(geometry)),
            model,
            cpu: 0,
        }
    }

    /// Takes all trees apart, and says how many pages there are.
    pub(crate) fn left(&mut self) -> u64 {
        while let Some(page) = self.take_apart() {
            self.quota.give(page);
        }
        self.quota.left()
    }

    /// How many may be taken without taking trees apart.
    pub(crate) const fn at_hand(&self) -> u64 {
        self.quota.left()
    }

    /// How many pages came back out of trees.
    pub(crate) fn taken_apart(&self) -> u64 {
        self.trees.as_ref().map_or(0, Trees::taken)
    }

    fn take_apart(&mut self) -> Option<Pa> {
        self.trees.as_mut()?.take(&Cpu::new(self.model, self.cpu))
    }
}

/// When tables that came free are taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Apart {
    AtOnce,
    Late,
}

impl Apart {
    /// By a world's seed.
    pub(crate) const fn of(seed: u64) -> Self {
        if seed.is_multiple_of(2) {
            Self::Late
        } else {
            Self::AtOnce
        }
    }
}

impl PageSupply for Stock<'_> {
    fn take(&mut self) -> Option<Pa> {
        if self.quota.left() == 0
            && let Some(page) = self.take_apart()
        {
            self.quota.give(page);
        }
        self.quota.take()
    }

    fn give(&mut self, page: Pa) {
        self.quota.give(page);
    }

    fn trees(&mut self) -> Option<&mut Trees> {
        self.trees.as_mut()
    }
}
