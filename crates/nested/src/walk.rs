//! The walk of a stage-2 table that L1 wrote.
//!
//! Nothing in it is trusted: every descriptor that L1 can write gives a leaf or the fault that hardware would give.
//!
//! Rules:
//! - A walk reads at most one descriptor a level, five in all, wherever the tables lead: to themselves, to a device,
//!   out of memory. If L1 changes a table during the walk, the walk takes at each level what was there at some time, as
//!   hardware does.
//! - Where the architecture leaves a choice, a comment says which one is made here; each is one that hardware could
//!   make.
//! - Register fields of features that are not advertised read as zero, whatever L1 wrote.
//!
//! Left out: the 128-bit descriptors of FEAT_D128 and the permission indirection of FEAT_S2PIE, neither of which is
//! advertised.
//!
//! Sources: DDI 0487, D8 "Translation process", and J1.1, the functions named AArch64.S2Translate, AArch64.S2Walk and
//! those that they call; VTCR_EL2 and VTTBR_EL2 in D24.2.

use droste_arm64::desc::{
    AttributeScheme, Cacheability, Format, Kind, MemAttr, MemoryType, OutputFormat, RawDescriptor,
    S2ap, Shareability, Xn,
};
use droste_arm64::{HardwareUpdates, Level, Vtcr, Vttbr, hcr};
use droste_stage2::{Access, Privilege};

use crate::{Advertised, Exchange, ExternalAbort, GuestMemory, L1Ipa, L2Ipa};

mod shape;
mod stop;

pub use stop::{FaultKind, Stop, WalkFault};

pub(crate) use shape::format;
use shape::{Shape, effective_vtcr};

/// SCTLR_EL2.EE: L1's table walks are big-endian.
pub(crate) const EE: u64 = 1 << 25;

/// The registers of virtual EL2 that govern stage 2, as L1 wrote them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageTwoRegisters {
    /// HCR_EL2.
    pub hcr: u64,
    /// SCTLR_EL2.
    pub sctlr: u64,
    /// VTCR_EL2.
    pub vtcr: Vtcr,
    /// VTTBR_EL2.
    pub vttbr: Vttbr,
}

impl StageTwoRegisters {
    /// Whether stage 2 is on. HCR_EL2.DC acts as VM too (DDI 0487, D24.2, HCR_EL2.DC).
    pub const fn is_on(&self) -> bool {
        self.hcr & (hcr::VM | hcr::DC) != 0
    }
}

/// Whether and how L1 translates L2's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StageTwo {
    /// HCR_EL2.VM and DC are 0: the addresses that L2 takes for physical are L1's.
    Off,
    /// By a table.
    On(Walker),
}

impl StageTwo {
    /// What the registers ask for, on the hardware that L1 was shown.
    pub fn new(registers: &StageTwoRegisters, advertised: &Advertised) -> Self {
        if registers.is_on() {
            Self::On(Walker::new(registers, advertised))
        } else {
            Self::Off
        }
    }
}

/// How much a leaf stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// Itself.
    Leaf,
    /// The run that its Contiguous bit makes it part of.
    Run,
}

/// A leaf of the guest's table that permits the access it was walked for, with the flags that this access sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestLeaf {
    /// First address that it maps, a multiple of `bytes`.
    pub ipa: L2Ipa,
    /// Where that leads, a multiple of `bytes`.
    pub output: L1Ipa,
    /// Size in bytes, a power of two: that of the whole run where the leaf stands for one.
    pub bytes: u64,
    /// Its level.
    pub level: Level,
    /// Whether `bytes` are those of a run.
    pub extent: Extent,
    /// The loads and stores that it permits.
    pub access: S2ap,
    /// The instruction fetches that it permits. Without FEAT_XNX, everywhere or nowhere.
    pub execute: Xn,
    /// Memory type under the scheme of HCR_EL2.FWB. Never [`MemoryType::Reserved`].
    pub memory: MemoryType,
    /// Shareability. Never [`Shareability::Reserved`].
    pub shareability: Shareability,
    /// Whether L1 lets a store make it writable, by DBM and VTCR_EL2.HD. `access` is what it permits now.
    pub is_dirty_managed: bool,
}

impl GuestLeaf {
    /// Where an address that it maps leads. Of any other address, only the offset within the leaf counts.
    pub const fn output_of(&self, ipa: L2Ipa) -> L1Ipa {
        L1Ipa(self.output.0 | ipa.0 & (self.bytes - 1))
    }
}

/// How L1's table is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Walker {
    /// `None` where no walk can start.
    shape: Option<Shape>,
    is_big_endian: bool,
    protects_walks: bool,
    has_xnx: bool,
    scheme: AttributeScheme,
    updates: HardwareUpdates,
    /// Of leaves that have no such field.
    shareability: Shareability,
}

