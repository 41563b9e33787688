//! What a fault maps, what becomes of it, and that it is given back.

use droste_arm64::desc::{Cacheability, Device};

use super::*;

#[test]
fn a_fill_maps_what_was_composed_with_the_guests_level() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    bench.fill(BLOCK + 0x5123, &composed(BLOCK, BLOCK, (Level::L2, BLOCK)));
    let walk = bench
        .shadow
        .table()
        .walk(&Cpu::new(&bench.board, 0), Ipa(BLOCK + 0x5123));
    let Walk::Leaf { ipa, level, leaf } = walk else {
        panic!("mapped");
    };
    assert_eq!((ipa, level), (Ipa(BLOCK), Level::L2));
    assert_eq!(leaf.output, Pa(BLOCK | 1 << 38));
    let mark = Mark::decode(leaf.attributes.software).expect("a mark");
    assert_eq!(mark.level, Level::L2);
    assert_eq!(bench.tlbis(), 0, "nothing was there");
}

#[test]
fn a_void_ticket_maps_nothing() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    let page = composed(PAGE, PAGE, (Level::L3, PAGE));
    let ticket = bench.shadow.ticket(&bench.changes);
    for change in 0..2 {
        if change == 0 {
            bench.invalidate(0x8000_0000, PAGE, None);
        } else {
            bench.changes.note();
        }
        let mut host = Host {
            machine: &Cpu::new(&bench.board, 0),
            supply: &mut bench.supply,
            vmids: &bench.vmids,
        };
        let tickets = (ticket, &bench.changes);
        let fault = fault(PAGE, Cause::Translation);
        let filled = bench.shadow.fill(&mut host, tickets, &fault, &page);
        assert_eq!(filled, Ok(Filled::Void));
        assert!(!bench.is_mapped(PAGE));
    }
    bench.fill(PAGE, &page);
}

#[test]
fn memory_that_is_cleaned_is_filled_a_bit_at_a_time() {
    let slow = IdRegisters {
        mmfr2: 0,
        clidr: 1 << 27 | 2 << 24 | 1 << 21,
        ..hardware()
    };
    for (ids, mapped) in [(slow, BLOCK), (hardware(), GIB)] {
        let mut bench = Bench::new(&ids, Granule::Kib4);
        let at = GIB + 5 * BLOCK + 0x1234;
        bench.fill(at, &composed(GIB, GIB, (Level::L1, GIB)));
        let (first, bytes) = bench.shadow.leaf(&Cpu::new(&bench.board, 0), Ipa(at));
        assert_eq!((first.0, bytes), (at & !(mapped - 1), mapped));
        let walk = bench
            .shadow
            .table()
            .walk(&Cpu::new(&bench.board, 0), Ipa(at));
        let Walk::Leaf { leaf, .. } = walk else {
            panic!("mapped");
        };
        assert_eq!(leaf.output, Pa(first.0 | 1 << 38));
        // Of the rest nothing is mapped, and what is goes with L1's leaf.
        bench.invalidate(GIB + 9 * BLOCK, PAGE, None);
        assert!(!bench.is_mapped(at));
    }
}

#[test]
fn memory_that_l2_uses_past_the_caches_is_cleaned_first() {
    let caches = IdRegisters {
        clidr: 1 << 27 | 2 << 24 | 1 << 21,
        ..hardware()
    };
    let [normal, other] = [Cacheability::WriteBack, Cacheability::NonCacheable];
    let (force, device) = (
        MemoryType::ForceWriteBack,
        MemoryType::Device(Device::NGnRE),
    );
    for (memory, is_memory, bytes, cleaned) in [
        (force, true, GIB, 0),
        (MemoryType::NonCacheable, true, BLOCK, BLOCK),
        (device, true, BLOCK, BLOCK),
        (device, false, BLOCK, 0),
        (
            MemoryType::Normal {
                inner: normal,
                outer: other,
            },
            true,
            BLOCK,
            BLOCK,
        ),
    ] {
        for fills_hole in [false, true] {
            let mut bench = Bench::new(&caches, Granule::Kib4);
            let at = GIB + 5 * BLOCK + 0x1234;
            let region = Composed {
                memory,
                is_memory,
                ..composed(GIB, GIB, (Level::L1, GIB))
            };
            if fills_hole {
                // Its table is there.
                bench.fill(GIB, &composed(GIB, PAGE, (Level::L3, PAGE)));
                let ticket = bench.shadow.ticket(&bench.changes);
                let tickets = (ticket, &bench.changes);
                let fault = fault(at, Cause::Translation);
                let filled = bench
                    .shadow
                    .fill_hole(&Cpu::new(&bench.board, 0), tickets, &fault, &region)
                    .expect("it can be mapped");
                if filled.is_none() {
                    bench.fill(at, &region);
                }
            } else {
                bench.fill(at, &region);
            }
            let (_, mapped) = bench.shadow.leaf(&Cpu::new(&bench.board, 0), Ipa(at));
            assert_eq!(mapped, bytes, "{memory:?}");
            assert_eq!(bench.board.cleaned.get(), cleaned, "{memory:?}");
        }
    }
}

