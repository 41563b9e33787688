//! ESR_EL2: why an exception came to EL2 (DDI 0487, D24.2.40).

use crate::Ipa;
use crate::sysreg::SysReg;

/// The raw syndrome as the CPU wrote it.
///
/// ```
/// use droste_arm64::esr::{Ec, Esr};
/// let esr = Esr(0x5a00_0000);
/// assert_eq!(esr.ec(), Ec::HVC64);
/// assert_eq!(esr.imm16(), 0);
/// assert_eq!(esr, Esr::new(Ec::HVC64));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Esr(pub u64);

/// Exception class, ESR_EL2\[31:26\]. A number, not an enum: the architecture keeps adding classes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Ec(pub u8);

impl Ec {
    /// Unknown reason; an UNDEFINED instruction when injected at EL1.
    pub const UNKNOWN: Self = Self(0x00);
    /// Trapped WFI, WFE, WFIT or WFET.
    pub const WFX: Self = Self(0x01);
    /// Trapped access to SVE, Advanced SIMD or floating point.
    pub const FP: Self = Self(0x07);
    /// Trapped pointer-authentication instruction.
    pub const PAC: Self = Self(0x09);
    /// HVC from AArch64.
    pub const HVC64: Self = Self(0x16);
    /// SMC from AArch64.
    pub const SMC64: Self = Self(0x17);
    /// Trapped MSR, MRS or system instruction from AArch64.
    pub const SYSREG: Self = Self(0x18);
    /// Trapped SVE access.
    pub const SVE: Self = Self(0x19);
    /// ERET, ERETAA or ERETAB (FEAT_NV, FEAT_FGT).
    pub const ERET: Self = Self(0x1a);
    /// Instruction abort from a lower exception level.
    pub const INSTRUCTION_ABORT_LOWER: Self = Self(0x20);
    /// Instruction abort without a change of exception level.
    pub const INSTRUCTION_ABORT_SAME: Self = Self(0x21);
    /// Data abort from a lower exception level.
    pub const DATA_ABORT_LOWER: Self = Self(0x24);
    /// Data abort without a change of exception level.
    pub const DATA_ABORT_SAME: Self = Self(0x25);
    /// SError exception.
    pub const SERROR: Self = Self(0x2f);
}

/// The meaning of an abort's fault status code (DDI 0487, D24.2.40, "DFSC" and "IFSC").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultStatus {
    /// The output address, or the address of a table, has too many bits.
    AddressSize {
        /// Level of the walk.
        level: i8,
    },
    /// No valid descriptor.
    Translation {
        /// Level of the walk.
        level: i8,
    },
    /// The access flag is clear.
    AccessFlag {
        /// Level of the walk.
        level: i8,
    },
    /// The descriptor forbids the access.
    Permission {
        /// Level of the walk.
        level: i8,
    },
    /// A synchronous external abort, not on a walk.
    External,
    /// A synchronous external abort on a walk.
    ExternalOnWalk {
        /// Level of the walk.
        level: i8,
    },
    /// An alignment fault.
    Alignment,
    /// A TLB conflict abort: overlapping entries.
    TlbConflict,
    /// Any other code.
    Other(u8),
}

impl FaultStatus {
    /// Decodes the six bits of DFSC or IFSC.
    pub const fn decode(fsc: u8) -> Self {
        let level = (fsc & 3).cast_signed();
        match fsc & 0x3f {
            0x00..=0x03 => Self::AddressSize { level },
            0x04..=0x07 => Self::Translation { level },
            0x08..=0x0b => Self::AccessFlag { level },
            0x0c..=0x0f => Self::Permission { level },
            0x10 => Self::External,
            0x13 => Self::ExternalOnWalk { level: -1 },
            0x14..=0x17 => Self::ExternalOnWalk { level },
            0x21 => Self::Alignment,
            0x29 => Self::AddressSize { level: -1 },
            0x2b => Self::Translation { level: -1 },
            0x30 => Self::TlbConflict,
            other => Self::Other(other),
        }
    }

    /// The six bits of DFSC or IFSC.
    pub const fn encode(self) -> u8 {
        let (first, level) = match self {
            Self::AddressSize { level: -1 } => return 0x29,
            Self::Translation { level: -1 } => return 0x2b,
            Self::ExternalOnWalk { level: -1 } => return 0x13,
            Self::AddressSize { level } => (0x00, level),
            Self::Translation { level } => (0x04, level),
            Self::AccessFlag { level } => (0x08, level),
            Self::Permission { level } => (0x0c, level),
            Self::ExternalOnWalk { level } => (0x14, level),
            Self::External => return 0x10,
            Self::Alignment => return 0x21,
            Self::TlbConflict => return 0x30,
            Self::Other(code) => return code & 0x3f,
        };
        first | level.cast_unsigned() & 3
    }
}

