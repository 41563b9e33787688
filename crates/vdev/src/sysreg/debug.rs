//! The debug registers that a vCPU has: MDSCR_EL1, the OS lock, two breakpoints and two watchpoints (DDI 0487, D2
//! and D24.3).
//!
//! The second breakpoint is the context-aware one. Settings that a guest must not have are kept from the hardware: a
//! breakpoint that is to match above EL1, or by a VMID, never matches, as is allowed for a reserved value (D2.8). Nor
//! does any breakpoint or watchpoint of a vCPU with EL2 match: to the hardware, virtual EL2 and what is under it would
//! be one level.

/// One of the debug registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DebugRegister {
    /// MDSCR_EL1.
    Mdscr,
    /// OSLAR_EL1: a write locks or unlocks the OS Lock.
    Oslar,
    /// OSLSR_EL1: a read shows whether the OS Lock is locked.
    Oslsr,
    /// `DBGBVR<n>_EL1`.
    BreakpointValue(Pair),
    /// `DBGBCR<n>_EL1`.
    BreakpointControl(Pair),
    /// `DBGWVR<n>_EL1`.
    WatchpointValue(Pair),
    /// `DBGWCR<n>_EL1`.
    WatchpointControl(Pair),
}

/// The number of a breakpoint or watchpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pair {
    /// Number 0.
    First,
    /// Number 1.
    Second,
}

/// How many breakpoints, and how many watchpoints, a vCPU has.
pub const BREAKPOINTS: usize = 2;

/// The registers of one breakpoint or watchpoint.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Point {
    /// DBGBVR or DBGWVR.
    pub value: u64,
    /// DBGBCR or DBGWCR; 0 is off.
    pub control: u64,
}

/// What the hardware's breakpoint and watchpoint registers must hold while MDSCR_EL1.MDE is 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Points {
    /// For the hardware's last two breakpoints, the last of which is context-aware (DDI 0487,
    /// ID_AA64DFR0_EL1.CTX_CMPs).
    pub breakpoints: [Point; BREAKPOINTS],
    /// For the hardware's first two watchpoints.
    pub watchpoints: [Point; BREAKPOINTS],
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

/// `DBGBCR<n>_EL1`: E, PMC, BAS, HMC, SSC, LBN, BT; BAS is RES1 without AArch32.
const BREAKPOINT_WRITABLE: u64 = 1 | 3 << 1 | 0x7ff << 13;
const BREAKPOINT_BAS: u64 = 0xf << 5;
/// `DBGWCR<n>_EL1`: E, PAC, LSC, BAS, HMC, SSC, LBN, WT, MASK.
const WATCHPOINT_WRITABLE: u64 = 0x1f_ffff | 0x1f << 24;
/// In both: E; PMC or PAC, the levels; HMC and SSC, levels and states above EL1; LBN, the breakpoint that is linked to.
const ENABLED: u64 = 1;
const LEVELS: u64 = 3 << 1;
const ABOVE: u64 = 7 << 13;
const LINK_SHIFT: u32 = 16;
const LINK: u64 = 0xf << LINK_SHIFT;
/// `DBGBCR<n>_EL1`.BT: by address alone, by address and a link; by CONTEXTIDR_EL1 alone, by it for who links here.
const TYPE_SHIFT: u32 = 20;
const BY_ADDRESS: u64 = 0;
const BY_ADDRESS_LINKED: u64 = 1;
const BY_CONTEXT: u64 = 2;
const BY_CONTEXT_LINKED: u64 = 3;
/// `DBGWCR<n>_EL1`.WT: linked.
const WATCHPOINT_LINKED: u64 = 1 << 20;

/// OSLSR_EL1.OSLM = 0b10: an OS lock is there.
const OSLSR_OSLM: u64 = 1 << 3;
/// OSLSR_EL1.OSLK: it is locked.
const OSLSR_OSLK: u64 = 1 << 1;

/// The debug registers of one vCPU.
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
    breakpoints: [Point; BREAKPOINTS],
    watchpoints: [Point; BREAKPOINTS],
}

impl Default for DebugRegisters {
    fn default() -> Self {
        Self::new()
    }
}

impl DebugRegisters {
    /// As after a reset: nothing enabled, the OS Lock locked (DDI 0487, OSLSR_EL1.OSLK).
    pub const fn new() -> Self {
        Self {
            mdscr: 0,
            is_os_locked: true,
            breakpoints: [Point::OFF; BREAKPOINTS],
            watchpoints: [Point::OFF; BREAKPOINTS],
        }
    }

    /// A read of `register`.
    pub const fn read(&self, register: DebugRegister) -> u64 {
        match register {
            DebugRegister::Mdscr => self.mdscr,
            DebugRegister::Oslsr if self.is_os_locked => OSLSR_OSLM | OSLSR_OSLK,
            DebugRegister::Oslsr => OSLSR_OSLM,
            DebugRegister::Oslar => 0,
            DebugRegister::BreakpointValue(n) => self.breakpoints[n as usize].value,
            DebugRegister::BreakpointControl(n) => {
                self.breakpoints[n as usize].control | BREAKPOINT_BAS
            }
            DebugRegister::WatchpointValue(n) => self.watchpoints[n as usize].value,
            DebugRegister::WatchpointControl(n) => self.watchpoints[n as usize].control,
        }
    }

