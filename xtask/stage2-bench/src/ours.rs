//! The cases of `droste-stage2`.
//!
//! The hardware has FEAT_S2FWB, coherent instruction fetch, FEAT_TTL, FEAT_TLBIRANGE and 16-bit VMIDs, unless a case's
//! name ends in `-plain`: then it has none of the last three. FEAT_BBM is absent unless the name says otherwise.

use std::hint::black_box;

use droste_arm64::esr::Esr;
use droste_arm64::{Granule, IdRegisters, Ipa, IpaBits, Level, Pa};
use droste_stage2::{
    Answer, Attributes, Context, Contexts, DirtyLog, Fault, Geometry, Hole, Machine, Mapping, Owed,
    PageCache, Privilege, Runs, Slot, Slots, Table, VcpuId, VmidAllocator, handle,
};

use crate::case::{BLOCK, Case, Done, MEMORY, MEMORY_BYTES, OFFSET, PAGE, SPARSE, measured};
use crate::machine::{Host, Pool};

/// All cases.
pub(crate) const CASES: &[Case] = &[
    ("map-pages", || map(Level::L3, Runs::Single, PAGE)),
    ("map-runs", || map(Level::L3, Runs::Contiguous, PAGE)),
    ("map-blocks", || map(Level::L2, Runs::Single, BLOCK)),
    ("map-hole", map_hole),
    ("unmap-pages", || unmap(full(), MEMORY_BYTES, PAGE)),
    ("unmap-pages-plain", || unmap(plain(), MEMORY_BYTES, PAGE)),
    ("unmap-parts", unmap_parts),
    ("unmap-page-by-page", || unmap(full(), PAGE, PAGE)),
    ("unmap-blocks", || unmap(full(), MEMORY_BYTES, BLOCK)),
    ("fault-page", || fault(PAGE, DirtyLog::Off)),
    ("fault-block", || fault(BLOCK, DirtyLog::Off)),
    ("fault-logged-page", || fault(PAGE, DirtyLog::On)),
    ("fault-late", fault_late),
    ("relax", relax),
    ("protect-blocks", || protect(Level::L2, BLOCK)),
    ("protect-pages", || protect(Level::L3, PAGE)),
    ("dirty-1-percent", dirty),
    ("age", age),
    ("split", || split(full())),
    ("split-bbm2", || split(bbm2())),
    ("collapse", collapse),
    ("free", free),
    ("free-sparse", free_sparse),
    ("enter-same", || enter(1)),
    ("enter-other", || enter(2)),
    ("walk", walk),
    ("extra-memory", extra_memory),
    ("discharge-1", || discharge(full(), 1)),
    ("discharge-16", || discharge(full(), 16)),
    ("discharge-511", || discharge(full(), 511)),
    ("discharge-1-plain", || discharge(plain(), 1)),
    ("discharge-16-plain", || discharge(plain(), 16)),
    ("discharge-64-plain", || discharge(plain(), 64)),
    ("discharge-511-plain", || discharge(plain(), 511)),
];

/// A store from EL1 that finds no translation at level 3.
const TRANSLATION: Esr = Esr(0x24 << 26 | 1 << 6 | 0x07);
/// A store from EL1 that lacks the permission at level 3.
const PERMISSION: Esr = Esr(0x24 << 26 | 1 << 6 | 0x0f);
/// Faults of one case.
const FAULTS: u64 = 512;
/// Bytes of the window around a fault that is filled with it.
const WINDOW: u64 = droste_stage2::FAULT_AROUND * PAGE;
/// Entries of one case.
const ENTRIES: u64 = 1000;

fn plain() -> IdRegisters {
    IdRegisters {
        mmfr0: 5,
        mmfr2: 1 << 40,
        ctr: 3 << 28,
        ..IdRegisters::default()
    }
}

fn full() -> IdRegisters {
    IdRegisters {
        isar0: 2 << 56,
        mmfr1: 2 << 4,
        mmfr2: plain().mmfr2 | 1 << 48,
        ..plain()
    }
}

fn bbm2() -> IdRegisters {
    IdRegisters {
        mmfr2: full().mmfr2 | 2 << 52,
        ..full()
    }
}

/// A virtual machine's stage 2 that its one CPU runs under.
struct Vm {
    host: Host,
    pool: Pool,
    vmids: VmidAllocator<4>,
    table: Table,
    context: Context<4>,
}

