//! Trees: the tables that VTTBR_EL2 has led to.

use crate::regime::Shape;

/// A root of one shape.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) shape: Shape,
    pub(crate) root: u64,
    /// The root's first descriptor.
    pub(crate) word: usize,
    /// Tags with a residence for it.
    pub(crate) tags: Vec<usize>,
    /// Not after it was forgotten.
    pub(crate) is_live: bool,
    /// Whether its tables are followed: not from when somebody gave them up to the next entry.
    pub(crate) is_followed: bool,
}

/// A table about to be reachable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Branch {
    pub(crate) cpu: usize,
    pub(crate) tree: usize,
    /// Its first descriptor.
    pub(crate) word: usize,
    pub(crate) entries: u64,
    pub(crate) level: i8,
    pub(crate) ipa: u64,
}
