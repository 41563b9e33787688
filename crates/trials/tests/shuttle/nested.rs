//! A shadow under three vCPUs: fills beside each other, beside L1's invalidations, and beside what L0 does to
//! L1's memory, by the protocols of `droste_nested::{shadow, reverse_map}`.

use std::collections::HashMap;

use droste_arm64::esr::Esr;
use droste_arm64::{Granule, IdRegisters, Ipa, IpaBits, Pa, Va, Vtcr, Vttbr, hcr};
use droste_mmu_model::{Access, AccessKind, Config, Cpu, Effect, Model, Share, Vcpu};
use droste_nested::pool::{Entry, Key, Pool};
use droste_nested::reverse_map::{Concerned, Owner, Record, ReverseMap};
use droste_nested::{
    Abort, Advertised, Ahead, CanonicalLeaf, Changes, Exchange, ExternalAbort, Front, GuestMemory,
    Host, L1, L1Ipa, L2Ipa, Place, Range, Shadow, StageTwo, StageTwoRegisters, Verdict, Walker,
};
use droste_stage2::{
    Attributes, Context, Contexts, Geometry, Machine, PageCache, Privilege, Slot, Slots, Table,
    VcpuId, VmidAllocator, scheme,
};

use shuttle::sync::{Arc, Mutex, RwLock};
use shuttle::thread;

use crate::{CPUS, PAGE, Shared, Supply, in_many_orders};

/// The shadow, with its front beside it.
type Placed = Shadow<CPUS, Arc<Front<CPUS>>>;

/// Memory of the model: two roots, then pages for tables.
const TABLES: u64 = 0x1000_0000;
const PAGES: u64 = 64;
/// L1's memory, and where it is.
const RAM: u64 = 0x8000_0000;
const RAM_BYTES: u64 = 0x40_0000;
const MEMORY: u64 = 0x9_0000_0000;
/// L1's table: a root, a table of level 2, one of level 3.
const ROOT: u64 = 0x7000_0000;
const LEAVES: u64 = ROOT + 0x3000;
const BLOCK: u64 = 0x20_0000;
/// A leaf that permits everything: a page, a block.
const A_PAGE: u64 = 0x7ff;
const A_BLOCK: u64 = 0x7fd;

/// L1's memory for its table.
struct Words(Mutex<HashMap<u64, u64>>);

impl GuestMemory for Words {
    fn read(&self, at: L1Ipa) -> Result<u64, ExternalAbort> {
        let words = self.0.lock().expect("no test goes on after a panic");
        Ok(words.get(&at.0).copied().unwrap_or(0))
    }

    fn compare_exchange(&self, _: L1Ipa, _: u64, _: u64) -> Result<Exchange, ExternalAbort> {
        panic!("L1 lets hardware write nothing");
    }
}

struct World {
    model: Shared,
    ids: IdRegisters,
    geometry: Geometry,
    vmids: VmidAllocator<CPUS>,
    pages: Mutex<Vec<Pa>>,
    words: Words,
    walker: Walker,
    slots: RwLock<Slots>,
    canonical: RwLock<Table>,
    own: Context<CPUS>,
    changes: Changes,
    reverse_map: Mutex<ReverseMap<Vec<Record>, Vec<Owner>>>,
    shadow: RwLock<Placed>,
    /// Its front, which is asked without a lock.
    front: Arc<Front<CPUS>>,
    place: Place,
    /// Pages that were reported as written.
    reported: Mutex<Vec<u64>>,
}

