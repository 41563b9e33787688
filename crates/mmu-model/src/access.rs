//! Guest accesses: everything that hardware could make of one, and whether all of it is acceptable.

use droste_arm64::{Ipa, Pa, Va};

use crate::config::Bbm;
use crate::cpu::{Occupied, Vcpu};
use crate::descriptor::{ACCESSED, AccessKind, CONTIGUOUS, DBM, Meaning, WRITE, permits};
use crate::ghost::{Ghost, Kind};
use crate::memory::FRAME_WORDS;
use crate::model::{Model, Turn};
use crate::regime::Shape;
use crate::trace::Verb;
use crate::violation::{Entry, Missing, Rule};

/// An access by the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Where. With stage 1 off it is the IPA.
    pub va: Va,
    /// What.
    pub kind: AccessKind,
}

impl Access {
    /// An access of this kind.
    pub const fn new(va: Va, kind: AccessKind) -> Self {
        Self { va, kind }
    }
}

/// Why an access faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// Stage 1 has no translation: the guest's own affair.
    Stage1,
    /// An invalid descriptor, or an address outside the space.
    Translation,
    /// The access flag is clear, and hardware does not set it.
    AccessFlag,
    /// The entry does not permit it.
    Permission,
    /// The output is wider than VTCR_EL2.PS.
    AddressSize,
    /// A table is outside the memory for tables.
    External,
}

/// What an access comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It reaches memory.
    Access {
        /// Where.
        pa: Pa,
        /// By an entry of this level.
        level: i8,
    },
    /// It faults.
    Fault {
        /// Why.
        kind: FaultKind,
        /// At this level.
        level: i8,
    },
    /// A TLB conflict abort, between entries of two sizes (FEAT_BBM level 2).
    Conflict,
}

/// Where an outcome comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A walk of memory as it is.
    Memory,
    /// Another entry of the same Contiguous run in memory.
    Neighbour(Entry),
    /// A walk that does not see a write yet, made at this step.
    Unseen {
        /// The write.
        step: u64,
    },
    /// What a TLB may still hold.
    Ghost {
        /// The entry.
        entry: Entry,
        /// What would have ended it.
        missing: Missing,
        /// The step that changed it.
        changed: u64,
    },
    /// An entry that another virtual CPU left.
    OtherVcpu {
        /// The other's number.
        vcpu: u32,
    },
    /// A stage-1 entry that the guest has invalidated.
    GuestInvalidated {
        /// The step that changed it.
        changed: u64,
    },
}

/// One thing that hardware could make of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What.
    pub effect: Effect,
    /// Through what.
    pub source: Source,
}

/// Everything that hardware could make of an access.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcomes(Vec<Outcome>);

impl Outcomes {
    /// One after another; what memory says is the first.
    pub fn iter(&self) -> impl Iterator<Item = &Outcome> {
        self.0.iter()
    }

    /// Whether one of them is this effect.
    pub fn has(&self, effect: Effect) -> bool {
        self.0.iter().any(|outcome| outcome.effect == effect)
    }
}

/// What the driver's own truth permits of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowed {
    /// It reaches exactly this.
    Access(Pa),
    /// It reaches exactly this, and a write leaves S2AP\[1\] set in memory.
    Tracked(Pa),
    /// It faults.
    Fault,
    /// It faults, or reaches exactly this.
    Either(Pa),
    /// It faults, or reaches one of two: a change is under way.
    OneOf(Pa, Pa),
}

/// Where a walk ended.
#[derive(Clone, Copy, Debug)]
struct End {
    level: i8,
    /// The last descriptor that was read; `None` where none could be.
    word: Option<usize>,
    raw: u64,
    kind: EndKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum EndKind {
    Leaf(u64),
    Invalid,
    Outside,
}

impl Model {
    /// The guest on this CPU makes an access. Gives everything that hardware could make of it now, and does what
    /// hardware does to descriptors then: by a walk of memory, sets the access flag and marks what is written.
    pub fn access(&mut self, cpu: usize, access: Access) -> Outcomes {
        let mut outcomes = Vec::new();
        if self.begin(cpu, Turn::Guest, Verb::Access { cpu, access }) {
            self.collect(cpu, access, &mut outcomes);
            self.update_by_hardware(cpu, access);
        }
        Outcomes(outcomes)
    }

