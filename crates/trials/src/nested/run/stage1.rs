//! Stage 1 of L2: where its pages lead, on the machine and on the hardware that L1 believes to run on, and how entries
//! of it go at L1's word.
//!
//! L1's guests have an address space each, all their vCPUs the same, and two guests have one ASID. Pages are flat
//! until a program says otherwise.

use droste_arm64::{Ipa, Va};
use droste_mmu_model::{Form, Scope, Stage1Entry, Tagging, Tlbi, Vcpu};
use droste_nested::pool::{Key, Place};
use droste_nested::tlbi::{Asids, Entries, StageOne};
use droste_stage2::{Dsb, Machine as _, Regime, under};

use crate::nested::run::hypervisor::{Hands, Inside, Run};
use crate::nested::world::World;
use crate::stage2::world::{Feature, MAX_CPUS};

const PAGE: u64 = 4096;

impl<'m> Run<'m> {
    /// The space of L2's stage 1; `None` while that is off. It is off where L1's stage 2 is: L1's hardware is a model of
    /// stage 2, and could not judge it.
    fn stage1_space(&self, inside: Inside) -> Option<u32> {
        let is_on = self.world.machine.has(Feature::Stage1) && self.registers(inside.space).is_on();
        is_on.then_some(inside.space as u32)
    }

    /// A vCPU on the machine. Who runs another guest of L1's is another one.
    pub(super) fn vcpu(&self, inside: Inside) -> Vcpu {
        if !self.world.machine.has(Feature::Stage1) {
            return Vcpu::new(inside.vcpu);
        }
        let stage1 = self.stage1_space(inside).map(stage1_of);
        Vcpu {
            number: (inside.space * MAX_CPUS) as u32 + inside.vcpu,
            ..stage1.unwrap_or(Vcpu::new(0))
        }
    }

    /// It on the hardware that L1 believes to run on.
    pub(super) fn virtual_vcpu(&self, inside: Inside) -> Vcpu {
        self.stage1_space(inside).map_or(Vcpu::new(0), stage1_of)
    }

    /// Whether no guest with another table has its VMID. Where one has, which is an error of L1's, hardware takes the
    /// other's stage 1 with what L2 invalidates itself, and shadows do not.
    pub(super) fn has_vmid_alone(&self, inside: Inside) -> bool {
        let key = |space| Key::new(&self.registers(space), &self.advertised);
        let own = key(inside.space);
        let others = (0..self.world.spaces.len()).map(key);
        let mut others = others.filter(|other| other.has_table() && other.vmid() == own.vmid());
        self.stage1_space(inside).is_none() || others.all(|other| other == own)
    }

    /// L2 has run there too, up to now.
    pub(super) fn run_virtually(&self, inside: Inside) {
        if self.stage1_space(inside).is_some() {
            let registers = self.registers(inside.space);
            self.hardware.run(&registers, self.virtual_vcpu(inside));
        }
    }

    /// Everybody who is inside has run up to now.
    pub(super) fn run_all_virtually(&self) {
        for inside in self.cpus.iter().filter_map(|cpu| cpu.inside) {
            self.run_virtually(inside);
        }
    }

    /// Where stage 1 of L2 leads.
    pub(super) fn look_up(&mut self, inside: Inside, va: Va) -> Ipa {
        let page = va.align_down(PAGE);
        let to = match self.stage1_space(inside) {
            None => Ipa(page.0),
            Some(space) => match self.maps.get(&(inside.space, page.0)) {
                Some(to) => *to,
                None => self.map(space, page, Ipa(page.0), Tagging::PerAsid),
            },
        };
        Ipa(to.0 | va.0 & (PAGE - 1))
    }

    fn map(&mut self, space: u32, page: Va, to: Ipa, tagging: Tagging) -> Ipa {
        let entry = Stage1Entry { ipa: to, tagging };
        self.maps.insert((space as usize, page.0), to);
        self.host.borrow_mut().stage1_map(space, page, entry);
        self.hardware.stage1(space, page, entry);
        to
    }

    /// L2 has a page lead elsewhere. Whoever is inside may have an entry of what was there.
    pub(super) fn stage1(&mut self, cpu: usize, va: Va, to: Ipa, tagging: Tagging) {
        let inside = self.ensure_inside(cpu);
        let Some(space) = self.stage1_space(inside) else {
            return;
        };
        self.report.operations += 1;
        self.look_up(inside, va);
        self.run_all_virtually();
        self.map(space, va.align_down(PAGE), to.align_down(PAGE), tagging);
    }

    /// Takes stage-1 entries of the context at a place, for L1.
    pub(super) fn forget_stage1(
        &mut self,
        (cpu, hands): (usize, &Hands<'m>),
        place: Place,
        of: StageOne,
    ) {
        let context = self.places[place.index()].context();
        let Some(vttbr) = context.and_then(|context| self.vmids.live(context)) else {
            return;
        };
        let vtcr = self.geometry.vtcr(&self.ids);
        let has_ranges = self.world.machine.has(Feature::TlbiRange);
        let tlbi = match of {
            // L1 can be shown what the machine lacks.
            StageOne::Range { .. } if !has_ranges => instruction(StageOne::All),
            of => instruction(of),
        };
        under(hands, Regime { vtcr, vttbr }, || {
            self.host.borrow_mut().tlbi(cpu, tlbi);
        });
        hands.dsb(Dsb::Ish);
    }
}

/// A vCPU of number `space` in the space of that number.
fn stage1_of(space: u32) -> Vcpu {
    Vcpu {
        number: space,
        asid: World::asid(space as usize),
        space: Some(space),
    }
}

/// What takes these entries on hardware.
const fn instruction(of: StageOne) -> Tlbi {
    use Form::{Rvaae1, Rvaale1, Rvae1, Rvale1, Vaae1, Vaale1, Vae1, Vale1};
    let (form, operand) = match of {
        StageOne::All => (Form::Vmalle1, 0),
        StageOne::Asid { operand } => (Form::Aside1, operand),
        StageOne::Address {
            entries,
            asids,
            operand,
        } => match (entries, asids) {
            (Entries::Any, Asids::One) => (Vae1, operand),
            (Entries::Last, Asids::One) => (Vale1, operand),
            (Entries::Any, Asids::All) => (Vaae1, operand),
            (Entries::Last, Asids::All) => (Vaale1, operand),
        },
        StageOne::Range {
            entries,
            asids,
            operand,
        } => match (entries, asids) {
            (Entries::Any, Asids::One) => (Rvae1, operand),
            (Entries::Last, Asids::One) => (Rvale1, operand),
            (Entries::Any, Asids::All) => (Rvaae1, operand),
            (Entries::Last, Asids::All) => (Rvaale1, operand),
        },
    };
    Tlbi::new(form, Scope::Inner, operand)
}
