//! The state of a nested run: L1's memory, the pool of contexts and what holds them, CPUs and who is inside.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::replace;

use droste_arm64::{IdRegisters, Ipa, Vttbr};
use droste_mmu_model::{Cpu, Model};
use droste_nested::pool::{Entry, Place, Pool};
use droste_nested::reverse_map::{Owner, Record, ReverseMap};
use droste_nested::{Advertised, Changes, Composed, Shadow, StageTwoRegisters, Ticket};
use droste_stage2::{Context, Contexts, Fault, Geometry, Slots, Table, VmidAllocator};

use crate::choices::Choices;
use crate::failure::{Problem, Report};
use crate::nested::operation::Step;
use crate::nested::run::judge::VirtualHardware;
use crate::nested::run::{Lapse, Sabotage};
use crate::nested::world::{CANONICAL_PAGES, ROOT_BYTES, World};
use crate::sabotage::Hindered;
use crate::stage2::world::{HCR, MAX_CPUS};
use crate::supply::{Apart, Stock};

pub(super) type Hands<'m> = Hindered<'m, Cpu<'m>>;
pub(super) type Supply<'m> = Stock<'m>;

/// Who is inside on a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Inside {
    pub(super) space: usize,
    pub(super) place: Place,
    pub(super) vcpu: u32,
}

/// A fill that is decided and not done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) ticket: Ticket,
    pub(super) fault: Fault,
    pub(super) composed: Composed,
    /// Changes until then of anything that could make it stale.
    pub(super) changes: u64,
}

/// One CPU.
#[derive(Default)]
pub(super) struct OneCpu {
    pub(super) inside: Option<Inside>,
    pub(super) pending: Option<Pending>,
}

/// What is at a place.
pub(super) enum Holder {
    Nothing,
    Shadow(Box<Shadow<MAX_CPUS>>),
    /// A context of the canonical table.
    Canonical(Box<Context<MAX_CPUS>>),
}

impl Holder {
    pub(super) fn context(&self) -> Option<&Context<MAX_CPUS>> {
        match self {
            Self::Nothing => None,
            Self::Shadow(shadow) => Some(shadow.context()),
            Self::Canonical(context) => Some(context),
        }
    }
}

/// L1's memory.
pub(super) struct Canonical<'m> {
    pub(super) table: Table,
    /// That of virtual EL2 itself.
    own: Context<MAX_CPUS>,
    pub(super) slots: Slots,
    pub(super) supply: Supply<'m>,
}

impl<'m> Canonical<'m> {
    /// What an operation of the table needs, borrowed apart.
    pub(super) fn with_contexts<R>(
        &mut self,
        places: &[Holder],
        vmids: &VmidAllocator<MAX_CPUS>,
        work: impl FnOnce(&mut Table, &mut Supply<'m>, &Slots, &Contexts<'_, MAX_CPUS>) -> R,
    ) -> R {
        let mut contexts = vec![&self.own];
        for holder in places {
            if let Holder::Canonical(context) = holder {
                contexts.push(context);
            }
        }
        let contexts = Contexts {
            vmids,
            all: &contexts,
            smmus: &[],
        };
        work(&mut self.table, &mut self.supply, &self.slots, &contexts)
    }
}

pub(super) struct Run<'m> {
    pub(super) world: &'m World,
    pub(super) ids: IdRegisters,
    pub(super) advertised: Advertised,
    pub(super) host: &'m RefCell<Model>,
    pub(super) hardware: VirtualHardware<'m>,
    sabotage: Sabotage,
    skipped: &'m Cell<u64>,
    pub(super) geometry: Geometry,
    pub(super) vmids: Box<VmidAllocator<MAX_CPUS>>,
    pub(super) canonical: Canonical<'m>,
    /// Pages for shadows.
    pub(super) supply: Supply<'m>,
    pub(super) contexts: Pool<Vec<Entry>>,
    pub(super) places: Vec<Holder>,
    /// What each was entered under last.
    pub(super) entered: Vec<Option<Vttbr>>,
    /// The table of another virtual machine.
    pub(super) neighbour: Table,
    pub(super) reverse_map: ReverseMap<Vec<Record>, Vec<Owner>>,
    pub(super) changes: Changes,
    /// How often anything was taken from shadows or from L1.
    pub(super) taken: u64,
    pub(super) cpus: Vec<OneCpu>,
    /// Where stage 1 of each of L1's guests leads pages that were looked at or changed.
    pub(super) maps: BTreeMap<(usize, u64), Ipa>,
    /// Pages of L1's memory that L2 stored to since they were last reported.
    pub(super) written: BTreeSet<u64>,
    pub(super) luck: Choices<'static>,
    pub(super) report: Report,
}

