//! Follows the tables that VTTBR_EL2 has led to, as they are linked and unlinked.

use droste_arm64::{Ipa, Pa};

use crate::cpu::{Order, Pending};
use crate::descriptor::{CONTIGUOUS, Malformed, Meaning};
use crate::ghost::Kind;
use crate::memory::{FRAME_WORDS, Ownership, Pieces, TablePart};
use crate::model::Model;
use crate::regime::Shape;
use crate::tree::{Branch, Tree};
use crate::violation::{Entry, Rule};

impl Model {
    /// Whether the root of a tree has a valid descriptor.
    pub(crate) fn has_valid(&self, tree: usize) -> bool {
        let Tree { shape, word, .. } = &self.trees[tree];
        (*word..word + (shape.root_bytes() / 8) as usize).any(|word| self.memory.get(word) & 1 != 0)
    }

    /// The tree of this root and shape; its tables are followed from now on.
    pub(crate) fn tree(&mut self, cpu: usize, root: u64, word: usize, shape: Shape) -> usize {
        let frame = word / FRAME_WORDS;
        let known = self.memory.frames[frame]
            .roots
            .iter()
            .copied()
            .find(|&tree| {
                let tree = &self.trees[tree];
                tree.root == root && tree.shape == shape
            });
        if let Some(tree) = known {
            if !self.trees[tree].is_followed {
                self.follow(cpu, tree);
            }
            return tree;
        }
        // Trees of the same root and another shape that nothing refers to are a former life of it.
        self.drop_idle_trees(Pa(root), 8);
        let tree = Tree {
            shape,
            root,
            word,
            tags: Vec::new(),
            is_live: true,
            is_followed: true,
        };
        let number = if let Some(free) = self.trees.iter().position(|tree| !tree.is_live) {
            self.trees[free] = tree;
            free
        } else {
            self.trees.push(tree);
            self.trees.len() - 1
        };
        self.memory.frames[frame].roots.push(number);
        self.follow(cpu, number);
        number
    }

    /// The tables of a tree are followed from now on.
    fn follow(&mut self, cpu: usize, tree: usize) {
        let Tree { shape, word, .. } = self.trees[tree];
        self.trees[tree].is_followed = true;
        self.attach(Branch {
            cpu,
            tree,
            word,
            entries: shape.root_bytes() / 8,
            level: shape.start,
            ipa: 0,
        });
    }

    /// Whoever had the tables of a root, where nobody is inside, has given them up: what is written there now is no
    /// descriptor. What TLBs hold of them they hold all the same.
    pub(crate) fn give_up(&mut self, tree: usize) {
        let Tree { shape, word, .. } = self.trees[tree];
        self.detach(tree, word, shape.root_bytes() / 8, shape.start, 0);
        self.trees[tree].is_followed = false;
    }

    /// Forgets trees that have something here and of which no TLB may hold anything.
    pub(crate) fn drop_idle_trees(&mut self, page: Pa, bytes: u64) {
        for frame in self.memory.frames_of(page.0, bytes) {
            let found = &self.memory.frames[frame];
            let here = found.parts.iter().map(|part| part.tree);
            let mut trees: Vec<_> = here.chain(found.roots.iter().copied()).collect();
            trees.sort_unstable();
            trees.dedup();
            for tree in trees {
                if self.is_idle(tree) {
                    self.drop_tree(tree);
                }
            }
        }
    }

    fn drop_tree(&mut self, number: usize) {
        let Tree { shape, word, .. } = self.trees[number];
        self.detach(number, word, shape.root_bytes() / 8, shape.start, 0);
        self.trees[number].is_live = false;
        for tag in core::mem::take(&mut self.trees[number].tags) {
            self.tags[tag]
                .residences
                .retain(|residence| residence.tree != number);
        }
        self.memory
            .frame_mut(word)
            .roots
            .retain(|&root| root != number);
    }

    fn is_idle(&self, tree: usize) -> bool {
        self.trees[tree].tags.iter().all(|&tag| {
            self.tags[tag]
                .residence(tree)
                .is_none_or(|residence| residence.present == 0)
        })
    }

    /// The descriptors of the table that a descriptor of `level` leads to.
    pub(crate) fn child(&self, shape: &Shape, table: u64) -> Option<(usize, u64)> {
        let word = self.memory.table(table, shape.table_bytes())?;
        Some((word, shape.table_bytes() / 8))
    }

