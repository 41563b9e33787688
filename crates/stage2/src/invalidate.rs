//! What a change of a table leaves to invalidate, and how that is done.
//!
//! Break-before-make (DDI 0487, D8 "Using break-before-make when updating translation table entries") for all
//! entries of one operation at once:
//!
//! 1. The entries are invalid already, or changed in a way that needs no break. `DSB ISH`: every walker sees that.
//! 2. For each context, under its VMID: the stage-2 entries by address, several by range where FEAT_TLBIRANGE exists;
//!    `DSB ISH`; then `VMALLE1IS`, because entries that combine both stages do not go by IPA; `DSB ISH`. Past
//!    [`MAX_SINGLE`] addresses, or what one range instruction covers, `VMALLS12E1IS` and `DSB ISH` take the place
//!    of both.
//! 3. `ISB`, for this CPU.
//! 4. Where [devices](crate::devices) are attached: commands to each SMMU for the same addresses, and one CMD_SYNC in each.
//! 5. Where none are, locked entries become what they are to be. `DSB ISHST`: walkers see them.
//!
//! With FEAT_BBM level 2 some entries need no lock: a block that becomes a table with the same translations and
//! permissions, and the reverse. At that level hardware tolerates both in its TLBs at once, so these entries are
//! replaced directly, and only the invalidation is owed. Until then it may raise a TLB conflict abort, which
//! [`Fault`](crate::Fault) knows, and a walk that still goes through a table that became a block faults at the table's
//! first entry, which links the table into the list of pages to be freed; no other guest access faults. Level 1 (the nT
//! bit) is treated as level 0: with that bit a block is invalidated twice, once in its form without the bit and once in
//! the form with it, where the break takes one invalidation, and all that to spare other CPUs a fault that hardware may
//! raise anyway (DDI 0487, D8.7.3).

use droste_arm64::desc::Format;
use droste_arm64::machine::{Regime, under};
use droste_arm64::smmu::{Scope, Stuck};
use droste_arm64::tlbi::{IpaOperand, RangeCover, Tlbi};
use droste_arm64::{Bbm, Ipa, Level, Pa};

use crate::counters::Counts;
use crate::devices::Attached;
use crate::entry::{Span, is_locked, unlocked};
use crate::trees::List;
use crate::{Context, Dsb, Machine, Table, VmidAllocator};

/// The most invalidations of single addresses before invalidating the whole VMID is cheaper.
///
/// The number of instructions does not decide it: a discharge takes about 220 and two and a half more per address, one
/// of a whole VMID 190 (`cargo xtask bench stage2`). The cost of each address is a broadcast that every CPU answers;
/// the cost of the VMID is that the guest walks again for what it still uses, some hundred entries of a TLB, each a
/// walk of several loads. So the bound lies between a few dozen and a few hundred; only hardware can tell where.
pub const MAX_SINGLE: u64 = 64;

/// All users of a table: its contexts with the allocator that lends them their VMIDs, and the SMMUs.
#[derive(Clone, Copy, Debug)]
pub struct Contexts<'a, const CPUS: usize> {
    /// The machine's allocator.
    pub vmids: &'a VmidAllocator<CPUS>,
    /// Every context of the table that is not retired.
    pub all: &'a [&'a Context<CPUS>],
    /// Every attachment of the table that is not retired, with its SMMU; most tables have none.
    pub smmus: &'a [Attached<'a>],
}

/// What the changed entries were: a bit for leaves of each level, one for tables, one for the whole table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct What(u8);

impl What {
    const NOTHING: Self = Self(0);
    const TABLES: Self = Self(1 << 6);
    const EVERYTHING: Self = Self(1 << 7);

    #[inline]
    const fn leaves(level: Level) -> Self {
        Self(1 << level.below())
    }

    const fn is_everything(self) -> bool {
        self.0 & Self::EVERYTHING.0 != 0
    }

    /// The level that all of it are leaves of; `None` for tables, and for leaves of several levels.
    fn leaf_level(self) -> Option<Level> {
        let below = self.0.trailing_zeros();
        Level::new(3 - below as i8).filter(|level| self == Self::leaves(*level))
    }
}

/// Whether some entries wait for the invalidation to become valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Locks {
    None,
    Some,
}

/// The first and the last entry of one table that an operation changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touched {
    first: u64,
    last: u64,
}

impl Touched {
    pub(crate) const NONE: Self = Self {
        first: u64::MAX,
        last: 0,
    };

    /// Adds an entry behind the others.
    #[inline]
    pub(crate) fn add(&mut self, index: u64) {
        self.first = self.first.min(index);
        self.last = index;
    }

