//! Contexts of L2: who enters which, under what number, and what becomes of a place when it is another's.

use std::mem::replace;

use droste_arm64::tlbi::Tlbi;
use droste_mmu_model::Vcpu;
use droste_nested::pool::{Grant, Key, Place};
use droste_nested::{Host, Shadow, StageTwo};
use droste_stage2::{Context, Dsb, Machine, Regime, VcpuId, under};

use crate::nested::run::Lapse;
use crate::nested::run::hypervisor::{Hands, Holder, Inside, OneCpu, Run, Supply};
use crate::nested::world::{ROOT_BYTES, World};
use crate::stage2::world::MAX_CPUS;

impl<'m> Run<'m> {
    /// A vCPU enters one of L1's guests here; it leaves the CPU where it was.
    pub(super) fn enter(&mut self, cpu: usize, space: usize, vcpu: u32) {
        let space = space % self.world.spaces.len();
        let vcpu = vcpu % u32::from(self.world.machine.cpus);
        self.report.operations += 1;
        self.leave(cpu);
        let is_it = |one: &OneCpu| one.inside.is_some_and(|inside| inside.vcpu == vcpu);
        if let Some(before) = self.cpus.iter().position(is_it) {
            self.leave(before);
        }
        let place = self.context(cpu, space);
        let hands = self.hands(cpu);
        self.load_vtcr(&hands);
        let context = self.places[place.index()].context();
        let context = context.expect("it was made");
        let vttbr = context.enter(&hands, &self.vmids, cpu, VcpuId(vcpu));
        match self.entered[place.index()].replace(vttbr) {
            Some(before) if self.lapses(Lapse::Number) => {
                hands.set_vttbr(before);
                self.entered[place.index()] = Some(before);
            }
            _ => {}
        }
        let inside = Inside { space, place, vcpu };
        self.cpus[cpu].inside = Some(inside);
        self.host.borrow_mut().enter(cpu, self.vcpu(inside));
    }

    fn load_vtcr(&self, hands: &Hands<'m>) {
        let vtcr = self.geometry.vtcr(&self.ids);
        if hands.vtcr() != vtcr {
            hands.set_vtcr(vtcr);
        }
    }

    /// `count` contexts of another virtual machine run one after the other, on a CPU of its own, and end.
    pub(super) fn pressure(&mut self, count: u16) {
        let cpu = self.world.looker();
        let hands = self.hands(cpu);
        self.load_vtcr(&hands);
        for _ in 0..count {
            let context = Context::new(&mut self.neighbour);
            context.enter(&hands, &self.vmids, cpu, VcpuId(0));
            self.host.borrow_mut().enter(cpu, Vcpu::new(0));
            self.host.borrow_mut().exit(cpu);
            context.retire(&mut self.neighbour);
            self.report.operations += 1;
        }
    }

    /// The CPU leaves L2.
    pub(super) fn leave(&mut self, cpu: usize) {
        self.cpus[cpu].pending = None;
        if let Some(inside) = self.cpus[cpu].inside.take() {
            self.run_virtually(inside);
            self.host.borrow_mut().exit(cpu);
            self.contexts.release(inside.place);
        }
    }

    /// Whoever is inside on a CPU; somebody enters where nobody is.
    pub(super) fn ensure_inside(&mut self, cpu: usize) -> Inside {
        if self.cpus[cpu].inside.is_none() {
            self.enter(cpu, 0, cpu as u32);
        }
        self.cpus[cpu].inside.expect("it has entered")
    }

    /// The context of a guest, with one more user.
    fn context(&mut self, cpu: usize, space: usize) -> Place {
        let registers = self.registers(space);
        let key = Key::new(&registers, &self.advertised);
        let grant = self.contexts.acquire(key);
        let grant = grant.expect("there are as many places as CPUs");
        let place = grant.place();
        let format = match StageTwo::new(&registers, &self.advertised) {
            StageTwo::Off => None,
            StageTwo::On(walker) => Some(walker.format()),
        };
        let hands = self.hands(cpu);
        if let Grant::Reused { .. } = grant {
            self.empty(&hands, place);
        }
        let is_known = matches!(grant, Grant::Known(_));
        let (index, geometry) = (place.index(), self.geometry);
        let before = replace(&mut self.places[index], Holder::Nothing);
        self.places[index] = match (before, format) {
            (before, _) if is_known => before,
            (Holder::Shadow(mut shadow), Some(format)) => {
                shadow.rededicate(format);
                Holder::Shadow(shadow)
            }
            (before, format) => {
                self.retire(&hands, place, before);
                let root = World::root(Some(index));
                match format {
                    None => Holder::Canonical(Box::new(Context::new(&mut self.canonical.table))),
                    Some(format) => {
                        self.host.borrow_mut().claim(root, ROOT_BYTES);
                        let shadow = Shadow::new(&hands, root, geometry, &self.ids, format);
                        Holder::Shadow(Box::new(shadow.expect("roots are aligned")))
                    }
                }
            }
        };
        place
    }

    /// Takes all from the shadow at a place, if there is one.
    pub(super) fn empty(&mut self, hands: &Hands<'m>, place: Place) {
        self.taken += 1;
        self.with_shadow(hands, place, Shadow::clear);
        self.reverse_map.forget(place);
    }

    /// Does something with the shadow at a place, if there is one.
    pub(super) fn with_shadow<R>(
        &mut self,
        hands: &Hands<'m>,
        place: Place,
        act: impl FnOnce(
            &mut Shadow<MAX_CPUS>,
            &mut Host<'_, Hands<'m>, Supply<'m>, MAX_CPUS>,
        ) -> Result<R, droste_stage2::Error>,
    ) -> Option<R> {
        let Holder::Shadow(shadow) = &mut self.places[place.index()] else {
            return None;
        };
        let mut host = Host {
            machine: hands,
            supply: &mut self.supply,
            vmids: &self.vmids,
        };
        Some(act(shadow, &mut host).expect("it needs no page, and breaks no rule"))
    }

    /// Ends what was at a place. Its VMID's entries are invalidated; no rule asks for it, but the model judges each VMID
    /// that has entries as if it might run again.
    pub(super) fn retire(&mut self, hands: &Hands<'m>, place: Place, holder: Holder) {
        self.entered[place.index()] = None;
        if let Some(vttbr) = holder
            .context()
            .and_then(|context| self.vmids.live(context))
        {
            let vtcr = self.geometry.vtcr(&self.ids);
            under(hands, Regime { vtcr, vttbr }, || {
                hands.tlbi(Tlbi::Vmalls12e1is);
                hands.dsb(Dsb::Ish);
            });
        }
        match holder {
            Holder::Nothing => {}
            Holder::Canonical(context) => context.retire(&mut self.canonical.table),
            Holder::Shadow(shadow) => {
                let mut host = Host {
                    machine: hands,
                    supply: &mut self.supply,
                    vmids: &self.vmids,
                };
                let root = shadow.retire(&mut host).expect("it needs no page");
                self.host.borrow_mut().release(root, ROOT_BYTES);
                self.reverse_map.forget(place);
            }
        }
    }
}
