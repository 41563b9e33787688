//! The set of vCPUs that an event concerns.

use crate::bits::ones;
use core::ops::{BitOr, BitOrAssign};

/// vCPUs whose list registers no longer hold what they should.
///
/// Each of them must [`fold`](super::Gic::fold) and [`fill`](super::Gic::fill) before it runs guest code again: one
/// that runs must be interrupted, one that waits for an interrupt must be woken if
/// [`has_pending`](super::Gic::has_pending) says so.
///
/// ```
/// use droste_vdev::gic::Kicks;
/// let kicks = Kicks::one(3) | Kicks::one(1);
/// assert!(kicks.contains(3) && !kicks.contains(2));
/// assert!(kicks.iter().eq([1, 3]));
/// assert!(kicks.without(1).iter().eq([3]));
/// ```
#[must_use = "a vCPU that is not kicked keeps running with outdated list registers"]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kicks(u64);

impl Kicks {
    /// No vCPU.
    pub const NONE: Self = Self(0);

    /// vCPU `vcpu` alone, below [`MAX_VCPUS`](crate::MAX_VCPUS).
    #[inline]
    pub const fn one(vcpu: usize) -> Self {
        Self(1 << (vcpu & 63))
    }

    /// Whether no vCPU is in the set.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `vcpu` is in the set.
    #[inline]
    pub const fn contains(self, vcpu: usize) -> bool {
        self.0 >> (vcpu & 63) & 1 != 0
    }

    /// The set without `vcpu`, for a caller on that vCPU, which sees to it itself.
    #[inline]
    pub const fn without(self, vcpu: usize) -> Self {
        Self(self.0 & !(1 << (vcpu & 63)))
    }

    /// The set as a word, bit `n` for vCPU `n`.
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The vCPUs in the set, lowest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        ones(self.0)
    }
}

impl BitOr for Kicks {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Kicks {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
