//! What L2 does, hardware refuses and L0 answers: either the same goes on afterwards, or somebody is told of a fault that is
//! theirs. All permissions of L1's leaf, of the slot and of the canonical leaf, and all kinds of access, on the real
//! tables.

use droste_arm64::desc::MemAttr;
use droste_arm64::esr::{Ec, Esr};
use droste_stage2::{Attributes, Privilege, Slot, Slots, scheme};

use super::*;
use crate::CanonicalLeaf;
use crate::fault::{Abort, L1, Syndrome, Verdict};

/// Where L1's leaf for L2's page leads.
const L1_PAGE: u64 = 0x8010_0000;
const L2_PAGE: u64 = 0x5000;
/// How often L2 may come back for one access: for each table that holds nothing yet, and each permission.
const EXITS: u32 = 4;
/// How often one exit is judged.
const JUDGEMENTS: u32 = 3;

const FROM_FETCH: u64 = 0x20 << 26 | 1 << 25;
const FROM_DATA: u64 = 0x24 << 26 | 1 << 25;
const CM: u64 = 1 << 8;
const S1PTW: u64 = 1 << 7;
const WNR: u64 = 1 << 6;

/// A kind of access: the syndrome that it has, and what it needs of a leaf.
#[derive(Clone, Copy, Debug)]
struct Use {
    syndrome: u64,
    by: Privilege,
    reads: bool,
    writes: bool,
    fetches: bool,
}

const NEEDS_NOTHING: Use = Use {
    syndrome: FROM_DATA,
    by: Privilege::El1,
    reads: false,
    writes: false,
    fetches: false,
};
const LOAD: Use = Use {
    reads: true,
    ..NEEDS_NOTHING
};
const STORE: Use = Use {
    syndrome: FROM_DATA | WNR,
    writes: true,
    ..NEEDS_NOTHING
};
/// Cleaning of a cache by EL1, which hardware may let pass whatever is permitted.
const CLEAN: Use = Use {
    syndrome: FROM_DATA | CM | WNR,
    ..NEEDS_NOTHING
};
const FETCH: Use = Use {
    syndrome: FROM_FETCH,
    fetches: true,
    ..NEEDS_NOTHING
};
const WALK: Use = Use {
    syndrome: FROM_DATA | S1PTW,
    ..LOAD
};

const USES: [Use; 11] = [
    LOAD,
    STORE,
    CLEAN,
    FETCH,
    WALK,
    Use {
        by: Privilege::El0,
        ..FETCH
    },
    // Cleaning where reading is needed, and invalidation.
    Use {
        reads: true,
        ..CLEAN
    },
    Use {
        writes: true,
        ..CLEAN
    },
    // Walks that update a descriptor, of loads, stores and fetches.
    Use {
        writes: true,
        ..WALK
    },
    Use {
        syndrome: FROM_DATA | S1PTW | WNR,
        writes: true,
        ..WALK
    },
    Use {
        syndrome: FROM_FETCH | S1PTW,
        writes: true,
        ..WALK
    },
];

impl Use {
    /// Its abort of this syndrome.
    fn abort(self, esr: Esr) -> Abort {
        Abort {
            esr,
            far: L2_PAGE,
            ipa: L2Ipa(L2_PAGE),
            privilege: self.by,
        }
    }

    fn is_walk(self) -> bool {
        self.syndrome & S1PTW != 0
    }

    fn is_data(self) -> bool {
        !self.is_walk() && !self.fetches
    }

    /// Whether a leaf with S2AP and XN permits it (DDI 0487, D8, "Stage 2 data accesses" and "Stage 2 instruction
    /// execution").
    fn is_permitted(self, access: u64, execute: u64) -> bool {
        let executes = match self.by {
            Privilege::El1 => execute == 0b00 || execute == 0b11,
            Privilege::El0 => execute == 0b00 || execute == 0b01,
        };
        (!self.reads || access & 1 != 0)
            && (!self.writes || access & 2 != 0)
            && (!self.fetches || executes)
    }

