//! The walk of a stage-1 table that L1 wrote, for its virtual EL2 or its EL1.
//!
//! Nothing in it is trusted, as in the walk of [stage 2](crate::walk): every descriptor gives a leaf or the fault that
//! hardware would give, and at most four are read, one a level.
//!
//! Left out are features that are not advertised, whose fields count as zero: 52-bit outputs (FEAT_LPA, FEAT_LPA2),
//! 128-bit descriptors, indirect permissions and overlays, the second MAIR, NS and PAs of other Security states. So are
//! fields that concern fetches alone, and ASIDs.
//!
//! Sources: DDI 0487, D8 "Translation process" and "Memory access control"; J1.1, the functions named
//! AArch64.S1Translate, AArch64.S1Walk, AArch64.S1DisabledOutput and those that they call; TCR_EL1, TCR_EL2, SCTLR_EL1
//! and MAIR_EL1 in D24.2.

mod control;
mod permissions;
#[cfg(test)]
mod tests;

use droste_arm64::desc::{Format, Kind, RawDescriptor};
use droste_arm64::{Granule, HardwareUpdates, Level};

use super::attributes::defined;
use super::{Attributes, StageOneLeaf, StageOneRequest, StageOneStop};
use crate::walk::{FaultKind, WalkFault};

pub(super) use control::Control;
pub use control::StageOneRegisters;

use control::{Gate, Half, Switch};
use permissions::{Limits, permits};

/// One walk.
pub(super) struct Walk<'a> {
    pub(super) control: &'a Control,
    pub(super) request: &'a StageOneRequest,
}

impl Walk<'_> {
    /// Where the address leads. `read` gives the descriptor at an output of the regime, read at a level.
    ///
    /// # Errors
    /// A fault, or what `read` gives.
    pub(super) fn translate(
        &self,
        read: impl Fn(u64, Level) -> Result<u64, StageOneStop>,
    ) -> Result<StageOneLeaf, StageOneStop> {
        match self.control.switch {
            Switch::Off(attributes) => self.untranslated(attributes),
            Switch::On => self.walk(read),
        }
    }

    /// Stage 1 is off: the address itself, which must not be wider than an output.
    fn untranslated(&self, attributes: Attributes) -> Result<StageOneLeaf, StageOneStop> {
        let control = self.control;
        let va = self.request.va;
        let output = if control.half.ignores_top_byte {
            without_top_byte(va)
        } else {
            va
        };
        if exceeds(output, control.physical_bits) {
            return Err(fault(FaultKind::AddressSize, Level::L0));
        }
        Ok(StageOneLeaf { output, attributes })
    }

    fn walk(
        &self,
        read: impl Fn(u64, Level) -> Result<u64, StageOneStop>,
    ) -> Result<StageOneLeaf, StageOneStop> {
        let control = self.control;
        let granule = self.check_start()?;
        let shape = Shape::new(granule, &control.half);
        if exceeds(shape.root, control.output_bits) {
            return Err(fault(FaultKind::AddressSize, Level::L0));
        }
        let mut limits = Limits::default();
        let mut level = shape.start;
        let mut table = shape.root;
        loop {
            let value = read(table | shape.offset(level, self.request.va), level)?;
            let raw = RawDescriptor(if control.is_big_endian() {
                value.swap_bytes()
            } else {
                value
            });
            match (raw.kind(shape.format, level), level.next()) {
                (Kind::Leaf, _) => return self.leaf(&shape, raw, level, limits),
                (Kind::Table, Some(below)) => {
                    if !control.half.ignores_table_permissions {
                        limits = limits.narrowed(raw);
                    }
                    table = raw.table_address(shape.format).0;
                    if exceeds(table, control.output_bits) {
                        return Err(fault(FaultKind::AddressSize, level));
                    }
                    level = below;
                }
                _ => return Err(fault(FaultKind::Translation, level)),
            }
        }
    }

    /// The granule, where a walk can start. All that forbids it is a translation fault at level 0.
    fn check_start(&self) -> Result<Granule, StageOneStop> {
        let no_start = fault(FaultKind::Translation, Level::L0);
        let half = &self.control.half;
        let granule = half.granule.ok_or(no_start)?;
        let is_open = match half.gate {
            Gate::Open => true,
            Gate::ClosedToEl0 => !self.request.is_of_el0(),
            Gate::Closed => false,
        };
        if !is_open || !half.has(self.request.va) {
            return Err(no_start);
        }
        Ok(granule)
    }

    /// Judges the leaf in the order of faults: output size, access flag, permission.
    ///
    /// The Contiguous bit makes no difference: within a run that is one, each leaf leads where the run does. Of any
    /// other run hardware may make anything (DDI 0487, D8.7.1). So it may of nT.
    fn leaf(
        &self,
        shape: &Shape,
        raw: RawDescriptor,
        level: Level,
        limits: Limits,
    ) -> Result<StageOneLeaf, StageOneStop> {
        let control = self.control;
        let base = raw.output(shape.format, level).0;
        if exceeds(base, control.output_bits) {
            return Err(fault(FaultKind::AddressSize, level));
        }
        if !raw.is_accessed() && control.updates == HardwareUpdates::Nothing {
            return Err(fault(FaultKind::AccessFlag, level));
        }
        if !permits(control, raw, limits, self.request) {
            return Err(fault(FaultKind::Permission, level));
        }
        let offset = self.request.va & (shape.entry_bytes(level) - 1);
        Ok(StageOneLeaf {
            output: base | offset,
            attributes: self.attributes(shape, raw),
        })
    }

    fn attributes(&self, shape: &Shape, raw: RawDescriptor) -> Attributes {
        const ATTR_INDX_SHIFT: u32 = 2;
        let control = self.control;
        let index = raw.0 >> ATTR_INDX_SHIFT & 7;
        let attributes = Attributes {
            memory: defined((control.mair >> (index * 8)) as u8, control.has_xs),
            shareability: raw.attributes(shape.format).shareability,
        };
        if control.is_cached() {
            attributes
        } else {
            attributes.uncached()
        }
    }
}

