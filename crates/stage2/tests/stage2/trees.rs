//! Tables that come free are taken apart when their pages are wanted.

use std::collections::BTreeSet;

use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Granule, Ipa, Pa};
use droste_stage2::{Contexts, Error, Owed, PageSupply, Table, Trees};

use crate::bench::{Bench, GIB, ISH, MIB2, PAGE, ROOT, ram, tlbi};
use crate::hardware::plain;
use crate::recorder::Event::{Isb, Write};
use crate::recorder::{Event, POOL, Recorder};

/// Pages as a hypervisor has them whose guests must not hold it up.
struct Late {
    free: Vec<Pa>,
    trees: Trees,
}

impl PageSupply for Late {
    fn take(&mut self) -> Option<Pa> {
        self.free.pop()
    }

    fn give(&mut self, page: Pa) {
        self.free.push(page);
    }

    fn trees(&mut self) -> Option<&mut Trees> {
        Some(&mut self.trees)
    }
}

impl Late {
    fn new(bench: &Bench<'_>) -> Self {
        Self {
            free: Vec::new(),
            trees: Trees::new(bench.table.geometry()),
        }
    }

    /// Does an operation and discharges it; what the machine was told.
    fn discharge(
        &mut self,
        bench: &mut Bench<'_>,
        operation: impl for<'t> FnOnce(&'t mut Table, &mut Self) -> Owed<'t>,
    ) -> Vec<Event> {
        bench.recorder.take_trace();
        let contexts: Vec<_> = bench.contexts.iter().collect();
        let contexts = Contexts {
            vmids: &bench.vmids,
            all: &contexts,
            smmus: &[],
        };
        let owed = operation(&mut bench.table, self);
        let result: Result<(), Error> = owed.discharge(bench.recorder, self, &contexts);
        assert_eq!(result, Ok(()));
        bench.recorder.take_trace()
    }

    /// All pages that come out, none twice.
    fn all(&mut self, recorder: &Recorder) -> BTreeSet<u64> {
        let mut pages = BTreeSet::new();
        while let Some(page) = self.trees.take(recorder) {
            assert!(pages.insert(page.0), "{page} comes out twice");
        }
        pages
    }
}

fn pages(count: u64) -> BTreeSet<u64> {
    (0..count).map(|n| POOL + n * PAGE).collect()
}

#[test]
fn a_tree_comes_free_in_as_many_steps_as_it_has_levels() {
    for tables in [1, 20] {
        let recorder = Recorder::new(Granule::Kib4);
        let mut bench = Bench::new(&recorder, &plain());
        bench.map(&ram(GIB, 4 * GIB + PAGE, tables * MIB2));
        let mut supply = Late::new(&bench);
        let events = supply.discharge(&mut bench, |table, _| table.free(&recorder));
        // The table of level 2, then the first of level 3, which is in its first entry.
        let expected = [
            Write(ROOT + 8, 0),
            Write(POOL, 1 << 1),
            Write(POOL + PAGE, POOL | 1 << 2),
            ISH,
            tlbi(Tlbi::Vmalls12e1is, 1),
            ISH,
            Isb,
            // Before those that were there, which are none.
            Write(POOL, 1 << 1),
        ];
        assert_eq!(events, expected);
        assert_eq!(supply.all(&recorder), pages(1 + tables));
        assert_eq!(supply.trees.taken(), 1 + tables);
        assert_eq!(bench.table.counters().table_pages, 1 + tables);
    }
}

#[test]
fn trees_of_several_discharges_come_out_together() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    for gib in 1..4 {
        bench.map(&ram(gib * GIB, 4 * GIB + PAGE, 3 * MIB2));
    }
    let mut supply = Late::new(&bench);
    for gib in 1..4 {
        supply.discharge(&mut bench, |table, supply| {
            table.unmap(&recorder, supply, Ipa(gib * GIB), GIB)
        });
        // One page of what there is goes out before the next tree comes in.
        assert!(supply.trees.take(&recorder).is_some_and(|page| {
            supply.give(page);
            true
        }));
    }
    let out: BTreeSet<u64> = supply.free.iter().map(|page| page.0).collect();
    let rest = supply.all(&recorder);
    assert!(out.is_disjoint(&rest));
    assert_eq!(
        out.union(&rest).copied().collect::<BTreeSet<_>>(),
        pages(12)
    );
}

#[test]
fn what_a_leaf_takes_the_place_of_comes_free_as_one() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB + PAGE, 20 * MIB2));
    let mut supply = Late::new(&bench);
    supply.discharge(&mut bench, |table, supply| {
        table.map(&recorder, supply, &ram(GIB, 8 * GIB, GIB))
    });
    assert_eq!(supply.all(&recorder), pages(21));
}

#[test]
#[should_panic(expected = "trees of another shape")]
fn trees_of_another_shape_are_refused() {
    let recorder = Recorder::new(Granule::Kib4);
    let mut bench = Bench::new(&recorder, &plain());
    bench.map(&ram(GIB, 4 * GIB, PAGE));
    let mut supply = Late::new(&bench);
    let ids = droste_arm64::IdRegisters {
        mmfr0: plain().mmfr0 | 2 << 40 | 2 << 32,
        ..plain()
    };
    supply.trees = Trees::new(crate::bench::geometry(Granule::Kib64, 40, &ids));
    supply.discharge(&mut bench, |table, _| table.free(&recorder));
}
