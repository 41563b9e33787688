//! Invalidations that an unmapping owes, and their discharge.
//!
//! Break-before-make (DDI 0487, D8 "Using break-before-make when updating translation table entries") for all
//! entries of one operation at once:
//!
//! 1. The entries are invalid already. `DSB ISH`: every walker sees that.
//! 2. For each context, under its VMID: the stage-2 entries by address, or by range where FEAT_TLBIRANGE exists;
//!    `DSB ISH`; then `VMALLE1IS`, because entries that combine both stages do not go by IPA; `DSB ISH`. Past
//!    [`MAX_SINGLE`] addresses, or what one range instruction covers, `VMALLS12E1IS` and `DSB ISH` take the place
//!    of both.
//! 3. `ISB`, for this CPU.
//! 4. Blocks that were split are made again, as tables. `DSB ISHST`: walkers see them.
//! 5. The pages of tables that are gone return to the supply.
//!
//! FEAT_BBM is not used: the full sequence is right at every level of it.

use droste_arm64::desc::{Format, RawDescriptor};
use droste_arm64::tlbi::{IpaOperand, RangeCover, Tlbi};
use droste_arm64::{Ipa, Level, Pa};

use crate::machine::under;
use crate::table::{Counters, Standing};
use crate::{Context, Dsb, Machine, PageSupply, Table, VmidAllocator};

/// The most invalidations of single addresses before the whole VMID is cheaper. A guess that waits for a
/// measurement: each is a broadcast that all CPUs answer, and refilling a TLB costs a few hundred walks.
pub const MAX_SINGLE: u64 = 64;

/// Pages of unlinked tables, linked through their first entries. A link reads as an invalid descriptor.
#[derive(Debug)]
pub(crate) struct PageList {
    head: Option<Pa>,
}

/// The last page's link. Bit 0 is clear, and no page's address has bit 1 set.
const END: RawDescriptor = RawDescriptor(2);

impl PageList {
    pub(crate) const fn new() -> Self {
        Self { head: None }
    }

    pub(crate) fn push<M: Machine>(&mut self, machine: &M, page: Pa) {
        let link = self.head.map_or(END, |next| RawDescriptor(next.0));
        machine.write(page, link);
        self.head = Some(page);
    }

    pub(crate) fn pop<M: Machine>(&mut self, machine: &M) -> Option<Pa> {
        let page = self.head?;
        let link = machine.read(page);
        self.head = (link != END).then_some(Pa(link.0));
        Some(page)
    }
}

/// A table descriptor to be written where a block was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) entry: Pa,
    pub(crate) value: RawDescriptor,
}

/// What the invalidated entries were.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Leaves of one level.
    Leaves(Level),
    /// Tables, or leaves of several levels.
    Mixed,
    /// The whole table.
    Everything,
}

/// An invalidation as data.
#[derive(Debug)]
pub(crate) struct Debt {
    /// First and end address of all that was invalidated, and what it was.
    span: Option<(Ipa, Ipa, Kind)>,
    /// A range has two ends, so two blocks at most are split by one operation.
    links: [Option<Link>; 2],
    pages: PageList,
}

impl Debt {
    pub(crate) const fn new() -> Self {
        Self {
            span: None,
            links: [None; 2],
            pages: PageList::new(),
        }
    }

    pub(crate) const fn is_nothing(&self) -> bool {
        self.span.is_none()
    }

    pub(crate) const fn pages(&mut self) -> &mut PageList {
        &mut self.pages
    }

    pub(crate) fn add_leaf(&mut self, start: Ipa, end: Ipa, level: Level) {
        self.add(start, end, Kind::Leaves(level));
    }

    pub(crate) fn add_table(&mut self, start: Ipa, end: Ipa) {
        self.add(start, end, Kind::Mixed);
    }

    pub(crate) fn add_everything(&mut self) {
        self.add(Ipa(0), Ipa(0), Kind::Everything);
    }

    fn add(&mut self, start: Ipa, end: Ipa, kind: Kind) {
        self.span = Some(match self.span {
            None => (start, end, kind),
            Some((was_start, was_end, was)) => {
                let kind = match (was, kind) {
                    (Kind::Everything, _) | (_, Kind::Everything) => Kind::Everything,
                    (was, kind) if was == kind => kind,
                    _ => Kind::Mixed,
                };
                (was_start.min(start), was_end.max(end), kind)
            }
        });
    }

