//! AT at virtual EL2: which translation is asked for, and PAR_EL1 from what the walks found (DDI 0487, C5.4; D24.2, PAR_EL1;
//! J1.1, AArch64.AT and AArch64.EncodePAR).
//!
//! HCR_EL2.{NV, AT} make all forms trap. [`execute`] carries one out. The walks of L1's tables are behind [`Walks`]: of
//! stage 1 by the registers of virtual EL2 or of L1's EL1, and of stage 2 by those of virtual EL2. L2's addresses go
//! through both, so the read of a stage-1 descriptor may itself fault at stage 2.
//!
//! Rule: tables stay as they are. Where hardware may set an access flag, the walk goes on as if it had: AT may set it
//! or not, as a speculative access may (D8.5 "Hardware management of the Access flag"). AT must not change the dirty
//! state (J1.1, AArch64.S1Translate).

mod attributes;
mod stage1;
mod tables;
#[cfg(test)]
mod tests;

use droste_arm64::desc::{MemoryType, Shareability};
use droste_arm64::esr::{Direction, Ec, Esr, FaultStatus};
use droste_arm64::hcr;
use droste_arm64::sysreg::SysReg;

use crate::exception::{Exception, is_in_host};
use crate::walk::{FaultKind, WalkFault};
use crate::{L1Ipa, L2Ipa};

pub use attributes::{Attributes, combine};
pub use stage1::StageOneRegisters;
pub use tables::{Registers, execute};

/// Which stages an instruction translates by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stages {
    /// Stage 1.
    One,
    /// Both stages, of EL1 and EL0.
    Both,
}

/// For which level an instruction translates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum For {
    /// EL0.
    El0,
    /// EL1, whose stage 1 is EL2's while E2H and TGE are both 1.
    El1,
    /// EL2.
    El2,
}

/// Whether PSTATE.PAN counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pan {
    /// It counts as 0.
    Ignored,
    /// It counts as it is: AT S1E1RP and S1E1WP.
    Honoured,
}

/// One AT instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct At {
    /// The stages.
    pub stages: Stages,
    /// The level.
    pub level: For,
    /// As for a load or a store.
    pub direction: Direction,
    /// Whether PSTATE.PAN counts.
    pub pan: Pan,
}

impl At {
    /// Decodes the encoding; `None` if it is no AT instruction that L1 is shown. AT S1E1A and S1E2A (FEAT_ATS1A) are
    /// not.
    ///
    /// ```
    /// use droste_arm64::sysreg::SysReg;
    /// use droste_nested::at::{At, For, Stages};
    /// let s12e1r = At::decode(SysReg::new(1, 4, 7, 8, 4)).unwrap();
    /// assert_eq!((s12e1r.stages, s12e1r.level), (Stages::Both, For::El1));
    /// assert_eq!(At::decode(SysReg::new(1, 4, 7, 8, 2)), None);
    /// ```
    pub const fn decode(register: SysReg) -> Option<Self> {
        if register.op0() != 1 || register.crn() != 7 {
            return None;
        }
        let (stages, level, pan) = match (register.op1(), register.crm(), register.op2()) {
            (0, 8, 0 | 1) => (Stages::One, For::El1, Pan::Ignored),
            (0, 8, 2 | 3) => (Stages::One, For::El0, Pan::Ignored),
            (0, 9, 0 | 1) => (Stages::One, For::El1, Pan::Honoured),
            (4, 8, 0 | 1) => (Stages::One, For::El2, Pan::Ignored),
            (4, 8, 4 | 5) => (Stages::Both, For::El1, Pan::Ignored),
            (4, 8, 6 | 7) => (Stages::Both, For::El0, Pan::Ignored),
            _ => return None,
        };
        let direction = if register.op2() & 1 == 0 {
            Direction::Read
        } else {
            Direction::Write
        };
        Some(Self {
            stages,
            level,
            direction,
            pan,
        })
    }

    /// The regime that it translates by, where HCR_EL2 is `hcr`, as its rule keeps it. With E2H and TGE both 1, EL0 and
    /// EL1 belong to EL2's regime. The instructions for both stages then translate by stage 1 alone (C5.4.1 to C5.4.4,
    /// AT S12E0R to S12E1W).
    pub const fn regime(self, hcr: u64) -> Regime {
        match self.level {
            For::El2 => Regime::El2,
            For::El1 | For::El0 if is_in_host(hcr) => Regime::El2,
            For::El1 | For::El0 => Regime::El1,
        }
    }
}

/// A translation regime of L1's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Regime {
    /// Virtual EL2's: EL2&0 with E2H = 1, EL2 with E2H = 0. Its outputs are L1's physical addresses.
    El2,
    /// EL1&0. Its outputs are the addresses that stage 2 translates.
    El1,
}

/// A stage-1 walk to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageOneRequest {
    /// By the registers of which regime.
    pub regime: Regime,
    /// The virtual address.
    pub va: u64,
    /// Whose permissions count.
    pub privilege: Privilege,
    /// As for a load or a store.
    pub direction: Direction,
    /// Whether PSTATE.PAN forbids a privileged access.
    pub pan: Pan,
}

/// Whose permissions count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Privilege {
    /// EL0's.
    User,
    /// EL1's or EL2's.
    Privileged,
}

/// The output of stage 1, or the address itself where stage 1 is off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageOneLeaf {
    /// The output: an L1 physical address for [`Regime::El2`], else an IPA under virtual EL2.
    pub output: u64,
    /// Memory type and shareability.
    pub attributes: Attributes,
}

/// Why stage 1 has no output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StageOneStop {
    /// A fault of stage 1's own.
    Fault(WalkFault),
    /// Stage 2 refused the read of a descriptor. The level is stage 2's.
    OnStageTwo(WalkFault),
}