    /// A write of `register`. Afterwards [`hardware_mdscr`](Self::hardware_mdscr) and
    /// [`hardware_points`](Self::hardware_points) may have changed.
    pub const fn write(&mut self, register: DebugRegister, value: u64) {
        match register {
            DebugRegister::Mdscr => self.mdscr = value & MDSCR_WRITABLE,
            DebugRegister::Oslar => self.is_os_locked = value & 1 != 0,
            DebugRegister::Oslsr => {}
            DebugRegister::BreakpointValue(n) => self.breakpoints[n as usize].value = value,
            DebugRegister::BreakpointControl(n) => {
                self.breakpoints[n as usize].control = value & BREAKPOINT_WRITABLE;
            }
            DebugRegister::WatchpointValue(n) => self.watchpoints[n as usize].value = value & !3,
            DebugRegister::WatchpointControl(n) => {
                self.watchpoints[n as usize].control = value & WATCHPOINT_WRITABLE;
            }
        }
    }

    /// MDSCR_EL1.KDE: whether debug exceptions are enabled within the level that takes them.
    pub const fn are_within_level(&self) -> bool {
        self.mdscr & MDSCR_KDE != 0
    }

    /// What the CPU's MDSCR_EL1 holds, except for MDE, while the vCPU runs and the CPU's own OS Lock is unlocked. While
    /// the guest's OS Lock is locked there are no debug exceptions (DDI 0487, D2, on the OS Lock).
    /// [`hardware_points`](Self::hardware_points) gives MDE, with the breakpoints and watchpoints that match.
    pub const fn hardware_mdscr(&self) -> u64 {
        if self.is_os_locked {
            self.mdscr & MDSCR_TDCC
        } else {
            self.mdscr & (MDSCR_SS | MDSCR_TDCC | MDSCR_KDE)
        }
    }

    /// MDSCR_EL1.MDE, and what the breakpoint and watchpoint registers hold with it, on hardware with `count`
    /// breakpoints; `None` if none is to match, in which case those registers may hold anything.
    pub fn hardware_points(&self, count: u64) -> Option<(u64, Points)> {
        let is_any_on = |points: &[Point]| points.iter().any(|point| point.control & ENABLED != 0);
        let is_on = !self.is_os_locked
            && self.mdscr & MDSCR_MDE != 0
            && (is_any_on(&self.breakpoints) || is_any_on(&self.watchpoints));
        if !is_on || count < BREAKPOINTS as u64 {
            return None;
        }
        let link = count - 1;
        let [first, second] = self.breakpoints;
        let points = Points {
            breakpoints: [
                first.breakpoint(first.knows_no_context(), link),
                second.breakpoint(true, link),
            ],
            watchpoints: self.watchpoints.map(|point| point.watchpoint(link)),
        };
        Some((MDSCR_MDE, points))
    }
}

impl Point {
    const OFF: Self = Self {
        value: 0,
        control: 0,
    };

    const fn kind(self) -> u64 {
        self.control >> TYPE_SHIFT & 0xf
    }

    const fn knows_no_context(self) -> bool {
        matches!(self.kind(), BY_ADDRESS | BY_ADDRESS_LINKED)
    }

    /// Whether it is on, and for EL1 and EL0 alone.
    const fn is_below_el2(self) -> bool {
        self.control & ENABLED != 0 && self.control & LEVELS != 0 && self.control & ABOVE == 0
    }

    /// The control with a link to the hardware's breakpoint `to`; `None` for one to another than the second.
    const fn linked(self, to: u64) -> Option<u64> {
        if self.control & LINK == 1 << LINK_SHIFT {
            Some(self.control & !LINK | to << LINK_SHIFT)
        } else {
            None
        }
    }

    /// As the hardware's breakpoint, where its kind is one that it knows, and `to` the one that is linked to.
    fn breakpoint(self, is_known: bool, to: u64) -> Self {
        let control = match self.kind() {
            _ if !is_known || !self.is_below_el2() => None,
            BY_ADDRESS | BY_CONTEXT | BY_CONTEXT_LINKED => Some(self.control & !LINK),
            BY_ADDRESS_LINKED => self.linked(to),
            _ => None,
        };
        control.map_or(Self::OFF, |control| Self {
            value: self.value,
            control: control | BREAKPOINT_BAS,
        })
    }

    /// As the hardware's watchpoint.
    fn watchpoint(self, to: u64) -> Self {
        let control = if !self.is_below_el2() {
            None
        } else if self.control & WATCHPOINT_LINKED == 0 {
            Some(self.control & !LINK)
        } else {
            self.linked(to)
        };
        control.map_or(Self::OFF, |control| Self {
            value: self.value,
            control,
        })
    }
}
