//! What a mutant is.

/// A change of one place in the source that tests must notice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mutant {
    pub(super) name: &'static str,
    /// In the crate's `src`.
    pub(super) file: &'static str,
    /// Occurs once.
    pub(super) old: &'static str,
    pub(super) new: &'static str,
    /// Why nothing can notice, if nothing can.
    pub(super) harmless: Option<&'static str>,
}

pub(super) const fn mutant(
    name: &'static str,
    file: &'static str,
    old: &'static str,
    new: &'static str,
) -> Mutant {
    Mutant {
        name,
        file,
        old,
        new,
        harmless: None,
    }
}

/// A crate, its mutants, and what tests them.
pub(super) struct Subject {
    /// The folder in `crates`.
    pub(super) name: &'static str,
    pub(super) mutants: &'static [&'static [Mutant]],
    /// Arguments of `cargo test`, one call after the other: the trials first, because they name what is broken.
    pub(super) tests: &'static [&'static [&'static str]],
}

impl Subject {
    /// Where a mutant's text is, from the workspace's root.
    pub(super) fn path(&self, mutant: &Mutant) -> String {
        format!("crates/{}/src/{}", self.name, mutant.file)
    }
}