impl World {
    fn new(records: usize) -> Arc<Self> {
        let config = Config {
            cpus: CPUS,
            ..Config::new(Pa(TABLES), PAGES)
        };
        let model = Shared(Mutex::new(Model::new(config)));
        let ids = IdRegisters {
            mmfr0: 5,
            ..IdRegisters::default()
        };
        let ipa_bits = IpaBits::new(40).expect("a width");
        let geometry = Geometry::new(Granule::Kib4, ipa_bits, &ids).expect("a shape");
        let advertised = Advertised {
            ids,
            isar1: 0,
            ipa_bits,
        };
        let registers = StageTwoRegisters {
            hcr: hcr::VM,
            sctlr: 0,
            vtcr: Vtcr(5 << 16 | 1 << 6 | 0x18),
            vttbr: Vttbr(ROOT),
        };
        let StageTwo::On(walker) = StageTwo::new(&registers, &advertised) else {
            panic!("HCR_EL2.VM is set");
        };
        let machine = Cpu::new(&model, 0);
        let root = |number: u64| Pa(TABLES + number * geometry.root_bytes());
        let mut canonical = Table::new(&machine, root(0), geometry, &ids).expect("aligned");
        let shadow = Shadow::with_front(
            &machine,
            (root(1), geometry),
            &ids,
            walker.format(),
            Arc::new,
        );
        let shadow = shadow.expect("aligned");
        let mut slots = Slots::new(geometry);
        let ram = Slot::new(Ipa(RAM), Pa(MEMORY), RAM_BYTES, Attributes::RAM);
        slots.add(ram).expect("the only one");
        let mut contexts = Pool::new(vec![Entry::UNUSED; 1]);
        let grant = contexts.acquire(Key::new(&registers, &advertised));
        let table = |at: u64| at | 3;
        let words = [
            (ROOT, table(ROOT + 0x2000)),
            (ROOT + 0x2000, table(LEAVES)),
            (ROOT + 0x2008, RAM | BLOCK | A_BLOCK),
            (LEAVES, RAM | A_PAGE),
            (LEAVES + 8, (RAM + PAGE) | A_PAGE),
            (LEAVES + 16, (RAM + 2 * PAGE) | A_PAGE),
        ];
        let first = root(2).0 >> 12;
        Arc::new(Self {
            ids,
            geometry,
            vmids: VmidAllocator::new(),
            pages: Mutex::new(
                (first..TABLES / PAGE + PAGES)
                    .map(|page| Pa(page * PAGE))
                    .collect(),
            ),
            words: Words(Mutex::new(words.into())),
            walker,
            slots: RwLock::new(slots),
            own: Context::new(&mut canonical),
            canonical: RwLock::new(canonical),
            changes: Changes::new(),
            reverse_map: Mutex::new(ReverseMap::new(
                vec![Record::UNUSED; records],
                vec![Owner::UNUSED; 1],
            )),
            front: Arc::clone(shadow.place()),
            shadow: RwLock::new(shadow),
            place: grant.expect("one").place(),
            reported: Mutex::new(Vec::new()),
            model,
        })
    }

