use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::vec;
use std::vec::Vec;

use droste_arm64::desc::{Device, MemoryType, RawDescriptor, S2ap, Shareability, Xn};
use droste_arm64::esr::Esr;
use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Granule, IpaBits, Level, Vtcr, Vttbr, hcr};
use droste_stage2::{
    Access, Attributes, Dsb, Ic, Origin, PageCache, Privilege, Slot, Slots, VcpuId, scheme,
};
use proptest::prelude::*;

use super::*;
use crate::advertised::tests::rich;
use crate::fault::{Abort, L1, Verdict};
use crate::memory::tests::Sparse;
use crate::reverse::{Concerned, Owner, Record, Reverse};
use crate::{Advertised, CanonicalLeaf, Extent, L1Ipa, Place, StageTwo, StageTwoRegisters, Walker};

/// A machine that holds descriptors and counts invalidations.
#[derive(Default)]
struct Board {
    memory: RefCell<HashMap<u64, u64>>,
    vttbr: Cell<u64>,
    vtcr: Cell<u64>,
    tlbis: Cell<u32>,
}

impl Machine for Board {
    fn read(&self, at: Pa) -> RawDescriptor {
        RawDescriptor(self.memory.borrow().get(&at.0).copied().unwrap_or(0))
    }
    fn write(&self, at: Pa, value: RawDescriptor) {
        self.memory.borrow_mut().insert(at.0, value.0);
    }
    fn compare_exchange(
        &self,
        at: Pa,
        expected: RawDescriptor,
        new: RawDescriptor,
    ) -> Result<(), RawDescriptor> {
        let found = self.read(at);
        if found != expected {
            return Err(found);
        }
        self.write(at, new);
        Ok(())
    }
    fn zero(&self, page: Pa, bytes: u64) {
        let mut memory = self.memory.borrow_mut();
        memory.retain(|&at, _| !(page.0..page.0 + bytes).contains(&at));
    }
    fn dsb(&self, _: Dsb) {}
    fn isb(&self) {}
    fn tlbi(&self, _: Tlbi) {
        self.tlbis.set(self.tlbis.get() + 1);
    }
    fn ic(&self, _: Ic) {}
    fn clean_invalidate_data(&self, _: Pa, bytes: u64) {
        assert!(bytes <= MAX_CLEAN, "a fill cleans for too long");
    }
    fn vttbr(&self) -> Vttbr {
        Vttbr(self.vttbr.get())
    }
    fn set_vttbr(&self, value: Vttbr) {
        self.vttbr.set(value.0);
    }
    fn vtcr(&self) -> Vtcr {
        Vtcr(self.vtcr.get())
    }
    fn set_vtcr(&self, value: Vtcr) {
        self.vtcr.set(value.0);
    }
}

struct Supply(Vec<Pa>);

impl PageSupply for Supply {
    fn take(&mut self) -> Option<Pa> {
        self.0.pop()
    }
    fn give(&mut self, page: Pa) {
        assert!(!self.0.contains(&page));
        self.0.push(page);
    }
}

const SHADOW_ROOT: u64 = 0x1000_0000;
const CANONICAL_ROOT: u64 = 0x2000_0000;
const POOL: u64 = 0x3000_0000;
const PAGES: u64 = 64;

static VMIDS: VmidAllocator<1> = VmidAllocator::new();

fn hardware() -> IdRegisters {
    IdRegisters {
        mmfr0: 5 | 1 << 20,
        mmfr2: 1 << 40,
        ctr: 3 << 28,
        ..IdRegisters::default()
    }
}

fn geometry(ids: &IdRegisters) -> Geometry {
    let bits = IpaBits::new(40).expect("a width");
    Geometry::new(Granule::Kib4, bits, ids).expect("a shape")
}

/// One shadow, with what it needs.
struct Bench {
    board: Board,
    supply: Supply,
    shadow: Shadow<1>,
    changes: Changes,
}