    /// They were leaves of `level`, of `bytes` each, in the table that translates from `start` on.
    pub(crate) fn owe(self, debt: &mut Debt, start: Ipa, bytes: u64, level: Level) {
        if self.first <= self.last {
            let span = Span {
                start: start + self.first * bytes,
                end: start + (self.last + 1) * bytes,
            };
            debt.add_leaves(span, level);
        }
    }
}

/// An invalidation as data.
#[derive(Debug)]
pub(crate) struct Debt {
    /// All that was changed lies in here; the start is behind the end while nothing was.
    span: Span,
    what: What,
    locks: Locks,
    pub(crate) trees: List,
}

impl Debt {
    pub(crate) const fn new() -> Self {
        Self {
            span: Span {
                start: Ipa(u64::MAX),
                end: Ipa(0),
            },
            what: What::NOTHING,
            locks: Locks::None,
            trees: List::new(),
        }
    }

    pub(crate) const fn is_nothing(&self) -> bool {
        self.what.0 == What::NOTHING.0
    }

    /// What is to be invalidated so far.
    pub(crate) const fn invalidation(&self) -> (Span, What) {
        (self.span, self.what)
    }

    /// Takes back what was added since.
    pub(crate) const fn set_invalidation(&mut self, (span, what): (Span, What)) {
        (self.span, self.what) = (span, what);
    }

    /// Leaves of `level` were changed.
    #[inline]
    pub(crate) fn add_leaves(&mut self, span: Span, level: Level) {
        self.add(span, What::leaves(level));
    }

    /// A table was taken out, with all below it.
    pub(crate) fn add_table(&mut self, span: Span) {
        self.add(span, What::TABLES);
    }

    pub(crate) const fn add_everything(&mut self) {
        self.what.0 |= What::EVERYTHING.0;
    }

    #[inline]
    fn add(&mut self, span: Span, what: What) {
        self.span = self.span.with(span);
        self.what.0 |= what.0;
    }

    /// Some entry of what was added is locked.
    pub(crate) const fn lock(&mut self) {
        self.locks = Locks::Some;
    }

    /// Invalidates in every context and makes locked entries what they are to be. The pages stay listed.
    ///
    /// A context that never had a VMID, or lost it to a rollover, has nothing in any TLB and costs nothing.
    ///
    /// # Errors
    /// [`Stuck`]: CPUs have forgotten what was changed, devices may not have. Nothing waits for that to be
    /// valid, because no entry is locked while devices are attached.
    pub(crate) fn settle<M: Machine, const CPUS: usize>(
        &self,
        table: &Table,
        machine: &M,
        contexts: &Contexts<'_, CPUS>,
    ) -> Result<(), Stuck> {
        if self.is_nothing() {
            return Ok(());
        }
        machine.dsb(Dsb::Ish);
        let plan = Plan::new(table, self.span, self.what);
        let vtcr = table.vtcr;
        let mut marks = 0_u64;
        for context in contexts.all {
            assert!(context.root() == table.root, "a context of another table");
            marks = marks.wrapping_add(context.mark);
            if let Some(vttbr) = contexts.vmids.live(context) {
                under(machine, Regime { vtcr, vttbr }, || {
                    plan.run(machine, &table.counts);
                });
            }
        }
        assert!(
            marks == table.contexts,
            "some context of the table is missing, or another's is there"
        );
        machine.isb();
        if self.locks == Locks::Some {
            let top = (table.root, table.geometry.start(), Ipa(0));
            unlock(table, machine, top, self.span);
            machine.dsb(Dsb::Ishst);
        }
        if table.devices.are_attached() || !contexts.smmus.is_empty() {
            return table.settle_devices(contexts.smmus, self.scope(table));
        }
        Ok(())
    }

    /// What an SMMU is to forget.
    fn scope(&self, table: &Table) -> Scope {
        if self.what.is_everything() {
            return Scope::All;
        }
        table.scope(self.span, self.what.leaf_level())
    }
}

/// Makes the locked entries of a span what they are to be, those of a table before the entry that links it: from then
/// on other CPUs may lock entries of that table for operations of their own, which this must leave alone.
fn unlock<M: Machine>(
    table: &Table,
    machine: &M,
    (node, level, first): (Pa, Level, Ipa),
    span: Span,
) {
    let bytes = table.geometry.entry_bytes(level);
    for index in table.entries_within(level, first, span) {
        let entry = node + index * 8;
        let raw = machine.read(entry);
        let found = unlocked(raw);
        if let (true, Some(below)) = (found.is_table(level), level.next()) {
            let child = found.table_address(table.geometry.format());
            unlock(table, machine, (child, below, first + index * bytes), span);
        }
        if is_locked(raw) {
            machine.write(entry, found);
        }
    }
}

/// How to invalidate a span in one context.
#[derive(Clone, Debug)]
enum Plan {
    Vmid,
    Range(RangeCover),
    Each {
        from: Ipa,
        stride: u64,
        count: u64,
        format: Format,
        hint: Option<Level>,
    },
}

