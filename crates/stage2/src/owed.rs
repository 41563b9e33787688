//! The duty that an exclusive operation leaves.

use crate::invalidate::Debt;
use crate::table::Standing;
use crate::{Contexts, Error, Machine, PageSupply, Table};

/// TLB invalidations that a table owes to its contexts, with the pages that come free by them, and how the operation
/// ended.
///
/// It keeps the table borrowed: nothing can be mapped where CPUs may still use what was there. Dropped without
/// [`discharge`](Self::discharge), its pages stay taken for good and the table's next operation panics.
///
/// An operation that fails has done part of its work or none; what it did owes all the same, so the error comes out
/// of the discharge.
#[must_use = "until it is discharged, CPUs use what was there, and its pages are lost"]
#[derive(Debug)]
pub struct Owed<'t> {
    table: &'t mut Table,
    debt: Debt,
    result: Result<(), Error>,
}

impl Table {
    pub(crate) fn owe(&mut self, debt: Debt, result: Result<(), Error>) -> Owed<'_> {
        if !debt.is_nothing() {
            self.standing = Standing::Owing;
        }
        Owed {
            table: self,
            debt,
            result,
        }
    }
}

impl Owed<'_> {
    /// Whether the discharge has nothing to do.
    pub const fn is_nothing(&self) -> bool {
        self.debt.is_nothing()
    }

    /// Invalidates in every context of the table, makes valid what waited for that, and gives the pages of unlinked
    /// tables back, or to the supply's [trees](PageSupply::trees). One pair of barriers a context, whatever was changed.
    ///
    /// # Errors
    /// The operation's own.
    ///
    /// # Panics
    /// Unless `contexts` names all the contexts of this table and no others.
    pub fn discharge<M: Machine, const CPUS: usize>(
        self,
        machine: &M,
        supply: &mut impl PageSupply,
        contexts: &Contexts<'_, CPUS>,
    ) -> Result<(), Error> {
        let Self {
            table,
            mut debt,
            result,
        } = self;
        debt.settle(table, machine, contexts);
        match supply.trees() {
            Some(trees) => trees.add(machine, table.geometry, &debt.trees),
            None => table.give_pages(machine, supply, &mut debt.trees),
        }
        table.standing = Standing::Settled;
        result
    }
}