impl Walker {
    fn new(registers: &StageTwoRegisters, advertised: &Advertised) -> Self {
        let ids = &advertised.ids;
        let vtcr = effective_vtcr(registers.vtcr, advertised);
        Self {
            shape: Shape::new(registers, advertised),
            is_big_endian: registers.sctlr & EE != 0,
            protects_walks: registers.hcr & hcr::PTW != 0,
            has_xnx: ids.has_xnx(),
            scheme: if ids.has_fwb() && registers.hcr & hcr::FWB != 0 {
                AttributeScheme::Force
            } else {
                AttributeScheme::Combine
            },
            updates: vtcr.updates(),
            shareability: vtcr.shareability(),
        }
    }

    /// The scheme of the leaves' memory types: L1's HCR_EL2.FWB, if FEAT_S2FWB is advertised.
    pub const fn scheme(&self) -> AttributeScheme {
        self.scheme
    }

    /// HCR_EL2.PTW: whether a stage-1 walk of L2 is forbidden to read Device memory.
    pub const fn protects_walks(&self) -> bool {
        self.protects_walks
    }

    /// The layout of the descriptors; `None` where no walk can start.
    pub fn format(&self) -> Option<Format> {
        self.shape.map(|shape| shape.format)
    }

    /// Walks to the leaf of `ipa` for one access, or with `None` for something that needs no permission, and sets those
    /// of its flags that L1 lets hardware set.
    ///
    /// Where the access faults, the flags stay as they are; the architecture leaves this choice (DDI 0487, J1.1,
    /// AArch64.SettingAccessFlagPermitted).
    ///
    /// # Errors
    /// [`Stop`].
    #[expect(
        clippy::inline_always,
        reason = "left to the compiler it is a call, and an abort of a guest's pays for it"
    )]
    #[inline(always)]
    pub fn translate(
        &self,
        memory: &impl GuestMemory,
        ipa: L2Ipa,
        access: impl Into<Option<Access>>,
    ) -> Result<GuestLeaf, Stop> {
        // By reference: what was found is not copied out of the result.
        match &self.find(memory, ipa, access.into()) {
            Ok(found) => {
                if found.used != found.raw {
                    self.update(memory, found)?;
                }
                Ok(self.decode(found, ipa))
            }
            Err(fault) => Err(Stop::Fault(*fault)),
        }
    }

    /// As [`translate`](Self::translate), but leaves the flags in memory as they are.
    ///
    /// # Errors
    /// A fault of the guest's table.
    pub fn look(
        &self,
        memory: &impl GuestMemory,
        ipa: L2Ipa,
        access: Access,
    ) -> Result<GuestLeaf, WalkFault> {
        let found = self.find(memory, ipa, Some(access))?;
        Ok(self.decode(&found, ipa))
    }

    /// Walks to the leaf of `ipa` and judges it for one access, if any.
    fn find(
        &self,
        memory: &impl GuestMemory,
        ipa: L2Ipa,
        access: Option<Access>,
    ) -> Result<Found<'_>, WalkFault> {
        let no_start = WalkFault::new(FaultKind::Translation, Level::L0);
        let shape = self.shape.as_ref().ok_or(no_start)?;
        if exceeds(ipa.0, shape.input_bits) {
            return Err(no_start);
        }
        if exceeds(shape.root.0, shape.output_bits) {
            return Err(WalkFault::new(FaultKind::AddressSize, Level::L0));
        }
        let mut level = shape.start;
        let mut table = shape.root;
        loop {
            let at = shape.entry(table, level, ipa);
            let raw = self.read(memory, at, level)?;
            match (raw.kind(shape.format, level), level.next()) {
                (Kind::Leaf, _) => {
                    let used = self.judge(shape, raw, level, access)?;
                    return Ok(Found {
                        shape,
                        at,
                        raw,
                        used,
                        level,
                    });
                }
                (Kind::Table, Some(below)) => {
                    table = L1Ipa(raw.table_address(shape.format).0);
                    if exceeds(table.0, shape.output_bits) {
                        return Err(WalkFault::new(FaultKind::AddressSize, level));
                    }
                    level = below;
                }
                _ => return Err(WalkFault::new(FaultKind::Translation, level)),
            }
        }
    }

    fn read(
        &self,
        memory: &impl GuestMemory,
        at: L1Ipa,
        level: Level,
    ) -> Result<RawDescriptor, WalkFault> {
        match memory.read(at) {
            Ok(value) => Ok(RawDescriptor(self.in_table_order(value))),
            Err(ExternalAbort) => Err(WalkFault::external(level)),
        }
    }

    /// From the order of memory to that of the table, or back.
    const fn in_table_order(&self, value: u64) -> u64 {
        if self.is_big_endian {
            value.swap_bytes()
        } else {
            value
        }
    }

    /// Judges the leaf in the order of faults (DDI 0487, D8 "MMU fault prioritization from a single address
    /// translation stage"): output size, access flag, permission. Gives it with the flags that the access sets.
    fn judge(
        &self,
        shape: &Shape,
        raw: RawDescriptor,
        level: Level,
        access: Option<Access>,
    ) -> Result<RawDescriptor, WalkFault> {
        if exceeds(raw.output(shape.format, level).0, shape.output_bits) {
            return Err(WalkFault::new(FaultKind::AddressSize, level));
        }
        if !raw.is_accessed() && self.updates == HardwareUpdates::Nothing {
            return Err(WalkFault::new(FaultKind::AccessFlag, level));
        }
        let used = self.after_use(raw, access);
        if access.is_some_and(|access| !self.permits(used, access)) {
            return Err(WalkFault::new(FaultKind::Permission, level));
        }
        Ok(used)
    }

    /// The leaf with the flags that the access makes hardware set.
    fn after_use(&self, raw: RawDescriptor, access: Option<Access>) -> RawDescriptor {
        let used = raw.accessed();
        if access != Some(Access::Write) || !self.is_dirty_managed(raw) {
            return used;
        }
        used.with_access(if raw.access().can_read() {
            S2ap::ReadWrite
        } else {
            S2ap::WriteOnly
        })
    }

    fn is_dirty_managed(&self, raw: RawDescriptor) -> bool {
        self.updates == HardwareUpdates::AccessFlagAndDirty && raw.is_dirty_managed()
    }

    fn permits(&self, raw: RawDescriptor, access: Access) -> bool {
        match access {
            Access::Read => raw.access().can_read(),
            Access::Write => raw.access().can_write(),
            Access::Execute(privilege) => permits_fetch(self.execute(raw), privilege),
        }
    }

    /// XN\[1:0\]; without FEAT_XNX bit 53 is RES0 and bit 54 decides.
    fn execute(&self, raw: RawDescriptor) -> Xn {
        match raw.execute() {
            Xn::OnlyEl0 if !self.has_xnx => Xn::Everywhere,
            Xn::OnlyEl1 if !self.has_xnx => Xn::Nowhere,
            execute => execute,
        }
    }

    fn update(&self, memory: &impl GuestMemory, found: &Found<'_>) -> Result<(), Stop> {
        let expected = self.in_table_order(found.raw.0);
        let new = self.in_table_order(found.used.0);
        match memory.compare_exchange(found.at, expected, new) {
            Ok(Exchange::Done) => Ok(()),
            Ok(Exchange::Differs) => Err(Stop::Raced),
            Err(ExternalAbort) => Err(Stop::Fault(WalkFault::external(found.level))),
        }
    }

    fn decode(&self, found: &Found<'_>, ipa: L2Ipa) -> GuestLeaf {
        let (shape, raw, level) = (found.shape, found.used, found.level);
        let output = raw.output(shape.format, level).0;
        let (extent, bytes) = shape.extent(raw, level, ipa, output);
        GuestLeaf {
            ipa: ipa.align_down(bytes),
            output: L1Ipa(output).align_down(bytes),
            bytes,
            level,
            extent,
            access: raw.access(),
            execute: self.execute(raw),
            memory: memory_type(raw.attributes(shape.format).memory, self.scheme),
            shareability: definite(match shape.format.output() {
                OutputFormat::Lpa2 => self.shareability,
                _ => raw.attributes(shape.format).shareability,
            }),
            is_dirty_managed: self.is_dirty_managed(raw),
        }
    }
}

