//! The debug registers that a virtual CPU has: MDSCR_EL1 and the OS lock (DDI 0487, D2 and D24.3).

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DebugRegister {
    /// MDSCR_EL1.
    Mdscr,
    /// OSLAR_EL1: a write sets the OS lock.
    Oslar,
    /// OSLSR_EL1: a read shows it.
    Oslsr,
}

/// MDSCR_EL1.SS: software step.
const MDSCR_SS: u64 = 1 << 0;
/// MDSCR_EL1.TDCC: EL0 cannot use the debug communication channel.
const MDSCR_TDCC: u64 = 1 << 12;
/// MDSCR_EL1.KDE: debug exceptions within EL1.
const MDSCR_KDE: u64 = 1 << 13;
/// MDSCR_EL1.MDE: breakpoints and watchpoints.
const MDSCR_MDE: u64 = 1 << 15;
/// Bits that a guest sets; the others are for an external debugger and read as 0.
const MDSCR_WRITABLE: u64 = MDSCR_SS | MDSCR_TDCC | MDSCR_KDE | MDSCR_MDE;

/// OSLSR_EL1.OSLM = 0b10: an OS lock is there.
const OSLSR_OSLM: u64 = 1 << 3;
/// OSLSR_EL1.OSLK: it is locked.
const OSLSR_OSLK: u64 = 1 << 1;

/// The debug registers of one virtual CPU.
///
/// ```
/// use droste_vdev::sysreg::{DebugRegister, DebugRegisters};
/// let mut debug = DebugRegisters::new();
/// assert_eq!(debug.read(DebugRegister::Oslsr), 0b1010, "locked after reset");
/// debug.write(DebugRegister::Oslar, 0);
/// debug.write(DebugRegister::Mdscr, 1);
/// assert_eq!(debug.hardware_mdscr(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct DebugRegisters {
    mdscr: u64,
    is_os_locked: bool,
}

impl Default for DebugRegisters {
    fn default() -> Self {
        Self::new()
    }
}

impl DebugRegisters {
    /// As after a reset: nothing enabled, the OS lock locked (DDI 0487, OSLSR_EL1.OSLK).
    pub const fn new() -> Self {
        Self {
            mdscr: 0,
            is_os_locked: true,
        }
    }

    /// A read of `register`.
    pub const fn read(&self, register: DebugRegister) -> u64 {
        match register {
            DebugRegister::Mdscr => self.mdscr,
            DebugRegister::Oslsr if self.is_os_locked => OSLSR_OSLM | OSLSR_OSLK,
            DebugRegister::Oslsr => OSLSR_OSLM,
            DebugRegister::Oslar => 0,
        }
    }

    /// A write of `register`. Afterwards [`hardware_mdscr`](Self::hardware_mdscr) may have changed.
    pub const fn write(&mut self, register: DebugRegister, value: u64) {
        match register {
            DebugRegister::Mdscr => self.mdscr = value & MDSCR_WRITABLE,
            DebugRegister::Oslar => self.is_os_locked = value & 1 != 0,
            DebugRegister::Oslsr => {}
        }
    }

    /// MDSCR_EL1.KDE: whether there may be debug exceptions within the level that takes them.
    pub const fn are_within_level(&self) -> bool {
        self.mdscr & MDSCR_KDE != 0
    }

    /// What the CPU's MDSCR_EL1 holds while the virtual CPU runs, the CPU's own OS lock unlocked. With the guest's OS
    /// lock locked there are no debug exceptions (DDI 0487, D2, on the OS Lock); breakpoints and watchpoints never match.
    pub const fn hardware_mdscr(&self) -> u64 {
        if self.is_os_locked {
            self.mdscr & MDSCR_TDCC
        } else {
            self.mdscr & (MDSCR_SS | MDSCR_TDCC | MDSCR_KDE)
        }
    }
}
