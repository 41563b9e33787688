//! One leaf at many outputs.

use super::{Format, RawDescriptor};
use crate::Pa;
use crate::granule::Level;

/// A leaf without its output, for loops that write the same leaf with many outputs.
///
/// ```
/// use droste_arm64::desc::{Format, Pattern, RawDescriptor};
/// use droste_arm64::{Granule, Level, Pa};
///
/// let format = Format::narrow(Granule::Kib4);
/// let pages = Pattern::new(RawDescriptor(0x4000_07ff), format, Level::L3);
/// assert_eq!(pages.at(Pa(0x8000_1000)), RawDescriptor(0x8000_17ff));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pattern {
    bare: u64,
    format: Format,
    /// The bits of an address that a leaf of the level holds.
    held: u64,
}

impl Pattern {
    /// A leaf of `level`, whatever its output is.
    #[inline]
    pub const fn new(leaf: RawDescriptor, format: Format, level: Level) -> Self {
        let held = format.held(format.granule().entry_shift(level));
        Self {
            bare: leaf.0 & !format.spread(held),
            format,
            held,
        }
    }

    /// The leaf with this output. Bits of the output that a leaf of the level does not hold are dropped.
    #[inline]
    #[must_use]
    pub const fn at(self, output: Pa) -> RawDescriptor {
        RawDescriptor(self.bare | self.format.spread(output.0 & self.held))
    }
}