/// The output of stage 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageTwoLeaf {
    /// The output.
    pub output: L1Ipa,
    /// Its memory type, in the scheme that HCR_EL2.FWB says.
    pub memory: MemoryType,
    /// Its shareability.
    pub shareability: Shareability,
}

/// The walks of L1's tables.
pub trait Walks {
    /// Walks stage 1. Descriptors of [`Regime::El1`] are read through stage 2.
    ///
    /// # Errors
    /// As [`StageOneStop`] says.
    fn stage_one(&mut self, request: &StageOneRequest) -> Result<StageOneLeaf, StageOneStop>;

    /// Walks stage 2, for data; `None` where it is off.
    ///
    /// # Errors
    /// A fault of stage 2.
    fn stage_two(
        &mut self,
        ipa: L2Ipa,
        direction: Direction,
    ) -> Result<Option<StageTwoLeaf>, WalkFault>;
}

/// How an AT instruction ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Translated {
    /// PAR_EL1 becomes this, and L1 goes on after the instruction.
    Par(u64),
    /// Virtual EL2 takes this instead: an external abort is not reported in PAR_EL1.
    Exception(Exception),
}

impl Translated {
    /// The level of the fault, if this is an address size fault of stage 1.
    ///
    /// ```
    /// use droste_nested::at::Translated;
    /// let (failed, of_stage2) = (1, 1 << 9);
    /// assert_eq!(Translated::Par(2 << 1 | failed).address_size(), Some(2));
    /// assert_eq!(Translated::Par(2 << 1 | failed | of_stage2).address_size(), None);
    /// assert_eq!(Translated::Par(6 << 1 | failed).address_size(), None);
    /// ```
    pub const fn address_size(&self) -> Option<i8> {
        const F: u64 = 1;
        const PTW: u64 = 1 << 8;
        const S: u64 = 1 << 9;
        match *self {
            Self::Par(par) if par & (F | PTW | S) == F => {
                match FaultStatus::decode((par >> 1 & 0x3f) as u8) {
                    FaultStatus::AddressSize { level } => Some(level),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// Translates `va` as `at` asks, where virtual EL2's HCR_EL2 is `hcr`, as its rule keeps it.
pub fn translate(at: At, va: u64, hcr: u64, walks: &mut impl Walks) -> Translated {
    let request = StageOneRequest {
        regime: at.regime(hcr),
        va,
        privilege: match at.level {
            For::El0 => Privilege::User,
            For::El1 | For::El2 => Privilege::Privileged,
        },
        direction: at.direction,
        pan: at.pan,
    };
    let one = match walks.stage_one(&request) {
        Ok(leaf) => leaf,
        Err(StageOneStop::Fault(fault)) => return faulted(fault, Stage::One, va),
        Err(StageOneStop::OnStageTwo(fault)) => return faulted(fault, Stage::TwoOnWalk, va),
    };
    if at.stages == Stages::One || request.regime == Regime::El2 {
        return Translated::Par(success(one.output, one.attributes));
    }
    match walks.stage_two(L2Ipa(one.output), at.direction) {
        Ok(None) => Translated::Par(success(one.output, one.attributes)),
        Ok(Some(two)) => {
            let both = combine(one.attributes, two.memory, two.shareability);
            // DDI 0487, J1.1, S2DCacheEnabled.
            let attributes = if hcr & hcr::CD != 0 {
                both.uncached()
            } else {
                both
            };
            Translated::Par(success(two.output.0, attributes))
        }
        Err(fault) => faulted(fault, Stage::Two, va),
    }
}

/// PAR_EL1\[11\], RES1 without FEAT_RME.
const RES1: u64 = 1 << 11;

/// PAR_EL1 after a translation: ATTR at \[63:56\], PA at \[55:12\], SH at \[8:7\], F = 0. NS is UNKNOWN in Non-secure
/// state: 0.
fn success(output: u64, attributes: Attributes) -> u64 {
    const PA: u64 = 0x00ff_ffff_ffff_f000;
    u64::from(attributes.memory) << 56
        | output & PA
        | RES1
        | u64::from(attributes.reported_shareability()) << 7
}

/// Where a fault arose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    One,
    Two,
    /// At stage 2, on the read of a descriptor of stage 1.
    TwoOnWalk,
}

/// PAR_EL1 after a fault: S at bit 9, PTW at bit 8, FST at \[6:1\], F = 1.
fn faulted(fault: WalkFault, stage: Stage, va: u64) -> Translated {
    const S: u64 = 1 << 9;
    const PTW: u64 = 1 << 8;
    const F: u64 = 1;
    let status = fault.status_code();
    if fault.kind == FaultKind::ExternalAbort {
        return Translated::Exception(external_abort(status, stage, va));
    }
    let place = match stage {
        Stage::One => 0,
        Stage::Two => S,
        Stage::TwoOnWalk => S | PTW,
    };
    Translated::Par(place | RES1 | status << 1 | F)
}

/// A data abort at virtual EL2 of its own: CM and WnR are set for AT, S1PTW for stage 2 on a walk of stage 1 (D24.2,
/// ESR_EL2, ISS encoding for a Data Abort; J1.1, AArch64.FaultSyndrome).
const fn external_abort(status: u64, stage: Stage, va: u64) -> Exception {
    const IL: u64 = 1 << 25;
    const CM: u64 = 1 << 8;
    const S1PTW: u64 = 1 << 7;
    const WNR: u64 = 1 << 6;
    let walk = match stage {
        Stage::TwoOnWalk => S1PTW,
        Stage::One | Stage::Two => 0,
    };
    Exception::Synchronous {
        esr: Esr((Ec::DATA_ABORT_SAME.0 as u64) << 26 | IL | CM | walk | WNR | status),
        far: Some(va),
        hpfar: None,
    }
}
