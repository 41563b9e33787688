//! Tables against a naive map, under random operations, with every trace checked.

use droste_arm64::{Granule, IdRegisters, Ipa, Pa};
use droste_stage2::{Attributes, Context, Error, Mapping, Owed, Permissions, Table, VmidAllocator};
use proptest::prelude::*;

use crate::checker::Checker;
use crate::naive::{Naive, Segment, merged};
use crate::recorder::{self, Pool, ROOT, Recorder};

const BITS: u32 = 40;

#[derive(Clone, Debug)]
enum Operation {
    Map(Mapping),
    Unmap {
        ipa: u64,
        bytes: u64,
    },
    Split {
        ipa: u64,
    },
    /// Contexts are entered and get VMIDs.
    Enter {
        context: usize,
    },
    Free,
}

const ATTRIBUTES: [Attributes; 3] = [
    Attributes::Memory(Permissions::ReadWriteExecute),
    Attributes::Memory(Permissions::Read),
    Attributes::Device,
];

/// The attribute bits of each, without forced Write-Back, from DDI 0487: AF, SH, S2AP, MemAttr; XN in bit 54.
fn bits_of(attributes: Attributes) -> u64 {
    match attributes {
        Attributes::Memory(Permissions::ReadWriteExecute) => 0x7fc,
        Attributes::Memory(Permissions::Read) => 0x77c | 1 << 54,
        Attributes::Device => 0x6c4 | 1 << 54,
        Attributes::Memory(_) => unreachable!("not among those drawn"),
    }
}

/// Ranges around the borders of blocks, and at the top of the address space.
fn range(granule: Granule) -> impl Strategy<Value = (u64, u64)> {
    let page = granule.page_bytes();
    let block = page * granule.entries();
    let table = block * granule.entries();
    let top = 1u64 << BITS;
    let borders = [0, block, 2 * block, table.min(top / 2), top - block, top];
    let sizes = [page, 3 * page, block, 2 * block + page, table.min(top / 2)];
    (
        prop::sample::select(borders.to_vec()),
        -3..4i64,
        prop::sample::select(sizes.to_vec()),
    )
        .prop_map(move |(border, pages, bytes)| {
            let offset = pages.unsigned_abs() * page;
            let ipa = if pages < 0 {
                border.saturating_sub(offset)
            } else {
                border + offset
            };
            let ipa = ipa.min(top - page);
            (ipa, bytes.min(top - ipa))
        })
}

fn operation(granule: Granule) -> impl Strategy<Value = Operation> {
    let page = granule.page_bytes();
    let block = page * granule.entries();
    // As aligned as the largest block, as the next, as a page.
    let deltas = vec![1u64 << 42, (1 << 42) + block, (1 << 42) + page];
    let map = (
        range(granule),
        prop::sample::select(deltas),
        prop::sample::select(ATTRIBUTES.to_vec()),
    );
    prop_oneof![
        5 => map.prop_map(move |((ipa, bytes), delta, attributes)| Operation::Map(Mapping {
            ipa: Ipa(ipa),
            pa: Pa(ipa + delta),
            // Page by page, a large range takes more tables than there are.
            bytes: if delta % block == 0 { bytes } else { bytes.min(2 * block + page) },
            attributes,
        })),
        4 => range(granule).prop_map(|(ipa, bytes)| Operation::Unmap { ipa, bytes }),
        1 => range(granule).prop_map(|(ipa, _)| Operation::Split { ipa }),
        1 => (0..2usize).prop_map(|context| Operation::Enter { context }),
        1 => Just(Operation::Free),
    ]
}

/// All leaves of a table, by an own walk over raw bits, and how many tables hang below the root.
fn leaves(
    recorder: &Recorder,
    granule: Granule,
    start: u32,
    root_entries: u64,
) -> (Vec<Segment>, u64) {
    let shift = granule.page_shift();
    let mut found = Vec::new();
    let mut tables = 0;
    let mut todo = vec![(ROOT, start, 0, root_entries)];
    while let Some((table, level, ipa, entries)) = todo.pop() {
        let size = 1u64 << (shift + (shift - 3) * (3 - level));
        for index in 0..entries {
            let raw = recorder.peek(table + index * 8);
            let start = ipa + index * size;
            let address = raw & 0xffff_ffff_ffff & !(granule.page_bytes() - 1);
            if raw & 3 == 3 && level < 3 {
                tables += 1;
                todo.push((address, level + 1, start, granule.entries()));
            } else if raw & 1 != 0 {
                assert_eq!(raw & 3, if level == 3 { 3 } else { 1 });
                found.push(Segment {
                    start,
                    end: start + size,
                    output: address & !(size - 1),
                    bits: raw & !0xffff_ffff_f003,
                });
            } else {
                assert_eq!(raw, 0, "nothing stays locked");
            }
        }
    }
    found.sort_unstable();
    (found, tables)
}

struct Bench<'r> {
    recorder: &'r Recorder,
    granule: Granule,
    pool: Pool<'r>,
    quota: u64,
    table: Table,
    vmids: VmidAllocator<4>,
    contexts: [Context<4>; 2],
    checker: Checker,
    naive: Naive,
}