impl Vm {
    fn new(ids: IdRegisters) -> Self {
        let ids = black_box(ids);
        let (host, pool) = (Host::new(), Pool::new());
        let bits = IpaBits::new(39).expect("a width");
        let geometry = Geometry::new(Granule::Kib4, bits, &ids).expect("a shape");
        let mut table = Table::new(&host, Pa(0), geometry, &ids).expect("a root");
        let context = Context::new(&mut table);
        let vmids = VmidAllocator::new();
        vmids.widen(ids.vmid_bits());
        host.set_vtcr(geometry.vtcr(&ids));
        context.enter(&host, &vmids, 0, VcpuId(0));
        Self {
            host,
            pool,
            vmids,
            table,
            context,
        }
    }

    /// With all of the memory mapped by leaves of `largest`.
    fn mapped(ids: IdRegisters, largest: Level) -> Self {
        let mut vm = Self::new(ids);
        vm.map(&mapping(largest, Runs::Single));
        vm
    }

    fn map(&mut self, mapping: &Mapping) {
        self.change(|table, host, pool| table.map(host, pool, mapping));
    }

    /// An operation with its discharge.
    #[inline]
    fn change(
        &mut self,
        operation: impl for<'t> FnOnce(&'t mut Table, &Host, &mut Pool) -> Owed<'t>,
    ) {
        let contexts = Contexts {
            vmids: &self.vmids,
            all: &[&self.context],
        };
        operation(&mut self.table, &self.host, &mut self.pool)
            .discharge(&self.host, &mut self.pool, &contexts)
            .expect("the operation is possible");
    }

    /// Runs what is counted.
    fn measure(mut self, units: u64, body: impl FnOnce(&mut Self)) -> Done {
        self.host.take_counts();
        measured(|| body(&mut self));
        Done {
            units,
            counts: self.host.take_counts(),
        }
    }

    fn slots(&self, misplaced: u64, log: DirtyLog) -> Slots {
        let mut slots = Slots::new(self.table.geometry());
        let slot = Slot {
            log,
            ..Slot::new(
                Ipa(MEMORY),
                Pa(MEMORY + OFFSET + misplaced),
                MEMORY_BYTES,
                Attributes::RAM,
            )
        };
        slots.add(slot).expect("the only one");
        slots
    }

    /// Answers a fault as a hypervisor does: fills the cache, decides, installs.
    #[inline]
    fn fault(&mut self, cache: &mut PageCache, slots: &Slots, esr: Esr, ipa: u64) -> Answer {
        let fault = Fault::new(esr, Ipa(ipa), Privilege::El1).expect("a fault of stage 2");
        let contexts = Contexts {
            vmids: &self.vmids,
            all: &[&self.context],
        };
        if !cache.is_full() {
            cache
                .fill(&mut self.pool, fault.ipa)
                .expect("there are pages");
        }
        handle(&self.host, &self.table, cache, &contexts, slots, &fault).expect("it is possible")
    }
}

fn mapping(largest: Level, runs: Runs) -> Mapping {
    black_box(Mapping {
        largest,
        runs,
        ..Mapping::new(
            Ipa(MEMORY),
            Pa(MEMORY + OFFSET),
            MEMORY_BYTES,
            Attributes::RAM,
        )
    })
}

fn level(leaf: u64) -> Level {
    if leaf == PAGE { Level::L3 } else { Level::L2 }
}

fn map(largest: Level, runs: Runs, leaf: u64) -> Done {
    let mapping = mapping(largest, runs);
    Vm::new(full()).measure(MEMORY_BYTES / leaf, |vm| vm.map(&mapping))
}

/// Maps page after page into a table that is there.
fn map_hole() -> Done {
    let page = |number: u64| Mapping {
        ipa: Ipa(MEMORY + number * PAGE),
        pa: Pa(MEMORY + OFFSET + number * PAGE),
        bytes: PAGE,
        ..mapping(Level::L3, Runs::Single)
    };
    let mut vm = Vm::new(full());
    vm.map(&page(0));
    vm.measure(FAULTS - 1, |vm| {
        for number in 1..FAULTS {
            let hole = vm.table.map_hole(&vm.host, &page(number));
            assert_eq!(hole, Ok(Hole::Filled));
        }
    })
}

/// Unmaps all memory, in pieces of `piece` bytes.
fn unmap(ids: IdRegisters, piece: u64, leaf: u64) -> Done {
    Vm::mapped(ids, level(leaf)).measure(MEMORY_BYTES / leaf, |vm| {
        for ipa in (MEMORY..MEMORY + MEMORY_BYTES).step_by(piece as usize) {
            vm.change(|table, host, pool| table.unmap(host, pool, Ipa(ipa), piece));
        }
    })
}

