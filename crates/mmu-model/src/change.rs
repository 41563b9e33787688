//! What follows when a descriptor that walks can read changes: ghosts of the old value, and the rules for the new.

use crate::config::CpuSet;
use crate::descriptor::{ACCESSED, CONTIGUOUS, Meaning};
use crate::ghost::{Ghost, Kind, Origin};
use crate::memory::{FRAME_WORDS, Pieces, TablePart};
use crate::model::{Change, Model};
use crate::regime::Shape;
use crate::tree::Branch;

/// A translation that is to become a ghost.
#[derive(Clone, Copy, Debug)]
struct Burial {
    tree: usize,
    shape: Shape,
    tag: usize,
    level: i8,
    ipa: u64,
    raw: u64,
    made: u64,
    origin: Origin,
}

impl Model {
    /// A descriptor that walks can read has changed.
    pub(crate) fn changed(&mut self, change: Change) {
        let frame = change.word / FRAME_WORDS;
        if self.memory.frames[frame].walkers != 0 && change.old & 1 != 0 {
            self.bury_under_ghosts(&change);
        }
        let offset = (change.word % FRAME_WORDS) as u16;
        let mut index = 0;
        while let Some(&part) = self.memory.frames[frame].parts.get(index) {
            index += 1;
            if (part.first..part.end).contains(&offset) {
                self.changing = Some(part.tree);
                self.changed_at(&change, &part, offset);
                self.changing = None;
            }
        }
    }

    fn changed_at(&mut self, change: &Change, part: &TablePart, offset: u16) {
        let Change {
            cpu,
            word,
            old,
            new,
            ..
        } = *change;
        let TablePart { tree, level, .. } = *part;
        let shape = self.trees[tree].shape;
        let ipa = part.ipa + u64::from(offset - part.first) * shape.entry_bytes(level);
        let at = Branch {
            cpu,
            tree,
            word,
            entries: 1,
            level,
            ipa,
        };

        let made = change.made.max(part.since);
        if old & 1 != 0 {
            self.bury_everywhere(&at, old, made, change.visible);
        }
        let (before, after) = (shape.meaning(old, level), shape.meaning(new, level));
        if let Meaning::Table(table) = before
            && before != after
            && let Some((child, entries)) = self.child(&shape, table)
        {
            self.detach(tree, child, entries, level + 1, ipa);
        }
        if new & 1 == 0 {
            return;
        }
        if let Meaning::Table(_) = after
            && before == after
        {
            self.check_descriptor(&at, new);
            return;
        }
        self.adopt(at, new);
        self.check_replaced(&at, old, new, made);
        self.check_made(&at, new);
        if self.memory.frame(word).has_runs {
            self.check_run(&at, part, new);
        }
    }

    /// The old value of an entry becomes a ghost under every VMID that has the tree.
    fn bury_everywhere(&mut self, at: &Branch, raw: u64, made: u64, visible: CpuSet) {
        let shape = self.trees[at.tree].shape;
        let is_written_again = self.cpus.iter().enumerate().any(|(other, state)| {
            other != at.cpu && state.pending.iter().any(|pending| pending.word == at.word)
        });
        for index in 0..self.trees[at.tree].tags.len() {
            let tag = self.trees[at.tree].tags[index];
            if is_written_again {
                self.share_writes(at.cpu, tag, at.word);
            }
            let holders = self.tags[tag].holders(at.tree, made);
            if holders == 0 {
                continue;
            }
            self.cpus[at.cpu].touch(tag);
            let (cpu, word, step) = (at.cpu, at.word, self.step);
            let origin = Origin {
                writer: cpu,
                cause: word,
                word,
                step,
                holders,
                visible,
            };
            self.bury(&Burial {
                tree: at.tree,
                shape,
                tag,
                level: at.level,
                ipa: at.ipa,
                raw,
                made,
                origin,
            });
        }
    }

    /// A CPU writes what another one wrote before and is not visible yet. Writes of one place are seen in their order,
    /// so the DSB of either makes the first visible.
    fn share_writes(&mut self, cpu: usize, tag: usize, word: usize) {
        for ghost in self.tags[tag].ghosts.iter_mut() {
            if ghost.cause == word && ghost.visible != 0 {
                ghost.writers |= Self::only(cpu);
            }
        }
        self.cpus[cpu].touch(tag);
    }

    /// A CPU begins to walk a tree of which not all writes are visible: it may see what was there before them.
    pub(crate) fn bury_unseen(&mut self, cpu: usize, tag: usize, tree: usize) {
        let states = self.cpus.iter().enumerate();
        let unseen: Vec<_> = states
            .flat_map(|(writer, state)| {
                let seen = if writer == cpu { state.own_seen } else { 0 };
                let pending = state.pending[seen..].iter();
                pending.map(move |pending| (writer, *pending))
            })
            .filter(|(_, pending)| pending.old & 1 != 0)
            .collect();
        for (writer, pending) in unseen {
            let offset = (pending.word % FRAME_WORDS) as u16;
            let shape = self.trees[tree].shape;
            let part = self
                .memory
                .frame(pending.word)
                .parts
                .iter()
                .copied()
                .find(|part| part.tree == tree && (part.first..part.end).contains(&offset));
            let Some(part) = part else {
                continue;
            };
            self.cpus[writer].touch(tag);
            self.bury(&Burial {
                tree,
                shape,
                tag,
                level: part.level,
                ipa: part.ipa + u64::from(offset - part.first) * shape.entry_bytes(part.level),
                raw: pending.old,
                made: self.step,
                origin: Origin {
                    writer,
                    cause: pending.word,
                    word: pending.word,
                    step: self.memory.since(pending.word),
                    holders: Self::only(cpu),
                    visible: Self::only(cpu),
                },
            });
        }
    }

