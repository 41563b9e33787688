//! The shape of L1's tables: what its registers ask for, as hardware takes it.

use droste_arm64::desc::{Format, OutputFormat, RawDescriptor};
use droste_arm64::{Granule, Level, PaRange, Vtcr, Vttbr};

use super::{Extent, StageTwoRegisters};
use crate::advertised::Ds;
use crate::{Advertised, L1Ipa, L2Ipa};

const TG0_SHIFT: u32 = 14;
const VTCR_HA: u64 = 1 << 21;
const VTCR_HD: u64 = 1 << 22;
const VTCR_DS: u64 = 1 << 32;
const VTCR_SL2: u64 = 1 << 33;

/// What registers that a walk can start by make of the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    pub(super) format: Format,
    pub(super) start: Level,
    pub(super) root: L1Ipa,
    pub(super) input_bits: u32,
    pub(super) output_bits: u32,
}

impl Shape {
    /// The shape; `None` where a walk ends in a level 0 translation fault before its first lookup.
    pub(super) fn new(registers: &StageTwoRegisters, advertised: &Advertised) -> Option<Self> {
        let vtcr = effective_vtcr(registers.vtcr, advertised);
        let granule = vtcr.granule()?;
        let format = advertised.format(granule, ds(vtcr));
        let input_bits = vtcr.input_bits();
        let widest = advertised.physical_bits().min(format.address_bits());
        if !(narrowest(granule, advertised)..=widest).contains(&input_bits) {
            return None;
        }
        let start = vtcr.start()?;
        if start == Level::L3 && granule == Granule::Kib4 && !advertised.has_small_tables() {
            return None;
        }
        format
            .check_start(start, input_bits, advertised.ids.pa_range())
            .ok()?;
        let output_bits = vtcr.output().bits().min(widest);
        let root_bits = input_bits - format.granule().entry_shift(start) + 3;
        Some(Self {
            format,
            start,
            root: root(registers.vttbr, format, vtcr.output(), root_bits),
            input_bits,
            output_bits,
        })
    }

    /// Where the descriptor of `ipa` stands in a table of `level`. At the start level `ipa` reaches over all tables
    /// side by side, as it is not wider than they are.
    pub(super) const fn entry(&self, table: L1Ipa, level: Level, ipa: L2Ipa) -> L1Ipa {
        let granule = self.format.granule();
        let number = ipa.0.wrapping_shr(granule.entry_shift(level));
        let index = if level.number() == self.start.number() {
            number
        } else {
            number & (granule.entries() - 1)
        };
        L1Ipa(table.0 + index * 8)
    }

    /// What the leaf stands for, and its size in bytes.
    ///
    /// The Contiguous bit counts where the run lies within the input and output sizes and the leaf has the run's
    /// offset. Elsewhere it is an error of L1's, of which hardware may make anything (DDI 0487, D8.7.1): here nothing.
    pub(super) fn extent(
        &self,
        raw: RawDescriptor,
        level: Level,
        ipa: L2Ipa,
        output: u64,
    ) -> (Extent, u64) {
        let bytes = 1u64.wrapping_shl(self.format.granule().entry_shift(level));
        let run = self.format.contiguous_entries(level) * bytes;
        let has_offset = (ipa.align_down(bytes).0 ^ output) & (run - 1) == 0;
        let fits = run <= 1 << self.input_bits && run <= 1 << self.output_bits;
        if raw.is_contiguous() && run > bytes && has_offset && fits {
            (Extent::Run, run)
        } else {
            (Extent::Leaf, bytes)
        }
    }
}

/// The layout of descriptors that the registers ask for, whether or not a walk can start with them.
pub(crate) fn format(registers: &StageTwoRegisters, advertised: &Advertised) -> Option<Format> {
    let vtcr = effective_vtcr(registers.vtcr, advertised);
    Some(advertised.format(vtcr.granule()?, ds(vtcr)))
}

/// VTCR_EL2 with a granule that is advertised, and without the fields of features that are not.
pub(super) fn effective_vtcr(vtcr: Vtcr, advertised: &Advertised) -> Vtcr {
    let ids = &advertised.ids;
    let granule = advertised.effective_granule(vtcr.granule());
    let mut raw = vtcr.0 & !(3 << TG0_SHIFT) | tg0(granule) << TG0_SHIFT;
    if !ids.has_hardware_af() {
        raw &= !VTCR_HA;
    }
    if !ids.has_hardware_dirty() {
        raw &= !VTCR_HD;
    }
    if !granule.is_some_and(|granule| ids.has_wide_stage2(granule)) {
        raw &= !(VTCR_DS | VTCR_SL2);
    }
    Vtcr(raw)
}

/// TG0; the reserved encoding for none.
const fn tg0(granule: Option<Granule>) -> u64 {
    match granule {
        Some(Granule::Kib4) => 0,
        Some(Granule::Kib64) => 1,
        Some(Granule::Kib16) => 2,
        None => 3,
    }
}

const fn ds(vtcr: Vtcr) -> Ds {
    if vtcr.0 & VTCR_DS != 0 {
        Ds::Wide
    } else {
        Ds::Narrow
    }
}

/// The narrowest input: 64 less the largest T0SZ, which is 39, or with FEAT_TTST 48, and 47 at 64 KiB (DDI 0487, J1.1,
/// AArch64.MaxTxSZ). An input outside the limits may also be taken for one at the limit; here it is a fault.
const fn narrowest(granule: Granule, advertised: &Advertised) -> u32 {
    match (advertised.has_small_tables(), granule) {
        (false, _) => 25,
        (true, Granule::Kib64) => 17,
        (true, _) => 16,
    }
}

/// The root in VTTBR_EL2, whose address bits below its size, 2^`root_bits` bytes, are taken for zero (DDI 0487, J1.1,
/// AArch64.S2TTBaseAddress). The wide form holds where DS is 1, and at 64 KiB where PS is 52 bits.
fn root(vttbr: Vttbr, format: Format, ps: PaRange, root_bits: u32) -> L1Ipa {
    let output = match format.output() {
        OutputFormat::Lpa if ps.bits() < 52 => OutputFormat::Bits48,
        output => output,
    };
    L1Ipa(vttbr.baddr().root(output).0).align_down(1 << root_bits)
}