    fn is_permitted_by(self, slot: Attributes) -> bool {
        let is_device = matches!(slot.memory, Memory::Device(_));
        self.is_permitted(slot.access as u64, slot.execute as u64) && !(self.is_walk() && is_device)
    }
}

/// Who is told in the end.
#[derive(Debug)]
enum End {
    GoesOn,
    Guest(Syndrome),
    Device,
    External,
}

/// One page of L2's.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// S2AP, XN and MemAttr of L1's leaf.
    leaf: (u64, u64, u64),
    /// S2AP of what it was when L2 used it last, if it did; L1 has not invalidated since.
    before: Option<u64>,
    slot: Option<Attributes>,
    /// S2AP of the canonical leaf, if there is one.
    canonical: Option<S2ap>,
    /// L1's HCR_EL2.PTW.
    ptw: u64,
    /// Whether hardware has FEAT_S2FWB.
    is_forced: bool,
}

struct World {
    bench: Bench,
    canonical: Table,
    context: Context<1>,
    slots: Slots,
    memory: Sparse,
    pages: PageCache,
    case: Case,
    ids: IdRegisters,
}

impl World {
    fn new(case: Case) -> Self {
        let ids = IdRegisters {
            mmfr1: 1 << 28,
            mmfr2: u64::from(case.is_forced) << 40,
            ..hardware()
        };
        let mut bench = Bench::new(&ids, Granule::Kib4);
        let geometry = geometry(&ids);
        let mut canonical = Table::new(
            &Cpu::new(&bench.board, 0),
            Pa(CANONICAL_ROOT),
            geometry,
            &ids,
        )
        .expect("aligned");
        let context = Context::new(&mut canonical);
        let memory = l1_memory();
        let mut slots = Slots::new(geometry);
        let output = Pa(L1_PAGE | 1 << 38);
        if let Some(attributes) = case.slot {
            let slot = Slot::new(Ipa(L1_PAGE), output, PAGE, attributes);
            slots.add(slot).expect("it is the only one");
            if let Some(access) = case.canonical {
                let attributes = Attributes {
                    access,
                    execute: Xn::Nowhere,
                    ..attributes
                };
                let mapping = Mapping::new(Ipa(L1_PAGE), output, PAGE, attributes);
                let owed = canonical.map(&Cpu::new(&bench.board, 0), &mut bench.supply, &mapping);
                let contexts = Contexts {
                    vmids: &bench.vmids,
                    all: &[&context],
                    smmus: &[],
                };
                let done = owed.discharge(&Cpu::new(&bench.board, 0), &mut bench.supply, &contexts);
                done.expect("pages are left");
            }
        }
        Self {
            bench,
            canonical,
            context,
            slots,
            memory,
            pages: PageCache::new(),
            case,
            ids,
        }
    }

    fn describe(&self, (access, execute, memory): (u64, u64, u64)) {
        const ACCESSED_INNER: u64 = 1 << 10 | 3 << 8;
        let leaf = L1_PAGE | execute << 53 | ACCESSED_INNER | access << 6 | memory << 2 | 3;
        self.memory.set(L1_ROOT + 0x3000 + L2_PAGE / PAGE * 8, leaf);
    }

    /// What hardware makes of it by the shadow: nothing, or an abort. Its HCR_EL2.PTW is L1's.
    fn hardware(&self, what: Use) -> Option<Esr> {
        let Walk::Leaf { leaf, .. } = self
            .bench
            .shadow
            .table()
            .walk(&Cpu::new(&self.bench.board, 0), Ipa(L2_PAGE))
        else {
            return Some(Esr(what.syndrome | 0x07));
        };
        let attributes = leaf.attributes;
        let is_device = is_device(attributes.memory, &self.ids);
        let is_protected = what.is_walk() && is_device && self.case.ptw != 0;
        let is_permitted = what.is_permitted(attributes.access as u64, attributes.execute as u64);
        (!is_permitted || is_protected).then_some(Esr(what.syndrome | 0x0f))
    }

