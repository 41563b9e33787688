//! Faults, unmapping, logs and VMIDs of one virtual machine beside each other.

use droste_arm64::esr::Esr;
use droste_arm64::{Granule, IdRegisters, Ipa, IpaBits, Level, Pa, Va};
use droste_mmu_model::{
    Access, AccessKind, Bbm, Config, Cpu, Effect, FaultKind, Features, Model, Share, Vcpu,
};
use droste_stage2::{
    Answer, Attributes, Context, Contexts, Decision, DirtyLog, Error, Fault, Geometry, Machine,
    PageCache, Privilege, Slot, Slots, Table, VcpuId, VmidAllocator,
};

use shuttle::sync::{Arc, Mutex, RwLock};
use shuttle::thread;

use crate::{CPUS, PAGE, Shared, Supply, in_many_orders};

const RAM: u64 = 0x4000_0000;
const MEMORY: u64 = 0x1_0000_0000;
const TABLES: u64 = 0x8000_0000;
const BLOCK: u64 = 0x20_0000;

/// A virtual machine of one slot of two blocks, whose vCPUs run on as many CPUs.
struct World {
    model: Shared,
    ids: IdRegisters,
    geometry: Geometry,
    table: RwLock<Table>,
    slots: RwLock<Slots>,
    pages: Mutex<Vec<Pa>>,
    context: Context<CPUS>,
    vmids: VmidAllocator<CPUS>,
    others: Vec<Context<CPUS>>,
}

#[derive(Clone, Copy)]
enum Updates {
    Software,
    Hardware,
}

impl World {
    fn new(bbm: u64, updates: Updates) -> Arc<Self> {
        let has_updates = matches!(updates, Updates::Hardware);
        let config = Config {
            cpus: CPUS,
            pa_bits: 40,
            bbm: if bbm == 2 { Bbm::Level2 } else { Bbm::Level0 },
            features: if has_updates {
                Features::HARDWARE_AF | Features::HARDWARE_DIRTY
            } else {
                Features::NONE
            },
            ..Config::new(Pa(TABLES), 0x40)
        };
        let model = Shared(Mutex::new(Model::new(config)));
        let ids = IdRegisters {
            mmfr0: 2,
            mmfr1: if has_updates { 2 } else { 0 },
            mmfr2: bbm << 52,
            ..IdRegisters::default()
        };
        let bits = IpaBits::new(32).expect("a width");
        let geometry = Geometry::new(Granule::Kib4, bits, &ids).expect("a shape");
        for cpu in 0..CPUS {
            model.with(|model| model.set_hcr(cpu, 1 << 9 | 1 << 10));
        }
        let machine = Cpu::new(&model, 0);
        let mut table = Table::new(&machine, Pa(TABLES), geometry, &ids).expect("aligned");
        let mut slots = Slots::new(geometry);
        let slot = Slot::new(Ipa(RAM), Pa(MEMORY), 2 * BLOCK, Attributes::RAM);
        slots.add(slot).expect("the first");
        let first = Pa(TABLES + geometry.root_bytes());
        Arc::new(Self {
            model,
            ids,
            geometry,
            context: Context::new(&mut table),
            others: Vec::new(),
            table: RwLock::new(table),
            slots: RwLock::new(slots),
            pages: Mutex::new((0..30).map(|page| first + page * PAGE).collect()),
            vmids: VmidAllocator::new(),
        })
    }

    fn enter(&self, cpu: usize, vcpu: u32) {
        let machine = Cpu::new(&self.model, cpu);
        machine.set_vtcr(self.geometry.vtcr(&self.ids));
        self.context.enter(&machine, &self.vmids, cpu, VcpuId(vcpu));
        self.model.with(|model| model.enter(cpu, Vcpu::new(vcpu)));
    }