/// Width of an access in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessSize {
    /// 1 byte.
    Byte,
    /// 2 bytes.
    Halfword,
    /// 4 bytes.
    Word,
    /// 8 bytes.
    Doubleword,
}

impl AccessSize {
    /// Width in bytes.
    pub const fn bytes(self) -> u64 {
        1 << self as u64
    }

    /// The mask of the bits that an access of this width transfers.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes())
    }
}

/// Direction of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From memory or register to the CPU.
    Read,
    /// From the CPU to memory or register.
    Write,
}

/// The load or store that a data abort with a valid syndrome describes (ISS.ISV = 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmioAccess {
    /// Width.
    pub size: AccessSize,
    /// Load or store.
    pub direction: Direction,
    /// Register transferred, 0 to 31; 31 is the zero register.
    pub register: u8,
    is_sign_extended: bool,
    is_64_bit: bool,
}

impl MmioAccess {
    /// The value that a load puts into its register when the device answers `value`: truncated to the width of the
    /// access, then extended as the instruction asks.
    pub const fn extend(self, value: u64) -> u64 {
        let unused = 64 - 8 * self.size.bytes();
        let cut = value << unused;
        let value = if self.is_sign_extended {
            (cut.cast_signed() >> unused).cast_unsigned()
        } else {
            cut >> unused
        };
        if self.is_64_bit {
            value
        } else {
            value & 0xffff_ffff
        }
    }
}

/// A trapped system register access or system instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SysRegAccess {
    /// The register named.
    pub register: SysReg,
    /// MRS reads, MSR and system instructions write.
    pub direction: Direction,
    /// General register transferred, 0 to 31; 31 is the zero register.
    pub rt: u8,
}

/// A syndrome of one's own: to inject it, or for a test.
///
/// ```
/// use droste_arm64::esr::{Ec, Esr, FaultStatus};
/// let fault = FaultStatus::Translation { level: 1 };
/// let store = Esr::new(Ec::DATA_ABORT_LOWER).with_fault_status(fault).with_write();
/// assert_eq!((store.fault_status(), store.is_write()), (fault, true));
/// ```
impl Esr {
    /// A syndrome of this class, for an instruction of 4 bytes (IL = 1). All other bits are 0.
    pub const fn new(class: Ec) -> Self {
        Self((class.0 as u64 & 0x3f) << 26 | 1 << 25)
    }

    /// Of an abort: with this fault status.
    #[must_use]
    pub const fn with_fault_status(self, status: FaultStatus) -> Self {
        Self(self.0 & !0x3f | status.encode() as u64)
    }

    /// Of a data abort: the access was a write (WnR).
    #[must_use]
    pub const fn with_write(self) -> Self {
        Self(self.0 | 1 << 6)
    }

    /// Of an abort: it came from a stage-1 table walk (S1PTW).
    #[must_use]
    pub const fn with_s1_walk(self) -> Self {
        Self(self.0 | 1 << 7)
    }

    /// Of a data abort: a cache maintenance or address translation instruction caused it (CM).
    #[must_use]
    pub const fn with_cache_maintenance(self) -> Self {
        Self(self.0 | 1 << 8)
    }
}

impl Esr {
    /// Exception class.
    #[inline]
    pub const fn ec(self) -> Ec {
        Ec((self.0 >> 26) as u8 & 0x3f)
    }

    /// The trapped instruction's length: 4 bytes, or 2 for a 16-bit T32 instruction.
    #[inline]
    pub const fn instruction_bytes(self) -> u64 {
        if self.0 >> 25 & 1 != 0 { 4 } else { 2 }
    }

    /// Immediate of HVC and SMC.
    #[inline]
    pub const fn imm16(self) -> u16 {
        self.0 as u16
    }

    /// Of an abort: the fault status.
    #[inline]
    pub const fn fault_status(self) -> FaultStatus {
        FaultStatus::decode(self.0 as u8 & 0x3f)
    }

    /// Of an abort: whether it came from a stage-1 table walk (S1PTW). Then the access is the walker's own.
    #[inline]
    pub const fn is_s1_walk(self) -> bool {
        self.0 >> 7 & 1 != 0
    }

