//! The distributor's registers (IHI 0069, 12.8 and 12.9), and where registers of a bank lie in both frames.

use super::bank::{BankRegister, Enables};
use super::state::{At, NOBODY};
use super::{Gic, Kicks};
use crate::Affinity;
use droste_arm64::esr::AccessSize;

const CTLR: u64 = 0x0000;
const TYPER: u64 = 0x0004;
const IIDR: u64 = 0x0008;
/// GICD_IROUTER&lt;n&gt; is at 0x6000 + 8 * n, from n = 32 on.
const IROUTER: u64 = 0x6000;
const IROUTER_END: u64 = 0x7fe0;
pub(super) const PIDR2: u64 = 0xffe8;

/// GICD_PIDR2 and GICR_PIDR2: ArchRev = 3, GICv3; no JEP106 code.
pub(super) const PIDR2_VALUE: u64 = 0x30;

/// GICD_IIDR and GICR_IIDR: ProductID `D`, variant and revision 0. Implementer 0 is nobody's JEP106 code, so that no
/// driver takes this GIC for one whose faults it works around.
pub(super) const IIDR_VALUE: u64 = (b'D' as u64) << 24;

/// GICD_CTLR, one security state: EnableGrp0, EnableGrp1, ARE, DS. E1NWF, nASSGIreq and RWP are 0.
const CTLR_ENABLE_GROUP0: u64 = 1 << 0;
const CTLR_ENABLE_GROUP1: u64 = 1 << 1;
const CTLR_ARE: u64 = 1 << 4;
const CTLR_DS: u64 = 1 << 6;

/// GICD_TYPER without ITLinesNumber: IDbits = 9 (INTIDs of 10 bits, as the special numbers 1020 to 1023 need),
/// No1N = 1. CPUNumber is 0 as affinity routing is always on; SecurityExtn, MBIS, LPIS, ESPI, A3V and RSS are 0.
const TYPER_FIXED: u64 = 9 << 19 | 1 << 25;

/// Aff2, Aff1 and Aff0 of GICD_IROUTER&lt;n&gt;. Aff3 is RES0 as GICD_TYPER.A3V is 0, and Interrupt_Routing_Mode as No1N
/// is 1.
const ROUTE_FIELDS: u32 = 0xff_ffff;

/// Whose banks a frame shows.
#[derive(Clone, Copy)]
pub(super) enum Banks {
    /// The distributor's: SPIs.
    Shared,
    /// A redistributor's: SGIs and PPIs of one vCPU.
    Private(usize),
}

/// A register that is the same in distributor and redistributor frames, at an offset below 0x1000.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Register {
    /// 32 bits of a bank, by word of 32 INTIDs.
    Bank(BankRegister, usize),
    /// The priority field of an INTID.
    Priority(usize),
}

impl Register {
    pub(super) fn decode(offset: u64) -> Option<Self> {
        let word = (offset >> 2 & 31) as usize;
        let register = match offset >> 7 {
            0x1 => BankRegister::Group,
            0x2 => BankRegister::SetEnable,
            0x3 => BankRegister::ClearEnable,
            0x4 => BankRegister::SetPending,
            0x5 => BankRegister::ClearPending,
            0x6 => BankRegister::SetActive,
            0x7 => BankRegister::ClearActive,
            0x8..=0xf => return Some(Self::Priority((offset - 0x400) as usize)),
            0x18 | 0x19 => {
                let half = ((offset - 0xc00) >> 2) as usize;
                let is_upper = half & 1 != 0;
                return Some(Self::Bank(BankRegister::Config { is_upper }, half >> 1));
            }
            _ => return None,
        };
        Some(Self::Bank(register, word))
    }
}

impl Register {
    /// The word of 32 INTIDs that it belongs to.
    pub(super) fn word(self) -> usize {
        match self {
            Self::Bank(_, word) => word,
            Self::Priority(intid) => intid >> 5,
        }
    }
}

impl BankRegister {
    /// Whether it shows or changes what a list register may hold: the pending and active states.
    pub(super) fn is_listed_state(self) -> bool {
        matches!(
            self,
            Self::SetPending | Self::ClearPending | Self::SetActive | Self::ClearActive
        )
    }
}

impl BankRegister {
    /// Whether it shows the pending state.
    pub(super) fn is_pending_state(self) -> bool {
        matches!(self, Self::SetPending | Self::ClearPending)
    }
}

impl Gic {
    pub(super) fn read_distributor(&self, offset: u64, size: AccessSize) -> u64 {
        if offset & (size.bytes() - 1) != 0 {
            return 0;
        }
        match (offset, size) {
            (0..0x1000, _) if offset >= 0x80 => self.read_banked(Banks::Shared, offset, size),
            (CTLR, AccessSize::Word) => self.control(),
            (TYPER, AccessSize::Word) => TYPER_FIXED | self.shared.len() as u64,
            (IIDR, AccessSize::Word) => IIDR_VALUE,
            (PIDR2, AccessSize::Word) => PIDR2_VALUE,
            (IROUTER..IROUTER_END, AccessSize::Word | AccessSize::Doubleword) => {
                self.read_route(offset)
            }
            _ => 0,
        }
    }