impl Bench {
    fn new(ids: &IdRegisters, guest: Granule) -> Self {
        let board = Board::default();
        let geometry = geometry(ids);
        board.set_vtcr(geometry.vtcr(ids));
        let format = Some(Format::narrow(guest));
        let shadow = Shadow::new(&board, Pa(SHADOW_ROOT), geometry, ids, format).expect("aligned");
        shadow.context().enter(&board, &VMIDS, 0, VcpuId(0));
        Self {
            board,
            supply: Supply((0..PAGES).map(|n| Pa(POOL + n * 0x1000)).collect()),
            shadow,
            changes: Changes::new(),
        }
    }

    fn with<R>(
        &mut self,
        act: impl FnOnce(&mut Shadow<1>, &mut Host<'_, Board, Supply, 1>) -> R,
    ) -> R {
        let mut host = Host {
            machine: &self.board,
            supply: &mut self.supply,
            vmids: &VMIDS,
        };
        act(&mut self.shadow, &mut host)
    }

    fn fill_for(&mut self, fault: &Fault, composed: &Composed) -> Filled {
        let ticket = self.shadow.ticket(&self.changes);
        let mut host = Host {
            machine: &self.board,
            supply: &mut self.supply,
            vmids: &VMIDS,
        };
        let result = self
            .shadow
            .fill(&mut host, (ticket, &self.changes), fault, composed);
        result.expect("pages are left")
    }

    fn fill(&mut self, at: u64, composed: &Composed) {
        let filled = self.fill_for(&fault(at, Cause::Translation), composed);
        assert_eq!(filled, Filled::Mapped);
    }

    fn invalidate(&mut self, from: u64, bytes: u64, level: Option<Level>) {
        let range = Range {
            from: L2Ipa(from),
            bytes,
            level,
        };
        self.with(|shadow, host| shadow.invalidate(host, &range))
            .expect("nothing is cut");
    }

    fn is_mapped(&self, ipa: u64) -> bool {
        let walk = self.shadow.table().walk(&self.board, Ipa(ipa));
        matches!(walk, Walk::Leaf { .. })
    }
}

fn fault(at: u64, cause: Cause) -> Fault {
    Fault {
        ipa: Ipa(at),
        cause,
        access: Access::Read,
        origin: Origin::Program,
        mmio: None,
    }
}

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;
const GIB: u64 = 1 << 30;

/// Part of a leaf of L1's that maps addresses as they are, `guest_bytes` large.
fn composed(ipa: u64, bytes: u64, (level, guest_bytes): (Level, u64)) -> Composed {
    Composed {
        ipa: L2Ipa(ipa),
        via: L1Ipa(ipa),
        output: Pa(ipa | 1 << 38),
        bytes,
        access: S2ap::ReadWrite,
        execute: Xn::Everywhere,
        memory: MemoryType::ForceWriteBack,
        shareability: Shareability::Inner,
        mark: Mark {
            level,
            extent: Extent::Leaf,
        },
        guest_bytes,
    }
}

#[test]
fn a_fill_maps_what_was_composed_with_the_guests_level() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    bench.fill(BLOCK + 0x5123, &composed(BLOCK, BLOCK, (Level::L2, BLOCK)));
    let walk = bench.shadow.table().walk(&bench.board, Ipa(BLOCK + 0x5123));
    let Walk::Leaf { ipa, level, leaf } = walk else {
        panic!("mapped");
    };
    assert_eq!((ipa, level), (Ipa(BLOCK), Level::L2));
    assert_eq!(leaf.output, Pa(BLOCK | 1 << 38));
    let mark = Mark::decode(leaf.attributes.software).expect("a mark");
    assert_eq!(mark.level, Level::L2);
    assert_eq!(bench.board.tlbis.get(), 0, "nothing was there");
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
            machine: &bench.board,
            supply: &mut bench.supply,
            vmids: &VMIDS,
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
        let (first, bytes) = bench.shadow.leaf(&bench.board, Ipa(at));
        assert_eq!((first.0, bytes), (at & !(mapped - 1), mapped));
        let walk = bench.shadow.table().walk(&bench.board, Ipa(at));
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
fn an_invalidation_without_a_level_takes_l1s_whole_leaf_and_no_more() {
    // Whole: a block of 2 MiB, found by itself.
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    bench.fill(0, &composed(0, BLOCK, (Level::L2, BLOCK)));
    bench.fill(BLOCK, &composed(BLOCK, BLOCK, (Level::L2, BLOCK)));
    bench.invalidate(0x7000, PAGE, None);
    assert!(!bench.is_mapped(0) && bench.is_mapped(BLOCK));
    // In pieces: any address of it takes them all.
    for page in [3, 9, 300] {
        bench.fill(
            page * PAGE,
            &composed(page * PAGE, PAGE, (Level::L2, BLOCK)),
        );
    }
    bench.invalidate(0x7000, PAGE, None);
    for page in [3, 9, 300] {
        assert!(!bench.is_mapped(page * PAGE));
    }
    assert!(bench.is_mapped(BLOCK));
}

#[test]
fn pages_of_l1_go_one_by_one() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    for page in 0..4 {
        bench.fill(page * PAGE, &composed(page * PAGE, PAGE, (Level::L3, PAGE)));
    }
    bench.invalidate(PAGE, PAGE, None);
    bench.invalidate(2 * PAGE, PAGE, Some(Level::L3));
    let mapped: Vec<bool> = (0..4).map(|page| bench.is_mapped(page * PAGE)).collect();
    assert_eq!(mapped, [true, false, false, true]);
}