impl Plan {
    fn new(table: &Table, span: Span, what: What) -> Self {
        let granule = table.geometry.granule();
        if what.is_everything() {
            return Self::Vmid;
        }
        let leaf = what.leaf_level();
        let hint = leaf.filter(|_| table.ids.has_ttl());
        let format = table.geometry.format();
        let shift = granule.entry_shift(leaf.unwrap_or(Level::L3));
        let count = span.bytes() >> shift;
        // One address is one instruction either way.
        if count > 1 && table.ids.has_tlbi_range() {
            let pages = span.bytes() >> granule.page_shift();
            if pages > RangeCover::MAX_PAGES {
                return Self::Vmid;
            }
            return Self::Range(RangeCover::new(span.start, pages, format, hint));
        }
        if count > MAX_SINGLE {
            return Self::Vmid;
        }
        Self::Each {
            from: span.start,
            stride: 1 << shift,
            count,
            format,
            hint,
        }
    }

    /// Invalidates under the VMID that is loaded, and waits.
    fn run<M: Machine>(&self, machine: &M, counts: &Counts) {
        match self {
            Self::Vmid => {
                issue(machine, Tlbi::Vmalls12e1is, counts);
                machine.dsb(Dsb::Ish);
                return;
            }
            Self::Range(cover) => {
                for operation in cover.clone() {
                    issue(machine, operation, counts);
                }
            }
            Self::Each {
                from,
                stride,
                count,
                format,
                hint,
            } => {
                for index in 0..*count {
                    let operand = IpaOperand::new(*from + index * stride, *format, *hint);
                    issue(machine, Tlbi::Ipas2e1is(operand), counts);
                }
            }
        }
        machine.dsb(Dsb::Ish);
        issue(machine, Tlbi::Vmalle1is, counts);
        machine.dsb(Dsb::Ish);
    }
}

fn issue<M: Machine>(machine: &M, operation: Tlbi, counts: &Counts) {
    let count = match operation {
        Tlbi::Ipas2e1is(_) => &counts.tlbi_address,
        Tlbi::Ripas2e1is(_) => &counts.tlbi_range,
        Tlbi::Vmalle1is => &counts.tlbi_combined,
        _ => &counts.tlbi_vmid,
    };
    count.add(1);
    machine.tlbi(operation);
}

impl Table {
    /// Takes what this CPU's TLB holds of a leaf, under the VMID that is loaded: after a permission was widened, the
    /// narrower one must not go on faulting. Other CPUs that hold it fault once, and come here themselves.
    pub(crate) fn forget_here<M: Machine>(&self, machine: &M, ipa: Ipa, level: Level) {
        self.counts.tlbi_local.add(1);
        let hint = Some(level).filter(|_| self.ids.has_ttl());
        let operand = IpaOperand::new(ipa, self.geometry.format(), hint);
        machine.tlbi(Tlbi::Ipas2e1(operand));
        machine.dsb(Dsb::Nsh);
        machine.tlbi(Tlbi::Vmalle1);
        machine.dsb(Dsb::Nsh);
        machine.isb();
    }

    /// Invalidates all that this CPU's TLB holds under the VMID that is loaded. For a guest that took a TLB conflict
    /// abort: the TLB held two entries for one address.
    pub fn resolve_conflict<M: Machine>(&self, machine: &M) {
        self.counts.tlbi_local.add(1);
        machine.tlbi(Tlbi::Vmalls12e1);
        machine.dsb(Dsb::Nsh);
        machine.isb();
    }

    /// Whether blocks and tables with the same translations replace one another directly.
    pub(crate) const fn can_resize_live(&self) -> bool {
        matches!(self.ids.bbm(), Bbm::Level2) && self.devices.permit_resizing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(parts: &[What]) -> What {
        What(parts.iter().fold(0, |all, part| all | part.0))
    }

    #[test]
    fn leaves_of_one_level_alone_have_a_level() {
        for level in Level::ALL {
            let leaves = What::leaves(level);
            assert_eq!(leaves.leaf_level(), Some(level));
            assert_eq!(what(&[leaves, What::TABLES]).leaf_level(), None);
            for other in Level::ALL {
                let both = what(&[leaves, What::leaves(other)]);
                assert_eq!(both.leaf_level().is_some(), level == other);
            }
        }
        assert_eq!(What::NOTHING.leaf_level(), None);
    }

    #[test]
    fn everything_is_everything_whatever_else_was_changed() {
        let all = what(&[What::EVERYTHING, What::leaves(Level::L3)]);
        assert!(all.is_everything() && all.leaf_level().is_none());
        assert!(!what(&[What::TABLES, What::leaves(Level::Minus1)]).is_everything());
    }
}