/// Unmaps all but the first page of each block, so that every entry is visited and no table goes.
fn unmap_parts() -> Done {
    let parts = MEMORY_BYTES / BLOCK;
    Vm::mapped(full(), Level::L3).measure(parts * (BLOCK / PAGE - 1), |vm| {
        for ipa in (MEMORY..MEMORY + MEMORY_BYTES).step_by(BLOCK as usize) {
            vm.change(|table, host, pool| table.unmap(host, pool, Ipa(ipa + PAGE), BLOCK - PAGE));
        }
    })
}

/// First touches. Memory whose output is off by a page can be mapped by pages only, and off by a block by blocks of
/// that size.
fn fault(misplaced: u64, log: DirtyLog) -> Done {
    let vm = Vm::new(full());
    let slots = black_box(vm.slots(misplaced, log));
    let step = misplaced.max(WINDOW);
    let mut cache = PageCache::new();
    vm.measure(FAULTS, |vm| {
        for number in 0..FAULTS {
            let answer = vm.fault(&mut cache, &slots, TRANSLATION, MEMORY + number * step);
            assert_eq!(answer, Answer::Mapped);
        }
    })
}

/// Faults on what another CPU mapped in the meantime.
fn fault_late() -> Done {
    let vm = Vm::mapped(full(), Level::L3);
    let slots = black_box(vm.slots(0, DirtyLog::Off));
    let mut cache = PageCache::new();
    vm.measure(FAULTS, |vm| {
        for number in 0..FAULTS {
            let answer = vm.fault(&mut cache, &slots, TRANSLATION, MEMORY + number * PAGE);
            assert_eq!(answer, Answer::Retry);
        }
    })
}

/// First stores to pages of a dirty log.
fn relax() -> Done {
    let mut vm = Vm::mapped(full(), Level::L3);
    let slots = black_box(vm.slots(0, DirtyLog::On));
    vm.change(|table, host, _| table.write_protect(host, Ipa(MEMORY), MEMORY_BYTES));
    let mut cache = PageCache::new();
    vm.measure(FAULTS, |vm| {
        for number in 0..FAULTS {
            let answer = vm.fault(&mut cache, &slots, PERMISSION, MEMORY + number * PAGE);
            assert_eq!(answer, Answer::Relaxed);
        }
    })
}

fn protect(largest: Level, leaf: u64) -> Done {
    Vm::mapped(full(), largest).measure(MEMORY_BYTES / leaf, |vm| {
        vm.change(|table, host, _| table.write_protect(host, Ipa(MEMORY), MEMORY_BYTES));
    })
}

/// Reads the log of memory of which each hundredth page was written.
fn dirty() -> Done {
    let mut vm = Vm::mapped(full(), Level::L3);
    let slots = vm.slots(0, DirtyLog::On);
    vm.change(|table, host, _| table.write_protect(host, Ipa(MEMORY), MEMORY_BYTES));
    let mut cache = PageCache::new();
    let written = (MEMORY..MEMORY + MEMORY_BYTES).step_by(100 * PAGE as usize);
    let mut expected = 0;
    for ipa in written {
        vm.fault(&mut cache, &slots, PERMISSION, ipa);
        expected += 1;
    }
    let mut found = 0;
    let done = vm.measure(MEMORY_BYTES / PAGE, |vm| {
        vm.change(|table, host, _| table.dirty(host, Ipa(MEMORY), MEMORY_BYTES, |_, _| found += 1));
    });
    assert_eq!(found, expected);
    done
}

fn age() -> Done {
    let pages = MEMORY_BYTES / PAGE;
    Vm::mapped(full(), Level::L3).measure(pages, |vm| {
        let young = vm.table.age(&vm.host, Ipa(MEMORY), MEMORY_BYTES);
        assert_eq!(young, Ok(pages));
    })
}

fn split(ids: IdRegisters) -> Done {
    Vm::mapped(ids, Level::L2).measure(MEMORY_BYTES / BLOCK, |vm| {
        vm.change(|table, host, pool| {
            table.split(host, pool, Ipa(MEMORY), MEMORY_BYTES, Level::L3)
        });
    })
}

fn collapse() -> Done {
    Vm::mapped(full(), Level::L3).measure(MEMORY_BYTES / BLOCK, |vm| {
        vm.change(|table, host, _| {
            table.collapse(host, Ipa(MEMORY), MEMORY_BYTES, Level::L2, Attributes::RAM)
        });
    })
}

fn free() -> Done {
    free_of(Vm::mapped(full(), Level::L3))
}

fn free_sparse() -> Done {
    let mut vm = Vm::new(full());
    for number in 0..SPARSE {
        let ipa = number << 30;
        vm.map(&Mapping::new(
            Ipa(ipa),
            Pa(ipa + OFFSET),
            PAGE,
            Attributes::RAM,
        ));
    }
    free_of(vm)
}

