//! The registers of a regime, as hardware with the advertised features takes them.

use core::ops::RangeInclusive;

use droste_arm64::{Granule, HardwareUpdates, PaRange, hcr};

use crate::Advertised;
use crate::at::{Attributes, Privilege, Regime, StageOneRequest};

/// The registers of a stage 1, as L1 wrote them: those named _EL2 for [`Regime::El2`], its EL1's for [`Regime::El1`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageOneRegisters {
    /// SCTLR.
    pub sctlr: u64,
    /// TCR; that of virtual EL2 with E2H = 0 is laid out as E2H = 0 has it.
    pub tcr: u64,
    /// TTBR0.
    pub ttbr0: u64,
    /// TTBR1, which EL2 with E2H = 0 does not have: then any value will do.
    pub ttbr1: u64,
    /// MAIR.
    pub mair: u64,
}

impl StageOneRegisters {
    /// The registers, from what `read` gives for SCTLR, TCR, TTBR0, TTBR1 and MAIR, in this order.
    pub fn of<R>(registers: [R; 5], read: impl FnMut(R) -> u64) -> Self {
        let [sctlr, tcr, ttbr0, ttbr1, mair] = registers.map(read);
        Self {
            sctlr,
            tcr,
            ttbr0,
            ttbr1,
            mair,
        }
    }
}

/// Whether stage 1 translates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::at) enum Switch {
    On,
    /// Addresses stay as they are; memory is this.
    Off(Attributes),
}

/// Whose layout TCR and descriptors have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    /// EL1&0's or EL2&0's: two halves, and EL0.
    WithEl0,
    /// EL2's.
    Alone,
}

/// How the address of one request is translated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::at) struct Control {
    pub(super) switch: Switch,
    pub(super) half: Half,
    sctlr: u64,
    /// PSTATE.PAN heeds what EL0 may execute.
    pub(super) has_epan: bool,
    pub(super) has_xs: bool,
    pub(super) updates: HardwareUpdates,
    pub(super) output_bits: u32,
    /// Of addresses without stage 1.
    pub(super) physical_bits: u32,
    pub(super) mair: u64,
}

/// What holds for one half of the addresses: the half that bit 55 says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Half {
    /// The bits of an address above the input.
    kind: HalfKind,
    /// `None` where there is none, or none for so wide an input: no walk can start.
    pub(super) granule: Option<Granule>,
    pub(super) input_bits: u32,
    pub(super) ttbr: u64,
    /// TBI.
    pub(super) ignores_top_byte: bool,
    pub(super) gate: Gate,
    /// HPD.
    pub(super) ignores_table_permissions: bool,
}

/// Who may use a half's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gate {
    Open,
    /// E0PD.
    ClosedToEl0,
    /// EPD.
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HalfKind {
    Lower,
    Upper,
}

const SCTLR_M: u64 = 1 << 0;
const SCTLR_C: u64 = 1 << 2;
const SCTLR_EE: u64 = 1 << 25;
const SCTLR_EPAN: u64 = 1 << 57;

impl Control {
    /// What the registers and `hcr`, virtual EL2's HCR_EL2, make of a request.
    pub(in crate::at) fn new(
        request: &StageOneRequest,
        registers: &StageOneRegisters,
        hcr: u64,
        advertised: &Advertised,
    ) -> Self {
        let layout = match request.regime {
            Regime::El2 if hcr & hcr::E2H == 0 => Layout::Alone,
            Regime::El2 | Regime::El1 => Layout::WithEl0,
        };
        let fields = Fields {
            tcr: registers.tcr,
            layout,
        };
        // No FEAT_LPA: 48 bits at most.
        let physical_bits = advertised.physical_bits().min(48);
        Self {
            switch: switch(request.regime, registers.sctlr, hcr),
            half: Half::new(&fields, request.va, registers, advertised),
            sctlr: registers.sctlr,
            has_epan: advertised.has_epan() && registers.sctlr & SCTLR_EPAN != 0,
            has_xs: advertised.has_xs(),
            updates: fields.updates(advertised),
            output_bits: fields.output().bits().min(physical_bits),
            physical_bits,
            mair: registers.mair,
        }
    }

    /// Whether the tables are.
    pub(super) const fn is_big_endian(&self) -> bool {
        self.sctlr & SCTLR_EE != 0
    }

    /// Whether Normal memory may be.
    pub(super) const fn is_cached(&self) -> bool {
        self.sctlr & SCTLR_C != 0
    }
}

/// Of EL1&0, HCR_EL2.DC and TGE switch stage 1 off as well (J1.1, AArch64.S1Enabled). Where EL0 belongs to EL2, which makes
/// DC count as 0, nothing asks for EL1&0.
const fn switch(regime: Regime, sctlr: u64, hcr: u64) -> Switch {
    let is_on = sctlr & SCTLR_M != 0;
    match regime {
        Regime::El1 if hcr & hcr::DC != 0 => Switch::Off(Attributes::DEFAULT_CACHEABLE),
        Regime::El1 if is_on && hcr & hcr::TGE == 0 => Switch::On,
        Regime::El2 if is_on => Switch::On,
        Regime::El1 | Regime::El2 => Switch::Off(Attributes::STRONGLY_ORDERED),
    }
}

/// TCR, whose fields stand where the layout says (D24.2, TCR_EL1 and TCR_EL2).
struct Fields {
    tcr: u64,
    layout: Layout,
}