#[test]
fn a_level_takes_leaves_of_its_size_and_costs_nothing_where_there_are_none() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    for page in [3, 300] {
        bench.fill(
            page * PAGE,
            &composed(page * PAGE, PAGE, (Level::L2, BLOCK)),
        );
    }
    let before = bench.board.tlbis.get();
    bench.invalidate(3 * PAGE, PAGE, Some(Level::L3));
    bench.invalidate(3 * PAGE, PAGE, Some(Level::L1));
    assert!(bench.is_mapped(3 * PAGE) && bench.board.tlbis.get() == before);
    bench.invalidate(9 * PAGE, PAGE, Some(Level::L2));
    assert!(!bench.is_mapped(3 * PAGE) && !bench.is_mapped(300 * PAGE));
}

#[test]
fn a_page_of_64_kib_goes_by_any_of_its_parts() {
    for level in [None, Some(Level::L3)] {
        let mut bench = Bench::new(&hardware(), Granule::Kib64);
        bench.fill(0x1_3000, &composed(0x1_3000, PAGE, (Level::L3, 0x1_0000)));
        bench.fill(
            0x2_0000,
            &composed(0x2_0000, 0x1_0000, (Level::L3, 0x1_0000)),
        );
        bench.invalidate(0x1_0000, PAGE, level);
        assert!(!bench.is_mapped(0x1_3000) && bench.is_mapped(0x2_5000));
    }
}

#[test]
fn a_run_goes_by_any_of_its_leaves() {
    let run = Composed {
        mark: Mark {
            level: Level::L3,
            extent: Extent::Run,
        },
        guest_bytes: 16 * PAGE,
        ..composed(0x2000, PAGE, (Level::L3, PAGE))
    };
    for level in [None, Some(Level::L3)] {
        let mut bench = Bench::new(&hardware(), Granule::Kib4);
        bench.fill(0x2000, &run);
        bench.invalidate(0xf000, PAGE, level);
        assert!(!bench.is_mapped(0x2000));
    }
}

