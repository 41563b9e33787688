//! The stage-2 walk of memory as it is, and what an access through a leaf comes to.

use droste_arm64::Pa;

use crate::descriptor::{ACCESSED, AccessKind, DBM, Meaning, permits};
use crate::model::Model;
use crate::outcome::{Effect, FaultKind};
use crate::regime::Shape;

/// Where a walk ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) level: i8,
    /// The last descriptor that was read; `None` where none could be.
    pub(crate) word: Option<usize>,
    pub(crate) raw: u64,
    pub(crate) kind: EndKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EndKind {
    Leaf(u64),
    Invalid,
    Outside,
}

impl Model {
    /// From the root.
    pub(crate) fn walk(&self, shape: &Shape, tree: usize, ipa: u64) -> End {
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

    /// From a table of `level` on.
    pub(crate) fn walk_table(&self, shape: &Shape, table: u64, level: i8, ipa: u64) -> End {
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

    /// What an access comes to where a walk ended.
    pub(crate) fn effect(&self, shape: &Shape, end: &End, ipa: u64, kind: AccessKind) -> Effect {
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
                kind: match shape.meaning(end.raw, level) {
                    Meaning::Table(table) if table >> shape.oa_bits != 0 => FaultKind::AddressSize,
                    _ => FaultKind::External,
                },
                level,
            },
        }
    }

    /// What an access comes to through a leaf that leads to `pa`.
    pub(crate) fn leaf_effect(
        &self,
        shape: &Shape,
        level: i8,
        raw: u64,
        pa: u64,
        kind: AccessKind,
    ) -> Effect {
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
}
