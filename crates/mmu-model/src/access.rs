//! Guest accesses: their possible outcomes, and whether all of those are acceptable.

use droste_arm64::{Ipa, Va};

#[cfg(doc)]
use crate::config::Stage1;
use crate::cpu::{Occupied, Vcpu};
use crate::descriptor::{ACCESSED, AccessKind, DBM, WRITE};
use crate::model::{By, Model};
use crate::outcome::{Access, Allowed, Effect, Outcome, Outcomes, Source};
use crate::regime::Shape;
use crate::trace::Verb;
use crate::violation::{Entry, Rule, Violation};
use crate::walk::{End, EndKind};

impl Model {
    /// The guest on this CPU makes an access. Returns everything that hardware could make of it now, and updates
    /// descriptors as hardware does after a walk of memory: sets the access flag, and marks what is written.
    pub fn access(&mut self, cpu: usize, access: Access) -> Outcomes {
        let mut outcomes = Vec::new();
        if self.begin(cpu, By::Guest, Verb::Access { cpu, access }) {
            self.collect(cpu, access, &mut outcomes);
            self.walk_for(cpu, access);
        }
        Outcomes(outcomes)
    }

    /// Makes an access like [`access`](Self::access), of which each outcome must be allowed. Returns the first
    /// violation, if there is one, by this access or by an earlier step.
    pub fn expect(&mut self, cpu: usize, access: Access, allowed: Allowed) -> Option<Violation> {
        if !self.begin(
            cpu,
            By::Guest,
            Verb::Expect {
                cpu,
                access,
                allowed,
            },
        ) {
            return self.violation().copied();
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
        self.walk_for(cpu, access);
        self.violation().copied()
    }

    /// This CPU, which is in a guest, makes a speculative walk: before an access, or for one that never happens. Its
    /// only visible effects are the access flag, if hardware sets it, and with [`Stage1::Held`] the stage-1 entries
    /// that it leaves.
    pub fn speculate(&mut self, cpu: usize, va: Va) {
        if self.begin(cpu, By::Guest, Verb::Speculate { cpu, va }) {
            self.walk_for(cpu, Access::new(va, AccessKind::Read));
        }
    }

    /// The guest and the context of a CPU that is inside.
    pub(crate) fn inside(&self, cpu: usize) -> Option<(Vcpu, Occupied)> {
        let state = &self.cpus[cpu];
        state.guest.zip(state.occupied)
    }

    /// Where an address of the guest on a CPU leads by memory: its IPA, and the end of the walk.
    fn now(&self, cpu: usize, va: Va) -> Option<(&Shape, u64, End)> {
        let (vcpu, Occupied { tree, .. }) = self.inside(cpu)?;
        let ipa = self.spaces.translate(&vcpu, va)?.0;
        let shape = &self.trees[tree].shape;
        Some((shape, ipa, self.walk(shape, tree, ipa)))
    }

    /// A walk of memory leaves entries, and hardware sets the access flag, and for a write the dirty mark, in the
    /// descriptor that it finds.
    fn walk_for(&mut self, cpu: usize, access: Access) {
        self.leave_residue_of_walk(cpu);
        let Some((shape, _, end)) = self.now(cpu, access.va) else {
            return;
        };
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
            // The guest's own affair, until somebody says more of its invalidations than the model knows.
            _ if matches!(outcome.source, Source::GuestChanged { .. }) => true,
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

    /// Whether memory leads to the same, but refuses the access.
    fn is_wider(&self, cpu: usize, access: Access, outcome: &Outcome) -> bool {
        let (Effect::Access { pa, .. }, Some((shape, ipa, end))) =
            (outcome.effect, self.now(cpu, access.va))
        else {
            return false;
        };
        let EndKind::Leaf(output) = end.kind else {
            return false;
        };
        let now = output + (ipa & (shape.entry_bytes(end.level) - 1));
        now == pa.0 && !matches!(outcome.source, Source::Memory)
    }

    /// Whether a write by this outcome leaves no mark: memory has none, and what it goes through makes none. In a
    /// Contiguous run a mark in any entry is one of the whole.
    fn is_unmarked(&self, cpu: usize, va: Va, outcome: &Outcome) -> bool {
        let is_marked = self
            .now(cpu, va)
            .is_none_or(|(.., end)| end.raw & WRITE != 0);
        !is_marked && matches!(outcome.source, Source::Ghost { .. })
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
            Source::GuestInvalidated { changed } | Source::GuestChanged { changed } => {
                (Some(changed), None)
            }
        };
        self.report(cpu, rule, earlier, vmid, entry);
    }

    fn entry_now(&self, cpu: usize, access: Access) -> Option<Entry> {
        let (shape, ipa, end) = self.now(cpu, access.va)?;
        let bytes = shape.entry_bytes(end.level);
        Some(Entry {
            descriptor: self.memory.address(end.word?),
            ipa: Ipa(ipa).align_down(bytes),
            bytes,
            level: end.level,
            old: end.raw,
            new: end.raw,
        })
    }
}
