//! A shadow: the table that hardware uses in place of one of L1's, and what keeps it true.
//!
//! A shadow is a `droste-stage2` table of the virtual machine's own shape under a context of its own. It fills as L2
//! faults, and shrinks as L1 invalidates or L0 takes memory from L1. Its entries hold what was [`Composed`], never
//! more; they may hold less.
//!
//! # Protocol of a fill
//! 1. Take a [`Ticket`], without a lock ([`Front`]).
//! 2. Still without one, [judge](crate::L1::judge) the fault: walk L1's table, look at the canonical one.
//! 3. [Insert](crate::ReverseMap::insert) the region into the reverse map.
//! 4. [`Shadow::fill_hole`] and, where that is not enough, [`Shadow::fill`], under the shadow's lock for writing. If L1
//!    invalidated or L0 changed memory since the ticket was taken, what was found may be stale, and L2 tries again.
//!
//! An invalidation by L1 is complete once [`Shadow::invalidate`] or [`Shadow::clear`] has returned for every context of
//! the VMID: a fill that walked L1's table before that finds its ticket void.
//!
//! # What an invalidation unmaps
//! L1 names an address. What has to go is the leaf of *L1's* table around it, and the shadow may hold smaller pieces of
//! that leaf, anywhere in it. A level in the operand says how large the leaf was. Without a level, the shadow knows
//! which sizes it holds in pieces, and unmaps the largest of these around the address; an entry that is as large as
//! L1's leaf is found by itself. So a missing level costs no more than what is held in pieces.
//!
//! # Fills take the lock alone
//! `Table::map` replaces whatever is in the way, by break-before-make, and needs the table for itself. `Table::install`
//! runs beside other faults, but it relaxes a leaf that it finds in place, whatever its size: in a shadow, a larger
//! leaf may have been composed before its parts came to differ.

use core::borrow::Borrow;

use droste_arm64::desc::{Format, S2ap};
use droste_arm64::{IdRegisters, Ipa, Pa};
use droste_stage2::{
    Attributes, Cause, Context, Contexts, Error, Fault, Geometry, Hole, Machine, Mapping, Memory,
    Owed, PageCache, PageSupply, Table, Trees, VmidAllocator, Walk,
};

use crate::L2Ipa;
use crate::compose::{Composed, Mark};
use crate::tlbi::Range;

mod extents;
mod ticket;

use extents::Extents;
pub use ticket::{Changes, Front, Ticket};

/// The most that one fill cleans from data caches, in bytes.
const MAX_CLEAN: u64 = 2 << 20;

/// What a shadow's operations need of the machine.
#[derive(Debug)]
pub struct Host<'a, M, S, const CPUS: usize> {
    /// The machine.
    pub machine: &'a M,
    /// Pages for tables. A fill takes at most as many as a [`PageCache`] holds, and other operations take none. Each
    /// can give many back, so a fill's supply is not a cache alone but [`Ahead`].
    pub supply: &'a mut S,
    /// The machine's allocator of VMIDs.
    pub vmids: &'a VmidAllocator<CPUS>,
}

/// Pages for a fill, taken before any lock and given back to the supply that they came from. What a fill replaces may
/// be a table, so more pages can come back than were taken.
#[derive(Debug)]
pub struct Ahead<'a, S> {
    /// Filled before any lock is taken.
    pub cache: &'a mut PageCache,
    /// Where pages go back to.
    pub supply: &'a mut S,
}

impl<S: PageSupply> PageSupply for Ahead<'_, S> {
    fn take(&mut self) -> Option<Pa> {
        self.cache.take()
    }

    fn give(&mut self, page: Pa) {
        self.supply.give(page);
    }

    fn trees(&mut self) -> Option<&mut Trees> {
        self.supply.trees()
    }
}

/// What became of a fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filled {
    /// It is mapped: enter L2 again.
    Mapped,
    /// The ticket was void: enter L2 again, and it will fault again.
    Void,
}

/// The shadow of one table of L1's. Its front is a part of it, or stands where CPUs reach it without the shadow's lock.
#[derive(Debug)]
pub struct Shadow<const CPUS: usize, F = Front<CPUS>> {
    table: Table,
    front: F,
    /// The layout of L1's table; `None` where no walk of it can start.
    guest: Option<Format>,
    /// The largest part of a Write-Back leaf that one fill maps, in bytes.
    largest: u64,
    /// Leaves of L1's that were filled since the shadow was empty, and those of them that are held in pieces.
    filled: Extents,
    in_pieces: Extents,
    /// The last invalidation, as long as nothing was filled since: there is nothing to unmap again.
    taken: Option<Range>,
}