#[test]
fn what_l1_changed_without_invalidating_is_replaced_on_the_next_fault() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    bench.fill(0, &composed(0, BLOCK, (Level::L2, BLOCK)));
    let narrow = Composed {
        access: S2ap::ReadOnly,
        memory: MemoryType::Device(Device::NGnRE),
        ..composed(0x5000, PAGE, (Level::L3, PAGE))
    };
    bench.fill(0x5000, &narrow);
    let walk = bench
        .shadow
        .table()
        .walk(&Cpu::new(&bench.board, 0), Ipa(0x5000));
    let Walk::Leaf { leaf, level, .. } = walk else {
        panic!("mapped");
    };
    assert_eq!((leaf.attributes.access, level), (S2ap::ReadOnly, Level::L3));
    assert!(bench.tlbis() > 0);
}

#[test]
fn tables_that_a_fill_replaces_go_back_past_a_full_cache() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    bench.fill(0x5000, &composed(0x5000, PAGE, (Level::L3, PAGE)));
    let mut cache = PageCache::new();
    cache.fill(&mut bench.supply, Ipa(0)).expect("pages");
    let left = bench.supply.0.len();
    let ticket = bench.shadow.ticket(&bench.changes);
    let mut ahead = Ahead {
        cache: &mut cache,
        supply: &mut bench.supply,
    };
    let mut host = Host {
        machine: &Cpu::new(&bench.board, 0),
        supply: &mut ahead,
        vmids: &bench.vmids,
    };
    let block = composed(0, BLOCK, (Level::L2, BLOCK));
    let tickets = (ticket, &bench.changes);
    let fault = fault(0x9000, Cause::Translation);
    let filled = bench.shadow.fill(&mut host, tickets, &fault, &block);
    assert_eq!(filled, Ok(Filled::Mapped));
    assert_eq!(bench.supply.0.len(), left + 1);
}

#[test]
fn an_entry_that_was_aged_is_young_again_after_its_fault() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    let page = composed(PAGE, PAGE, (Level::L3, PAGE));
    bench.fill(PAGE, &page);
    let age = |bench: &Bench| {
        bench
            .shadow
            .age(&Cpu::new(&bench.board, 0), L2Ipa(PAGE), PAGE)
    };
    assert_eq!((age(&bench), age(&bench)), (Ok(1), Ok(0)));
    let filled = bench.fill_for(&fault(PAGE, Cause::AccessFlag), &page);
    assert_eq!((filled, age(&bench)), (Filled::Mapped, Ok(1)));
}

#[test]
fn a_store_after_write_protection_faults_whatever_hardware_manages() {
    for mmfr1 in [0, 1, 2] {
        let ids = IdRegisters {
            mmfr1,
            ..hardware()
        };
        let mut bench = Bench::new(&ids, Granule::Kib4);
        bench.fill(PAGE, &composed(PAGE, PAGE, (Level::L3, PAGE)));
        bench
            .with(|shadow, host| shadow.write_protect(host, L2Ipa(PAGE), PAGE))
            .expect("in range");
        let walk = bench
            .shadow
            .table()
            .walk(&Cpu::new(&bench.board, 0), Ipa(PAGE));
        if let Walk::Leaf { leaf, .. } = walk {
            let attributes = leaf.attributes;
            assert!(!attributes.access.can_write() && !attributes.is_dirty_managed);
        }
    }
}

#[test]
fn a_shadow_gives_back_all_it_took() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    for index in 0..20 {
        let at = index * GIB + index * BLOCK;
        bench.fill(at, &composed(at, PAGE, (Level::L3, PAGE)));
    }
    assert!(bench.supply.0.len() < PAGES as usize);
    bench.with(|shadow, host| shadow.clear(host).expect("nothing is cut"));
    assert_eq!(bench.supply.0.len(), PAGES as usize);
    bench
        .shadow
        .rededicate(Some(Format::narrow(Granule::Kib16)));
    let Bench {
        board,
        mut supply,
        shadow,
        ..
    } = bench;
    let mut host = Host {
        machine: &Cpu::new(&board, 0),
        supply: &mut supply,
        vmids: &bench.vmids,
    };
    assert_eq!(shadow.retire(&mut host), Ok(Pa(SHADOW_ROOT)));
}

#[test]
#[should_panic(expected = "a shadow is cleared first")]
fn a_shadow_that_holds_something_is_not_given_to_another_table() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    bench.fill(PAGE, &composed(PAGE, PAGE, (Level::L3, PAGE)));
    bench.shadow.rededicate(None);
}
