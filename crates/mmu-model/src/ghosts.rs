//! The ghosts of one VMID, in the order they came, and found by the translation that they are.
//!
//! Chains run through the ghosts from the heads of a hash table. A chain's head counts only in its epoch, so that the
//! table is emptied without being written: most ghosts end all at once, with a TLBI of their VMID. Ghosts that came one
//! after another are mostly neighbours, so what a few dozen of them reach together tells where a search by address can
//! pass over all of them.

use core::ops::{Deref, DerefMut};

use crate::ghost::Ghost;

/// The end of a chain.
const END: u32 = u32::MAX;
/// Heads of the first table.
const HEADS: usize = 64;

/// Ghosts whose reach is kept together.
const FLOCK: usize = 32;

/// From the first address that ghosts of a flock translate to the end of the last.
#[derive(Clone, Copy, Debug)]
struct Reach {
    from: u64,
    to: u64,
}

/// The last ghost of a chain, if the epoch is this one.
#[derive(Clone, Copy, Debug)]
struct Head {
    epoch: u32,
    ghost: u32,
}

/// All ghosts of a VMID. As a slice they can be read and changed, but for what [`Ghost::is_same`] tells them apart by.
#[derive(Clone, Default, Debug)]
pub(crate) struct Ghosts {
    all: Vec<Ghost>,
    /// For each ghost the one before it in its chain.
    before: Vec<u32>,
    /// A power of two of them, or none.
    heads: Vec<Head>,
    epoch: u32,
    /// By flock.
    reaches: Vec<Reach>,
}

impl Ghosts {
    /// Those that translate something of \[from, to), in their order.
    pub(crate) fn overlapping(&self, from: u64, to: u64) -> impl Iterator<Item = &Ghost> {
        self.reaches
            .iter()
            .zip(self.all.chunks(FLOCK))
            .filter(move |(reach, _)| reach.from < to && from < reach.to)
            .flat_map(|(_, flock)| flock)
            .filter(move |ghost| ghost.overlaps(from, to))
    }

    /// The first ghost of the same translation, with which a new one can be kept as one.
    pub(crate) fn same(&mut self, ghost: &Ghost) -> Option<&mut Ghost> {
        let mut at = self.head(ghost.translation());
        let mut found = END;
        // A chain leads from the last to the first.
        while at != END {
            if self.all[at as usize].is_same(ghost) {
                found = at;
            }
            at = self.before[at as usize];
        }
        self.all.get_mut(found as usize)
    }

    pub(crate) fn push(&mut self, ghost: Ghost) {
        self.all.push(ghost);
        if self.all.len() > self.heads.len() {
            self.index_again();
        } else {
            self.enter(self.all.len() - 1);
        }
    }

    /// Takes out those that no TLB can hold any more, and hands each over.
    pub(crate) fn take_ended(&mut self, mut ended: impl FnMut(Ghost)) {
        let mut index = 0;
        while let Some(ghost) = self.all.get(index) {
            if ghost.holders() == 0 {
                ended(self.all.swap_remove(index));
            } else {
                index += 1;
            }
        }
        self.index_again();
    }

    /// Makes chains and reaches anew, in a table with room for as many ghosts again.
    fn index_again(&mut self) {
        self.before.clear();
        self.reaches.clear();
        let wanted = if self.all.len() >= self.heads.len() {
            (self.all.len() * 2).next_power_of_two().max(HEADS)
        } else {
            self.heads.len()
        };
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 || wanted != self.heads.len() {
            let none = Head {
                epoch: 0,
                ghost: END,
            };
            self.heads.clear();
            self.heads.resize(wanted, none);
            self.epoch = 1;
        }
        (0..self.all.len()).for_each(|index| self.enter(index));
    }

    /// Puts the ghost of this number, which is the next without a chain, at the head of one.
    fn enter(&mut self, index: usize) {
        let (from, bytes) = (self.all[index].ipa, self.all[index].bytes);
        let to = from + bytes;
        match self.reaches.get_mut(index / FLOCK) {
            Some(reach) => (reach.from, reach.to) = (reach.from.min(from), reach.to.max(to)),
            None => self.reaches.push(Reach { from, to }),
        }
        let translation = self.all[index].translation();
        self.before.push(self.head(translation));
        let place = self.place(translation);
        self.heads[place] = Head {
            epoch: self.epoch,
            ghost: index as u32,
        };
    }

    fn place(&self, translation: u64) -> usize {
        let hash = translation.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        hash as usize & (self.heads.len() - 1)
    }

    fn head(&self, translation: u64) -> u32 {
        if self.heads.is_empty() {
            return END;
        }
        let head = self.heads[self.place(translation)];
        if head.epoch == self.epoch {
            head.ghost
        } else {
            END
        }
    }
}

impl Deref for Ghosts {
    type Target = [Ghost];

    fn deref(&self) -> &[Ghost] {
        &self.all
    }
}

impl DerefMut for Ghosts {
    fn deref_mut(&mut self) -> &mut [Ghost] {
        &mut self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Features};
    use crate::ghost::{Kind, Origin};
    use crate::regime::Shape;
    use droste_arm64::Pa;

    fn ghost(ipa: u64, raw: u64, writer: usize) -> Ghost {
        let config = Config {
            features: Features::NONE,
            ..Config::new(Pa(0), 1)
        };
        let shape = Shape::decode(0x8002_3558, &config).expect("40 bits of 4 KiB pages");
        let origin = Origin {
            writer,
            cause: 0,
            word: 0,
            step: 1,
            holders: 1,
            visible: 1,
        };
        Ghost::new(shape, Kind::Leaf, 3, ipa, raw, origin)
    }

    /// What a search of the whole list finds.
    fn by_search(ghosts: &Ghosts, ghost: &Ghost) -> Option<u64> {
        let found = ghosts.iter().find(|other| other.is_same(ghost));
        found.map(|ghost| ghost.changed)
    }

    #[test]
    fn chains_and_reaches_find_what_a_search_of_all_finds_while_ghosts_come_and_end() {
        let mut ghosts = Ghosts::default();
        let mut state = 1u64;
        let mut below = |limit: u64| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 33) % limit
        };
        let (mut found, mut ended) = (0, 0);
        for step in 0..20_000 {
            let mut new = ghost(below(200) << 12, below(3), below(2) as usize);
            new.changed = step;
            let expected = by_search(&ghosts, &new);
            let same = ghosts.same(&new).map(|ghost| ghost.changed);
            assert_eq!(same, expected, "step {step}");
            // Kept beside a same one too: the first of them is what is found.
            found += usize::from(same.is_some());
            if same.is_none() || below(8) == 0 {
                ghosts.push(new);
            }
            let from = below(200) << 12;
            let to = from + (below(20) << 12);
            let passed: Vec<u64> = ghosts.overlapping(from, to).map(|g| g.changed).collect();
            let all = ghosts.iter().filter(|ghost| ghost.overlaps(from, to));
            assert_eq!(
                passed,
                all.map(|g| g.changed).collect::<Vec<_>>(),
                "step {step}"
            );
            if below(50) == 0 {
                let few = below(4) + 1;
                for ghost in ghosts.iter_mut() {
                    (ghost.stage2, ghost.combined) = (u32::from(below(few) != 0), 0);
                }
                ghosts.take_ended(|ghost| {
                    assert_eq!(ghost.holders(), 0);
                    ended += 1;
                });
                assert!(ghosts.iter().all(|ghost| ghost.holders() != 0));
            }
        }
        assert!(found > 1000 && ended > 1000, "{found} found, {ended} ended");
    }
}
