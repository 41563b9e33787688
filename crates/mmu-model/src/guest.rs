//! Entering and leaving guests: which table a CPU walks, under which VMID, for which vCPU.

use droste_arm64::Va;

use crate::config::{CpuSet, Features, Space, Speculation, Stage1};
use crate::cpu::{Occupied, Vcpu};
use crate::ghost::Ghost;
use crate::model::{By, Model};
use crate::regime::{RegisterFault, Shape, vmid};
use crate::stage1::Stage1Entry;
use crate::tag::{Residence, Residue};
use crate::trace::Verb;
use crate::violation::Rule;

/// What VTTBR_EL2 and VTCR_EL2 of a CPU mean together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadedContext {
    shape: Shape,
    root: u64,
    word: usize,
    vmid: u16,
}

/// In place of a step: the vCPU is inside, its entries are being made.
const INSIDE: u64 = u64::MAX;

impl Model {
    /// Enters a guest by an exception return, with VTTBR_EL2 and VTCR_EL2 as they are. It is a context synchronization
    /// event. From here to [`exit`](Self::exit) walks of this CPU may cache anything that memory holds.
    pub fn enter(&mut self, cpu: usize, vcpu: Vcpu) {
        if !self.begin(cpu, By::El2, Verb::Enter { cpu, vcpu }) {
            return;
        }
        self.cpus[cpu].is_unsynchronized = false;
        let context = match self.loaded_context(cpu) {
            Ok(context) => context,
            Err(fault) => {
                self.report(cpu, Rule::Register(fault), None, None, None);
                return;
            }
        };
        self.vacate(cpu);
        let tag = self.occupy(cpu, context);
        self.cpus[cpu].guest = Some(vcpu);
        self.leave_residue(cpu, tag, vcpu);
    }

    /// Takes an exception from the guest to EL2.
    pub fn exit(&mut self, cpu: usize) {
        if !self.begin(cpu, By::Guest, Verb::Exit { cpu }) {
            return;
        }
        if let (Some(vcpu), Some(occupied)) = (self.cpus[cpu].guest.take(), self.cpus[cpu].occupied)
        {
            let is_own = |residue: &&mut Residue| {
                residue.cpu == cpu && residue.vcpu == vcpu.number && residue.last == INSIDE
            };
            let step = self.step;
            for residue in self.tags[occupied.tag].residues.iter_mut().filter(is_own) {
                residue.last = step;
            }
        }
        if self.config.speculation == Speculation::InGuest {
            self.vacate(cpu);
        }
    }

    /// Changes where a page of a stage-1 map leads: the guest writes its own table, and waits until walks see it.
    pub fn stage1_map(&mut self, space: Space, va: Va, entry: Stage1Entry) {
        self.count(Verb::Stage1Map { space, va, entry });
        self.set_stage1(space, va, Some(entry));
    }

    /// Removes a page from a stage-1 map.
    pub fn stage1_unmap(&mut self, space: Space, va: Va) {
        self.count(Verb::Stage1Unmap { space, va });
        self.set_stage1(space, va, None);
    }

    fn set_stage1(&mut self, space: Space, va: Va, entry: Option<Stage1Entry>) {
        let Some(old) = self.spaces.set(space, va, entry) else {
            return;
        };
        if Some(old) != entry {
            for tag in &mut self.tags {
                tag.bury_stage1(space, va, old, self.step);
            }
        }
    }

    /// Decodes what is in the registers.
    pub(crate) fn loaded_context(&self, cpu: usize) -> Result<LoadedContext, RegisterFault> {
        let state = &self.cpus[cpu];
        let shape = Shape::decode(state.vtcr, &self.config)?;
        let root = shape.root(state.vttbr)?;
        let word = self
            .memory
            .table(root, shape.root_bytes())
            .ok_or(RegisterFault::RootOutside)?;
        let vmid = vmid(state.vttbr, state.vtcr);
        Ok(LoadedContext {
            shape,
            root,
            word,
            vmid,
        })
    }

    /// The root and the VMID that are in the registers.
    pub(crate) fn loaded_names(&self, cpu: usize) -> Result<(u64, u16), RegisterFault> {
        let context = self.loaded_context(cpu)?;
        Ok((context.root, context.vmid))
    }