    pub(super) fn write_distributor(
        &mut self,
        by: usize,
        offset: u64,
        size: AccessSize,
        value: u64,
    ) -> Kicks {
        if offset & (size.bytes() - 1) != 0 {
            return Kicks::NONE;
        }
        match (offset, size) {
            (0..0x1000, _) if offset >= 0x80 => {
                self.write_banked(by, Banks::Shared, offset, size, value)
            }
            (CTLR, AccessSize::Word) => self.set_control(value),
            (IROUTER..IROUTER_END, AccessSize::Word | AccessSize::Doubleword) => {
                self.write_route(by, offset, value)
            }
            _ => Kicks::NONE,
        }
    }

    fn control(&self) -> u64 {
        CTLR_ARE
            | CTLR_DS
            | u64::from(self.enables.group0) & CTLR_ENABLE_GROUP0
            | u64::from(self.enables.group1) & CTLR_ENABLE_GROUP1
    }

    /// Each vCPU looks at what the distributor forwards as it fills. So this takes as long as there are vCPUs to tell,
    /// however many interrupts there are: all of them may do it at once, one behind another.
    fn set_control(&mut self, value: u64) -> Kicks {
        let spread = |bit: u64| if value & bit != 0 { u32::MAX } else { 0 };
        let old = self.enables;
        self.enables = Enables {
            group0: spread(CTLR_ENABLE_GROUP0),
            group1: spread(CTLR_ENABLE_GROUP1),
        };
        let mut kicks = Kicks::NONE;
        if self.enables != old {
            for (vcpu, state) in self.vcpus.iter_mut().enumerate() {
                if state.summary != 0 {
                    state.is_stale = true;
                    kicks |= Kicks::one(vcpu);
                }
            }
        }
        kicks
    }

    /// A register of a bank that exists. Words and, for priorities, bytes.
    pub(super) fn read_banked(&self, banks: Banks, offset: u64, size: AccessSize) -> u64 {
        match Register::decode(offset) {
            Some(Register::Bank(register, word)) if size == AccessSize::Word => self
                .bank_at(banks, word)
                .map_or(0, |at| self.bank(at).read(register).into()),
            Some(Register::Priority(intid)) if has_priority_size(size) => {
                self.bank_at(banks, intid >> 5).map_or(0, |at| {
                    let bank = self.bank(at);
                    bank.read_priorities(intid & 31, size.bytes() as usize)
                })
            }
            _ => 0,
        }
    }

    pub(super) fn write_banked(
        &mut self,
        by: usize,
        banks: Banks,
        offset: u64,
        size: AccessSize,
        value: u64,
    ) -> Kicks {
        let Some(register) = Register::decode(offset) else {
            return Kicks::NONE;
        };
        let Some(at) = self.bank_at(banks, register.word()) else {
            return Kicks::NONE;
        };
        let bank = self.bank_mut(at);
        let touched = match register {
            Register::Bank(register, _) if size == AccessSize::Word => {
                bank.write(register, value as u32)
            }
            Register::Priority(intid) if has_priority_size(size) => {
                bank.write_priorities(intid & 31, size.bytes() as usize, value)
            }
            _ => 0,
        };
        self.follow_up(at, by, touched)
    }

    /// The bank that word `word` of a register means. The distributor's word 0 is reserved with affinity routing, and
    /// a redistributor has no other.
    pub(super) fn bank_at(&self, banks: Banks, word: usize) -> Option<At> {
        match banks {
            Banks::Shared => {
                let index = word.checked_sub(1)?;
                (index < self.shared.len()).then_some(At::Shared(index))
            }
            Banks::Private(vcpu) => {
                (word == 0 && vcpu < self.vcpus.len()).then_some(At::Private(vcpu))
            }
        }
    }

    /// GICD_IROUTER&lt;n&gt;, whole or its lower half; the upper half is 0.
    fn read_route(&self, offset: u64) -> u64 {
        let intid = ((offset - IROUTER) >> 3) as usize;
        let index = (intid >> 5).wrapping_sub(1);
        match (self.shared.get(index), offset & 4) {
            (Some(shared), 0) => shared.route[intid & 31].into(),
            _ => 0,
        }
    }

    fn write_route(&mut self, by: usize, offset: u64, value: u64) -> Kicks {
        let intid = ((offset - IROUTER) >> 3) as usize;
        let (index, bit) = ((intid >> 5).wrapping_sub(1), intid & 31);
        let vcpus = self.vcpus.len();
        let (Some(shared), 0) = (self.shared.get_mut(index), offset & 4) else {
            return Kicks::NONE;
        };
        let route = value as u32 & ROUTE_FIELDS;
        if shared.bank.implemented() >> bit & 1 == 0 || shared.route[bit] == route {
            return Kicks::NONE;
        }
        shared.route[bit] = route;
        shared.target[bit] = Affinity::from_mpidr(route.into())
            .vcpu()
            .filter(|&vcpu| vcpu < vcpus)
            .map_or(NOBODY, |vcpu| vcpu as u8);
        self.follow_up(At::Shared(index), by, 1 << bit)
    }
}

/// Priorities are read and written by word or by byte (IHI 0069, 12.1.3).
fn has_priority_size(size: AccessSize) -> bool {
    matches!(size, AccessSize::Byte | AccessSize::Word)
}