    fn judge(&self, what: Use, esr: Esr) -> Verdict {
        let walker = walker(self.case.ptw);
        let l1 = L1 {
            walker: &walker,
            memory: &self.memory,
            slots: &self.slots,
            scheme: scheme(&self.ids),
        };
        let abort = what.abort(esr);
        let permitted = || {
            self.bench
                .shadow
                .permits(&Cpu::new(&self.bench.board, 0), abort.ipa)
        };
        let look = |at: L1Ipa| {
            let walk = self
                .canonical
                .walk(&Cpu::new(&self.bench.board, 0), at.ipa());
            CanonicalLeaf::new(walk, self.canonical.geometry())
        };
        let verdict = l1.judge(&abort, permitted, look);
        verdict.expect("a fault that tables answer")
    }

    /// One exit: `None` where L2 goes on.
    fn answer(&mut self, what: Use, esr: Esr) -> Option<End> {
        for _ in 0..JUDGEMENTS {
            let ticket = self.bench.shadow.ticket(&self.bench.changes);
            let supply = &mut self.bench.supply;
            self.pages
                .fill(supply, Ipa(L2_PAGE))
                .expect("pages are left");
            match self.judge(what, esr) {
                Verdict::Canonical(proposal) => {
                    let contexts = Contexts {
                        vmids: &self.bench.vmids,
                        all: &[&self.context],
                        smmus: &[],
                    };
                    let sequence = self.slots.sequence();
                    let board = &Cpu::new(&self.bench.board, 0);
                    let result = self.canonical.install(
                        board,
                        &mut self.pages,
                        &contexts,
                        &proposal,
                        sequence,
                    );
                    result.expect("pages are left");
                }
                Verdict::Fill { fault, composed } => {
                    let mut ahead = Ahead {
                        cache: &mut self.pages,
                        supply: &mut self.bench.supply,
                    };
                    let mut host = Host {
                        machine: &Cpu::new(&self.bench.board, 0),
                        supply: &mut ahead,
                        vmids: &self.bench.vmids,
                    };
                    let now = (ticket, &self.bench.changes);
                    let filled = self.bench.shadow.fill(&mut host, now, &fault, &composed);
                    assert_eq!(filled, Ok(Filled::Mapped));
                    return None;
                }
                Verdict::Guest(fault) => return Some(End::Guest(what.abort(esr).for_guest(fault))),
                Verdict::Device { .. } => return Some(End::Device),
                Verdict::External(_) => return Some(End::External),
                Verdict::Forget | Verdict::Retry => return None,
            }
        }
        None
    }

    /// Until it goes on or somebody is told; `None` if it comes back over and over.
    fn run(&mut self, what: Use) -> Option<End> {
        (0..EXITS).find_map(|_| match self.hardware(what) {
            None => Some(End::GoesOn),
            Some(esr) => self.answer(what, esr),
        })
    }
}

fn is_device(memory: MemAttr, ids: &IdRegisters) -> bool {
    matches!(memory.decode(scheme(ids)), MemoryType::Device(_))
}

