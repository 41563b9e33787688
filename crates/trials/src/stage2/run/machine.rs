//! The state of a run: CPUs and who is inside, virtual machines, contexts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use droste_arm64::tlbi::Tlbi;
use droste_arm64::{IdRegisters, Pa};
use droste_mmu_model::{Cpu, Model, Vcpu};
use droste_stage2::{
    Context, Contexts, Dsb, Geometry, Machine, PageCache, Proposal, Regime, Slots, Table, VcpuId,
    VmidAllocator, under,
};

use crate::choices::Choices;
use crate::failure::Report;
use crate::sabotage::{Hindered, Sabotage};
use crate::stage2::operation::Step;
use crate::stage2::oracle::{Marks, Oracle};
use crate::stage2::world::{Feature, HCR, MAX_CPUS, World};
use crate::supply::{Apart, Stock};

/// vCPUs' numbers that programs do not use.
const IDLE_VCPU: u32 = 1000;
const MAX_CONTEXTS: usize = 4;

pub(super) type Hands<'m> = Hindered<'m, Cpu<'m>>;

/// Who is inside on a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Inside {
    pub(super) vm: usize,
    pub(super) context: usize,
    pub(super) vcpu: u32,
}

/// A fault whose answer is decided, and of whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decided {
    pub(super) inside: Inside,
    pub(super) proposal: Proposal,
    /// Changes of the slots until then.
    pub(super) changes: u64,
    pub(super) ipa: droste_arm64::Ipa,
    pub(super) kind: droste_mmu_model::AccessKind,
}

pub(super) struct Vm<'m> {
    pub(super) geometry: Geometry,
    pub(super) table: Table,
    pub(super) slots: Slots,
    /// How often the slots have changed.
    pub(super) changes: u64,
    pub(super) contexts: Vec<Context<MAX_CPUS>>,
    pub(super) supply: Stock<'m>,
    /// One per CPU.
    pub(super) caches: Vec<PageCache>,
    pub(super) oracle: Oracle,
    pub(super) quota: u64,
}

pub(super) struct Run<'m> {
    pub(super) world: &'m World,
    pub(super) ids: IdRegisters,
    pub(super) model: &'m RefCell<Model>,
    sabotage: Sabotage,
    skipped: &'m Cell<u64>,
    pub(super) vmids: Box<VmidAllocator<MAX_CPUS>>,
    pub(super) vms: Vec<Vm<'m>>,
    /// An idle virtual machine, whose contexts come and go.
    neighbour: Table,
    pub(super) places: Vec<Option<Inside>>,
    pub(super) pending: Vec<Option<Decided>>,
    /// Where virtual pages of each stage-1 map lead, where not to the same address.
    pub(super) stage1: BTreeMap<(u32, u64), u64>,
    pub(super) luck: Choices<'static>,
    pub(super) report: Report,
}

impl<'m> Run<'m> {
    /// # Panics
    /// If the world cannot be.
    pub(super) fn new(
        world: &'m World,
        model: &'m RefCell<Model>,
        sabotage: Sabotage,
        skipped: &'m Cell<u64>,
    ) -> Self {
        let ids = world.ids();
        let hands = |cpu| Hindered::new(Cpu::new(model, cpu), sabotage, skipped);
        for cpu in 0..usize::from(world.cpus) {
            model.borrow_mut().set_hcr(cpu, HCR);
        }
        let (rooms, _) = world.rooms();
        let marks = if world.has(Feature::DirtyState) {
            Marks::Hardware
        } else {
            Marks::Software
        };
        let table = |root: Pa, geometry: Geometry| {
            model.borrow_mut().claim(root, geometry.root_bytes());
            Table::new(&hands(0), root, geometry, &ids).expect("rooms are aligned to their root")
        };
        let vms: Vec<_> = world
            .vms
            .iter()
            .zip(&rooms)
            .map(|(shape, room)| {
                let geometry = shape.geometry(&ids).expect("the world was checked");
                let mut table = table(room.root, geometry);
                let contexts = (0..shape.contexts)
                    .map(|_| Context::new(&mut table))
                    .collect();
                let apart = Apart::of(world.seed);
                Vm {
                    geometry,
                    table,
                    slots: Slots::new(geometry),
                    changes: 0,
                    contexts,
                    supply: Stock::new(model, room.pages, shape.quota, geometry, apart),
                    caches: (0..world.cpus).map(|_| PageCache::new()).collect(),
                    oracle: Oracle::new(geometry, marks),
                    quota: shape.quota,
                }
            })
            .collect();
        let idle = rooms.last().expect("a room for the neighbour");
        // A root of one page, whatever the machine can do.
        let narrow = droste_arm64::IpaBits::MIN;
        let shape = Geometry::new(droste_arm64::Granule::Kib64, narrow, &ids)
            .and_then(|shape| shape.starting_at(droste_arm64::Level::L2, &ids));
        let neighbour = table(idle.root, shape.expect("every world has 64 KiB pages"));
        let vmids = Box::new(VmidAllocator::new());
        vmids.widen(ids.vmid_bits());
        Self {
            world,
            ids,
            model,
            sabotage,
            skipped,
            vmids,
            vms,
            neighbour,
            places: vec![None; usize::from(world.cpus)],
            pending: vec![None; usize::from(world.cpus)],
            stage1: BTreeMap::new(),
            luck: Choices::seeded(world.seed),
            report: Report::default(),
        }
    }