    /// A table and all below becomes reachable.
    pub(crate) fn attach(&mut self, branch: Branch) {
        let Branch {
            tree,
            word,
            entries,
            level,
            ipa,
            ..
        } = branch;
        let shape = self.trees[tree].shape;
        for (first, end, ipa) in Pieces::new(word, entries, ipa, shape.entry_shift(level)) {
            let frame = first / FRAME_WORDS;
            self.check_link(&branch, frame, ipa);
            self.memory.frames[frame].parts.push(TablePart {
                tree,
                level,
                first: (first % FRAME_WORDS) as u16,
                end: ((end - 1) % FRAME_WORDS) as u16 + 1,
                ipa,
                since: self.step,
            });
            if self.memory.frames[frame].pending != 0 {
                self.check_former_contents(&branch, first, end);
            }
            for word in first..end {
                let raw = self.memory.get(word);
                if raw & 1 != 0 {
                    let ipa = ipa + ((word - first) as u64) * shape.entry_bytes(level);
                    self.adopt(
                        Branch {
                            word,
                            ipa,
                            ..branch
                        },
                        raw,
                    );
                }
            }
        }
    }

    /// A valid descriptor becomes reachable, and what it leads to.
    pub(crate) fn adopt(&mut self, at: Branch, raw: u64) {
        let shape = self.trees[at.tree].shape;
        self.check_descriptor(&at, raw);
        if raw & CONTIGUOUS != 0 && shape.run_entries(at.level) > 1 {
            self.memory.frame_mut(at.word).has_runs = true;
        }
        let Meaning::Table(table) = shape.meaning(raw, at.level) else {
            return;
        };
        let Some((word, entries)) = self.child(&shape, table) else {
            self.malformed(&at, raw, Malformed::TableOutside);
            return;
        };
        let is_loop = self.memory.frame(word).parts.iter().any(|part| {
            let bytes = u64::from(part.end - part.first) << shape.entry_shift(part.level).min(63);
            part.tree == at.tree
                && part.level <= at.level
                && (part.ipa..part.ipa.saturating_add(bytes)).contains(&at.ipa)
        });
        if is_loop {
            self.malformed(&at, raw, Malformed::TableLoop);
            return;
        }
        self.attach(Branch {
            word,
            entries,
            level: at.level + 1,
            ..at
        });
    }

    /// A table and all below is no longer reachable by memory as it is.
    pub(crate) fn detach(&mut self, tree: usize, word: usize, entries: u64, level: i8, ipa: u64) {
        let shape = self.trees[tree].shape;
        for (first, end, ipa) in Pieces::new(word, entries, ipa, shape.entry_shift(level)) {
            let parts = &mut self.memory.frame_mut(first).parts;
            let part = parts
                .iter()
                .position(|part| part.tree == tree && part.level == level && part.ipa == ipa);
            let Some(part) = part else {
                continue;
            };
            parts.swap_remove(part);
            if level == 3 {
                continue;
            }
            for word in first..end {
                let raw = self.memory.get(word);
                if let Meaning::Table(table) = shape.meaning(raw, level)
                    && let Some((child, entries)) = self.child(&shape, table)
                {
                    let ipa = ipa + ((word - first) as u64) * shape.entry_bytes(level);
                    self.detach(tree, child, entries, level + 1, ipa);
                }
            }
        }
    }

    /// A page that is linked belongs to the tables, and no stale walk elsewhere leads to it.
    fn check_link(&mut self, branch: &Branch, frame: usize, ipa: u64) {
        let Branch {
            cpu, tree, level, ..
        } = *branch;
        if self.memory.frames[frame].ownership == Ownership::Released {
            let entry = self.page_entry(branch, frame);
            self.report(cpu, Rule::PageReleased, None, None, Some(entry));
        }
        // A page that is linked elsewhere too stays a table, whoever else walks it.
        if self.memory.frames[frame].walkers == 0 || !self.memory.frames[frame].parts.is_empty() {
            return;
        }
        let tags = &self.trees[tree].tags;
        let other = self.tags.iter().enumerate().find_map(|(number, tag)| {
            let ghost = tag.ghosts.iter().find(|ghost| {
                let is_same =
                    ghost.level + 1 == level && ghost.contains(ipa) && tags.contains(&number);
                ghost.kind == Kind::Walk && self.leads_to(ghost, frame) && !is_same
            })?;
            Some((tag.vmid, ghost.changed))
        });
        if let Some((vmid, changed)) = other {
            let entry = self.page_entry(branch, frame);
            self.report(
                cpu,
                Rule::PageReachable,
                Some(changed),
                Some(vmid),
                Some(entry),
            );
        }
    }