impl<const CPUS: usize> Shadow<CPUS> {
    /// An empty shadow of the virtual machine's `geometry`, with its root in memory as for [`Table::new`]. `guest` is
    /// the layout of L1's table, [`Walker::format`](crate::Walker::format), and `ids` are the real hardware's.
    ///
    /// # Errors
    /// [`Error::RootMisplaced`].
    pub fn new<M: Machine>(
        machine: &M,
        root: Pa,
        geometry: Geometry,
        ids: &IdRegisters,
        guest: Option<Format>,
    ) -> Result<Self, Error> {
        let mut table = Table::new(machine, root, geometry, ids)?;
        let front = Front::new(Context::new(&mut table));
        Ok(Self::of(table, front, ids, guest))
    }

    /// Ends the shadow, which no CPU uses any more, and returns the address of its root.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn retire<M: Machine, S: PageSupply>(
        mut self,
        host: &mut Host<'_, M, S, CPUS>,
    ) -> Result<Pa, Error> {
        self.clear(host)?;
        let root = self.table.root();
        self.front.into_context().retire(&mut self.table);
        Ok(root)
    }
}

impl<const CPUS: usize, F: Borrow<Front<CPUS>>> Shadow<CPUS, F> {
    /// As [`new`](Shadow::new), with the front where `place` puts it.
    ///
    /// # Errors
    /// As [`new`](Shadow::new).
    pub fn with_front<M: Machine>(
        machine: &M,
        (root, geometry): (Pa, Geometry),
        ids: &IdRegisters,
        guest: Option<Format>,
        place: impl FnOnce(Front<CPUS>) -> F,
    ) -> Result<Self, Error> {
        let mut table = Table::new(machine, root, geometry, ids)?;
        let front = place(Front::new(Context::new(&mut table)));
        Ok(Self::of(table, front, ids, guest))
    }

    fn of(table: Table, front: F, ids: &IdRegisters, guest: Option<Format>) -> Self {
        Self {
            front,
            table,
            guest,
            largest: largest(ids),
            filled: Extents::NONE,
            in_pieces: Extents::NONE,
            taken: None,
        }
    }

    /// Makes an empty shadow the shadow of another table of L1's, whose layout is `guest`.
    ///
    /// # Panics
    /// If something was filled since it was [cleared](Self::clear).
    pub fn rededicate(&mut self, guest: Option<Format>) {
        assert!(self.is_empty(), "a shadow is cleared first");
        self.guest = guest;
    }

    /// The context that L2 runs under.
    pub fn context(&self) -> &Context<CPUS> {
        self.front.borrow().context()
    }

    /// Where its front is.
    pub const fn place(&self) -> &F {
        &self.front
    }

    /// The table that hardware translates L2's addresses by.
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// As [`Front::ticket`].
    #[inline]
    pub fn ticket(&self, changes: &Changes) -> Ticket {
        self.front.borrow().ticket(changes)
    }

    /// Maps what was composed for a fault of this shadow in the usual case: it is one leaf, nothing is in its place,
    /// and the table for it is there. It takes no page. `None` if there is more to do: [`fill`](Self::fill) does it.
    ///
    /// # Errors
    /// As [`fill`](Self::fill), but for [`Error::NoTablePage`].
    #[inline]
    pub fn fill_hole<M: Machine>(
        &mut self,
        machine: &M,
        (ticket, changes): (Ticket, &Changes),
        fault: &Fault,
        composed: &Composed,
    ) -> Result<Option<Filled>, Error> {
        if ticket != self.ticket(changes) {
            return Ok(Some(Filled::Void));
        }
        let mapping = self.mapping(fault, composed);
        if self.table.map_hole(machine, &mapping)? == Hole::Other {
            return Ok(None);
        }
        self.taken = None;
        self.filled.add(composed.mark);
        if mapping.bytes < composed.guest_bytes {
            self.in_pieces.add(composed.mark);
        }
        Ok(Some(Filled::Mapped))
    }

