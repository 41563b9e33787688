//! What TLBs tell apart: everything that may be cached under one VMID.

use droste_arm64::{Ipa, Va};

use crate::config::{CpuSet, Space};
use crate::cpu::Vcpu;
use crate::ghost::{Ghost, Kind};
use crate::ghosts::Ghosts;
use crate::stage1::{Spaces, Stage1Entry, Stage1Ghost, Tagging};

/// A table under a VMID, and the CPUs that may hold entries of it.
#[derive(Clone, Debug)]
pub(crate) struct Residence {
    pub(crate) tree: usize,
    /// CPUs that may hold entries.
    pub(crate) present: CpuSet,
    /// CPUs that can make entries now.
    pub(crate) inside: CpuSet,
    /// By CPU, the step at which it ceased to.
    last: Vec<u64>,
}

impl Residence {
    pub(crate) fn new(tree: usize, cpus: usize) -> Self {
        Self {
            tree,
            present: 0,
            inside: 0,
            last: vec![0; cpus],
        }
    }

    pub(crate) fn occupy(&mut self, cpu: usize) {
        self.present |= 1 << cpu;
        self.inside |= 1 << cpu;
    }

    pub(crate) fn vacate(&mut self, cpu: usize, step: u64) {
        self.inside &= !(1 << cpu);
        self.last[cpu] = step;
    }

    /// CPUs that may hold an entry made from a value that memory had since `made`.
    pub(crate) fn holders(&self, made: u64) -> CpuSet {
        let mut holders = self.inside;
        let mut others = self.present & !self.inside;
        while others != 0 {
            let cpu = others.trailing_zeros();
            others &= others - 1;
            if self.last[cpu as usize] >= made {
                holders |= 1 << cpu;
            }
        }
        holders
    }

    /// All entries are gone on `cpus`, but for what was made after the step `issued`.
    pub(crate) fn clear(&mut self, cpus: CpuSet, issued: u64) {
        let mut cleared = cpus & self.present & !self.inside;
        while cleared != 0 {
            let cpu = cleared.trailing_zeros();
            cleared &= cleared - 1;
            if self.last[cpu as usize] < issued {
                self.present &= !(1 << cpu);
            }
        }
    }
}

/// A table descriptor that TLBs may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CachedWalk {
    from: u64,
    to: u64,
    level: i8,
    holders: CpuSet,
}

/// The CPUs that hold a cached walk from above to what a ghost translates.
pub(crate) fn covering(walks: &[CachedWalk], ghost: &Ghost) -> CpuSet {
    walks
        .iter()
        .filter(|walk| walk.level < ghost.level && ghost.overlaps(walk.from, walk.to))
        .fold(0, |cpus, walk| cpus | walk.holders)
}

/// Stage-1 and combined entries that a vCPU may have left on a CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Residue {
    pub(crate) cpu: usize,
    pub(crate) vcpu: u32,
    pub(crate) asid: u16,
    pub(crate) space: Option<Space>,
    /// The step of its last exit; while inside, `u64::MAX`.
    pub(crate) last: u64,
}

/// Everything that may be cached under one VMID.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub(crate) vmid: u16,
    /// CPUs that share their entries of stage 2, and those that combine both stages (VTTBR_EL2.CnP).
    pub(crate) common: CpuSet,
    pub(crate) residences: Vec<Residence>,
    pub(crate) residues: Vec<Residue>,
    pub(crate) ghosts: Ghosts,
    pub(crate) stage1: Vec<Stage1Ghost>,
}

impl Tag {
    pub(crate) fn new(vmid: u16) -> Self {
        Self {
            vmid,
            common: 0,
            residences: Vec::new(),
            residues: Vec::new(),
            ghosts: Ghosts::default(),
            stage1: Vec::new(),
        }
    }

    /// The CPUs whose entries `cpu` may use. Not those of stage 1: they are common by TTBRn_EL1.CnP, with which the guest
    /// vouches for its own tables (DDI 0487, D24.2 "TTBR0_EL1" and "VTTBR_EL2").
    #[inline]
    pub(crate) const fn sharers(&self, cpu: usize) -> CpuSet {
        let own = 1 << cpu;
        if self.common & own != 0 {
            self.common
        } else {
            own
        }
    }

