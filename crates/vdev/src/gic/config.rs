//! The size of a virtual GIC, and the numbers of its interrupts.

use super::lr::MAX_LIST_REGISTERS;
use crate::MAX_VCPUS;
use core::fmt;

/// The most SPIs of a virtual GIC: INTIDs 32 to 1019 (IHI 0069, 2.2).
pub const MAX_SPIS: usize = 988;

/// The number of an SGI (0 to 15), PPI (16 to 31) or SPI (32 to 1019) (IHI 0069, 2.2).
///
/// ```
/// use droste_vdev::gic::Intid;
/// assert_eq!(Intid::new(27).map(Intid::number), Some(27));
/// assert_eq!(Intid::new(1020), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Intid(u16);

impl Intid {
    /// The maintenance interrupt's PPI, as the Base System Architecture numbers it.
    pub const MAINTENANCE: Self = Self(25);
    /// The EL2 physical timer's PPI.
    pub const HYPERVISOR_PHYSICAL_TIMER: Self = Self(26);
    /// The virtual timer's PPI, as the Base System Architecture and every device tree number it.
    pub const VIRTUAL_TIMER: Self = Self(27);
    /// The EL2 virtual timer's PPI.
    pub const HYPERVISOR_VIRTUAL_TIMER: Self = Self(28);
    /// The EL1 physical timer's PPI.
    pub const PHYSICAL_TIMER: Self = Self(30);

    /// Interrupt `number`; `None` from 1020 on.
    pub const fn new(number: u32) -> Option<Self> {
        if number < 1020 {
            Some(Self(number as u16))
        } else {
            None
        }
    }

    /// Whether it is an SGI.
    pub(super) const fn is_sgi(self) -> bool {
        self.0 < 16
    }

    /// Its bit in the word of its bank.
    pub(super) const fn mask(self) -> u32 {
        1 << (self.0 & 31)
    }

    /// The number, 0 to 1019.
    pub const fn number(self) -> usize {
        self.0 as usize
    }
}

/// The size of a virtual GIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GicConfig {
    /// vCPUs, 1 to [`MAX_VCPUS`].
    pub vcpus: usize,
    /// SPIs, 0 to [`MAX_SPIS`]: INTIDs from 32 on.
    pub spis: usize,
    /// List registers of the hardware, 1 to [`MAX_LIST_REGISTERS`]: ICH_VTR_EL2.ListRegs + 1.
    pub list_registers: usize,
}

impl GicConfig {
    pub(super) fn check(self) -> Result<(), ConfigError> {
        if self.vcpus == 0 || self.vcpus > MAX_VCPUS {
            return Err(ConfigError::Vcpus(self.vcpus));
        }
        if self.spis > MAX_SPIS {
            return Err(ConfigError::Spis(self.spis));
        }
        if self.list_registers == 0 || self.list_registers > MAX_LIST_REGISTERS {
            return Err(ConfigError::ListRegisters(self.list_registers));
        }
        Ok(())
    }
}

/// Why a virtual GIC cannot be built: a number that is out of its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// The number of vCPUs.
    Vcpus(usize),
    /// The number of SPIs.
    Spis(usize),
    /// The number of list registers.
    ListRegisters(usize),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcpus(n) => write!(f, "{n} vCPUs: choose 1 to {MAX_VCPUS}"),
            Self::Spis(n) => write!(f, "{n} SPIs: choose at most {MAX_SPIS}"),
            Self::ListRegisters(n) => {
                write!(f, "{n} list registers: pass 1 to {MAX_LIST_REGISTERS}")
            }
        }
    }
}

impl core::error::Error for ConfigError {}
