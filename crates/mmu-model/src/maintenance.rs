//! Barriers and TLB invalidations: how ghosts end.

use droste_arm64::barrier::Dsb;

use crate::config::CpuSet;
use crate::cpu::{Extent, Wide};
use crate::ghost::Kind;
use crate::model::{By, Model};
use crate::operand::Target;
use crate::regime::vmid;
use crate::stage1::{GuestScope, Issue};
use crate::tag::covering;
use crate::tlbi::{OperandFault, Scope, Tlbi};
use crate::trace::Verb;
use crate::violation::Rule;

impl Model {
    /// Executes a TLB invalidation at EL2. It is complete with this CPU's next DSB: [`Dsb::Ish`] on all CPUs,
    /// [`Dsb::Nsh`] on this one.
    pub fn tlbi(&mut self, cpu: usize, tlbi: Tlbi) {
        if !self.begin(cpu, By::El2, Verb::Tlbi { cpu, tlbi }) {
            return;
        }
        if let Some(fault) = tlbi.fault(&self.config) {
            self.report(cpu, Rule::Operand(fault), None, None, None);
            return;
        }
        if self.cpus[cpu].is_host() && tlbi.form.follows_tge() {
            return;
        }
        let cpus = match tlbi.scope {
            Scope::Local => Self::only(cpu),
            Scope::Inner | Scope::Outer => self.config.all_cpus(),
        };
        self.invalidate(
            cpu,
            &tlbi,
            Issue {
                cpu,
                cpus,
                guest: None,
            },
        );
    }

    /// The guest on this CPU executes a TLB invalidation. With HCR_EL2.FB set, a local one is broadcast.
    pub fn guest_tlbi(&mut self, cpu: usize, tlbi: Tlbi) {
        if !self.begin(cpu, By::Guest, Verb::GuestTlbi { cpu, tlbi }) {
            return;
        }
        let fault = if tlbi.form.is_guests() {
            tlbi.fault(&self.config)
        } else {
            Some(OperandFault::UndefinedAtEl1)
        };
        if let Some(fault) = fault {
            self.report(cpu, Rule::Operand(fault), None, None, None);
            return;
        }
        let Some(vcpu) = self.cpus[cpu].guest else {
            return;
        };
        let is_local = tlbi.scope == Scope::Local;
        let cpus = if is_local && !self.cpus[cpu].forces_broadcast() {
            Self::only(cpu)
        } else {
            self.config.all_cpus()
        };
        let scope = if is_local {
            GuestScope::Local
        } else {
            GuestScope::Broadcast
        };
        self.invalidate(
            cpu,
            &tlbi,
            Issue {
                cpu,
                cpus,
                guest: Some((vcpu.number, scope)),
            },
        );
    }

    /// The guest on this CPU executes a DSB. With HCR_EL2.BSU other than 0 it reaches the Inner Shareable domain.
    pub fn guest_dsb(&mut self, cpu: usize, domain: Dsb) {
        if !self.begin(cpu, By::Guest, Verb::GuestDsb { cpu, domain }) {
            return;
        }
        let domain = match domain {
            Dsb::Nsh if self.cpus[cpu].upgrades_barriers() => Dsb::Ish,
            other => other,
        };
        self.barrier(cpu, domain);
    }

    fn invalidate(&mut self, cpu: usize, tlbi: &Tlbi, issue: Issue) {
        let state = &self.cpus[cpu];
        let target = tlbi.target(state.vtcr);
        if target == Target::All {
            for tag in 0..self.tags.len() {
                self.invalidate_tag(tag, tlbi, &target, issue);
            }
            self.wide(cpu, None, Extent::Everything, issue.cpus);
            return;
        }
        // Between a write of VTTBR_EL2 and its synchronization either VMID may be meant, so neither is sure to be.
        if state.is_unsynchronized {
            return;
        }
        let Some(tag) = self.tag(vmid(state.vttbr, state.vtcr)) else {
            return;
        };
        self.invalidate_tag(tag, tlbi, &target, issue);
        match target {
            Target::Vmid => self.wide(cpu, Some(tag), Extent::Everything, issue.cpus),
            Target::Combined => self.wide(cpu, Some(tag), Extent::Combined, issue.cpus),
            _ => {}
        }
    }

    fn wide(&mut self, cpu: usize, tag: Option<usize>, extent: Extent, cpus: CpuSet) {
        let issued = self.step;
        self.cpus[cpu].wide.push(Wide {
            tag,
            extent,
            cpus,
            issued,
        });
    }