    /// The guest on this CPU makes an access as by [`access`](Self::access), and each outcome must be allowed.
    pub fn expect(&mut self, cpu: usize, access: Access, allowed: Allowed) {
        if !self.begin(
            cpu,
            Turn::Guest,
            Verb::Expect {
                cpu,
                access,
                allowed,
            },
        ) {
            return;
        }
        let mut outcomes = core::mem::take(&mut self.scratch);
        outcomes.clear();
        self.collect(cpu, access, &mut outcomes);
        if self.violation.is_none() {
            let wrong = outcomes.iter().find_map(|outcome| {
                self.judge(cpu, access, allowed, outcome)
                    .map(|rule| (rule, *outcome))
            });
            if let Some((rule, outcome)) = wrong {
                self.report_outcome(cpu, rule, access, &outcome);
            }
        }
        self.scratch = outcomes;
        self.update_by_hardware(cpu, access);
    }

    /// The guest and the context of a CPU that is inside.
    fn inside(&self, cpu: usize) -> Option<(Vcpu, Occupied)> {
        let state = &self.cpus[cpu];
        state.guest.zip(state.occupied)
    }

    fn collect(&self, cpu: usize, access: Access, outcomes: &mut Vec<Outcome>) {
        let Some((vcpu, Occupied { tag, tree })) = self.inside(cpu) else {
            return;
        };
        let kind = access.kind;
        match self.spaces.translate(&vcpu, access.va) {
            Some(ipa) => self.collect_stage2(cpu, tag, tree, ipa, kind, outcomes),
            None => outcomes.push(Outcome {
                effect: Effect::Fault {
                    kind: FaultKind::Stage1,
                    level: 0,
                },
                source: Source::Memory,
            }),
        }
        self.collect_stage1(cpu, &vcpu, Occupied { tag, tree }, access, outcomes);
    }

    /// Stage-1 entries that should not be there.
    fn collect_stage1(
        &self,
        cpu: usize,
        vcpu: &Vcpu,
        at: Occupied,
        access: Access,
        outcomes: &mut Vec<Outcome>,
    ) {
        let tag = &self.tags[at.tag];
        let sharers = tag.sharers(cpu);
        let own = self.spaces.translate(vcpu, access.va);
        let foreign = tag
            .residues
            .iter()
            .filter(|residue| sharers >> residue.cpu & 1 != 0)
            .filter_map(|residue| {
                let ipa = self.spaces.foreign(residue, vcpu, access.va)?;
                Some((ipa, Source::OtherVcpu { vcpu: residue.vcpu }))
            });
        let lost = tag.stage1.iter().filter_map(|ghost| {
            let ipa = ghost.lost(vcpu, sharers, access.va)?;
            Some((
                ipa,
                Source::GuestInvalidated {
                    changed: ghost.changed,
                },
            ))
        });
        for (ipa, source) in foreign.chain(lost).filter(|&(ipa, _)| Some(ipa) != own) {
            let shape = &self.trees[at.tree].shape;
            let end = self.walk(shape, at.tree, ipa.0);
            outcomes.push(Outcome {
                effect: self.effect(shape, &end, ipa.0, access.kind),
                source,
            });
        }
    }

    fn collect_stage2(
        &self,
        cpu: usize,
        tag: usize,
        tree: usize,
        ipa: Ipa,
        kind: AccessKind,
        outcomes: &mut Vec<Outcome>,
    ) {
        let shape = &self.trees[tree].shape;
        let ipa = ipa.0;
        let end = self.walk(shape, tree, ipa);
        let effect = self.effect(shape, &end, ipa, kind);
        outcomes.push(Outcome {
            effect,
            source: Source::Memory,
        });
        self.collect_unseen(cpu, tree, ipa, outcomes);
        if let Some(word) = end.word
            && self.memory.frame(word).has_runs
        {
            self.collect_neighbours(shape, &end, word, ipa, kind, outcomes);
        }
        let tag = &self.tags[tag];
        if tag.ghosts.is_empty() {
            return;
        }
        let sharers = tag.sharers(cpu);
        for ghost in &tag.ghosts {
            if ghost.holders() & sharers != 0 && ghost.contains(ipa) {
                self.collect_ghost(ghost, ipa, kind, &end, outcomes);
            }
        }
        if self.config.bbm == Bbm::Level2 && is_conflict(outcomes) {
            outcomes.push(Outcome {
                effect: Effect::Conflict,
                source: Source::Memory,
            });
        }
    }

