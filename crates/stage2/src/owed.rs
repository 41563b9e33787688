//! The duty that an exclusive operation leaves.

use crate::invalidate::Debt;
use crate::table::Standing;
use crate::{Contexts, Error, Machine, PageSupply, Table};

/// The TLB invalidations that a table owes to its contexts after an operation, the pages that they free, and the
/// operation's result.
///
/// It keeps the table borrowed, so nothing can be mapped where CPUs may still use what was there. If one that owes
/// something is dropped without [`discharge`](Self::discharge), its pages are lost for good and the table's next
/// operation panics.
///
/// An operation that fails has done part of its work or none. What it did is owed all the same, so the discharge gives
/// the error.
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

    /// Invalidates what was changed in every context of the table, makes the entries valid that waited for that, and
    /// gives the pages of unlinked tables back to the supply, or to its [trees](PageSupply::trees). It takes at most a
    /// pair of barriers per context, whatever was changed, and one CMD_SYNC per SMMU.
    ///
    /// # Errors
    /// The operation's own. [`Error::SmmuStuck`]: devices may go on using what was there. The pages that came free are
    /// lost, and memory that was unmapped is not free before the SMMU is stopped.
    ///
    /// # Panics
    /// Unless `contexts` names all the contexts and attachments of this table and no others.
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
        let settled = debt.settle(table, machine, contexts);
        table.standing = Standing::Settled;
        if settled.is_err() {
            return Err(Error::SmmuStuck);
        }
        match supply.trees() {
            Some(trees) => trees.add(machine, table.geometry, &debt.trees),
            None => table.give_pages(machine, supply, &mut debt.trees),
        }
        result
    }
}