    pub(crate) fn add_link(&mut self, link: Link) {
        let free = self.links.iter_mut().find(|place| place.is_none());
        *free.expect("one operation splits two blocks at most") = Some(link);
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
    fn new(table: &Table, (start, end, kind): (Ipa, Ipa, Kind)) -> Self {
        let format = table.geometry.format();
        let leaf = match kind {
            Kind::Everything => return Self::Vmid,
            Kind::Leaves(level) => Some(level),
            Kind::Mixed => None,
        };
        let hint = leaf.filter(|_| table.ids.has_ttl());
        if table.ids.has_tlbi_range() {
            let pages = (end - start) >> format.granule().page_shift();
            if pages > RangeCover::MAX_PAGES {
                return Self::Vmid;
            }
            return Self::Range(RangeCover::new(start, pages, format, hint));
        }
        let stride = table.geometry.entry_bytes(leaf.unwrap_or(Level::L3));
        let count = (end - start) / stride;
        if count > MAX_SINGLE {
            return Self::Vmid;
        }
        Self::Each {
            from: start,
            stride,
            count,
            format,
            hint,
        }
    }

    /// Invalidates under the VMID that is loaded, and waits.
    fn run<M: Machine>(&self, machine: &M, counters: &mut Counters) {
        match self {
            Self::Vmid => {
                issue(machine, Tlbi::Vmalls12e1is, counters);
                machine.dsb(Dsb::Ish);
                return;
            }
            Self::Range(cover) => {
                for operation in cover.clone() {
                    issue(machine, operation, counters);
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
                    issue(machine, Tlbi::Ipas2e1is(operand), counters);
                }
            }
        }
        machine.dsb(Dsb::Ish);
        issue(machine, Tlbi::Vmalle1is, counters);
        machine.dsb(Dsb::Ish);
    }
}

fn issue<M: Machine>(machine: &M, operation: Tlbi, counters: &mut Counters) {
    match operation {
        Tlbi::Ipas2e1is(_) => counters.tlbi_address += 1,
        Tlbi::Ripas2e1is(_) => counters.tlbi_range += 1,
        Tlbi::Vmalle1is => counters.tlbi_combined += 1,
        _ => counters.tlbi_vmid += 1,
    }
    machine.tlbi(operation);
}

/// TLB invalidations that a table owes to its contexts, with the pages that come free by them.
///
/// It keeps the table borrowed: nothing can be mapped where CPUs may still use what was there. Dropped without
/// [`discharge`](Self::discharge), its pages stay taken for good and the table's next operation panics.
#[must_use = "until it is discharged, CPUs use what was unmapped, and its pages are lost"]
#[derive(Debug)]
pub struct Owed<'t> {
    table: &'t mut Table,
    debt: Debt,
}

impl<'t> Owed<'t> {
    pub(crate) const fn new(table: &'t mut Table, debt: Debt) -> Self {
        Self { table, debt }
    }

    /// Invalidates in every context of the table, completes splits, and gives the pages of unlinked tables back.
    ///
    /// A context that never had a VMID, or lost it to a rollover, has nothing in any TLB and costs nothing.
    ///
    /// # Panics
    /// Unless `contexts` are all the contexts of this table and no others.
    pub fn discharge<'c, M: Machine, const CPUS: usize>(
        self,
        machine: &M,
        supply: &mut impl PageSupply,
        vmids: &VmidAllocator<CPUS>,
        contexts: impl IntoIterator<Item = &'c Context<CPUS>>,
    ) {
        let Self { table, mut debt } = self;
        let Some(span) = debt.span else {
            return;
        };
        machine.dsb(Dsb::Ish);
        let plan = Plan::new(table, span);
        let mut seen = 0;
        for context in contexts {
            assert!(context.root() == table.root, "a context of another table");
            seen += 1;
            if let Some(vttbr) = vmids.live(context) {
                under(machine, vttbr, || plan.run(machine, &mut table.counters));
            }
        }
        assert!(
            seen == table.contexts,
            "some context of the table is missing"
        );
        machine.isb();

        for link in debt.links.iter().flatten() {
            machine.write(link.entry, link.value);
        }
        if debt.links.iter().any(Option::is_some) {
            machine.dsb(Dsb::Ishst);
        }
        while let Some(page) = debt.pages.pop(machine) {
            table.give_page(supply, page);
        }
        table.standing = Standing::Settled;
    }
}