    fn collect_ghost(
        &self,
        ghost: &Ghost,
        ipa: u64,
        kind: AccessKind,
        now: &End,
        outcomes: &mut Vec<Outcome>,
    ) {
        let shape = &ghost.shape;
        let end = match ghost.kind {
            Kind::Leaf | Kind::Run => End {
                level: ghost.level,
                word: Some(ghost.word),
                raw: ghost.raw,
                kind: EndKind::Leaf(ghost.output(ipa)),
            },
            Kind::Walk => match shape.meaning(ghost.raw, ghost.level) {
                Meaning::Table(table) => self.walk_table(shape, table, ghost.level + 1, ipa),
                _ => return,
            },
        };
        // Hardware that is to mark a write reads memory again, so an unmarked entry decides nothing.
        if kind == AccessKind::Write && shape.marks_dirty && end.raw & (DBM | WRITE) == DBM {
            return;
        }
        let effect = match end.kind {
            EndKind::Leaf(pa) if ghost.kind != Kind::Walk => {
                self.leaf_effect(shape, end.level, end.raw, pa, kind)
            }
            _ => self.effect(shape, &end, ipa, kind),
        };
        let source = Source::Ghost {
            entry: self.ghost_entry(ghost, now.raw),
            missing: ghost.missing(),
            changed: ghost.changed,
        };
        outcomes.push(Outcome { effect, source });
    }

    /// Descriptors on the way that this CPU's walks may still see as they were, where that is a fault.
    fn collect_unseen(&self, cpu: usize, tree: usize, ipa: u64, outcomes: &mut Vec<Outcome>) {
        let shape = &self.trees[tree].shape;
        let mut level = shape.start;
        let mut word = self.trees[tree].word;
        if !shape.has_input(ipa) {
            return;
        }
        loop {
            word += shape.index(level, ipa) as usize;
            if self.memory.frame(word).pending != 0
                && let Some(kind) = self.unseen_fault(cpu, word, shape, level)
            {
                let step = self.memory.since(word);
                let source = Source::Unseen { step };
                outcomes.push(Outcome {
                    effect: Effect::Fault { kind, level },
                    source,
                });
            }
            match shape.meaning(self.memory.get(word), level) {
                Meaning::Table(table) => match self.child(shape, table) {
                    Some((child, _)) => word = child,
                    None => return,
                },
                _ => return,
            }
            level += 1;
        }
    }

    fn unseen_fault(&self, cpu: usize, word: usize, shape: &Shape, level: i8) -> Option<FaultKind> {
        self.cpus.iter().enumerate().find_map(|(writer, state)| {
            let seen = if writer == cpu { state.own_seen } else { 0 };
            state.pending[seen..]
                .iter()
                .filter(|pending| pending.word == word)
                .find_map(|pending| match shape.meaning(pending.old, level) {
                    Meaning::Invalid => Some(FaultKind::Translation),
                    Meaning::Leaf(_) if pending.old & ACCESSED == 0 && !shape.sets_accessed => {
                        Some(FaultKind::AccessFlag)
                    }
                    _ => None,
                })
        })
    }

    /// Other entries of the Contiguous run: a TLB may hold one of them for the whole run.
    fn collect_neighbours(
        &self,
        shape: &Shape,
        end: &End,
        word: usize,
        ipa: u64,
        kind: AccessKind,
        outcomes: &mut Vec<Outcome>,
    ) {
        let entries = shape.run_entries(end.level);
        let size = shape.entry_bytes(end.level);
        let own = ipa & !(size - 1);
        let start = ipa & !(size * entries - 1);
        let place = self
            .memory
            .frame(word)
            .places
            .iter()
            .find(|place| place.level == end.level && place.ipa <= own);
        let Some(place) = place else {
            return;
        };
        let base = word / FRAME_WORDS * FRAME_WORDS;
        for index in 0..entries {
            let at = start + index * size;
            let neighbour = (word as u64)
                .wrapping_add(at / size)
                .wrapping_sub(own / size) as usize;
            let is_inside = (base + usize::from(place.first)..base + usize::from(place.end))
                .contains(&neighbour);
            if at == own || !is_inside {
                continue;
            }
            let raw = self.memory.get(neighbour);
            let Meaning::Leaf(output) = shape.meaning(raw, end.level) else {
                continue;
            };
            if raw & CONTIGUOUS == 0 || raw & ACCESSED == 0 {
                continue;
            }
            let pa = output.wrapping_add(ipa.wrapping_sub(at));
            let effect = self.leaf_effect(shape, end.level, raw, pa, kind);
            let entry = Entry {
                descriptor: self.memory.address(neighbour),
                ipa: Ipa(at),
                bytes: size,
                level: end.level,
                old: raw,
                new: end.raw,
            };
            outcomes.push(Outcome {
                effect,
                source: Source::Neighbour(entry),
            });
        }
    }