    /// Of a data abort: whether the access was a write (WnR). A cache maintenance or address translation
    /// instruction (CM) counts as a write here; see [`is_cache_maintenance`](Self::is_cache_maintenance).
    #[inline]
    pub const fn is_write(self) -> bool {
        self.0 >> 6 & 1 != 0
    }

    /// Of a stage-2 abort from a lower exception level: whether HPFAR_EL2 holds the faulting IPA.
    ///
    /// It does for translation, access flag and address size faults, and for any stage-2 fault on a stage-1 walk;
    /// for a permission fault of the access itself it is UNKNOWN, and the IPA has to come from translating FAR_EL2
    /// with `AT S1E1R` (DDI 0487, D24.2, HPFAR_EL2).
    pub const fn is_hpfar_valid(self) -> bool {
        match self.fault_status() {
            FaultStatus::Translation { .. }
            | FaultStatus::AccessFlag { .. }
            | FaultStatus::AddressSize { .. } => true,
            FaultStatus::Permission { .. } => self.is_s1_walk(),
            _ => false,
        }
    }

    /// Of a data abort: whether a cache maintenance or address translation instruction caused it (CM).
    #[inline]
    pub const fn is_cache_maintenance(self) -> bool {
        self.0 >> 8 & 1 != 0
    }

    /// Whether FAR_EL2 holds an address. It does for an abort, except a synchronous external abort with FnV set, for a
    /// misaligned PC, and for a watchpoint (DDI 0487, D24.2.52, FAR_EL2). Otherwise it holds the address of an earlier
    /// exception.
    #[inline]
    pub const fn has_address(self) -> bool {
        const FNV: u64 = 1 << 10;
        match self.ec().0 {
            0x20 | 0x21 | 0x24 | 0x25 => {
                !(matches!(self.fault_status(), FaultStatus::External) && self.0 & FNV != 0)
            }
            0x22 | 0x34 | 0x35 => true,
            _ => false,
        }
    }

    /// Of a data abort: the access, if the syndrome describes it (ISV = 1). `None` for load/store pairs, writeback
    /// forms, SIMD and the like.
    #[inline]
    pub const fn mmio_access(self) -> Option<MmioAccess> {
        if self.0 >> 24 & 1 == 0 {
            return None;
        }
        Some(MmioAccess {
            size: match self.0 >> 22 & 3 {
                0 => AccessSize::Byte,
                1 => AccessSize::Halfword,
                2 => AccessSize::Word,
                _ => AccessSize::Doubleword,
            },
            direction: if self.is_write() {
                Direction::Write
            } else {
                Direction::Read
            },
            register: (self.0 >> 16) as u8 & 0x1f,
            is_sign_extended: self.0 >> 21 & 1 != 0,
            is_64_bit: self.0 >> 15 & 1 != 0,
        })
    }

    /// Of a trapped MRS, MSR or system instruction: the register and the direction (ISS encoding of EC 0x18).
    #[inline]
    pub fn sysreg_access(self) -> SysRegAccess {
        let f = |shift: u32, mask: u64| (self.0 >> shift & mask) as u8;
        SysRegAccess {
            register: SysReg::new(f(20, 3), f(14, 7), f(10, 15), f(1, 15), f(17, 7)),
            direction: if self.0 & 1 != 0 {
                Direction::Read
            } else {
                Direction::Write
            },
            rt: f(5, 31),
        }
    }
}

