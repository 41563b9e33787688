//! Everything that hardware could make of an access now.

use droste_arm64::Ipa;

use crate::config::{Bbm, Stage1};
use crate::cpu::{Occupied, Vcpu};
use crate::descriptor::{ACCESSED, AccessKind, CONTIGUOUS, DBM, Meaning, WRITE};
use crate::ghost::{Ghost, Kind};
use crate::memory::FRAME_WORDS;
use crate::model::Model;
use crate::outcome::{Access, Effect, FaultKind, Outcome, Source};
use crate::regime::Shape;
use crate::violation::Entry;
use crate::walk::{End, EndKind};

impl Model {
    /// What memory says is the first.
    pub(crate) fn collect(&self, cpu: usize, access: Access, outcomes: &mut Vec<Outcome>) {
        let Some((vcpu, at)) = self.inside(cpu) else {
            return;
        };
        let kind = access.kind;
        match self.spaces.translate(&vcpu, access.va) {
            Some(ipa) => self.collect_stage2(cpu, at, ipa, kind, outcomes),
            None => outcomes.push(Outcome {
                effect: Effect::Fault {
                    kind: FaultKind::Stage1,
                    level: 0,
                },
                source: Source::Memory,
            }),
        }
        self.collect_stage1(cpu, &vcpu, at, access, outcomes);
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
        let own = self.spaces.translate(vcpu, access.va);
        let is_held = self.config.stage1 == Stage1::Held;
        let foreign = tag
            .residues
            .iter()
            .filter(|residue| residue.cpu == cpu)
            .filter_map(|residue| {
                let ipa = residue.leads(&self.spaces, vcpu, access.va)?;
                Some((ipa, Source::OtherVcpu { vcpu: residue.vcpu }))
            });
        let lost = tag.stage1.iter().filter_map(|ghost| {
            let ipa = ghost.leads(vcpu, Self::only(cpu), access.va)?;
            let changed = ghost.changed;
            if ghost.is_promised(vcpu) {
                Some((ipa, Source::GuestInvalidated { changed }))
            } else {
                is_held.then_some((ipa, Source::GuestChanged { changed }))
            }
        });
        for (ipa, source) in foreign.chain(lost).filter(|&(ipa, _)| Some(ipa) != own) {
            let first = outcomes.len();
            self.collect_stage2(cpu, at, ipa, access.kind, outcomes);
            for outcome in &mut outcomes[first..] {
                outcome.source = source;
            }
        }
    }

    /// What stage 2 could make of an IPA.
    fn collect_stage2(
        &self,
        cpu: usize,
        Occupied { tag, tree }: Occupied,
        ipa: Ipa,
        kind: AccessKind,
        outcomes: &mut Vec<Outcome>,
    ) {
        let first = outcomes.len();
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
        for ghost in tag.ghosts.overlapping(ipa, ipa.saturating_add(1)) {
            if ghost.holders() & sharers != 0 {
                self.collect_ghost(ghost, ipa, kind, &end, outcomes);
            }
        }
        if self.config.bbm == Bbm::Level2 && is_conflict(&outcomes[first..]) {
            outcomes.push(Outcome {
                effect: Effect::Conflict,
                source: Source::Memory,
            });
        }
    }

    /// What a TLB may still hold.
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

    /// The fault that the former value of a descriptor is, where this CPU's walks may still see it.
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
        let part = self
            .memory
            .frame(word)
            .parts
            .iter()
            .find(|part| part.level == end.level && part.ipa <= own);
        let Some(part) = part else {
            return;
        };
        let base = word / FRAME_WORDS * FRAME_WORDS;
        for index in 0..entries {
            let at = start + index * size;
            let neighbour = (word as u64)
                .wrapping_add(at / size)
                .wrapping_sub(own / size) as usize;
            let is_inside =
                (base + usize::from(part.first)..base + usize::from(part.end)).contains(&neighbour);
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