    /// Decisions of a step depend on the step itself, so that removing others around it changes little.
    pub(super) fn begin(&mut self, step: &Step) {
        let mut hash = self.world.seed ^ 0xcbf2_9ce4_8422_2325;
        let text = [
            u64::from(step.cpu),
            u64::from(step.vm),
            step.operation.number(),
            step.operation.address(),
        ];
        for word in text {
            hash = (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        self.luck = Choices::seeded(hash);
    }

    pub(super) fn hands(&self, cpu: usize) -> Hands<'m> {
        Hindered::new(Cpu::new(self.model, cpu), self.sabotage, self.skipped)
    }

    /// Brings the CPU to EL2 for `work`, and back into the guest that it was in.
    pub(super) fn at_el2<R>(
        &mut self,
        cpu: usize,
        work: impl FnOnce(&mut Self, &Hands<'m>) -> R,
    ) -> R {
        let hands = self.hands(cpu);
        self.vms.iter_mut().for_each(|vm| vm.supply.cpu = cpu);
        let Some(inside) = self.places[cpu] else {
            return work(self, &hands);
        };
        self.model.borrow_mut().exit(cpu);
        let result = work(self, &hands);
        let vcpu = self.vcpu(inside);
        self.model.borrow_mut().enter(cpu, vcpu);
        result
    }

    /// A vCPU as the model knows it. With stage 1, the second of each pair has a map of its own; all use one
    /// ASID.
    pub(super) fn vcpu(&self, inside: Inside) -> Vcpu {
        Vcpu {
            number: inside.vcpu,
            asid: 1,
            space: self.space(inside),
        }
    }

    pub(super) fn space(&self, inside: Inside) -> Option<u32> {
        let has_own = self.world.has(Feature::Stage1) && inside.vcpu % 2 == 1;
        has_own.then_some(inside.vm as u32 * 16 + inside.vcpu)
    }

    /// A vCPU enters here under a context; it leaves the CPU where it was.
    pub(super) fn enter(&mut self, cpu: usize, vm: usize, context: usize, vcpu: u32) -> Inside {
        let vcpu = vcpu % u32::from(self.world.vms[vm].vcpus);
        let context = context % self.vms[vm].contexts.len();
        let inside = Inside { vm, context, vcpu };
        self.report.operations += 1;
        self.leave(cpu);
        let before = self
            .places
            .iter()
            .position(|place| place.is_some_and(|place| place.vm == vm && place.vcpu == vcpu));
        if let Some(before) = before {
            self.leave(before);
        }
        let hands = self.hands(cpu);
        let machine = &self.vms[vm];
        let vtcr = machine.geometry.vtcr(&self.ids).0;
        if self.model.borrow().vtcr(cpu) != vtcr {
            self.model.borrow_mut().set_vtcr(cpu, vtcr);
        }
        machine.contexts[context].enter(&hands, &self.vmids, cpu, VcpuId(vcpu));
        self.places[cpu] = Some(inside);
        let vcpu = self.vcpu(inside);
        self.model.borrow_mut().enter(cpu, vcpu);
        inside
    }

    /// The CPU leaves its guest.
    pub(super) fn leave(&mut self, cpu: usize) {
        if self.places[cpu].take().is_some() {
            self.model.borrow_mut().exit(cpu);
        }
        self.pending[cpu] = None;
    }

    /// Whoever of a virtual machine is inside on a CPU; its first free vCPU enters where nobody is.
    pub(super) fn ensure_inside(&mut self, cpu: usize, vm: usize) -> Inside {
        match self.places[cpu] {
            Some(inside) if inside.vm == vm => inside,
            _ => {
                let is_free = |vcpu: &u32| {
                    let taken = |place: &Inside| place.vm == vm && place.vcpu == *vcpu;
                    !self.places.iter().flatten().any(taken)
                };
                let free = (0..u32::from(self.world.vms[vm].vcpus)).find(is_free);
                self.enter(cpu, vm, cpu, free.unwrap_or(0))
            }
        }
    }

    pub(super) fn new_context(&mut self, vm: usize) {
        let vm = &mut self.vms[vm];
        if vm.contexts.len() < MAX_CONTEXTS {
            vm.contexts.push(Context::new(&mut vm.table));
            self.report.operations += 1;
        }
    }

    pub(super) fn retire(&mut self, vm: usize, context: usize) {
        let last = self.vms[vm].contexts.len() - 1;
        if last == 0 {
            return;
        }
        let context = context % (last + 1);
        for cpu in 0..self.places.len() {
            let is_inside =
                |place: &Inside| place.vm == vm && [context, last].contains(&place.context);
            if self.places[cpu].as_ref().is_some_and(is_inside) {
                self.leave(cpu);
            }
            if self.pending[cpu].is_some_and(|decided| is_inside(&decided.inside)) {
                self.pending[cpu] = None;
            }
        }
        self.forget(vm, context);
        let machine = &mut self.vms[vm];
        machine
            .contexts
            .swap_remove(context)
            .retire(&mut machine.table);
        self.report.operations += 1;
    }

    /// Invalidates what a context has in TLBs. No rule asks for it; but the model judges each VMID that has entries as
    /// if it might run again.
    pub(super) fn forget(&mut self, vm: usize, context: usize) {
        let cpu = self.places.iter().position(Option::is_none).unwrap_or(0);
        self.at_el2(cpu, |run, hands| {
            let machine = &run.vms[vm];
            let vtcr = machine.geometry.vtcr(&run.ids);
            if let Some(vttbr) = run.vmids.live(&machine.contexts[context]) {
                under(hands, Regime { vtcr, vttbr }, || {
                    hands.tlbi(Tlbi::Vmalls12e1is);
                    hands.dsb(Dsb::Ish);
                });
            }
        });
    }

    /// `count` contexts of the idle virtual machine run here one after the other, and end.
    pub(super) fn pressure(&mut self, cpu: usize, count: u16) {
        self.leave(cpu);
        let hands = self.hands(cpu);
        let vtcr = self.neighbour.geometry().vtcr(&self.ids).0;
        self.model.borrow_mut().set_vtcr(cpu, vtcr);
        for _ in 0..count {
            let context = Context::new(&mut self.neighbour);
            context.enter(&hands, &self.vmids, cpu, VcpuId(IDLE_VCPU));
            self.model.borrow_mut().enter(cpu, Vcpu::new(IDLE_VCPU));
            self.model.borrow_mut().exit(cpu);
            context.retire(&mut self.neighbour);
            self.report.operations += 1;
        }
    }
}

impl<'m> Vm<'m> {
    /// Its contexts and what else an operation of the table needs, borrowed apart.
    pub(super) fn with_contexts<R>(
        &mut self,
        vmids: &VmidAllocator<MAX_CPUS>,
        work: impl FnOnce(&mut Table, &mut Stock<'m>, &Contexts<'_, MAX_CPUS>) -> R,
    ) -> R {
        let mut contexts: [&Context<MAX_CPUS>; MAX_CONTEXTS] = [&self.contexts[0]; MAX_CONTEXTS];
        let count = self.contexts.len();
        for (place, context) in contexts.iter_mut().zip(&self.contexts) {
            *place = context;
        }
        let contexts = Contexts {
            vmids,
            all: &contexts[..count],
            smmus: &[],
        };
        work(&mut self.table, &mut self.supply, &contexts)
    }
}
