//! A shadow on a machine that counts what it is told.

mod answers;
mod fills;
mod invalidations;
mod random;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::vec::Vec;

use droste_arm64::desc::{MemoryType, RawDescriptor, S2ap, Xn};
use droste_arm64::tlbi::Tlbi;
use droste_arm64::{Granule, IpaBits, Level, Vtcr, Vttbr};
use droste_stage2::{Access, Dsb, Ic, Origin, PageCache, VcpuId};

use super::*;
use crate::{Extent, L1Ipa};

/// A machine that holds descriptors and counts invalidations.
#[derive(Default)]
struct Board {
    memory: RefCell<HashMap<u64, u64>>,
    vttbr: Cell<u64>,
    vtcr: Cell<u64>,
    tlbis: Cell<u32>,
    /// Bytes that were cleaned.
    cleaned: Cell<u64>,
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
        self.cleaned.set(self.cleaned.get() + bytes);
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
    /// Its own: VMIDs that tests shared would roll over under each of them.
    vmids: VmidAllocator<1>,
}

impl Bench {
    fn new(ids: &IdRegisters, guest: Granule) -> Self {
        let board = Board::default();
        let geometry = geometry(ids);
        board.set_vtcr(geometry.vtcr(ids));
        let format = Some(Format::narrow(guest));
        let shadow = Shadow::new(&board, Pa(SHADOW_ROOT), geometry, ids, format).expect("aligned");
        let vmids = VmidAllocator::new();
        shadow.context().enter(&board, &vmids, 0, VcpuId(0));
        Self {
            board,
            supply: Supply((0..PAGES).map(|n| Pa(POOL + n * 0x1000)).collect()),
            shadow,
            changes: Changes::new(),
            vmids,
        }
    }

    fn with<R>(
        &mut self,
        act: impl FnOnce(&mut Shadow<1>, &mut Host<'_, Board, Supply, 1>) -> R,
    ) -> R {
        let mut host = Host {
            machine: &self.board,
            supply: &mut self.supply,
            vmids: &self.vmids,
        };
        act(&mut self.shadow, &mut host)
    }

    fn fill_for(&mut self, fault: &Fault, composed: &Composed) -> Filled {
        let ticket = self.shadow.ticket(&self.changes);
        let mut host = Host {
            machine: &self.board,
            supply: &mut self.supply,
            vmids: &self.vmids,
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
        mark: Mark {
            level,
            extent: Extent::Leaf,
        },
        guest_bytes,
        is_memory: true,
    }
}