/// The faulting IPA from HPFAR_EL2 (page) and FAR_EL2 (offset in the page).
///
/// HPFAR_EL2.FIPA holds IPA\[55:12\] at bits \[47:4\] (DDI 0487, D24.2.60).
#[inline]
pub const fn fault_ipa(hpfar: u64, far: u64) -> Ipa {
    Ipa((hpfar >> 4 & 0xfff_ffff_ffff) << 12 | far & 0xfff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_a_word_decodes() {
        // ldr/str w5, [x1] as hardware reports it: EC 0x24, IL, ISV, SAS=2, SRT=5, WnR, translation fault level 3.
        let esr = Esr(0x24 << 26 | 1 << 25 | 1 << 24 | 2 << 22 | 5 << 16 | 1 << 6 | 0x07);
        let access = esr.mmio_access().expect("ISV is set");
        assert_eq!(
            (access.size, access.direction, access.register),
            (AccessSize::Word, Direction::Write, 5)
        );
        assert_eq!(esr.fault_status(), FaultStatus::Translation { level: 3 });
        assert_eq!(esr.instruction_bytes(), 4);
    }

    #[test]
    fn loads_extend_as_the_instruction_asks() {
        let load = |sas: u64, sse: u64, sf: u64| {
            Esr(0x24 << 26 | 1 << 24 | sas << 22 | sse << 21 | sf << 15)
                .mmio_access()
                .expect("ISV is set")
        };
        assert_eq!(
            load(0, 1, 1).extend(0x1280),
            0xffff_ffff_ffff_ff80,
            "ldrsb x"
        );
        assert_eq!(load(0, 1, 0).extend(0x80), 0xffff_ff80, "ldrsb w");
        assert_eq!(load(1, 0, 0).extend(0x1_8000), 0x8000, "ldrh w");
        assert_eq!(
            load(2, 1, 1).extend(0x8000_0000),
            0xffff_ffff_8000_0000,
            "ldrsw x"
        );
        assert_eq!(load(3, 0, 1).extend(u64::MAX), u64::MAX, "ldr x");
    }

    #[test]
    fn a_trapped_sgi_write_names_its_register() {
        // msr ICC_SGI1R_EL1, x3: op0=3 op1=0 CRn=12 CRm=11 op2=5.
        let esr = Esr(0x18 << 26 | 1 << 25 | 3 << 20 | 5 << 17 | 12 << 10 | 3 << 5 | 11 << 1);
        let access = esr.sysreg_access();
        assert_eq!(access.register, crate::sysreg::ICC_SGI1R_EL1);
        assert_eq!((access.direction, access.rt), (Direction::Write, 3));
    }

    #[test]
    fn levels_below_zero_have_codes_of_their_own() {
        assert_eq!(
            FaultStatus::decode(0x2b),
            FaultStatus::Translation { level: -1 }
        );
        assert_eq!(
            FaultStatus::decode(0x29),
            FaultStatus::AddressSize { level: -1 }
        );
        assert_eq!(
            FaultStatus::decode(0x13),
            FaultStatus::ExternalOnWalk { level: -1 }
        );
    }

    #[test]
    fn a_status_is_encoded_as_it_is_decoded() {
        for code in 0..64 {
            assert_eq!(FaultStatus::decode(code).encode(), code);
        }
    }

    #[test]
    fn a_syndrome_is_made_of_its_parts() {
        let esr = Esr::new(Ec::DATA_ABORT_LOWER).with_fault_status(FaultStatus::TlbConflict);
        let all = esr.with_write().with_s1_walk().with_cache_maintenance();
        assert_eq!(all.0, 0x24 << 26 | 1 << 25 | 7 << 6 | 0x30);
        let other = FaultStatus::Permission { level: 3 };
        let other = all.with_fault_status(other);
        assert_eq!(other.0, 0x24 << 26 | 1 << 25 | 7 << 6 | 0x0f);
    }

    #[test]
    fn only_some_exceptions_have_an_address() {
        let has = |ec: u64, iss: u64| Esr(ec << 26 | iss).has_address();
        for ec in 0..64 {
            let is_one = [0x20, 0x21, 0x22, 0x24, 0x25, 0x34, 0x35].contains(&ec);
            assert_eq!(has(ec, 0x10), is_one, "{ec:#x}");
        }
        let not_valid = 1 << 10;
        assert!(!has(0x24, not_valid | 0x10) && !has(0x20, not_valid | 0x10));
        assert!(has(0x24, not_valid | 0x07) && has(0x24, not_valid | 0x14));
        assert!(has(0x22, not_valid | 0x10));
    }

    #[test]
    fn a_permission_fault_has_no_ipa_unless_the_walker_took_it() {
        let abort = |fsc: u64, s1ptw: u64| Esr(0x24 << 26 | 1 << 25 | s1ptw << 7 | fsc);
        assert!(abort(0x07, 0).is_hpfar_valid());
        assert!(abort(0x0b, 0).is_hpfar_valid());
        assert!(abort(0x01, 0).is_hpfar_valid());
        assert!(!abort(0x0f, 0).is_hpfar_valid());
        assert!(abort(0x0f, 1).is_hpfar_valid());
        assert!(!abort(0x10, 0).is_hpfar_valid());
    }

    #[test]
    fn the_fault_address_joins_both_registers() {
        assert_eq!(
            fault_ipa(0x4_0001 << 4, 0xffff_0000_0000_0abc),
            Ipa(0x4000_1abc)
        );
    }
}