    fn page_entry(&self, branch: &Branch, frame: usize) -> Entry {
        let shape = &self.trees[branch.tree].shape;
        Entry {
            descriptor: self.memory.address(frame * FRAME_WORDS),
            ipa: Ipa(branch.ipa),
            bytes: shape.entry_bytes(branch.level),
            level: branch.level,
            old: 0,
            new: self.memory.get(frame * FRAME_WORDS),
        }
    }

    /// What a linked page held before, and walks may still see, must mean nothing.
    fn check_former_contents(&mut self, branch: &Branch, first: usize, end: usize) {
        let shape = self.trees[branch.tree].shape;
        let level = branch.level;
        let walkers: u32 = self.trees[branch.tree]
            .tags
            .iter()
            .filter_map(|&tag| self.tags[tag].residence(branch.tree))
            .fold(0, |cpus, residence| cpus | residence.inside);
        if walkers == 0 {
            return;
        }
        let writers = self.cpus.iter().enumerate();
        let former = writers
            .flat_map(|(writer, state)| state.pending.iter().map(move |write| (writer, write)))
            .find(|(writer, pending)| {
                let is_here = (first..end).contains(&pending.word);
                // A walk reads the table where the link says that it is, and so sees what is ordered before the link
                // (DDI 0487, B2.3 "Definition of the Arm memory model").
                let is_ordered = *writer == branch.cpu && pending.order == Order::BeforeTheNext;
                is_here
                    && !is_ordered
                    && shape.is_exposed(pending.old, self.memory.get(pending.word), level)
            });
        if let Some((_, &Pending { word, old, .. })) = former {
            let entry = Entry {
                descriptor: self.memory.address(word),
                ipa: Ipa(branch.ipa),
                bytes: shape.entry_bytes(level),
                level,
                old,
                new: self.memory.get(word),
            };
            let earlier = Some(self.memory.since(word));
            self.report(
                branch.cpu,
                Rule::ContentsNotVisible,
                earlier,
                None,
                Some(entry),
            );
        }
    }

    /// Pages that change hands are out of every walk's reach.
    pub(crate) fn check_unreachable(&mut self, page: Pa, bytes: u64) {
        self.drop_idle_trees(page, bytes);
        for frame in self.memory.frames_of(page.0, bytes) {
            let found = if let Some(part) = self.memory.frames[frame].parts.first() {
                let shape = self.trees[part.tree].shape;
                Some((None, part.since, part.ipa, part.level, shape))
            } else if self.memory.frames[frame].walkers != 0 {
                self.tags.iter().find_map(|tag| {
                    let ghost = tag
                        .ghosts
                        .iter()
                        .find(|ghost| ghost.kind == Kind::Walk && self.leads_to(ghost, frame))?;
                    Some((
                        Some(tag.vmid),
                        ghost.changed,
                        ghost.ipa,
                        ghost.level,
                        ghost.shape,
                    ))
                })
            } else {
                None
            };
            let Some((vmid, earlier, ipa, level, shape)) = found else {
                continue;
            };
            let entry = Entry {
                descriptor: self.memory.address(frame * FRAME_WORDS),
                ipa: Ipa(ipa),
                bytes: shape.entry_bytes(level),
                level,
                old: 0,
                new: self.memory.get(frame * FRAME_WORDS),
            };
            self.report(0, Rule::PageReachable, Some(earlier), vmid, Some(entry));
            return;
        }
    }
}

impl Shape {
    /// Whether a walk that reads `old` where `new` was written sees something that it must not.
    fn is_exposed(&self, old: u64, new: u64, level: i8) -> bool {
        match (self.meaning(old, level), self.meaning(new, level)) {
            (Meaning::Invalid, _) => false,
            (Meaning::Leaf(before), Meaning::Leaf(after)) => {
                before != after || self.memory_bits(old) != self.memory_bits(new)
            }
            (before, after) => before != after,
        }
    }
}