impl<'r> Bench<'r> {
    fn new(recorder: &'r Recorder, granule: Granule, ids: &IdRegisters, quota: u64) -> Self {
        let mut table = recorder::table(recorder, granule, BITS, ids);
        let geometry = table.geometry();
        let start = u32::try_from(geometry.start().number()).expect("not below level 0");
        Self {
            recorder,
            granule,
            pool: Pool::new(recorder, quota),
            quota,
            contexts: [Context::new(&mut table), Context::new(&mut table)],
            table,
            vmids: VmidAllocator::new(),
            checker: Checker::new(granule.page_shift(), ROOT, start, geometry.root_entries()),
            naive: Naive::default(),
        }
    }

    fn run(&mut self, operation: &Operation) {
        match *operation {
            Operation::Map(mapping) => self.map(&mapping),
            Operation::Unmap { ipa, bytes } => {
                let owed = self
                    .table
                    .unmap(self.recorder, &mut self.pool, Ipa(ipa), bytes);
                if discharge(
                    owed,
                    self.recorder,
                    &mut self.pool,
                    &self.vmids,
                    &self.contexts,
                ) {
                    self.naive.unmap(ipa, ipa + bytes);
                }
            }
            Operation::Split { ipa } => {
                let owed = self.table.split(self.recorder, &mut self.pool, Ipa(ipa));
                discharge(
                    owed,
                    self.recorder,
                    &mut self.pool,
                    &self.vmids,
                    &self.contexts,
                );
            }
            Operation::Enter { context } => {
                recorder::enter(self.recorder, &self.vmids, &self.contexts[context]);
            }
            Operation::Free => {
                let owed = Ok(self.table.free(self.recorder));
                discharge(
                    owed,
                    self.recorder,
                    &mut self.pool,
                    &self.vmids,
                    &self.contexts,
                );
                self.naive.unmap(0, u64::MAX);
                assert_eq!(self.table.counters().table_pages, 0);
            }
        }
    }

    fn map(&mut self, mapping: &Mapping) {
        let new = Segment {
            start: mapping.ipa.0,
            end: mapping.ipa.0 + mapping.bytes,
            output: mapping.pa.0,
            bits: bits_of(mapping.attributes),
        };
        let conflict = self.naive.conflict(new);
        let result = self.table.map(self.recorder, &mut self.pool, mapping);
        let end = match result {
            Ok(()) => {
                assert_eq!(conflict, None);
                new.end
            }
            Err(Error::AlreadyMapped { ipa }) => {
                assert_eq!(conflict, Some(ipa.0));
                ipa.0
            }
            Err(Error::NoTablePage { ipa }) => {
                assert_eq!(self.pool.left(), 0);
                ipa.0
            }
            Err(other) => panic!("{other}"),
        };
        if end > new.start {
            self.naive.map(Segment { end, ..new });
        }
    }

    fn check(&mut self) {
        let verdict = self.checker.feed(&self.recorder.take_trace());
        assert_eq!(verdict, Ok(()));
        assert_eq!(self.checker.finish(), Ok(()));
        let geometry = self.table.geometry();
        let start = u32::try_from(geometry.start().number()).expect("not below level 0");
        let (found, tables) = leaves(self.recorder, self.granule, start, geometry.root_entries());
        assert_eq!(merged(found), self.naive.segments());
        assert_eq!(self.table.counters().table_pages, tables);
        let left = u64::try_from(self.pool.left()).expect("fits");
        assert_eq!(left + tables, self.quota, "no page is lost");
    }
}

/// Whether there was something to discharge. A lack of pages leaves everything as it was.
fn discharge(
    owed: Result<Owed<'_>, Error>,
    recorder: &Recorder,
    pool: &mut Pool<'_>,
    vmids: &VmidAllocator<4>,
    contexts: &[Context<4>; 2],
) -> bool {
    match owed {
        Ok(owed) => {
            owed.discharge(recorder, pool, vmids, contexts);
            true
        }
        Err(Error::NoTablePage { .. }) => false,
        Err(other) => panic!("{other}"),
    }
}

fn run(granule: Granule, ids: &IdRegisters, quota: u64, operations: &[Operation]) {
    let recorder = Recorder::new(granule);
    let mut bench = Bench::new(&recorder, granule, ids, quota);
    recorder::enter(&recorder, &bench.vmids, &bench.contexts[0]);
    for operation in operations {
        bench.run(operation);
        bench.check();
    }
    bench.run(&Operation::Free);
    bench.check();
}

fn operations(granule: Granule, most: usize) -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec(operation(granule), 1..most)
}

/// Sometimes too few pages.
fn quota(most: u64) -> impl Strategy<Value = u64> {
    prop_oneof![1 => 0..8u64, 3 => Just(most)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_table_holds_what_a_naive_map_does(
        operations in operations(Granule::Kib4, 24), quota in quota(64), has_ranges: bool,
    ) {
        let ids = recorder::plain();
        let ids = if has_ranges { recorder::with_ranges(ids) } else { ids };
        run(Granule::Kib4, &ids, quota, &operations);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn larger_granules_hold_it_too(
        small in operations(Granule::Kib16, 16), large in operations(Granule::Kib64, 12), quota in quota(12),
    ) {
        let ids = recorder::with_ttl(recorder::plain());
        run(Granule::Kib16, &ids, quota, &small);
        run(Granule::Kib64, &recorder::with_ranges(ids), quota, &large);
    }
}