/// A leaf descriptor and where it was.
struct Found<'a> {
    shape: &'a Shape,
    at: L1Ipa,
    raw: RawDescriptor,
    /// With the flags that the access sets.
    used: RawDescriptor,
    level: Level,
}

/// Whether an address has bits set beyond the low `bits`, fewer than 64.
const fn exceeds(address: u64, bits: u32) -> bool {
    address >> bits != 0
}

const fn permits_fetch(execute: Xn, privilege: Privilege) -> bool {
    match privilege {
        Privilege::El0 => matches!(execute, Xn::Everywhere | Xn::OnlyEl0),
        Privilege::El1 => matches!(execute, Xn::Everywhere | Xn::OnlyEl1),
    }
}

/// The memory type. Of reserved encodings, whose cacheability is UNKNOWN, it is Non-cacheable; with FWB bit 3 of
/// MemAttr is RES0 and ignored (DDI 0487, J1.1, S2DecodeCacheability and AArch64.S2ApplyFWBMemAttrs).
const fn memory_type(bits: MemAttr, scheme: AttributeScheme) -> MemoryType {
    let bits = match scheme {
        AttributeScheme::Combine => bits,
        AttributeScheme::Force => MemAttr::new(bits.bits() & 0b0111),
    };
    match (bits.decode(scheme), scheme) {
        (MemoryType::Reserved(_), AttributeScheme::Combine) => MemoryType::Normal {
            inner: Cacheability::NonCacheable,
            outer: Cacheability::NonCacheable,
        },
        (MemoryType::Reserved(_), AttributeScheme::Force) => MemoryType::NonCacheable,
        (memory, _) => memory,
    }
}

/// The shareability. The reserved encoding may stand for any (DDI 0487, J1.1, DecodeShareability): here for the widest.
const fn definite(shareability: Shareability) -> Shareability {
    match shareability {
        Shareability::Reserved => Shareability::Outer,
        shareability => shareability,
    }
}

#[cfg(test)]
mod tests;
