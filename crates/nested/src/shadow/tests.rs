//! A shadow on the model of an MMU.

mod answers;
mod fills;
mod invalidations;
mod random;

use std::cell::{Cell, RefCell};
use std::vec::Vec;

use droste_arm64::desc::{MemoryType, S2ap, Xn};
use droste_arm64::{Granule, IpaBits, Level, Vtcr, Vttbr, hcr};
use droste_mmu_model::{Config, Cpu, Model, Share};
use droste_stage2::{Access, Origin, PageCache, VcpuId};

use super::*;
use crate::advertised::tests::rich;
use crate::memory::tests::Sparse;
use crate::{Extent, L1Ipa, StageTwo, StageTwoRegisters, Walker};

/// A machine that counts what is cleaned.
struct Board {
    model: RefCell<Model>,
    /// Bytes that were cleaned.
    cleaned: Cell<u64>,
}

impl Board {
    fn new() -> Self {
        Self {
            model: RefCell::new(Model::new(Config::new(Pa(SHADOW_ROOT), 4 + PAGES))),
            cleaned: Cell::new(0),
        }
    }
}

impl Share for Board {
    fn with<R>(&self, verb: impl FnOnce(&mut Model) -> R) -> R {
        self.model.with(verb)
    }

    fn clean_invalidate_data(&self, _: Pa, bytes: u64) {
        assert!(bytes <= MAX_CLEAN, "a fill cleans for too long");
        self.cleaned.set(self.cleaned.get() + bytes);
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
const CANONICAL_ROOT: u64 = SHADOW_ROOT + 0x2000;
const POOL: u64 = SHADOW_ROOT + 0x4000;
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

/// L1's table for L2: pages 0 to 511 at level 3, and a second block, all below one table of level 2.
const L1_ROOT: u64 = 0x8000_0000;
const TABLE: u64 = 3;

/// L1's memory, with that table and no leaf in it.
fn l1_memory() -> Sparse {
    let memory = Sparse::new(1 << 40);
    memory.set(L1_ROOT, (L1_ROOT + 0x2000) | TABLE);
    memory.set(L1_ROOT + 0x2000, (L1_ROOT + 0x3000) | TABLE);
    memory
}

/// Who reads it, with more bits in HCR_EL2 than VM.
fn walker(hcr: u64) -> Walker {
    let registers = StageTwoRegisters {
        hcr: hcr::VM | hcr,
        sctlr: 0,
        vtcr: Vtcr(5 << 16 | 1 << 6 | 0x18),
        vttbr: Vttbr(L1_ROOT),
    };
    match StageTwo::new(&registers, &rich()) {
        StageTwo::On(walker) => walker,
        StageTwo::Off => panic!("HCR_EL2.VM is set"),
    }
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
        let board = Board::new();
        let cpu = Cpu::new(&board, 0);
        let geometry = geometry(ids);
        cpu.set_vtcr(geometry.vtcr(ids));
        let format = Some(Format::narrow(guest));
        let shadow = Shadow::new(&cpu, Pa(SHADOW_ROOT), geometry, ids, format).expect("aligned");
        let vmids = VmidAllocator::new();
        shadow.context().enter(&cpu, &vmids, 0, VcpuId(0));
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
        act: impl FnOnce(&mut Shadow<1>, &mut Host<'_, Cpu<'_, Board>, Supply, 1>) -> R,
    ) -> R {
        let mut host = Host {
            machine: &Cpu::new(&self.board, 0),
            supply: &mut self.supply,
            vmids: &self.vmids,
        };
        act(&mut self.shadow, &mut host)
    }

    fn fill_for(&mut self, fault: &Fault, composed: &Composed) -> Filled {
        let ticket = self.shadow.ticket(&self.changes);
        let mut host = Host {
            machine: &Cpu::new(&self.board, 0),
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

    /// Invalidations of the shadow so far.
    fn tlbis(&self) -> u64 {
        let counters = self.shadow.table().counters();
        let of_stage2 = counters.tlbi_address + counters.tlbi_range;
        of_stage2 + counters.tlbi_combined + counters.tlbi_vmid + counters.tlbi_local
    }

    fn is_mapped(&self, ipa: u64) -> bool {
        let walk = self
            .shadow
            .table()
            .walk(&Cpu::new(&self.board, 0), Ipa(ipa));
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
