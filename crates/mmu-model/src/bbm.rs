//! Break-before-make and the other rules for a descriptor that becomes valid where walks can read it.
//!
//! A change is judged by what it may meet in a TLB: the ghosts that are left, that of the value it replaces among
//! them. Two translations of one address are at odds when they lead to different memory, have different types, or
//! have sizes that FEAT_BBM does not let stand side by side (DDI 0487, D8 "Using break-before-make when updating
//! translation table entries" and "Support levels for changing table or block size").

use droste_arm64::Ipa;

use crate::config::Bbm;
use crate::descriptor::{CONTIGUOUS, Malformed, Meaning, NT};
use crate::ghost::{Ghost, Kind};
use crate::memory::{FRAME_WORDS, TablePart};
use crate::model::Model;
use crate::regime::Shape;
use crate::tree::Branch;
use crate::violation::{Entry, Missing, Rule};

impl Model {
    pub(crate) fn check_descriptor(&mut self, at: &Branch, raw: u64) {
        let shape = &self.trees[at.tree].shape;
        if let Some(malformed) = shape.malformed(raw, at.level, &self.config) {
            self.malformed(at, raw, malformed);
        }
    }

    #[cold]
    pub(crate) fn malformed(&mut self, at: &Branch, raw: u64, malformed: Malformed) {
        let entry = self.entry(at, raw, raw);
        self.report(at.cpu, Rule::Descriptor(malformed), None, None, Some(entry));
    }

    fn entry(&self, at: &Branch, old: u64, new: u64) -> Entry {
        Entry {
            descriptor: self.memory.address(at.word),
            ipa: Ipa(at.ipa),
            bytes: self.trees[at.tree].shape.entry_bytes(at.level),
            level: at.level,
            old,
            new,
        }
    }

    /// One valid leaf took the place of another with another output or memory type. An old one that was not cached
    /// for want of its access flag is no excuse: hardware or a walk in progress may be about to use it.
    pub(crate) fn check_replaced(&mut self, at: &Branch, old: u64, new: u64, made: u64) {
        let shape = self.trees[at.tree].shape;
        let (Meaning::Leaf(before), Meaning::Leaf(after)) =
            (shape.meaning(old, at.level), shape.meaning(new, at.level))
        else {
            return;
        };
        if before == after && shape.memory_bits(old) == shape.memory_bits(new) {
            return;
        }
        let tag = self.trees[at.tree]
            .tags
            .iter()
            .find(|&&tag| self.tags[tag].holders(at.tree, made) != 0);
        if let Some(&tag) = tag {
            let entry = self.entry(at, old, new);
            let vmid = Some(self.tags[tag].vmid);
            self.report(
                at.cpu,
                Rule::BreakBeforeMake(Missing::Break),
                None,
                vmid,
                Some(entry),
            );
        }
    }

    /// A valid entry was written: no ghost may be left that it would be at odds with.
    pub(crate) fn check_made(&mut self, at: &Branch, raw: u64) {
        let shape = self.trees[at.tree].shape;
        let size = shape.entry_bytes(at.level);
        let is_run =
            raw & CONTIGUOUS != 0 && matches!(shape.meaning(raw, at.level), Meaning::Leaf(_));
        let reach = if is_run {
            size * shape.run_entries(at.level)
        } else {
            size
        };
        let from = at.ipa & !(reach - 1);
        let found = self.trees[at.tree].tags.iter().find_map(|&tag| {
            let tag = &self.tags[tag];
            let mut near = tag.ghosts.overlapping(from, from + reach);
            let ghost = near.find(|ghost| self.is_at_odds(ghost, &shape, at.level, at.ipa, raw))?;
            Some((tag.vmid, ghost.clone()))
        });
        let Some((vmid, ghost)) = found else {
            return;
        };
        let (missing, earlier) = if ghost.changed == self.step {
            (Missing::Break, None)
        } else {
            (ghost.missing(), Some(ghost.changed))
        };
        let entry = self.ghost_entry(&ghost, raw);
        self.report(
            at.cpu,
            Rule::BreakBeforeMake(missing),
            earlier,
            Some(vmid),
            Some(entry),
        );
    }

    pub(crate) fn ghost_entry(&self, ghost: &Ghost, new: u64) -> Entry {
        Entry {
            descriptor: self.memory.address(ghost.word),
            ipa: Ipa(ghost.ipa),
            bytes: ghost.bytes,
            level: ghost.level,
            old: ghost.raw,
            new,
        }
    }

