//! What a table holds after any operations, against a map from page to output.

use std::collections::{BTreeMap, BTreeSet};

use droste_arm64::desc::{Kind, RawDescriptor, S2ap};
use droste_arm64::{Granule, IdRegisters, Ipa, Level, Pa};
use droste_stage2::{Answer, Attributes, Error, Mapping, Runs};
use proptest::prelude::*;

use crate::bench::{AF, Bench, DBM, GIB, MARK, PAGE, PERMISSION, READ, RUN, VALID, WRITE};
use crate::hardware::{plain, with_bbm, with_hardware_dirty, with_ranges};
use crate::recorder::Recorder;

/// The window: three tables' worth of pages across a border of 1 GiB.
const FIRST: u64 = GIB - 512 * PAGE;
const PAGES: u64 = 3 * 512;
/// Memory is where the guest sees it, this much higher.
const OFFSET: u64 = 8 * GIB;

/// Output of a page and whether it can be written.
type Model = BTreeMap<u64, (u64, bool)>;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Map {
        first: u64,
        pages: u64,
        /// Where it leads, in pages from the usual place.
        shift: u64,
        can_write: bool,
        runs: Runs,
        largest: Level,
    },
    Unmap(u64, u64),
    Split(u64, u64, Level),
    Collapse(u64, u64),
    Protect(u64, u64),
    Age(u64, u64),
    Fault(u64, bool),
    Free,
}

fn range() -> impl Strategy<Value = (u64, u64)> {
    let first = prop_oneof![
        0..PAGES,
        (0..PAGES / 16).prop_map(|run| run * 16),
        (0..3u64).prop_map(|table| table * 512),
    ];
    let pages = prop_oneof![1..40u64, Just(16), Just(512), Just(1024), 1..PAGES];
    (first, pages).prop_map(|(first, pages)| (first, pages.min(PAGES - first)))
}

fn operation() -> impl Strategy<Value = Operation> {
    let level = prop_oneof![Just(Level::L1), Just(Level::L2), Just(Level::L3)];
    let runs = prop_oneof![Just(Runs::Contiguous), Just(Runs::Single)];
    let shift = prop_oneof![4 => Just(0u64), 1 => Just(512u64), 1 => Just(1u64)];
    prop_oneof![
        6 => (range(), shift, any::<bool>(), runs, level.clone()).prop_map(
            |((first, pages), shift, can_write, runs, largest)| Operation::Map {
                first, pages, shift, can_write, runs, largest,
            }
        ),
        3 => range().prop_map(|(first, pages)| Operation::Unmap(first, pages)),
        2 => (range(), level).prop_map(|((first, pages), to)| Operation::Split(first, pages, to)),
        2 => range().prop_map(|(first, pages)| Operation::Collapse(first, pages)),
        2 => range().prop_map(|(first, pages)| Operation::Protect(first, pages)),
        1 => range().prop_map(|(first, pages)| Operation::Age(first, pages)),
        4 => (0..PAGES, any::<bool>()).prop_map(|(page, write)| Operation::Fault(page, write)),
        1 => Just(Operation::Free),
    ]
}

const fn ipa(page: u64) -> u64 {
    FIRST + page * PAGE
}

/// A table and what it should hold.
struct Pair<'r> {
    bench: Bench<'r>,
    model: Model,
    /// Pages that were mapped read-only and have not faulted since.
    read_only: BTreeSet<u64>,
}

impl<'r> Pair<'r> {
    fn new(recorder: &'r Recorder, ids: &IdRegisters) -> Self {
        let mut bench = Bench::new(recorder, ids);
        bench.slot(FIRST, FIRST + OFFSET, PAGES * PAGE, Attributes::RAM);
        Self {
            bench,
            model: Model::new(),
            read_only: BTreeSet::new(),
        }
    }

    fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Map {
                first,
                pages,
                shift,
                can_write,
                runs,
                largest,
            } => {
                let pa = ipa(first + shift) + OFFSET;
                let attributes = if can_write {
                    Attributes::RAM
                } else {
                    Attributes::ROM
                };
                let mapping = Mapping {
                    largest,
                    runs,
                    ..Mapping::new(Ipa(ipa(first)), Pa(pa), pages * PAGE, attributes)
                };
                assert_eq!(self.bench.map(&mapping).result, Ok(()));
                for page in first..first + pages {
                    let output = pa + (page - first) * PAGE;
                    // What is logged stays so where it is mapped as it was.
                    let is_logged = self.is_logged_by_hardware(page);
                    self.model.insert(page, (output, can_write && !is_logged));
                    if can_write {
                        self.read_only.remove(&page);
                    } else {
                        self.read_only.insert(page);
                    }
                }
            }
            Operation::Unmap(first, pages) => {
                let done = self.bench.unmap(ipa(first), pages * PAGE);
                assert_eq!(done.result, Ok(()));
                self.model
                    .retain(|page, _| !(first..first + pages).contains(page));
            }
            Operation::Split(first, pages, to) => {
                let done = self.bench.split(ipa(first), pages * PAGE, to);
                assert_eq!(done.result, Ok(()));
                for page in first..first + pages {
                    let leaf = self.bench.leaf(ipa(page));
                    assert!(leaf.is_none_or(|(level, _)| level >= to));
                    assert_eq!(self.bench.raw(ipa(page)) & RUN, 0);
                }
            }
            Operation::Collapse(first, pages) => self.collapse(first, pages),
            Operation::Protect(first, pages) => self.protect(first, pages),
            Operation::Age(first, pages) => {
                let bytes = pages * PAGE;
                let (table, machine) = (&self.bench.table, self.bench.recorder);
                let leaves = table.leaves(machine, Ipa(ipa(first)), bytes).count() as u64;
                let young = table.age(machine, Ipa(ipa(first)), bytes);
                assert!(young.is_ok_and(|young| young <= leaves));
                assert_eq!(table.age(machine, Ipa(ipa(first)), bytes), Ok(0));
            }
            Operation::Fault(page, write) => self.fault(page, write),
            Operation::Free => {
                self.bench.run(|table, machine, _| table.free(machine));
                self.model.clear();
                self.read_only.clear();
            }
        }
    }

    /// A collapse gives back permissions; to which pages, the table itself must tell.
    fn collapse(&mut self, first: u64, pages: u64) {
        let before: Vec<_> = (0..PAGES).map(|page| self.bench.leaf(ipa(page))).collect();
        let done = self.bench.collapse(ipa(first), pages * PAGE, Level::L1);
        assert_eq!(done.result, Ok(()));
        for (page, before) in (0..PAGES).zip(before) {
            let after = self.bench.leaf(ipa(page));
            if let (Some((was, _)), Some((is, _))) = (before, after)
                && is < was
            {
                assert!((first..first + pages).contains(&page));
                let entry = self.model.get_mut(&page).expect("a leaf is mapped");
                entry.1 = true;
                self.read_only.remove(&page);
            }
        }
    }

    fn protect(&mut self, first: u64, pages: u64) {
        let (reported, done) = self.bench.dirty(ipa(first), pages * PAGE);
        assert_eq!(done.result, Ok(()));
        let mut written: Vec<_> = reported
            .iter()
            .flat_map(|(at, bytes)| (at - FIRST) / PAGE..(at + bytes - FIRST) / PAGE)
            .collect();
        for page in &written {
            let entry = self.model.get_mut(page).expect("a leaf is mapped");
            assert!(entry.1, "only what can be written is reported");
            entry.1 = false;
        }
        let protected = (first..first + pages).filter_map(|page| self.model.get(&page));
        assert!(protected.into_iter().all(|entry| !entry.1));
        written.dedup();
        let distinct: u64 = reported.iter().map(|(_, bytes)| bytes / PAGE).sum();
        assert_eq!(written.len() as u64, distinct, "once each");
    }

    fn fault(&mut self, page: u64, write: bool) {
        let esr = if write { WRITE } else { READ };
        let here = self.model.get(&page).copied();
        let cause = if here.is_some() { PERMISSION } else { 0 };
        let (answer, _) = self.bench.fault(esr | cause, ipa(page));
        let expected = match here {
            None => Ok(Answer::Mapped),
            Some((output, _)) if output != ipa(page) + OFFSET => {
                let found = self.bench.leaf(ipa(page)).map(|leaf| leaf.1);
                assert_eq!(found, Some(output));
                Err(Error::AlreadyMapped {
                    ipa: Ipa(ipa(page)),
                })
            }
            Some((_, can_write)) if can_write || !write => Ok(Answer::Retry),
            Some(_) => Ok(Answer::Relaxed),
        };
        assert_eq!(answer, expected);
        if matches!(answer, Ok(Answer::Mapped | Answer::Relaxed)) {
            self.take_up(page);
        }
    }

    /// A fault maps or widens at least its page, and with it what its slot has around it.
    fn take_up(&mut self, page: u64) {
        assert!(self.bench.leaf(ipa(page)).is_some());
        for page in 0..PAGES {
            let Some((_, output)) = self.bench.leaf(ipa(page)) else {
                continue;
            };
            let can_write = self.can_write(page);
            if can_write {
                self.read_only.remove(&page);
            }
            let entry = self.model.entry(page).or_insert((ipa(page) + OFFSET, true));
            assert_eq!(entry.0, output);
            entry.1 |= can_write;
        }
    }

    fn can_write(&self, page: u64) -> bool {
        RawDescriptor(self.bench.raw(ipa(page))).access() == S2ap::ReadWrite
    }

    /// Whether it waits for its first store, which hardware or a fault permits.
    fn is_logged_by_hardware(&self, page: u64) -> bool {
        let raw = RawDescriptor(self.bench.raw(ipa(page)));
        raw.is_dirty_managed() && !raw.access().can_write()
    }

    /// The table holds what the model says, no entry is locked, and runs are whole.
    fn check(&mut self) {
        for page in 0..PAGES {
            let raw = self.bench.raw(ipa(page));
            assert_ne!(raw & (MARK | VALID), MARK, "page {page} is locked");
            let Some((_, can_write)) = self.model.get(&page) else {
                assert_eq!(raw, 0, "page {page} is a hole and not empty");
                continue;
            };
            let leaf = RawDescriptor(raw);
            assert_eq!(leaf.access().can_write(), *can_write, "page {page}");
            let is_read_only = self.read_only.contains(&page);
            assert!(!is_read_only || !can_write && !leaf.is_dirty_managed());
            if page % 16 == 0 && raw & RUN != 0 {
                self.check_run(page, raw);
            }
        }
        self.check_leaves();
        assert_eq!(self.bench.page_count(), 64);
    }

    /// A leaf with the Contiguous bit is one of a whole run of like leaves, and the run's output is as aligned.
    fn check_run(&self, page: u64, raw: u64) {
        let (level, output) = self.bench.leaf(ipa(page)).expect("a leaf");
        let format = self.bench.table.geometry().format();
        assert_eq!(level, Level::L3, "the window holds no run of blocks");
        assert_eq!(output % (16 * PAGE), 0);
        for index in 0..16 {
            let other = RawDescriptor(self.bench.raw(ipa(page + index)));
            assert_eq!(other.kind(format, level), Kind::Leaf);
            let like = |raw: u64| raw & !(AF | DBM);
            assert_eq!(like(other.0), like(raw) + index * PAGE, "page {page}");
        }
    }

    /// The leaves in order, without gap or overlap, are what single walks find.
    fn check_leaves(&self) {
        let (table, machine) = (&self.bench.table, self.bench.recorder);
        let leaves = table.leaves(machine, Ipa(FIRST), PAGES * PAGE);
        let geometry = table.geometry();
        let pages: Vec<_> = leaves
            .flat_map(|(first, level, leaf)| {
                let count = geometry.entry_bytes(level) / PAGE;
                (0..count).map(move |page| (first.0 + page * PAGE, leaf.output.0 + page * PAGE))
            })
            .collect();
        let expected = self.model.iter().map(|(page, entry)| (ipa(*page), entry.0));
        assert!(expected.eq(pages));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_holds_what_operations_left(
        features in 0..4u64,
        operations in prop::collection::vec(operation(), 1..24),
    ) {
        let mut ids = plain();
        if features & 1 != 0 {
            ids = with_bbm(ids, 2);
        }
        if features & 2 != 0 {
            ids = with_ranges(with_hardware_dirty(ids));
        }
        let recorder = Recorder::new(Granule::Kib4);
        let mut pair = Pair::new(&recorder, &ids);
        for operation in operations {
            pair.run(operation);
            pair.check();
        }
    }
}
