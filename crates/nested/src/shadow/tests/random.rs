//! L1 writes its table and invalidates, L2 accesses, L0 takes memory from L1 and gives it back, in any order.

use std::vec;

use droste_arm64::esr::Esr;
use droste_stage2::{Attributes, DirtyLog, Privilege, Slot, Slots, scheme};
use proptest::prelude::*;

use super::*;
use crate::fault::{Abort, L1, Verdict};
use crate::reverse_map::{Concerned, Owner, Record, ReverseMap};
use crate::{CanonicalLeaf, Place};

const L1_RAM: u64 = 0x8000_0000;
const L1_RAM_BYTES: u64 = 0x100_0000;
const LEAF: u64 = 1 | 1 << 10 | 3 << 8 | 0b1111 << 2;

/// One shadow, both tables that it is of, and what finds them.
struct World {
    bench: Bench,
    canonical: Table,
    context: Context<1>,
    slots: Slots,
    memory: Sparse,
    reverse_map: ReverseMap<Vec<Record>, Vec<Owner>>,
    pages: PageCache,
}

impl World {
    fn new(records: usize) -> Self {
        let ids = hardware();
        let bench = Bench::new(&ids, Granule::Kib4);
        let geometry = geometry(&ids);
        let mut canonical = Table::new(
            &Cpu::new(&bench.board, 0),
            Pa(CANONICAL_ROOT),
            geometry,
            &ids,
        )
        .expect("aligned");
        let memory = l1_memory();
        Self {
            context: Context::new(&mut canonical),
            canonical,
            bench,
            slots: Slots::new(geometry),
            memory,
            reverse_map: ReverseMap::new(vec![Record::UNUSED; records], vec![Owner::UNUSED; 1]),
            pages: PageCache::new(),
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
        let walker = walker(0);
        let l1 = L1 {
            walker: &walker,
            memory: &self.memory,
            slots: &self.slots,
            scheme: scheme(&hardware()),
        };
        let permitted = || {
            self.bench
                .shadow
                .permits(&Cpu::new(&self.bench.board, 0), L2Ipa(ipa))
        };
        l1.judge(&abort, permitted, |at| {
            let walk = self
                .canonical
                .walk(&Cpu::new(&self.bench.board, 0), at.ipa());
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
                    let contexts = Contexts {
                        vmids: &self.bench.vmids,
                        all: &[&self.context],
                        smmus: &[],
                    };
                    let sequence = self.slots.sequence();
                    let (board, pages) = (&Cpu::new(&self.bench.board, 0), &mut self.pages);
                    let result = self
                        .canonical
                        .install(board, pages, &contexts, &proposal, sequence);
                    result.expect("pages are left");
                }
                Some(Verdict::Fill { fault, composed }) => {
                    self.reverse_map.insert(Place(0), &composed);
                    let mut ahead = Ahead {
                        cache: &mut self.pages,
                        supply: &mut self.bench.supply,
                    };
                    let mut host = Host {
                        machine: &Cpu::new(&self.bench.board, 0),
                        supply: &mut ahead,
                        vmids: &self.bench.vmids,
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
        let contexts = Contexts {
            vmids: &self.bench.vmids,
            all: &[&self.context],
            smmus: &[],
        };
        let (board, supply) = (&Cpu::new(&self.bench.board, 0), &mut self.bench.supply);
        // What is protected is whole leaves.
        let mut changed = Vec::new();
        let owed = if is_unmap {
            changed.push((Ipa(at), bytes));
            self.canonical.unmap(board, supply, Ipa(at), bytes)
        } else {
            let report = |ipa, bytes| changed.push((ipa, bytes));
            self.canonical.dirty(board, Ipa(at), bytes, report)
        };
        owed.discharge(board, supply, &contexts).expect("in range");
        self.bench.changes.note();
        let mut concerned = Vec::new();
        for (Ipa(at), bytes) in changed {
            let show = |found| concerned.push(found);
            if is_unmap {
                self.reverse_map.take(L1Ipa(at), bytes, show);
            } else {
                self.reverse_map.visit(L1Ipa(at), bytes, show);
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
                self.reverse_map.forget(place);
            }
        }
    }

    /// Every shadow entry is within what L1's table and the canonical one say now.
    fn check(&self) {
        let walker = walker(0);
        let violation = self.bench.board.with(|model| model.violation().copied());
        assert_eq!(violation, None);
        let board = &Cpu::new(&self.bench.board, 0);
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
            world.slots.set_log(ram.ipa, DirtyLog::On).expect("a slot");
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
                    world.bench.with(|shadow, host| shadow.clear(host).expect("nothing is cut"));
                }
            }
            world.check();
        }
    }
}
