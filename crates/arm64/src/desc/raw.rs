//! Access to single fields of a raw leaf, for loops that need only one.
//!
//! Each reads or replaces one field and leaves the other bits as they are. On a descriptor that is not a leaf the bits
//! mean something else, or nothing: see [`RawDescriptor::kind`].

use super::{
    AF, CONTIGUOUS, DBM, Format, Kind, LeafAttributes, NT, Pattern, RawDescriptor, S2AP_SHIFT,
    S2AP_WRITE, S2ap, SOFTWARE_SHIFT, XN_SHIFT, Xn,
};
use crate::Pa;
use crate::granule::Level;

impl RawDescriptor {
    /// The kind that hardware takes the descriptor for at this level.
    #[inline]
    pub const fn kind(self, format: Format, level: Level) -> Kind {
        match self.0 & 3 {
            3 if matches!(level, Level::L3) => Kind::Leaf,
            3 => Kind::Table,
            // At level 3 and where no block can be, reserved: treated as invalid.
            1 if !matches!(level, Level::L3) && format.leaf_at(level).is_some() => Kind::Leaf,
            _ => Kind::Invalid,
        }
    }

    /// Whether the hardware takes the descriptor for a table's at this level.
    #[inline]
    pub const fn is_table(self, level: Level) -> bool {
        self.0 & 3 == 3 && !matches!(level, Level::L3)
    }

    /// Of a table descriptor: the next-level table's address.
    #[inline]
    pub const fn table_address(self, format: Format) -> Pa {
        format.unpack(self.0, format.granule().page_shift())
    }

    /// Of a leaf: the first byte of its output.
    #[inline]
    pub const fn output(self, format: Format, level: Level) -> Pa {
        format.unpack(self.0, format.granule().entry_shift(level))
    }

    /// Of a leaf: everything but its output.
    #[inline]
    pub const fn attributes(self, format: Format) -> LeafAttributes {
        LeafAttributes::from_bits(self.0, format.output())
    }

    /// With another output. Bits of the output that a leaf of `level` does not hold are dropped.
    #[inline]
    #[must_use]
    pub const fn with_output(self, format: Format, level: Level, output: Pa) -> Self {
        Pattern::new(self, format, level).at(output)
    }

    /// Of a leaf: S2AP.
    #[inline]
    pub const fn access(self) -> S2ap {
        S2ap::decode(self.0 >> S2AP_SHIFT)
    }

    /// With another S2AP.
    #[inline]
    #[must_use]
    pub const fn with_access(self, access: S2ap) -> Self {
        self.with_field(3 << S2AP_SHIFT, (access as u64) << S2AP_SHIFT)
    }

    /// Of a leaf: S2AP\[1\], whether writes are permitted.
    #[inline]
    pub const fn can_write(self) -> bool {
        self.0 & S2AP_WRITE != 0
    }

    /// Without the permission to write; the others stay.
    #[inline]
    #[must_use]
    pub const fn without_write(self) -> Self {
        Self(self.0 & !S2AP_WRITE)
    }

    /// Of a leaf: XN\[1:0\].
    #[inline]
    pub const fn execute(self) -> Xn {
        Xn::decode(self.0 >> XN_SHIFT)
    }

    /// With another XN\[1:0\].
    #[inline]
    #[must_use]
    pub const fn with_execute(self, execute: Xn) -> Self {
        self.with_field(3 << XN_SHIFT, (execute as u64) << XN_SHIFT)
    }

    /// Of a leaf: bits \[58:55\], which hardware ignores.
    #[inline]
    pub const fn software(self) -> u8 {
        (self.0 >> SOFTWARE_SHIFT) as u8 & 15
    }

    /// With other bits \[58:55\], the low four of `software`.
    #[inline]
    #[must_use]
    pub const fn with_software(self, software: u8) -> Self {
        let field = (software as u64 & 15) << SOFTWARE_SHIFT;
        self.with_field(15 << SOFTWARE_SHIFT, field)
    }

    /// Of a leaf: AF, whether it has been accessed.
    #[inline]
    pub const fn is_accessed(self) -> bool {
        self.0 & AF != 0
    }

    /// With AF set.
    #[inline]
    #[must_use]
    pub const fn accessed(self) -> Self {
        Self(self.0 | AF)
    }

    /// With AF clear.
    #[inline]
    #[must_use]
    pub const fn unaccessed(self) -> Self {
        Self(self.0 & !AF)
    }

    /// Of a leaf: DBM, whether hardware may set its write permission when it is written (FEAT_HAFDBS).
    #[inline]
    pub const fn is_dirty_managed(self) -> bool {
        self.0 & DBM != 0
    }

    /// With DBM set.
    #[inline]
    #[must_use]
    pub const fn dirty_managed(self) -> Self {
        Self(self.0 | DBM)
    }

    /// With DBM clear.
    #[inline]
    #[must_use]
    pub const fn not_dirty_managed(self) -> Self {
        Self(self.0 & !DBM)
    }

    /// Of a leaf: the Contiguous bit, whether it is one of a run of [`Format::contiguous_entries`].
    #[inline]
    pub const fn is_contiguous(self) -> bool {
        self.0 & CONTIGUOUS != 0
    }

    /// With the Contiguous bit set.
    #[inline]
    #[must_use]
    pub const fn contiguous(self) -> Self {
        Self(self.0 | CONTIGUOUS)
    }

    /// With the Contiguous bit clear.
    #[inline]
    #[must_use]
    pub const fn not_contiguous(self) -> Self {
        Self(self.0 & !CONTIGUOUS)
    }

    /// Of a block: nT (FEAT_BBM from level 1 on). Between blocks with it set, and a table in their place, entries may
    /// change without break-before-make; an access through one may meet a translation fault, as the implementation
    /// defines, or else a TLB conflict abort (DDI 0487, D8.7.3, I_XPRKH and R_MRRPW).
    #[inline]
    pub const fn is_nt(self) -> bool {
        self.0 & NT != 0
    }

    /// With nT set. Blocks only: in a page the bit is part of the address.
    #[inline]
    #[must_use]
    pub const fn with_nt(self) -> Self {
        Self(self.0 | NT)
    }

    /// With nT clear. Blocks only: in a page the bit is part of the address.
    #[inline]
    #[must_use]
    pub const fn without_nt(self) -> Self {
        Self(self.0 & !NT)
    }

    #[inline]
    const fn with_field(self, mask: u64, bits: u64) -> Self {
        Self(self.0 & !mask | bits)
    }
}
