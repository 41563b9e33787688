//! What a model needs that watches code instead of being driven by it: memory that becomes known late, trees that are
//! given up unsaid, order without a DSB, and translations that outlive their descriptors.

use droste_arm64::{Ipa, Pa};

use crate::config::CpuSet;
use crate::cpu::{Occupied, Order};
use crate::descriptor::{ACCESSED, AccessKind, Meaning, permits};
use crate::ghost::{Ghost, Kind};
use crate::memory::FRAME_WORDS;
use crate::model::Model;
use crate::tag::Tag;
use crate::violation::{Entry, Rule, Violation};
use crate::walk::EndKind;

const KINDS: [AccessKind; 4] = [
    AccessKind::Read,
    AccessKind::Write,
    AccessKind::ExecuteEl1,
    AccessKind::ExecuteEl0,
];

impl Model {
    /// What memory holds becomes known by what a CPU does, or no CPU has changed it. Walks see it already.
    pub(crate) fn learn(&mut self, cpu: usize, at: Pa, value: u64) {
        self.step += 1;
        let Some(word) = self.memory.word(at.0) else {
            return;
        };
        if self.memory.get(word) == value {
            return;
        }
        if self.memory.frame(word).is_watched() {
            self.store_by_hardware(cpu, word, value);
        } else {
            self.memory.set(word, value, self.step);
        }
    }

    /// What a CPU has written is seen before what it writes from here on, by DMB or a store-release.
    pub(crate) fn order(&mut self, cpu: usize) {
        self.step += 1;
        for pending in &mut self.cpus[cpu].pending {
            pending.order = Order::BeforeTheNext;
        }
    }

    /// DSB NSHST: this CPU's walks see what it has written.
    pub(crate) fn dsb_nshst(&mut self, cpu: usize) {
        self.step += 1;
        self.barrier_of(cpu, Self::only(cpu), 0);
    }

    /// Hardware sets the access flag where it manages it: from here on a TLB may hold the entry.
    pub(crate) fn touch_by_hardware(&mut self, cpu: usize, at: Pa) {
        let Some(word) = self.memory.word(at.0) else {
            return;
        };
        let raw = self.memory.get(word);
        let is_untouched_leaf = raw & (ACCESSED | 1) == 1
            && self.memory.frame(word).parts.iter().any(|part| {
                let shape = &self.trees[part.tree].shape;
                shape.sets_accessed && matches!(shape.meaning(raw, part.level), Meaning::Leaf(_))
            });
        if is_untouched_leaf {
            self.store_by_hardware(cpu, word, raw | ACCESSED);
        }
    }

    /// Whether a CPU is in a guest with this tree.
    pub(crate) fn is_inhabited(&self, tree: usize) -> bool {
        self.trees[tree].tags.iter().any(|&tag| {
            let residence = self.tags[tag].residence(tree);
            residence.is_some_and(|residence| residence.inside != 0)
        })
    }

    /// Whether TLBs may hold anything of a root under a VMID.
    pub(crate) fn may_be_held(&self, root: u64, vmid: u16) -> bool {
        self.tag(vmid).is_some_and(|tag| {
            let mut residences = self.tags[tag].residences.iter();
            residences.any(|at| self.trees[at.tree].root == root && at.present != 0)
        })
    }

    /// The root of a tree, and the VMIDs that mean it.
    pub(crate) fn names(&self, tree: usize) -> Vec<(u64, u16)> {
        let found = &self.trees[tree];
        let tags = found.tags.iter();
        tags.map(|&tag| (found.root, self.tags[tag].vmid)).collect()
    }

    /// The roots that a VMID has meant, each with it, if no CPU is in a guest under it.
    pub(crate) fn deserted(&self, vmid: u16) -> Option<Vec<(u64, u16)>> {
        let tag = &self.tags[self.tag(vmid)?];
        let residences = tag.residences.iter();
        let names = residences.map(|residence| (self.trees[residence.tree].root, vmid));
        (tag.walking() == 0).then(|| names.collect())
    }

