//! The tree of tables that a violation is about, as memory has it, for whoever tells it.

use droste_arm64::{Ipa, Pa};

use crate::descriptor::Meaning;
use crate::model::Model;
use crate::regime::Shape;
use crate::violation::Violation;

/// Rows of tables that the violation is not in; those on the way to it are always there.
const ASIDE: usize = 1000;
/// Rows in all.
const MOST: usize = 8192;

/// A descriptor in a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its level, −1 to 3.
    pub level: i8,
    /// Where it stands.
    pub descriptor: Pa,
    /// First address that it translates.
    pub ipa: Ipa,
    /// The bytes that it translates.
    pub bytes: u64,
    /// What it holds.
    pub raw: u64,
    /// Where that leads.
    pub leads: Leads,
}

/// Where a descriptor leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leads {
    /// Nowhere: an access faults.
    Nowhere,
    /// To the next table, of which rows follow unless it was left out.
    Table(Pa),
    /// To memory.
    Memory(Pa),
}

/// What is being walked, and for what.
struct Walk<'a> {
    model: &'a Model,
    shape: Shape,
    /// An address that the violation is about.
    ipa: Option<u64>,
    /// Where its descriptor stands.
    descriptor: u64,
    rows: Vec<Row>,
    aside: usize,
}

impl Model {
    /// The tree that a violation is about: descriptors that are not 0, and the violation's own, each before those of the
    /// table that it leads to. Empty where none is known.
    pub(crate) fn tree_of(&self, violation: &Violation) -> Vec<Row> {
        let entry = violation.entry;
        let tag = violation.vmid.and_then(|vmid| self.tag(vmid));
        let residences = tag.into_iter().flat_map(|tag| &self.tags[tag].residences);
        let used = residences.max_by_key(|residence| (residence.inside != 0, residence.tree));
        let linked = || {
            let word = self.memory.word(entry?.descriptor.0)?;
            Some(self.memory.frame(word).parts.first()?.tree)
        };
        let Some(tree) = linked().or_else(|| Some(used?.tree)) else {
            return Vec::new();
        };
        let tree = &self.trees[tree];
        let mut walk = Walk {
            model: self,
            shape: tree.shape,
            ipa: entry.map(|entry| entry.ipa.0),
            descriptor: entry.map_or(u64::MAX, |entry| entry.descriptor.0),
            rows: Vec::new(),
            aside: 0,
        };
        walk.table(tree.word, tree.shape.root_bytes() / 8, tree.shape.start, 0);
        walk.rows
    }
}

impl Walk<'_> {
    fn table(&mut self, first: usize, entries: u64, level: i8, from: u64) {
        let bytes = self.shape.entry_bytes(level);
        for index in 0..entries {
            let word = first + index as usize;
            let raw = self.model.memory.get(word);
            let descriptor = self.model.memory.address(word);
            let ipa = from.saturating_add(index.saturating_mul(bytes));
            if raw == 0 && descriptor.0 != self.descriptor {
                continue;
            }
            if self.rows.len() >= MOST {
                return;
            }
            let leads = match self.shape.meaning(raw, level) {
                Meaning::Invalid => Leads::Nowhere,
                Meaning::Table(table) => Leads::Table(Pa(table)),
                Meaning::Leaf(output) => Leads::Memory(Pa(output)),
            };
            self.rows.push(Row {
                level,
                descriptor,
                ipa: Ipa(ipa),
                bytes,
                raw,
                leads,
            });
            let Leads::Table(Pa(table)) = leads else {
                continue;
            };
            let is_on_the_way = self
                .ipa
                .is_some_and(|sought| sought.wrapping_sub(ipa) < bytes);
            let before = self.rows.len();
            // Tables lead down a level each, so a circle ends as well.
            if (is_on_the_way || self.aside < ASIDE)
                && level < 3
                && let Some((word, entries)) = self.model.child(&self.shape, table)
            {
                self.table(word, entries, level + 1, ipa);
            }
            if !is_on_the_way {
                self.aside += self.rows.len() - before;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Vcpu, Watch};
    use droste_arm64::barrier::Dsb;

    #[test]
    fn a_violation_comes_with_its_tree() {
        const ROOT: u64 = 0x4000_0000;
        let mut watch = Watch::new(Config::new(Pa(ROOT), 16));
        let words = [
            (ROOT + 8, 0xc000_07fd),
            (ROOT + 0x1000, ROOT + 0x2003),
            (ROOT + 0x2008, 0x8000_17ff),
            (ROOT, ROOT + 0x1003),
        ];
        for (at, value) in words {
            watch.learn(0, Pa(at), value);
        }
        watch.set_vtcr(1, 1 << 31 | 5 << 16 | 1 << 6 | 0x19);
        watch.set_vttbr(1, 1 << 48 | ROOT);
        watch.enter(1, Vcpu::new(0));
        watch.write(0, Pa(ROOT + 0x2008), 0);
        watch.dsb(0, Dsb::Ishst);
        watch.done(0);
        let finding = *watch.findings().next().expect("stale");
        let rows = watch.tree(&finding);
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.level, row.descriptor.0 - ROOT, row.ipa.0, row.leads))
            .collect();
        let table = |at| Leads::Table(Pa(ROOT + at));
        assert_eq!(
            told,
            [
                (1, 0, 0, table(0x1000)),
                (2, 0x1000, 0, table(0x2000)),
                (3, 0x2008, 0x1000, Leads::Nowhere),
                (1, 8, 1 << 30, Leads::Memory(Pa(0xc000_0000))),
            ]
        );
    }

    #[test]
    fn a_tree_that_leads_to_itself_everywhere_has_an_end() {
        const ROOT: u64 = 0x4000_0000;
        let mut watch = Watch::new(Config::new(Pa(ROOT), 16));
        for index in 0..512 {
            for table in 0..3 {
                let next = ROOT + (table + 1) % 3 * 0x1000;
                watch.learn(0, Pa(ROOT + table * 0x1000 + index * 8), next | 3);
            }
        }
        watch.set_vtcr(0, 1 << 31 | 5 << 16 | 1 << 6 | 0x19);
        watch.set_vttbr(0, 1 << 48 | ROOT);
        watch.write(0, Pa(ROOT), ROOT + 0x1000);
        let finding = crate::Finding {
            number: 1,
            violation: Violation {
                rule: crate::Rule::VmidReused,
                step: 1,
                earlier: None,
                cpu: 0,
                vmid: Some(1),
                entry: None,
            },
            site: 0,
            earlier_site: None,
            count: 1,
        };
        assert!(watch.tree(&finding).len() <= MOST);
    }
}