    fn supply(&self) -> Supply<'_> {
        Supply {
            model: &self.model,
            free: self.pages.lock().expect("as above"),
        }
    }

    fn enter(&self, cpu: usize) {
        let machine = Cpu::new(&self.model, cpu);
        machine.set_vtcr(self.geometry.vtcr(&self.ids));
        self.front
            .context()
            .enter(&machine, &self.vmids, cpu, VcpuId(cpu as u32));
        self.model
            .with(|model| model.enter(cpu, Vcpu::new(cpu as u32)));
    }

    /// L2 on `cpu` makes an access until it reaches memory, and says where; `None` where L1 or L0 has nothing for it.
    fn touch(&self, cpu: usize, ipa: u64, kind: AccessKind) -> Option<Pa> {
        self.enter(cpu);
        let reached = loop {
            let outcomes = self
                .model
                .with(|model| model.access(cpu, Access::new(Va(ipa), kind)));
            let leads = |effect: Effect| match effect {
                Effect::Access { pa, .. } => Some(pa),
                _ => None,
            };
            let all: Option<Vec<Pa>> = outcomes
                .iter()
                .map(|outcome| leads(outcome.effect))
                .collect();
            if let Some(all) = all {
                break all.first().copied();
            }
            self.model.with(|model| model.exit(cpu));
            let goes_on = self.answer(cpu, ipa, kind);
            self.model
                .with(|model| model.enter(cpu, Vcpu::new(cpu as u32)));
            if !goes_on {
                break None;
            }
            thread::yield_now();
        };
        self.model.with(|model| model.exit(cpu));
        reached
    }

    fn answer(&self, cpu: usize, ipa: u64, kind: AccessKind) -> bool {
        let ticket = self.front.ticket(&self.changes);
        match self.judge(cpu, ipa, kind) {
            Some(Verdict::Canonical(proposal)) => {
                let machine = Cpu::new(&self.model, cpu);
                let mut pages = PageCache::new();
                pages
                    .fill(&mut self.supply(), Ipa(ipa))
                    .expect("there are pages");
                let canonical = self.canonical.read().expect("as above");
                let sequence = self.slots.read().expect("as above").sequence();
                let contexts = self.contexts();
                let installed = canonical.install(
                    &machine,
                    &mut pages,
                    &Contexts {
                        vmids: &self.vmids,
                        all: &contexts,
                        smmus: &[],
                    },
                    &proposal,
                    sequence,
                );
                installed.expect("there are pages");
                pages.drain(&mut self.supply());
                true
            }
            Some(Verdict::Fill { fault, composed }) => {
                self.reverse_map
                    .lock()
                    .expect("as above")
                    .insert(self.place, &composed);
                let tickets = (ticket, &self.changes);
                let hole = self.with_shadow(cpu, |shadow, host| {
                    shadow.fill_hole(host.machine, tickets, &fault, &composed)
                });
                if hole.is_some() {
                    return true;
                }
                let mut cache = PageCache::new();
                cache
                    .fill(&mut self.supply(), Ipa(ipa))
                    .expect("there are pages");
                self.with_shadow(cpu, |shadow, host| {
                    let mut ahead = Ahead {
                        cache: &mut cache,
                        supply: &mut *host.supply,
                    };
                    let mut host = Host {
                        machine: host.machine,
                        supply: &mut ahead,
                        vmids: host.vmids,
                    };
                    shadow.fill(&mut host, (ticket, &self.changes), &fault, &composed)
                });
                cache.drain(&mut self.supply());
                true
            }
            Some(Verdict::Retry) => true,
            _ => false,
        }
    }

    fn contexts(&self) -> [&Context<CPUS>; 1] {
        [&self.own]
    }

    fn judge(&self, cpu: usize, ipa: u64, kind: AccessKind) -> Option<Verdict> {
        let slots = self.slots.read().expect("as above").clone();
        let write = u64::from(kind == AccessKind::Write);
        let abort = Abort {
            esr: Esr(0x24 << 26 | write << 6 | 0x07),
            far: ipa,
            ipa: L2Ipa(ipa),
            privilege: Privilege::El1,
        };
        let l1 = L1 {
            walker: &self.walker,
            memory: &self.words,
            slots: &slots,
            scheme: scheme(&self.ids),
        };
        let permitted = || {
            let shadow = self.shadow.read().expect("as above");
            shadow.permits(&Cpu::new(&self.model, cpu), L2Ipa(ipa))
        };
        l1.judge(&abort, permitted, |at| {
            let canonical = self.canonical.read().expect("as above");
            let walk = canonical.walk(&Cpu::new(&self.model, cpu), at.ipa());
            CanonicalLeaf::new(walk, self.geometry)
        })
    }

    fn with_shadow<R>(
        &self,
        cpu: usize,
        act: impl FnOnce(
            &mut Placed,
            &mut Host<'_, Cpu<'_, Shared>, Supply<'_>, CPUS>,
        ) -> Result<R, droste_stage2::Error>,
    ) -> R {
        let mut shadow = self.shadow.write().expect("as above");
        let machine = Cpu::new(&self.model, cpu);
        let mut supply = self.supply();
        let mut host = Host {
            machine: &machine,
            supply: &mut supply,
            vmids: &self.vmids,
        };
        act(&mut shadow, &mut host).expect("there are pages for all")
    }

    /// L1 writes a descriptor.
    fn write(&self, at: u64, value: u64) {
        self.words.0.lock().expect("as above").insert(at, value);
    }

    /// L1 invalidates an address, without a level.
    fn invalidate(&self, cpu: usize, ipa: u64) {
        let range = Range {
            from: L2Ipa(ipa),
            bytes: PAGE,
            level: None,
        };
        self.with_shadow(cpu, |shadow, host| shadow.invalidate(host, &range));
    }

    /// All of L1's VMID goes.
    fn clear(&self, cpu: usize) {
        let mut reverse_map = self.reverse_map.lock().expect("as above");
        self.with_shadow(cpu, |shadow, host| shadow.clear(host));
        reverse_map.forget(self.place);
    }

    /// L0 takes all memory from L1, for good.
    fn remove(&self, cpu: usize) {
        let removed = self.slots.write().expect("as above").remove(Ipa(RAM));
        removed.expect("it is there");
        let machine = Cpu::new(&self.model, cpu);
        let mut canonical = self.canonical.write().expect("as above");
        let mut supply = self.supply();
        let owed = canonical.unmap(&machine, &mut supply, Ipa(RAM), RAM_BYTES);
        let contexts = Contexts {
            vmids: &self.vmids,
            all: &self.contexts(),
            smmus: &[],
        };
        owed.discharge(&machine, &mut supply, &contexts)
            .expect("it needs no page");
        drop((supply, canonical));
        self.changes.note();
        let mut concerned = Vec::new();
        let mut reverse_map = self.reverse_map.lock().expect("as above");
        reverse_map.take(L1Ipa(RAM), RAM_BYTES, |one| concerned.push(one));
        for one in concerned {
            self.with_shadow(cpu, |shadow, host| match one {
                Concerned::Whole(_) => shadow.clear(host),
                Concerned::Region { ipa, bytes, .. } => shadow.unmap(host, ipa, bytes),
            });
            if let Concerned::Whole(place) = one {
                reverse_map.forget(place);
            }
        }
    }

    /// L0 reads and resets the dirty log of L1's memory.
    fn harvest(&self, cpu: usize) {
        let machine = Cpu::new(&self.model, cpu);
        let mut leaves = Vec::new();
        let mut canonical = self.canonical.write().expect("as above");
        let mut supply = self.supply();
        let owed = canonical.dirty(&machine, Ipa(RAM), RAM_BYTES, |ipa, bytes| {
            leaves.push((ipa.0, bytes));
        });
        let contexts = Contexts {
            vmids: &self.vmids,
            all: &self.contexts(),
            smmus: &[],
        };
        owed.discharge(&machine, &mut supply, &contexts)
            .expect("it needs no page");
        self.keep(&leaves);
        drop((supply, canonical));
        self.changes.note();
        let mut reverse_map = self.reverse_map.lock().expect("as above");
        let mut concerned = Vec::new();
        for (ipa, bytes) in &leaves {
            reverse_map.visit(L1Ipa(*ipa), *bytes, |one| concerned.push(one));
        }
        for one in concerned {
            self.with_shadow(cpu, |shadow, host| match one {
                Concerned::Whole(_) => shadow.clear(host),
                Concerned::Region { ipa, bytes, .. } => shadow.write_protect(host, ipa, bytes),
            });
            if let Concerned::Whole(place) = one {
                reverse_map.forget(place);
            }
        }
    }

    /// Keeps which of the first pages were reported.
    fn keep(&self, leaves: &[(u64, u64)]) {
        let pages = (0..CPUS as u64).map(|page| RAM + page * PAGE);
        let is_there = |page: &u64| {
            leaves
                .iter()
                .any(|(ipa, bytes)| (*ipa..ipa + bytes).contains(page))
        };
        let mut reported = self.reported.lock().expect("as above");
        reported.extend(pages.filter(is_there));
    }

    /// Nothing is broken, and the shadow says no more than both tables.
    fn end(&self) {
        if let Some(violation) = self.model.with(|model| model.violation().copied()) {
            panic!("{violation}");
        }
        for cpu in 0..CPUS {
            for ipa in [0, PAGE, 2 * PAGE, BLOCK, BLOCK + 5 * PAGE] {
                for kind in [AccessKind::Read, AccessKind::Write] {
                    self.look(cpu, ipa, kind);
                }
            }
        }
    }

    fn look(&self, cpu: usize, ipa: u64, kind: AccessKind) {
        let allowed = match self.judge(cpu, ipa, kind) {
            Some(Verdict::Fill { composed, .. }) => {
                Some(composed.output.0 | ipa & (composed.bytes - 1))
            }
            _ => None,
        };
        self.enter(cpu);
        let outcomes = self
            .model
            .with(|model| model.access(cpu, Access::new(Va(ipa), kind)));
        self.model.with(|model| model.exit(cpu));
        for outcome in outcomes.iter() {
            if let Effect::Access { pa, .. } = outcome.effect {
                assert_eq!(
                    Some(pa.0),
                    allowed,
                    "{kind:?} of {ipa:#x} on CPU {cpu}: {outcome:?}"
                );
            }
        }
    }
}