    /// Whether an old translation and a new entry, which overlap, must not be in one TLB.
    fn is_at_odds(&self, ghost: &Ghost, shape: &Shape, level: i8, ipa: u64, raw: u64) -> bool {
        match (shape.meaning(raw, level), ghost.kind) {
            (Meaning::Invalid, _) => false,
            (Meaning::Leaf(output), Kind::Leaf | Kind::Run) => {
                self.leaves_are_at_odds(ghost, shape, level, ipa, raw, output)
            }
            // A table above, still linked or judged when it was replaced.
            (_, Kind::Walk) if ghost.level < level => false,
            (Meaning::Leaf(_), Kind::Walk) => !self.may_resize(raw),
            (Meaning::Table(table), Kind::Walk) if ghost.level == level => {
                ghost.shape.meaning(ghost.raw, level) != Meaning::Table(table)
            }
            (Meaning::Table(table), _) => {
                let Some((first, entries)) = self.child(shape, table) else {
                    return false;
                };
                self.table_is_at_odds(ghost, shape, level + 1, ipa, first, entries)
            }
        }
    }

    fn table_is_at_odds(
        &self,
        ghost: &Ghost,
        shape: &Shape,
        level: i8,
        ipa: u64,
        first: usize,
        entries: u64,
    ) -> bool {
        let size = shape.entry_bytes(level);
        let from = ghost.ipa.max(ipa) - ipa;
        let to = (ghost.ipa + ghost.bytes - ipa).min(entries * size);
        (from / size..to.div_ceil(size)).any(|index| {
            let raw = self.memory.get(first + index as usize);
            raw & 1 != 0 && self.is_at_odds(ghost, shape, level, ipa + index * size, raw)
        })
    }

    fn leaves_are_at_odds(
        &self,
        ghost: &Ghost,
        shape: &Shape,
        level: i8,
        ipa: u64,
        raw: u64,
        output: u64,
    ) -> bool {
        let at = ghost.ipa.max(ipa);
        if ghost.output(at) != output.wrapping_add(at - ipa)
            || ghost.shape.memory_bits(ghost.raw) != shape.memory_bits(raw)
        {
            return true;
        }
        let is_same_size = ghost.level == level && ghost.is_contiguous() == (raw & CONTIGUOUS != 0);
        let block = if ghost.level < level { ghost.raw } else { raw };
        let is_permitted =
            self.config.bbm == Bbm::Level2 || ghost.level != level && self.may_resize(block);
        !(is_same_size || is_permitted)
    }

    /// Whether FEAT_BBM permits this block to stand beside a table for the same addresses.
    fn may_resize(&self, block: u64) -> bool {
        match self.config.bbm {
            Bbm::Level0 => false,
            Bbm::Level1 => block & NT != 0,
            Bbm::Level2 => true,
        }
    }

    /// The valid entries of a Contiguous run agree.
    pub(crate) fn check_run(&mut self, at: &Branch, part: &TablePart, new: u64) {
        let shape = self.trees[at.tree].shape;
        let Meaning::Leaf(output) = shape.meaning(new, at.level) else {
            return;
        };
        let size = shape.entry_bytes(at.level);
        let run = size * shape.run_entries(at.level);
        let start = at.ipa & !(run - 1);
        let base = output.wrapping_sub(at.ipa - start);
        let is_contiguous = new & CONTIGUOUS != 0;
        let frame = at.word / FRAME_WORDS * FRAME_WORDS;
        let first = frame + usize::from(part.first);
        let end = frame + usize::from(part.end);
        let lead = at.word.saturating_sub(((at.ipa - start) / size) as usize);
        let after = lead + shape.run_entries(at.level) as usize;
        let is_wrong = (lead.max(first)..after.min(end)).any(|word| {
            let ipa = part.ipa + ((word - first) as u64) * size;
            let raw = self.memory.get(word);
            let Meaning::Leaf(output) = shape.meaning(raw, at.level) else {
                return false;
            };
            if !is_contiguous && raw & CONTIGUOUS == 0 {
                return false;
            }
            let is_mixed = is_contiguous != (raw & CONTIGUOUS != 0);
            output != base.wrapping_add(ipa - start)
                || shape.memory_bits(raw) != shape.memory_bits(new)
                || is_mixed && self.config.bbm != Bbm::Level2
        });
        if is_wrong || is_contiguous && base & (run - 1) != 0 {
            self.malformed(at, new, Malformed::ContiguousRun);
        }
    }
}