    fn supply(&self) -> Supply<'_> {
        let free = self.pages.lock().expect("no test goes on after a panic");
        Supply {
            model: &self.model,
            free,
        }
    }

    fn exit(&self, cpu: usize) {
        self.model.with(|model| model.exit(cpu));
    }

    fn contexts<R>(&self, work: impl FnOnce(&Contexts<'_, CPUS>) -> R) -> R {
        let contexts: Vec<_> = std::iter::once(&self.context).chain(&self.others).collect();
        work(&Contexts {
            vmids: &self.vmids,
            all: &contexts,
        })
    }

    /// The guest on `cpu` makes an access until it succeeds, or is no memory's.
    fn touch(&self, cpu: usize, vcpu: u32, ipa: u64, kind: AccessKind) -> bool {
        self.enter(cpu, vcpu);
        let mut pages = PageCache::new();
        let is_done = loop {
            let access = Access::new(Va(ipa), kind);
            let outcomes = self.model.with(|model| model.access(cpu, access));
            let faults = |effect: &Effect| !matches!(effect, Effect::Access { .. });
            let fault = outcomes.iter().map(|outcome| outcome.effect).find(faults);
            let Some(effect) = fault else {
                break true;
            };
            self.exit(cpu);
            let answer = self.answer(cpu, &mut pages, ipa, kind, effect);
            self.model.with(|model| model.enter(cpu, Vcpu::new(vcpu)));
            if !matches!(answer, Answer::Mapped | Answer::Relaxed | Answer::Retry) {
                break false;
            }
            thread::yield_now();
        };
        self.exit(cpu);
        pages.drain(&mut self.supply());
        is_done
    }

    fn answer(
        &self,
        cpu: usize,
        pages: &mut PageCache,
        ipa: u64,
        kind: AccessKind,
        effect: Effect,
    ) -> Answer {
        let status = match effect {
            Effect::Fault {
                kind: FaultKind::Translation,
                level,
            } => 0x04 | level as u64,
            Effect::Fault {
                kind: FaultKind::AccessFlag,
                level,
            } => 0x08 | level as u64,
            Effect::Fault {
                kind: FaultKind::Permission,
                level,
            } => 0x0c | level as u64,
            Effect::Conflict => 0x30,
            other => panic!(
                "{other:?}: {:?}",
                self.model.with(|m| m.violation().copied())
            ),
        };
        let class = if kind == AccessKind::ExecuteEl1 {
            0x20
        } else {
            0x24
        };
        let is_write = u64::from(kind == AccessKind::Write);
        let esr = Esr(class << 26 | is_write << 6 | status);
        let fault = Fault::new(esr, Ipa(ipa), Privilege::El1).expect("one for the table");
        let machine = Cpu::new(&self.model, cpu);
        let filled = pages.fill(&mut self.supply(), Ipa(ipa));
        filled.expect("there are pages for all");
        let decision = self.slots.read().expect("as above").resolve(&fault);
        let table = self.table.read().expect("as above");
        match decision {
            Decision::Refuse(answer) => answer,
            Decision::Forget => {
                table.resolve_conflict(&machine);
                Answer::Retry
            }
            Decision::Install(proposal) => {
                let sequence = self.slots.read().expect("as above").sequence();
                let installed = self.contexts(|contexts| {
                    table.install(&machine, pages, contexts, &proposal, sequence)
                });
                installed.expect("pages, and nothing in the way")
            }
        }
    }

    /// An exclusive operation and its discharge.
    fn alone(
        &self,
        cpu: usize,
        operation: impl for<'t> FnOnce(
            &'t mut Table,
            &Cpu<'_, Shared>,
            &mut Supply<'_>,
        ) -> droste_stage2::Owed<'t>,
    ) {
        let machine = Cpu::new(&self.model, cpu);
        let mut pool = self.supply();
        let mut table = self.table.write().expect("as above");
        let owed = operation(&mut table, &machine, &mut pool);
        let result: Result<(), Error> =
            self.contexts(|contexts| owed.discharge(&machine, &mut pool, contexts));
        result.expect("there are pages for all");
    }

    fn end(&self) {
        if let Some(violation) = self.model.with(|model| model.violation().copied()) {
            panic!("{violation}");
        }
        let table = self.table.read().expect("as above");
        let machine = Cpu::new(&self.model, 0);
        for (ipa, _, leaf) in table.leaves(&machine, Ipa(0), 1 << 32) {
            let slots = self.slots.read().expect("as above");
            assert!(slots.find(ipa).is_some(), "{ipa} has no slot");
            assert_eq!(leaf.output.0, ipa.0 - RAM + MEMORY);
        }
    }
}

/// Runs CPUs beside each other in many orders.
fn beside(bbm: u64, updates: Updates, cpus: fn(usize, &World)) {
    in_many_orders(move || World::new(bbm, updates), cpus, World::end);
}

const BLOCK_LEVEL: Level = Level::L2;

fn log(world: &World, cpu: usize) {
    let mut slots = world.slots.write().expect("as above");
    slots.set_log(Ipa(RAM), DirtyLog::On).expect("it is there");
    drop(slots);
    world.alone(cpu, |table, machine, _| {
        table.write_protect(machine, Ipa(RAM), 2 * BLOCK)
    });
}

#[test]
fn faults_on_one_block_and_its_neighbour_go_beside_each_other() {
    beside(0, Updates::Software, |cpu, world| {
        let ipa = RAM + cpu as u64 * PAGE;
        assert!(world.touch(cpu, cpu as u32, ipa, AccessKind::Write));
        assert!(world.touch(cpu, cpu as u32, RAM + BLOCK, AccessKind::Read));
    });
}

#[test]
fn a_fault_beside_an_unmapping_ends_well() {
    for bbm in [0, 2] {
        beside(bbm, Updates::Software, |cpu, world| {
            if cpu == 0 {
                world.alone(0, |table, machine, pool| {
                    table.unmap(machine, pool, Ipa(RAM), PAGE)
                });
            }
            assert!(world.touch(cpu, cpu as u32, RAM, AccessKind::Write));
        });
    }
}

