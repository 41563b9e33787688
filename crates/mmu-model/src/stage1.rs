//! The guests' stage 1: maps instead of tables, and the entries they leave in TLBs.
//!
//! A map from virtual pages to IPAs per address space is all that stage-2 code can be judged by: whose entries are
//! used where, and whether invalidations reach them, the guest's own and those that others make for it. The walks that
//! a real stage 1 makes through stage 2 are left out; an access to the IPA of such a table stands for one.

use std::collections::BTreeMap;

use droste_arm64::{Ipa, Va};

use crate::config::{CpuSet, Space};
use crate::cpu::Vcpu;
use crate::operand::Target;

/// How a stage-1 entry is tagged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tagging {
    /// nG clear: matches every ASID.
    Global,
    /// nG set: matches the ASID under which it was made.
    PerAsid,
}

/// The translation of a stage-1 page of 4 KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stage1Entry {
    /// Output, a multiple of 4 KiB.
    pub ipa: Ipa,
    /// Its tag.
    pub tagging: Tagging,
}

const PAGE: u64 = 4096;

/// All stage-1 maps.
#[derive(Clone, Default, Debug)]
pub(crate) struct Spaces(BTreeMap<(Space, u64), Stage1Entry>);

impl Spaces {
    /// Replaces what `space` says of the page of `va`, and gives what it said.
    pub(crate) fn set(
        &mut self,
        space: Space,
        va: Va,
        entry: Option<Stage1Entry>,
    ) -> Option<Stage1Entry> {
        let key = (space, va.align_down(PAGE).0);
        match entry {
            Some(entry) => self.0.insert(key, entry),
            None => self.0.remove(&key),
        }
    }

    /// What a space, or stage 1 switched off, makes of a virtual address; flat entries match every ASID.
    pub(crate) fn entry(&self, space: Option<Space>, va: Va) -> Option<Stage1Entry> {
        let page = va.align_down(PAGE).0;
        match space {
            None => Some(Stage1Entry {
                ipa: Ipa(page),
                tagging: Tagging::Global,
            }),
            Some(space) => self.0.get(&(space, page)).copied(),
        }
    }

    /// Where a vCPU's own stage 1 leads.
    pub(crate) fn translate(&self, vcpu: &Vcpu, va: Va) -> Option<Ipa> {
        self.entry(vcpu.space, va).map(|entry| entry.at(va))
    }
}

impl Stage1Entry {
    /// Where it leads.
    pub(crate) fn at(&self, va: Va) -> Ipa {
        Ipa(self.ipa.0.wrapping_add(va.0 & (PAGE - 1)))
    }
}

/// Which vCPUs have completed an invalidation of an entry, and may rely on it.
#[derive(Clone, Debug, Default)]
struct Promise {
    /// The CPU whose DSB completes it, the vCPU, and whether it is for all of them.
    issued: Vec<(usize, u32, Reach)>,
    to: Vec<u32>,
    to_all: Option<()>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    Own,
    All,
}

/// A stage-1 entry that its map no longer holds and a TLB may.
#[derive(Clone, Debug)]
pub(crate) struct Stage1Ghost {
    space: Space,
    asid: u16,
    page: u64,
    entry: Stage1Entry,
    pub(crate) changed: u64,
    holders: CpuSet,
    /// The CPU whose DSB completes an invalidation, and where.
    issued: Vec<(usize, CpuSet)>,
    promise: Promise,
}

/// Who issues an invalidation of stage-1 entries, and where it acts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Issue {
    pub(crate) cpu: usize,
    pub(crate) cpus: CpuSet,
    /// The guest that did, and whether it meant all CPUs.
    pub(crate) guest: Option<(u32, GuestScope)>,
}

/// What a guest meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GuestScope {
    Local,
    Broadcast,
}

impl Stage1Ghost {
    /// What is left of an entry that changed at this step, of the page of `va` in a space and under an ASID; held nowhere yet.
    pub(crate) fn new((space, asid): (Space, u16), va: Va, entry: Stage1Entry, step: u64) -> Self {
        Self {
            space,
            asid,
            page: va.align_down(PAGE).0,
            entry,
            changed: step,
            holders: 0,
            issued: Vec::new(),
            promise: Promise::default(),
        }
    }

    /// Whether both are the same entry.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let key = |ghost: &Self| (ghost.changed, ghost.space, ghost.page, ghost.asid);
        key(self) == key(other)
    }

    /// A TLB of these CPUs may hold it as well.
    pub(crate) fn hold(&mut self, holders: CpuSet) {
        self.holders |= holders;
    }

    fn is_taken(&self, target: &Target) -> bool {
        let is_global = self.entry.tagging == Tagging::Global;
        match *target {
            Target::Virtual { from, to, asid } => {
                self.page >= from & !(PAGE - 1)
                    && (self.page < to || to < from)
                    && (is_global || asid.is_none_or(|asid| asid == self.asid))
            }
            Target::Asid(asid) => !is_global && asid == self.asid,
            Target::Combined | Target::Vmid | Target::All => true,
            Target::Nothing | Target::Stage2 { .. } => false,
        }
    }

    /// Notes an invalidation that takes it.
    pub(crate) fn issue(&mut self, target: &Target, issue: Issue) {
        if !self.is_taken(target) {
            return;
        }
        self.issued.push((issue.cpu, issue.cpus));
        if let Some((vcpu, scope)) = issue.guest {
            let reach = match scope {
                GuestScope::Local => Reach::Own,
                GuestScope::Broadcast => Reach::All,
            };
            self.promise.issued.push((issue.cpu, vcpu, reach));
        }
    }

    /// Completes on `reached` what `cpu` issued. A DSB that reaches one CPU only keeps promises to its own
    /// vCPU.
    pub(crate) fn complete(&mut self, cpu: usize, reached: CpuSet) {
        for &(issuer, cpus) in &self.issued {
            if issuer == cpu {
                self.holders &= !(cpus & reached);
            }
        }
        let is_own_only = reached == 1 << cpu;
        for &(issuer, vcpu, reach) in &self.promise.issued {
            if issuer != cpu {
                continue;
            }
            self.promise.to.push(vcpu);
            if reach == Reach::All && !is_own_only {
                self.promise.to_all = Some(());
            }
        }
        if !is_own_only {
            self.issued.retain(|&(issuer, _)| issuer != cpu);
            self.promise.issued.retain(|&(issuer, ..)| issuer != cpu);
        }
    }

    /// Whether some TLB may hold it.
    pub(crate) const fn is_alive(&self) -> bool {
        self.holders != 0
    }

    /// Whether the guest has completed its invalidation, and this vCPU may rely on it.
    pub(crate) fn is_promised(&self, vcpu: &Vcpu) -> bool {
        self.promise.to_all.is_some() || self.promise.to.contains(&vcpu.number)
    }

    /// Where it leads a vCPU on this CPU.
    pub(crate) fn leads(&self, vcpu: &Vcpu, cpu: CpuSet, va: Va) -> Option<Ipa> {
        let matches = self.entry.tagging == Tagging::Global || self.asid == vcpu.asid;
        (vcpu.space == Some(self.space)
            && matches
            && self.page == va.align_down(PAGE).0
            && self.holders & cpu != 0)
            .then(|| self.entry.at(va))
    }
}