impl Fields {
    const fn field(&self, shift: u32, mask: u64) -> u64 {
        self.tcr >> shift & mask
    }

    const fn is_set(&self, shift: u32) -> bool {
        self.field(shift, 1) != 0
    }

    /// By where EPD and E0PD stand.
    const fn gate(&self, closed: u32, closed_to_el0: u32) -> Gate {
        if self.is_set(closed) {
            Gate::Closed
        } else if self.is_set(closed_to_el0) {
            Gate::ClosedToEl0
        } else {
            Gate::Open
        }
    }

    const fn output(&self) -> PaRange {
        PaRange::decode(match self.layout {
            Layout::WithEl0 => self.field(32, 7),
            Layout::Alone => self.field(16, 7),
        })
    }

    /// HA and HD; HD without HA has no effect.
    const fn updates(&self, advertised: &Advertised) -> HardwareUpdates {
        let (ha, hd) = match self.layout {
            Layout::WithEl0 => (39, 40),
            Layout::Alone => (21, 22),
        };
        let ids = &advertised.ids;
        if !ids.has_hardware_af() || !self.is_set(ha) {
            HardwareUpdates::Nothing
        } else if !ids.has_hardware_dirty() || !self.is_set(hd) {
            HardwareUpdates::AccessFlag
        } else {
            HardwareUpdates::AccessFlagAndDirty
        }
    }
}

impl Half {
    fn new(
        fields: &Fields,
        va: u64,
        registers: &StageOneRegisters,
        advertised: &Advertised,
    ) -> Self {
        let kind = if va >> 55 & 1 == 0 {
            HalfKind::Lower
        } else {
            HalfKind::Upper
        };
        let mut half = match (fields.layout, kind) {
            (Layout::Alone, _) => Self::alone(fields, registers),
            (Layout::WithEl0, HalfKind::Lower) => Self::lower(fields, registers),
            (Layout::WithEl0, HalfKind::Upper) => Self::upper(fields, registers),
        };
        half.granule = advertised
            .effective_stage1_granule(half.granule)
            .filter(|&granule| sizes(granule, advertised).contains(&half.input_bits));
        if half.gate == Gate::ClosedToEl0 && !advertised.has_e0pd() {
            half.gate = Gate::Open;
        }
        half.ignores_table_permissions &= advertised.has_hpds();
        half
    }

    fn alone(fields: &Fields, registers: &StageOneRegisters) -> Self {
        Self {
            ignores_top_byte: fields.is_set(20),
            gate: Gate::Open,
            ignores_table_permissions: fields.is_set(24),
            ..Self::lower(fields, registers)
        }
    }

    fn lower(fields: &Fields, registers: &StageOneRegisters) -> Self {
        Self {
            kind: HalfKind::Lower,
            granule: match fields.field(14, 3) {
                0 => Some(Granule::Kib4),
                1 => Some(Granule::Kib64),
                2 => Some(Granule::Kib16),
                _ => None,
            },
            input_bits: 64 - fields.field(0, 0x3f) as u32,
            ttbr: registers.ttbr0,
            ignores_top_byte: fields.is_set(37),
            gate: fields.gate(7, 55),
            ignores_table_permissions: fields.is_set(41),
        }
    }

    fn upper(fields: &Fields, registers: &StageOneRegisters) -> Self {
        Self {
            kind: HalfKind::Upper,
            granule: match fields.field(30, 3) {
                1 => Some(Granule::Kib16),
                2 => Some(Granule::Kib4),
                3 => Some(Granule::Kib64),
                _ => None,
            },
            input_bits: 64 - fields.field(16, 0x3f) as u32,
            ttbr: registers.ttbr1,
            ignores_top_byte: fields.is_set(38),
            gate: fields.gate(23, 56),
            ignores_table_permissions: fields.is_set(42),
        }
    }

    /// Whether all bits of `va` above the input say that it is of this half (J1.1, AArch64.VAIsOutOfRange). There must be
    /// a granule, so that there are such bits.
    pub(super) const fn has(&self, va: u64) -> bool {
        let ignored = if self.ignores_top_byte { 8 } else { 0 };
        let above = (va << ignored).cast_signed() >> ignored >> self.input_bits;
        match self.kind {
            HalfKind::Lower => above == 0,
            HalfKind::Upper => above == -1,
        }
    }
}

/// Widths of an input: T0SZ and T1SZ of at least 16, or with FEAT_LVA 12 at 64 KiB, and at most 39, or with FEAT_TTST 48,
/// and 47 at 64 KiB (J1.1, AArch64.S1MinTxSZ and AArch64.MaxTxSZ). Others are a fault, which hardware without FEAT_LVA
/// may also take for the limit (J1.1, AArch64.S1TxSZFaults).
const fn sizes(granule: Granule, advertised: &Advertised) -> RangeInclusive<u32> {
    let least = match (advertised.has_small_tables(), granule) {
        (false, _) => 25,
        (true, Granule::Kib64) => 17,
        (true, Granule::Kib4 | Granule::Kib16) => 16,
    };
    let most = match granule {
        Granule::Kib64 if advertised.has_wide_virtual_addresses() => 52,
        Granule::Kib4 | Granule::Kib16 | Granule::Kib64 => 48,
    };
    least..=most
}

impl StageOneRequest {
    /// Whether it stands for an access by EL0.
    pub(super) const fn is_of_el0(&self) -> bool {
        matches!(self.privilege, Privilege::User)
    }
}