#[test]
fn a_fault_beside_the_removal_of_its_slot_maps_nothing_of_it() {
    beside(0, Updates::Software, |cpu, world| {
        if cpu == 0 {
            world
                .slots
                .write()
                .expect("as above")
                .remove(Ipa(RAM))
                .expect("it is there");
            world.alone(0, |table, machine, pool| {
                table.unmap(machine, pool, Ipa(RAM), 2 * BLOCK)
            });
            assert!(!world.touch(0, 0, RAM, AccessKind::Read));
        } else {
            world.touch(cpu, cpu as u32, RAM + PAGE, AccessKind::Write);
        }
    });
}

#[test]
fn stores_to_one_logged_block_split_it_once() {
    for bbm in [0, 2] {
        beside(bbm, Updates::Software, |cpu, world| {
            world.touch(cpu, cpu as u32, RAM, AccessKind::Read);
            if cpu == 0 {
                log(world, 0);
            }
            assert!(world.touch(cpu, cpu as u32, RAM + cpu as u64 * PAGE, AccessKind::Write));
        });
    }
}

#[test]
fn faults_beside_splitting_and_collapsing_end_well() {
    for bbm in [0, 2] {
        beside(bbm, Updates::Software, |cpu, world| {
            assert!(world.touch(cpu, cpu as u32, RAM + PAGE, AccessKind::Write));
            if cpu == 0 {
                world.alone(0, |table, machine, pool| {
                    table.split(machine, pool, Ipa(RAM), BLOCK, Level::L3)
                });
            }
            assert!(world.touch(cpu, cpu as u32, RAM, AccessKind::ExecuteEl1));
            if cpu == 1 {
                world.alone(1, |table, machine, _| {
                    table.collapse(machine, Ipa(RAM), BLOCK, BLOCK_LEVEL, Attributes::RAM)
                });
            }
        });
    }
}

#[test]
fn no_store_is_missing_from_the_log_beside_its_harvest() {
    for updates in [Updates::Software, Updates::Hardware] {
        beside(0, updates, |cpu, world| {
            if cpu == 0 {
                log(world, 0);
            }
            let page = RAM + cpu as u64 * PAGE;
            assert!(world.touch(cpu, cpu as u32, page, AccessKind::Write));
            if cpu == 0 {
                let mut is_there = false;
                world.alone(0, |table, machine, _| {
                    table.dirty(machine, Ipa(RAM), BLOCK, |ipa, bytes| {
                        is_there |= (ipa.0..ipa.0 + bytes).contains(&page);
                    })
                });
                assert!(is_there, "the page was written before it was asked for");
            }
        });
    }
}

#[test]
fn ageing_beside_faults_ends_well() {
    beside(0, Updates::Software, |cpu, world| {
        assert!(world.touch(cpu, cpu as u32, RAM, AccessKind::Write));
        if cpu == 0 {
            let machine = Cpu::new(&world.model, 0);
            let table = world.table.read().expect("as above");
            table.age(&machine, Ipa(RAM), BLOCK).expect("a range");
            machine.dsb(droste_stage2::Dsb::Ish);
        }
        assert!(world.touch(cpu, cpu as u32, RAM + BLOCK, AccessKind::Read));
    });
}

#[test]
fn virtual_cpus_that_change_places_find_nothing_of_each_other() {
    beside(0, Updates::Software, |cpu, world| {
        for turn in 0..CPUS {
            // Each CPU runs vCPUs of its own, in turn.
            let vcpu = (cpu * CPUS + turn) as u32;
            assert!(world.touch(cpu, vcpu, RAM, AccessKind::Read));
        }
    });
}

#[test]
fn vmids_that_run_out_beside_an_unmapping_mean_one_table_each() {
    beside(0, Updates::Software, |cpu, world| match cpu {
        0 => {
            let mut idle = Vec::new();
            let machine = Cpu::new(&world.model, 0);
            let narrow = world.geometry;
            let root = Pa(TABLES + 0x3c000);
            let mut table = Table::new(&machine, root, narrow, &world.ids).expect("aligned");
            machine.set_vtcr(narrow.vtcr(&world.ids));
            for _ in 0..260 {
                let context = Context::<CPUS>::new(&mut table);
                context.enter(&machine, &world.vmids, 0, VcpuId(0));
                idle.push(context);
            }
            world.model.with(|model| model.enter(0, Vcpu::new(0)));
            world.exit(0);
        }
        1 => {
            assert!(world.touch(1, 1, RAM, AccessKind::Write));
            world.alone(1, |table, machine, pool| {
                table.unmap(machine, pool, Ipa(RAM), PAGE)
            });
            assert!(world.touch(1, 1, RAM, AccessKind::Write));
        }
        _ => assert!(world.touch(2, 2, RAM, AccessKind::Write)),
    });
}