    /// CPUs that may hold an entry of `tree` made from a value that memory had since `made`.
    pub(crate) fn holders(&self, tree: usize, made: u64) -> CpuSet {
        self.residence(tree)
            .map_or(0, |residence| residence.holders(made))
    }

    pub(crate) fn residence(&self, tree: usize) -> Option<&Residence> {
        self.residences
            .iter()
            .find(|residence| residence.tree == tree)
    }

    pub(crate) fn residence_mut(&mut self, tree: usize) -> Option<&mut Residence> {
        self.residences
            .iter_mut()
            .find(|residence| residence.tree == tree)
    }

    /// CPUs that can make entries now.
    pub(crate) fn walking(&self) -> CpuSet {
        self.residences
            .iter()
            .fold(0, |cpus, residence| cpus | residence.inside)
    }

    /// Those of the cached walks.
    pub(crate) fn cached_walks(&self, of: impl Fn(&Ghost) -> bool) -> Vec<CachedWalk> {
        let walks = self
            .ghosts
            .iter()
            .filter(|ghost| ghost.kind == Kind::Walk && of(ghost));
        walks
            .map(|ghost| CachedWalk {
                from: ghost.ipa,
                to: ghost.ipa + ghost.bytes,
                level: ghost.level,
                holders: ghost.stage2,
            })
            .collect()
    }

    /// A CPU begins to walk: from what it still holds of stage 2 it makes combined entries again, but for those that go
    /// with what they are made of.
    pub(crate) fn rekindle(&mut self, cpu: CpuSet) {
        if self.ghosts.is_empty() {
            return;
        }
        let walks = self.cached_walks(|walk| !walk.is_doomed(cpu));
        for ghost in self
            .ghosts
            .iter_mut()
            .filter(|ghost| ghost.kind != Kind::Walk)
        {
            let own = if ghost.is_doomed(cpu) {
                0
            } else {
                ghost.stage2
            };
            if (own | covering(&walks, ghost)) & cpu != 0 {
                ghost.rekindle(cpu);
            }
        }
    }

    /// Stage-1 and combined entries are gone on `cpus`, but for what was made after the step `issued`.
    pub(crate) fn clear_combined(&mut self, cpus: CpuSet, issued: u64) {
        self.residues
            .retain(|residue| cpus >> residue.cpu & 1 == 0 || residue.last >= issued);
    }
}

impl Residue {
    /// Where an entry that another vCPU left leads, if this one could use it.
    pub(crate) fn leads(&self, spaces: &Spaces, vcpu: &Vcpu, va: Va) -> Option<Ipa> {
        if self.vcpu == vcpu.number {
            return None;
        }
        let entry = spaces.entry(self.space, va)?;
        let matches = entry.tagging == Tagging::Global || self.asid == vcpu.asid;
        matches.then(|| entry.at(va))
    }
}

impl Tag {
    /// A stage-1 entry of `space` has changed: it is left wherever a vCPU ran in that space.
    pub(crate) fn bury_stage1(&mut self, space: Space, va: Va, entry: Stage1Entry, step: u64) {
        for residue in self
            .residues
            .iter()
            .filter(|residue| residue.space == Some(space))
        {
            let left = Stage1Ghost::new((space, residue.asid), va, entry, step);
            let known = self.stage1.iter().position(|ghost| ghost.is(&left));
            let index = known.unwrap_or(self.stage1.len());
            if known.is_none() {
                self.stage1.push(left);
            }
            self.stage1[index].hold(1 << residue.cpu);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_left_before_a_value_was_made_cannot_hold_it() {
        let mut residence = Residence::new(0, 2);
        residence.occupy(0);
        residence.occupy(1);
        residence.vacate(1, 10);
        assert_eq!(residence.holders(11), 0b01);
        assert_eq!(residence.holders(10), 0b11);
    }

    #[test]
    fn an_invalidation_clears_who_was_not_inside_since_it_was_issued() {
        let mut residence = Residence::new(0, 3);
        for cpu in 0..3 {
            residence.occupy(cpu);
        }
        residence.vacate(1, 10);
        residence.vacate(2, 30);
        residence.clear(0b111, 20);
        assert_eq!(residence.present, 0b101);
    }
}