fn free_of(vm: Vm) -> Done {
    let tables = vm.table.counters().table_pages;
    vm.measure(tables, |vm| {
        vm.change(|table, host, _| table.free(host));
        assert_eq!(vm.table.counters().table_pages, 0);
    })
}

/// Loads contexts by turns, each with a current VMID and the vCPU that it had.
fn enter(contexts: usize) -> Done {
    let mut vm = Vm::new(full());
    let contexts: Vec<Context<4>> = (0..contexts).map(|_| Context::new(&mut vm.table)).collect();
    for context in &contexts {
        context.enter(&vm.host, &vm.vmids, 0, VcpuId(0));
    }
    let turns = ENTRIES / contexts.len() as u64;
    vm.measure(turns * contexts.len() as u64, |vm| {
        for _ in 0..turns {
            for context in &contexts {
                enter_one(vm, context);
            }
        }
    })
}

/// Not inlined, so that nothing of an entry is shared with the next.
#[inline(never)]
fn enter_one(vm: &Vm, context: &Context<4>) {
    black_box(context.enter(&vm.host, &vm.vmids, 0, VcpuId(0)));
}

fn walk() -> Done {
    Vm::mapped(full(), Level::L3).measure(FAULTS, |vm| {
        for number in 0..FAULTS {
            black_box(vm.table.walk(&vm.host, Ipa(MEMORY + number * PAGE)));
        }
    })
}

/// Bytes that mapping by pages takes beyond the tables that the architecture's walk needs: one of level 3 for each
/// block, one of level 2, and the root, which is the caller's.
fn extra_memory() -> Done {
    let mut vm = Vm::new(full());
    let before = vm.pool.left();
    vm.map(&mapping(Level::L3, Runs::Single));
    let taken = before - vm.pool.left();
    let needed = MEMORY_BYTES / BLOCK + 1;
    Done {
        units: MEMORY_BYTES / PAGE,
        counts: vec![("extra", (taken - needed) * PAGE)],
    }
}

/// The discharge alone of what unmapping `pages` pages owes.
fn discharge(ids: IdRegisters, pages: u64) -> Done {
    let mut vm = Vm::mapped(ids, Level::L3);
    let contexts = Contexts {
        vmids: &vm.vmids,
        all: &[&vm.context],
    };
    let owed = vm
        .table
        .unmap(&vm.host, &mut vm.pool, Ipa(MEMORY + PAGE), pages * PAGE);
    vm.host.take_counts();
    measured(|| owed.discharge(&vm.host, &mut vm.pool, &contexts)).expect("nothing fails");
    Done {
        units: 1,
        counts: vm.host.take_counts(),
    }
}

#[cfg(test)]
mod tests {
    use droste_stage2::Walk;

    use super::*;

    fn count(done: &Done, name: &str) -> u64 {
        let found = done.counts.iter().find(|(known, _)| *known == name);
        found.expect("it is counted").1
    }

    #[test]
    fn memory_is_mapped_by_the_leaves_that_a_case_is_named_for() {
        for largest in [Level::L3, Level::L2] {
            let vm = Vm::mapped(full(), largest);
            let last = Ipa(MEMORY + MEMORY_BYTES - PAGE);
            let walk = vm.table.walk(&vm.host, last);
            assert!(matches!(walk, Walk::Leaf { level, .. } if level == largest));
        }
    }

    #[test]
    fn a_misplaced_slot_is_mapped_page_by_page() {
        for (misplaced, expected) in [(PAGE, Level::L3), (BLOCK, Level::L2)] {
            let mut vm = Vm::new(full());
            let slots = vm.slots(misplaced, DirtyLog::Off);
            let ipa = MEMORY + BLOCK;
            vm.fault(&mut PageCache::new(), &slots, TRANSLATION, ipa);
            let walk = vm.table.walk(&vm.host, Ipa(ipa));
            assert!(matches!(walk, Walk::Leaf { level, .. } if level == expected));
        }
    }

    #[test]
    fn pages_unmapped_together_share_their_barriers() {
        assert!(count(&unmap(plain(), MEMORY_BYTES, PAGE), "dsb") <= 4);
        let one_by_one = unmap(full(), BLOCK, BLOCK);
        assert!(count(&one_by_one, "dsb") > MEMORY_BYTES / BLOCK);
    }

    #[test]
    fn single_invalidations_end_where_the_whole_vmid_goes() {
        assert_eq!(count(&discharge(plain(), 64), "tlbi"), 65);
        assert_eq!(count(&discharge(plain(), 511), "tlbi"), 1);
    }
}