    fn walk(&self, shape: &Shape, tree: usize, ipa: u64) -> End {
        let level = shape.start;
        if !shape.has_input(ipa) {
            return End {
                level,
                word: None,
                raw: 0,
                kind: EndKind::Invalid,
            };
        }
        self.walk_from(shape, self.trees[tree].word, level, ipa)
    }

    fn walk_table(&self, shape: &Shape, table: u64, level: i8, ipa: u64) -> End {
        match self.child(shape, table) {
            Some((word, _)) => self.walk_from(shape, word, level, ipa),
            None => End {
                level,
                word: None,
                raw: 0,
                kind: EndKind::Outside,
            },
        }
    }

    fn walk_from(&self, shape: &Shape, table: usize, level: i8, ipa: u64) -> End {
        let (mut table, mut level) = (table, level);
        loop {
            let word = table + shape.index(level, ipa) as usize;
            let raw = self.memory.get(word);
            let kind = match shape.meaning(raw, level) {
                Meaning::Leaf(output) => EndKind::Leaf(output),
                Meaning::Invalid => EndKind::Invalid,
                Meaning::Table(next) => match self.child(shape, next) {
                    Some((child, _)) => {
                        table = child;
                        level += 1;
                        continue;
                    }
                    None => EndKind::Outside,
                },
            };
            return End {
                level,
                word: Some(word),
                raw,
                kind,
            };
        }
    }

    fn effect(&self, shape: &Shape, end: &End, ipa: u64, kind: AccessKind) -> Effect {
        let level = end.level;
        match end.kind {
            EndKind::Leaf(output) => {
                let pa = output + (ipa & (shape.entry_bytes(level) - 1));
                self.leaf_effect(shape, level, end.raw, pa, kind)
            }
            EndKind::Invalid => Effect::Fault {
                kind: FaultKind::Translation,
                level,
            },
            EndKind::Outside => Effect::Fault {
                kind: FaultKind::External,
                level,
            },
        }
    }

    fn leaf_effect(&self, shape: &Shape, level: i8, raw: u64, pa: u64, kind: AccessKind) -> Effect {
        let is_markable = kind == AccessKind::Write && shape.marks_dirty && raw & DBM != 0;
        let fault = if pa >> shape.oa_bits != 0 {
            FaultKind::AddressSize
        } else if raw & ACCESSED == 0 && !shape.sets_accessed {
            FaultKind::AccessFlag
        } else if !permits(raw, kind, &self.config) && !is_markable {
            FaultKind::Permission
        } else {
            return Effect::Access { pa: Pa(pa), level };
        };
        Effect::Fault { kind: fault, level }
    }

    /// Hardware sets the access flag, and for a write the dirty mark, in the descriptor that a walk of memory finds.
    fn update_by_hardware(&mut self, cpu: usize, access: Access) {
        let Some((vcpu, Occupied { tree, .. })) = self.inside(cpu) else {
            return;
        };
        let shape = self.trees[tree].shape;
        if !shape.sets_accessed && !shape.marks_dirty {
            return;
        }
        let Some(ipa) = self.spaces.translate(&vcpu, access.va) else {
            return;
        };
        let end = self.walk(&shape, tree, ipa.0);
        let (EndKind::Leaf(_), Some(word)) = (end.kind, end.word) else {
            return;
        };
        let mut raw = end.raw;
        if shape.sets_accessed {
            raw |= ACCESSED;
        }
        let is_marked = access.kind == AccessKind::Write && shape.marks_dirty && raw & DBM != 0;
        if is_marked && raw & ACCESSED != 0 {
            raw |= WRITE;
        }
        if raw != end.raw {
            self.store_by_hardware(cpu, word, raw);
        }
    }