    /// Maps what was composed for a fault of this shadow, all of it or the part around the fault that one exit may
    /// take.
    ///
    /// # Errors
    /// [`Error::NoTablePage`]: fill the cache and repeat. [`Error::Misaligned`] and [`Error::XnxUnsupported`] where
    /// more was [advertised](crate::Advertised) than its rules permit.
    pub fn fill<M: Machine, S: PageSupply>(
        &mut self,
        host: &mut Host<'_, M, S, CPUS>,
        (ticket, changes): (Ticket, &Changes),
        fault: &Fault,
        composed: &Composed,
    ) -> Result<Filled, Error> {
        if ticket != self.ticket(changes) {
            return Ok(Filled::Void);
        }
        if fault.cause == Cause::AccessFlag {
            self.drop_unaccessed(host, fault.ipa)?;
        }
        self.taken = None;
        let mapping = self.mapping(fault, composed);
        self.note_split(host.machine, mapping.ipa, mapping.bytes);
        self.filled.add(composed.mark);
        let owed = self.table.map(host.machine, host.supply, &mapping);
        let result = settle(owed, host, self.front.borrow().context());
        let (_, mapped) = self.leaf(host.machine, mapping.ipa);
        if result.is_err() || mapped < composed.guest_bytes {
            self.in_pieces.add(composed.mark);
        }
        result?;
        Ok(Filled::Mapped)
    }

    /// The part of a composed region that one exit maps: all of it, or what is around the fault.
    #[inline]
    fn mapping(&self, fault: &Fault, composed: &Composed) -> Mapping {
        let attributes = composed.attributes();
        let bytes = composed.bytes.min(self.largest_of(attributes));
        // Within the region, at a multiple of what is mapped.
        let offset = fault.ipa.0 & (composed.bytes - 1) & !(bytes - 1);
        Mapping::new(
            Ipa(composed.ipa.0 | offset),
            Pa(composed.output.0 | offset),
            bytes,
            attributes,
        )
    }

    /// How much one exit maps of memory with these attributes.
    #[inline]
    const fn largest_of(&self, attributes: Attributes) -> u64 {
        match attributes.memory {
            Memory::WriteBack => self.largest,
            Memory::NonCacheable | Memory::Device(_) | Memory::AsDevice(_) => MAX_CLEAN,
        }
    }

    /// Unmaps what a stage-2 invalidation by L1 names.
    ///
    /// # Errors
    /// None, unless the table's own rules are broken.
    pub fn invalidate<M: Machine, S: PageSupply>(
        &mut self,
        host: &mut Host<'_, M, S, CPUS>,
        range: &Range,
    ) -> Result<(), Error> {
        self.front.borrow().note();
        if self.has_taken(range) {
            return Ok(());
        }
        let unit = match range.level {
            Some(level) => self.filled.at(level).largest(self.guest),
            None => Some(self.in_pieces.largest(self.guest).unwrap_or(1)),
        };
        // Otherwise no leaf of the level that L1 names was ever filled.
        if let Some(unit) = unit {
            let end = range.from.0.saturating_add(range.bytes);
            self.take(host, range.from, end, unit)?;
        }
        self.taken = Some(*range);
        Ok(())
    }

    /// Whether an invalidation of this range finds nothing: the shadow is empty, or the last invalidation was of the
    /// same range and nothing was filled since. So an invalidation of many shadows that is interrupted and begun again
    /// goes on where it was interrupted.
    pub fn has_taken(&self, range: &Range) -> bool {
        self.is_empty() || self.taken == Some(*range)
    }

    /// Unmaps what the shadow maps of a region that the [reverse map](crate::ReverseMap::take) names.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate).
    pub fn unmap<M: Machine, S: PageSupply>(
        &mut self,
        host: &mut Host<'_, M, S, CPUS>,
        ipa: L2Ipa,
        bytes: u64,
    ) -> Result<(), Error> {
        self.take(host, ipa, ipa.0.saturating_add(bytes), 1)
    }

    /// Takes the permission to write from a region that the [reverse map](crate::ReverseMap::visit) names: the next
    /// store faults, and is noted in the canonical table.
    ///
    /// Hardware that manages dirty state does not note the store in the shadow instead, where the note would be lost:
    /// see [`Table::write_protect`].
    ///
    /// # Errors
    /// As [`Table::write_protect`].
    pub fn write_protect<M: Machine, S: PageSupply>(
        &mut self,
        host: &mut Host<'_, M, S, CPUS>,
        ipa: L2Ipa,
        bytes: u64,
    ) -> Result<(), Error> {
        let owed = self.table.write_protect(host.machine, ipa.ipa(), bytes);
        settle(owed, host, self.front.borrow().context())
    }

    /// Clears the access flags of a region that the [reverse map](crate::ReverseMap::visit) names, and returns how many
    /// were set. An access by L2 to its memory is one by L1.
    ///
    /// # Errors
    /// As [`Table::age`].
    pub fn age<M: Machine>(&self, machine: &M, ipa: L2Ipa, bytes: u64) -> Result<u64, Error> {
        self.table.age(machine, ipa.ipa(), bytes)
    }

    /// Whether nothing was filled since the shadow was new or last [cleared](Self::clear).
    pub fn is_empty(&self) -> bool {
        self.filled == Extents::NONE
    }