/// Runs one use of one case, and says what is wrong with its end.
fn wrong(case: Case, what: Use) -> Option<&'static str> {
    let mut world = World::new(case);
    if let Some(before) = case.before {
        let (_, execute, memory) = case.leaf;
        world.describe((before, execute, memory));
        let first = match before {
            0 => CLEAN,
            2 => STORE,
            _ => LOAD,
        };
        world.run(first);
    }
    world.describe(case.leaf);
    let (access, execute, memory) = case.leaf;
    // Without FEAT_S2FWB a leaf of less than 4 is Device memory.
    let is_protected = what.is_walk() && memory < 4 && case.ptw != 0;
    let permits = |access| what.is_permitted(access, execute) && !is_protected;
    match world.run(what) {
        None => Some("it comes back over and over"),
        // What L1 lets hardware protect and L0's own memory type hides.
        Some(End::GoesOn) if is_protected && case.is_forced => None,
        Some(End::GoesOn) => {
            let was_permitted = case.before.is_some_and(permits);
            (!permits(access) && !was_permitted).then_some("L1's leaf forbids it")
        }
        Some(End::Guest(syndrome)) => {
            let was_forbidden = case.before.is_some_and(|before| !permits(before));
            // Where L1 forbids to read and its memory to write, maintenance may lack either.
            let is_either = what.syndrome & CM != 0
                && access & 1 == 0
                && case.slot.is_some_and(|slot| !slot.access.can_write());
            if permits(access) && !was_forbidden && !is_either {
                return Some("L1 is told of a fault that its leaf does not make");
            }
            let same = Esr(what.syndrome | 0x0f);
            let is_same = syndrome.esr.ec() == same.ec() && syndrome.esr == same;
            (!is_same || syndrome.hpfar != L2_PAGE >> 8).then_some("the syndrome is another's")
        }
        Some(End::Device) => {
            (case.slot.is_some() || !what.is_data()).then_some("it is no access to a device")
        }
        Some(End::External) => {
            // What maintenance lacks of a slot that cannot be read nobody can tell.
            let is_slots = case.slot.is_some_and(|slot| {
                let is_told = what.syndrome & CM == 0 || slot.access.can_read();
                is_told && what.is_permitted_by(slot)
            });
            let is_device = case.slot.is_none() && what.is_data();
            (is_slots || is_device).then_some("the slot permits it")
        }
    }
}

fn slots() -> [Option<Attributes>; 6] {
    let write_only = Attributes {
        access: S2ap::WriteOnly,
        ..Attributes::DATA
    };
    let nothing = Attributes {
        access: S2ap::None,
        ..Attributes::DATA
    };
    [
        None,
        Some(Attributes::RAM),
        Some(Attributes::ROM),
        Some(Attributes::DEVICE),
        Some(write_only),
        Some(nothing),
    ]
}

/// What of a slot's permissions a canonical leaf may have by now: nothing for a hole.
fn canonical(slot: Option<Attributes>) -> Vec<Option<S2ap>> {
    let all = [S2ap::None, S2ap::ReadOnly, S2ap::WriteOnly, S2ap::ReadWrite];
    let of_slot = all
        .into_iter()
        .filter(|&access| slot.is_some_and(|slot| access as u8 & !(slot.access as u8) == 0));
    of_slot.map(Some).chain([None]).collect()
}

/// Every use of every case with these.
fn all(is_forced: bool, before: &[Option<u64>]) {
    const MEMORY: [u64; 2] = [0b1111, 0b0001];
    for (access, execute) in (0..4).flat_map(|access| (0..4).map(move |xn| (access, xn))) {
        for (memory, ptw) in MEMORY.into_iter().flat_map(|m| [(m, 0), (m, hcr::PTW)]) {
            for slot in slots() {
                for canonical in canonical(slot) {
                    for &before in before {
                        let case = Case {
                            leaf: (access, execute, memory),
                            before,
                            slot,
                            canonical,
                            ptw,
                            is_forced,
                        };
                        for what in USES {
                            if let Some(wrong) = wrong(case, what) {
                                panic!("{wrong}: {what:x?} of {case:x?}");
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn whatever_l2_does_goes_on_or_is_somebodys_fault() {
    all(true, &[None]);
    all(false, &[None]);
}

#[test]
fn so_it_is_where_l1_did_not_invalidate() {
    all(false, &[Some(0), Some(1), Some(2), Some(3)]);
}

#[test]
fn a_store_and_then_a_walk_where_l1_permits_stores_alone() {
    let case = Case {
        leaf: (2, 0, 0b1111),
        before: Some(2),
        slot: Some(Attributes::RAM),
        canonical: Some(S2ap::ReadWrite),
        ptw: 0,
        is_forced: true,
    };
    for what in [WALK, USES[6]] {
        let mut world = World::new(case);
        world.describe(case.leaf);
        assert!(matches!(world.run(STORE), Some(End::GoesOn)));
        let Some(End::Guest(syndrome)) = world.run(what) else {
            panic!("{what:x?} comes back over and over");
        };
        assert_eq!(syndrome.esr, Esr(what.syndrome | 0x0f));
        assert_eq!(syndrome.esr.ec(), Ec::DATA_ABORT_LOWER);
    }
}