/// Runs CPUs beside each other in many orders, with few records of the reverse map and with many.
fn beside(cpus: fn(usize, &World)) {
    for records in [1, 16] {
        in_many_orders(move || World::new(records), cpus, World::end);
    }
}

#[test]
fn fills_of_one_leaf_go_beside_each_other() {
    beside(|cpu, world| {
        let ipa = BLOCK + cpu as u64 * PAGE;
        let kind = if cpu == 0 {
            AccessKind::Write
        } else {
            AccessKind::Read
        };
        assert_eq!(world.touch(cpu, ipa, kind), Some(Pa(MEMORY + ipa)));
        assert_eq!(
            world.touch(cpu, PAGE, AccessKind::Write),
            Some(Pa(MEMORY + PAGE))
        );
    });
}

#[test]
fn a_fill_beside_an_invalidation_by_l1_ends_well() {
    beside(|cpu, world| {
        if cpu != 0 {
            let reached = world.touch(cpu, PAGE, AccessKind::Write);
            assert!(
                [None, Some(Pa(MEMORY + PAGE)), Some(Pa(MEMORY + 7 * PAGE))].contains(&reached)
            );
            return;
        }
        world.touch(0, PAGE, AccessKind::Write);
        world.write(LEAVES + 8, 0);
        world.invalidate(0, PAGE);
        assert_eq!(world.touch(0, PAGE, AccessKind::Read), None);
        world.write(LEAVES + 8, (RAM + 7 * PAGE) | A_PAGE);
        assert_eq!(
            world.touch(0, PAGE, AccessKind::Read),
            Some(Pa(MEMORY + 7 * PAGE))
        );
    });
}