/// The tree of one half of the addresses.
struct Shape {
    format: Format,
    start: Level,
    root: u64,
    input_bits: u32,
}

impl Shape {
    /// The shape where a walk can start.
    fn new(granule: Granule, half: &Half) -> Self {
        let is_enough = |level: &Level| granule.entry_shift(*level) < half.input_bits;
        let start = Level::ALL.into_iter().find(is_enough);
        let start = start.expect("an input is wider than a page");
        // A root is as long as it needs to be, and as aligned (J1.1, AArch64.S1TTBaseAddress).
        let root_bits = half.input_bits - granule.entry_shift(start) + 3;
        Self {
            format: Format::narrow(granule),
            start,
            root: half.ttbr & 0xffff_ffff_ffff & !((1 << root_bits) - 1),
            input_bits: half.input_bits,
        }
    }

    /// Where the descriptor of `va` is in a table of `level`, in bytes.
    const fn offset(&self, level: Level, va: u64) -> u64 {
        let granule = self.format.granule();
        let within = va & ((1 << self.input_bits) - 1);
        (within >> granule.entry_shift(level) & (granule.entries() - 1)) * 8
    }

    /// Bytes that a descriptor of `level` maps.
    const fn entry_bytes(&self, level: Level) -> u64 {
        1 << self.format.granule().entry_shift(level)
    }
}

const fn fault(kind: FaultKind, level: Level) -> StageOneStop {
    StageOneStop::Fault(WalkFault::new(kind, level))
}

/// Whether an address has bits set beyond the low `bits`, fewer than 64.
const fn exceeds(address: u64, bits: u32) -> bool {
    address >> bits != 0
}

/// The low 56 bits.
const fn without_top_byte(va: u64) -> u64 {
    va & 0x00ff_ffff_ffff_ffff
}