#[test]
fn a_leaf_that_a_smaller_one_cuts_goes_whole_afterwards() {
    // L1 made pages of a block and has not invalidated yet.
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    bench.fill(0, &composed(0, BLOCK, (Level::L2, BLOCK)));
    let other = Composed {
        output: Pa(1 << 37),
        ..composed(0x5000, PAGE, (Level::L3, PAGE))
    };
    bench.fill(0x5000, &other);
    assert!(bench.is_mapped(0x5000) && bench.is_mapped(0x9000));
    bench.invalidate(0x5000, PAGE, None);
    assert!(!bench.is_mapped(0x9000));
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
    let walk = bench.shadow.table().walk(&bench.board, Ipa(0x5000));
    let Walk::Leaf { leaf, level, .. } = walk else {
        panic!("mapped");
    };
    assert_eq!((leaf.attributes.access, level), (S2ap::ReadOnly, Level::L3));
    assert!(bench.board.tlbis.get() > 0);
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
        machine: &bench.board,
        supply: &mut ahead,
        vmids: &VMIDS,
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
    let age = |bench: &Bench| bench.shadow.age(&bench.board, L2Ipa(PAGE), PAGE);
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
        let walk = bench.shadow.table().walk(&bench.board, Ipa(PAGE));
        if let Walk::Leaf { leaf, .. } = walk {
            let attributes = leaf.attributes;
            assert!(!attributes.access.can_write() && !attributes.is_dirty_managed);
        }
    }
}

#[test]
fn invalidations_at_the_ends_of_the_address_space_take_what_is_there() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    let top = (1 << 40) - PAGE;
    bench.fill(top, &composed(top, PAGE, (Level::L2, BLOCK)));
    bench.invalidate(1 << 40, u64::MAX, None);
    bench.invalidate(u64::MAX - PAGE, PAGE, None);
    assert!(bench.is_mapped(top));
    bench.invalidate(top - PAGE, u64::MAX, None);
    assert!(!bench.is_mapped(top));
}

