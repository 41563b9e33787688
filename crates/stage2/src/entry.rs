//! Entries of tables: where they stand, and the mark of one that is being replaced.
//!
//! Rule: an entry that is taken away to be replaced holds what it *will be*, with the valid bit clear and bit 63 set.
//! Hardware sees an invalid descriptor and ignores the rest. Software sees that it is not empty, so nothing is
//! installed over it, and whoever completes the invalidation needs no list of what is to follow: it sets the valid
//! bit of each locked entry in the range.

use droste_arm64::desc::{Kind, RawDescriptor};
use droste_arm64::{Ipa, Level, Pa};

use crate::Geometry;

const VALID: u64 = 1 << 0;
const MARK: u64 = 1 << 63;

/// The locked form of a descriptor that is valid, or will be.
#[inline]
pub(crate) const fn locked(raw: RawDescriptor) -> RawDescriptor {
    RawDescriptor(raw.0 & !VALID | MARK)
}

#[inline]
pub(crate) const fn is_locked(raw: RawDescriptor) -> bool {
    raw.0 & (MARK | VALID) == MARK
}

/// What a locked entry will be; any other as it is.
#[inline]
pub(crate) const fn unlocked(raw: RawDescriptor) -> RawDescriptor {
    if is_locked(raw) {
        RawDescriptor(raw.0 & !MARK | VALID)
    } else {
        raw
    }
}

/// An entry of the tree: where it stands and what it translates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    /// Its address.
    pub(crate) entry: Pa,
    pub(crate) level: Level,
    /// First guest address that it translates.
    pub(crate) ipa: Ipa,
}

impl Position {
    /// What it translates.
    #[inline]
    pub(crate) fn span(self, geometry: Geometry) -> Span {
        Span {
            start: self.ipa,
            end: self.ipa + geometry.entry_bytes(self.level),
        }
    }

    /// What the Contiguous run translates that this entry belongs to.
    #[inline]
    pub(crate) fn run(self, geometry: Geometry) -> Span {
        let bytes = geometry.run_bytes(self.level);
        let start = self.ipa.align_down(bytes);
        Span {
            start,
            end: start + bytes,
        }
    }

    /// The first entry of the Contiguous run that this one belongs to.
    pub(crate) fn first_of_run(self, geometry: Geometry) -> Self {
        let ipa = self.run(geometry).start;
        let before = (self.ipa - ipa) >> geometry.granule().entry_shift(self.level);
        Self {
            entry: Pa(self.entry.0 - before * 8),
            ipa,
            ..self
        }
    }
}

/// A range of guest addresses, not empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) start: Ipa,
    pub(crate) end: Ipa,
}

impl Span {
    #[inline]
    pub(crate) fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    #[inline]
    pub(crate) fn holds(self, ipa: Ipa) -> bool {
        self.start <= ipa && ipa < self.end
    }

    /// The smallest span with both.
    #[inline]
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    #[inline]
    pub(crate) const fn bytes(self) -> u64 {
        self.end.0 - self.start.0
    }
}

impl Geometry {
    /// Leaves of a Contiguous run at `level`.
    #[inline]
    pub(crate) const fn run_entries(self, level: Level) -> u64 {
        self.format().contiguous_entries(level)
    }

    /// Bytes that such a run maps.
    #[inline]
    pub(crate) const fn run_bytes(self, level: Level) -> u64 {
        self.run_entries(level) << self.granule().entry_shift(level)
    }
}

/// What a descriptor is, be it valid or locked.
#[inline]
pub(crate) const fn kind(raw: RawDescriptor, geometry: Geometry, level: Level) -> Kind {
    unlocked(raw).kind(geometry.format(), level)
}

#[cfg(test)]
mod tests {
    use droste_arm64::desc::{Descriptor, Leaf};

    use super::*;
    use crate::Attributes;
    use crate::attributes::scheme;

    fn geometry() -> Geometry {
        let ids = droste_arm64::IdRegisters {
            mmfr0: 5,
            ..droste_arm64::IdRegisters::default()
        };
        let bits = droste_arm64::IpaBits::new(40).expect("a width");
        Geometry::new(droste_arm64::Granule::Kib4, bits, &ids).expect("a shape")
    }

    #[test]
    fn a_locked_entry_is_invalid_and_holds_what_it_will_be() {
        let geometry = geometry();
        let attributes = Attributes::RAM.leaf(scheme(&droste_arm64::IdRegisters::default()));
        let leaf = Leaf {
            output: Pa(0xffff_ffe0_0000),
            attributes,
        };
        for (descriptor, level) in [
            (Descriptor::Table(Pa(0xffff_ffff_f000)), Level::L2),
            (Descriptor::Block(leaf), Level::L2),
            (Descriptor::Page(leaf), Level::L3),
        ] {
            let raw = descriptor.encode(geometry.format(), level).expect("valid");
            let during = locked(raw);
            assert!(!during.is_valid() && during != RawDescriptor::EMPTY);
            assert!(is_locked(during) && !is_locked(raw));
            assert_eq!(unlocked(during), raw);
            assert_eq!(
                kind(during, geometry, level),
                raw.kind(geometry.format(), level)
            );
        }
    }

    #[test]
    fn an_empty_entry_is_not_locked() {
        assert!(!is_locked(RawDescriptor::EMPTY));
        assert_eq!(unlocked(RawDescriptor::EMPTY), RawDescriptor::EMPTY);
    }
}