    fn invalidate_tag(&mut self, number: usize, tlbi: &Tlbi, target: &Target, issue: Issue) {
        let tag = &mut self.tags[number];
        if tag.ghosts.is_empty() && tag.stage1.is_empty() {
            return;
        }
        let Issue { cpu, cpus, .. } = issue;
        self.cpus[cpu].touch(number);
        for ghost in &mut tag.stage1 {
            ghost.issue(target, issue);
        }
        let walking = tag.walking();
        if *target == Target::Combined {
            // An entry whose parts of stage 2 are still cached can be made again from them, by who walks.
            let walks = tag.cached_walks(|_| true);
            for ghost in tag.ghosts.iter_mut() {
                let kept = (ghost.stage2 | covering(&walks, ghost)) & walking;
                ghost.issue(cpu, 0, cpus & !kept, walking);
            }
            return;
        }
        // A walk that this instruction leaves cached finds a leaf again that it takes.
        let left = tag.cached_walks(|walk| !walk.is_taken(target));
        for ghost in tag.ghosts.iter_mut() {
            if ghost.is_taken(target) && !ghost.survives_nxs(tlbi, self.config.features) {
                let combined = if matches!(target, Target::Stage2 { .. }) {
                    0
                } else {
                    cpus
                };
                ghost.issue(cpu, cpus & !covering(&left, ghost), combined, walking);
            }
        }
    }

    /// What a DSB does.
    pub(crate) fn barrier(&mut self, cpu: usize, domain: Dsb) {
        let all = self.config.all_cpus();
        let (seen, completed) = match domain {
            Dsb::Ish => (all, all),
            Dsb::Ishst => (all, 0),
            Dsb::Nsh => (Self::only(cpu), Self::only(cpu)),
        };
        self.barrier_of(cpu, seen, completed);
        if domain == Dsb::Ish {
            self.cpus[cpu].touched.clear();
        }
    }

    /// A barrier that makes this CPU's writes visible to some and completes its invalidations on some.
    pub(crate) fn barrier_of(&mut self, cpu: usize, seen: CpuSet, completed: CpuSet) {
        self.make_visible(cpu, seen);
        for index in 0..self.cpus[cpu].touched.len() {
            let number = self.cpus[cpu].touched[index];
            let tag = &mut self.tags[number];
            let mut has_ended = false;
            for ghost in tag.ghosts.iter_mut() {
                if ghost.writers >> cpu & 1 != 0 {
                    ghost.visible &= !seen;
                }
                if completed != 0 {
                    ghost.complete(cpu, completed);
                }
                has_ended |= ghost.holders() == 0;
            }
            if completed != 0 {
                for ghost in &mut tag.stage1 {
                    ghost.complete(cpu, completed);
                }
                tag.stage1.retain(crate::stage1::Stage1Ghost::is_alive);
            }
            if has_ended {
                self.bury_ended(number);
            }
        }
        if completed != 0 {
            self.complete_wide(cpu, completed);
        }
    }

    fn make_visible(&mut self, cpu: usize, seen: CpuSet) {
        if seen == self.config.all_cpus() {
            let mut visible = core::mem::take(&mut self.cpus[cpu].pending);
            for pending in visible.drain(..) {
                let frame = self.memory.frame_mut(pending.word);
                frame.pending -= 1;
                if frame.pending != 0 {
                    self.make_earlier_visible(pending.word, pending.step);
                }
            }
            self.cpus[cpu].pending = visible;
        }
        let state = &mut self.cpus[cpu];
        state.own_seen = state.pending.len();
    }

    /// Writes of one place are seen in their order, whoever makes them.
    fn make_earlier_visible(&mut self, word: usize, step: u64) {
        let others = self.cpus.iter_mut();
        let forgotten: u32 = others.map(|cpu| cpu.forget_writes(word, step)).sum();
        self.memory.frame_mut(word).pending -= forgotten;
    }

    /// Forgets the ghosts that no TLB can hold any more.
    fn bury_ended(&mut self, number: usize) {
        let mut walks = Vec::new();
        self.tags[number].ghosts.take_ended(|ghost| {
            if ghost.kind == Kind::Walk {
                walks.push(ghost);
            }
        });
        for ghost in walks {
            self.count_walkers(&ghost, |walkers| *walkers -= 1);
        }
    }

    fn complete_wide(&mut self, cpu: usize, completed: CpuSet) {
        let mut waiting = core::mem::take(&mut self.cpus[cpu].wide);
        for wide in &mut waiting {
            let cpus = wide.cpus & completed;
            wide.cpus &= !completed;
            let tags = match wide.tag {
                Some(tag) => tag..tag + 1,
                None => 0..self.tags.len(),
            };
            for tag in tags {
                match wide.extent {
                    Extent::Everything => self.clear_tag(tag, cpus, wide.issued),
                    Extent::Combined => self.clear_combined(tag, cpus, wide.issued),
                }
            }
        }
        waiting.retain(|wide| wide.cpus != 0);
        self.cpus[cpu].wide = waiting;
    }

    fn clear_tag(&mut self, number: usize, cpus: CpuSet, issued: u64) {
        for residence in &mut self.tags[number].residences {
            residence.clear(cpus, issued);
        }
        self.clear_combined(number, cpus, issued);
        let tag = &mut self.tags[number];
        let mut index = 0;
        while let Some(residence) = tag.residences.get(index) {
            if residence.present != 0 {
                index += 1;
                continue;
            }
            let residence = tag.residences.swap_remove(index);
            self.trees[residence.tree].tags.retain(|&tag| tag != number);
        }
    }
}
