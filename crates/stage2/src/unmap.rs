//! Taking mappings away, and splitting blocks.
//!
//! Rule: an entry that was valid becomes invalid here, and valid again (as a table that replaces a block) only when
//! the [`Owed`] has been discharged. Until then a block being replaced holds [`LOCKED`]: invalid to hardware, but
//! not empty, so its table is not taken for empty and nothing is installed over it.

use droste_arm64::desc::{Descriptor, Leaf, RawDescriptor};
use droste_arm64::{Ipa, Level, Pa};

use crate::owed::{Debt, Link, Owed, PageList};
use crate::table::{Position, Standing};
use crate::{Error, Machine, PageSupply, Table};

/// Invalid, with a mark in the bits that hardware ignores.
const LOCKED: RawDescriptor = RawDescriptor(1 << 55);

/// A range of guest addresses.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: Ipa,
    end: Ipa,
}

impl Span {
    const NOTHING: Self = Self {
        start: Ipa(0),
        end: Ipa(0),
    };

    fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    fn common(self, other: Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start < end).then_some(Self { start, end })
    }
}

/// A table that is part of the tree, or will be.
#[derive(Clone, Copy, Debug)]
struct Node {
    table: Pa,
    level: Level,
    /// First guest address that it translates.
    ipa: Ipa,
}

/// A block that is to become a table.
#[derive(Clone, Copy, Debug)]
struct Replacement {
    entry: Pa,
    level: Level,
    ipa: Ipa,
    table: Pa,
}

impl Table {
    /// Unmaps a range; what in it is not mapped stays so. Blocks that reach beyond the range are split, and tables
    /// that become empty are taken out.
    ///
    /// The entries are invalid on return, but CPUs may go on using them, and the parts of split blocks outside the
    /// range fault, until the result is [discharged](Owed::discharge).
    ///
    /// # Errors
    /// [`Error::Misaligned`], [`Error::OutsideIpaSpace`], and [`Error::NoTablePage`] where a split lacks a page.
    /// Nothing has changed then.
    pub fn unmap<M: Machine>(
        &mut self,
        machine: &M,
        supply: &mut impl PageSupply,
        ipa: Ipa,
        bytes: u64,
    ) -> Result<Owed<'_>, Error> {
        self.expect_settled();
        self.geometry.check(ipa, bytes)?;
        let hole = Span {
            start: ipa,
            end: ipa + bytes,
        };
        let last_page = hole.end - Ipa(self.geometry.page_bytes());
        let first = self.straddling(machine, hole.start, hole);
        let last = self
            .straddling(machine, Ipa(last_page), hole)
            .filter(|(_, at)| first.is_none_or(|(_, first)| first.entry != at.entry));

        let first = self.replacement(machine, supply, first, hole)?;
        let last = match self.replacement(machine, supply, last, hole) {
            Ok(last) => last,
            Err(error) => {
                if let Some(first) = first {
                    self.discard(machine, supply, first);
                }
                return Err(error);
            }
        };

