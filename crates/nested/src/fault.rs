//! Who has to handle a stage-2 fault of L2, and what follows.
//!
//! Hardware walked a shadow, so the cause and level that it reports are about an entry that L1 never saw. So the
//! guest's table is walked for the access, and the first row that applies decides:
//!
//! | the guest's table | what it leads to | verdict |
//! |---|---|---|
//! | faults, a hole where L1 emulates a device included | | [`Verdict::Guest`]: L1 gets the fault that its table gives |
//! | changed during the walk | | [`Verdict::Retry`] |
//! | permits | no slot, a load or store | [`Verdict::Device`]: a device that L0 gave L1 and L1 handed to L2 |
//! | permits | otherwise no slot, or a slot that forbids | [`Verdict::External`]: what L1's memory system answers |
//! | permits | a slot that permits, a canonical table that does not | [`Verdict::Canonical`]: that first, then again |
//! | permits | a slot and a canonical table that permit | [`Verdict::Fill`]: the shadow may map it |
//!
//! The slot of a device forbids a stage-1 walk.
//!
//! Rule: a [`Ticket`](crate::Ticket) is taken before this, and decides at the end whether what was found still
//! holds.
//!
//! With the guest's stage 2 off there is no shadow: L2 runs by the canonical table, and `droste-stage2` answers alone.

use droste_arm64::Level;
use droste_arm64::desc::{AttributeScheme, MemoryType, S2ap, Xn};
use droste_arm64::esr::{Ec, Esr, FaultStatus, MmioAccess};
use droste_stage2::{
    Access, Answer, Cause, Decision, Fault, Memory, Origin, Privilege, Proposal, Reason, Slots,
};

use crate::compose::{CanonicalLeaf, Composed, compose};
use crate::exception::Exception;
use crate::walk::{FaultKind, GuestLeaf, Stop, WalkFault, Walker};
use crate::{GuestMemory, L1Ipa, L2Ipa};

/// A stage-2 abort of L2 as hardware reported it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abort {
    /// ESR_EL2.
    pub esr: Esr,
    /// FAR_EL2.
    pub far: u64,
    /// The faulting address, from HPFAR_EL2 or, where that does not hold it, by translating FAR_EL2; see
    /// [`Fault::new`].
    pub ipa: L2Ipa,
    /// The exception level that SPSR_EL2 names.
    pub privilege: Privilege,
}

/// What L1's hypervisor finds in its registers at virtual EL2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Syndrome {
    /// ESR_EL2.
    pub esr: Esr,
    /// FAR_EL2.
    pub far: u64,
    /// HPFAR_EL2.
    pub hpfar: u64,
}

/// What follows from a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// An exception to virtual EL2 with the syndrome of this fault: [`Abort::for_guest`].
    Guest(WalkFault),
    /// An access to L1's address `at`, where L0 emulates a device or has nothing.
    Device {
        /// The address of the first byte.
        at: L1Ipa,
        /// The access, if the syndrome describes it.
        access: Option<MmioAccess>,
    },
    /// A synchronous external abort of the access or, for [`Reason::WalkOutsideMemory`], of L2's stage-1 walk. It goes
    /// to L2's EL1, or to virtual EL2 where L1's HCR_EL2.TEA says so.
    External(Reason),
    /// [`Table::install`](droste_stage2::Table::install) is to bring the canonical table to this, and then the fault is
    /// to be judged again.
    Canonical(Proposal),
    /// The shadow is to be filled for the fault.
    Fill {
        /// The fault, in the shadow's address space.
        fault: Fault,
        /// What the shadow may map there.
        composed: Composed,
    },
    /// This CPU's TLB held two entries for one address. The shadow's
    /// [`Table::resolve_conflict`](droste_stage2::Table::resolve_conflict) is to invalidate them.
    Forget,
    /// L2 tries again.
    Retry,
}

/// What is needed of L1 to judge a fault of its L2.
#[derive(Debug)]
pub struct L1<'a, G> {
    /// How its table is read.
    pub walker: &'a Walker,
    /// Its memory.
    pub memory: &'a G,
    /// What its address space is made of.
    pub slots: &'a Slots,
    /// The scheme of the canonical table, [`droste_stage2::scheme`].
    pub scheme: AttributeScheme,
}