    /// A page changes that only walk-cache ghosts lead to.
    fn bury_under_ghosts(&mut self, change: &Change) {
        let frame = change.word / FRAME_WORDS;
        for tag in 0..self.tags.len() {
            let walks: Vec<_> = (self.tags[tag].ghosts.iter())
                .filter(|ghost| ghost.kind == Kind::Walk && self.leads_to(ghost, frame))
                .map(|ghost| {
                    (
                        ghost.shape,
                        ghost.level + 1,
                        ghost.ipa,
                        ghost.stage2,
                        ghost.raw,
                    )
                })
                .collect();
            for (shape, level, ipa, holders, raw) in walks {
                let Meaning::Table(table) = shape.meaning(raw, level - 1) else {
                    continue;
                };
                let Some((first, _)) = self.child(&shape, table) else {
                    continue;
                };
                let Change {
                    cpu,
                    word,
                    old,
                    made,
                    visible,
                    ..
                } = *change;
                self.cpus[cpu].touch(tag);
                let step = self.step;
                self.bury(&Burial {
                    tree: usize::MAX,
                    shape,
                    tag,
                    level,
                    ipa: ipa + ((word - first) as u64) * shape.entry_bytes(level),
                    raw: old,
                    made,
                    origin: Origin {
                        writer: cpu,
                        cause: word,
                        word,
                        step,
                        holders,
                        visible,
                    },
                });
            }
        }
    }

    /// Whether a walk-cache ghost leads to a frame.
    pub(crate) fn leads_to(&self, ghost: &Ghost, frame: usize) -> bool {
        let Meaning::Table(table) = ghost.shape.meaning(ghost.raw, ghost.level) else {
            return false;
        };
        self.memory
            .frames_of(table, ghost.shape.table_bytes())
            .contains(&frame)
    }

    /// Makes the ghosts of one translation; of a table, also those of all that is below it.
    fn bury(&mut self, burial: &Burial) {
        let Burial {
            shape,
            level,
            ipa,
            raw,
            ..
        } = *burial;
        match shape.meaning(raw, level) {
            Meaning::Invalid => {}
            // An entry whose access flag is clear is not cached (DDI 0487, D8 "The Access flag").
            Meaning::Leaf(_) if raw & ACCESSED == 0 => {}
            Meaning::Leaf(output) => {
                self.haunt(burial, Kind::Leaf, ipa, raw);
                let run = shape.run_entries(level);
                if raw & CONTIGUOUS != 0 && run > 1 {
                    let start = ipa & !(shape.entry_bytes(level) * run - 1);
                    let output = output.wrapping_sub(ipa - start);
                    self.haunt(burial, Kind::Run, start, shape.with_output(raw, output));
                }
            }
            Meaning::Table(table) => {
                let Some((first, entries)) = self.child(&shape, table) else {
                    return;
                };
                self.haunt(burial, Kind::Walk, ipa, raw);
                self.bury_table(burial, first, entries);
            }
        }
    }

    fn bury_table(&mut self, above: &Burial, first: usize, entries: u64) {
        let (shape, level) = (above.shape, above.level + 1);
        for (from, to, ipa) in Pieces::new(first, entries, above.ipa, shape.entry_shift(level)) {
            for word in from..to {
                let raw = self.memory.get(word);
                if raw & 1 == 0 {
                    continue;
                }
                let made = above.made.max(self.memory.since(word));
                let holders = if above.tree == usize::MAX {
                    above.origin.holders
                } else {
                    self.tags[above.tag].holders(above.tree, made) & above.origin.holders
                };
                if holders != 0 {
                    self.bury(&Burial {
                        level,
                        ipa: ipa + ((word - from) as u64) * shape.entry_bytes(level),
                        raw,
                        made,
                        origin: Origin {
                            word,
                            holders,
                            ..above.origin
                        },
                        ..*above
                    });
                }
            }
        }
    }

    fn haunt(&mut self, burial: &Burial, kind: Kind, ipa: u64, raw: u64) {
        let ghost = Ghost::new(burial.shape, kind, burial.level, ipa, raw, burial.origin);
        let tag = &mut self.tags[burial.tag];
        if let Some(same) = tag.ghosts.same(&ghost) {
            same.renew(&ghost);
            return;
        }
        if kind == Kind::Walk {
            self.count_walkers(&ghost, |walkers| *walkers += 1);
        }
        self.tags[burial.tag].ghosts.push(ghost);
    }

    /// Changes how many walk-cache ghosts the frames of a table know.
    pub(crate) fn count_walkers(&mut self, ghost: &Ghost, change: impl Fn(&mut u32)) {
        if let Meaning::Table(table) = ghost.shape.meaning(ghost.raw, ghost.level) {
            for frame in self.memory.frames_of(table, ghost.shape.table_bytes()) {
                change(&mut self.memory.frames[frame].walkers);
            }
        }
    }
}