    /// Which rule an outcome breaks.
    fn judge(
        &self,
        cpu: usize,
        access: Access,
        allowed: Allowed,
        outcome: &Outcome,
    ) -> Option<Rule> {
        let is_allowed = match (outcome.effect, allowed) {
            (Effect::Conflict, _)
            | (Effect::Fault { .. }, Allowed::Fault | Allowed::Either(_) | Allowed::OneOf(..)) => {
                true
            }
            (Effect::Fault { .. }, _) | (Effect::Access { .. }, Allowed::Fault) => false,
            (Effect::Access { pa, .. }, Allowed::Access(right) | Allowed::Either(right)) => {
                pa == right
            }
            (Effect::Access { pa, .. }, Allowed::OneOf(one, other)) => pa == one || pa == other,
            (Effect::Access { pa, .. }, Allowed::Tracked(right)) => {
                let is_unmarked =
                    access.kind == AccessKind::Write && self.is_unmarked(cpu, access.va, outcome);
                if pa == right && is_unmarked {
                    return Some(Rule::DirtyMarkLost);
                }
                pa == right
            }
        };
        if is_allowed {
            None
        } else {
            Some(self.broken(cpu, access, outcome))
        }
    }

    fn broken(&self, cpu: usize, access: Access, outcome: &Outcome) -> Rule {
        let is_wider = self.is_wider(cpu, access, outcome);
        match outcome.source {
            Source::OtherVcpu { .. } => Rule::OtherVcpu,
            Source::GuestInvalidated { .. } => Rule::GuestInvalidationLost,
            Source::Unseen { .. } => Rule::NotVisible,
            Source::Ghost { missing, .. } if !is_wider => Rule::StaleTranslation(missing),
            _ if is_wider => Rule::WiderPermission,
            _ => Rule::WrongTranslation,
        }
    }

    /// Whether the access is refused now to where the outcome leads, or was granted by a permission alone.
    fn is_wider(&self, cpu: usize, access: Access, outcome: &Outcome) -> bool {
        let Effect::Access { pa, .. } = outcome.effect else {
            return false;
        };
        let Some((vcpu, Occupied { tree, .. })) = self.inside(cpu) else {
            return false;
        };
        let Some(ipa) = self.spaces.translate(&vcpu, access.va) else {
            return false;
        };
        let shape = &self.trees[tree].shape;
        let end = self.walk(shape, tree, ipa.0);
        match end.kind {
            EndKind::Leaf(output) => {
                let now = output + (ipa.0 & (shape.entry_bytes(end.level) - 1));
                now == pa.0 && !matches!(outcome.source, Source::Memory)
            }
            _ => false,
        }
    }

    /// Whether a write by this outcome leaves no mark: memory has none, and what it goes through makes none. In a
    /// Contiguous run a mark in any entry is one of the whole.
    fn is_unmarked(&self, cpu: usize, va: Va, outcome: &Outcome) -> bool {
        let Some((vcpu, Occupied { tree, .. })) = self.inside(cpu) else {
            return false;
        };
        let Some(ipa) = self.spaces.translate(&vcpu, va) else {
            return false;
        };
        let end = self.walk(&self.trees[tree].shape, tree, ipa.0);
        end.raw & WRITE == 0 && matches!(outcome.source, Source::Ghost { .. })
    }

    fn report_outcome(&mut self, cpu: usize, rule: Rule, access: Access, outcome: &Outcome) {
        let vmid = self
            .inside(cpu)
            .map(|(_, occupied)| self.tags[occupied.tag].vmid);
        let (earlier, entry) = match outcome.source {
            Source::Memory => (None, self.entry_now(cpu, access)),
            Source::OtherVcpu { .. } => (None, None),
            Source::Neighbour(entry) => (None, Some(entry)),
            Source::Unseen { step } => (Some(step), self.entry_now(cpu, access)),
            Source::Ghost { entry, changed, .. } => (Some(changed), Some(entry)),
            Source::GuestInvalidated { changed } => (Some(changed), None),
        };
        self.report(cpu, rule, earlier, vmid, entry);
    }

    fn entry_now(&self, cpu: usize, access: Access) -> Option<Entry> {
        let (vcpu, Occupied { tree, .. }) = self.inside(cpu)?;
        let ipa = self.spaces.translate(&vcpu, access.va)?;
        let shape = &self.trees[tree].shape;
        let end = self.walk(shape, tree, ipa.0);
        let bytes = shape.entry_bytes(end.level);
        Some(Entry {
            descriptor: self.memory.address(end.word?),
            ipa: ipa.align_down(bytes),
            bytes,
            level: end.level,
            old: end.raw,
            new: end.raw,
        })
    }
}

/// Whether two entries of different sizes could serve the access.
fn is_conflict(outcomes: &[Outcome]) -> bool {
    let mut levels = outcomes.iter().filter_map(|outcome| match outcome.effect {
        Effect::Access { level, .. } => Some(level),
        _ => None,
    });
    let first = levels.next();
    levels.any(|level| Some(level) != first)
}