impl<'m> Run<'m> {
    pub(super) fn new(
        world: &'m World,
        (host, hardware): (&'m RefCell<Model>, &'m RefCell<Model>),
        sabotage: Sabotage,
        skipped: &'m Cell<u64>,
    ) -> Self {
        let (ids, geometry) = (world.machine.ids(), world.geometry());
        for cpu in 0..=world.looker() {
            host.borrow_mut().set_hcr(cpu, HCR);
        }
        let (root, places) = (World::root(None), usize::from(world.places));
        host.borrow_mut().claim(root, ROOT_BYTES);
        let machine = Cpu::new(host, 0);
        let table = |root| Table::new(&machine, root, geometry, &ids).expect("roots are aligned");
        host.borrow_mut().claim(world.neighbours_root(), ROOT_BYTES);
        let (mut table, neighbour) = (table(root), table(world.neighbours_root()));
        let (for_canonical, for_shadows) = world.supplies();
        let apart = Apart::of(world.machine.seed);
        let pages = |first, count| Stock::new(host, first, count, geometry, apart);
        let vmids = Box::new(VmidAllocator::new());
        vmids.widen(ids.vmid_bits());
        Self {
            world,
            advertised: world.advertised(),
            host,
            hardware: VirtualHardware::new(hardware),
            sabotage,
            skipped,
            geometry,
            vmids,
            canonical: Canonical {
                own: Context::new(&mut table),
                table,
                slots: Slots::new(geometry),
                supply: pages(for_canonical, CANONICAL_PAGES),
            },
            supply: pages(for_shadows, world.pages),
            contexts: Pool::new(vec![Entry::UNUSED; places]),
            places: (0..places).map(|_| Holder::Nothing).collect(),
            entered: vec![None; places],
            neighbour,
            reverse_map: ReverseMap::new(
                vec![Record::UNUSED; world.records.into()],
                vec![Owner::UNUSED; places],
            ),
            changes: Changes::new(),
            taken: 0,
            cpus: (0..world.machine.cpus).map(|_| OneCpu::default()).collect(),
            maps: BTreeMap::new(),
            written: BTreeSet::new(),
            luck: Choices::seeded(world.machine.seed),
            report: Report::default(),
            ids,
        }
    }

    /// Decisions of a step depend on the step itself, so that removing others around it changes little.
    pub(super) fn begin(&mut self, step: &Step) {
        let mut hash = self.world.machine.seed ^ 0xcbf2_9ce4_8422_2325;
        for byte in step.to_string().bytes() {
            hash = (hash ^ u64::from(byte))
                .wrapping_mul(0x0100_0000_01b3)
                .rotate_left(23);
        }
        self.luck = Choices::seeded(hash);
    }

    pub(super) fn lapses(&self, lapse: Lapse) -> bool {
        self.sabotage == Sabotage::Hypervisor(lapse)
    }

    pub(super) fn hands(&self, cpu: usize) -> Hands<'m> {
        let sabotage = match self.sabotage {
            Sabotage::Machine(sabotage) => sabotage,
            _ => crate::Sabotage::None,
        };
        Hindered::new(Cpu::new(self.host, cpu), sabotage, self.skipped)
    }

    /// Brings the CPU to EL2 for `work`, and back into L2 if it was there.
    pub(super) fn at_el2<R>(
        &mut self,
        cpu: usize,
        work: impl FnOnce(&mut Self, &Hands<'m>) -> R,
    ) -> R {
        let hands = self.hands(cpu);
        (self.supply.cpu, self.canonical.supply.cpu) = (cpu, cpu);
        let Some(inside) = self.cpus[cpu].inside else {
            return work(self, &hands);
        };
        self.host.borrow_mut().exit(cpu);
        let result = work(self, &hands);
        self.host.borrow_mut().enter(cpu, self.vcpu(inside));
        result
    }

    pub(super) fn registers(&self, space: usize) -> StageTwoRegisters {
        let spaces = &self.world.spaces;
        let order = self.hardware.order();
        self.world.registers(spaces[space % spaces.len()], order)
    }

    /// Everybody leaves, everything is freed.
    pub(super) fn finish(mut self) -> Result<Report, Problem> {
        self.drop_memory(0)?;
        self.probe_all()?;
        for cpu in 0..self.cpus.len() {
            self.leave(cpu);
        }
        let hands = self.hands(0);
        for place in self.contexts.places().collect::<Vec<_>>() {
            let holder = replace(&mut self.places[place.index()], Holder::Nothing);
            self.retire(&hands, place, holder);
        }
        let (left, records) = (self.supply.left(), self.reverse_map.used());
        let canonical = self.canonical.supply.left();
        if (left, canonical, records) != (self.world.pages, CANONICAL_PAGES, 0) {
            return Err(Problem::Oracle {
                rule: "all pages and records come back",
                detail: format!("{left} and {canonical} pages are there, {records} records in use"),
            });
        }
        self.host
            .borrow_mut()
            .release(World::root(None), ROOT_BYTES);
        self.violation_found()?;
        self.report.rollovers = self.vmids.rollovers();
        self.report.verbs = self.host.borrow().steps();
        self.canonical.own.retire(&mut self.canonical.table);
        Ok(self.report)
    }

    pub(super) fn violation_found(&self) -> Result<(), Problem> {
        match self.host.borrow().violation() {
            None => Ok(()),
            Some(violation) => Err(Problem::Violation(*violation)),
        }
    }
}