impl<G: GuestMemory> L1<'_, G> {
    /// Judges a fault of L2. `canonical` looks an address up in the canonical table, and `shadow` says which loads and
    /// stores the shadow's leaf at the fault permits, [`Shadow::permits`](crate::Shadow::permits). `None` for an abort
    /// that no table decides: an external abort, say, or an alignment fault.
    #[expect(
        clippy::inline_always,
        reason = "left to the compiler it is a call, whose large verdict is taken apart byte by byte"
    )]
    #[inline(always)]
    pub fn judge(
        &self,
        abort: &Abort,
        shadow: impl FnOnce() -> S2ap,
        canonical: impl FnOnce(L1Ipa) -> Option<CanonicalLeaf>,
    ) -> Option<Verdict> {
        let mut fault = Fault::new(abort.esr, abort.ipa.ipa(), abort.privilege)?;
        if fault.cause == Cause::Conflict {
            return Some(Verdict::Forget);
        }
        if fault.is_either() {
            match self.lacking(abort, shadow()) {
                Ok(access) => fault.access = access,
                Err(stop) => return Some(Abort::stopped(stop)),
            }
        }
        Some(self.judge_access(abort, &fault, canonical))
    }

    /// What hardware missed at a leaf of the shadow with these permissions, where the syndrome does not tell: for walks
    /// and for cache maintenance. As long as L1, by its table and its memory, permits more than the shadow, the shadow
    /// is to have it. Only a shadow that has all of it shows what L1 forbids: to read, and if it permits that, to
    /// write.
    #[inline(never)]
    fn lacking(&self, abort: &Abort, shadow: S2ap) -> Result<Access, Stop> {
        let leaf = self.walker.translate(self.memory, abort.ipa, None)?;
        let slot = self.slots.find(leaf.output_of(abort.ipa).ipa());
        let is_device =
            slot.is_some_and(|slot| matches!(slot.attributes.memory, Memory::Device(_)));
        let is_forbidden =
            matches!(leaf.memory, MemoryType::Device(_)) && self.walker.protects_walks();
        if (is_device || is_forbidden) && abort.esr.is_s1_walk() {
            // HCR_EL2.PTW, which minds whose memory it is, and no permission of it.
            return Ok(Access::Read);
        }
        let slot = slot.map_or(S2ap::None, |slot| slot.attributes.access);
        let can_read = leaf.access.can_read() && slot.can_read();
        let can_write = (leaf.access.can_write() || leaf.is_dirty_managed) && slot.can_write();
        Ok(match (shadow.can_read(), shadow.can_write()) {
            (false, _) if can_read => Access::Read,
            (_, false) if can_write => Access::Write,
            (false, _) => Access::Read,
            (true, _) => Access::Write,
        })
    }

    /// Judges a fault where it is known what was missed.
    #[expect(clippy::inline_always, reason = "as `judge`")]
    #[inline(always)]
    fn judge_access(
        &self,
        abort: &Abort,
        fault: &Fault,
        canonical: impl FnOnce(L1Ipa) -> Option<CanonicalLeaf>,
    ) -> Verdict {
        let walked = self
            .walker
            .translate(self.memory, abort.ipa, needed(fault))
            .and_then(|leaf| self.check_walk(leaf, fault));
        match walked {
            Ok(leaf) => self.judge_memory(&leaf, abort, fault, canonical),
            Err(stop) => Abort::stopped(stop),
        }
    }

    /// HCR_EL2.PTW: a stage-1 walk that stage 2 leads to Device memory takes a permission fault (DDI 0487, D24.2,
    /// HCR_EL2.PTW).
    fn check_walk(&self, leaf: GuestLeaf, fault: &Fault) -> Result<GuestLeaf, Stop> {
        let is_device = matches!(leaf.memory, MemoryType::Device(_));
        if fault.origin == Origin::TableWalk && is_device && self.walker.protects_walks() {
            return Err(Stop::Fault(WalkFault {
                kind: FaultKind::Permission,
                level: leaf.level,
            }));
        }
        Ok(leaf)
    }

    /// The guest's table permits: what is there?
    #[expect(clippy::inline_always, reason = "as `judge`")]
    #[inline(always)]
    fn judge_memory(
        &self,
        leaf: &GuestLeaf,
        abort: &Abort,
        fault: &Fault,
        canonical: impl FnOnce(L1Ipa) -> Option<CanonicalLeaf>,
    ) -> Verdict {
        let at = leaf.output_of(abort.ipa);
        let found = canonical(at);
        // The common case, without what else the slots could say. A walk may not go wherever a load may.
        if fault.origin == Origin::Program
            && let Some(found) = &found
            && permits(found, fault.access)
            && let Some(slot) = self.slots.find(at.ipa())
            && slot.attributes.permits(fault.access)
            && let Some(composed) = compose(leaf, found, abort.ipa, self.scheme)
        {
            return Verdict::Fill {
                fault: *fault,
                composed,
            };
        }
        let needed = needed(fault);
        let permits = |leaf: &CanonicalLeaf| needed.is_none_or(|access| permits(leaf, access));
        let of_l1 = Fault {
            ipa: at.ipa(),
            cause: match (&found, needed) {
                (Some(_), Some(_)) => Cause::Permission,
                _ => Cause::Translation,
            },
            ..*fault
        };
        match self.slots.resolve(&of_l1) {
            Decision::Refuse(Answer::Mmio(access)) => Verdict::Device { at, access },
            Decision::Refuse(Answer::Inject(reason)) => Verdict::External(reason),
            Decision::Install(proposal) => {
                let composed = found
                    .filter(permits)
                    .and_then(|found| compose(leaf, &found, abort.ipa, self.scheme));
                match composed {
                    Some(composed) => Verdict::Fill {
                        fault: *fault,
                        composed,
                    },
                    None => Verdict::Canonical(proposal),
                }
            }
            // Slots answer neither for a fault that is no conflict.
            Decision::Forget | Decision::Refuse(_) => Verdict::Retry,
        }
    }
}