#[test]
fn a_block_that_becomes_a_table_beside_fills_ends_well() {
    beside(|cpu, world| {
        let ipa = BLOCK + PAGE;
        if cpu != 0 {
            world.touch(cpu, ipa + cpu as u64 * PAGE, AccessKind::Read);
            return;
        }
        assert_eq!(
            world.touch(0, ipa, AccessKind::Write),
            Some(Pa(MEMORY + ipa))
        );
        world.write(ROOT + 0x2008, 0);
        world.invalidate(0, BLOCK);
        world.write(ROOT + 0x2008, LEAVES | 3);
        assert_eq!(
            world.touch(0, ipa, AccessKind::Write),
            Some(Pa(MEMORY + PAGE))
        );
    });
}

#[test]
fn a_fill_beside_the_removal_of_l1s_memory_keeps_nothing_of_it() {
    beside(|cpu, world| {
        if cpu == 0 {
            world.touch(0, PAGE, AccessKind::Read);
            world.remove(0);
            assert_eq!(world.touch(0, PAGE, AccessKind::Read), None);
            assert_eq!(world.touch(0, BLOCK, AccessKind::Read), None);
        } else {
            // The canonical table has it from the first time on, so that a fill is all that is left to do.
            for _ in 0..6 {
                world.touch(cpu, PAGE, AccessKind::Write);
                world.invalidate(cpu, PAGE);
            }
            world.touch(cpu, BLOCK, AccessKind::Read);
        }
    });
}

#[test]
fn what_is_filled_beside_a_clearing_is_known_when_memory_goes() {
    beside(|cpu, world| match cpu {
        0 => world.clear(0),
        1 => {
            world.touch(1, PAGE, AccessKind::Write);
            world.touch(1, BLOCK, AccessKind::Read);
        }
        _ => {
            world.touch(2, PAGE, AccessKind::Read);
            world.remove(2);
            assert_eq!(world.touch(2, PAGE, AccessKind::Read), None);
        }
    });
}

#[test]
fn no_store_of_l2_is_missing_from_the_log_beside_its_harvest() {
    beside(|cpu, world| {
        let page = cpu as u64 * PAGE;
        if cpu == 0 {
            world.harvest(0);
        }
        assert_eq!(
            world.touch(cpu, page, AccessKind::Write),
            Some(Pa(MEMORY + page))
        );
        world.harvest(cpu);
        let reported = world.reported.lock().expect("as above");
        assert!(
            reported.contains(&(RAM + page)),
            "the page was written before it was asked for"
        );
    });
}