    /// A page is written that is no table any more, and that a cached walk of a CPU in a guest still takes for one.
    pub(crate) fn written_under_a_walk(&self, cpu: usize, at: Pa) -> Option<Violation> {
        let word = self.memory.word(at.0)?;
        let frame = word / FRAME_WORDS;
        let found = &self.memory.frames[frame];
        if found.walkers == 0 || !found.parts.is_empty() || self.memory.get(word) & 1 == 0 {
            return None;
        }
        self.tags.iter().find_map(|tag| {
            let walking = tag.walking();
            let ghost = tag.ghosts.iter().find(|ghost| {
                ghost.kind == Kind::Walk
                    && ghost.stage2 & walking != 0
                    && self.leads_to(ghost, frame)
            })?;
            let entry = self.ghost_entry(ghost, self.memory.get(word));
            Some(self.outlives(Rule::PageReachable, cpu, tag, ghost, entry))
        })
    }

    /// Translations that CPUs in guests may use though memory no longer says so, or says less, and whose writers are done:
    /// each is told once. Whoever wrote what memory says instead, in the step that is asked for, has to be done as well: an entry
    /// may be older than that, and have been no more than what memory gave until then.
    pub(crate) fn outlived(
        &mut self,
        is_done: impl Fn(CpuSet, u64) -> bool,
        is_settled: impl Fn(u64) -> bool,
    ) -> Vec<Violation> {
        let mut all = Vec::new();
        for number in 0..self.tags.len() {
            let tag = &self.tags[number];
            let walking = tag.walking();
            if tag.ghosts.is_empty() || walking == 0 {
                continue;
            }
            let mut told = Vec::new();
            for (index, ghost) in tag.ghosts.iter().enumerate() {
                let is_due = !ghost.is_told
                    && ghost.holders() & walking != 0
                    && is_done(ghost.writers, ghost.changed);
                if !is_due {
                    continue;
                }
                let cpu = (ghost.holders() & walking).trailing_zeros() as usize;
                if let Some((entry, since)) = self.cpus[cpu]
                    .occupied
                    .and_then(|at| self.entry_that_says_less(at, ghost))
                    && since.into_iter().all(&is_settled)
                {
                    let rule = Rule::StaleTranslation(ghost.missing());
                    all.push(self.outlives(rule, cpu, tag, ghost, entry));
                    told.push(index);
                }
            }
            for index in told {
                self.tags[number].ghosts[index].is_told = true;
            }
        }
        all
    }

    fn outlives(
        &self,
        rule: Rule,
        cpu: usize,
        tag: &Tag,
        ghost: &Ghost,
        entry: Entry,
    ) -> Violation {
        Violation {
            rule,
            step: self.step,
            earlier: Some(ghost.changed),
            cpu,
            vmid: Some(tag.vmid),
            entry: Some(entry),
        }
    }

    /// The ghost as an entry, if memory does not give its holder all of what it gives; and the steps that wrote what memory has
    /// in its place.
    fn entry_that_says_less(&self, at: Occupied, ghost: &Ghost) -> Option<(Entry, [u64; 2])> {
        let shape = &self.trees[at.tree].shape;
        let now = self.walk(shape, at.tree, ghost.ipa);
        let is_all_there = match ghost.kind {
            Kind::Walk => {
                let link = self.link(at.tree, ghost.level, ghost.ipa);
                link == Some(ghost.shape.meaning(ghost.raw, ghost.level))
            }
            Kind::Leaf | Kind::Run => {
                let output = match now.kind {
                    EndKind::Leaf(output) => {
                        Some(output + (ghost.ipa & (shape.entry_bytes(now.level) - 1)))
                    }
                    EndKind::Invalid | EndKind::Outside => None,
                };
                output == Some(ghost.output(ghost.ipa))
                    && KINDS.iter().all(|&kind| {
                        !permits(ghost.raw, kind, &self.config)
                            || permits(now.raw, kind, &self.config)
                    })
            }
        };
        let ipa = Ipa(ghost.ipa);
        (!is_all_there).then(|| {
            let entry = Entry {
                ipa,
                ..self.ghost_entry(ghost, now.raw)
            };
            let words = [now.word, self.memory.word(entry.descriptor.0)];
            let since = words.map(|word| word.map_or(0, |word| self.memory.since(word)));
            (entry, since)
        })
    }

    /// What the descriptor of a level means on the walk to an address.
    fn link(&self, tree: usize, level: i8, ipa: u64) -> Option<Meaning> {
        let shape = &self.trees[tree].shape;
        let (mut table, mut at) = (self.trees[tree].word, shape.start);
        loop {
            let meaning = shape.meaning(self.memory.get(table + shape.index(at, ipa) as usize), at);
            match meaning {
                _ if at == level => return Some(meaning),
                Meaning::Table(next) => (table, at) = (self.child(shape, next)?.0, at + 1),
                _ => return None,
            }
        }
    }
}