/// The access that is to be permitted, if any is.
fn needed(fault: &Fault) -> Option<Access> {
    (!fault.is_content_with_any()).then_some(fault.access)
}

fn permits(leaf: &CanonicalLeaf, access: Access) -> bool {
    let attributes = &leaf.attributes;
    match access {
        Access::Read => attributes.access.can_read(),
        Access::Write => attributes.access.can_write(),
        Access::Execute(Privilege::El0) => {
            matches!(attributes.execute, Xn::Everywhere | Xn::OnlyEl0)
        }
        Access::Execute(Privilege::El1) => {
            matches!(attributes.execute, Xn::Everywhere | Xn::OnlyEl1)
        }
    }
}

/// ISV, SAS, SSE, SRT, SF and AR: the description of a load or store.
const INSTRUCTION: u64 = 0x7ff << 14;
const CM: u64 = 1 << 8;
const S1PTW: u64 = 1 << 7;
const WNR: u64 = 1 << 6;
const EC_AND_IL: u64 = 0x7f << 25;

impl Abort {
    /// What follows where the walk of L1's table stopped.
    const fn stopped(stop: Stop) -> Verdict {
        match stop {
            Stop::Fault(of_guest) => Verdict::Guest(of_guest),
            Stop::Raced => Verdict::Retry,
        }
    }

    /// The registers of virtual EL2 as hardware would leave them if it had walked the guest's table.
    ///
    /// The exception class, the instruction length, and what describes the access stay: the access was the same (DDI
    /// 0487, D24.2.40, "ISS encoding for an exception from a Data Abort" and "from an Instruction Abort"). The status
    /// code is that of the guest's fault. An external abort on a walk describes no instruction. Fields of features that
    /// are not advertised are clear: ISS2, and VNCR of FEAT_NV2. So is FnV, which faults of tables do not have.
    ///
    /// HPFAR_EL2 holds the address even for faults that leave it UNKNOWN in hardware (DDI 0487, D24.2.60).
    pub const fn for_guest(&self, fault: WalkFault) -> Syndrome {
        let is_external = matches!(fault.kind, FaultKind::ExternalAbort);
        let kept = match self.esr.ec() {
            Ec::INSTRUCTION_ABORT_LOWER => EC_AND_IL | S1PTW,
            _ if is_external => EC_AND_IL | CM | S1PTW | WNR,
            _ => EC_AND_IL | INSTRUCTION | CM | S1PTW | WNR,
        };
        Syndrome {
            esr: Esr(self.esr.0 & kept | fault.status_code()),
            far: self.far,
            hpfar: hpfar(self.ipa),
        }
    }
}

/// The exception that virtual EL2 takes for an alignment fault at Device memory of a shadow, which is L1's; `None` for
/// other aborts. Alignment faults of stage 1 go to EL1, so every one that comes to EL2 while EL0 does not belong to EL2
/// is one of stage 2 (DDI 0487, J1.1, AArch64.S2Translate). HPFAR_EL2 is not written for it.
pub const fn misaligned(esr: Esr, far: u64) -> Option<Exception> {
    const ALIGNMENT: u64 = 0x21;
    match (esr.ec(), esr.fault_status()) {
        (Ec::DATA_ABORT_LOWER, FaultStatus::Alignment) => Some(Exception::Synchronous {
            esr: Esr(esr.0 & (EC_AND_IL | INSTRUCTION | CM | S1PTW | WNR) | ALIGNMENT),
            far: Some(far),
            hpfar: None,
        }),
        _ => None,
    }
}

/// HPFAR_EL2 for an address: bits \[55:12\] at \[47:4\].
const fn hpfar(ipa: L2Ipa) -> u64 {
    (ipa.0 >> 12 & 0xfff_ffff_ffff) << 4
}

impl WalkFault {
    /// DFSC or IFSC (DDI 0487, D24.2.40).
    pub const fn status_code(self) -> u64 {
        let (first, minus_1) = match self.kind {
            FaultKind::AddressSize => (0b00_0000, 0b10_1001),
            FaultKind::Translation => (0b00_0100, 0b10_1011),
            // No leaf stands at level −1.
            FaultKind::AccessFlag => (0b00_1000, 0b00_1000),
            FaultKind::Permission => (0b00_1100, 0b00_1100),
            FaultKind::ExternalAbort => (0b01_0100, 0b01_0011),
        };
        match self.level {
            Level::Minus1 => minus_1,
            Level::L0 => first,
            Level::L1 => first + 1,
            Level::L2 => first + 2,
            Level::L3 => first + 3,
        }
    }
}

#[cfg(test)]
mod tests;