#[test]
fn a_shadow_gives_back_all_it_took() {
    let mut bench = Bench::new(&hardware(), Granule::Kib4);
    for index in 0..20 {
        let at = index * GIB + index * BLOCK;
        bench.fill(at, &composed(at, PAGE, (Level::L3, PAGE)));
    }
    assert!(bench.supply.0.len() < PAGES as usize);
    bench.with(Shadow::clear).expect("nothing is cut");
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
        machine: &board,
        supply: &mut supply,
        vmids: &VMIDS,
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

/// L1's table for L2: pages 0 to 511 at level 3 and a second block, all below one table of level 2.
const L1_ROOT: u64 = 0x8000_0000;
const L1_RAM: u64 = 0x8000_0000;
const L1_RAM_BYTES: u64 = 0x100_0000;
const TABLE: u64 = 3;
const LEAF: u64 = 1 | 1 << 10 | 3 << 8 | 0b1111 << 2;

/// All of it at once: L1 writes its table and invalidates, L2 accesses, L0 takes memory from L1 and gives it back.
struct World {
    bench: Bench,
    canonical: Table,
    context: Context<1>,
    slots: Slots,
    memory: Sparse,
    advertised: Advertised,
    reverse: Reverse<Vec<Record>, Vec<Owner>>,
    pages: PageCache,
}

impl World {
    fn new(records: usize) -> Self {
        let ids = hardware();
        let bench = Bench::new(&ids, Granule::Kib4);
        let geometry = geometry(&ids);
        let mut canonical =
            Table::new(&bench.board, Pa(CANONICAL_ROOT), geometry, &ids).expect("aligned");
        let memory = Sparse::new(1 << 40);
        memory.set(L1_ROOT, (L1_ROOT + 0x2000) | TABLE);
        memory.set(L1_ROOT + 0x2000, (L1_ROOT + 0x3000) | TABLE);
        Self {
            context: Context::new(&mut canonical),
            canonical,
            bench,
            slots: Slots::new(geometry),
            memory,
            advertised: rich(),
            reverse: Reverse::new(vec![Record::UNUSED; records], vec![Owner::UNUSED; 1]),
            pages: PageCache::new(),
        }
    }

    fn walker(&self) -> Walker {
        let registers = StageTwoRegisters {
            hcr: hcr::VM,
            sctlr: 0,
            vtcr: Vtcr(5 << 16 | 1 << 6 | 0x18),
            vttbr: Vttbr(L1_ROOT),
        };
        match StageTwo::new(&registers, &self.advertised) {
            StageTwo::On(walker) => walker,
            StageTwo::Off => panic!("HCR_EL2.VM is set"),
        }
    }

    fn judge(&self, ipa: u64, access: Access) -> Option<Verdict> {
        let status = match access {
            Access::Write => 0x24 << 26 | 1 << 6 | 0x07,
            Access::Read => 0x24 << 26 | 0x07,
            Access::Execute(_) => 0x20 << 26 | 0x07,
        };
        let abort = Abort {
            esr: Esr(status),
            far: ipa,
            ipa: L2Ipa(ipa),
            privilege: Privilege::El1,
        };
        let walker = self.walker();
        let l1 = L1 {
            walker: &walker,
            memory: &self.memory,
            slots: &self.slots,
            scheme: scheme(&hardware()),
        };
        l1.judge(&abort, |at| {
            let walk = self.canonical.walk(&self.bench.board, at.ipa());
            CanonicalLeaf::new(walk, self.canonical.geometry())
        })
    }

    /// An access of L2 that faults, with all that follows.
    fn access(&mut self, ipa: u64, access: Access) {
        for _ in 0..4 {
            let ticket = self.bench.shadow.ticket(&self.bench.changes);
            let supply = &mut self.bench.supply;
            self.pages.fill(supply, Ipa(ipa)).expect("pages are left");
            match self.judge(ipa, access) {
                Some(Verdict::Canonical(proposal)) => {
                    let users = Users {
                        vmids: &VMIDS,
                        contexts: &[&self.context],
                    };
                    let sequence = self.slots.sequence();
                    let (board, pages) = (&self.bench.board, &mut self.pages);
                    let result = self
                        .canonical
                        .install(board, pages, &users, &proposal, sequence);
                    result.expect("pages are left");
                }
                Some(Verdict::Fill { fault, composed }) => {
                    self.reverse.insert(Place(0), &composed);
                    let mut ahead = Ahead {
                        cache: &mut self.pages,
                        supply: &mut self.bench.supply,
                    };
                    let mut host = Host {
                        machine: &self.bench.board,
                        supply: &mut ahead,
                        vmids: &VMIDS,
                    };
                    let tickets = (ticket, &self.bench.changes);
                    let filled = self
                        .bench
                        .shadow
                        .fill(&mut host, tickets, &fault, &composed);
                    assert_eq!(filled, Ok(Filled::Mapped));
                    return;
                }
                _ => return,
            }
        }
        panic!("no progress at {ipa:#x}");
    }

    /// L0 unmaps or write-protects memory of L1.
    fn change(&mut self, at: u64, bytes: u64, is_unmap: bool) {
        let users = Users {
            vmids: &VMIDS,
            contexts: &[&self.context],
        };
        let (board, supply) = (&self.bench.board, &mut self.bench.supply);
        // What is protected is whole leaves.
        let mut changed = Vec::new();
        let owed = if is_unmap {
            changed.push((Ipa(at), bytes));
            self.canonical.unmap(board, supply, Ipa(at), bytes)
        } else {
            let report = |ipa, bytes| changed.push((ipa, bytes));
            self.canonical.dirty(board, Ipa(at), bytes, report)
        };
        owed.discharge(board, supply, &users).expect("in range");
        self.bench.changes.note();
        let mut concerned = Vec::new();
        for (Ipa(at), bytes) in changed {
            let show = |found| concerned.push(found);
            if is_unmap {
                self.reverse.take(L1Ipa(at), bytes, show);
            } else {
                self.reverse.visit(L1Ipa(at), bytes, show);
            }
        }
        for one in concerned {
            let result = self.bench.with(|shadow, host| match one {
                Concerned::Region { ipa, bytes, .. } if is_unmap => shadow.unmap(host, ipa, bytes),
                Concerned::Region { ipa, bytes, .. } => shadow.write_protect(host, ipa, bytes),
                Concerned::Whole(_) => shadow.clear(host),
            });
            result.expect("nothing is cut");
            if let Concerned::Whole(place) = one {
                self.reverse.forget(place);
            }
        }
    }

    /// Every shadow entry is within what L1's table and the canonical one say now.
    fn check(&self) {
        let walker = self.walker();
        let board = &self.bench.board;
        let table = self.bench.shadow.table();
        for (first, level, leaf) in table.leaves(board, Ipa(0), 1 << 40) {
            let bytes = table.geometry().entry_bytes(level);
            for offset in (0..bytes).step_by(PAGE as usize) {
                let ipa = L2Ipa(first.0 + offset);
                let accesses = [
                    (leaf.attributes.access.can_read(), Access::Read),
                    (leaf.attributes.access.can_write(), Access::Write),
                ];
                for (_, access) in accesses
                    .into_iter()
                    .filter(|(is_permitted, _)| *is_permitted)
                {
                    let guest = walker.translate(&self.memory, ipa, access);
                    let guest = guest.expect("L1 permits it");
                    let via = guest.output_of(ipa);
                    let walk = self.canonical.walk(board, via.ipa());
                    let found = CanonicalLeaf::new(walk, self.canonical.geometry());
                    let found = found.expect("L0 maps it");
                    let output = found.output.0 + (via.0 - found.ipa.0);
                    assert_eq!(leaf.output.0 + offset, output);
                    let is_writable = found.attributes.access.can_write();
                    assert!(access != Access::Write || is_writable, "L0 permits it");
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Page or, where the number is 512, block; its descriptor's page in RAM, S2AP, level in the invalidation.
    Write {
        leaf: u64,
        output: u64,
        s2ap: u64,
        level: bool,
    },
    Access {
        ipa: u64,
        access: Access,
    },
    Change {
        page: u64,
        pages: u64,
        is_unmap: bool,
    },
    InvalidateAll,
}

fn any_step() -> impl Strategy<Value = Step> {
    let leaf = || prop_oneof![0..6u64, Just(512u64)];
    prop_oneof![
        3 => (leaf(), 0..0x800u64, 0..4u64, any::<bool>())
            .prop_map(|(leaf, output, s2ap, level)| Step::Write { leaf, output, s2ap, level }),
        6 => (leaf(), 0..8u64, any::<bool>()).prop_map(|(leaf, page, is_write)| Step::Access {
            ipa: leaf * PAGE + if leaf == 512 { page * PAGE } else { 0 },
            access: if is_write { Access::Write } else { Access::Read },
        }),
        2 => (0..0x1000u64, prop_oneof![Just(1u64), Just(512), Just(1024)], any::<bool>())
            .prop_map(|(page, pages, is_unmap)| Step::Change { page, pages, is_unmap }),
        1 => Just(Step::InvalidateAll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_shadow_never_says_more_than_both_tables(
        records in prop_oneof![Just(0usize), Just(3), Just(256)],
        is_logged: bool,
        steps in prop::collection::vec(any_step(), 1..60),
    ) {
        let mut world = World::new(records);
        let ram = Slot::new(Ipa(L1_RAM), Pa(L1_RAM | 1 << 36), L1_RAM_BYTES, Attributes::RAM);
        world.slots.add(ram).expect("apart");
        if is_logged {
            world.slots.set_log(ram.ipa, droste_stage2::DirtyLog::On).expect("a slot");
        }
        for step in steps {
            match step {
                Step::Write { leaf, output, s2ap, level } => {
                    let is_block = leaf == 512;
                    let at = L1_ROOT + if is_block { 0x2008 } else { 0x3000 + leaf * 8 };
                    let output = L1_RAM + if is_block { output / 0x100 * BLOCK } else { output * PAGE };
                    // Break, invalidate, make.
                    world.memory.set(at, 0);
                    let hint = if is_block { Level::L2 } else { Level::L3 };
                    world.bench.invalidate(leaf * PAGE, PAGE, level.then_some(hint));
                    let bits = LEAF | s2ap << 6 | if is_block { 0 } else { 2 };
                    world.memory.set(at, bits | output);
                }
                Step::Access { ipa, access } => world.access(ipa, access),
                Step::Change { page, pages, is_unmap } => {
                    let at = (L1_RAM + page * PAGE) & !(pages * PAGE - 1);
                    world.change(at, pages * PAGE, is_unmap);
                }
                Step::InvalidateAll => {
                    world.bench.with(Shadow::clear).expect("nothing is cut");
                }
            }
            world.check();
        }
    }
}