        let mut debt = Debt::new();
        for block in [first, last].into_iter().flatten() {
            self.lock_block(machine, block, &mut debt);
        }
        self.clear(machine, self.root_node(), hole, &mut debt);
        Ok(self.owe(debt))
    }

    /// Splits the block that maps an address into a table of the next level's leaves with the same outputs and
    /// attributes. A page and a hole stay as they are.
    ///
    /// Until the result is [discharged](Owed::discharge) the whole block faults.
    ///
    /// # Errors
    /// [`Error::OutsideIpaSpace`] and [`Error::NoTablePage`]. Nothing has changed then.
    pub fn split<M: Machine>(
        &mut self,
        machine: &M,
        supply: &mut impl PageSupply,
        ipa: Ipa,
    ) -> Result<Owed<'_>, Error> {
        self.expect_settled();
        let page_bytes = self.geometry.page_bytes();
        self.geometry
            .check(ipa.align_down(page_bytes), page_bytes)?;
        let at = self.descend(machine, ipa);
        let block = match at.found {
            Descriptor::Block(leaf) => Some((leaf, at_start_of(self, at, ipa))),
            _ => None,
        };
        let mut debt = Debt::new();
        if let Some(block) = self.replacement(machine, supply, block, Span::NOTHING)? {
            self.lock_block(machine, block, &mut debt);
        }
        Ok(self.owe(debt))
    }

    /// Unmaps everything, at a cost in proportion to the tables there are, not to the address space. The root stays;
    /// after the discharge the table is as new, and it and its contexts can be dropped and the root's memory reused.
    pub fn free<M: Machine>(&mut self, machine: &M) -> Owed<'_> {
        self.expect_settled();
        let mut debt = Debt::new();
        let root = self.root_node();
        for index in 0..self.geometry.entries(root.level) {
            let entry = root.table + index * 8;
            let raw = machine.read(entry);
            if !raw.is_valid() {
                continue;
            }
            machine.write(entry, RawDescriptor::EMPTY);
            debt.add_everything();
            let found = raw.decode(self.geometry.format(), root.level);
            if let (Descriptor::Table(child), Some(below)) = (found, root.level.next()) {
                self.retire(machine, child, below, debt.pages());
            }
        }
        self.owe(debt)
    }

    /// The block that maps `ipa` and reaches beyond `hole`, where there is one.
    fn straddling<M: Machine>(
        &self,
        machine: &M,
        ipa: Ipa,
        hole: Span,
    ) -> Option<(Leaf, BlockPlace)> {
        let at = self.descend(machine, ipa);
        let Descriptor::Block(leaf) = at.found else {
            return None;
        };
        let place = at_start_of(self, at, ipa);
        let span = self.span(place.level, place.ipa);
        (!hole.covers(span)).then_some((leaf, place))
    }

    /// Builds the table that takes a block's place, without what falls into `hole`. Not linked yet.
    fn replacement<M: Machine>(
        &mut self,
        machine: &M,
        supply: &mut impl PageSupply,
        block: Option<(Leaf, BlockPlace)>,
        hole: Span,
    ) -> Result<Option<Replacement>, Error> {
        let Some((leaf, BlockPlace { entry, level, ipa })) = block else {
            return Ok(None);
        };
        let table = self.build(machine, supply, leaf, (level, ipa), hole)?;
        Ok(Some(Replacement {
            entry,
            level,
            ipa,
            table,
        }))
    }

    /// A table, one level below the block at `(level, ipa)`, that maps what the block does outside `hole`.
    fn build<M: Machine>(
        &mut self,
        machine: &M,
        supply: &mut impl PageSupply,
        block: Leaf,
        (level, ipa): (Level, Ipa),
        hole: Span,
    ) -> Result<Pa, Error> {
        let below = level.next().expect("a block stands above level 3");
        let size = self.geometry.entry_bytes(below);
        let table = self.take_page(supply, ipa)?;
        machine.zero(table, self.geometry.page_bytes());
        for index in 0..self.geometry.granule().entries() {
            let span = self.span(below, ipa + index * size);
            let leaf = Leaf {
                output: block.output + index * size,
                attributes: block.attributes,
            };
            let raw = match hole.common(span) {
                None => self.leaf(below, leaf.output, leaf.attributes),
                Some(_) if hole.covers(span) => continue,
                Some(_) => match self.build(machine, supply, leaf, (below, span.start), hole) {
                    Ok(child) => self.table_descriptor(below, child),
                    Err(error) => {
                        self.give_back(machine, supply, table, below);
                        return Err(error);
                    }
                },
            };
            machine.write(table + index * 8, raw);
        }
        Ok(table)
    }

    /// Gives back tables that were never linked.
    fn discard<M: Machine>(
        &mut self,
        machine: &M,
        supply: &mut impl PageSupply,
        block: Replacement,
    ) {
        let below = block.level.next().expect("a block stands above level 3");
        self.give_back(machine, supply, block.table, below);
    }

    fn give_back<M: Machine>(
        &mut self,
        machine: &M,
        supply: &mut impl PageSupply,
        table: Pa,
        level: Level,
    ) {
        let mut pages = PageList::new();
        self.retire(machine, table, level, &mut pages);
        while let Some(page) = pages.pop(machine) {
            self.give_page(supply, page);
        }
    }

    /// The "break" of break-before-make: the "make" is in the discharge.
    fn lock_block<M: Machine>(&self, machine: &M, block: Replacement, debt: &mut Debt) {
        machine.write(block.entry, LOCKED);
        let span = self.span(block.level, block.ipa);
        debt.add_leaf(span.start, span.end, block.level);
        debt.add_link(Link {
            entry: block.entry,
            value: self.table_descriptor(block.level, block.table),
        });
    }

    /// Invalidates what `node` maps in `hole`. No leaf reaches beyond `hole`: those are locked by now.
    fn clear<M: Machine>(&self, machine: &M, node: Node, hole: Span, debt: &mut Debt) {
        let size = self.geometry.entry_bytes(node.level);
        let mut index = hole.start.0.saturating_sub(node.ipa.0) / size;
        while index < self.geometry.entries(node.level) {
            let span = self.span(node.level, node.ipa + index * size);
            let Some(common) = hole.common(span) else {
                break;
            };
            let entry = node.table + index * 8;
            index += 1;
            let found = machine
                .read(entry)
                .decode(self.geometry.format(), node.level);
            match (found, node.level.next()) {
                (Descriptor::Table(child), Some(level)) => {
                    let child = Node {
                        table: child,
                        level,
                        ipa: span.start,
                    };
                    self.clear_table(machine, entry, child, (span, common), debt);
                }
                (Descriptor::Block(_) | Descriptor::Page(_), _) => {
                    machine.write(entry, RawDescriptor::EMPTY);
                    debt.add_leaf(span.start, span.end, node.level);
                }
                _ => {}
            }
        }
    }

    /// Invalidates the `common` part of what the table `child` at `entry` maps: all of it with the table itself,
    /// or else the table with it when nothing is left.
    fn clear_table<M: Machine>(
        &self,
        machine: &M,
        entry: Pa,
        child: Node,
        (span, common): (Span, Span),
        debt: &mut Debt,
    ) {
        let is_whole = common.covers(span);
        if !is_whole {
            self.clear(machine, child, common, debt);
            if !self.is_empty(machine, child.table) {
                return;
            }
        }
        machine.write(entry, RawDescriptor::EMPTY);
        // One address below the table would do for the table's own entry; the leaves below need each its own.
        debt.add_table(common.start, common.end);
        self.retire(machine, child.table, child.level, debt.pages());
    }

    /// Collects a table that is no longer reachable, and all below it. Each page's first entry becomes the list's
    /// link, which is invalid as a descriptor; hardware that still walks the others finds what was there.
    fn retire<M: Machine>(&self, machine: &M, table: Pa, level: Level, pages: &mut PageList) {
        if let Some(below) = level.next() {
            for index in 0..self.geometry.granule().entries() {
                let raw = machine.read(table + index * 8);
                if let Descriptor::Table(child) = raw.decode(self.geometry.format(), level) {
                    self.retire(machine, child, below, pages);
                }
            }
        }
        pages.push(machine, table);
    }

    fn is_empty<M: Machine>(&self, machine: &M, table: Pa) -> bool {
        (0..self.geometry.granule().entries())
            .all(|index| machine.read(table + index * 8) == RawDescriptor::EMPTY)
    }

    fn owe(&mut self, debt: Debt) -> Owed<'_> {
        if !debt.is_nothing() {
            self.standing = Standing::Owing;
        }
        Owed::new(self, debt)
    }

    fn root_node(&self) -> Node {
        Node {
            table: self.root,
            level: self.geometry.start(),
            ipa: Ipa(0),
        }
    }

    fn span(&self, level: Level, ipa: Ipa) -> Span {
        Span {
            start: ipa,
            end: ipa + self.geometry.entry_bytes(level),
        }
    }
}

/// Where a block's entry stands.
#[derive(Clone, Copy, Debug)]
struct BlockPlace {
    entry: Pa,
    level: Level,
    /// First guest address that the block maps.
    ipa: Ipa,
}

fn at_start_of(table: &Table, at: Position, ipa: Ipa) -> BlockPlace {
    BlockPlace {
        entry: at.entry,
        level: at.level,
        ipa: ipa.align_down(table.geometry.entry_bytes(at.level)),
    }
}