    /// This CPU's walks use a context from now on.
    pub(crate) fn occupy(&mut self, cpu: usize, context: LoadedContext) -> usize {
        let LoadedContext {
            shape,
            root,
            word,
            vmid,
        } = context;
        let tree = self.tree(cpu, root, word, shape);
        let tag = self.tag_or_new(vmid);
        let is_common = self.cpus[cpu].vttbr & 1 != 0 && self.config.features.has(Features::CNP);
        let common = &mut self.tags[tag].common;
        *common = *common & !Self::only(cpu) | u32::from(is_common) << cpu;
        self.check_vmid(cpu, tag, tree);
        if self.tags[tag].residence(tree).is_none() {
            self.tags[tag]
                .residences
                .push(Residence::new(tree, self.config.cpus));
            self.trees[tree].tags.push(tag);
        }
        if let Some(residence) = self.tags[tag].residence_mut(tree) {
            residence.occupy(cpu);
        }
        self.tags[tag].rekindle(Self::only(cpu));
        self.cpus[cpu].occupied = Some(Occupied { tag, tree });
        if self.cpus.iter().any(|state| !state.pending.is_empty()) {
            self.bury_unseen(cpu, tag, tree);
        }
        tag
    }

    /// This CPU's walks use no context any more.
    pub(crate) fn vacate(&mut self, cpu: usize) {
        let Some(Occupied { tag, tree }) = self.cpus[cpu].occupied.take() else {
            return;
        };
        let step = self.step;
        if let Some(residence) = self.tags[tag].residence_mut(tree) {
            residence.vacate(cpu, step);
        }
    }

    /// A VMID means one table, in this TLB and on all CPUs that walk now.
    fn check_vmid(&mut self, cpu: usize, tag: usize, tree: usize) {
        let sharers = self.tags[tag].sharers(cpu);
        let other = self.tags[tag].residences.iter().find(|residence| {
            residence.tree != tree && (residence.present & sharers != 0 || residence.inside != 0)
        });
        let Some(other) = other else {
            return;
        };
        let (other, this) = (&self.trees[other.tree], &self.trees[tree]);
        let rule = if other.root == this.root {
            Rule::VtcrDiffers
        } else {
            Rule::VmidReused
        };
        let vmid = self.tags[tag].vmid;
        self.report(cpu, rule, None, Some(vmid), None);
    }

    /// A vCPU begins to leave stage-1 and combined entries; those of another must be gone.
    fn leave_residue(&mut self, cpu: usize, number: usize, vcpu: Vcpu) {
        let tag = &self.tags[number];
        let other = tag
            .residues
            .iter()
            .find(|residue| residue.cpu == cpu && residue.vcpu != vcpu.number);
        if let Some(other) = other
            && self.config.stage1 == Stage1::Unknown
        {
            let earlier = (other.last != INSIDE).then_some(other.last);
            let vmid = tag.vmid;
            self.report(cpu, Rule::OtherVcpu, earlier, Some(vmid), None);
        }
        if self.config.stage1 != Stage1::Held || self.can_translate(cpu, number) {
            self.add_residue(cpu, number, vcpu);
        }
    }

    /// A walk has left entries, where stage 2 translates anything.
    pub(crate) fn leave_residue_of_walk(&mut self, cpu: usize) {
        if self.config.stage1 == Stage1::Held
            && let Some((vcpu, Occupied { tag, .. })) = self.inside(cpu)
            && self.can_translate(cpu, tag)
        {
            self.add_residue(cpu, tag, vcpu);
        }
    }

    /// Stage-1 and combined entries of a VMID are gone on `cpus`. Who is inside makes them again, if stage 2 lets it.
    pub(crate) fn clear_combined(&mut self, number: usize, cpus: CpuSet, issued: u64) {
        self.tags[number].clear_combined(cpus, issued);
        if self.config.stage1 == Stage1::Held {
            let mut residues = core::mem::take(&mut self.tags[number].residues);
            residues.retain(|residue| {
                cpus >> residue.cpu & 1 == 0 || self.can_translate(residue.cpu, number)
            });
            self.tags[number].residues = residues;
        }
    }

    /// Whether a CPU's walks under a VMID find anything in stage 2, in memory or in what its TLBs may hold.
    fn can_translate(&self, cpu: usize, tag: usize) -> bool {
        let tag = &self.tags[tag];
        let sharers = tag.sharers(cpu);
        let is_held = |ghost: &Ghost| ghost.holders() & sharers != 0;
        tag.ghosts.iter().any(is_held) || tag.residences.iter().any(|at| self.has_valid(at.tree))
    }

    fn add_residue(&mut self, cpu: usize, number: usize, vcpu: Vcpu) {
        let new = Residue {
            cpu,
            vcpu: vcpu.number,
            asid: vcpu.asid,
            space: vcpu.space,
            last: INSIDE,
        };
        let residues = &mut self.tags[number].residues;
        let same = residues.iter_mut().find(|residue| {
            (residue.cpu, residue.vcpu, residue.asid, residue.space)
                == (new.cpu, new.vcpu, new.asid, new.space)
        });
        match same {
            Some(residue) => residue.last = INSIDE,
            None => residues.push(new),
        }
    }
}
