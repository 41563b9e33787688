//! Time: timers that cannot be missed, and waits that have an end.
//!
//! Between two instructions any time may pass: a nanosecond on a fast machine, a second in an emulator on a busy one. So
//! a timer is armed for a deadline, and one that is past by then is as good as one ahead: its interrupt is pending at
//! once. Whoever waits does so for a condition, and fails when it has not come in [`PATIENCE_NS`]. Nothing else in the
//! guests arms a timer of its own or reads a counter (`cargo xtask lint`); what looks at timers as registers names
//! them by their encodings.

use crate::{cpu, el2};

/// The virtual timer's PPI.
pub const VIRTUAL_TIMER: u32 = 27;
/// The PPI of EL1's physical timer.
pub const PHYSICAL_TIMER: u32 = 30;
/// The PPI of EL2's physical timer.
pub const HYPERVISOR_TIMER: u32 = 26;

/// How long a guest waits for what must come, in nanoseconds: far longer than a busy host takes for it.
pub const PATIENCE_NS: u64 = 60_000_000_000;

/// A timer of this CPU that guests use for themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// The virtual timer of EL1, which this is.
    Virtual,
    /// The physical timer of EL1, which this is.
    Physical,
    /// EL2's physical timer.
    Hypervisor,
    /// The virtual timer of the EL1 under this EL2.
    Below,
}

impl Timer {
    /// Its PPI.
    pub const fn intid(self) -> u32 {
        match self {
            Self::Virtual | Self::Below => VIRTUAL_TIMER,
            Self::Physical => PHYSICAL_TIMER,
            Self::Hypervisor => HYPERVISOR_TIMER,
        }
    }

    /// Arms it for so many nanoseconds from now. Its interrupt comes then, or is pending already when this returns.
    #[inline]
    pub fn arm_in(self, ns: u64) {
        let deadline = match self {
            Self::Virtual => cpu::counter() + ticks(ns),
            Self::Physical | Self::Hypervisor => cpu::physical_counter() + ticks(ns),
            Self::Below => {
                let deadline = cpu::physical_counter() + ticks(ns);
                virtual_compare(deadline, el2::cntvoff())
            }
        };
        self.arm(deadline);
    }

    /// Arms it for when the counter that it compares with is `deadline`.
    #[inline]
    pub fn arm_at(self, deadline: u64) {
        self.arm(deadline);
    }

    /// Arms it for a time that is past.
    #[inline]
    pub fn make_due(self) {
        self.arm(0);
    }

    #[inline]
    fn arm(self, compare: u64) {
        match self {
            Self::Virtual => cpu::set_virtual_timer_compare(compare),
            Self::Physical => cpu::set_physical_timer_compare(compare),
            Self::Hypervisor => el2::set_cnthp_cval(compare),
            Self::Below => el2::set_cntv_cval(compare),
        }
        self.control(1);
    }

    /// Ends it, with its interrupt unless that is active.
    #[inline]
    pub fn disarm(self) {
        self.control(0);
    }

    #[inline]
    fn control(self, value: u64) {
        match self {
            Self::Virtual => cpu::set_virtual_timer_control(value),
            Self::Physical => cpu::set_physical_timer_control(value),
            Self::Hypervisor => el2::set_cnthp_ctl(value),
            Self::Below => el2::set_cntv_ctl(value),
        }
    }
}

/// The counter that does not depend on a level above: the physical one at EL2, else the virtual one. It is not read ahead
/// of what stands before.
#[inline]
pub fn now() -> u64 {
    cpu::isb();
    if cpu::is_el2() {
        cpu::physical_counter()
    } else {
        cpu::counter()
    }
}

/// Ticks of the counters in so many nanoseconds, and one more for what is rounded off.
#[inline]
pub fn ticks(ns: u64) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    let frequency = cpu::counter_frequency();
    ns / SECOND * frequency + ns % SECOND * frequency / SECOND + 1
}

/// Nanoseconds in so many ticks of the counters.
pub fn nanoseconds(ticks: u64) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    let frequency = cpu::counter_frequency();
    ticks / frequency * SECOND + ticks % frequency * SECOND / frequency
}

/// Waits for a condition and keeps the CPU.
///
/// # Panics
/// If it has not come after [`PATIENCE_NS`].
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = now() + ticks(PATIENCE_NS);
    while !is_so() {
        assert!(now() < end, "{what} has not come");
    }
}

/// Waits for a condition that an interrupt's handler makes true, and sleeps meanwhile. Interrupts are let in; one that
/// comes between a look at the condition and the sleep ends the sleep.
///
/// # Panics
/// If interrupts come for [`PATIENCE_NS`] and the condition does not.
pub fn sleep_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = now() + ticks(PATIENCE_NS);
    loop {
        cpu::mask_interrupts();
        let is_over = is_so();
        if !is_over {
            cpu::wfi();
        }
        cpu::unmask_interrupts();
        cpu::isb();
        if is_over {
            return;
        }
        assert!(now() < end, "{what} has not come");
    }
}

/// Keeps the CPU for so many nanoseconds at least.
pub fn spin(ns: u64) {
    let end = now() + ticks(ns);
    while now() < end {}
}

/// CNTV_CVAL_EL0 of a timer that is to fire when the physical counter is `deadline` and CNTVOFF_EL2 is `offset`.
///
/// # Panics
/// If the virtual counter wraps around before a deadline that is ahead. QEMU 10.0 adds offset and CVAL to find when to
/// look at such a timer next, and takes an overflow for never; one that is due when it is armed is not looked at again.
pub fn virtual_compare(deadline: u64, offset: u64) -> u64 {
    assert!(
        offset <= deadline || now() >= deadline,
        "a virtual counter wraps around before its timer fires"
    );
    deadline.wrapping_sub(offset)
}
