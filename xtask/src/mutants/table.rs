//! What a mutant is, and which crates have some.

use super::{life, locks, nested, stage2, vdev};

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
    pub(super) mutants: &'static [Mutant],
    /// Arguments of `cargo test`, one call after the other: the trials first, because they name what is broken.
    pub(super) tests: &'static [&'static [&'static str]],
}

pub(super) const SUBJECTS: [Subject; 5] = [
    Subject {
        name: "stage2",
        mutants: stage2::MUTANTS,
        tests: &[
            &["--package", "droste-trials", "--tests"],
            &["--package", "droste-stage2", "--tests"],
        ],
    },
    Subject {
        name: "nested",
        mutants: nested::MUTANTS,
        tests: &[
            &["--package", "droste-trials", "--test", "nested*"],
            &["--package", "droste-nested", "--tests"],
        ],
    },
    Subject {
        name: "vdev",
        mutants: vdev::MUTANTS,
        tests: &[&["--package", "droste-vdev", "--lib"]],
    },
    Subject {
        name: "life",
        mutants: life::MUTANTS,
        tests: &[
            &["--package", "droste-life", "--lib"],
            &["--package", "droste-life", "--test", "interleavings"],
        ],
    },
    Subject {
        name: "locks",
        mutants: locks::MUTANTS,
        tests: &[
            &["--package", "droste-locks", "--lib"],
            &["--package", "droste-locks", "--test", "interleavings"],
        ],
    },
];

impl Subject {
    /// Where a mutant's text is, from the workspace's root.
    pub(super) fn path(&self, mutant: &Mutant) -> String {
        format!("crates/{}/src/{}", self.name, mutant.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_changes_one_place_and_has_a_name_of_its_own() {
        let all = SUBJECTS.iter().flat_map(|subject| {
            let mutants = subject.mutants.iter();
            mutants.map(move |mutant| (subject, mutant))
        });
        for (index, (subject, mutant)) in all.clone().enumerate() {
            let path = subject.path(mutant);
            let source = crate::workspace::read(&path).expect("a file of the crate");
            let count = source.matches(mutant.old).count();
            assert_eq!(
                count, 1,
                "{}: its text occurs {count} times in {path}",
                mutant.name
            );
            assert_ne!(mutant.old, mutant.new, "{}", mutant.name);
            let mut before = all.clone().take(index);
            let is_known = before.any(|(_, other)| other.name == mutant.name);
            assert!(!is_known, "{} is there twice", mutant.name);
        }
    }
}