    /// Unmaps everything: for an invalidation by VMID or of all, before the shadow becomes that of another table, and
    /// where the reverse map does not track it.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate).
    pub fn clear<M: Machine, S: PageSupply>(
        &mut self,
        host: &mut Host<'_, M, S, CPUS>,
    ) -> Result<(), Error> {
        self.front.borrow().note();
        if self.is_empty() {
            // Nothing was mapped since it was empty, not even a table.
            return Ok(());
        }
        self.filled = Extents::NONE;
        self.in_pieces = Extents::NONE;
        let owed = self.table.free(host.machine);
        settle(owed, host, self.front.borrow().context())
    }

    /// Unmaps a leaf whose access flag was cleared, to be mapped anew with the flag set.
    fn drop_unaccessed<M: Machine, S: PageSupply>(
        &mut self,
        host: &mut Host<'_, M, S, CPUS>,
        ipa: Ipa,
    ) -> Result<(), Error> {
        let Walk::Leaf { leaf, .. } = self.table.walk(host.machine, ipa) else {
            return Ok(());
        };
        if leaf.attributes.is_accessed {
            return Ok(());
        }
        self.take(host, L2Ipa(ipa.0), ipa.0.saturating_add(1), 1)
    }

    /// Notes that a leaf falls into pieces because something smaller is to be mapped in it.
    fn note_split<M: Machine>(&mut self, machine: &M, ipa: Ipa, bytes: u64) {
        if let Walk::Leaf { level, leaf, .. } = self.table.walk(machine, ipa)
            && self.table.geometry().entry_bytes(level) > bytes
            && let Some(mark) = Mark::decode(leaf.attributes.software)
        {
            self.in_pieces.add(mark);
        }
    }

    /// Unmaps all leaves that map part of a range, extended to multiples of `unit` bytes, a power of two. No leaf is
    /// cut, so no page is needed.
    fn take<M: Machine, S: PageSupply>(
        &mut self,
        host: &mut Host<'_, M, S, CPUS>,
        from: L2Ipa,
        end: u64,
        unit: u64,
    ) -> Result<(), Error> {
        let geometry = self.table.geometry();
        let limit = geometry.ipa_bits().bytes();
        let unit = unit.max(geometry.page_bytes());
        if from.0 >= limit || end <= from.0 {
            return Ok(());
        }
        let first = Ipa(from.0).align_down(unit);
        let last = Ipa(end.min(limit) - 1).align_down(unit);
        let (start, _) = self.leaf(host.machine, first);
        let final_page = Ipa(last.0 + (unit - geometry.page_bytes()));
        let (end, bytes) = self.leaf(host.machine, final_page);
        let end = (end.0 + bytes).min(limit);
        let owed = self
            .table
            .unmap(host.machine, host.supply, start, end - start.0);
        settle(owed, host, self.front.borrow().context())
    }

    /// Which loads and stores the leaf that maps an address permits; none where no leaf maps it.
    pub fn permits<M: Machine>(&self, machine: &M, ipa: L2Ipa) -> S2ap {
        match self.table.walk(machine, ipa.ipa()) {
            Walk::Leaf { leaf, .. } => leaf.attributes.access,
            Walk::Hole { .. } => S2ap::None,
        }
    }

    /// First address and bytes of the leaf that maps an address, or of its page where none does.
    fn leaf<M: Machine>(&self, machine: &M, ipa: Ipa) -> (Ipa, u64) {
        let geometry = self.table.geometry();
        match self.table.walk(machine, ipa) {
            Walk::Leaf { ipa, level, .. } => (ipa, geometry.entry_bytes(level)),
            Walk::Hole { .. } => {
                let bytes = geometry.page_bytes();
                (ipa.align_down(bytes), bytes)
            }
        }
    }
}

/// Discharges what a change owes: a shadow's table has one context.
fn settle<M: Machine, S: PageSupply, const CPUS: usize>(
    owed: Owed<'_>,
    host: &mut Host<'_, M, S, CPUS>,
    context: &Context<CPUS>,
) -> Result<(), Error> {
    let contexts = Contexts {
        vmids: host.vmids,
        all: &[context],
        smmus: &[],
    };
    owed.discharge(host.machine, host.supply, &contexts)
}

/// How much one fill maps of Write-Back memory: anything, where mapping costs no cleaning of caches.
const fn largest(ids: &IdRegisters) -> u64 {
    let is_forced = ids.has_fwb() && ids.has_coherent_instruction_fetch();
    if is_forced || !ids.has_cache_before_coherency() {
        u64::MAX
    } else {
        MAX_CLEAN
    }
}

#[cfg(test)]
mod tests;
